"""Similarity of two scans under any map between them: it decides whether a result is better than what it began with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from NeuroGenLib.alignment.prepared_image import first_channel
from NeuroGenLib.spatial.metrics import normalised_information

if TYPE_CHECKING:
    from collections.abc import Callable

    from NeuroGenLib.alignment.prepared_image import PreparedImage
    from NeuroGenLib.spatial.volume import Volume

    PointMap = Callable[[np.ndarray], np.ndarray]

_MOST_POINTS = 200_000
"""Points that similarity is measured at: enough for a joint histogram, and quick."""
_BINS = 32
"""Bins of each intensity in the joint histogram."""
_TOLERANCE = 1e-3
"""Part of a similarity that counts as rounding: equal images lose as much by interpolation."""


def scan_similarity(fixed: PreparedImage, moving: PreparedImage, forward: PointMap, inverse: PointMap) -> float:
    """Return the normalised mutual information of the scans, 0 to 1, whatever their contrasts.

    Over the voxels of the foreground of ``fixed`` and over those of ``moving``, averaged, at the scans' own voxel size
    and without the background around the heads: errors that coarse copies or outlines do not show count as well.

    Parameters
    ----------
    fixed, moving:
        The scans; of several channels the first counts.
    forward, inverse:
        Points of ``fixed`` to points of ``moving``, (N, 3) RAS mm, and the reverse.
    """
    return (_similarity(fixed, moving, forward) + _similarity(moving, fixed, inverse)) / 2


def less_similar(after: float, before: float) -> bool:
    """Return whether a similarity is lower than another by more than rounding.

    Examples
    --------
    >>> less_similar(0.3, 0.4), less_similar(0.39999, 0.4)
    (True, False)
    """
    return after < before * (1 - _TOLERANCE)


def foreground_points(image: PreparedImage) -> np.ndarray:
    """Return at most 200 000 voxel centres of the foreground, spread evenly, (N, 3) RAS mm."""
    inside = image.foreground
    points = inside.voxel_to_world(np.argwhere(inside.array))
    return points[:: max(1, -(-len(points) // _MOST_POINTS))]


def values_at(volume: Volume, points: np.ndarray) -> np.ndarray:
    """Return linearly interpolated values (N,) of a 3-D volume at (N, 3) RAS mm; outside the volume its darkest."""
    from scipy.ndimage import map_coordinates

    index, darkest = volume.world_to_voxel(points).T, float(volume.array.min())
    values: np.ndarray = map_coordinates(volume.array, index, output=np.float32, order=1, mode="constant", cval=darkest)
    return values


def _similarity(fixed: PreparedImage, moving: PreparedImage, forward: PointMap) -> float:
    points = foreground_points(fixed)
    own, mapped = values_at(first_channel(fixed.scan), points), values_at(first_channel(moving.scan), forward(points))
    return normalised_information(own, mapped, _BINS)
