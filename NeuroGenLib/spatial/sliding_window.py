"""Sliding-window inference: a network over an image of any size, in overlapping windows that are blended."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Literal

from NeuroGenLib.core.progress import SILENT, Progress

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import torch

    Predictor = Callable[[torch.Tensor], torch.Tensor]
    """(B, C, W, W, W) on the device that computes to (B, 1, W, W, W)."""

Weighting = Literal["gaussian", "linear"]
"""How the weights of a window fall from its middle to its faces."""

_SIGMA = 1 / 8
"""Of the Gaussian weights, as a part of the window's side."""
_LEAST_WEIGHT = 1e-3
"""Along each axis, of the Gaussian weights."""


def sliding_window_inference(
    predictor: Predictor,
    images: Sequence[torch.Tensor],
    side: int,
    overlap: float,
    *,
    inside: torch.Tensor | None = None,
    multiple: int = 1,
    weighting: Weighting = "gaussian",
    padding: Literal["replicate", "constant"] = "replicate",
    batch: int = 1,
    device: torch.device | None = None,
    message: str = "",
    progress: Progress = SILENT,
) -> torch.Tensor:
    """Return the blended predictions of overlapping windows.

    The middle of a window counts most, so that no border shows. Images and result stay on their device; memory beyond
    them is that of one batch.

    Parameters
    ----------
    predictor:
        Applied to a batch of windows.
    images:
        Channels, each (I, J, K) float32.
    side:
        Of a window, in voxels. Along axes that are shorter, windows are as long as these, rounded up to ``multiple``.
    overlap:
        Part of its side that a window shares with the next, at least; 0 to below 1.
    inside:
        (I, J, K) bool: what must be predicted; windows that hold hardly anything of it are left out. Everything when
        not given.
    multiple:
        Lengths of windows must be multiples of it; ``side`` is one.
    weighting:
        Of the voxels of a window.
    padding:
        What lies beyond the far end of an image that is shorter than a window: its border again, or zeros.
    batch:
        Windows at a time.
    device:
        Where windows are sent; where the images are when not given.
    message, progress:
        Reported after every batch; a cancelled one ends the work there.

    Returns
    -------
    Tensor
        (I, J, K) float32, 0 where no window lies.
    """
    import torch
    from torch.nn import functional

    shape = images[0].shape
    if inside is None:
        inside = torch.ones(shape, dtype=torch.bool, device=images[0].device)
    sides = [min(side, multiple * math.ceil(size / multiple)) for size in shape]
    missing = [max(0, length - size) for size, length in zip(shape, sides, strict=True)]
    if any(missing):
        margins = [width for most in reversed(missing) for width in (0, most)]
        images = [functional.pad(image[None, None], margins, mode=padding)[0, 0] for image in images]
        inside = functional.pad(inside, margins)
    weight = _weights(sides, weighting, images[0])
    total, weights = torch.zeros_like(images[0]), torch.zeros_like(images[0])
    boxes = window_boxes(inside, sides, overlap)
    with torch.inference_mode():
        for first in progress.track(range(0, len(boxes), batch), message):
            part = boxes[first : first + batch]
            windows = torch.stack([torch.stack([image[box] for image in images]) for box in part])
            predictions = predictor(windows if device is None else windows.to(device))[:, 0].float().to(total.device)
            for box, prediction in zip(part, predictions, strict=True):
                total[box] += prediction * weight
                weights[box] += weight
    i, j, k = shape
    return (total / weights.clamp(min=_LEAST_WEIGHT**3))[:i, :j, :k]


def window_boxes(inside: torch.Tensor, sides: Sequence[int], overlap: float) -> list[tuple[slice, slice, slice]]:
    """Return windows of ``sides`` voxels that cover what is inside, (I, J, K) bool, the last axis running fastest.

    They lie in even steps over the box around what is inside. A window that holds something of it only where it
    overlaps with the next one, and would hardly count, is left out.
    """
    lines = [inside.any(axis).any(other).nonzero()[:, 0] for axis, other in ((2, 1), (2, 0), (1, 0))]
    if any(len(line) == 0 for line in lines):
        return []
    spans = [
        _spans(_starts(int(line[0]), int(line[-1]) + 1, size, side, overlap), size, side, overlap)
        for line, size, side in zip(lines, inside.shape, sides, strict=True)
    ]
    boxes = []
    for (a, a_core), (b, b_core), (c, c_core) in itertools.product(*spans):
        if bool(inside[a_core, b_core, c_core].any()):
            boxes.append((a, b, c))
    return boxes


def _spans(starts: Sequence[int], size: int, side: int, overlap: float) -> list[tuple[slice, slice]]:
    """Return along one axis each window and the middle of it; the middles cover the axis."""
    margin = (side - _step(side, overlap)) // 2
    return [
        (
            slice(start, start + side),
            slice(0 if start == starts[0] else start + margin, size if start == starts[-1] else start + side - margin),
        )
        for start in starts
    ]


def _step(side: int, overlap: float) -> int:
    return max(1, int(side * (1 - overlap)))


def _starts(first: int, stop: int, size: int, side: int, overlap: float) -> list[int]:
    """Return where windows of ``side`` voxels begin that cover ``first`` to ``stop`` of ``size`` voxels."""
    length = stop - first
    if length <= side:
        middle = (first + stop - side) // 2
        return [min(max(0, middle), size - side)]
    steps = math.ceil((length - side) / _step(side, overlap))
    return [first + round(step * (length - side) / steps) for step in range(steps + 1)]


def _weights(sides: Sequence[int], weighting: Weighting, like: torch.Tensor) -> torch.Tensor:
    """Return weights (I, J, K) that fall from the middle to the faces, never to 0."""
    import torch

    axes = []
    for size in sides:
        index = torch.arange(size, device=like.device, dtype=like.dtype)
        if weighting == "linear":
            axes.append(torch.minimum(index + 1, size - index) / size)
        else:
            away = index - (size - 1) / 2
            axes.append(torch.exp(-0.5 * (away / (_SIGMA * size)) ** 2).clamp(min=_LEAST_WEIGHT))
    return axes[0][:, None, None] * axes[1][:, None] * axes[2]
