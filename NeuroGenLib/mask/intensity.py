"""How bright the images are that the network sees: the same for generated images and for scans."""

from __future__ import annotations

from typing import TYPE_CHECKING

from NeuroGenLib.core.errors import InputError

if TYPE_CHECKING:
    import torch

_DARKEST, _BRIGHTEST = 0.01, 0.99
"""Shares of the voxels that are darker than what becomes 0, and of the bright ones than what becomes 1."""
_SAMPLED = 200_000
"""Voxels that are enough to find it."""


def rescaled(image: torch.Tensor) -> torch.Tensor:
    """Return an image of any shape from 0 to 1, clipped; float32.

    1 is the 99th percentile of the voxels above the mean, so that it hardly depends on how much air surrounds a head;
    0 is the 1st percentile of all.

    Raises
    ------
    InputError
        When all voxels have one value: the image shows nothing.
    """
    values = image.float()
    flat = values.flatten()
    sampled = flat[:: max(1, flat.numel() // _SAMPLED)]
    bright = sampled[sampled > sampled.mean()]
    low = float(sampled.quantile(_DARKEST))
    high = float(bright.quantile(_BRIGHTEST)) if bright.numel() else low
    if high <= low:
        low, high = float(flat.min()), float(flat.max())
    if high <= low:
        raise InputError("The image has the same value everywhere.", "Check that it is the right file.")
    return ((values - low) / (high - low)).clamp(0, 1)
