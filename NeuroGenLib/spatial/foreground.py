"""Foreground of a scan: a mask of the head, on a grid that fits into memory."""

from __future__ import annotations

import numpy as np

from NeuroGenLib.core.errors import InputError
from NeuroGenLib.spatial.volume import Volume, require_3d, require_finite, require_same_space

MOST_VOXELS = 2**25
"""Largest image that is used at full resolution (320 x 320 x 320 voxels, 128 MiB of float32); larger ones are reduced
to means over blocks."""
_FEWEST_VOXELS = 32
"""Axes of this number of voxels or fewer are not reduced: slices of a thick stack stay apart."""
_EQUAL_WIDTHS = 1.01
"""Ratio of voxel widths up to which axes are reduced together, so that rounding of a header does not decide."""
_FOREGROUND_PARTS = 64
"""Voxels along the longest side of the copy on which the foreground is segmented: 4 mm for a field of
view of 256 mm."""


def reduced(volume: Volume) -> Volume:
    """Reduce an image of more than :data:`MOST_VOXELS` voxels to means over blocks; return others unchanged.

    The finest axes are reduced first, by whole factors. Means are float32 and stored as RAS, so that they do not depend
    on the stored orientation; an incomplete block at the right, anterior and superior end is dropped.

    Parameters
    ----------
    volume:
        (I, J, K) or (C, I, J, K).

    Examples
    --------
    >>> reduced(Volume(np.zeros((4, 5, 6)), np.eye(4))).shape
    (4, 5, 6)
    """
    if np.prod(volume.shape, dtype=np.float64) <= MOST_VOXELS:
        return volume
    if volume.channels is not None:
        layers = [reduced(Volume(layer, volume.affine)) for layer in volume.array]
        return Volume(np.stack([layer.array for layer in layers]), layers[0].affine)
    upright = volume.reorient("RAS")
    return pooled(upright, _blocks(upright))


def reduced_mask(mask: Volume) -> Volume:
    """Reduce a mask as :func:`reduced` does an image: to the blocks of which at least half lies inside.

    Examples
    --------
    >>> mask = Volume(np.ones((4, 5, 6), bool), np.eye(4))
    >>> reduced_mask(mask) is mask
    True
    """
    if np.prod(mask.shape, dtype=np.float64) <= MOST_VOXELS:
        return mask
    share = reduced(mask.with_array(mask.array != 0))
    return share.with_array((share.array > 0) & (share.array >= min(0.5, float(share.array.max()))))


def foreground(volume: Volume, mask: Volume | None = None, name: str = "The") -> Volume:
    """Mask of the head, boolean, on a coarse copy of the grid (at most 64 voxels along the longest side).

    Where there is a mask, its nonzero voxels; else the largest connected component above Otsu's threshold of the
    smoothed copy, with holes filled. The background may have any value below that of the head.

    Parameters
    ----------
    volume, mask:
        3-D image; nonzero where the brain is, in the same space.
    name:
        Name of the image in messages: "The fixed", "The moving".

    Raises
    ------
    InputError
        When the image is constant, has channels or values that are not finite, or the mask is empty or in another
        space.

    Examples
    --------
    >>> image = np.zeros((16, 16, 16), np.float32)
    >>> image[4:12, 4:12, 4:12] = 100
    >>> head = foreground(Volume(image, np.eye(4)))
    >>> bool(head.array[8, 8, 8]), bool(head.array[0, 0, 0])
    (True, False)
    """
    return _coarse_foreground(*_checked(volume, mask, name), name)


def _checked(volume: Volume, mask: Volume | None, name: str) -> tuple[Volume, Volume | None]:
    """Return image and mask, checked, and reduced where they are too large."""
    require_3d(volume, f"{name} image")
    require_finite(volume, f"{name} image")
    if mask is None:
        return reduced(volume), None
    require_3d(mask, f"{name} mask")
    require_same_space({f"{name} image": volume, f"{name} mask": mask})
    if not mask.array.any():
        raise InputError(f"{name} mask is empty.", "Check that it is the right file.", code="image-empty")
    return reduced(volume), reduced_mask(mask)


def _coarse_foreground(volume: Volume, mask: Volume | None, name: str) -> Volume:
    """Return the foreground of an image and mask that :func:`_checked` returned; errors as for :func:`foreground`."""
    from scipy import ndimage

    length = np.linalg.norm(volume.world_bounds[1] - volume.world_bounds[0])
    spacing = max(min(volume.spacing), float(length) / np.sqrt(3) / _FOREGROUND_PARTS)
    if mask is not None:
        filled = (mask.array != 0).astype(np.float32)
        coarse = mask.with_array(filled).reorient("RAS").resample(spacing)
        return coarse.with_array(coarse.array > min(0.5, 0.5 * float(coarse.array.max())))
    low, high = np.percentile(volume.array, (0.1, 99.5))
    if volume.array.min() == volume.array.max():
        raise InputError(
            f"{name} image has the same value everywhere.", "Check that it is the right file.", code="image-empty"
        )
    high = high if high > low else volume.array.max()
    clipped = volume.with_array(np.clip(volume.array.astype(np.float32), low, high))
    coarse = clipped.reorient("RAS").resample(spacing)
    smooth = ndimage.gaussian_filter(coarse.array, 1.0, mode="nearest")
    parts, _ = ndimage.label(smooth > _otsu(smooth))
    largest = parts == 1 + int(np.argmax(np.bincount(parts.ravel())[1:]))
    return coarse.with_array(ndimage.binary_fill_holes(largest))


def pooled(volume: Volume, factor: tuple[int, int, int]) -> Volume:
    """Average over blocks of voxels; an incomplete block at the end of an axis is dropped.

    A voxel of the result lies at the centre of its block.

    Raises
    ------
    InputError
        When the volume is smaller than a block.

    Examples
    --------
    >>> coarse = pooled(Volume(np.arange(8.0).reshape(8, 1, 1), np.eye(4)), (2, 1, 1))
    >>> coarse.array.ravel().tolist(), coarse.voxel_to_world((0, 0, 0)).tolist()
    ([0.5, 2.5, 4.5, 6.5], [0.5, 0.0, 0.0])
    """
    if factor == (1, 1, 1):
        return volume
    counts = [size // step for size, step in zip(volume.shape, factor, strict=True)]
    if min(counts) == 0:
        raise InputError(
            f"A volume of {volume.shape} voxels is smaller than blocks of {factor}.",
            "Lower preparation.downsampling.",
            code="value-invalid",
        )
    used = volume.array[tuple(slice(count * step) for count, step in zip(counts, factor, strict=True))]
    (i, j, k), (a, b, c) = counts, factor
    means = used.astype(np.float32).reshape(i, a, j, b, k, c).mean(axis=(1, 3, 5))
    steps = np.eye(4)
    steps[:3, :3] = np.diag(factor)
    steps[:3, 3] = (np.array(factor) - 1) / 2
    return Volume(means, volume.affine @ steps)


def _blocks(volume: Volume) -> tuple[int, int, int]:
    """Return the size of a block along each axis."""
    shape, factor = np.array(volume.shape), np.ones(3, dtype=int)
    while np.prod(shape // factor, dtype=np.float64) > MOST_VOXELS:
        widths = np.where(shape // factor > _FEWEST_VOXELS, factor * np.array(volume.spacing), np.inf)
        factor += widths <= _EQUAL_WIDTHS * widths.min()
    i, j, k = (int(step) for step in factor)
    return i, j, k


def _otsu(values: np.ndarray) -> float:
    import SimpleITK

    otsu = SimpleITK.OtsuThresholdImageFilter()
    otsu.Execute(SimpleITK.GetImageFromArray(values.astype(np.float32)))
    return min(float(otsu.GetThreshold()), float(np.nextafter(values.max(), -np.inf)))
