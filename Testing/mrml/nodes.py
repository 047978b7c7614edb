"""What tests read back from scenes: folders, matrices, displacement fields, whole files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from NeuroGenLib.mrml.arrays import from_vtk_matrix, image_array
from NeuroGenLib.mrml.core import Node, Scene, slicer, vtk
from NeuroGenLib.mrml.transforms import Direction, grid_transform
from NeuroGenLib.spatial.volume import Volume

if TYPE_CHECKING:
    from pathlib import Path


def load_scene(scene: Scene, path: Path) -> None:
    """Read a ``.mrb`` or ``.mrml`` beside what is in the scene."""
    messages = slicer.vtkMRMLMessageCollection()
    if path.suffix.lower() == ".mrb":
        read = scene.ReadFromMRB(str(path.resolve()), False, messages)
    else:
        scene.SetURL(str(path.resolve()))
        read = scene.Import(messages)
    assert read, messages.GetAllMessagesAsString()


def folder_of(scene: Scene, node: Node) -> str:
    """Return the name of the folder that a node is in; empty where it is in none."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    item = hierarchy.GetItemByDataNode(node)
    parent = hierarchy.GetItemParent(item) if item else 0
    return "" if parent in (0, hierarchy.GetSceneItemID()) else str(hierarchy.GetItemName(parent))


def matrix_of(node: Node, *, maps: Direction) -> np.ndarray:
    """Return the matrix of a linear transform node, (4, 4) RAS mm to RAS mm."""
    assert node.IsLinear()
    matrix = vtk.vtkMatrix4x4()
    take = node.GetMatrixTransformToParent if maps == "to_parent" else node.GetMatrixTransformFromParent
    take(matrix)
    return from_vtk_matrix(matrix)


def add_displacement_field(scene: Scene, field: Volume, name: str, *, maps: Direction) -> Node:
    """Add a displacement field in RAS mm, (3, i, j, k), as a grid transform node."""
    grid = grid_transform(field, name)
    node = scene.AddNewNodeByClass("vtkMRMLGridTransformNode", name)
    put = node.SetAndObserveTransformToParent if maps == "to_parent" else node.SetAndObserveTransformFromParent
    put(grid)
    return node


def displacement_field_of(node: Node, *, maps: Direction) -> Volume:
    """Return the displacement field of a grid transform node, (3, i, j, k) in RAS mm on its own grid."""
    take = node.GetTransformToParentAs if maps == "to_parent" else node.GetTransformFromParentAs
    grid = take("vtkOrientedGridTransform", False, True)
    image = grid.GetDisplacementGrid()
    affine = np.eye(4)
    affine[:3, :3] = from_vtk_matrix(grid.GetGridDirectionMatrix())[:3, :3] * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return Volume(image_array(image) * grid.GetDisplacementScale() + grid.GetDisplacementShift(), affine)
