"""Random deformations: as large as asked, invertible, without folds; warping against scipy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates

from NeuroGenLib.simulate.deformation import DeformationConfig, sample_deformation, warp
from NeuroGenLib.spatial.transforms.displacement import voxel_grid
from Testing.raising import raises

SHAPE = (40, 47, 35)
STILL = DeformationConfig(rotation=0, log_scale=0, shear=0, translation=0, scales=(), amplitudes=())

seeds = st.integers(0, 2**31)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def arrays(seed: int, config: DeformationConfig, shape: tuple[int, int, int] = SHAPE) -> tuple[np.ndarray, np.ndarray]:
    """Sample a deformation and its inverse as (3, I, J, K) arrays."""
    deformation = sample_deformation(shape, seeded(seed), config)
    grid = voxel_grid(shape, deformation.flow)
    forward, inverse = deformation.forward(grid) - grid, deformation.backward(grid) - grid
    assert forward.shape == inverse.shape == (1, 3, *shape)
    assert forward.dtype == inverse.dtype == torch.float32
    return forward[0].numpy(), inverse[0].numpy()


def voxels(shape: tuple[int, int, int]) -> np.ndarray:
    return np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij")).astype(float)


def round_trip_error(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Distance in voxels between x and first(second(x)), where second(x) lies inside the grid."""
    grid = voxels(first.shape[1:])
    middle = grid + second
    end = middle + np.stack([map_coordinates(channel, middle, order=1, mode="nearest") for channel in first])
    last = np.array(first.shape[1:]).reshape(3, 1, 1, 1) - 1
    inside = ((middle >= 0) & (middle <= last)).all(axis=0)
    return np.linalg.norm(end - grid, axis=0)[inside]


def determinants(displacement: np.ndarray) -> np.ndarray:
    """Jacobian determinants by forward differences."""
    points = voxels(displacement.shape[1:]) + displacement
    columns = []
    for axis in range(3):
        cut = tuple(slice(None) if other == axis else slice(0, -1) for other in range(3))
        columns.append(np.diff(points, axis=axis + 1)[(slice(None), *cut)])
    return np.linalg.det(np.moveaxis(np.stack(columns, axis=-1), 0, -2))


@settings(max_examples=8, deadline=None)
@given(seeds)
def test_the_inverse_inverts(seed: int) -> None:
    forward, inverse = arrays(seed, DeformationConfig())
    assert round_trip_error(forward, inverse).mean() < 0.05
    assert round_trip_error(inverse, forward).mean() < 0.05


@settings(max_examples=8, deadline=None)
@given(seeds)
def test_nothing_folds(seed: int) -> None:
    forward, inverse = arrays(seed, DeformationConfig())
    assert determinants(forward).min() > 0
    assert determinants(inverse).min() > 0


def test_the_steepest_allowed_deformation_does_not_fold() -> None:
    config = DeformationConfig(scales=(16.0, 6.0), amplitudes=(2.2, 0.85))
    assert min(determinants(arrays(seed, config)[0]).min() for seed in range(12)) > 0


def test_the_same_seed_draws_the_same() -> None:
    one, other, another = (arrays(seed, DeformationConfig())[0] for seed in (1, 1, 2))
    assert np.array_equal(one, other)
    assert np.abs(one - another).max() > 1


def test_nothing_moves_when_nothing_is_asked() -> None:
    forward, inverse = arrays(0, STILL)
    np.testing.assert_allclose(forward, 0, atol=1e-5)
    np.testing.assert_allclose(inverse, 0, atol=1e-5)


@settings(max_examples=10, deadline=None)
@given(seeds)
def test_a_turn_keeps_distances_and_the_centre(seed: int) -> None:
    config = DeformationConfig(rotation=20, log_scale=0, shear=0, translation=0, scales=(), amplitudes=())
    forward, _ = arrays(seed, config, (9, 11, 13))
    points = (voxels((9, 11, 13)) + forward).reshape(3, -1)
    before = voxels((9, 11, 13)).reshape(3, -1)
    chosen = np.random.default_rng(0).integers(0, points.shape[1], (2, 60))
    lengths = [np.linalg.norm(where[:, chosen[0]] - where[:, chosen[1]], axis=0) for where in (before, points)]
    np.testing.assert_allclose(*lengths, atol=1e-4)
    np.testing.assert_allclose(forward[:, 4, 5, 6], 0, atol=1e-4)


@settings(max_examples=10, deadline=None)
@given(seeds)
def test_scales_and_shifts_stay_in_their_limits(seed: int) -> None:
    config = DeformationConfig(rotation=0, log_scale=0.2, shear=0, translation=5, scales=(), amplitudes=())
    forward, _ = arrays(seed, config, (9, 11, 13))
    assert np.abs(forward[:, 4, 5, 6]).max() <= 5 + 1e-4
    for axis in range(3):
        along = np.diff(np.moveaxis(forward[axis], axis, 0), axis=0)
        assert np.ptp(along) < 1e-4
        assert abs(np.log1p(along.mean())) <= 0.2 + 1e-4
        across = np.diff(forward[axis], axis=(axis + 1) % 3)
        np.testing.assert_allclose(across, 0, atol=1e-4)


def test_the_dense_part_is_as_large_as_its_amplitude() -> None:
    config = DeformationConfig(rotation=0, log_scale=0, shear=0, translation=0, scales=(8.0,), amplitudes=(1.2,))
    # The deviation is uniform from 0 to 1.2, so its mean square is a third of the largest.
    spread = np.mean([arrays(seed, config, (24, 24, 24))[0].var() for seed in range(30)])
    assert 0.6 < spread / (1.2**2 / 3) < 1.4


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 20, 17), (3, 2, 5)])
def test_thin_grids_work(shape: tuple[int, int, int]) -> None:
    forward, inverse = arrays(0, DeformationConfig(), shape)
    assert np.isfinite(forward).all()
    assert np.isfinite(inverse).all()


@settings(max_examples=15, deadline=None)
@given(seeds, st.tuples(*[st.integers(2, 9)] * 3))
def test_linear_warping_agrees_with_scipy(seed: int, shape: tuple[int, int, int]) -> None:
    rng = np.random.default_rng(seed)
    image, displacement = rng.random((2, *shape), np.float32), rng.normal(0, 3, (3, 7, 5, 6)).astype(np.float32)
    expected = [map_coordinates(one, voxels((7, 5, 6)) + displacement, order=1, mode="nearest") for one in image]
    result = warp(torch.from_numpy(image), torch.from_numpy(displacement)[None])
    np.testing.assert_allclose(result, np.stack(expected), atol=1e-4)


def test_labels_move_whole_and_keep_their_type() -> None:
    labels = torch.randint(0, 600, (6, 7, 8), generator=seeded(0), dtype=torch.int32)
    shift = torch.zeros(1, 3, 6, 7, 8)
    shift[:, 1] = 2.4
    moved = warp(labels, shift, order=0)
    assert moved.dtype == torch.int32
    assert torch.equal(moved[:, :5], labels[:, 2:])
    # Beyond the border its values go on.
    assert torch.equal(moved[:, 5:], labels[:, 6:].expand(-1, 2, -1))


@pytest.mark.parametrize(("order", "kind"), [(1, torch.int32), (3, torch.float32)])
def test_a_warp_that_mixes_labels_is_refused(order: int, kind: torch.dtype) -> None:
    with raises("value-invalid", f"Order {order}", kind):
        warp(torch.zeros((4, 4, 4), dtype=kind), torch.zeros(1, 3, 4, 4, 4), order=order)


def test_amplitudes_that_fold_are_refused() -> None:
    with raises("value-invalid", (4.0,), (8.0,)):
        DeformationConfig(scales=(8.0,), amplitudes=(4.0,))


def test_amplitudes_without_a_scale_are_refused() -> None:
    with raises("value-conflict", "2 scales", "1 amplitude"):
        DeformationConfig(scales=(8.0, 16.0), amplitudes=(0.5,))
