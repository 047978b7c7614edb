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
"""How the weights of a window decrease from its centre to its faces."""

_SIGMA = 1 / 8
"""Standard deviation of the Gaussian weights as a fraction of the window's side, as in nnU-Net and MONAI."""
_LEAST_WEIGHT = 1e-3
"""Lower limit of the Gaussian weights along each axis: at the faces they would be 3e-4, where a quotient of two small
sums amplifies rounding."""


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
    """Predict an image in overlapping windows that are blended.

    The centre of a window has the largest weight, so that borders of windows are invisible. Images and result stay on
    their device; memory beyond them is that of one batch.

    Parameters
    ----------
    predictor:
        Network, called with a batch of windows.
    images:
        Channels, each (I, J, K) float32.
    side:
        Side of a window in voxels. Along shorter axes, windows are as long as the axis, rounded up to ``multiple``.
    overlap:
        Least fraction of its side that a window shares with the next; 0 to below 1.
    inside:
        (I, J, K) bool: voxels to predict; windows that contain hardly any of them are skipped. All voxels by default.
    multiple:
        Lengths of windows are multiples of it; so must be ``side``.
    weighting:
        Weights of the voxels of a window.
    padding:
        Values beyond the far end of an image that is shorter than a window: its border, or zeros.
    batch:
        Windows per call of the predictor.
    device:
        Device of the predictor; that of the images by default.
    message, progress:
        Progress callback and its message, called after every batch.

    Returns
    -------
    Tensor
        (I, J, K) float32, 0 where there is no window.

    Examples
    --------
    >>> import torch
    >>> image = torch.rand(20, 24, 18)
    >>> result = sliding_window_inference(lambda windows: windows[:, :1], [image], side=16, overlap=0.5)
    >>> torch.allclose(result, image, atol=1e-5)
    True
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
            in_batch = boxes[first : first + batch]
            windows = torch.stack([torch.stack([image[box] for image in images]) for box in in_batch])
            predictions = predictor(windows if device is None else windows.to(device))[:, 0].float().to(total.device)
            for box, prediction in zip(in_batch, predictions, strict=True):
                total[box] += prediction * weight
                weights[box] += weight
    i, j, k = shape
    return (total / weights.clamp(min=_LEAST_WEIGHT**3))[:i, :j, :k]


def window_boxes(inside: torch.Tensor, sides: Sequence[int], overlap: float) -> list[tuple[slice, slice, slice]]:
    """Place windows of ``sides`` voxels that cover the mask ``inside``, (I, J, K) bool; the last axis runs fastest.

    They are evenly spaced over the bounding box of the mask. A window that contains voxels of it only where it overlaps
    with the next one, and would have a small weight, is skipped.

    Examples
    --------
    >>> import torch
    >>> boxes = window_boxes(torch.ones(20, 16, 16, dtype=torch.bool), (16, 16, 16), overlap=0.5)
    >>> [box[0] for box in boxes]
    [slice(0, 16, None), slice(4, 20, None)]
    """
    lines = [inside.any(last).any(first).nonzero()[:, 0] for last, first in ((2, 1), (2, 0), (1, 0))]
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
    """Return along one axis each window and its core; the cores cover the axis."""
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
    """Return the first voxels of windows of ``side`` voxels that cover ``first`` to ``stop`` of ``size`` voxels."""
    length = stop - first
    if length <= side:
        middle = (first + stop - side) // 2
        return [min(max(0, middle), size - side)]
    steps = math.ceil((length - side) / _step(side, overlap))
    return [first + round(step * (length - side) / steps) for step in range(steps + 1)]


def _weights(sides: Sequence[int], weighting: Weighting, like: torch.Tensor) -> torch.Tensor:
    """Return weights (I, J, K) that decrease from the centre to the faces and stay above 0."""
    import torch

    axes = []
    for size in sides:
        index = torch.arange(size, device=like.device, dtype=like.dtype)
        if weighting == "linear":
            axes.append(torch.minimum(index + 1, size - index) / size)
        else:
            offset = index - (size - 1) / 2
            axes.append(torch.exp(-0.5 * (offset / (_SIGMA * size)) ** 2).clamp(min=_LEAST_WEIGHT))
    return axes[0][:, None, None] * axes[1][:, None] * axes[2]
