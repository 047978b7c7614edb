"""The grid on which the network sees a scan in training."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from NeuroGenLib.core.errors import InputError

if TYPE_CHECKING:
    from NeuroGenLib.spatial.volume import Volume

Shape3 = tuple[int, int, int]


def filled_grid(inside: Volume, shape: Shape3, fill: float) -> tuple[Shape3, np.ndarray]:
    """Return the grid of cubic voxels, along R, A, S, that a structure fills.

    Parameters
    ----------
    inside:
        Nonzero where the structure is; 3-D, its axes along R, A, S (``reorient("RAS")``).
    shape:
        Voxels of the grid.
    fill:
        Share of the tightest axis that the structure's box takes; the box is in the middle.

    Returns
    -------
    tuple
        ``shape`` and the (4, 4) affine to RAS mm. It has the axes of ``inside``, oblique ones too.

    Raises
    ------
    InputError
        When the structure is empty.

    Examples
    --------
    >>> from NeuroGenLib.spatial.volume import Volume
    >>> inside = np.zeros((10, 10, 10), bool)
    >>> inside[2:7, 3:6, 4:6] = True
    >>> shape, affine = filled_grid(Volume(inside, np.eye(4)), (10, 10, 10), fill=0.5)
    >>> float(affine[0, 0])
    1.0
    """
    filled = inside.array != 0
    if not filled.any():
        raise InputError(
            "There is nothing to place on the grid.", "Check that it is the right file.", code="image-empty"
        )
    along = [np.flatnonzero(filled.any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3)]
    first, last = (np.array([index[end] for index in along]) for end in (0, -1))
    spacing = np.array(inside.spacing)
    width = float(((last - first + 1) * spacing / (fill * np.array(shape))).max())
    return shape, centred_affine(inside, inside.voxel_to_world((first + last) / 2), shape, (width, width, width))


def centred_affine(like: Volume, centre: np.ndarray, shape: Shape3, spacing: tuple[float, float, float]) -> np.ndarray:
    """Return the (4, 4) affine of a grid with the directions of ``like`` and its middle at ``centre``, RAS mm."""
    affine = np.eye(4)
    affine[:3, :3] = like.affine[:3, :3] / np.array(like.spacing) * np.array(spacing)
    affine[:3, 3] = centre - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return affine
