"""Spatial maps as transform nodes: affine, displacement field and affine in one node."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from NeuroGenLib.mrml.arrays import to_vtk_matrix
from NeuroGenLib.mrml.core import Node, Scene, vtk
from NeuroGenLib.mrml.transforms import grid_transform

if TYPE_CHECKING:
    import numpy as np

    from NeuroGenLib.spatial.transforms.spatial_map import SpatialMap


def add_spatial_map(scene: Scene, spatial_map: SpatialMap, name: str) -> Node:
    """Add a spatial map as ``vtkMRMLTransformNode``, as *from parent*: it resamples the nodes under it.

    The map from fixed to moving points brings the moving image onto the fixed one. Slicer computes the inverse; saved
    as ``.h5`` it is the ITK composite that :mod:`NeuroGenLib.spatial.files.spatial_maps` writes.

    Parameters
    ----------
    scene:
        ``vtkMRMLScene``.
    spatial_map, name:
        The map, and the node's name.

    Raises
    ------
    InputError
        When the grid of its field is sheared.
    """
    transform = _vtk_transform(spatial_map, name)
    node = scene.AddNewNodeByClass("vtkMRMLTransformNode", name)
    node.SetAndObserveTransformFromParent(transform)
    return node


def update_spatial_map(node: Node, spatial_map: SpatialMap) -> None:
    """Replace the map of a node of :func:`add_spatial_map`; the nodes under it follow.

    Raises
    ------
    InputError
        When the grid of its field is sheared.
    """
    node.SetAndObserveTransformFromParent(_vtk_transform(spatial_map, str(node.GetName())))


def _vtk_transform(spatial_map: SpatialMap, name: str) -> Any:
    if spatial_map.field is None:
        return _linear(spatial_map.after @ spatial_map.before)
    transform = vtk.vtkGeneralTransform()
    transform.PostMultiply()
    transform.Concatenate(_linear(spatial_map.before))
    transform.Concatenate(grid_transform(spatial_map.field, name))
    transform.Concatenate(_linear(spatial_map.after))
    return transform


def _linear(matrix: np.ndarray) -> Any:
    transform = vtk.vtkTransform()
    transform.SetMatrix(to_vtk_matrix(matrix))
    return transform
