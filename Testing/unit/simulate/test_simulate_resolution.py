"""Resolution as matrices, and smooth random fields."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter1d

from NeuroGenLib.simulate.resolution import apply_along_axes, blur_matrix, slices_matrix
from NeuroGenLib.simulate.smooth_noise import smooth_noise


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 40), st.floats(0, 5), st.floats(1, 9), st.floats(0, 1))
def test_a_constant_stays_a_constant(size: int, sigma: float, thickness: float, offset: float) -> None:
    for matrix in (blur_matrix(size, sigma), slices_matrix(size, thickness, offset)):
        assert matrix.shape == (size, size)
        assert matrix.min() >= 0
        np.testing.assert_allclose(matrix.sum(axis=1), 1)


def test_the_blur_is_a_gaussian() -> None:
    signal = np.zeros(41)
    signal[20] = 1
    np.testing.assert_allclose(blur_matrix(41, 1.7) @ signal, gaussian_filter1d(signal, 1.7, truncate=8), atol=1e-6)


def test_no_blur_changes_nothing() -> None:
    np.testing.assert_array_equal(blur_matrix(7, 0.0), np.eye(7))


def test_thick_slices_keep_slow_changes_and_lose_fast_ones() -> None:
    index = np.arange(60)
    matrix = slices_matrix(60, 4.0, 0.3)
    # A ramp is kept away from the border; waves shorter than a slice are not.
    np.testing.assert_allclose((matrix @ index)[8:-8], index[8:-8], atol=0.05)
    assert np.abs(matrix @ np.cos(np.pi * index))[8:-8].max() < 0.05


def profile(centre: float, size: int) -> np.ndarray:
    """A Gaussian whose width at half maximum is 4 voxels, with the sum 1."""
    weights = 0.5 ** (((np.arange(size) - centre) / 2) ** 2)
    return weights / weights.sum()


def test_the_profile_of_a_slice_is_as_wide_as_the_slice_at_half_maximum() -> None:
    at_a_slice = slices_matrix(24, 4.0, 0.0)[12]
    assert at_a_slice[10] == pytest.approx(at_a_slice[12] / 2)
    np.testing.assert_allclose(at_a_slice, profile(12, 24), atol=1e-12)


def test_a_slice_in_front_of_the_image_sees_its_first_voxel() -> None:
    """Slices at -2 and 2: the first voxel is the mean of both."""
    np.testing.assert_allclose(slices_matrix(24, 4.0, 0.5)[0], (profile(0, 24) + profile(2, 24)) / 2, atol=1e-12)


def test_matrices_act_along_their_axes() -> None:
    image = torch.rand((1, 1, 5, 6, 7), generator=torch.Generator().manual_seed(0))
    rng = np.random.default_rng(0)
    matrices = [rng.random((size, size)) for size in (5, 6, 7)]
    expected = np.einsum("ai,bj,ck,ijk->abc", *matrices, image[0, 0].numpy())
    np.testing.assert_allclose(apply_along_axes(image, matrices)[0, 0], expected, rtol=1e-4)


@pytest.mark.parametrize("spacing", [1.0, 2.7, 6.0, 100.0])
def test_noise_has_mean_zero_and_deviation_one(spacing: float) -> None:
    generator = torch.Generator().manual_seed(1)
    fields = torch.cat([smooth_noise((12, 13, 11), spacing, generator, channels=20) for _ in range(20)])
    # Over draws, voxel by voxel: near the border as in the middle.
    assert (fields.flatten(0, 1).std(0).mean() - 1).abs() < 0.1
    assert fields.mean().abs() < 0.2
    assert 0.8 < fields[..., 0].std() < 1.2


def test_noise_varies_over_its_spacing() -> None:
    generator = torch.Generator().manual_seed(2)
    field = torch.cat([smooth_noise((80, 8, 8), 8.0, generator, channels=8) for _ in range(10)]).flatten(0, 1)[
        ..., 4, 4
    ]

    def correlation(distance: int) -> float:
        return float((field[:, distance:] * field[:, : 80 - distance]).mean())

    assert correlation(1) > 0.95
    # Four spacings apart no control point acts on both.
    assert abs(correlation(34)) < 0.15


def test_the_channels_differ_and_the_seed_decides() -> None:
    first, second = (smooth_noise((9, 8, 7), 3.0, torch.Generator().manual_seed(5), channels=2) for _ in range(2))
    assert torch.equal(first, second)
    assert (first[:, 0] - first[:, 1]).abs().max() > 0.5
