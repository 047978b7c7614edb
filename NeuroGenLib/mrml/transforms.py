"""Matrices and displacement fields to transform nodes.

A transform node moves what is placed under it: *to parent* is the map from the coordinates of what is under the node
to the world. An image is moved by looking up, for every point of the result, where in the image its value comes
from: that is *from parent*. Registration gives this one, from the fixed image to the moving one; give it as
``maps="from_parent"``, put the moving volume under the node, and it lies on the fixed one. Slicer finds the other
direction by itself. (Slicer's transform files hold *from parent*, in LPS.)
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
from NeuroGenLib.spatial.volume import Volume, require_finite

Direction: TypeAlias = Literal["to_parent", "from_parent"]

_SHEAR = 1e-4
"""Cosine between two axes of a grid from which on it is sheared."""


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
        Which of the two directions the matrix is.

    Raises
    ------
    InputError
        When it is no invertible affine matrix.
    """
    matrix = np.asarray(matrix, np.float64)
    usable = matrix.shape == (4, 4) and np.isfinite(matrix).all() and np.array_equal(matrix[3], (0, 0, 0, 1))
    if not usable or abs(np.linalg.det(matrix[:3, :3])) < 1e-12:
        raise InputError(
            f"The matrix of '{name}' is no invertible 4x4 transform.",
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
    """Return the map from a node's own coordinates to the world, (4, 4) RAS mm; identity where nothing is above it.

    Raises
    ------
    InputError
        When a warp lies above the node.
    """
    above = node.GetParentTransformNode()
    if above is None:
        return np.eye(4)
    if not above.IsTransformToWorldLinear():
        raise InputError(
            f"'{node_name(node)}' lies under the warp '{node_name(above)}'.",
            "Harden the transform, or take the node out of it.",
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
        (3, i, j, k): displacement of each voxel centre along R, A, S, in mm; the point x of the world goes to
        x + field(x). Linear between voxels, zero outside. Of a registration, on the grid of the fixed image.
    name:
        The node's name.

    Raises
    ------
    InputError
        When the field has not three finite channels, or its grid is sheared.
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
    if np.abs(directions.T @ directions - np.eye(3)).max() > _SHEAR:
        raise InputError(
            f"The grid of the displacement field '{name}' is sheared, which transform files cannot hold.",
            "Resample the field onto a grid with right angles.",
            code="geometry-invalid",
        )
    image = vtk.vtkImageData()
    fill_image(image, field.array.astype(np.float64))
    image.SetSpacing(*field.spacing)
    image.SetOrigin(*field.affine[:3, 3].tolist())
    turned = np.eye(4)
    turned[:3, :3] = directions
    grid = slicer.vtkOrientedGridTransform()
    grid.SetGridDirectionMatrix(to_vtk_matrix(turned))
    grid.SetDisplacementGridData(image)
    return grid
