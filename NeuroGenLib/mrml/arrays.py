"""Conversion between NumPy and VTK; the convention for left-handed volumes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from NeuroGenLib.mrml.core import Node, vtk
from NeuroGenLib.spatial.volume import Volume

if TYPE_CHECKING:
    from typing import Any

_INT32 = np.iinfo(np.int32)


def right_handed(volume: Volume) -> Volume:
    """Return the volume with right-handed axes i, j, k: K of a left-handed one is reversed.

    Slicer does the same to every left-handed file that it reads (such as LAS, as FSL writes), since its surfaces and
    volume rendering require it. Every node of this package follows this convention, so that it does not matter whether
    a node was made from an array or read from a file. Each voxel keeps its world coordinates.

    Examples
    --------
    >>> right_handed(Volume(np.zeros((4, 5, 6)), np.diag([-1.0, 1.0, 1.0, 1.0]))).axcodes
    ('L', 'A', 'I')
    """
    if np.linalg.det(volume.affine[:3, :3]) > 0:
        return volume
    reverse = np.diag([1.0, 1.0, -1.0, 1.0])
    reverse[2, 3] = volume.shape[2] - 1
    return Volume(np.flip(volume.array, axis=-1), volume.affine @ reverse)


def storable(array: np.ndarray) -> np.ndarray:
    """Return an array of a type that Slicer can show and write, with the same values.

    Booleans become uint8, int8 becomes int16, 64-bit integers int32 where that holds them, else float64.

    Examples
    --------
    >>> storable(np.array([True])).dtype, storable(np.array([2**40])).dtype
    (dtype('uint8'), dtype('float64'))
    """
    if array.dtype == bool:
        return array.astype(np.uint8)
    if array.dtype == np.int8:
        return array.astype(np.int16)
    if array.dtype in (np.int64, np.uint64):
        fits = int(array.min()) >= _INT32.min and int(array.max()) <= _INT32.max
        return array.astype(np.int32 if fits else np.float64)
    return array


def to_kji(array: np.ndarray) -> np.ndarray:
    """Return (i, j, k) as Slicer's (k, j, i), or channels first (c, i, j, k) as (k, j, i, c); a view.

    Examples
    --------
    >>> to_kji(np.zeros((3, 4, 5, 6))).shape
    (6, 5, 4, 3)
    """
    return array.transpose(range(array.ndim)[::-1])


def from_kji(array: np.ndarray) -> np.ndarray:
    """Return Slicer's (k, j, i) as (i, j, k), or (k, j, i, c) as (c, i, j, k); a copy.

    Examples
    --------
    >>> from_kji(np.zeros((6, 5, 4))).shape
    (4, 5, 6)
    """
    return np.array(array.transpose(range(array.ndim)[::-1]), order="C")


def to_vtk_matrix(matrix: np.ndarray) -> Any:
    """Return a (4, 4) array as ``vtkMatrix4x4``."""
    result = vtk.vtkMatrix4x4()
    result.DeepCopy(np.asarray(matrix, np.float64).ravel().tolist())
    return result


def from_vtk_matrix(matrix: Any) -> np.ndarray:
    """Return a ``vtkMatrix4x4`` as a (4, 4) array.

    Examples
    --------
    >>> from_vtk_matrix(to_vtk_matrix(np.diag([1, 2, 3, 1]))).diagonal().tolist()
    [1.0, 2.0, 3.0, 1.0]
    """
    return np.array([[matrix.GetElement(row, column) for column in range(4)] for row in range(4)])


def fill_image(image: Any, array: np.ndarray) -> None:
    """Write an array, (i, j, k) or (c, i, j, k), into a ``vtkImageData``; its geometry is unchanged."""
    from vtk.util.numpy_support import get_vtk_array_type, vtk_to_numpy

    kji = to_kji(array)
    image.SetDimensions(*array.shape[-3:])
    image.AllocateScalars(get_vtk_array_type(array.dtype), 1 if array.ndim == 3 else array.shape[0])
    vtk_to_numpy(image.GetPointData().GetScalars()).reshape(kji.shape)[...] = kji


def image_array(image: Any) -> np.ndarray:
    """Return the voxels of a ``vtkImageData`` as (i, j, k), or (c, i, j, k) where it has components; a copy."""
    from vtk.util.numpy_support import vtk_to_numpy

    i, j, k = image.GetDimensions()
    components = image.GetNumberOfScalarComponents()
    values = vtk_to_numpy(image.GetPointData().GetScalars())
    return from_kji(values.reshape((k, j, i) if components == 1 else (k, j, i, components)))


def node_name(node: Node) -> str:
    """Return the name of a node, or its id where it has none."""
    return str(node.GetName() or node.GetID() or node.GetClassName())
