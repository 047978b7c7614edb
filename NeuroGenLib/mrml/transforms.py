"""Conversion of matrices and displacement fields to transform nodes.

A transform node applies to the nodes under it: *to parent* maps their coordinates to world coordinates. An image is
resampled by *from parent*, which maps every point of the result to the point of the image with its value. Registration
gives this direction, from the fixed image to the moving one; pass it as ``maps="from_parent"``, put the moving volume
under the node, and it is aligned with the fixed one. Slicer computes the other direction. (Slicer's transform files
hold *from parent*, in LPS.)
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import numpy as np

from NeuroGenLib.core.errors import InputError
from NeuroGenLib.mrml.arrays import (
    fill_image,
    from_vtk_matrix,
    node_name,
    right_handed,
    to_vtk_matrix,
)
from NeuroGenLib.mrml.core import Node, Scene, slicer, vtk
from NeuroGenLib.spatial.files.itk import is_sheared
from NeuroGenLib.spatial.volume import Volume, require_finite

Direction: TypeAlias = Literal["to_parent", "from_parent"]


def add_linear_transform(scene: Scene, matrix: np.ndarray, name: str, *, maps: Direction) -> Node:
    """Add a linear transform as ``vtkMRMLLinearTransformNode``.

    Parameters
    ----------
    scene:
        ``vtkMRMLScene``.
    matrix:
        (4, 4), RAS mm to RAS mm.
    name:
        The node's name.
    maps:
        Direction of the matrix.

    Raises
    ------
    InputError
        When it is not an invertible affine matrix.

    Examples
    --------
    >>> from NeuroGenLib.mrml.scene import HeadlessScene
    >>> with HeadlessScene() as headless:
    ...     add_linear_transform(headless.scene, np.eye(4), "identity", maps="to_parent").GetName()
    'identity'
    """
    matrix = np.asarray(matrix, np.float64)
    usable = matrix.shape == (4, 4) and np.isfinite(matrix).all() and np.array_equal(matrix[3], (0, 0, 0, 1))
    if not usable or abs(np.linalg.det(matrix[:3, :3])) < 1e-12:
        raise InputError(
            f"The matrix of '{name}' is not an invertible 4x4 transform.",
            "Make the transform again.",
            code="transform-invalid",
        )
    node = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", name)
    if maps == "to_parent":
        node.SetMatrixTransformToParent(to_vtk_matrix(matrix))
    else:
        node.SetMatrixTransformFromParent(to_vtk_matrix(matrix))
    return node


def parent_matrix(node: Node) -> np.ndarray:
    """Return the map from a node's own coordinates to the world, (4, 4) RAS mm; identity without a parent.

    Raises
    ------
    InputError
        When the node is under a warp.
    """
    above = node.GetParentTransformNode()
    if above is None:
        return np.eye(4)
    if not above.IsTransformToWorldLinear():
        raise InputError(
            f"'{node_name(node)}' is under the warp '{node_name(above)}'.",
            "Harden the transform, or remove the node from it.",
            code="transform-invalid",
        )
    matrix = vtk.vtkMatrix4x4()
    above.GetMatrixTransformToWorld(matrix)
    return from_vtk_matrix(matrix)


def grid_transform(field: Volume, name: str) -> Any:
    """Return a displacement field as ``vtkOrientedGridTransform``.

    Parameters
    ----------
    field:
        (3, i, j, k): displacement of each voxel centre along R, A, S, in mm; the world point x is mapped to
        x + field(x). Linear between voxels, zero outside. Of a registration, on the grid of the fixed image.
    name:
        The node's name.

    Raises
    ------
    InputError
        When the field does not have three finite channels, or its grid is sheared.
    """
    if field.channels != 3:
        raise InputError(
            f"The displacement field of '{name}' has {field.channels or 1} channel(s), not 3.",
            "Give displacements along R, A and S in mm, channels first.",
            code="image-dimensions",
        )
    require_finite(field, f"The displacement field of '{name}'")
    field = right_handed(field)
    directions = field.affine[:3, :3] / field.spacing
    if is_sheared(field.affine):
        raise InputError(
            f"The grid of the displacement field '{name}' is sheared, which transform files cannot hold.",
            "Resample the field onto a grid with right angles.",
            code="geometry-invalid",
        )
    image = vtk.vtkImageData()
    fill_image(image, field.array.astype(np.float64))
    image.SetSpacing(*field.spacing)
    image.SetOrigin(*field.affine[:3, 3].tolist())
    rotation = np.eye(4)
    rotation[:3, :3] = directions
    grid = slicer.vtkOrientedGridTransform()
    grid.SetGridDirectionMatrix(to_vtk_matrix(rotation))
    grid.SetDisplacementGridData(image)
    return grid
