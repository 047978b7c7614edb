"""Volumes to scalar volume nodes and back."""

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
"""Probabilities below this are see-through where a map lies over an image."""


def add_volume(
    scene: Scene, volume: Volume, name: str, *, window: tuple[float, float] | None = None, colours: str = GREY
) -> Node:
    """Add a 3-D volume as ``vtkMRMLScalarVolumeNode``, in its place in the world.

    Its matrix is the volume's affine, exactly, be it oblique or sheared; a left-handed one is stored as
    :func:`NeuroGenLib.mrml.arrays.right_handed` says.

    Parameters
    ----------
    scene:
        ``vtkMRMLScene``.
    volume:
        (i, j, k).
    name:
        The node's name.
    window:
        Values shown as black and white; Slicer chooses from the data when not given.
    colours:
        Id of the colour node.

    Raises
    ------
    InputError
        When the volume has channels.
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
    """Put another 3-D volume into a scalar volume node; display and identity of the node stay.

    Raises
    ------
    InputError
        When the volume has channels.
    """
    require_3d(volume, f"The volume for '{node_name(node)}'")
    volume = right_handed(volume)
    image = node.GetImageData() or vtk.vtkImageData()
    unfinished = node.StartModify()  # one redraw, with array and matrix that belong together
    node.SetIJKToRASMatrix(to_vtk_matrix(volume.affine))
    fill_image(image, storable(volume.array))
    if node.GetImageData() is None:
        node.SetAndObserveImageData(image)
    image.Modified()
    node.StorableModified()
    node.EndModify(unfinished)


def volume_of(node: Node) -> Volume:
    """Return what a volume node holds, where it lies in the world: linear transforms above it are in the affine.

    Parameters
    ----------
    node:
        ``vtkMRMLVolumeNode``; components become channels, (c, i, j, k). The affine and the order of the voxels are the
        node's. Of a left-handed file they are not the file's (see
        :func:`NeuroGenLib.mrml.arrays.right_handed`): never pair an array from one with the affine of the other.

    Raises
    ------
    InputError
        When the node has no voxels, or a warp lies above it.
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
    """Return the values that all volumes are shown between: from 0 (or the lowest values) to the 99.5th percentile."""
    values = np.concatenate([volume.array[volume.array != 0].ravel() for volume in volumes])
    values = values[np.isfinite(values)]
    if not values.size:
        return 0.0, 1.0
    low, high = intensity_range(values, (0.5, 99.5))
    return min(low, 0.0), max(high, 0.0)
