"""Thick slices the published way: which slices are kept, where they move to, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from NeuroGenLib.simulate.decimation import AXES, decimate, decimate_volume
from NeuroGenLib.spatial.volume import Volume
from Testing.geometry import ORIENTATIONS
from Testing.raising import raises

OBLIQUE = np.array([[0.9, 0.1, 0, -10], [-0.1, 0.9, 0.2, 5], [0, -0.2, 2.2, 3], [0, 0, 0, 1]])


@given(st.sampled_from(sorted(AXES)), st.integers(1, 5), st.integers(0, 3))
def test_kept_slices_are_spread_from_end_to_end(direction, factor, start):
    image = np.random.default_rng(factor).random((11, 12, 13))
    axis = AXES[direction]
    found = np.moveaxis(decimate(image, direction, factor, start), axis, 0)
    slices = np.moveaxis(image, axis, 0)
    last = range(start, len(slices), factor)[-1]
    assert found.shape == slices.shape
    # Splines pass through what they are given.
    np.testing.assert_allclose(found[0], slices[start], atol=1e-10)
    np.testing.assert_allclose(found[-1], slices[last], atol=1e-10)


def test_a_ramp_is_stretched():
    # Slices 0, 4 and 8 of ten: slice 8 moves to 9.
    ramp = np.broadcast_to(np.arange(10.0), (4, 5, 10))
    found = decimate(ramp, "axial", 4)
    assert found[2, 2, 0] == pytest.approx(0, abs=1e-10)
    assert found[2, 2, 9] == pytest.approx(8)
    assert (np.diff(found[2, 2]) > 0).all()


def test_a_factor_of_one_changes_nothing():
    image = np.random.default_rng(2).integers(0, 99, (5, 6, 7)).astype(np.int16)
    found = decimate(image, "coronal", 1)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, image, atol=1e-10)


@pytest.mark.parametrize(
    ("direction", "factor", "start", "code", "named"),
    [
        ("axal", 2, 0, "name-unknown", "'axal'"),
        ("axial", 0, 0, "value-invalid", "Every 0th"),
        ("axial", -2, 0, "value-invalid", "Every -2th"),
        ("axial", 2, 7, "value-invalid", "slice 7"),
        ("axial", 2, -1, "value-invalid", "slice -1"),
        ("axial", 7, 0, "value-invalid", "7 axial slices"),
        ("axial", 2, 6, "value-invalid", "slice 6"),
    ],
)
def test_what_leaves_no_image_is_refused(direction, factor, start, code, named):
    with raises(code, named) as caught:
        decimate(np.ones((5, 6, 7)), direction, factor, start)
    assert caught.value.remedy


def test_an_unknown_direction_gets_a_proposal():
    with raises("name-unknown", "'axial'"):
        decimate(np.ones((5, 6, 7)), "axal", 2)


@pytest.fixture
def scan() -> Volume:
    """An oblique scan, whole numbers."""
    return Volume(np.random.default_rng(4).integers(0, 500, (9, 10, 11)).astype(np.int16), OBLIQUE)


@pytest.mark.parametrize("direction", sorted(AXES))
@pytest.mark.parametrize("codes", ORIENTATIONS)
def test_storage_does_not_matter(scan, direction, codes):
    stored = scan.reorient("LAS")
    expected = stored.with_array(decimate(stored.array, direction, 3, 1))
    found = decimate_volume(scan.reorient(codes), direction, 3, 1)
    assert found.axcodes == tuple(codes)
    assert found.same_space(scan.reorient(codes))
    assert np.array_equal(found.reorient("LAS").array, expected.array)


@pytest.mark.parametrize(
    ("spoil", "code", "named"),
    [
        (lambda scan: Volume(np.stack([scan.array] * 3), scan.affine), "image-dimensions", "3 channels"),
        (lambda scan: scan.with_array(np.full(scan.shape, np.nan)), "image-not-finite", 9 * 10 * 11),
    ],
)
def test_scans_that_are_refused(scan, spoil, code, named):
    with raises(code, named):
        decimate_volume(spoil(scan), "axial", 2)
