"""Geometry of volumes: orientation, resampling, cropping, spaces."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING

import nibabel
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from NeuroGenLib.spatial import volume as volume_module
from NeuroGenLib.spatial.volume import Volume, require_3d, require_finite, require_same_space
from Testing.geometry import (
    ALL_ORIENTATIONS,
    ORIENTATIONS,
    SWEEP,
    Phantom,
    a_brain_phantom,
    anisotropic,
    dice,
    oblique,
    orientations,
    reoriented,
    rotated_copy,
    rotation,
    same_in_world,
)
from Testing.raising import raises

if TYPE_CHECKING:
    from NeuroGenLib.core.errors import Code

LEFT_HANDED = np.diag([-1.0, 1.0, 1.0, 1.0])
POINTS = st.tuples(*[st.floats(-50, 50)] * 3)
SHEARED = np.array([[2.0, 0.5, 0, -10], [0, 2, 0.3, -20], [0, 0, 3, 5], [0, 0, 0, 1]])


def numbered(shape: tuple[int, ...] = (3, 4, 5), affine: np.ndarray | None = None) -> Volume:
    """A volume whose voxels all differ."""
    return Volume(np.arange(np.prod(shape), dtype=np.int32).reshape(shape), np.eye(4) if affine is None else affine)


@st.composite
def volumes(draw: st.DrawFn) -> Volume:
    """Small volumes, with or without channels, under rotated, left-handed, anisotropic affines."""
    shape = tuple(draw(st.lists(st.integers(1, 5), min_size=3, max_size=3)))
    channels = draw(st.sampled_from([(), (1,), (3,)]))
    spacing = draw(st.lists(st.floats(0.3, 6), min_size=3, max_size=3))
    affine = rotation(draw(st.floats(-40, 40)), (5, -3, 2)) @ np.diag([*spacing, 1.0])
    affine[:3, 3] += draw(st.lists(st.floats(-200, 200), min_size=3, max_size=3))
    volume = numbered((*channels, *shape), affine)
    return reoriented(volume, draw(st.sampled_from(ALL_ORIENTATIONS)))


def boxes_of(shape: tuple[int, int, int]) -> st.SearchStrategy:
    sides = [st.tuples(st.integers(0, n - 1), st.integers(1, n)).filter(lambda side: side[0] < side[1]) for n in shape]
    return st.tuples(*sides)


# --- what a volume says about itself ---


def test_geometry_of_an_anisotropic_left_handed_volume() -> None:
    affine = np.array([[-2.0, 0, 0, 10], [0, 0, 3, -20], [0, 4, 0, 30], [0, 0, 0, 1]])
    volume = Volume(np.zeros((2, 5, 6, 7), np.int16), affine)
    assert (volume.shape, volume.channels, volume.spacing) == ((5, 6, 7), 2, (2.0, 4.0, 3.0))
    assert volume.axcodes == ("L", "S", "A")
    assert not volume.is_oblique
    assert volume.voxel_volume_ml == pytest.approx(0.024)
    assert volume.centre == pytest.approx([6.0, -11.0, 40.0])
    assert volume.world_bounds == pytest.approx(np.array([[1, -21.5, 28], [11, -0.5, 52]]))
    assert repr(volume) == "Volume(2 channels of 5x6x7 int16, 2x4x3 mm, LSA)"


@given(volume=volumes(), points=st.lists(POINTS, min_size=1, max_size=4))
def test_world_and_voxels_are_inverse(volume: Volume, points: list) -> None:
    world = volume.voxel_to_world(points)
    assert world == pytest.approx(nibabel.affines.apply_affine(volume.affine, points))
    assert volume.world_to_voxel(world) == pytest.approx(np.array(points), abs=1e-6)


@pytest.mark.parametrize("axcodes", SWEEP)
def test_axcodes_agree_with_nibabel(axcodes: str) -> None:
    plain = reoriented(numbered(), axcodes)
    turned = oblique(plain, 30)
    for volume in (plain, turned):
        assert volume.axcodes == nibabel.aff2axcodes(volume.affine)
    assert (plain.is_oblique, turned.is_oblique) == (False, True)


def test_an_array_of_foreign_bytes_or_half_precision_becomes_usable() -> None:
    assert Volume(np.ones((2, 2, 2), ">i2"), np.eye(4)).array.dtype == np.dtype("int16")
    assert Volume(np.ones((2, 2, 2), np.float16), np.eye(4)).array.dtype == np.float32


@pytest.mark.parametrize(
    ("array", "affine", "code", "named"),
    [
        (np.zeros((2, 2)), np.eye(4), "image-dimensions", 2),
        (np.zeros((1, 1, 2, 2, 2)), np.eye(4), "image-dimensions", 5),
        (np.zeros((2, 0, 2)), np.eye(4), "image-empty", (2, 0, 2)),
        (np.zeros((2, 2, 2), complex), np.eye(4), "value-invalid", "complex128"),
        (np.zeros((2, 2, 2), [("R", "u1"), ("G", "u1"), ("B", "u1")]), np.eye(4), "value-invalid", "colours"),
        (np.zeros((2, 2, 2)), np.eye(3), "geometry-invalid", (3, 3)),
        (np.zeros((2, 2, 2)), np.full((4, 4), np.nan), "geometry-invalid", "NaN"),
        (np.zeros((2, 2, 2)), np.diag([1.0, 0, 1, 1]), "geometry-invalid", "flat"),
        (
            np.zeros((2, 2, 2)),
            np.array([[1.0, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]),
            "geometry-invalid",
            "flat",
        ),
        (np.zeros((2, 2, 2)), np.ones((4, 4)), "geometry-invalid", [1.0, 1.0, 1.0, 1.0]),
    ],
)
def test_invalid_volumes_are_refused(array: np.ndarray, affine: np.ndarray, code: Code, named: object) -> None:
    with raises(code, named) as caught:
        Volume(array, affine)
    assert caught.value.remedy


def test_the_affine_is_a_copy_that_cannot_be_changed() -> None:
    affine = np.eye(4)
    volume = Volume(np.zeros((2, 2, 2)), affine)
    affine[0, 3] = 9
    assert volume.affine[0, 3] == 0
    with pytest.raises(ValueError, match="read-only"):
        volume.affine[0, 3] = 1


# --- reorient ---


@pytest.mark.parametrize("axcodes", SWEEP)
def test_reorient_is_what_nibabel_does(axcodes: str) -> None:
    volume = oblique(numbered((2, 3, 4, 5), SHEARED @ LEFT_HANDED), 25)
    result, expected = volume.reorient(axcodes), reoriented(volume, axcodes)
    np.testing.assert_array_equal(result.array, expected.array)
    np.testing.assert_allclose(result.affine, expected.affine, atol=1e-12)
    assert "".join(result.axcodes) == axcodes


@given(volume=volumes(), axcodes=st.sampled_from(ALL_ORIENTATIONS))
def test_reorient_is_inverted_by_the_old_orientation(volume: Volume, axcodes: str) -> None:
    back = volume.reorient(axcodes).reorient(volume.axcodes)
    np.testing.assert_array_equal(back.array, volume.array)
    assert back.same_space(volume, tolerance=1e-9)


@given(volume=volumes(), first=st.sampled_from(ALL_ORIENTATIONS), second=st.sampled_from(ALL_ORIENTATIONS))
def test_two_reorientations_are_the_last_one(volume: Volume, first: str, second: str) -> None:
    through, direct = volume.reorient(first).reorient(second), volume.reorient(second)
    np.testing.assert_array_equal(through.array, direct.array)
    np.testing.assert_allclose(through.affine, direct.affine, atol=1e-9)


@given(volume=volumes(), axcodes=st.sampled_from(ALL_ORIENTATIONS))
def test_reorientation_keeps_the_geometry(volume: Volume, axcodes: str) -> None:
    stored = volume.reorient(axcodes)
    assert sorted(stored.spacing) == pytest.approx(sorted(volume.spacing))
    assert stored.voxel_volume_ml == pytest.approx(volume.voxel_volume_ml)
    np.testing.assert_allclose(stored.centre, volume.centre, atol=1e-9)
    np.testing.assert_allclose(stored.world_bounds, volume.world_bounds, atol=1e-9)


@pytest.mark.parametrize("axcodes", ["RAX", "RRS", "RLS", "RA", "", ("LR", "PA", "IS"), ("", "A", "S")])
def test_reorient_refuses_invalid_orientations(axcodes: str) -> None:
    with raises("value-invalid", "".join(axcodes)):
        numbered().reorient(axcodes)


def test_results_share_no_memory_with_the_input() -> None:
    volume = numbered()
    whole = [(0, n) for n in volume.shape]
    for result in (volume.reorient("RAS"), volume.crop(whole), volume.pad(0), volume.resample(like=volume, order=0)):
        np.testing.assert_array_equal(result.array, volume.array)
        assert not np.shares_memory(result.array, volume.array)


# --- resample ---


@pytest.mark.parametrize("degrees", [0, 20, 45])
@pytest.mark.parametrize(("order", "tolerance"), [(1, 0.03), (3, 0.02)])
def test_resample_gives_the_head_rendered_on_that_grid(
    phantom: Phantom, degrees: float, order: int, tolerance: float
) -> None:
    grid = oblique(Volume(np.zeros((42, 52, 40)), np.diag([-1.6, 1.6, 1.6, 1.0])), degrees)
    affine = grid.affine.copy()
    affine[:3, 3] -= grid.centre  # about the head
    result = phantom.image.resample(like=(grid.shape, affine), order=order)
    expected = a_brain_phantom(grid.shape, affine=affine).image
    np.testing.assert_array_equal(result.affine, affine)
    assert result.array.dtype == np.float32
    inside = np.all(np.abs(result.voxel_to_world(np.indices(grid.shape).T).T) < 32, axis=0)
    assert np.abs(result.array - expected.array)[inside].max() < tolerance * 950


def test_nearest_labels_are_those_of_the_nearest_voxel(phantom: Phantom) -> None:
    grid = oblique(anisotropic(phantom.labels, order=0), 20)
    result = phantom.labels.resample(like=grid, order=0, fill=7)
    indices = np.stack(np.meshgrid(*(np.arange(n) for n in grid.shape), indexing="ij"), axis=-1)
    places = nibabel.affines.apply_affine(np.linalg.inv(phantom.labels.affine) @ grid.affine, indices)
    nearest = np.floor(places + 0.5).astype(int)
    outside = ((nearest < 0) | (nearest >= phantom.labels.shape)).any(axis=-1)
    nearest = np.clip(nearest, 0, np.array(phantom.labels.shape) - 1)
    expected = np.where(outside, 7, phantom.labels.array[tuple(np.moveaxis(nearest, -1, 0))])
    assert result.array.dtype == np.uint8
    assert outside.any()
    assert (result.array != expected).mean() < 1e-4  # only exact ties may differ


@pytest.mark.parametrize("order", [0, 1, 3])
def test_every_stored_orientation_resamples_to_the_same(phantom: Phantom, order: int) -> None:
    volume = phantom.labels if order == 0 else phantom.image.with_array(phantom.image.array / 1000)
    source = oblique(volume.crop([(5, 33), (4, 40), (6, 30)]), 12)
    target = oblique(source.resample(3.0, order=0), 15)
    expected_like = source.resample(like=target, order=order)
    expected_spacing = source.resample(4.0, order=order)  # ratio 2: every new voxel is a tie of old ones, to rounding
    codes = ALL_ORIENTATIONS if order == 0 else ORIENTATIONS
    for name, stored in orientations(source, codes):
        assert same_in_world(stored.resample(like=target, order=order), expected_like), name
        assert same_in_world(stored.resample(4.0, order=order), expected_spacing), name
    for name, grid in orientations(target, codes):
        assert same_in_world(source.resample(like=grid, order=order), expected_like), name


def test_the_same_array_under_a_rotated_affine_gives_the_rotated_result(phantom: Phantom) -> None:
    turned = oblique(phantom.image, 20)
    plain_result, turned_result = phantom.image.resample(3.0), turned.resample(3.0)
    np.testing.assert_allclose(turned_result.array, plain_result.array, atol=1e-2)
    expected = rotation(20, phantom.image.centre) @ plain_result.affine
    np.testing.assert_allclose(turned_result.affine, expected, atol=1e-9)


def test_an_oblique_copy_keeps_the_labels() -> None:
    labels = a_brain_phantom((80, 96, 72), 1.0).labels
    copy = rotated_copy(labels, 20, order=0)
    assert dice(copy, a_brain_phantom(copy.shape, affine=copy.affine).labels) > 0.94
    back = copy.resample(like=labels, order=0)
    assert dice(back, labels) > 0.92


@given(volume=volumes(), axcodes=st.sampled_from(ALL_ORIENTATIONS), factor=st.integers(2, 4))
def test_labels_survive_a_finer_grid(volume: Volume, axcodes: str, factor: int) -> None:
    """Every voxel centre of the volume lies within a voxel of the finer grid that has its label."""
    finer = volume.resample([mm / factor for mm in volume.spacing], order=0)
    assert finer.shape == tuple(factor * size for size in volume.shape)
    back = finer.reorient(axcodes).resample(like=volume, order=0)
    np.testing.assert_array_equal(back.array, volume.array)


@given(volume=volumes(), order=st.sampled_from([0, 1, 3]))
def test_resampling_to_the_own_grid_changes_nothing(volume: Volume, order: int) -> None:
    np.testing.assert_allclose(volume.resample(like=volume, order=order).array, volume.array, atol=1e-3)


@given(volume=volumes(), gain=st.floats(-3, 3), offset=st.floats(-50, 50), spacing=st.floats(0.5, 4))
def test_linear_resampling_is_linear_in_the_intensities(
    volume: Volume, gain: float, offset: float, spacing: float
) -> None:
    image = volume.with_array(volume.array.astype(np.float64))
    scaled = image.with_array(gain * image.array + offset).resample(spacing)
    np.testing.assert_allclose(scaled.array, gain * image.resample(spacing).array + offset, atol=1e-6)


@given(volume=volumes(), degrees=st.floats(-180, 180), scale=st.floats(0.5, 2), points=st.lists(POINTS, min_size=1))
def test_an_affine_before_the_volumes_own_moves_its_points(
    volume: Volume, degrees: float, scale: float, points: list
) -> None:
    """Composition: the volume under ``transform @ affine`` has each voxel where the transform maps its old position."""
    transform = rotation(degrees, (3, -7, 11)) @ np.diag([scale, scale, scale, 1.0])
    moved = Volume(volume.array, transform @ volume.affine)
    expected = nibabel.affines.apply_affine(transform, volume.voxel_to_world(points))
    np.testing.assert_allclose(moved.voxel_to_world(points), expected, atol=1e-6)
    np.testing.assert_allclose(moved.world_to_voxel(expected), points, atol=1e-6)
    grid = Volume(np.zeros(volume.shape), volume.affine)
    on_moved_grid = moved.resample(like=(grid.shape, transform @ grid.affine), order=0)
    np.testing.assert_array_equal(on_moved_grid.array, volume.array)


@given(volume=volumes(), spacing=st.lists(st.floats(0.4, 7), min_size=3, max_size=3))
def test_a_new_spacing_keeps_directions_centre_and_faces(volume: Volume, spacing: list[float]) -> None:
    result = volume.resample(spacing, order=0)
    old, new = volume.affine[:3, :3], result.affine[:3, :3]
    np.testing.assert_allclose(new / np.linalg.norm(new, axis=0), old / np.linalg.norm(old, axis=0), atol=1e-9)
    assert result.spacing == pytest.approx(tuple(spacing))
    assert result.centre == pytest.approx(volume.centre, abs=1e-6)
    extents = np.array([volume.shape, result.shape]) * [volume.spacing, result.spacing]
    half_voxel = np.array(spacing) / 2
    assert np.all((np.abs(extents[0] - extents[1]) <= half_voxel + 1e-4) | (np.array(result.shape) == 1))
    assert set(np.unique(result.array)) <= set(np.unique(volume.array))


def test_values_reach_to_the_outer_faces() -> None:
    volume = Volume(np.full((4, 4, 4), 100, np.int16), np.diag([2.0, 2, 2, 1]))
    fine = volume.resample(0.5)
    assert fine.shape == (16, 16, 16)
    np.testing.assert_allclose(fine.array, 100)
    beyond = volume.resample(like=fine.pad(1), fill=-5)
    assert (beyond.array == 100).sum() == 16**3
    assert (beyond.array == -5).sum() == 18**3 - 16**3


@pytest.mark.parametrize("order", [1, 3])
def test_downsampling_does_not_alias(order: int) -> None:
    stripes = np.zeros((64, 8, 8), np.float32)
    stripes[::2] = 1
    coarse = Volume(stripes, np.eye(4)).resample((4.0, 1, 1), order=order).array[2:-2]
    assert coarse == pytest.approx(0.5, abs=0.01)


def test_smoothing_widens_the_point_response_to_the_new_voxel() -> None:
    point = np.zeros((64, 3, 3))
    point[32] = 1
    response = np.zeros(64)
    for start in range(4):  # four coarse grids, one mm apart, sample the response at every mm
        affine = np.diag([4.0, 1, 1, 1])
        affine[0, 3] = start
        response[start::4] = Volume(point, np.eye(4)).resample(like=((16, 3, 3), affine)).array[:, 1, 1]
    deviation = np.sqrt((response * (np.arange(64) - 32) ** 2).sum() / response.sum())
    assert response.sum() == pytest.approx(1)
    assert deviation == pytest.approx(np.sqrt(4**2 - 1) / 2.3548, rel=0.01)


def test_an_axis_that_keeps_its_spacing_is_not_smoothed(phantom: Phantom) -> None:
    thick = phantom.image.resample((2.0, 2.0, 6.0))
    through = np.repeat(phantom.image.array[:, :, :1], 36, axis=2)
    constant = phantom.image.with_array(through).resample((2.0, 2.0, 6.0))
    np.testing.assert_allclose(constant.array, np.repeat(through[:, :, :1], thick.shape[2], axis=2), rtol=1e-5)


def test_channels_are_resampled_one_by_one(phantom: Phantom) -> None:
    both = phantom.image.with_array(np.stack([phantom.image.array, -phantom.image.array]))
    result = both.resample(3.0)
    alone = phantom.image.resample(3.0)
    np.testing.assert_array_equal(result.array, np.stack([alone.array, -alone.array]))


def test_boolean_masks_stay_boolean() -> None:
    mask = Volume(np.ones((3, 3, 3), bool), np.eye(4))
    result = mask.resample(0.5, order=0)
    assert result.array.dtype == bool
    assert result.array.all()


def test_sheared_grids_are_sampled() -> None:
    affine = SHEARED.copy()
    affine[:3, 3] = -affine[:3, :3] @ (15, 15, 10)
    result = a_brain_phantom(spacing=2.0).image.resample(like=((31, 31, 21), affine), order=3)
    expected = a_brain_phantom((31, 31, 21), affine=affine).image
    assert np.abs(result.array - expected.array)[5:-5, 5:-5, 5:-5].max() < 40


@pytest.mark.parametrize(
    ("how", "code", "named"),
    [
        ({}, "value-conflict", "like="),
        ({"spacing": 1, "like": numbered()}, "value-conflict", "like="),
        ({"spacing": 0}, "value-invalid", 0),
        ({"spacing": (1, 2)}, "value-invalid", (1, 2)),
        ({"spacing": (1, -2, 1)}, "value-invalid", (1, -2, 1)),
        ({"spacing": float("nan")}, "value-invalid", "nan"),
        ({"spacing": 1e-5}, "image-too-large", (300000, 400000, 500000)),
        ({"spacing": 5e-324}, "value-invalid", 5e-324),
        ({"spacing": 1, "order": 2}, "value-invalid", 2),
        ({"like": ((3, 3), np.eye(4))}, "value-invalid", (3, 3)),
        ({"like": ((3, 0, 3), np.eye(4))}, "value-invalid", (3, 0, 3)),
        ({"like": ((3, 3, 3), np.zeros((4, 4)))}, "geometry-invalid", [0.0, 0.0, 0.0, 0.0]),
        ({"spacing": 1, "order": 0, "fill": 0.5}, "value-invalid", 0.5),
        ({"spacing": 1, "order": 0, "fill": 2**40}, "value-invalid", 2**40),
        ({"spacing": 1, "order": 0, "fill": float("nan")}, "value-invalid", "nan"),
    ],
)
def test_invalid_resampling_is_refused(how: dict, code: Code, named: object) -> None:
    with raises(code, named):
        numbered().resample(**how)


# --- crop, pad, paste ---


@given(data=st.data(), volume=volumes(), axcodes=st.sampled_from(ALL_ORIENTATIONS))
def test_a_crop_put_back_is_where_it_was(data: st.DataObject, volume: Volume, axcodes: str) -> None:
    box = data.draw(boxes_of(volume.shape))
    part = volume.crop(box)
    first = [start for start, _ in box]
    assert part.voxel_to_world((0, 0, 0)) == pytest.approx(volume.voxel_to_world(first), abs=1e-9)
    expected = np.full_like(volume.array, -1)
    inside = (..., *(slice(start, stop) for start, stop in box))
    expected[inside] = volume.array[inside]
    for stored in (part, part.reorient(axcodes)):
        back = stored.paste_into(volume, fill=-1)
        np.testing.assert_array_equal(back.array, expected)
        np.testing.assert_array_equal(back.affine, volume.affine)


@given(data=st.data(), volume=volumes())
def test_pad_and_crop_are_inverse(data: st.DataObject, volume: Volume) -> None:
    margin = data.draw(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=3, max_size=3))
    padded = volume.pad(margin, fill=-1)
    assert padded.shape == tuple(n + a + b for n, (a, b) in zip(volume.shape, margin, strict=True))
    assert (padded.array == -1).sum() == padded.array.size - volume.array.size
    cropped = padded.crop([(a, a + n) for n, (a, _) in zip(volume.shape, margin, strict=True)])
    for back in (cropped, padded.paste_into(volume)):
        np.testing.assert_array_equal(back.array, volume.array)
        assert back.same_space(volume, tolerance=1e-9)


def test_pad_takes_one_number_or_three() -> None:
    volume = numbered()
    assert volume.pad(2).shape == (7, 8, 9)
    assert volume.pad((1, 0, 2)).shape == (5, 4, 9)
    assert volume.pad(1).affine[:3, 3] == pytest.approx([-1, -1, -1])


def test_crop_to_leaves_the_margin_in_mm_rounded_up() -> None:
    volume = numbered((20, 20, 20), np.diag([1.0, 2.0, 3.0, 1.0]))
    mask = np.zeros((20, 20, 20), bool)
    mask[8:10, 9, 18] = True
    part = volume.crop_to(volume.with_array(mask), margin_mm=4)
    np.testing.assert_array_equal(part.array, volume.array[4:14, 7:12, 16:20])
    assert part.affine[:3, 3] == pytest.approx([4, 14, 48])


@pytest.mark.parametrize(
    "box", [[(0, 4), (0, 4), (0, 5)], [(-1, 3), (0, 4), (0, 5)], [(1, 1), (0, 4), (0, 5)], [(0, 2)]]
)
def test_boxes_outside_are_refused(box: list) -> None:
    with raises("value-invalid", box, (3, 4, 5)):
        numbered().crop(box)


@pytest.mark.parametrize("margin", [-1, (1, 2), 0.5, [(1, 2), (3, 4)]])
def test_invalid_margins_are_refused(margin: object) -> None:
    with raises("value-invalid", margin):
        numbered().pad(margin)  # type: ignore[arg-type]


def test_crop_to_refuses_an_empty_or_foreign_mask() -> None:
    volume = numbered()
    with raises("image-empty", "mask"):
        volume.crop_to(volume.with_array(np.zeros(volume.shape)))
    with raises("geometry-mismatch", "the volume", "the mask"):
        volume.crop_to(numbered((3, 4, 4)))
    with raises("value-invalid", "-1 mm"):
        volume.crop_to(volume.with_array(np.ones(volume.shape)), margin_mm=-1)


def test_paste_refuses_grids_that_do_not_coincide() -> None:
    volume = numbered()
    half = volume.affine.copy()
    half[0, 3] = 0.5
    with raises("geometry-mismatch", "like="):
        Volume(volume.array, half).paste_into(volume)
    with raises("geometry-mismatch", "like="):
        Volume(volume.array, np.diag([1.1, 1, 1, 1])).paste_into(volume)
    far = volume.affine.copy()
    far[0, 3] = 50
    with raises("geometry-mismatch", "overlap"):
        Volume(volume.array, far).paste_into(volume)
    with raises("value-invalid", 0.5, "int32"):
        volume.paste_into(volume.pad(1), fill=0.5)


# --- spaces ---


def test_with_array_keeps_the_space_and_refuses_another_grid() -> None:
    volume = numbered((3, 4, 5), SHEARED)
    assert volume.with_array(np.zeros((2, 3, 4, 5))).same_space(volume)
    with raises("geometry-mismatch", (3, 4, 6), (3, 4, 5)):
        volume.with_array(np.zeros((3, 4, 6)))


def test_same_space_measures_the_farthest_corner() -> None:
    volume = numbered((101, 4, 5))
    stretched = np.diag([1 + 2e-5, 1, 1, 1.0])  # 2 micrometres at the far face, 100.5 mm away
    assert not volume.same_space(Volume(volume.array, stretched), tolerance=1e-3)
    assert volume.same_space(Volume(volume.array, stretched), tolerance=2.1e-3)
    assert not volume.same_space(volume.crop([(0, 100), (0, 4), (0, 5)]))


@pytest.mark.parametrize("axcodes", ORIENTATIONS)
@pytest.mark.parametrize(("voxels", "same", "warned"), [(5e-4, True, False), (0.004, True, True), (0.06, False, False)])
def test_one_grid_is_a_twentieth_of_a_voxel_wide(
    caplog: pytest.LogCaptureFixture, axcodes: str, voxels: float, same: bool, warned: bool
) -> None:
    image = reoriented(oblique(Volume(np.zeros((8, 9, 10)), np.diag([0.8, 1.0, 3.0, 1.0])), 20), axcodes)
    affine = image.affine.copy()
    affine[1, 3] += voxels * 0.8
    mask = Volume(image.array, affine)
    assert image.same_space(mask) == same
    with nullcontext() if same else raises("geometry-mismatch", "the image", "the mask"):
        require_same_space({"the image": image, "the mask": mask})
    assert ("the mask lie up to 0.0032 mm apart" in caplog.text) == warned


def test_a_header_of_five_digits_is_the_same_space() -> None:
    image = oblique(Volume(np.zeros((64, 64, 40)), np.diag([0.9375, 0.9375, 4.0, 1.0])), 17)
    rounded = np.vectorize(lambda number: float(f"{number:.5g}"))(image.affine)
    require_same_space({"the image": image, "the mask": Volume(image.array, rounded)})


def test_the_two_volumes_that_differ_are_named() -> None:
    volume = numbered()
    moved = Volume(volume.array, np.diag([1.0, 1, -1, 1]))
    require_same_space({"fixed": volume, "mask": volume.with_array(volume.array > 3)})
    with raises("geometry-mismatch", "fixed and moving", "9 mm", "RAS and RAI"):
        require_same_space({"fixed": volume, "mask": volume, "moving": moved})
    with raises("geometry-mismatch", "T2w and T1w", (3, 4, 5), (3, 4, 4)):
        require_same_space({"T2w": volume, "T1w": numbered((3, 4, 4))})


def test_bad_values_and_channels_are_named_and_counted() -> None:
    array = np.zeros((3, 3, 3), np.float32)
    require_finite(Volume(array, np.eye(4)), "T2w")
    array[0, 0, :2] = np.nan, np.inf
    with raises("image-not-finite", "T2w", "2 voxels"):
        require_finite(Volume(array, np.eye(4)), "T2w")
    require_finite(numbered(), "labels")
    require_3d(numbered(), "T2w")
    with raises("image-dimensions", "T2w", "1 channel"):
        require_3d(numbered((1, 3, 3, 3)), "T2w")


def test_a_grid_that_does_not_fit_into_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    image = Volume(np.zeros((10, 10, 10), np.float32), np.eye(4))
    monkeypatch.setattr(volume_module, "free_memory", lambda: 10_000)
    with raises("image-too-large", (20, 20, 20)):
        image.resample(0.5)
    monkeypatch.setattr(volume_module, "free_memory", lambda: None)
    assert image.resample(0.5).shape == (20, 20, 20)
