"""Sizes that an image of a head or a brain can have."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from NeuroGenLib.core.errors import InputError

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

FINEST_MM, COARSEST_MM = 0.05, 20.0
"""Sizes of voxels: between the finest scans of excised brains (0.1 mm) with a margin, and twice the thickest slices."""
SMALLEST_MM, LARGEST_MM = 10.0, 1000.0
"""Extents of the longest axis: half a brain at 12 weeks of gestation, and twice a head with its shoulders. Beyond
them the header holds metres, microns or voxel counts instead of mm, and the work would fill the memory."""


def require_plausible(shape: Sequence[int], affine: np.ndarray, path: str | os.PathLike[str]) -> None:
    """Require that voxels and field of view have the size of those of a head or a brain.

    Parameters
    ----------
    shape, affine:
        Voxels along i, j, k; voxel indices to RAS mm.
    path:
        What the message names.

    Raises
    ------
    InputError
        Naming the size that is implausible.
    """
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    extent = spacing * np.asarray(shape)
    sides = [step for step, count in zip(spacing, shape, strict=True) if count > 1] or list(spacing)
    if min(sides) < FINEST_MM or max(sides) > COARSEST_MM:
        what = f"voxels of {_sizes(spacing)} mm"
    elif extent.max() < SMALLEST_MM or extent.max() > LARGEST_MM:
        what = f"a field of view of {_sizes(extent)} mm"
    else:
        return
    raise InputError(
        f"{path} has {what}, which no image of a head or a brain has.",
        "Correct the voxel sizes in its header (they are in mm), or give --any-size if they are right.",
        code="geometry-invalid",
    )


def _sizes(millimetres: np.ndarray) -> str:
    return " x ".join(f"{mm:.4g}" for mm in millimetres)
