"""Cubic B-splines between control points, and the bound up to which they cannot fold."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import BSpline

from NeuroGenLib.registration.network.inversion import FixedPoint, invert
from NeuroGenLib.spatial.transforms.b_splines import cubic_b_spline, evaluate, evaluation_matrix, invertible_bound
from NeuroGenLib.spatial.transforms.displacement import sample, voxel_grid
from NeuroGenLib.spatial.transforms.jacobian import discrete_jacobians

positions = st.lists(st.floats(-5, 12), min_size=1, max_size=9).map(np.array)


def test_the_kernel_is_scipys():
    away = np.linspace(-3, 3, 241)
    expected = np.nan_to_num(BSpline.basis_element(np.arange(-2, 3), extrapolate=False)(away))
    assert np.allclose(cubic_b_spline(away), expected, atol=1e-12)


@given(st.integers(1, 8), positions)
def test_weights_are_shares(count, places):
    matrix = evaluation_matrix(count, places)
    assert matrix.shape == (len(places), count)
    assert np.allclose(matrix.sum(axis=1), 1)
    assert matrix.min() >= 0


@given(st.integers(6, 9), st.floats(1, 4))
def test_a_line_of_control_points_is_a_line(count, place):
    """Inside, where no control point is repeated, a cubic spline reproduces a linear function."""
    slope = 0.7 * np.arange(count) - 2
    assert evaluation_matrix(count, np.array([place])) @ slope == pytest.approx(0.7 * place - 2)


def test_beyond_the_border_the_outermost_control_point_goes_on():
    matrix = evaluation_matrix(4, np.array([-2.0, -7.5, 5.0, 40.0]))
    assert np.allclose(matrix, [[1, 0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1], [0, 0, 0, 1]])


@given(st.integers(0, 99))
def test_axes_are_evaluated_one_by_one(seed):
    generator = np.random.default_rng(seed)
    points = generator.normal(size=(2, 3, 4, 3, 5))
    matrices = [
        evaluation_matrix(n, generator.uniform(-1, n, size)) for n, size in zip((4, 3, 5), (6, 2, 7), strict=True)
    ]
    expected = np.einsum("ia,jb,kc,ndabc->ndijk", *matrices, points)
    found = evaluate(torch.from_numpy(points), [torch.from_numpy(matrix) for matrix in matrices])
    assert np.allclose(found, expected)


@pytest.mark.parametrize(
    ("factor", "bound"),
    [
        (1, 0.36),
        (2, 0.38544695),
        (4, 0.39803114),
        (8, 0.40072508),
        (16, 0.40175330),
        (32, 0.40253633),
        (64, 0.40291872),
    ],
)
def test_bounds_are_the_published_ones(factor, bound):
    assert invertible_bound((factor,) * 3) == pytest.approx(bound, abs=1e-7)


def test_a_control_grid_is_not_finer_than_the_transform():
    with pytest.raises(ValueError, match="finer"):
        invertible_bound((2, 0, 1))


def worst_field(factor, seed, kind):
    """Return a displacement in voxels from control points at the bound: random signs, or a pattern that compresses."""
    size = 5
    generator = np.random.default_rng(seed)
    largest = 0.999 * invertible_bound((factor,) * 3) * factor
    if kind == "signs":
        points = generator.choice([-1.0, 1.0], size=(1, 3, size, size, size))
    elif kind == "collision":  # everything below the middle goes up, everything above it down
        middle = np.where(np.arange(size) < size // 2 + seed % 2, 1.0, -1.0)
        points = np.stack(np.meshgrid(middle, middle, middle, indexing="ij"))[None]
    else:  # every component follows the same diagonal plane: the slopes of all three axes add up
        total = sum(np.meshgrid(*[np.arange(size)] * 3, indexing="ij"))
        points = np.where(total < 6 + seed % 3, 1.0, -1.0)[None, None].repeat(3, axis=1)
    # The positions of a transform's grid: even factors lie beside the control points, odd ones also on them.
    places = (np.arange(size * factor) - (size * factor - 1) / 2) / factor + (size - 1) / 2
    matrix = torch.from_numpy(evaluation_matrix(size, places))
    return evaluate(torch.from_numpy(largest * points), [matrix] * 3)


@given(st.sampled_from([1, 2, 3, 4]), st.integers(0, 999), st.sampled_from(["signs", "collision", "diagonal"]))
@settings(max_examples=60)
def test_control_points_at_the_bound_do_not_fold(factor, seed, kind):
    field = worst_field(factor, seed, kind)
    assert all(bool((one > 0).all()) for one in discrete_jacobians(field).values())
    # The sum of forward differences over the axes is the Lipschitz constant in the maximum norm.
    steps = [field.diff(dim=axis).abs() for axis in (2, 3, 4)]
    assert float((steps[0][..., :-1, :-1] + steps[1][..., :-1, :, :-1] + steps[2][..., :-1, :-1, :]).max()) < 1


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_the_bound_is_tight(factor):
    """The diagonal pattern comes close to the bound, so that one and a half times as much folds."""
    field = worst_field(factor, 0, "diagonal")
    assert any(bool((one <= 0).any()) for one in discrete_jacobians(1.5 * field).values())


@given(st.sampled_from([1, 2, 3]), st.integers(0, 99))
@settings(max_examples=12)
def test_a_field_at_the_bound_is_inverted_by_iteration(factor, seed):
    field = worst_field(factor, seed, "signs")
    inverse = invert(field, FixedPoint(threshold=1e-7, most=400))
    there = voxel_grid(field.shape[2:], field) + inverse
    assert float((inverse + sample(field, there)).abs().max()) < 1e-6
