"""A correction of a whole image from small overlapping windows; those with hardly any head are left out."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

from NeuroGenLib.core.progress import SILENT, Progress

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import torch

    Correction = Callable[[torch.Tensor], torch.Tensor]
    """(B, C, W, W, W) on the device that computes to (B, 1, W, W, W)."""

_SIGMA = 1 / 8
"""Of the weights, as a part of the window's side."""
_LEAST_WEIGHT = 1e-3


def corrected(
    correction: Correction,
    images: Sequence[torch.Tensor],
    wanted: torch.Tensor,
    side: int,
    overlap: float,
    *,
    multiple: int = 1,
    batch: int = 1,
    device: torch.device | None = None,
    progress: Progress = SILENT,
) -> torch.Tensor:
    """Return the blended corrections of the windows that cover what is wanted.

    Windows overlap and count most in their middle (a Gaussian), so that no border shows. Images and result stay on the
    CPU; memory beyond them is that of one batch.

    Parameters
    ----------
    correction:
        What is done to a batch of windows.
    images:
        Channels, each (I, J, K) float32.
    wanted:
        (I, J, K) bool.
    side:
        Of a window, in voxels. Along axes that are shorter, windows are as long as these, rounded up to ``multiple``;
        what lies beyond an image repeats its border.
    overlap:
        Part of its side that a window shares with the next, at least; 0 to below 1.
    multiple:
        Lengths of windows must be multiples of it; ``side`` is one.
    batch:
        Windows at a time.
    device:
        Where windows are sent; where the images are when not given.
    progress:
        Told after every batch; a cancelled one ends the work there.

    Returns
    -------
    Tensor
        (I, J, K) float32, 0 where no window lies.
    """
    import torch
    from torch.nn import functional

    shape = wanted.shape
    sides = [min(side, multiple * math.ceil(size / multiple)) for size in shape]
    missing = [max(0, length - size) for size, length in zip(shape, sides, strict=True)]
    if any(missing):
        margins = [width for most in reversed(missing) for width in (0, most)]
        images = [functional.pad(one[None, None], margins, mode="replicate")[0, 0] for one in images]
        wanted = functional.pad(wanted, margins)
    weight = _bell(sides)
    total, weights = torch.zeros(wanted.shape), torch.zeros(wanted.shape)
    boxes = window_boxes(wanted, sides, overlap)
    with torch.inference_mode():
        for first in progress.track(range(0, len(boxes), batch), "super-resolution"):
            part = boxes[first : first + batch]
            given = torch.stack([torch.stack([one[box] for one in images]) for box in part])
            found = correction(given if device is None else given.to(device))[:, 0].float().cpu()
            for box, one in zip(part, found, strict=True):
                total[box] += one * weight
                weights[box] += weight
    i, j, k = shape
    return (total / weights.clamp(min=_LEAST_WEIGHT**3))[:i, :j, :k]


def window_boxes(wanted: torch.Tensor, sides: Sequence[int], overlap: float) -> list[tuple[slice, slice, slice]]:
    """Return windows of ``sides`` voxels that cover what is wanted, (I, J, K) bool, the last axis running fastest.

    They lie in even steps over the box around what is wanted. A window that holds something of it only where it
    overlaps with the next one, and would hardly count, is left out.
    """
    lines = [wanted.any(axis).any(other).nonzero()[:, 0] for axis, other in ((2, 1), (2, 0), (1, 0))]
    if any(len(line) == 0 for line in lines):
        return []
    spans = [
        _spans(_starts(int(line[0]), int(line[-1]) + 1, size, side, overlap), size, side, overlap)
        for line, size, side in zip(lines, wanted.shape, sides, strict=True)
    ]
    boxes = []
    for (a, a_core), (b, b_core), (c, c_core) in itertools.product(*spans):
        if bool(wanted[a_core, b_core, c_core].any()):
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


def _bell(sides: Sequence[int]) -> torch.Tensor:
    """Return weights (I, J, K) that fall from the middle to the faces, never to 0."""
    import torch

    axes = []
    for size in sides:
        away = torch.arange(size) - (size - 1) / 2
        axes.append(torch.exp(-0.5 * (away / (_SIGMA * size)) ** 2).clamp(min=_LEAST_WEIGHT))
    return axes[0][:, None, None] * axes[1][:, None] * axes[2]
