"""Slice decimation as in the published super-resolution program, BABY-AI: thick slices by dropping most slices.

There is no slice profile, and the image is scaled: the first and the last slice that are kept take the positions of the
first and the last slice of the scan. For comparisons; the physics is in ``thick_slices.py``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from NeuroGenLib.core.errors import InputError, nearest
from NeuroGenLib.spatial.volume import require_3d, require_finite

if TYPE_CHECKING:
    from NeuroGenLib.spatial.volume import Volume

AXES = {"sagittal": 0, "coronal": 1, "axial": 2}
"""Direction of the slices to the array axis along which they are stacked."""

_STORED = "LAS"
_ORDER = 3


def decimate(image: np.ndarray, direction: str, factor: int, start: int = 0) -> np.ndarray:
    """Keep every ``factor``-th slice of an array and interpolate the others with cubic splines.

    Parameters
    ----------
    image:
        (I, J, K), stored with i, j, k along the sagittal, coronal and axial stacking directions.
    direction:
        ``axial`` (slices along k), ``coronal`` (j) or ``sagittal`` (i).
    factor:
        Distance in voxels of the slices that are kept.
    start:
        The first slice that is kept.

    Returns
    -------
    ndarray
        float64 in the shape of ``image``; its first slice is the first one kept, its last the last one kept.

    Raises
    ------
    InputError
        When the direction is unknown, or fewer than two slices would be kept.

    Examples
    --------
    >>> ramp = np.zeros((2, 2, 9)) + np.arange(9.0)
    >>> decimate(ramp, "axial", 4)[0, 0, [0, 8]].round(6).tolist()
    [0.0, 8.0]
    """
    from scipy.ndimage import zoom

    if direction not in AXES:
        raise InputError(f"'{direction}' is not a direction of slices.", nearest(direction, AXES), code="name-unknown")
    axis = AXES[direction]
    values = np.asarray(image, dtype=np.float64)
    size = values.shape[axis]
    if factor < 1 or not 0 <= start < size:
        raise InputError(
            f"Every {factor}th slice from slice {start} is invalid for {size} {direction} slices.",
            f"Give a factor of at least 1 and a start from 0 to {size - 1}.",
            code="value-invalid",
        )
    kept = values[(slice(None),) * axis + (slice(start, None, factor),)]
    count = kept.shape[axis]
    if count < 2:
        raise InputError(
            f"Of {size} {direction} slices, every {factor}th from slice {start} leaves one.",
            "Choose a smaller factor.",
            code="value-invalid",
        )
    factors = [1.0, 1.0, 1.0]
    factors[axis] = size / count
    enlarged: np.ndarray = zoom(kept, factors, order=_ORDER)
    return enlarged


def decimate_volume(volume: Volume, direction: str, factor: int, start: int = 0) -> Volume:
    """Decimate the slices of a volume, the direction by anatomy; the result keeps its grid, as published.

    Slices are counted from the right, the back or below, as in images in the published orientation (LAS): the stored
    orientation does not matter. The affine ignores the scaling, which moves the image by ``start`` voxels at one end
    and by less than ``factor`` at the other.

    Returns
    -------
    Volume
        float64 on the grid of ``volume``.

    Raises
    ------
    InputError
        As :func:`decimate`; also when the volume has channels or is not finite.

    Examples
    --------
    >>> from NeuroGenLib.spatial.volume import Volume
    >>> decimate_volume(Volume(np.ones((6, 6, 8)), np.eye(4)), "axial", 4)
    Volume(6x6x8 float64, 1x1x1 mm, RAS)
    """
    require_3d(volume, "The scan")
    require_finite(volume, "The scan")
    stored = volume.reorient(_STORED)
    thick = stored.with_array(decimate(stored.array, direction, factor, start))
    return thick.reorient(volume.axcodes)
