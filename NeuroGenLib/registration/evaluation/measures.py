"""Measures of a registration: folding, overlap of labels and surface distances.

Displacements are (3, I, J, K) or (1, 3, I, J, K) arrays or tensors in voxels, pull-back (see
:mod:`~NeuroGenLib.spatial.transforms.displacement`): ``forward`` takes fixed points to moving points, ``inverse``
the other way.
"""

from __future__ import annotations

import functools
import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from NeuroGenLib.core.errors import InputError
from NeuroGenLib.spatial.metrics import bounding_box, dice_by_label

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray
    from torch import Tensor


Corner = tuple[int, int, int]
Point = tuple[float, float, float]

_PERCENTILE = 0.95
"""Of the surface distances, for the robust Hausdorff distance."""


@dataclass(frozen=True)
class LabelScores:
    """A score for every label that at least one of two label maps has."""

    by_label: Mapping[int, float]

    @property
    def mean(self) -> float:
        """Unweighted mean of the finite scores, NaN when there are none."""
        finite = [score for score in self.by_label.values() if math.isfinite(score)]
        return float(np.mean(finite)) if finite else math.nan

    @property
    def without(self) -> tuple[int, ...]:
        """Labels whose score is not finite, which :attr:`mean` does not count."""
        return tuple(label for label, score in self.by_label.items() if not math.isfinite(score))


def ndv_percent(displacement: ArrayLike | Tensor) -> float:
    """Return the non-diffeomorphic volume as percent of the inner voxels (Liu et al.; 0: folds nowhere).

    See :func:`~NeuroGenLib.spatial.transforms.jacobian.ndv_map`.

    Raises
    ------
    InputError
        When it is not a displacement field, holds NaN, or an axis has fewer than three voxels.

    Examples
    --------
    >>> ndv_percent(np.zeros((3, 4, 4, 4), np.float32))
    0.0
    """
    from NeuroGenLib.spatial.transforms import jacobian

    return float(jacobian.ndv_percent(_field(displacement))[0])


def label_dice(
    warped: ArrayLike, fixed: ArrayLike, inside: ArrayLike | None = None, background: Sequence[int] = (0,)
) -> LabelScores:
    """Return the Dice overlap of every label, 1 being perfect; a label that both maps lack does not count.

    Parameters
    ----------
    warped, fixed:
        (I, J, K) label maps; ``warped`` by nearest neighbours.
    inside:
        Where the warped map looked into the moving image; elsewhere its label is 0.
    background:
        Labels that do not count.

    Raises
    ------
    InputError
        When the shapes differ, a value is not a whole number, or there are no labels.

    Examples
    --------
    >>> warped, fixed = np.zeros((2, 4, 1, 1), int)
    >>> warped[:2], fixed[1:3] = 1, 1
    >>> label_dice(warped, fixed).mean
    0.5
    """
    labels = np.asarray(warped) if inside is None else np.where(np.asarray(inside) > 0, warped, 0)
    return LabelScores(dice_by_label(labels, fixed, background))


def label_hd95(
    warped: ArrayLike,
    fixed: ArrayLike,
    spacing: Sequence[float] = (1.0, 1.0, 1.0),
    inside: ArrayLike | None = None,
    background: Sequence[int] = (0,),
) -> LabelScores:
    """Return the 95 % Hausdorff distance of every label, infinite where only one map has it.

    Parameters
    ----------
    warped, fixed, inside, background:
        See :func:`label_dice`.
    spacing:
        mm between voxels along each axis; ones give distances in voxels.

    Raises
    ------
    InputError
        As :func:`label_dice` and :func:`hausdorff95`.
    """
    warped_labels = np.asarray(warped) if inside is None else np.where(np.asarray(inside) > 0, warped, 0)
    fixed_labels = np.asarray(fixed)
    labels = dice_by_label(warped_labels, fixed_labels, background)
    return LabelScores({label: hausdorff95(warped_labels == label, fixed_labels == label, spacing) for label in labels})


def hausdorff95(first: ArrayLike, second: ArrayLike, spacing: Sequence[float] = (1.0, 1.0, 1.0)) -> float:
    """Return the distance that 95 % of either surface keep from the other one; the larger of the two.

    The surface runs between voxels, is as large as marching cubes makes it, and lies at the voxels' corners for
    measuring distances: the definition of DeepMind's surface-distance, on which published numbers rest.

    Parameters
    ----------
    first, second:
        (I, J, K) masks.
    spacing:
        mm between voxels along each axis; ones give the distance in voxels.

    Returns
    -------
    float
        Infinite when one mask is empty, NaN when both are.

    Raises
    ------
    InputError
        When the masks are not three-dimensional or of one shape, or a distance is not above zero.

    Examples
    --------
    >>> first, second = np.zeros((2, 8, 8, 8), bool)
    >>> first[2:5, 2:5, 2:5], second[3:6, 2:5, 2:5] = True, True
    >>> hausdorff95(first, second, spacing=(2, 1, 1))
    2.0
    """
    from scipy.ndimage import distance_transform_edt

    first_mask, second_mask = np.asarray(first) > 0, np.asarray(second) > 0
    if first_mask.shape != second_mask.shape or first_mask.ndim != 3:
        raise InputError(
            f"Masks of shape {first_mask.shape} and {second_mask.shape} have no surface distance.",
            "Give two three-dimensional masks on one grid.",
            code="geometry-mismatch",
        )
    steps = tuple(float(step) for step in spacing)
    if len(steps) != 3 or not all(math.isfinite(step) and step > 0 for step in steps):
        raise InputError(f"The spacing {steps} is invalid.", "Give three distances above zero.", code="value-invalid")
    if not (first_mask.any() and second_mask.any()):
        return math.inf if first_mask.any() or second_mask.any() else math.nan
    low, high = bounding_box(first_mask | second_mask)
    box = tuple(slice(start, stop + 1) for start, stop in zip(low, high, strict=True))
    codes = [_neighbour_codes(mask[box]) for mask in (first_mask, second_mask)]
    surfaces = [(code > 0) & (code < 255) for code in codes]
    away = [distance_transform_edt(~surface, sampling=steps) for surface in surfaces]
    areas = _surface_areas(steps)
    return max(
        _percentile(away[1 - side][surfaces[side]], areas[codes[side][surfaces[side]]], _PERCENTILE) for side in (0, 1)
    )


def _field(displacement: ArrayLike | Tensor) -> Tensor:
    """Return a finite displacement as (1, 3, I, J, K), float32 unless it comes as float64, without gradient."""
    import torch

    if isinstance(displacement, torch.Tensor):
        tensor = displacement.detach()
    else:
        # A copy: torch takes neither flipped axes nor another byte order.
        array = np.asarray(displacement)
        kind = np.float64 if array.dtype == np.float64 else np.float32
        tensor = torch.from_numpy(np.array(array, kind, order="C"))
    field = tensor if tensor.dtype == torch.float64 else tensor.float()
    field = field[None] if field.ndim == 4 else field
    if field.ndim != 5 or field.shape[:2] != (1, 3):
        raise InputError(
            f"A displacement field has the axes (3, I, J, K), this array has {tuple(tensor.shape)}.",
            "Give one field, its components first.",
            code="image-dimensions",
        )
    if not bool(torch.isfinite(field).all()):
        raise InputError(
            "The displacement field holds NaN or infinite values.",
            "Repeat the registration that made it.",
            code="image-not-finite",
        )
    return field


def _percentile(distances: NDArray[Any], areas: NDArray[Any], share: float) -> float:
    """Return the distance within which a share of the area lies."""
    order = np.argsort(distances)
    covered = np.cumsum(areas[order])
    index = int(np.searchsorted(covered / covered[-1], share))
    return float(distances[order][min(index, len(order) - 1)])


_CORNERS: tuple[Corner, ...] = tuple(itertools.product((0, 1), repeat=3))  # type: ignore[arg-type]


def _neighbour_codes(mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Return which of the 8 voxels around each voxel corner belong to a mask: bit n for ``_CORNERS[n]``."""
    padded = np.pad(mask, 1)
    codes = np.zeros([size + 1 for size in mask.shape], np.uint8)
    for bit, corner in enumerate(_CORNERS):
        window = tuple(slice(start, start + size) for start, size in zip(corner, codes.shape, strict=True))
        codes |= padded[window].astype(np.uint8) << bit
    return codes


def _surface_areas(spacing: Sequence[float]) -> NDArray[np.float64]:
    """Return the area of the surface between the 8 voxels of every code, (256,) mm^2."""
    codes, triangles = _surface_triangles()
    first, second, third = np.moveaxis(triangles * np.array(spacing), 1, 0)
    sizes = np.linalg.norm(np.cross(second - first, third - first), axis=1) / 2
    return np.asarray(np.bincount(codes, sizes, minlength=256), np.float64)


@functools.cache
def _surface_triangles() -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the triangles that part the 8 voxels of every code: (T,) codes and (T, 3, 3) corners in voxels."""
    codes, triangles = [], []
    for code in range(256):
        inside = {corner: bool(code >> bit & 1) for bit, corner in enumerate(_CORNERS)}
        for outline in _outlines(inside):
            pieces = _triangulated(outline)
            codes += [code] * len(pieces)
            triangles += pieces
    return np.array(codes), np.array(triangles)


def _outlines(inside: Mapping[Corner, bool]) -> Iterable[list[Point]]:
    """Yield the closed polygons, through middles of edges, that part the corners inside from those outside."""
    links: dict[Point, list[Point]] = {}
    minority = sum(inside.values()) <= 4
    for ring in _faces():
        middles = [_middle(ring[index - 1], ring[index]) for index in range(4)]
        crossed = [middles[index] for index in range(4) if inside[ring[index - 1]] != inside[ring[index]]]
        if len(crossed) == 2:
            pairs = [(crossed[0], crossed[1])]
        else:
            # Where a face could be cut in two ways, the rarer kind of corner is cut off.
            cut = [index for index in range(4) if crossed and inside[ring[index]] == minority]
            pairs = [(middles[index], middles[(index + 1) % 4]) for index in cut]
        for start, stop in pairs:
            links.setdefault(start, []).append(stop)
            links.setdefault(stop, []).append(start)
    while links:
        outline = [next(iter(links))]
        while ahead := [point for point in links.pop(outline[-1]) if point in links]:
            outline.append(ahead[0])
        yield outline


def _faces() -> Iterable[list[Corner]]:
    """Yield the corners of each face of the unit cube, in a ring."""
    for axis, side in itertools.product(range(3), (0, 1)):
        ring = ((0, 0), (0, 1), (1, 1), (1, 0))
        yield [(*pair[:axis], side, *pair[axis:]) for pair in ring]  # type: ignore[misc]


def _middle(first: Corner, second: Corner) -> Point:
    return ((first[0] + second[0]) / 2, (first[1] + second[1]) / 2, (first[2] + second[2]) / 2)


def _triangulated(outline: Sequence[Point]) -> list[tuple[Point, Point, Point]]:
    """Return a polygon, which may be bent, cut into the triangles that have the largest area together."""

    def largest(start: int, stop: int) -> tuple[float, list[tuple[Point, Point, Point]]]:
        best: tuple[float, list[tuple[Point, Point, Point]]] = (0.0, [])
        for middle in range(start + 1, stop):
            corners = (outline[start], outline[middle], outline[stop])
            first, second, third = np.array(corners)
            parts = (largest(start, middle), largest(middle, stop))
            size = float(np.linalg.norm(np.cross(second - first, third - first))) / 2 + parts[0][0] + parts[1][0]
            if size > best[0] + 1e-9:
                best = (size, [corners, *parts[0][1], *parts[1][1]])
        return best

    return largest(0, len(outline) - 1)[1]
