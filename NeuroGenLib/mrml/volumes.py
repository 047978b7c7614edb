"""Conversion between volumes and scalar volume nodes."""

from __future__ import annotations

import numpy as np

from NeuroGenLib.core.errors import InputError
from NeuroGenLib.mrml.arrays import (
    fill_image,
    from_vtk_matrix,
    image_array,
    node_name,
    right_handed,
    storable,
    to_vtk_matrix,
)
from NeuroGenLib.mrml.core import Node, Scene, vtk
from NeuroGenLib.mrml.transforms import parent_matrix
from NeuroGenLib.spatial.intensity import intensity_range
from NeuroGenLib.spatial.volume import Volume, require_3d

GREY = "vtkMRMLColorTableNodeGrey"
FAINTEST = 0.05
"""Probabilities below this are transparent where a map is overlaid on an image."""


def add_volume(
    scene: Scene, volume: Volume, name: str, *, window: tuple[float, float] | None = None, colours: str = GREY
) -> Node:
    """Add a 3-D volume as ``vtkMRMLScalarVolumeNode``.

    Its matrix is exactly the affine of the volume, whether oblique or sheared; a left-handed volume is stored by
    :func:`NeuroGenLib.mrml.arrays.right_handed`.

    Parameters
    ----------
    scene:
        ``vtkMRMLScene``.
    volume:
        (i, j, k).
    name:
        The node's name.
    window:
        Values shown as black and white; Slicer's choice by default.
    colours:
        Id of the colour node.

    Raises
    ------
    InputError
        When the volume has channels.

    Examples
    --------
    >>> from NeuroGenLib.mrml.scene import HeadlessScene
    >>> with HeadlessScene() as headless:
    ...     node = add_volume(headless.scene, Volume(np.ones((4, 5, 6), np.float32), np.eye(4)), "T2w")
    ...     volume_of(node)
    Volume(4x5x6 float32, 1x1x1 mm, RAS)
    """
    require_3d(volume, f"The volume for '{name}'")
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    update_volume(node, volume)
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.SetAndObserveColorNodeID(colours)
    if window is not None:
        display.SetAutoWindowLevel(False)
        display.SetWindowLevelMinMax(*window)
    return node


def update_volume(node: Node, volume: Volume) -> None:
    """Replace the volume of a scalar volume node; its display and id are kept.

    Raises
    ------
    InputError
        When the volume has channels.
    """
    require_3d(volume, f"The volume for '{node_name(node)}'")
    volume = right_handed(volume)
    image = node.GetImageData() or vtk.vtkImageData()
    unfinished = node.StartModify()  # one rendering, with matching array and matrix
    node.SetIJKToRASMatrix(to_vtk_matrix(volume.affine))
    fill_image(image, storable(volume.array))
    if node.GetImageData() is None:
        node.SetAndObserveImageData(image)
    image.Modified()
    node.StorableModified()
    node.EndModify(unfinished)


def volume_of(node: Node) -> Volume:
    """Return the volume of a node in world space: linear parent transforms are applied to the affine.

    Parameters
    ----------
    node:
        ``vtkMRMLVolumeNode``; components become channels, (c, i, j, k). Affine and order of voxels are those of the
        node. They differ from those of a left-handed file (see :func:`NeuroGenLib.mrml.arrays.right_handed`): never
        combine an array of one with the affine of the other.

    Raises
    ------
    InputError
        When the node has no voxels, or is under a warp.
    """
    image = node.GetImageData()
    if image is None or 0 in image.GetDimensions() or not image.GetPointData().GetScalars():
        raise InputError(
            f"The volume '{node_name(node)}' holds no voxels.", "Load it again, or choose another.", code="image-empty"
        )
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    return Volume(image_array(image), parent_matrix(node) @ from_vtk_matrix(matrix))


def window_of(volumes: list[Volume]) -> tuple[float, float]:
    """Return a common display window of volumes: from 0, or the 0.5th percentile where it is negative, to the 99.5th.

    Voxels of value 0 do not count.

    Examples
    --------
    >>> window_of([Volume(np.arange(1001.0).reshape(1001, 1, 1), np.eye(4))])
    (0.0, 995.005)
    """
    values = np.concatenate([volume.array[volume.array != 0].ravel() for volume in volumes])
    values = values[np.isfinite(values)]
    if not values.size:
        return 0.0, 1.0
    low, high = intensity_range(values, (0.5, 99.5))
    return min(low, 0.0), max(high, 0.0)
