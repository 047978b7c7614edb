"""Intensities along a line across the slices: what a super-resolution did to edges."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from NeuroGenLib.core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from NeuroGenLib.spatial.volume import Volume

DISTANCE = "distance_mm"
SLICES, INTERPOLATED, RESULT = "slices", "interpolated", "result"
_ROUNDING = 1e-6
"""Tolerance of positions along the line, in steps, for rounding."""


def profile_rows(
    images: Mapping[str, Volume], result: Volume, point: np.ndarray, across: np.ndarray
) -> list[dict[str, float | None]]:
    """Return intensities along the line through a point, as far as the result reaches.

    Parameters
    ----------
    images:
        (i, j, k), by the names of the columns, each on a grid of its own. Those on the grid of the result are
        interpolated linearly; of any other, such as the scan in thick slices, the voxel that the place lies in is
        taken, so that its slices show as steps.
    result:
        Its grid is where the line ends, and its finest spacing the step.
    point, across:
        (3,) RAS mm on the line; (3,) its direction, of any length but 0.

    Returns
    -------
    list
        For each step ``distance_mm`` from the point, and a value by the name of each image; None outside it.

    Raises
    ------
    InputError
        When the point lies outside the result.
    """
    step = min(result.spacing)
    direction = np.asarray(across, float) / np.linalg.norm(across)
    low, high = _inside(result, np.asarray(point, float), direction)
    distances = np.arange(np.ceil(low / step - _ROUNDING), np.floor(high / step + _ROUNDING) + 1) * step
    places = np.asarray(point, float) + distances[:, None] * direction
    columns = {name: _values(image, places, linear=image.same_space(result)) for name, image in images.items()}
    return [
        {DISTANCE: float(distance), **{name: values[row] for name, values in columns.items()}}
        for row, distance in enumerate(distances)
    ]


def _inside(volume: Volume, point: np.ndarray, direction: np.ndarray) -> tuple[float, float]:
    """Return between which distances, in mm, a line lies between the outermost voxel centres of a volume."""
    start = volume.world_to_voxel(point)
    along = volume.world_to_voxel(point + direction) - start
    last = np.asarray(volume.shape) - 1
    if (start < -0.5).any() or (start > last + 0.5).any():
        raise InputError(
            "The point lies outside the result.", "Move the crosshair into the head.", code="value-invalid"
        )
    start = np.clip(start, 0, last)
    moves = np.abs(along) > _ROUNDING
    ends = np.stack([-start[moves], (last - start)[moves]]) / along[moves]
    return float(ends.min(axis=0).max()), float(ends.max(axis=0).min())


def _values(image: Volume, places: np.ndarray, *, linear: bool) -> list[float | None]:
    from scipy.ndimage import map_coordinates

    index = image.world_to_voxel(places).T
    last = np.asarray(image.shape)[:, None] - 1
    inside: np.ndarray = np.all((index >= -0.5) & (index <= last + 0.5), axis=0)
    index = np.clip(index, 0, last)
    values = map_coordinates(image.array, index if linear else np.rint(index), np.float64, order=int(linear))
    return [float(value) if here else None for value, here in zip(values, inside, strict=True)]
