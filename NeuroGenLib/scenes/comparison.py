"""Comparison of two images: faded, in a checkerboard, or under a map of the change of volume."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from NeuroGenLib.mrml.colours import thresholded_colours
from NeuroGenLib.mrml.volumes import window_of
from NeuroGenLib.spatial.intensity import rescale
from NeuroGenLib.spatial.volume import Volume, require_same_space

if TYPE_CHECKING:
    from NeuroGenLib.mrml.core import Node, Scene

CHANGE_WINDOW = (0.0, 2.0)
"""Jacobian determinants between the ends of the colours; 1 keeps the volume and lies in the middle."""
CHANGE_COLOURS = "NeuroGen volume change"


def checkerboard(first: Volume, second: Volume, tile_mm: float) -> Volume:
    """Return cubes of two images alternately, float32, each image scaled from about 0 to 1.

    Parameters
    ----------
    first, second:
        (i, j, k) on one grid; the cube at the first voxel is of ``first``.
    tile_mm:
        Side of the cubes, mm, rounded to whole voxels along each axis.

    Raises
    ------
    InputError
        When the images lie on different grids.
    """
    require_same_space({"the first image": first, "the second image": second})
    along = [
        np.arange(size) // max(1, round(tile_mm / step)) for size, step in zip(first.shape, first.spacing, strict=True)
    ]
    odd = (along[0][:, None, None] + along[1][:, None] + along[2]) % 2 == 1
    return first.with_array(np.where(odd, _scaled(second), _scaled(first)))


def change_colours(scene: Scene, least: float) -> Node:
    """Return the ``vtkMRMLColorTableNode`` for Jacobian determinants in :data:`CHANGE_WINDOW`, made at the first call.

    Blue below 1, red above, darker towards 1.

    Parameters
    ----------
    scene:
        ``vtkMRMLScene``.
    least:
        Changes smaller than this, 0.1 for 10 %, are see-through.
    """
    return thresholded_colours(scene, CHANGE_COLOURS, CHANGE_WINDOW, least)


def _scaled(image: Volume) -> np.ndarray:
    return rescale(image.array, *window_of([image])).astype(np.float32)
