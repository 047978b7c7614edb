"""Intensity normalisation: the range between two percentiles, and rescaling of that range to 0 to 1."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from NeuroGenLib.core.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

_NARROWEST = 1e-30
"""Least width of a range: far below the rounding of intensities, above the smallest float32."""


def intensity_range(
    values: ArrayLike,
    percentiles: tuple[float, float] = (0, 100),
    *,
    mask: ArrayLike | None = None,
    name: str = "The image",
) -> tuple[float, float]:
    """Intensities at two percentiles, with linear interpolation between ranks; equal ones of a constant image.

    Parameters
    ----------
    values:
        Finite intensities of any shape.
    percentiles:
        Lower and upper percentile, 0 to 100: 0 and 100 are the least and the largest intensity.
    mask:
        Of the same shape: only nonzero voxels count. All voxels count by default.
    name:
        Name of the image in an error.

    Raises
    ------
    InputError
        When the mask has another shape, or no voxel counts.

    Examples
    --------
    >>> intensity_range(np.arange(101), (1, 99))
    (1.0, 99.0)
    >>> intensity_range([0, 0, 2, 4], mask=[0, 0, 1, 1])
    (2.0, 4.0)
    """
    counted = np.asarray(values)
    if mask is not None:
        inside = np.asarray(mask) != 0
        if inside.shape != counted.shape:
            raise InputError(
                f"{name} has {counted.shape} voxels and its mask {inside.shape}.",
                "Resample the mask like the image.",
                code="geometry-mismatch",
            )
        counted = counted[inside]
    if counted.size == 0:
        raise InputError(
            f"{name} has no voxel in its mask.", "Check that it is the right file, or give a mask.", code="image-empty"
        )
    low, high = np.percentile(counted, percentiles)
    return float(low), float(high)


def rescale(values: np.ndarray, low: float, high: float, *, clip: bool = True) -> np.ndarray:
    """Rescale intensities so that ``low`` becomes 0 and ``high`` becomes 1.

    Where ``high`` is not above ``low``, as in a constant image, the result is a step after ``low``.

    Parameters
    ----------
    values:
        Intensities of any shape.
    low, high:
        The range, such as one of :func:`intensity_range`.
    clip:
        Whether values outside the range become 0 or 1.

    Returns
    -------
    ndarray
        A new array: float32 for float32, else float64.

    Examples
    --------
    >>> image = np.array([-1.0, 0.0, 5.0, 20.0])
    >>> rescale(image, 0, 10).tolist(), rescale(image, 0, 10, clip=False).tolist()
    ([0.0, 0.0, 0.5, 1.0], [-0.1, 0.0, 0.5, 2.0])
    """
    kind = np.float32 if values.dtype == np.float32 else np.float64
    scaled: np.ndarray = values.astype(kind)
    scaled -= kind(low)
    scaled /= kind(max(high - low, _NARROWEST))
    return np.clip(scaled, 0, 1, out=scaled) if clip else scaled
