"""Thick slices: weights against integrals, places against geometry, noise against its statistics."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate

from NeuroGenLib.simulate.thick_slices import (
    SliceProfile,
    slice_axis,
    slice_direction,
    slice_matrix,
    slice_positions,
    thick_slices,
    thickest_axis,
    with_noise,
)
from NeuroGenLib.spatial.volume import Volume
from Testing.geometry import ORIENTATIONS, oblique, orientations, reoriented, same_in_world
from Testing.raising import raises

if TYPE_CHECKING:
    from NeuroGenLib.core.errors import Code

kinds = st.sampled_from(["gaussian", "box"])


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 50), st.floats(0.3, 2), kinds, st.floats(0.3, 9), st.floats(0.3, 9), st.floats(-20, 20))
def test_rows_add_up_and_every_centre_inside_has_its_slice(
    size: int, spacing: float, kind: str, thickness: float, distance: float, offset: float
) -> None:
    length = size * spacing
    lattice = offset + distance * (np.arange(-300, 301) - (max(1, int(length / distance + 1e-9)) - 1) / 2)
    expected = lattice[np.abs(lattice) < length / 2 - 1e-6]
    if len(expected) == 0:
        return
    matrix = slice_matrix(size, spacing, SliceProfile(kind, thickness), distance, offset)
    centres = slice_positions(size, spacing, SliceProfile(kind, thickness), distance, offset)
    # A centre within a millionth of a mm of the border may be there or not.
    assert abs(len(centres) - len(expected)) <= 2 - 2 * (np.abs(np.abs(lattice) - length / 2).min() > 2e-6)
    assert matrix.shape == (len(centres), size)
    assert matrix.min() >= 0
    np.testing.assert_allclose(matrix.sum(axis=1), 1)
    np.testing.assert_allclose(np.diff(centres) * spacing, distance)
    assert np.abs((centres - (size - 1) / 2) * spacing).max() <= length / 2


def test_slices_without_an_offset_are_centred_on_the_field_of_view() -> None:
    # 60 mm, slices every 4 mm: 15 that touch each other and fill it.
    centres = slice_positions(60, 1.0, SliceProfile("box", 4.0), 4.0)
    np.testing.assert_allclose(centres, np.arange(15) * 4 + 1.5)
    moved = slice_positions(60, 1.0, SliceProfile("box", 4.0), 4.0, offset=1.0)
    np.testing.assert_allclose(moved, centres + 1)
    gaps = slice_positions(60, 0.5, SliceProfile("box", 4.0), 5.0)
    np.testing.assert_allclose(np.diff(gaps), 10)
    np.testing.assert_allclose(gaps.mean(), 29.5)


def test_a_box_of_whole_voxels_is_their_mean() -> None:
    matrix = slice_matrix(12, 0.7, SliceProfile("box", 2.8), 2.8)
    expected = np.kron(np.eye(3), np.full((1, 4), 0.25))
    np.testing.assert_allclose(matrix, expected, atol=1e-12)


def test_a_box_with_a_gap_leaves_voxels_out() -> None:
    matrix = slice_matrix(12, 1.0, SliceProfile("box", 2.0), 4.0)
    np.testing.assert_allclose(matrix.sum(axis=0), [0, 0.5, 0.5, 0] * 3, atol=1e-12)


@pytest.mark.parametrize(("thickness", "offset"), [(2.0, 0.0), (4.0, 0.3), (6.5, -1.1)])
def test_gaussian_weights_are_integrals_of_the_profile_over_interpolated_voxels(
    thickness: float, offset: float
) -> None:
    matrix = slice_matrix(41, 1.0, SliceProfile("gaussian", thickness), 41.0, offset)
    sigma = np.sqrt((thickness**2 - 1) / (8 * np.log(2)) - 1 / 6)
    centre = 20 + offset
    expected = [
        integrate.quad(
            lambda x, i=i: max(0, 1 - abs(x - i)) * np.exp(-0.5 * ((x - centre) / sigma) ** 2),
            i - 1,
            i + 1,
            points=[i],
        )[0]
        for i in range(41)
    ]
    np.testing.assert_allclose(matrix[0], expected / np.sum(expected), atol=1e-9)


@settings(max_examples=40, deadline=None)
@given(st.floats(1.0, 8.0), st.floats(-3, 3), st.floats(0.5, 1.5), st.floats(0, 1))
def test_a_gaussian_slice_lies_where_it_says_and_has_its_width(
    thickness: float, offset: float, spacing: float, own: float
) -> None:
    size = 121  # beyond it, six widths away, nothing is left
    profile = SliceProfile("gaussian", thickness)
    row = slice_matrix(size, spacing, profile, size * spacing, offset, own)[0]
    place = (np.arange(size) - (size - 1) / 2) * spacing
    mean = row @ place
    assert mean == pytest.approx(offset, abs=1e-6)
    wanted = (thickness**2 - own**2) / (8 * np.log(2))
    if wanted > 0.5 * spacing**2:
        assert row @ (place - mean) ** 2 == pytest.approx(wanted, rel=0.02)


def test_slices_as_thin_as_voxels_change_nothing() -> None:
    for kind in ("gaussian", "box"):
        np.testing.assert_allclose(slice_matrix(9, 1.3, SliceProfile(kind, 1.3), 1.3), np.eye(9), atol=1e-3)


def test_profiles_at_the_border_are_cut_and_scaled_up() -> None:
    matrix = slice_matrix(8, 1.0, SliceProfile("gaussian", 8.0), 1.0)
    np.testing.assert_allclose(matrix @ np.full(8, 3.0), 3.0)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ((0, 1.0, SliceProfile(), 4.0), "0 voxels"),
        ((9, -1.0, SliceProfile(), 4.0), "spacing of -1.0"),
        ((9, 1.0, SliceProfile(), 0.0), "distance of slices of 0.0"),
        ((9, 1.0, SliceProfile(), 4.0, np.nan), "offset of nan"),
        ((9, 1.0, SliceProfile(), 4.0, 0.0, -1.0), "resolution of -1.0"),
        ((9, 1.0, SliceProfile(), 40.0, 15.0), "by 15 mm"),
    ],
)
def test_invalid_slices_are_refused(arguments: tuple, named: str) -> None:
    with raises("value-invalid", named) as caught:
        slice_matrix(*arguments)
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("kind", "thickness", "code", "named"),
    [
        ("sinc", 4, "name-unknown", "sinc"),
        ("box", 0, "value-invalid", "thickness of 0"),
        ("box", np.nan, "value-invalid", "nan"),
    ],
)
def test_invalid_profiles_are_refused(kind: str, thickness: float, code: Code, named: str) -> None:
    with raises(code, named):
        SliceProfile(kind, thickness)


# Volumes


def a_volume(shape: tuple[int, int, int] = (12, 14, 24), spacing: float = 1.0) -> Volume:
    """Return a smooth image about the origin, of which the value at any place is known."""
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = -spacing * (np.asarray(shape) - 1) / 2
    volume = Volume(np.zeros(shape), affine)
    return volume.with_array(ramp(volume))


def ramp(volume: Volume) -> np.ndarray:
    indices = np.moveaxis(np.indices(volume.shape), 0, -1)
    return 100 + volume.voxel_to_world(indices) @ (1.0, -2.0, 3.0)


@pytest.mark.parametrize("kind", ["gaussian", "box"])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slices_lie_where_the_affine_says(axis: int, kind: str) -> None:
    volume = oblique(a_volume((24, 24, 24)), 33)
    volume = volume.with_array(ramp(volume))
    thick = thick_slices(volume, axis, SliceProfile(kind, 3.0), 4.0, offset=0.7)
    assert thick.spacing[axis] == pytest.approx(4.0)
    # A ramp is kept by any symmetric profile that lies where it says, away from the cut ends.
    inner = [slice(None)] * 3
    inner[axis] = slice(1, -1)
    np.testing.assert_allclose(thick.array[tuple(inner)], ramp(thick)[tuple(inner)], atol=0.02)


def test_every_stored_order_gives_the_same_slices() -> None:
    volume = a_volume()
    volume = volume.with_array(np.random.default_rng(0).random(volume.shape))
    expected = thick_slices(volume, 2, SliceProfile("gaussian", 4.0), 4.5)
    for _, stored in orientations(volume):
        thick = thick_slices(stored, slice_axis(stored, "axial"), SliceProfile("gaussian", 4.0), 4.5)
        assert same_in_world(expected, thick, 1e-9)


def test_channels_and_whole_numbers_are_taken() -> None:
    array = np.random.default_rng(1).integers(0, 200, (2, 6, 7, 12)).astype(np.int16)
    thick = thick_slices(Volume(array, np.eye(4)), 2, SliceProfile("box", 3.0), 3.0)
    assert thick.array.dtype == np.float32
    np.testing.assert_allclose(thick.array, array.reshape(2, 6, 7, 4, 3).mean(-1), rtol=1e-5)


def test_an_axis_that_is_not_there_is_refused() -> None:
    with raises("value-invalid", "axis 3"):
        thick_slices(a_volume(), 3, SliceProfile(), 4.0)


def test_directions_are_anatomical() -> None:
    volume = a_volume()
    for codes in ORIENTATIONS:
        stored = oblique(reoriented(volume, codes), 15)
        for direction, letters in (("axial", "SI"), ("coronal", "AP"), ("sagittal", "RL")):
            axis = slice_axis(stored, direction)
            assert codes[axis] in letters
            assert slice_direction(stored, axis) == direction
    with raises("name-unknown", "transverse"):
        slice_axis(volume, "transverse")


def test_the_header_shows_the_axis_of_thick_slices() -> None:
    assert thickest_axis(Volume(np.zeros((4, 4, 4)), np.diag([1.0, 4.0, 1.0, 1.0]))) == 1
    assert thickest_axis(Volume(np.zeros((4, 4, 4)), np.diag([1.0, 1.0, 0.9999, 1.0]))) == 2


# Noise


def test_gaussian_noise_has_its_level() -> None:
    volume = Volume(np.full((30, 30, 30), 200.0), np.eye(4))
    noise = with_noise(volume, 0.05, np.random.default_rng(0), "gaussian").array - 200
    assert abs(noise.mean()) < 0.3
    assert noise.std() == pytest.approx(10, rel=0.02)


def test_rician_noise_fills_the_air_and_follows_its_law() -> None:
    array = np.zeros((40, 40, 40))
    array[20:] = 200
    noisy = with_noise(Volume(array, np.eye(4)), 0.1, np.random.default_rng(0), "rician").array
    # Rayleigh in air: mean sigma sqrt(pi / 2); bright tissue: sqrt(s^2 + sigma^2) and sigma.
    assert noisy.min() >= 0
    assert noisy[:20].mean() == pytest.approx(20 * np.sqrt(np.pi / 2), rel=0.02)
    assert noisy[20:].mean() == pytest.approx(np.sqrt(200**2 + 20**2), rel=0.01)
    assert noisy[20:].std() == pytest.approx(20, rel=0.02)


def test_overshoot_below_zero_counts_as_zero_in_a_magnitude_image() -> None:
    array = np.full((4, 4, 4), 100.0)
    array[0] = -50
    noisy = with_noise(Volume(array, np.eye(4)), 0.0, np.random.default_rng(0), "rician")
    np.testing.assert_allclose(noisy.array, array.clip(min=0))


def test_the_seed_and_not_the_stored_order_decides_the_noise() -> None:
    volume = a_volume()
    for kind in ("rician", "gaussian"):
        expected = with_noise(volume, 0.03, np.random.default_rng(5), kind)
        for _, stored in orientations(volume):
            assert same_in_world(expected, with_noise(stored, 0.03, np.random.default_rng(5), kind), 1e-9)
        assert not same_in_world(expected, with_noise(volume, 0.03, np.random.default_rng(6), kind), 1e-9)


@pytest.mark.parametrize(
    ("level", "kind", "code", "named"),
    [
        (-0.1, "rician", "value-invalid", "-0.1"),
        (np.inf, "rician", "value-invalid", "inf"),
        (0.1, "poisson", "name-unknown", "poisson"),
    ],
)
def test_invalid_noise_is_refused(level: float, kind: str, code: Code, named: str) -> None:
    with raises(code, named):
        with_noise(a_volume(), level, np.random.default_rng(0), kind)
