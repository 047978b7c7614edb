"""Head motion in k-space: what it changes, where it leaves the head, and that storage does not matter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from NeuroGenLib.simulate.motion import HeadMotion, pose_of_lines, sample_motion, with_motion
from NeuroGenLib.spatial.volume import Volume
from Testing.geometry import a_brain_phantom, anisotropic, oblique, orientations, same_in_world
from Testing.raising import raises

if TYPE_CHECKING:
    from collections.abc import Callable

    from NeuroGenLib.core.errors import Code

LATE = 0.65
"""A start after the lines that are always still."""


@pytest.fixture(scope="module")
def head() -> Volume:
    """A head of 24 x 28 x 22 voxels of 4 mm, in float64."""
    image = a_brain_phantom((24, 28, 22), 4.0).image
    return image.with_array(image.array.astype(np.float64))


def one_move(axis: int = 1, start: float = LATE, degrees: Any = (0, 0, 0), millimetres: Any = (0, 0, 0)) -> HeadMotion:
    return HeadMotion(axis, [start], [degrees], [millimetres])


def expected_late(array: np.ndarray, moved: np.ndarray, axis: int, start: float) -> np.ndarray:
    """Put a scan together from whole 3-D spectra: the lines after ``start`` of ``moved``, the others of ``array``."""
    count = array.shape[axis]
    shape = [1, 1, 1]
    shape[axis] = count
    late = (np.fft.fftfreq(count) + 0.5 >= start).reshape(shape)
    return np.abs(np.fft.ifftn(np.where(late, np.fft.fftn(moved), np.fft.fftn(array))))


def centre_of_mass(volume: Volume) -> np.ndarray:
    weights = volume.array / volume.array.sum()
    return volume.voxel_to_world([float((index * weights).sum()) for index in np.indices(volume.shape)])


def test_a_head_that_keeps_still_is_as_it_was(head):
    still = with_motion(head, HeadMotion(2, [0.2, 0.6, 0.9], np.zeros((3, 3)), np.zeros((3, 3))))
    np.testing.assert_allclose(still.array, head.array, atol=1e-9)
    assert np.array_equal(still.affine, head.affine)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_shift_is_in_millimetres_along_the_images_axes(axis):
    """Two voxels of 3 mm and minus one of 5 mm; the head lies well inside, so that rolling the array shifts it."""
    array = np.zeros((16, 18, 12))
    array[5:11, 6:12, 4:8] = np.random.default_rng(1).uniform(100, 900, (6, 6, 4))
    volume = Volume(array, np.diag([2.0, 3.0, 5.0, 1.0]))
    moved = with_motion(volume, one_move(axis, millimetres=(0, 6, -5)))
    rolled = np.roll(array, (0, 2, -1), (0, 1, 2))
    np.testing.assert_allclose(moved.array, expected_late(array, rolled, axis, LATE), atol=1e-6)


def test_a_turn_is_in_degrees_about_the_centre():
    """A quarter turn about the superior axis takes right to anterior."""
    array = np.random.default_rng(2).uniform(100, 900, (12, 12, 5))
    volume = Volume(array, np.diag([2.0, 2.0, 3.0, 1.0]))
    moved = with_motion(volume, one_move(1, degrees=(0, 0, 90)))
    turned = np.rot90(array, 1, (0, 1))
    np.testing.assert_allclose(moved.array, expected_late(array, turned, 1, LATE), atol=1e-6)


def test_lines_are_read_from_the_most_negative_frequency_on():
    times_of_lines = [0.5, 0.6, 0.7, 0.8, 0.9, 0.0, 0.1, 0.2, 0.3, 0.4]
    assert np.allclose(np.fft.fftfreq(10) + 0.5, times_of_lines)
    assert pose_of_lines(10, np.array([0.25, 0.65])).tolist() == [0, 0, 2, 2, 2, 1, 1, 1, 0, 0]


@pytest.mark.parametrize("start", [0.48, 0.5, 0.52])
def test_the_middle_of_k_space_is_always_still(start):
    places = pose_of_lines(100, np.array([start]))
    assert (places[:5] == 0).all()
    assert (places[-5:] == 0).all()
    assert set(places.tolist()) == {0, 1}


@given(seed=st.integers(0, 10_000), thick=st.booleans())
def test_the_head_is_spoilt_but_stays_in_its_place(seed, thick):
    whole = a_brain_phantom((24, 28, 22), 4.0).image
    image = anisotropic(whole, (3.0, 4.0, 8.0)) if thick else whole
    spoilt = with_motion(image, sample_motion(np.random.default_rng(seed)))
    assert np.abs(spoilt.array - image.array).max() > 1
    # The middle of k-space shows the head at its place: the whole moves less than the head does along any axis.
    assert np.linalg.norm(centre_of_mass(spoilt) - centre_of_mass(image)) < 5
    head, after = image.array > 300, spoilt.array > 300
    assert 2 * (head & after).sum() / (head.sum() + after.sum()) > 0.85
    assert (spoilt.array >= 0).all()


def test_storage_does_not_matter(head):
    motion = sample_motion(np.random.default_rng(3))
    expected = with_motion(head, motion)
    for codes, stored in orientations(head):
        assert same_in_world(expected, with_motion(stored, motion), 1e-5), codes


def test_a_turned_head_moves_with_its_axes(head):
    motion = sample_motion(np.random.default_rng(4))
    turned = oblique(anisotropic(head), 25)
    straight = anisotropic(head)
    np.testing.assert_allclose(with_motion(turned, motion).array, with_motion(straight, motion).array, atol=1e-5)


@given(seed=st.integers(0, 2**32 - 1), moves=st.integers(1, 9), degrees=st.floats(0, 20), shift=st.floats(0, 30))
def test_sampled_motions_keep_their_limits(seed, moves, degrees, shift):
    motion = sample_motion(np.random.default_rng(seed), moves, degrees, shift)
    assert motion.degrees.shape == motion.millimetres.shape == (moves, 3)
    assert np.abs(motion.degrees).max() <= degrees
    assert np.abs(motion.millimetres).max() <= shift
    again = sample_motion(np.random.default_rng(seed), moves, degrees, shift)
    assert motion.axis == again.axis
    assert np.array_equal(motion.starts, again.starts)


def test_whole_numbers_become_float_and_the_input_stays(head):
    stored = Volume(head.array.astype(np.int16) - 5, head.affine)
    before = stored.array.copy()
    spoilt = with_motion(stored, sample_motion(np.random.default_rng(5)))
    assert spoilt.array.dtype == np.float32
    assert np.array_equal(stored.array, before)


@pytest.mark.parametrize(
    ("broken", "code", "named"),
    [
        (lambda: HeadMotion(3, [0.5], [[0, 0, 0]], [[0, 0, 0]]), "value-invalid", "axis 3"),
        (lambda: HeadMotion(0, [0.5, 0.6], [[0, 0, 0]], [[0, 0, 0]]), "value-conflict", (1, 3)),
        (lambda: HeadMotion(0, 0.5, [[0, 0, 0]], [[0, 0, 0]]), "value-conflict", "()"),
        (lambda: HeadMotion(0, [0.5], [[0, np.nan, 0]], [[0, 0, 0]]), "value-invalid", "degrees"),
        (lambda: HeadMotion(0, [0.6, 0.5], np.zeros((2, 3)), np.zeros((2, 3))), "value-invalid", [0.6, 0.5]),
        (lambda: HeadMotion(0, [1.5], [[0, 0, 0]], [[0, 0, 0]]), "value-invalid", 1.5),
    ],
)
def test_invalid_motions_are_refused(broken: Callable[[], HeadMotion], code: Code, named: object):
    with raises(code, named):
        broken()


def test_an_image_with_channels_is_refused():
    with raises("image-dimensions", "2 channels"):
        with_motion(Volume(np.zeros((2, 4, 4, 4)), np.eye(4)), one_move())
