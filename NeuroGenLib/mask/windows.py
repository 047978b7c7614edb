"""A network over a field of view of any size: in overlapping windows where it is larger than one."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

from NeuroGenLib.core.progress import SILENT, Progress

if TYPE_CHECKING:
    import torch

    from NeuroGenLib.mask.network import BrainNetwork


def predicted(network: BrainNetwork, image: torch.Tensor, side: int, progress: Progress = SILENT) -> torch.Tensor:
    """Return the probability of brain in each voxel.

    Parameters
    ----------
    network:
        On the device of ``image``.
    image:
        (I, J, K) float32 from 0 to 1; what lies outside counts as 0.
    side:
        Longest side of a window in voxels, a multiple of what the network needs. Longer sides of the image get windows
        that overlap by half or more; they are blended, the middle of a window counting most.
    progress:
        Told after every window.

    Returns
    -------
    Tensor
        (I, J, K) float32.
    """
    import torch

    multiple = network.shape.multiple
    sides = [min(side, multiple * math.ceil(size / multiple)) for size in image.shape]
    whole = [max(size, length) for size, length in zip(image.shape, sides, strict=True)]
    padded = image.new_zeros(whole)
    i, j, k = image.shape
    padded[:i, :j, :k] = image
    weight = _tent(sides, image)
    total, weights = torch.zeros_like(padded), torch.zeros_like(padded)
    places = list(itertools.product(*(starts(size, length) for size, length in zip(whole, sides, strict=True))))
    with torch.inference_mode():
        for place in progress.track(places, "finding the brain"):
            box = tuple(slice(first, first + length) for first, length in zip(place, sides, strict=True))
            found = torch.sigmoid(network(padded[box][None, None]))[0, 0]
            total[box] += found * weight
            weights[box] += weight
    return (total / weights)[:i, :j, :k]


def starts(size: int, side: int) -> list[int]:
    """Return where windows of ``side`` voxels begin that cover ``size`` voxels, even steps of half a window at most."""
    if size <= side:
        return [0]
    steps = math.ceil((size - side) / (side / 2))
    return [round(step * (size - side) / steps) for step in range(steps + 1)]


def _tent(sides: list[int], like: torch.Tensor) -> torch.Tensor:
    """Return weights (I, J, K) that fall from the middle to the faces, never to 0."""
    import torch

    axes = []
    for size in sides:
        index = torch.arange(size, device=like.device, dtype=like.dtype)
        axes.append(torch.minimum(index + 1, size - index) / size)
    return axes[0][:, None, None] * axes[1][:, None] * axes[2]
