"""The start of a registration is found however the images are stored, and does not care which is called fixed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import expm
from scipy.spatial.transform import Rotation

from NeuroGenLib.alignment import halfway, rotation_search
from NeuroGenLib.alignment import mutual_information as information
from NeuroGenLib.alignment.halfway import (
    HalfwayGrid,
    geometric_mean,
    halfway_start,
    resample_to,
    square_root,
)
from NeuroGenLib.alignment.mutual_information import _Histogram, _values_and_slopes
from NeuroGenLib.alignment.prepared_image import PreparedImage
from NeuroGenLib.alignment.rotation_search import scan_levels
from NeuroGenLib.core.errors import Cancelled, NeuroGenError
from NeuroGenLib.core.progress import SILENT, Progress
from NeuroGenLib.spatial import foreground as foregrounds
from NeuroGenLib.spatial.foreground import foreground, reduced, reduced_mask
from NeuroGenLib.spatial.transforms.affine import Affine
from NeuroGenLib.spatial.volume import Volume
from Testing.geometry import a_brain_phantom, reoriented, rotation
from Testing.raising import raises

MM = 1.5


def start_of(fixed, moving, kind="affine", fixed_mask=None, moving_mask=None, progress=SILENT):
    images = PreparedImage.of(fixed, fixed_mask, "The fixed"), PreparedImage.of(moving, moving_mask, "The moving")
    return halfway_start(*images, kind, progress)


def shift(*millimetres):
    matrix = np.eye(4)
    matrix[:3, 3] = millimetres
    return matrix


def stretch():
    matrix = np.diag([1.05, 0.96, 1.03, 1.0])
    matrix[0, 1] = 0.03
    return matrix


@pytest.fixture(scope="module")
def head():
    """Its brain alone, on a background of 0."""
    drawn = a_brain_phantom((56, 66, 54), MM)
    return drawn._replace(image=drawn.image.with_array(drawn.image.array * (drawn.labels.array > 0)))


def other_contrast(phantom):
    """The brain, bright where it was dark, on a background of 40."""
    return np.where(phantom.labels.array > 0, 1400 - phantom.image.array, 40).astype(np.float32)


def seen_after(motion, codes="RAS", spacing=(MM, MM, MM), header=None):
    """The head in another contrast, moved by ``motion`` and rendered again; its grid lies where ``header`` puts it."""
    shape = tuple(int(np.ceil(96 / mm)) for mm in spacing)
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = -np.asarray(spacing) * (np.asarray(shape) - 1) / 2
    affine = (shift(*motion[:3, 3]) if header is None else header) @ affine
    drawn = a_brain_phantom(shape, affine=np.linalg.inv(motion) @ affine)
    return reoriented(Volume(other_contrast(drawn), affine), codes)


def blobs(motion, inverted):
    """Thirty smooth blobs within 35 mm, moved by ``motion``; a function of the place alone, in either contrast."""
    affine = np.diag([MM, MM, MM, 1.0])
    affine[:3, 3] = motion[:3, 3] - MM * 31.5
    world = np.stack(np.meshgrid(*[np.arange(64)] * 3, indexing="ij"), -1) @ affine[:3, :3].T + affine[:3, 3]
    back = np.linalg.inv(motion)
    place = world @ back[:3, :3].T + back[:3, 3]
    generator = np.random.default_rng(4)
    values = np.full(place.shape[:3], 300.0)
    for centre, height in zip(generator.uniform(-24, 24, (30, 3)), generator.uniform(-250, 500, 30), strict=True):
        values += height * np.exp(-((place - centre) ** 2).sum(axis=-1) / (2 * 6.0**2))
    edge = 1 / (1 + np.exp(np.linalg.norm(place / [0.9, 1.1, 1.0], axis=-1) - 34))
    values = np.clip(values, 50, 1500)
    return Volume((edge * (2000 - values if inverted else values)).astype(np.float32), affine)


def mean_error(found, motion, head):
    """Mean distance in mm over the head."""
    points = head.labels.voxel_to_world(np.argwhere(head.labels.array > 0)[::20])
    away = points @ (found - motion)[:3, :3].T + (found - motion)[:3, 3]
    return float(np.linalg.norm(away, axis=1).mean())


@pytest.mark.slow
def test_a_known_affine_is_found_across_contrasts_and_swapping_swaps(head):
    motion = shift(6, -5, 4) @ rotation(11, (0, 0, 0)) @ stretch()
    fixed, moving = blobs(np.eye(4), inverted=False), reoriented(blobs(motion, inverted=True), "LAS")
    start = start_of(fixed, moving)
    assert mean_error(start.fixed_to_moving, motion, head) < 0.3
    assert start.similarity_after > 1.5 * start.similarity_before
    swapped = start_of(moving, fixed)
    assert np.abs(swapped.halfway_to_fixed - start.halfway_to_moving).max() < 1e-6
    assert np.abs(swapped.halfway_to_moving - start.halfway_to_fixed).max() < 1e-6
    assert np.abs(swapped.fixed_to_moving @ start.fixed_to_moving - np.eye(4)).max() < 1e-6
    # Both are half the way, not one of them all of it.
    assert np.allclose(start.halfway_to_fixed @ start.halfway_to_moving, np.eye(4), atol=1e-6)


@pytest.mark.slow
def test_headers_far_apart_and_turned_by_120_degrees(head):
    """No overlap of the fields of view; the head lies turned on the scanner's table."""
    motion = shift(400, -250, 90) @ rotation(120, (0, 0, 0), (1, -1, 2)) @ stretch()
    start = start_of(head.image, seen_after(motion))
    assert mean_error(start.fixed_to_moving, motion, head) < 0.4
    assert start.similarity_before == pytest.approx(0, abs=1e-9)


@pytest.mark.slow
def test_thick_oblique_left_handed_slices(head):
    motion = shift(-7, 3, 2) @ rotation(8, (0, 0, 0), (1, 1, 0)) @ stretch()
    header = shift(-7, 3, 2) @ rotation(30, (0, 0, 0), (0, 1, 1))
    start = start_of(head.image, seen_after(motion, "LAI", (1.5, 1.5, 4.0), header), progress=Progress())
    assert mean_error(start.fixed_to_moving, motion, head) < 0.6


@pytest.mark.slow
def test_a_rigid_start_is_rigid_also_about_half_a_turn(head):
    motion = shift(3, 2, -4) @ rotation(180, (0, 0, 0), (0, 0, 1))
    start = start_of(head.image, seen_after(motion), kind="rigid")
    assert mean_error(start.fixed_to_moving, motion, head) < 0.6
    for matrix in (start.halfway_to_fixed, start.halfway_to_moving):
        assert np.allclose(matrix[:3, :3] @ matrix[:3, :3].T, np.eye(3), atol=1e-6)
        assert np.linalg.det(matrix[:3, :3]) > 0


@pytest.mark.slow
def test_masks_hide_the_rest(head):
    """A bright block beside each brain, on different sides, would mislead the start."""
    motion = shift(5, 4, -3)
    moving = seen_after(motion)
    mask = moving.with_array(moving.array > 250)
    fixed_array, moving_array = head.image.array.copy(), moving.array.copy()
    fixed_array[:4], moving_array[-6:] = 2000, 2000
    start = start_of(
        head.image.with_array(fixed_array),
        moving.with_array(moving_array),
        "rigid",
        head.labels.with_array(head.labels.array > 0),
        mask,
    )
    assert mean_error(start.fixed_to_moving, motion, head) < 0.4


def test_no_start_trusts_the_headers(head):
    moving = seen_after(shift(6, 0, 0))
    start = start_of(head.image, moving, "none")
    assert np.array_equal(start.fixed_to_moving, np.eye(4))
    assert start.similarity_before == start.similarity_after
    with raises("geometry-mismatch") as raised:
        start_of(head.image, seen_after(shift(500, 0, 0)), "none")
    assert "affine" in raised.value.remedy


@pytest.mark.parametrize("part", [0.26, 0.24])
def test_a_start_brings_a_quarter_of_either_head_into_the_other(part, monkeypatch):
    monkeypatch.setattr(halfway, "rough_start", lambda *_: np.eye(4))
    monkeypatch.setattr(halfway, "rigid_alignment", lambda *_: np.eye(4))
    monkeypatch.setattr(halfway, "overlap", lambda *_: part)
    fixed, moving = PreparedImage.of(ball((0, 0, 0))), PreparedImage.of(ball((20, 0, 0)))
    if part > 1 / 4:
        assert np.allclose(halfway_start(fixed, moving, "rigid").fixed_to_moving, np.eye(4))
    else:
        with raises("geometry-mismatch"):
            halfway_start(fixed, moving, "rigid")


@pytest.mark.parametrize(("kept", "taken"), [(0.96, "affine"), (0.94, "rigid")])
def test_an_affine_start_may_lose_a_twentieth_of_the_rigid_ones_similarity(kept, taken, monkeypatch):
    answers = {"rigid": np.eye(4), "affine": np.diag([1.1, 1.1, 1.1, 1.0])}
    values = {matrix.tobytes(): 0.5 * part for matrix, part in zip(answers.values(), (1.0, kept), strict=True)}
    monkeypatch.setattr(halfway, "rigid_alignment", lambda *_: answers["rigid"])
    monkeypatch.setattr(halfway, "information_alignment", lambda *_, **_options: answers["affine"])
    monkeypatch.setattr(halfway, "similarity", lambda _fixed, _moving, matrix: values[matrix.tobytes()])
    found = halfway._refined([None] * 3, [None] * 3, np.eye(4), "affine", [])
    assert np.array_equal(found, answers[taken])


@pytest.mark.parametrize(("scale", "taken"), [(2.9, "affine"), (3.1, "rigid"), (1 / 3.1, "rigid")])
def test_an_affine_start_scales_by_three_at_most(scale, taken, monkeypatch):
    answers = {"rigid": np.eye(4), "affine": np.diag([scale, 1.0, 1.0, 1.0])}
    monkeypatch.setattr(halfway, "rigid_alignment", lambda *_: answers["rigid"])
    monkeypatch.setattr(halfway, "information_alignment", lambda *_, **_options: answers["affine"])
    monkeypatch.setattr(halfway, "similarity", lambda *_: 0.5)
    notes = []
    found = halfway._refined([None] * 3, [None] * 3, np.eye(4), "affine", notes)
    assert np.array_equal(found, answers[taken])
    assert len(notes) == (taken == "rigid")


@pytest.mark.parametrize("apart", [2.0, 5.0])
def test_directions_that_differ_by_a_tenth_of_the_head_are_not_averaged(apart, monkeypatch):
    """Of a ball of radius 20 mm, the cube root of its volume is 32 mm."""
    answers = iter([shift(apart, 0, 0), np.eye(4)])
    monkeypatch.setattr(halfway, "rough_start", lambda *_: np.eye(4))
    monkeypatch.setattr(halfway, "_refined", lambda *_: next(answers))
    start = halfway_start(PreparedImage.of(ball((0, 0, 0))), PreparedImage.of(ball((0.5, 0, 0))))
    assert start.disagreement_mm == pytest.approx(apart)
    moves = abs(start.fixed_to_moving[0, 3])
    if apart < 3.2:
        assert moves == pytest.approx(apart / 2)
        assert start.notes == ()
    else:
        assert min(moves, abs(moves - apart)) < 1e-9
        assert f"{apart:.0f} mm" in start.notes[0]


@pytest.mark.parametrize(("similarity", "taken"), [(1.02, "headers"), (1.05, "turned")])
def test_another_start_must_be_three_percent_more_similar_than_the_headers(similarity, taken, monkeypatch):
    starts = {"headers": np.eye(4), "turned": rotation(90, (0, 0, 0))}
    values = {matrix.tobytes(): value for matrix, value in zip(starts.values(), (1.0, similarity), strict=True)}
    monkeypatch.setattr(rotation_search, "_about_centres", lambda *_: starts["turned"])
    monkeypatch.setattr(rotation_search, "_best_rotations", lambda *_: [])
    monkeypatch.setattr(rotation_search, "_tried", lambda _fixed, _moving, start: start)
    monkeypatch.setattr(rotation_search, "similarity", lambda _fixed, _moving, matrix: values[matrix.tobytes()])
    assert np.array_equal(rotation_search.rough_start([None] * 3, [None] * 3), starts[taken])


def test_copies_are_smoothed_by_seven_tenths_of_a_voxel():
    """Alternating slices keep 2 exp(-(0.7 pi)^2 / 2) of their contrast: a Gaussian at the limit, and its alias.

    The cube of 56 mm makes the finest copy of 2 mm coincide with the image's grid.
    """
    shape, affine = (40, 40, 40), np.diag([2.0, 2.0, 2.0, 1.0])
    mask = np.zeros(shape, np.uint8)
    mask[6:34, 6:34, 6:34] = 1
    image = mask * np.where(np.arange(40) % 2, 3.0, 1.0).astype(np.float32)[:, None, None]
    prepared = PreparedImage.of(Volume(image, affine), Volume(mask, affine))
    finest = scan_levels(prepared, prepared)[0][2].image
    middle = finest.world_to_voxel(np.array([40.0, 40.0, 40.0])).round().astype(int)
    line = finest.array[middle[0] - 4 : middle[0] + 4, middle[1], middle[2]]
    assert finest.spacing == pytest.approx((2.0, 2.0, 2.0))
    assert np.ptp(line) == pytest.approx(2 / 3 * 2 * np.exp(-((0.7 * np.pi) ** 2) / 2), rel=0.02)


# --- the halfway grid ------------------------------------------------------------------------------------------------


def ball(centre, radius=20.0, background=0.0, spacing=2.0):
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = np.asarray(centre) - spacing * 19.5
    world = np.stack(np.meshgrid(*[np.arange(40)] * 3, indexing="ij"), -1) * spacing + affine[:3, 3]
    inside = np.linalg.norm(world - centre, axis=-1) < radius
    return Volume(np.where(inside, 800.0, background).astype(np.float32), affine)


@pytest.mark.parametrize("background", [0.0, -1024.0, 90.0])
def test_what_lies_outside_the_image_is_its_darkest_value(background):
    moving = ball((100, 0, 0), 26, background)
    affine = shift(-10, -60, -60) @ np.diag([4.0, 4, 4, 1])
    placed = resample_to(moving, Affine(shift(50, 0, 0), "halfway", "moving"), HalfwayGrid((31, 31, 31), affine))
    assert placed.same_space(((31, 31, 31), affine))
    assert placed.array[15, 15, 15] == pytest.approx(800)  # the ball's centre, halfway
    assert placed.array[0, 0, 0] == pytest.approx(background)


@pytest.mark.parametrize("background", [0.0, -1024.0, 300.0])
def test_the_foreground_is_the_head_whatever_the_background(background):
    image = ball((0, 0, 0), 24, background)
    image.array[:2, :2, :2] = 900  # a speck in a corner
    noise = np.random.default_rng(0).normal(0, 30, image.shape).astype(np.float32)
    found = foreground(image.with_array(image.array + noise))
    assert found.voxel_volume_ml * found.array.sum() == pytest.approx(4 / 3 * np.pi * 2.4**3, rel=0.1)


# --- huge images -----------------------------------------------------------------------------------------------------


@pytest.fixture
def little_room(monkeypatch):
    """As if images of more than 40 000 voxels were huge."""
    monkeypatch.setattr(foregrounds, "MOST_VOXELS", 40_000)
    monkeypatch.setattr(foregrounds, "_FEWEST_VOXELS", 8)


def test_an_ordinary_image_is_looked_at_as_it_is(head):
    mask = head.labels.with_array(head.labels.array > 0)
    assert reduced(head.image) is head.image
    assert reduced_mask(mask) is mask


@pytest.mark.usefixtures("little_room")
@pytest.mark.parametrize(
    ("shape", "spacing", "block"),
    [
        ((64, 66, 60), (0.5, 0.5, 0.5), (2, 2, 2)),
        ((60, 60, 30), (0.5, 0.501, 2.0), (2, 2, 1)),
        ((200, 210, 6), (0.3, 0.3, 0.1), (3, 3, 1)),
        ((9, 120, 110), (5.0, 1.0, 1.0), (1, 2, 2)),
    ],
)
def test_the_finest_axes_of_a_huge_image_are_reduced_to_means(shape, spacing, block):
    """Of an image that is linear in the world, means over blocks are its values at their centres."""
    affine = rotation(12, (3, 2, 1)) @ np.diag([*spacing, 1.0])
    world = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1) @ affine[:3, :3].T + affine[:3, 3]
    small = reduced(Volume(world @ [1.0, -2.0, 0.5], affine))
    assert small.shape == tuple(n // step for n, step in zip(shape, block, strict=True))
    assert small.array.dtype == np.float32
    places = np.stack(np.meshgrid(*map(np.arange, small.shape), indexing="ij"), -1)
    assert np.allclose(small.array, small.voxel_to_world(places) @ [1.0, -2.0, 0.5], atol=1e-3)


@pytest.mark.usefixtures("little_room")
@pytest.mark.parametrize("codes", ["LPS", "ASR", "PIL"])
def test_a_huge_image_is_reduced_alike_however_it_is_stored(codes):
    array = np.random.default_rng(3).integers(-500, 500, (2, 41, 47, 44)).astype(np.int16)
    volume = Volume(array, rotation(9, (0, 0, 0)))
    expected, found = reduced(volume), reduced(volume.reorient(codes))
    assert expected.shape == (20, 23, 22)
    assert np.array_equal(found.array, expected.array)
    assert np.allclose(found.affine, expected.affine)


@pytest.mark.usefixtures("little_room")
def test_a_huge_mask_keeps_the_blocks_that_are_half_in_it():
    array = np.zeros((44, 44, 44), np.uint8)
    array[10:21, 10:20, 10:20] = 7
    mask = reduced_mask(Volume(array, np.eye(4)))
    assert np.array_equal(np.argwhere(mask.array).min(axis=0), [5, 5, 5])
    assert np.array_equal(np.argwhere(mask.array).max(axis=0), [10, 9, 9])
    speck = np.zeros((44, 44, 44), np.uint8)
    speck[20, 21, 22] = 1
    assert reduced_mask(Volume(speck, np.eye(4))).array.sum() == 1


@pytest.mark.usefixtures("little_room")
def test_the_foreground_of_a_huge_image_is_where_it_was():
    image = ball((0, 0, 0), 24)
    found = foreground(image)
    assert found.voxel_volume_ml * found.array.sum() == pytest.approx(4 / 3 * np.pi * 2.4**3, rel=0.1)
    assert np.allclose(found.voxel_to_world(np.argwhere(found.array)).mean(axis=0), 0, atol=0.5)


def test_what_is_looked_at_is_picked_once(head, monkeypatch):
    fixed, moving = scan_levels(PreparedImage.of(head.image), PreparedImage.of(head.image))
    first = information.information(fixed[0], moving[0], np.eye(4))
    monkeypatch.setattr(np, "argwhere", lambda _: pytest.fail("picked again"))
    assert information.information(fixed[0], moving[0], np.eye(4)) == first


# --- the mathematics -------------------------------------------------------------------------------------------------


def affine_from(rotation_vector, entries, translation):
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_rotvec(rotation_vector).as_matrix() @ expm(np.reshape(entries, (3, 3)))
    matrix[:3, 3] = translation
    return matrix


small = st.floats(-0.15, 0.15)
affines = st.builds(
    affine_from,
    st.tuples(*[st.floats(-1.4, 1.4)] * 3),
    st.tuples(*[small] * 9),
    st.tuples(*[st.floats(-300, 300)] * 3),
)


@given(affines)
@settings(max_examples=60, deadline=None)
def test_a_square_root_squared_is_the_matrix(matrix):
    root = square_root(matrix)
    if np.abs(np.angle(np.linalg.eigvals(matrix[:3, :3]))).max() < np.pi - 0.1:
        assert np.allclose(root @ root, matrix, atol=1e-6)
    assert np.linalg.det(root[:3, :3]) > 0


@given(affines, affines, st.floats(0, 0.2))
@settings(max_examples=60, deadline=None)
def test_the_mean_of_two_directions_changes_sides_with_them(there, other, amount):
    back = np.linalg.inv(there) @ (np.eye(4) + amount * 0.1 * (other - np.eye(4)))
    mean = geometric_mean(there, back)
    assert np.allclose(geometric_mean(back, there) @ mean, np.eye(4), atol=1e-6)
    assert np.allclose(geometric_mean(there, np.linalg.inv(there)), there, atol=1e-6)


def test_the_mean_is_the_mean_of_the_logarithms_where_they_commute():
    generator = np.zeros((4, 4))
    generator[:3] = [[0.1, -0.5, 0, 4], [0.5, 0.1, 0, -2], [0, 0, -0.05, 1]]
    mean = geometric_mean(expm(1.2 * generator), expm(-0.8 * generator))
    assert np.allclose(mean, expm(generator), atol=1e-9)


@pytest.mark.parametrize("degrees", [179.0, 180.0, 181.0])
def test_half_a_turn_has_a_real_half(degrees):
    turned = rotation(degrees, (10, 20, 30), (1, 2, 2))
    root = square_root(turned)
    assert np.allclose(root @ root, turned, atol=1e-6)
    stretched = square_root(turned @ np.diag([1.1, 0.9, 1.0, 1.0]))
    assert np.abs(stretched).max() < 200
    with raises("geometry-invalid", kind=NeuroGenError):
        square_root(np.diag([-1.0, 1, 1, 1]))


def test_information_is_that_of_the_definition_and_its_slope_the_difference():
    generator = np.random.default_rng(0)
    bins = generator.integers(0, 32, 4000)
    assert _Histogram(bins, np.full(4000, 0.5)).information == pytest.approx(0, abs=1e-9)  # a constant tells nothing
    halves = (bins > 15).astype(int) * 20
    values = (bins > 15) * 20 / 29  # centres of bins
    # Two values that determine each other, but for the window of the second: 1/8, 3/4, 1/8 at a bin's centre.
    part = (bins > 15).mean()
    entropy = -part * np.log(part) - (1 - part) * np.log(1 - part)
    blur = -2 / 8 * np.log(1 / 8) - 3 / 4 * np.log(3 / 4)
    expected = (2 * entropy + blur) / (entropy + blur) - 1
    assert _Histogram(halves, values).information == pytest.approx(expected, abs=1e-9)
    values = np.clip(bins / 32 + generator.normal(0, 0.1, 4000), 0.05, 0.95)
    direction = generator.normal(0, 1, 4000)
    ahead, behind = (_Histogram(bins, values + sign * 1e-6 * direction).information for sign in (1, -1))
    assert _Histogram(bins, values).slope() @ direction == pytest.approx((ahead - behind) / 2e-6, rel=1e-4)


def test_values_and_slopes_of_a_linear_image_are_exact():
    affine = rotation(33, (1, 2, 3)) @ np.diag([2.0, 2.0, 2.0, 1.0])
    world = np.stack(np.meshgrid(*[np.arange(8)] * 3, indexing="ij"), -1) @ affine[:3, :3].T + affine[:3, 3]
    image = Volume(world @ [3.0, -2.0, 5.0] + 7, affine)
    points = image.voxel_to_world(np.random.default_rng(1).uniform(0, 7, (50, 3)))
    values, slopes = _values_and_slopes(image, points)
    assert np.allclose(values, points @ [3.0, -2.0, 5.0] + 7)
    assert np.allclose(slopes, [3.0, -2.0, 5.0])
    outside = _values_and_slopes(image, image.voxel_to_world([[-0.1, 3, 3], [3, 3, 7.1]]))
    assert not outside[0].any()
    assert not outside[1].any()


# --- what cannot be used ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda array: array * 0 + 3, "image-empty"),
        (lambda array: np.where(array > 500, np.nan, array), "image-not-finite"),
    ],
)
def test_an_unusable_image_is_named(head, change, code):
    with raises(code, "moving image"):
        start_of(head.image, Volume(change(head.image.array), head.image.affine))


def test_unusable_requests_are_refused(head):
    with raises("name-unknown", "afine") as raised:
        start_of(head.image, head.image, "afine")
    assert "affine" in raised.value.remedy
    empty = head.labels.with_array(head.labels.array * 0)
    with raises("image-empty", "fixed mask"):
        start_of(head.image, head.image, fixed_mask=empty)
    with raises("geometry-mismatch", "moving image", "moving mask"):
        start_of(head.image, head.image, moving_mask=Volume(head.labels.array, shift(9, 0, 0)))


def test_it_can_be_stopped(head):
    stopped = Progress()
    stopped.cancel()
    with pytest.raises(Cancelled):
        start_of(head.image, head.image, progress=stopped)


def test_a_start_less_similar_than_the_headers_is_not_taken(monkeypatch):
    monkeypatch.setattr(halfway, "rough_start", lambda *_: np.eye(4))
    answers = iter([shift(6, 0, 0), shift(-6, 0, 0)])
    monkeypatch.setattr(halfway, "_refined", lambda *_: next(answers))
    start = halfway_start(PreparedImage.of(ball((0, 0, 0))), PreparedImage.of(ball((0.5, 0, 0))))
    assert np.array_equal(start.fixed_to_moving, np.eye(4))
    assert start.similarity_before == start.similarity_after
    assert "headers were kept" in start.notes[-1]
