"""Normalised mutual information of two images, and the rigid or affine transform that maximises it.

It is (H(a) + H(b)) / H(a, b) - 1: 0 for independent images, 1 where one determines the other. Plain mutual
information grows with the entropies, so that it would scale a head to fill the field of view.

The joint histogram has whole counts along the fixed image's values and quadratic B-spline windows along the moving
one's, so that it changes smoothly with the transform and has a gradient.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from NeuroGenLib.spatial.volume import Volume

    Linear = Callable[[np.ndarray], np.ndarray]

_BINS = 32
"""Bins of each intensity in the joint histogram."""
_MOST_POINTS = 25_000
"""Voxels that are sampled: more make it slower, hardly better."""
_DIFFERENCE = 1e-5
_SPREAD = np.array([0.8191725134, 0.6710436067, 0.5497004779])
"""Steps whose multiples fill a cube evenly (powers of the root of x^4 = x + 1)."""
_MOST_STEPS = 100


@dataclass(frozen=True, eq=False)
class ScanLevel:
    """An image at one voxel size, ready to be aligned.

    ``image``: float32, 0 (background) to 1, on an isotropic grid; ``inside``: boolean, its foreground and some room
    around it, on the same grid; ``points``: (N, 3) RAS mm of foreground voxels; ``size_mm``: the cube root of the
    foreground's volume.
    """

    image: Volume
    inside: Volume
    points: np.ndarray
    size_mm: float

    @cached_property
    def samples(self) -> tuple[np.ndarray, np.ndarray]:
        """Places spread evenly around the foreground, (N, 3) RAS mm, and the bins of the values there, (N,)."""
        indices = np.argwhere(self.inside.array)
        picked = indices[np.unique(np.linspace(0, len(indices) - 1, _MOST_POINTS).round().astype(np.intp))]
        # Between voxel centres: both images are interpolated alike, and no grids that coincide are preferred.
        points = self.image.voxel_to_world(picked + (np.arange(1, len(picked) + 1)[:, None] * _SPREAD) % 1 - 0.5)
        return points, np.minimum((sampled(self.image, points) * _BINS).astype(np.intp), _BINS - 1)


def similarity(fixed: ScanLevel, moving: ScanLevel, transform: np.ndarray) -> float:
    """Return the normalised mutual information under ``transform``, (4, 4) RAS mm of fixed to moving points.

    Both directions averaged, over the surroundings of the foregrounds; what lies outside the other image counts as
    its background, so that images that do not overlap have none.
    """
    return (information(fixed, moving, transform) + information(moving, fixed, np.linalg.inv(transform))) / 2


def information(fixed: ScanLevel, moving: ScanLevel, transform: np.ndarray) -> float:
    """Return the normalised mutual information over the surroundings of the foreground of ``fixed``."""
    points, bins = fixed.samples
    return _Histogram(bins, sampled(moving.image, transform_points(transform, points))).information


def information_alignment(fixed: ScanLevel, moving: ScanLevel, start: np.ndarray, *, affine: bool) -> np.ndarray:
    """Improve a transform by normalised mutual information, which holds across contrasts.

    L-BFGS on the images as they are, without any draw; sums have one order, so that the same images give the same
    bits.

    Parameters
    ----------
    fixed, moving:
        Images at the voxel size to work at.
    start:
        (4, 4) RAS mm of ``fixed`` to RAS mm of ``moving``, where the search begins.
    affine:
        Whether 12 parameters are free, or 6 (a rotation and a translation after ``start``).

    Returns
    -------
    np.ndarray
        (4, 4) RAS mm of ``fixed`` to RAS mm of ``moving``.
    """
    from scipy.optimize import minimize

    points, bins = fixed.samples
    centre = fixed.points.mean(axis=0)
    arms = points - centre
    target = transform_points(start, centre[None])[0]
    # A unit of any parameter displaces the border of the head by about 1 mm.
    radius = 0.6 * fixed.size_mm
    change = _linear_change if affine else _rotation
    linear_count = 9 if affine else 3

    def transform(parameters: np.ndarray) -> np.ndarray:
        matrix = np.eye(4)
        matrix[:3, :3] = change(parameters[:linear_count] / radius) @ start[:3, :3]
        matrix[:3, 3] = target + parameters[linear_count:] - matrix[:3, :3] @ centre
        return matrix

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        values, slopes = _values_and_slopes(moving.image, transform_points(transform(parameters), points))
        histogram = _Histogram(bins, values)
        pull = histogram.slope()[:, None] * slopes
        leverage = pull.T @ (arms @ start[:3, :3].T)  # how much each entry of the linear part would gain
        gradient = [
            float((leverage * derivative).sum()) / radius
            for derivative in _derivatives(change, parameters / radius, linear_count)
        ]
        return -histogram.information, -np.concatenate([gradient, pull.sum(axis=0)])

    optimum = minimize(
        loss,
        np.zeros(linear_count + 3),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": _MOST_STEPS, "ftol": 1e-8, "gtol": 1e-6},
    )
    return transform(optimum.x)


def transform_points(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Return points (N, 3) moved by an affine (4, 4)."""
    transformed: np.ndarray = points @ matrix[:3, :3].T + matrix[:3, 3]
    return transformed


def sampled(volume: Volume, points: np.ndarray, order: int = 1) -> np.ndarray:
    """Return the values at points (N, 3) RAS mm; 0 outside."""
    from scipy import ndimage

    values = volume.array.view(np.uint8) if volume.array.dtype == bool else volume.array
    samples: np.ndarray = ndimage.map_coordinates(
        values, volume.world_to_voxel(points).T, order=order, mode="constant", cval=0
    )
    return samples


class _Histogram:
    """The joint histogram of the bins of one image and the values (0 to 1) of another at the same N points."""

    def __init__(self, bins: np.ndarray, values: np.ndarray) -> None:
        place = 1 + np.clip(values, 0, 1).astype(np.float64) * (_BINS - 3)
        middle = np.floor(place + 0.5).astype(np.intp)
        self._offset = place - middle
        self._cells = bins * _BINS + middle
        windows = (0.5 * (0.5 - self._offset) ** 2, 0.75 - self._offset**2, 0.5 * (0.5 + self._offset) ** 2)
        joint = np.zeros(_BINS * _BINS)
        for shift, window in zip((-1, 0, 1), windows, strict=True):
            joint += np.bincount(self._cells + shift, window, minlength=_BINS * _BINS)
        joint = joint.reshape(_BINS, _BINS) / len(values)
        bin_marginal, value_marginal, both = joint.sum(axis=1), joint.sum(axis=0), joint.ravel()
        alone, together = _entropy(bin_marginal) + _entropy(value_marginal), max(_entropy(both), 1e-12)
        self.information = alone / together - 1 if alone > 0 else 0.0
        logarithms = alone * _logarithm(both).reshape(_BINS, _BINS) - together * _logarithm(value_marginal)
        self._gain = logarithms.ravel() / together**2

    def slope(self) -> np.ndarray:
        """Return the derivative of the information by each value, (N,)."""
        slope = np.zeros(len(self._cells))
        windows = (self._offset - 0.5, -2 * self._offset, self._offset + 0.5)
        for shift, window in zip((-1, 0, 1), windows, strict=True):
            slope += window * self._gain[self._cells + shift]
        return slope * (_BINS - 3) / len(slope)


def _entropy(probabilities: np.ndarray) -> float:
    return -float((probabilities * _logarithm(probabilities)).sum())


def _logarithm(probabilities: np.ndarray) -> np.ndarray:
    """Return logarithms, 0 for what does not happen."""
    return np.log(np.where(probabilities > 0, probabilities, 1.0))


def _values_and_slopes(image: Volume, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return trilinear values (N,), 0 outside, and their exact derivatives along R, A, S per mm, (N, 3)."""
    shape = np.asarray(image.shape)
    index = image.world_to_voxel(points)
    base = np.clip(np.floor(index), 0, shape - 2).astype(np.intp)
    rest = index - base
    inside = ((rest >= 0) & (rest <= 1)).all(axis=1)
    base, rest = base[inside], rest[inside]
    steps = (int(shape[1] * shape[2]), int(shape[2]), 1)
    flat, first = image.array.ravel(), base @ np.array(steps)
    values, slopes = np.zeros(len(points)), np.zeros((len(points), 3))
    value, slope = np.zeros(len(base)), np.zeros((len(base), 3))
    for corner in product((0, 1), repeat=3):
        grey = flat[first + int(np.dot(corner, steps))]
        weight = [rest[:, axis] if side else 1 - rest[:, axis] for axis, side in enumerate(corner)]
        value += grey * weight[0] * weight[1] * weight[2]
        for axis, side in enumerate(corner):
            factor = weight[(axis + 1) % 3] * weight[(axis + 2) % 3]
            slope[:, axis] += grey * factor if side else -grey * factor
    values[inside], slopes[inside] = value, slope @ np.linalg.inv(image.affine[:3, :3])
    return values, slopes


def _rotation(vector: np.ndarray) -> np.ndarray:
    from scipy.spatial.transform import Rotation

    return np.asarray(Rotation.from_rotvec(vector).as_matrix())


def _linear_change(entries: np.ndarray) -> np.ndarray:
    linear: np.ndarray = np.eye(3) + entries.reshape(3, 3)
    return linear


def _derivatives(change: Linear, parameters: np.ndarray, count: int) -> list[np.ndarray]:
    """Return the derivative of the linear part by each of its parameters, by central differences."""
    steps = _DIFFERENCE * np.eye(count)
    here = parameters[:count]
    return [(change(here + step) - change(here - step)) / (2 * _DIFFERENCE) for step in steps]
