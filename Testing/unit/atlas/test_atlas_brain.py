"""Which voxels of a decoded volume are brain."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from NeuroGenLib.atlas.rendering.brain import brain_mask, within


@pytest.fixture
def two_pieces() -> np.ndarray:
    """A block of 27 voxels of classes 1 and 2, and a speck of class 2; class 3 is background by name."""
    classes = np.zeros((14, 14, 14), int)
    classes[3:6, 3:6, 3:6] = 1
    classes[4, 4, 4] = 2
    classes[11, 11, 11] = 2
    classes[10:13, 3, 3] = 3
    return classes


@given(
    st.tuples(*[st.floats(0.5, 4)] * 3),
    st.floats(0, 8),
    st.lists(st.tuples(*[st.integers(0, 7)] * 3), min_size=1, max_size=5),
)
def test_within_is_the_distance_in_mm(spacing, distance, voxels):
    mask = np.zeros((8, 8, 8), bool)
    mask[tuple(np.transpose(voxels))] = True
    every = np.stack(np.meshgrid(*[np.arange(8)] * 3, indexing="ij"), -1) * spacing
    apart = np.min([np.linalg.norm(every - np.multiply(voxel, spacing), axis=-1) for voxel in voxels], axis=0)
    clear = np.abs(apart - distance) > 1e-9
    np.testing.assert_array_equal(within(mask, spacing, distance)[clear], (apart <= distance)[clear])


def test_the_largest_piece_and_its_rim(two_pieces):
    mask = brain_mask(two_pieces, (1, 1, 1), (0, 3), margin_mm=1)
    expected = np.zeros_like(mask)
    for axis in range(3):
        grown = [slice(3, 6)] * 3
        grown[axis] = slice(2, 7)
        expected[tuple(grown)] = True
    np.testing.assert_array_equal(mask, expected)


def test_the_rim_is_in_mm(two_pieces):
    mask = brain_mask(two_pieces, (1, 2, 5), (0, 3), margin_mm=4)
    where = np.argwhere(mask)
    assert where.min(0).tolist() == [0, 1, 3]  # 4 mm: three voxels up to the border, two, none
    assert where.max(0).tolist() == [9, 7, 5]


def test_a_section_keeps_the_pieces_that_were_seen_before(two_pieces):
    def kept(*seen: tuple[int, int, int]) -> int:
        core = np.zeros(two_pieces.shape, bool)
        core[tuple(np.transpose(seen))] = True
        return int(brain_mask(two_pieces, (1, 1, 1), (0, 3), 0.5, core=core).sum())

    assert kept((5, 5, 5), (11, 11, 11)) == 28
    assert kept((11, 11, 11), (8, 8, 8)) == 1
    assert kept((8, 8, 8), (11, 3, 3)) == 0
    assert brain_mask(two_pieces, (1, 1, 1), (0, 3), 0.5).sum() == 27


def test_where_all_is_background_nothing_is_brain(two_pieces):
    assert not brain_mask(np.full((5, 5, 5), 3), (1, 1, 1), (0, 3)).any()
    assert brain_mask(np.ones((5, 5, 5), int), (1, 1, 1), (0,)).all()
