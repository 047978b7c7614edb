"""Coarse isotropic grid of the network, and resampling of its probabilities to the scan's voxels."""

from __future__ import annotations

import math

import numpy as np

from NeuroGenLib.core.errors import InputError
from NeuroGenLib.spatial.grids import Shape3, centred_affine
from NeuroGenLib.spatial.volume import Volume, require_3d, require_finite

LEAST_MM, MOST_MM = 24.0, 2500.0
"""Plausible sides of a field of view: part of a head, or a whole body."""

_AT_ONCE = 2**23
"""Voxels of a scan for which the mask is made at once."""


def coarse_image(scan: Volume, spacing: float) -> Volume:
    """Return a scan with cubic voxels of ``spacing`` mm, over the same field of view.

    Parameters
    ----------
    scan:
        3-D, of any orientation and spacing.
    spacing:
        In mm.

    Returns
    -------
    Volume
        Float32. Its axes are those of the scan that lie nearest to R, A, S, in this order, so that it does not depend
        on how the scan is stored.

    Raises
    ------
    InputError
        When the scan has channels, NaN or infinite voxels, or is too small or large to show a head.
    """
    require_3d(scan, "The image")
    require_finite(scan, "The image")
    _require_size_of_heads(scan)
    upright = averaged(scan.reorient("RAS"), spacing / 2)
    extent = np.array(upright.shape) * upright.spacing
    i, j, k = (max(1, math.ceil(side / spacing - 1e-6)) for side in extent)
    shape: Shape3 = (i, j, k)
    affine = centred_affine(upright, upright.centre, shape, (spacing, spacing, spacing))
    coarse = upright.resample(like=(shape, affine))
    return coarse.with_array(coarse.array.astype(np.float32))


def averaged(volume: Volume, most: float) -> Volume:
    """Downsample by means of blocks that measure at most ``most`` mm along each axis.

    Incomplete blocks at the ends are dropped, as evenly as possible on both sides.
    """
    factors = [max(1, int(most / width + 1e-6)) for width in volume.spacing]
    if factors == [1, 1, 1]:
        return volume
    factors = [min(factor, size) for factor, size in zip(factors, volume.shape, strict=True)]
    counts = [size // factor for factor, size in zip(factors, volume.shape, strict=True)]
    first = [(size - count * factor) // 2 for size, count, factor in zip(volume.shape, counts, factors, strict=True)]
    means = np.empty(counts, np.float32)
    whole = tuple(
        slice(start, start + count * factor) for start, count, factor in zip(first, counts, factors, strict=True)
    )
    blocks = volume.array[whole].reshape(counts[0], factors[0], counts[1], factors[1], counts[2], factors[2])
    for index in range(counts[0]):
        means[index] = blocks[index].mean(axis=(0, 2, 4), dtype=np.float64)
    affine = volume.affine.copy()
    affine[:3, :3] *= factors
    affine[:3, 3] = volume.voxel_to_world([start + (n - 1) / 2 for start, n in zip(first, factors, strict=True)])
    return Volume(means, affine)


def on_scan(probability: Volume, scan: Volume) -> Volume:
    """Return the mask of a scan from probabilities on the coarse grid: 1 where they are above one half, else 0.

    Probabilities are interpolated linearly. Part after part of the scan is done, so that a huge one needs little more
    memory than its mask.

    Returns
    -------
    Volume
        uint8, on the grid of the scan.
    """
    mask = np.zeros(scan.shape, np.uint8)
    i, j, k = scan.shape
    thickness = max(1, _AT_ONCE // (j * k))
    for start in range(0, i, thickness):
        size = min(thickness, i - start)
        affine = scan.affine.copy()
        affine[:3, 3] = scan.voxel_to_world((start, 0, 0))
        mask[start : start + size] = probability.resample(like=((size, j, k), affine)).array > 0.5
    return scan.with_array(mask)


def _require_size_of_heads(scan: Volume) -> None:
    sides = [size * width for size, width in zip(scan.shape, scan.spacing, strict=True)]
    shown = " x ".join(f"{side:.3g}" for side in sides)
    if min(sides) < LEAST_MM:
        raise InputError(
            f"The image measures {shown} mm: too thin to find a brain in it.",
            "Check the voxel size in the header, or give a mask made by hand.",
            code="model-range",
        )
    if max(sides) > MOST_MM:
        raise InputError(
            f"The image measures {shown} mm, more than a whole body.",
            "Check the voxel size in the header.",
            code="geometry-invalid",
        )
