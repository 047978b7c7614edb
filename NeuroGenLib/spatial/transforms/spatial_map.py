"""A registration as one map of space: an affine, a displacement field, an affine; applied to images and points."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from NeuroGenLib.core.errors import InputError
from NeuroGenLib.core.progress import SILENT, Progress
from NeuroGenLib.spatial.volume import Grid, Volume, require_finite

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Sampler = Callable[[np.ndarray], np.ndarray]

ORDERS = (0, 1, 3)
"""Interpolation: nearest voxel, linear, cubic spline."""

_POINTS_AT_ONCE = 2**18
"""Points of a slab: some 30 MB of coordinates, whatever the size of the image."""
_STEEPEST_TAPER = 0.5
"""How fast the field falls beyond its border, in voxels per voxel; from 1 on it could fold."""
_TIE = 1e-6
"""Fraction of a voxel by which ties of the nearest voxel lean to right, anterior, superior, however it is stored."""
_EDGE = 1e-4
"""Fraction of a voxel by which rounding may put a point outside the field of view."""


@dataclass(frozen=True, eq=False)
class SpatialMap:
    """Where the points of one image lie in another: ``y`` goes to ``after @ phi(before @ y)``.

    ``phi(p) = p + field(p)``: linear between voxel centres, constant up to the outer voxel faces, zero outside them
    (as in ITK). All coordinates are RAS mm. The map from fixed to moving points pulls the moving image onto the fixed
    one.

    Parameters
    ----------
    before, after:
        (4, 4) affines, RAS mm to RAS mm.
    field:
        (3, i, j, k) displacements along R, A, S in mm; None where the map is affine.

    Raises
    ------
    InputError
        When a matrix is not an invertible affine one, or the field does not have three finite channels.

    Examples
    --------
    >>> to_moving = np.eye(4)
    >>> to_moving[:3, 3] = 5, 0, 0
    >>> SpatialMap(to_moving, None, np.eye(4)).points([[1, 2, 3]]).tolist()
    [[6.0, 2.0, 3.0]]
    """

    before: np.ndarray
    field: Volume | None
    after: np.ndarray

    def __post_init__(self) -> None:
        object.__setattr__(self, "before", affine_matrix(self.before, "before the field"))
        object.__setattr__(self, "after", affine_matrix(self.after, "after the field"))
        if self.field is not None:
            require_displacements(self.field, "The displacement field")

    def points(self, xyz: np.typing.ArrayLike) -> np.ndarray:
        """Map points: (N, 3) RAS mm to (N, 3) RAS mm, float64.

        Raises
        ------
        InputError
            When these are not rows of three finite numbers.
        """
        return self._mapped(point_rows(xyz))

    def pull(
        self,
        volume: Volume,
        like: Grid,
        order: int = 1,
        fill: float = 0,
        progress: Progress = SILENT,
    ) -> Volume:
        """Return ``volume`` on the grid of ``like``: the value at ``y`` is that of ``volume`` at the mapped ``y``.

        It is sampled once, without smoothing, slab by slab.

        Parameters
        ----------
        volume:
            (i, j, k) or (c, i, j, k).
        like:
            The grid of the result: a volume, or (shape, affine).
        order:
            0 takes the nearest voxel and keeps the type (for labels), 1 is linear, 3 a cubic spline (both give float).
        fill:
            Value where the mapped point lies outside the field of view of ``volume`` (its outer voxel faces).
        progress:
            Progress callback.

        Raises
        ------
        InputError
            When the order is another, or ``fill`` is not a value of a label map's type.
        """
        require_order(order)
        source = volume.reorient("RAS")  # so that ties do not depend on how it is stored
        if order == 0:
            _require_fitting(fill, source.array.dtype)
        shape, affine = _shape_and_affine(like)
        layers = source.array if source.channels is not None else source.array[None]
        pulled = np.full((len(layers), *shape), fill, dtype=_sampled_type(source.array.dtype, order))
        to_voxel = np.linalg.inv(source.affine)
        samplers = [_sampler(layer, order) for layer in layers]
        for start, stop in progress.track(_slabs(shape), "Resampling"):
            world = self._mapped(_centres(affine, (start, 0, 0), (stop, *shape[1:])).reshape(-1, 3))
            index = _apply(to_voxel, world)
            inside = _within_faces(index, source.shape)
            for layer, sampler in zip(pulled, samplers, strict=True):
                slab = layer[start:stop].reshape(-1)  # a view: the layer is contiguous
                slab[inside] = sampler(index[inside])
        return Volume(pulled if source.channels is not None else pulled[0], affine)

    def displacement(self, like: Grid, progress: Progress = SILENT) -> Volume:
        """Return the whole map as displacements, mapped ``y`` minus ``y``: (3, i, j, k) RAS mm, float32.

        Parameters
        ----------
        like, progress:
            The grid whose voxel centres are displaced; progress callback.
        """
        shape, affine = _shape_and_affine(like)
        result = np.empty((3, *shape), dtype=np.float32)
        for start, stop in progress.track(_slabs(shape), "Displacements"):
            centres = _centres(affine, (start, 0, 0), (stop, *shape[1:]))
            displaced = self._mapped(centres.reshape(-1, 3)).reshape(centres.shape) - centres
            result[:, start:stop] = np.moveaxis(displaced, -1, 0)
        return Volume(result, affine)

    def jacobian(self, like: Grid, progress: Progress = SILENT) -> Volume:
        """Return the determinant of the whole map's Jacobian, (i, j, k), float32, without unit.

        It is the local factor of volume (1: kept, below 0: folded), by central differences between the neighbouring
        voxel centres of ``like``, in mm; beyond the border of the grid the map itself is asked.

        Parameters
        ----------
        like, progress:
            The grid; progress callback.
        """
        shape, affine = _shape_and_affine(like)
        result = np.empty(shape, dtype=np.float32)
        volume_of_voxel = np.linalg.det(affine[:3, :3])
        for start, stop in progress.track(_slabs(shape), "Jacobian"):
            centres = _centres(affine, (start - 1, -1, -1), (stop + 1, shape[1] + 1, shape[2] + 1))
            mapped = self._mapped(centres.reshape(-1, 3)).reshape(centres.shape)
            columns = (
                mapped[2:, 1:-1, 1:-1] - mapped[:-2, 1:-1, 1:-1],
                mapped[1:-1, 2:, 1:-1] - mapped[1:-1, :-2, 1:-1],
                mapped[1:-1, 1:-1, 2:] - mapped[1:-1, 1:-1, :-2],
            )
            result[start:stop] = _triple_product(*columns) / (8 * volume_of_voxel)
        return Volume(result, affine)

    def _mapped(self, xyz: np.ndarray) -> np.ndarray:
        mapped = _apply(self.before, xyz)
        if self.field is not None:
            index = self.field.world_to_voxel(mapped)
            inside = _within_faces(index, self.field.shape)
            mapped[inside] += np.stack([_linear(layer, index[inside]) for layer in self.field.array], axis=-1)
        return _apply(self.after, mapped)


def from_voxel_displacement(
    displacement: np.ndarray,
    affine: np.ndarray,
    before: np.ndarray | None = None,
    after: np.ndarray | None = None,
    margin: int | None = None,
) -> SpatialMap:
    """Return the map of a displacement in voxels, as the network gives it.

    Around the grid the field is continued by its border values, which fall linearly to zero, so that it has no jump
    where it ends; this padded field is the one that is evaluated and written.

    Parameters
    ----------
    displacement:
        (3, i, j, k); component c is along array axis c, in voxels of this grid.
    affine:
        (4, 4) from voxel indices of the grid to RAS mm.
    before, after:
        (4, 4) RAS mm to RAS mm, applied before and after the field; identity when not given.
    margin:
        Voxels over which the field falls to zero, at every face; when not given, each face has as many as keep the
        fall below half a voxel a voxel, at most the length of the axis.

    Raises
    ------
    InputError
        When the array has another shape, holds numbers that are not finite, or the margin is not positive.

    Examples
    --------
    One voxel of 2 mm along the first axis, in the middle of the grid:

    >>> shift = np.zeros((3, 5, 5, 5))
    >>> shift[0] = 1
    >>> from_voxel_displacement(shift, np.diag([2.0, 2.0, 2.0, 1.0])).points([[4, 4, 4]]).tolist()
    [[6.0, 4.0, 4.0]]
    """
    voxels = np.asarray(displacement)
    if voxels.ndim != 4 or voxels.shape[0] != 3:
        raise InputError(
            f"An array of shape {voxels.shape} is not a displacement.",
            "Give (3, i, j, k): one component an axis.",
            code="image-dimensions",
        )
    if margin is not None and margin < 1:
        raise InputError(f"A margin of {margin} voxels leaves a jump.", "Give one voxel or more.", code="value-invalid")
    grid = affine_matrix(affine, "of the grid")
    millimetres = np.tensordot(grid[:3, :3], voxels.astype(np.float64), axes=1).astype(np.float32)
    require_finite(Volume(millimetres, affine), "The displacement field")
    margins = [(margin, margin)] * 3 if margin is not None else _margins(voxels)
    array = np.pad(millimetres, [(0, 0), *margins], mode="edge")
    for axis, (low, high) in enumerate(margins):
        ramp = np.ones(array.shape[axis + 1], dtype=np.float32)
        ramp[:low] = np.arange(low) / low
        ramp[len(ramp) - high :] = np.arange(high)[::-1] / high
        array *= ramp.reshape([-1 if other_axis == axis else 1 for other_axis in range(3)])
    padded = grid.copy()
    padded[:3, 3] = _apply(grid, -np.array([low for low, _ in margins], dtype=np.float64))
    identity = np.eye(4)
    return SpatialMap(
        identity if before is None else before, Volume(array, padded), identity if after is None else after
    )


def affine_matrix(matrix: np.ndarray, name: str) -> np.ndarray:
    """Return ``matrix`` as (4, 4) float64.

    Raises
    ------
    InputError
        Naming ``name``, when it is not finite, not invertible, or its last row is not 0 0 0 1.
    """
    result = np.array(matrix, dtype=np.float64)
    usable = result.shape == (4, 4) and np.isfinite(result).all() and np.array_equal(result[3], (0, 0, 0, 1))
    if not usable or abs(np.linalg.det(result[:3, :3])) < 1e-9:
        raise InputError(
            f"The matrix {name} is not an invertible 4x4 affine transform.",
            "Make the transform again.",
            code="geometry-invalid",
        )
    result.flags.writeable = False
    return result


def require_displacements(field: Volume, name: str) -> None:
    """Demand three finite channels.

    Raises
    ------
    InputError
        Naming ``name``.
    """
    if field.channels != 3:
        raise InputError(
            f"{name} has {field.channels or 1} channel(s), not 3.",
            "Give displacements along R, A and S in mm.",
            code="image-dimensions",
        )
    require_finite(field, name)


def require_order(order: int) -> None:
    """Demand an order of interpolation that is offered.

    Raises
    ------
    InputError
        When it is another.
    """
    if order not in ORDERS:
        raise InputError(
            f"{order} is not an order of interpolation.",
            "Choose 0 (nearest), 1 (linear), 3 (cubic).",
            code="value-invalid",
        )


def point_rows(xyz: np.typing.ArrayLike) -> np.ndarray:
    """Return points as (N, 3) float64.

    Raises
    ------
    InputError
        When these are not rows of three finite numbers.
    """
    points = np.asarray(xyz, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 3 or not np.isfinite(points).all():
        raise InputError(
            f"Points of shape {points.shape} are not rows of three finite coordinates.",
            "Give one row R, A, S in mm for each point.",
            code="value-invalid",
        )
    return points


def _margins(voxels: np.ndarray) -> list[tuple[int, int]]:
    """Return the voxels to add before and after each axis, from the largest displacement on that face."""
    length = np.sqrt((voxels.astype(np.float32) ** 2).sum(axis=0))
    margins = []
    for axis, size in enumerate(length.shape):
        faces = (float(length.take(face, axis=axis).max()) for face in (0, size - 1))
        low, high = (int(np.clip(np.ceil(largest / _STEEPEST_TAPER), 2, max(2, size))) for largest in faces)
        margins.append((low, high))
    return margins


def _shape_and_affine(grid: Grid) -> tuple[tuple[int, int, int], np.ndarray]:
    shape, affine = (grid.shape, grid.affine) if isinstance(grid, Volume) else grid
    if len(shape) != 3 or min(shape) < 1:
        raise InputError(
            f"{tuple(shape)} is not the shape of a grid.",
            "Give three positive numbers of voxels.",
            code="value-invalid",
        )
    i, j, k = (int(n) for n in shape)
    return (i, j, k), affine_matrix(affine, "of the grid")


def _slabs(shape: Sequence[int]) -> list[tuple[int, int]]:
    planes = max(1, _POINTS_AT_ONCE // (shape[1] * shape[2]))
    return [(start, min(start + planes, shape[0])) for start in range(0, shape[0], planes)]


def _centres(affine: np.ndarray, first: Sequence[int], stop: Sequence[int]) -> np.ndarray:
    """Return the centres of the voxels from ``first`` up to ``stop``, (i, j, k, 3) RAS mm."""
    axes = [np.arange(a, b, dtype=np.float64) for a, b in zip(first, stop, strict=True)]
    return _apply(affine, np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1))


def _apply(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    transformed: np.ndarray = points @ matrix[:3, :3].T + matrix[:3, 3]
    return transformed


def _within_faces(index: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    inside = np.ones(index.shape[:-1], dtype=bool)
    for axis, size in enumerate(shape):  # one axis after the other: much quicker than a reduction
        inside &= (index[..., axis] >= -0.5 - _EDGE) & (index[..., axis] <= size - 0.5 + _EDGE)
    return inside


def _require_fitting(fill: float, dtype: np.dtype) -> None:
    if dtype.kind == "f":
        return
    low, high = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    if not (low <= fill <= high and fill == int(fill)):
        raise InputError(
            f"The fill value {fill} is not a {dtype}.",
            "Choose one that the volume's type can hold.",
            code="value-invalid",
        )


def _sampled_type(dtype: np.dtype, order: int) -> np.dtype:
    if order == 0:
        return dtype
    return np.dtype(np.float64 if dtype == np.float64 else np.float32)


def _triple_product(first: np.ndarray, second: np.ndarray, third: np.ndarray) -> np.ndarray:
    """Return the determinants of the matrices with these columns, (..., 3) each; much quicker than a factorisation."""
    (a, b, c), (d, e, f), (g, h, i) = (np.moveaxis(column, -1, 0) for column in (first, second, third))
    determinants: np.ndarray = a * (e * i - f * h) + b * (f * g - d * i) + c * (d * h - e * g)
    return determinants


def _linear(layer: np.ndarray, index: np.ndarray) -> np.ndarray:
    from scipy import ndimage

    values: np.ndarray = ndimage.map_coordinates(layer, index.T, output=np.float64, order=1, mode="nearest")
    return values


def _sampler(layer: np.ndarray, order: int) -> Sampler:
    """Return the function from voxel indices (N, 3) to the values (N,) of ``layer``."""
    from scipy import ndimage

    if order == 0:
        largest = np.asarray(layer.shape) - 1

        def nearest(index: np.ndarray) -> np.ndarray:
            i, j, k = np.clip(np.floor(index + (0.5 + _TIE)).astype(np.intp), 0, largest).T
            values: np.ndarray = layer[i, j, k]
            return values

        return nearest
    if order == 1:
        values = layer.astype(np.uint8) if layer.dtype == bool else layer
        return lambda index: _linear(values, index)
    coefficients = ndimage.spline_filter(layer.astype(np.float64), order=3, mode="mirror")
    return lambda index: ndimage.map_coordinates(coefficients, index.T, order=3, mode="mirror", prefilter=False)
