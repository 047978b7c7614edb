"""From a scan to the grid of the network and back: the same head wherever and however it is stored."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from NeuroGenLib.mask import grid
from NeuroGenLib.mask.grid import averaged, coarse_image, on_scan
from NeuroGenLib.spatial.volume import Volume
from Testing.geometry import (
    ALL_ORIENTATIONS,
    a_brain_phantom,
    oblique,
    orientations,
    same_in_world,
)
from Testing.raising import raises

if TYPE_CHECKING:
    from NeuroGenLib.core.errors import Code

GRADIENT = np.array([2.0, -1.0, 3.0])


def a_ramp(shape: tuple[int, int, int], affine: np.ndarray) -> Volume:
    """A scan whose value is a linear function of the place in the world."""
    indices = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), axis=-1)
    world = indices @ affine[:3, :3].T + affine[:3, 3]
    return Volume(world @ GRADIENT, affine)


def world_of(volume: Volume) -> np.ndarray:
    indices = np.stack(np.meshgrid(*(np.arange(n) for n in volume.shape), indexing="ij"), axis=-1)
    return indices @ volume.affine[:3, :3].T + volume.affine[:3, 3]


@settings(max_examples=25, deadline=None)
@given(
    codes=st.sampled_from(ALL_ORIENTATIONS),
    widths=st.tuples(*[st.floats(0.6, 4)] * 3),
    degrees=st.floats(-40, 40),
    spacing=st.floats(2, 4),
)
def test_a_linear_image_stays_where_it_is(codes: str, widths: tuple, degrees: float, spacing: float) -> None:
    affine = np.diag([*widths, 1.0])
    affine[:3, 3] = (7, -50, 12)
    shape = tuple(int(np.ceil(90 / width)) for width in widths)
    turned = oblique(Volume(np.zeros(shape), affine), degrees).affine
    scan = next(orientations(a_ramp(shape, np.array(turned)), [codes]))[1]
    coarse = coarse_image(scan, spacing)
    assert coarse.spacing == pytest.approx((spacing,) * 3)
    expected = world_of(coarse) @ GRADIENT
    # Smoothing holds the border's values, so that a linear function is itself only inside.
    rim = int(np.ceil(8 / spacing))
    inner = (slice(rim, -rim),) * 3
    assert np.allclose(coarse.array[inner], expected[inner], atol=0.02)


def test_the_grid_covers_the_field_of_view() -> None:
    scan = Volume(np.ones((100, 91, 33)), np.diag([1.0, 1.1, 3.3, 1]))
    coarse = coarse_image(scan, 3.0)
    assert coarse.shape == (34, 34, 37)
    assert np.allclose(coarse.centre, scan.centre)
    assert (coarse.array == 1).all()


@pytest.mark.parametrize("degrees", [0, 17])
def test_how_a_scan_is_stored_does_not_matter(degrees: float) -> None:
    scan = oblique(a_brain_phantom((50, 61, 47), 1.3).image, degrees)
    wanted = coarse_image(scan, 3.0)
    for codes, stored in orientations(scan):
        found = coarse_image(stored, 3.0)
        assert np.allclose(found.affine, wanted.affine, atol=1e-6), codes
        assert np.allclose(found.array, wanted.array, atol=1e-2), codes  # of 950


def test_averaged_means_blocks_about_the_middle() -> None:
    array = np.arange(7 * 4 * 5, dtype=np.int16).reshape(7, 4, 5)
    affine = np.diag([0.5, 0.4, 2.0, 1.0])
    affine[:3, 3] = (10, 20, 30)
    result = averaged(Volume(array, affine), 1.5)
    assert result.shape == (2, 1, 5)
    assert result.array[0, 0, 0] == array[0:3, 0:3, 0].mean()
    assert result.array[1, 0, 4] == array[3:6, 0:3, 4].mean()
    assert np.allclose(result.affine[:3, 3], (10.5, 20.4, 30))
    assert result.spacing == pytest.approx((1.5, 1.2, 2.0))


def test_averaged_leaves_coarse_volumes_alone() -> None:
    volume = Volume(np.zeros((4, 4, 4)), np.diag([1.0, 1, 1, 1]))
    assert averaged(volume, 1.5) is volume


def test_the_mask_is_where_the_interpolated_probability_is_above_one_half(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plane in the world: probability falls by 0.1 a mm along a slanted direction."""
    direction = np.array([0.6, 0.0, 0.8])
    coarse = Volume(np.zeros((20, 20, 20)), np.diag([3.0, 3, 3, 1]))
    coarse = coarse.with_array(np.clip(0.5 - 0.1 * (world_of(coarse) @ direction - 40), 0, 1))
    scan = oblique(Volume(np.zeros((31, 33, 29), np.int16), np.diag([1.1, 1.3, 1.0, 1])), 10)
    scan = Volume(scan.array, np.array(scan.affine) + np.outer([15, 10, 15, 0], [0, 0, 0, 1]))
    away = world_of(scan) @ direction - 40
    mask = on_scan(coarse, scan)
    clear = np.abs(away) > 0.3
    assert clear.any()
    assert 0.1 < (away < 0).mean() < 0.9
    assert np.array_equal(mask.array[clear], (away < 0)[clear])
    assert mask.array.dtype == np.uint8
    assert mask.same_space(scan)
    monkeypatch.setattr(grid, "_AT_ONCE", 4 * 33 * 29)
    assert np.array_equal(on_scan(coarse, scan).array, mask.array)


def test_masks_of_a_scan_and_its_other_storages_are_the_same() -> None:
    head = a_brain_phantom((40, 48, 36), 2.0)
    probability = coarse_image(head.image, 3.0)
    probability = probability.with_array(probability.array / 900)
    wanted = on_scan(probability, head.image)
    for codes, stored in orientations(head.image, ALL_ORIENTATIONS[::5]):
        assert same_in_world(on_scan(probability, stored), wanted), codes


@pytest.mark.parametrize(
    ("scan", "code", "named"),
    [
        (Volume(np.ones((3, 60, 60, 60)), np.eye(4)), "image-dimensions", "3 channels"),
        (Volume(np.ones((60, 60, 10)), np.eye(4)), "model-range", "60 x 60 x 10 mm"),
        (Volume(np.ones((60, 60, 60)), np.diag([1, 1, 1000.0, 1])), "geometry-invalid", "6e+04 mm"),
        (Volume(np.full((60, 60, 60), np.nan), np.eye(4)), "image-not-finite", "NaN"),
    ],
)
def test_images_that_cannot_show_a_head_are_refused(scan: Volume, code: Code, named: str) -> None:
    with raises(code, named):
        coarse_image(scan, 3.0)
