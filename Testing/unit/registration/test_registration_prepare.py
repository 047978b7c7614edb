"""How scans are made ready: intensities whatever the scanner's scale, masks, and the grids of the halfway space."""

from __future__ import annotations

from dataclasses import replace

import nibabel
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from NeuroGenLib.alignment.halfway import HalfwayGrid, HalfwayStart
from NeuroGenLib.alignment.prepared_image import PreparedImage
from NeuroGenLib.core.config import from_mapping
from NeuroGenLib.registration.manifest import PreparationEntry
from NeuroGenLib.registration.prepare import fine_grids, network_grid, prepared_side, prepared_sides
from NeuroGenLib.spatial.transforms.affine import Affine
from NeuroGenLib.spatial.volume import Volume
from Testing.geometry import ORIENTATIONS, reoriented, rotation
from Testing.raising import raises
from Testing.registration_pairs import PREPARATION as RECORD
from Testing.registration_pairs import a_bent_pair

SAME = np.eye(4)
PREPARATION = from_mapping(PreparationEntry, RECORD)
START = HalfwayStart(SAME, SAME, 0.0, 0.0, 0.0)
CT = PreparationEntry(
    (16, 20, 16), spacing=(2.0, 2.0, 2.0), normalisation="fixed", clip=(-900, 600), shift=-1000, scale=1600, masked=True
)


@pytest.fixture(scope="module")
def pair():
    return a_bent_pair()


@pytest.fixture(scope="module")
def brain(pair):
    return pair.fixed.with_array((pair.fixed_labels.array > 0).astype(np.uint8))


def both_sides(images, masks, start, preparation):
    fixed, moving = (PreparedImage.of(*both) for both in zip(images, masks, strict=True))
    return prepared_sides(fixed, moving, start, preparation)


def ready(image, mask=None, preparation=PREPARATION):
    return prepared_side(PreparedImage.of(image, mask, "The fixed"), START.to_fixed, preparation)


def test_percentiles_become_zero_and_one(pair):
    values = pair.fixed.array.astype(np.float64)
    low = np.percentile(values, 0.1)
    high = np.percentile(values[values > low], 99.5)
    expected = np.clip((values - low) / (high - low), 0, 1)
    found = ready(pair.fixed).image
    assert found.array.dtype == np.float32
    assert np.allclose(found.array, expected, atol=1e-6)
    assert found.same_space(pair.fixed)


@given(st.floats(1e-3, 1e4), st.floats(-2000, 2000))
def test_the_scanners_scale_and_offset_do_not_count(pair, scale, offset):
    changed = pair.fixed.with_array(scale * pair.fixed.array.astype(np.float64) + scale * offset)
    assert np.allclose(ready(changed).image.array, ready(pair.fixed).image.array, atol=1e-3)


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.uint16, np.int32, np.int64, np.uint64, np.float64])
def test_any_type_of_numbers(pair, kind):
    whole = np.round(pair.fixed.array * (250 / pair.fixed.array.max()))
    expected = ready(pair.fixed.with_array(whole.astype(np.float32))).image.array
    found = ready(pair.fixed.with_array(whole.astype(kind))).image.array
    assert found.dtype == np.float32
    assert np.allclose(found, expected, atol=1e-6)
    assert expected.max() == 1


@pytest.mark.parametrize("value", [1e6, -1e6, 1e30])
def test_one_wild_voxel_changes_little(pair, value):
    wild = pair.fixed.array.copy()
    wild[0, 0, 0] = value
    found, expected = (ready(pair.fixed.with_array(one)).image.array for one in (wild, pair.fixed.array))
    assert np.abs(found - expected).ravel()[1:].max() < 0.01


def test_a_mask_decides_what_is_bright_and_what_is_seen(pair, brain):
    spoilt = pair.fixed.array.copy()
    spoilt[brain.array == 0] = 3000  # bright fat around it
    found = ready(pair.fixed.with_array(spoilt), brain).image.array
    assert found[brain.array == 0].max() == 0
    within = pair.fixed.array[brain.array > 0]
    low = np.percentile(spoilt, 0.1)
    expected = np.clip((within - low) / (np.percentile(within, 99.5) - low), 0, 1)
    assert np.allclose(found[brain.array > 0], expected, atol=1e-5)


def test_any_nonzero_value_of_a_mask_counts(pair, brain):
    expected = ready(pair.fixed, brain)
    for array in (brain.array > 0, brain.array * np.float32(0.3), brain.array.astype(np.int16) * 255):
        found = ready(pair.fixed, brain.with_array(array))
        assert np.array_equal(found.image.array, expected.image.array)
        assert np.array_equal(found.inside.array, expected.inside.array)


def test_least_and_largest(pair):
    found = ready(pair.fixed, preparation=replace(PREPARATION, normalisation="minmax")).image.array
    values = pair.fixed.array
    assert np.allclose(found, (values - values.min()) / np.ptp(values), atol=1e-6)


def test_hounsfield_units_by_the_rule_of_the_training(pair, brain):
    values = np.round(3 * pair.fixed.array - 1000).astype(np.int16)
    found = ready(pair.fixed.with_array(values), brain, CT).image.array
    expected = (np.clip(values.astype(float), -900, 600) + 1000) / 1600 * (brain.array > 0)
    assert np.allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("clip", "least", "largest"), [((None, None), None, None), ((None, 600), None, 600), ((0, None), 0, None)]
)
def test_clips_may_be_open(pair, brain, clip, least, largest):
    values = (3 * pair.fixed.array - 1000).astype(np.float32)
    found = ready(pair.fixed.with_array(values), brain, replace(CT, clip=clip)).image.array
    limited = np.clip(values, -np.inf if least is None else least, np.inf if largest is None else largest)
    assert np.allclose(found, (limited + 1000) / 1600 * (brain.array > 0), atol=1e-6)
    assert np.array_equal(values, (3 * pair.fixed.array - 1000).astype(np.float32))  # the scan is not touched


def test_a_model_of_masked_images_wants_masks(pair):
    with raises("value-missing", "fixed image"):
        ready(pair.fixed, preparation=CT)


def test_a_constant_image_is_refused(pair):
    for preparation in (PREPARATION, replace(PREPARATION, normalisation="minmax")):
        with raises("image-empty", "fixed image"):
            ready(pair.fixed.with_array(np.full(pair.fixed.shape, 7)), preparation=preparation)


def test_channels_are_scaled_one_by_one(pair):
    two = Volume(np.stack([pair.fixed.array, 500 - pair.fixed.array / 2]), pair.fixed.affine)
    found = ready(two).image
    for layer, array in zip(found.array, two.array, strict=True):
        assert np.array_equal(layer, ready(pair.fixed.with_array(array)).image.array)


def test_on_a_grid_of_the_halfway_space(pair):
    """The value at a voxel is that at the place that the start sends it to; beyond the image it is dark."""
    motion = rotation(90, (0, 0, 0), (0, 0, 1))
    side = prepared_side(PreparedImage.of(pair.fixed), Affine(motion, "halfway", "fixed"), PREPARATION)
    spacing = pair.fixed.spacing[0]
    grid = HalfwayGrid(
        (4, 3, 50), np.array([[spacing, 0, 0, 0], [0, spacing, 0, 0], [0, 0, spacing, 0], [0, 0, 0, 1.0]])
    )
    found = side.on(grid).numpy()
    assert found.shape == (1, 1, 4, 3, 50)
    centre = pair.fixed.voxel_to_world((np.array(pair.fixed.shape) - 1) / 2)
    assert np.allclose(centre, 0)
    # A quarter turn about S: halfway R is the image's A, halfway A its L.
    index = pair.fixed.world_to_voxel([[0.0, 2 * spacing, 3 * spacing]])[0]
    expected = np.mean(
        [side.image.array[i, j, k] for i in split(index[0]) for j in split(index[1]) for k in split(index[2])]
    )
    assert found[0, 0, 2, 0, 3] == pytest.approx(expected, abs=1e-5)
    assert found[..., -1].max() == side.image.array.min()


def split(place):
    return (int(np.floor(place)), int(np.ceil(place)))


@pytest.mark.parametrize("codes", ORIENTATIONS)
def test_how_it_is_stored_does_not_matter(pair, brain, codes):
    """Grids and images in the halfway space are the same for all 48 ways to store a scan."""
    for mask in (None, brain):
        expected = both_sides((pair.fixed, pair.moving), (mask, mask), START, PREPARATION)
        found = both_sides(
            (reoriented(pair.fixed, codes), pair.moving), (mask and reoriented(mask, codes), mask), START, PREPARATION
        )
        grids = [
            (network_grid(*both, PREPARATION, exact=False), *fine_grids(*both, 10**6, 8.0))
            for both in (expected, found)
        ]
        for one, other in zip(*grids, strict=True):
            assert one.shape == other.shape
            assert np.allclose(one.affine, other.affine, atol=1e-9)
        assert np.allclose(expected[0].on(grids[0][0]), found[0].on(grids[0][0]), atol=1e-5)


def test_swapped_images_have_the_same_grids(pair, brain):
    there = both_sides((pair.fixed, pair.moving), (brain, None), START, PREPARATION)
    back = both_sides((pair.moving, pair.fixed), (None, brain), START, PREPARATION)
    grids = [(network_grid(*both, PREPARATION, exact=False), *fine_grids(*both, 10**6, 8.0)) for both in (there, back)]
    for one, other in zip(*grids, strict=True):
        assert one.shape == other.shape
        assert np.array_equal(one.affine, other.affine)


def box(volume):
    """Corners of the foreground, RAS mm of the voxel centres, straight from the values."""
    points = volume.voxel_to_world(np.argwhere(volume.array > 0.3 * volume.array.max()))
    return points.min(axis=0), points.max(axis=0)


def ends(grid):
    """Where the outer voxel centres lie, RAS mm."""
    corners = np.array([[0, 0, 0], np.array(grid.shape) - 1]) @ grid.affine[:3, :3].T + grid.affine[:3, 3]
    return corners.min(axis=0), corners.max(axis=0)


def test_the_brain_fills_the_networks_grid_as_in_training(pair):
    both = both_sides((pair.fixed, pair.fixed), (None, None), START, PREPARATION)
    grid = network_grid(*both, PREPARATION, exact=False)
    assert grid.shape == PREPARATION.grid
    spacing = np.linalg.norm(grid.affine[:3, :3], axis=0)
    assert np.allclose(grid.affine[:3, :3], np.eye(3) * spacing[0])
    low, high = box(pair.fixed)
    share = (high - low) / (spacing * np.array(grid.shape))
    assert share.max() == pytest.approx(PREPARATION.fill, abs=0.08)  # to about a voxel of the scan
    assert np.allclose(np.mean(ends(grid), axis=0), (low + high) / 2, atol=2.5)


@pytest.mark.parametrize("axes", ["RAS", "LIA", "PSR"])
def test_the_spacing_and_orientation_of_the_training(pair, axes):
    preparation = PreparationEntry((40, 48, 44), spacing=(2.0, 1.5, 3.0), orientation=axes)
    both = both_sides((pair.fixed, pair.moving), (None, None), START, preparation)
    exact, free = (network_grid(*both, preparation, exact=one) for one in (True, False))
    assert exact.shape == (40, 48, 44)
    for grid in (exact, free):
        assert "".join(nibabel.aff2axcodes(grid.affine)) == axes
        assert np.allclose(np.linalg.norm(grid.affine[:3, :3], axis=0), (2.0, 1.5, 3.0))
    low, high = (np.array(one) for one in zip(*(box(one) for one in (pair.fixed, pair.moving)), strict=True))
    low, high = low.min(axis=0), high.max(axis=0)
    assert np.allclose(np.mean(ends(free), axis=0), np.mean(ends(exact), axis=0))
    assert (ends(free)[0] < low).all()
    assert (ends(free)[1] > high).all()
    # Sixteen voxels more than the brain along each axis, not a multiple of it.
    room = (
        np.array(free.shape) * (2.0, 1.5, 3.0)
        - (high - low)[[{"R": 0, "L": 0, "A": 1, "P": 1}.get(axis, 2) for axis in axes]]
    )
    assert (room < 20 * np.array((2.0, 1.5, 3.0))).all()


def test_the_optimisation_works_on_two_image_voxels_and_holds_both(pair):
    coarse, fine = fine_grids(*both_sides((pair.fixed, pair.moving), (None, None), START, PREPARATION), 10**6, 8.0)
    assert np.allclose(np.linalg.norm(fine.affine[:3, :3], axis=0), 2 * 2.5)
    assert np.allclose(np.linalg.norm(coarse.affine[:3, :3], axis=0), 4 * 2.5)
    assert (fine.note, coarse.note) == ("", "")
    for grid in (coarse, fine):
        for volume in (pair.fixed, pair.moving):
            low, high = box(volume)
            assert (ends(grid)[0] <= low - 5).all()
            assert (ends(grid)[1] >= high + 5).all()


def test_a_large_scan_is_optimised_more_coarsely_and_says_so(pair):
    coarse, fine = fine_grids(*both_sides((pair.fixed, pair.moving), (None, None), START, PREPARATION), 2000, 8.0)
    assert "instead of 5.00 mm" in fine.note
    assert np.prod(np.array(fine.shape) - 1) <= 2600  # one voxel is added to each axis
    assert np.prod(coarse.shape) < np.prod(fine.shape)


def test_a_single_voxel_is_nothing_to_register(pair):
    single = np.zeros(pair.fixed.shape, np.uint8)
    single[12, 13, 14] = 1
    mask = pair.fixed.with_array(single)
    both = both_sides((pair.fixed, pair.fixed), (mask, mask), START, PREPARATION)
    with raises("image-empty") as refused:
        network_grid(*both, PREPARATION, exact=False)
    assert "masks" in refused.value.remedy
