"""Arrays and affines behind :class:`NeuroGenLib.spatial.volume.Volume`: orientation, corners, sampling."""

from __future__ import annotations

from itertools import permutations, product
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

DIRECTIONS = {"L": (0, -1), "R": (0, 1), "P": (1, -1), "A": (1, 1), "I": (2, -1), "S": (2, 1)}
"""Letter to (world axis, sign)."""
TIE = 1e-6
"""Fraction of a voxel by which ties of nearest-neighbour sampling lean towards right, anterior, superior, so that
rounding does not decide them and every stored orientation gives the same labels: above the rounding of an affine of
1000 voxels in double precision (1e-12), below any shift that matters."""


def apply_affine(affine: np.ndarray, points: np.typing.ArrayLike) -> np.ndarray:
    """Points (..., 3) moved by a 4x4 affine."""
    transformed: np.ndarray = np.asarray(points, dtype=np.float64) @ affine[:3, :3].T + affine[:3, 3]
    return transformed


def corners(shape: Sequence[int]) -> np.ndarray:
    """Return the 8 corners of the field of view (outer voxel faces) in voxel indices, (8, 3)."""
    return np.array(list(product(*((-0.5, n - 0.5) for n in shape))))


def corner_gap(shape: Sequence[int], first: np.ndarray, second: np.ndarray) -> float:
    """Return the largest distance in mm between the corners of one grid under two affines."""
    points = corners(shape)
    return float(np.linalg.norm(apply_affine(first, points) - apply_affine(second, points), axis=1).max())


def shifted(affine: np.ndarray, start: Sequence[int] | np.ndarray) -> np.ndarray:
    """Return the affine of a grid whose first voxel is voxel ``start`` of this one."""
    shifted = np.array(affine)
    shifted[:3, 3] = apply_affine(affine, start)
    return shifted


def orientation_of(affine: np.ndarray) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return for each array axis the world axis nearest to it (each once) and the sign of its direction."""
    cosines = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    axes = max(permutations(range(3)), key=lambda order: round(float(np.abs(cosines[order, range(3)]).sum()), 6))
    return axes, tuple(1 if cosines[axis, column] >= 0 else -1 for column, axis in enumerate(axes))


def axcodes_of(affine: np.ndarray) -> tuple[str, str, str]:
    """Letters of the world directions nearest to the array's axes, such as R, A, S."""
    axes, signs = orientation_of(affine)
    letters = {direction: letter for letter, direction in DIRECTIONS.items()}
    i, j, k = (letters[direction] for direction in zip(axes, signs, strict=True))
    return i, j, k


def permutation(affine: np.ndarray, codes: Sequence[str]) -> tuple[list[int], list[bool]]:
    """Return for each new array axis the old one it comes from, and whether it is flipped."""
    axes, signs = orientation_of(affine)
    directions = [DIRECTIONS[code] for code in codes]
    order = [axes.index(axis) for axis, _ in directions]
    return order, [signs[old] != sign for old, (_, sign) in zip(order, directions, strict=True)]


def permuted(array: np.ndarray, order: Sequence[int], flipped: Sequence[bool]) -> np.ndarray:
    """Array with its last three axes in another order and direction."""
    array = np.moveaxis(array, [axis - 3 for axis in order], (-3, -2, -1))
    return np.flip(array, tuple(axis - 3 for axis in range(3) if flipped[axis]))


def unpermuted(array: np.ndarray, order: Sequence[int], flipped: Sequence[bool]) -> np.ndarray:
    """Inverse of :func:`permuted`."""
    array = np.flip(array, tuple(axis - 3 for axis in range(3) if flipped[axis]))
    return np.moveaxis(array, (-3, -2, -1), [axis - 3 for axis in order])


def permuted_affine(
    shape: Sequence[int], affine: np.ndarray, order: Sequence[int], flipped: Sequence[bool]
) -> np.ndarray:
    """Affine of a permuted array of ``shape``."""
    new_to_old = np.zeros((4, 4))
    new_to_old[3, 3] = 1
    for new, (old, flip) in enumerate(zip(order, flipped, strict=True)):
        new_to_old[old, new] = -1 if flip else 1
        new_to_old[old, 3] = shape[old] - 1 if flip else 0
    return affine @ new_to_old


def resampled(array: np.ndarray, affine: np.ndarray, shape: Sequence[int], order: int, fill: float) -> np.ndarray:
    """Sample a 3-D array at the voxels of a grid of ``shape``; ``affine`` maps grid indices to array indices."""
    from scipy import ndimage

    matrix, offset = affine[:3, :3], affine[:3, 3]
    if order == 0:
        values = array.view(np.uint8) if array.dtype == bool else array
        offset = offset + TIE
    else:
        values = array.astype(np.float64 if array.dtype == np.float64 else np.float32)
        values = _smoothed(values, matrix)
    diagonal = np.diag(matrix)
    if (np.abs(matrix - np.diag(diagonal)) @ np.asarray(shape)).max() < TIE:
        matrix = diagonal  # sampled axis by axis: much quicker
    # 'nearest' holds values up to the outer voxel faces, where 'constant' would fill from the last centre on.
    result: np.ndarray = ndimage.affine_transform(
        values, matrix, offset=offset, output_shape=tuple(shape), output=values.dtype, order=order, mode="nearest"
    )
    result[~_inside(matrix, affine[:3, 3], shape, array.shape)] = fill
    return result.view(bool) if array.dtype == bool else result


def _smoothed(values: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Smooth along the axes that ``matrix`` (grid to array indices) samples more coarsely than they are stored."""
    from scipy import ndimage

    step = (matrix**2).sum(axis=1)  # squared length of a grid step along each array axis, in voxels
    width_to_sigma = 1 / np.sqrt(8 * np.log(2))
    sigma = width_to_sigma * np.sqrt(np.maximum(step - 1, 0))
    return ndimage.gaussian_filter(values, sigma, mode="nearest") if (sigma > 0.05).any() else values


def _inside(matrix: np.ndarray, offset: np.ndarray, shape: Sequence[int], source_shape: Sequence[int]) -> np.ndarray:
    """Return where the voxel centres of a grid lie within the outer voxel faces of the source."""
    grids = np.ogrid[: shape[0], : shape[1], : shape[2]]
    inside = np.ones(tuple(shape), dtype=bool)
    for axis, size in enumerate(source_shape):
        row = matrix[axis] if matrix.ndim == 2 else matrix[axis] * np.eye(3)[axis]
        index = offset[axis] + sum(step * grid for step, grid in zip(row, grids, strict=True) if step)
        inside &= (index > -0.5 - 1e-4) & (index < size - 0.5 + 1e-4)
    return inside
