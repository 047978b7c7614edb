"""Cubic B-splines: from control points to a dense displacement, and how far they may move without folding."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor


def cubic_b_spline(distance: np.ndarray) -> np.ndarray:
    """Return the cubic B-spline kernel at distances in control-point voxels."""
    away = np.abs(distance)
    return np.where(away < 1, 2 / 3 - away**2 + away**3 / 2, np.where(away < 2, (2 - away) ** 3 / 6, 0.0))


def evaluation_matrix(count: int, positions: np.ndarray) -> np.ndarray:
    """Return the weights of ``count`` control points at positions along one axis, (positions, count).

    Beyond the border the outermost control points are repeated.

    Examples
    --------
    >>> evaluation_matrix(3, np.array([1.0])).round(3).tolist()
    [[0.167, 0.667, 0.167]]
    """
    first = np.floor(positions).astype(int)
    matrix = np.zeros((len(positions), count))
    rows = np.arange(len(positions))
    for step in range(-1, 3):
        np.add.at(matrix, (rows, np.clip(first + step, 0, count - 1)), cubic_b_spline(positions - first - step))
    return matrix


def evaluate(control_points: Tensor, matrices: Sequence[Tensor]) -> Tensor:
    """Return the spline at a grid, from one :func:`evaluation_matrix` an axis: (B, C, i, j, k) to (B, C, I, J, K)."""
    first, second, third = matrices
    values = torch.matmul(first, control_points.flatten(3)).unflatten(3, control_points.shape[3:])
    return torch.matmul(torch.matmul(second, values), third.T)


@functools.cache
def invertible_bound(upsampling: tuple[int, int, int]) -> float:
    """Return how large control points may get, in control-point voxels, so that the sampled field is invertible.

    The field is the spline at ``upsampling`` points per control point and axis, linearly interpolated. With every
    component below the bound its maximum-norm Lipschitz constant is below one, so that x + u(x) is one to one and
    fixed-point iteration finds its inverse (Honkamaa and Marttinen, SITReg, 2023, Theorem on control points).
    The bound is the reciprocal of the largest sum, over control points, of the kernel's summed forward differences.

    Examples
    --------
    >>> round(invertible_bound((1, 1, 1)), 2)
    0.36
    """
    if min(upsampling) < 1:
        raise ValueError("A control point grid cannot be finer than the grid of the transform.")
    points = np.arange(-1, 4)
    values, slopes = [], []
    for factor in upsampling:
        # Even factors put the samples beside the control points, odd ones also on them.
        first = (np.arange(factor)[:, None] + (0.5 if factor % 2 == 0 else 0.0)) / factor
        values.append(cubic_b_spline(first - points))
        slopes.append((cubic_b_spline(first + 1 / factor - points) - values[-1]) * factor)
    largest = 0.0
    for value, slope in zip(values[0], slopes[0], strict=True):
        total = (
            np.einsum("a,jb,kc->jkabc", slope, values[1], values[2])
            + np.einsum("a,jb,kc->jkabc", value, slopes[1], values[2])
            + np.einsum("a,jb,kc->jkabc", value, values[1], slopes[2])
        )
        largest = max(largest, float(np.abs(total).sum(axis=(2, 3, 4)).max()))
    return 1 / largest
