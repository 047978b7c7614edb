"""Intensity normalisation by percentiles, the same for simulated images and for scans."""

from __future__ import annotations

from typing import TYPE_CHECKING

from NeuroGenLib.core.errors import InputError

if TYPE_CHECKING:
    import torch

_DARKEST, _BRIGHTEST = 0.01, 0.99
"""Quantiles that become 0 (of all voxels) and 1 (of the voxels above the mean)."""
_SAMPLED = 200_000
"""Voxels from which the quantiles are estimated: more is slower and changes little."""


def rescaled(image: torch.Tensor) -> torch.Tensor:
    """Rescale an image of any shape to 0..1, clipped; float32.

    1 is the 99th percentile of the voxels above the mean, so that it hardly depends on how much air surrounds a head;
    0 is the 1st percentile of all.

    Raises
    ------
    InputError
        When all voxels have one value.
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
        raise InputError(
            "The image has the same value everywhere.", "Check that it is the right file.", code="image-empty"
        )
    return ((values - low) / (high - low)).clamp(0, 1)
