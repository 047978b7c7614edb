"""Folds, agreement of both directions, labels and landmarks, on maps whose answer is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from NeuroGenLib.registration.evaluation.measures import (
    hausdorff95,
    label_dice,
    label_hd95,
    ndv_percent,
)
from NeuroGenLib.spatial.transforms.jacobian import (
    discrete_jacobians,
    displacement_at,
    jacobian_determinants,
    jacobian_matrices,
)
from Testing.raising import raises

pytestmark = pytest.mark.usefixtures("one_thread")

SHAPE = (6, 5, 7)
SIZES = {"average": (5, 4, 6), "forward": (5, 4, 6), "central": (4, 3, 5), "every": SHAPE}
LINEAR = arrays.arrays(np.float64, (3, 3), elements=st.floats(-1.2, 1.2))
SEEDS = st.integers(0, 10_000)
each_scheme = pytest.mark.parametrize("scheme", SIZES)


def grid_points(shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    return np.stack(np.meshgrid(*[np.arange(size) for size in shape], indexing="ij")).astype(float)


def affine_displacement(linear: np.ndarray, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    """u(x) = linear x, (3, I, J, K)."""
    return np.einsum("ca,aijk->cijk", linear, grid_points(shape))


def random_displacement(seed: int, size: float = 0.4) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, size, (3, *SHAPE))


def cube(start: tuple[int, int, int], side: int = 6, shape: tuple[int, int, int] = (24, 22, 20)) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[tuple(slice(first, first + side) for first in start)] = True
    return mask


@pytest.fixture
def ball() -> np.ndarray:
    points = grid_points((23, 23, 23)) - 11
    return (points**2).sum(axis=0) < 8.3**2


@each_scheme
@given(LINEAR)
def test_the_jacobian_of_a_linear_map_is_the_map(scheme, linear):
    displacement = torch.from_numpy(affine_displacement(linear))[None]
    matrices = jacobian_matrices(displacement, scheme)
    assert matrices.shape == (1, 3, 3, *SIZES[scheme])
    expected = linear + np.eye(3)
    np.testing.assert_allclose(
        matrices[0].permute(2, 3, 4, 0, 1), np.broadcast_to(expected, (*SIZES[scheme], 3, 3)), atol=1e-12
    )
    determinants = jacobian_determinants(displacement, scheme)
    np.testing.assert_allclose(determinants, np.linalg.det(expected), rtol=1e-9, atol=1e-9)


@given(SEEDS)
def test_differences_of_any_field(seed):
    field = random_displacement(seed)
    displacement, moved = torch.from_numpy(field)[None], field + grid_points()
    central = np.stack(np.gradient(moved, axis=(1, 2, 3)), axis=1)
    np.testing.assert_allclose(jacobian_matrices(displacement, "every")[0], central, atol=1e-12)
    inner = central[:, :, 1:-1, 1:-1, 1:-1]
    np.testing.assert_allclose(jacobian_matrices(displacement, "central")[0], inner, atol=1e-12)
    forward, average = jacobian_matrices(displacement, "forward")[0], jacobian_matrices(displacement, "average")[0]
    i, j, k = 3, 1, 4
    np.testing.assert_allclose(forward[:, 1, i, j, k], moved[:, i, j + 1, k] - moved[:, i, j, k], atol=1e-12)
    edges = moved[:, i : i + 2, j + 1, k : k + 2] - moved[:, i : i + 2, j, k : k + 2]
    np.testing.assert_allclose(average[:, 1, i, j, k], edges.mean(axis=(1, 2)), atol=1e-12)


def test_discrete_jacobians_of_no_motion():
    found = discrete_jacobians(torch.zeros(1, 3, *SHAPE))
    assert len(found) == 10
    for name, determinants in found.items():
        assert determinants.shape == (1, 4, 3, 5)
        assert torch.all(determinants == (2 if "*" in name else 1))


def test_a_discrete_jacobian_looks_the_way_its_name_says():
    displacement = torch.zeros(1, 3, *SHAPE)
    # The voxel after (2, 2, 3) along i moves on by 0.7, the one before along k back by 0.4.
    displacement[0, 0, 3, 2, 3] = 0.7
    displacement[0, 2, 2, 2, 2] = -0.4
    found = {name: float(value[0, 1, 1, 2]) for name, value in discrete_jacobians(displacement).items()}
    for name in ("+++", "-++", "+--", "---"):
        expected = (1.7 if name[0] == "+" else 1) * (1.4 if name[2] == "-" else 1)
        assert found[name] == pytest.approx(expected)


@given(LINEAR)
def test_folded_volume_of_a_linear_map(linear):
    determinant = np.linalg.det(linear + np.eye(3))
    assert ndv_percent(affine_displacement(linear)) == pytest.approx(100 * max(-determinant, 0), abs=1e-6)


def test_a_fold_raises_the_folded_volume():
    displacement = np.zeros((3, 7, 7, 7))
    assert ndv_percent(displacement) == 0
    displacement[0, 3, 3, 3] = 1.8
    assert 0 < ndv_percent(displacement) < 5


def test_dice_counts_what_was_seen():
    fixed = np.zeros((4, 4, 4), int)
    fixed[:2], fixed[2, 0, 0] = 3, 5
    assert label_dice(fixed, fixed).by_label == {3: 1, 5: 1}
    inside = np.ones(fixed.shape)
    inside[0] = 0
    found = label_dice(fixed, fixed, inside)
    assert found.by_label == {3: pytest.approx(2 / 3), 5: 1}
    assert found.mean == pytest.approx(5 / 6)
    with_background = label_dice(fixed, fixed, inside, background=())
    assert with_background.by_label[0] == pytest.approx(2 * 31 / (31 + 47))


def test_a_label_in_one_map_alone():
    fixed, warped = np.zeros((8, 8, 8), int), np.zeros((8, 8, 8), int)
    fixed[2:5, 2:5, 2:5], warped[2:5, 2:5, 2:5] = 1, 1
    warped[6, 6, 6] = 9
    assert label_dice(warped, fixed).by_label == {1: 1, 9: 0}
    distances = label_hd95(warped, fixed)
    assert distances.by_label == {1: 0, 9: math.inf}
    assert distances.mean == 0
    assert distances.without == (9,)
    unseen = label_hd95(warped, fixed, inside=np.zeros((8, 8, 8)))
    assert unseen.by_label == {1: math.inf}
    assert math.isnan(unseen.mean)


def test_the_distance_of_two_cubes():
    assert hausdorff95(cube((4, 4, 4)), cube((4, 4, 4))) == 0
    assert hausdorff95(cube((2, 4, 4)), cube((14, 4, 4))) == 12
    assert hausdorff95(cube((2, 4, 4)), cube((14, 4, 4)), (0.5, 1, 1)) == 6
    # Up to the edge of the array, where nothing lies beyond; the far corner's 5 % do not count.
    apart, farthest = math.hypot(12, 10, 8), math.hypot(18, 16, 14)
    assert apart < hausdorff95(cube((0, 0, 0)), cube((18, 16, 14))) < farthest


def test_a_far_speck_does_not_count():
    one = cube((8, 8, 6))
    other = one.copy()
    other[0, 0, 0] = True
    assert hausdorff95(one, other) == 0
    slab = one.copy()
    slab[:, :, 18] = True
    assert hausdorff95(one, slab) > 5


@given(SEEDS, st.tuples(*[st.floats(0.5, 3)] * 3))
def test_hausdorff_is_symmetric_and_scales(seed, spacing):
    rng = np.random.default_rng(seed)
    one, other = (rng.random((5, 6, 4)) > 0.7 for _ in range(2))
    assume(one.any() and other.any())
    distance = hausdorff95(one, other, spacing)
    assert hausdorff95(other, one, spacing) == distance
    assert hausdorff95(one, other, [2 * step for step in spacing]) == pytest.approx(2 * distance)
    turned = hausdorff95(one.transpose(2, 0, 1), other.transpose(2, 0, 1), (spacing[2], spacing[0], spacing[1]))
    assert turned == pytest.approx(distance)


def test_a_ball_that_shifts_moves_its_surface(ball):
    shifted = np.roll(ball, 4, axis=0)
    # The surface's distance is about 4 |cos| of the angle to the shift, whose 95th percentile is near 4.
    assert 3 <= hausdorff95(ball, shifted) <= 4
    assert 6 <= hausdorff95(ball, shifted, (2, 2, 2)) <= 8


def test_surface_areas_are_those_of_marching_cubes(ball):
    from NeuroGenLib.registration.evaluation.measures import _neighbour_codes, _surface_areas

    measure = pytest.importorskip("skimage.measure")
    for spacing in ((1.0, 1.0, 1.0), (1.0, 0.7, 2.0)):
        vertices, faces, *_ = measure.marching_cubes(np.pad(ball, 1).astype(float), 0.5, spacing=spacing)
        found = _surface_areas(spacing)[_neighbour_codes(ball)].sum()
        assert found == pytest.approx(measure.mesh_surface_area(vertices, faces), rel=0.03)
    areas = _surface_areas((1.0, 1.0, 1.0))
    assert areas[0] == areas[255] == 0
    assert areas[1] == pytest.approx(math.sqrt(3) / 8)
    np.testing.assert_allclose(areas, areas[::-1])
    # Two voxels side by side; four that fill one half; two that meet at a corner.
    assert areas[0b11] == pytest.approx(math.sqrt(0.5))
    assert areas[0b1111] == 1
    assert areas[0b10000001] == pytest.approx(2 * math.sqrt(3) / 8)


def test_the_percentile_is_one_of_area():
    from NeuroGenLib.registration.evaluation.measures import _percentile

    assert _percentile(np.array([3.0, 1, 2]), np.array([4.0, 90, 6]), 0.95) == 2
    assert _percentile(np.array([3.0, 1, 2]), np.array([6.0, 90, 4]), 0.95) == 3


def test_empty_masks():
    assert hausdorff95(cube((4, 4, 4)), np.zeros((24, 22, 20))) == math.inf
    assert math.isnan(hausdorff95(np.zeros((3, 3, 3)), np.zeros((3, 3, 3))))


def test_fields_that_are_none():
    with raises("image-dimensions", 3, "(2, 6, 5, 7)"):
        ndv_percent(np.zeros((2, *SHAPE)))
    with raises("image-dimensions"):
        ndv_percent(torch.zeros(2, 3, *SHAPE))
    broken = np.zeros((3, *SHAPE))
    broken[1, 2, 3, 4] = np.nan
    with raises("image-not-finite"):
        ndv_percent(broken)


def test_displacements_between_voxels_are_interpolated_linearly():
    from scipy.ndimage import map_coordinates

    field, points = random_displacement(3), np.random.default_rng(3).uniform(0.01, 3.98, (20, 3))
    expected = np.stack([map_coordinates(channel, points.T, order=1) for channel in field], axis=1)
    found = displacement_at(torch.from_numpy(field)[None], torch.from_numpy(points)[None])
    np.testing.assert_allclose(found[0], expected, atol=1e-9)


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64, ">f4"])
def test_fields_of_any_number_type(kind):
    field = affine_displacement(np.diag([-2.0, 0, 0])).astype(kind)  # turned inside out along the first axis
    assert ndv_percent(field) == pytest.approx(100)
    assert ndv_percent(field[:, :, ::-1]) == pytest.approx(100)


def test_grids_that_are_too_small():
    with raises("image-dimensions", "(4, 2, 4)", 3):
        ndv_percent(np.zeros((3, 4, 2, 4)))
    with raises("image-dimensions", 2):
        jacobian_determinants(torch.zeros(1, 3, 4, 1, 4), "every")
    with raises("image-dimensions", 3, "(3, 6, 5, 7)"):
        jacobian_determinants(torch.zeros(3, *SHAPE))


def test_arguments_that_do_not_fit():
    with raises("geometry-mismatch"):
        hausdorff95(np.ones((3, 3)), np.ones((3, 3)))
    for spacing in ((1, 1), (1, -1, 1), (1, math.inf, 1)):
        with raises("value-invalid"):
            hausdorff95(cube((1, 1, 1)), cube((1, 1, 1)), spacing)
