"""Overlap of labels and agreement of intensities."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from NeuroGenLib.spatial.metrics import bounding_box, dice_by_label, mean_dice, nrmse, psnr, ssim
from Testing.raising import raises

IMAGES = arrays.arrays(np.float64, (4, 3, 5), elements=st.floats(-50, 50, width=32))
LABELS = arrays.arrays(np.uint8, (4, 3, 5), elements=st.integers(0, 4))
NUMBERS = [psnr, ssim, nrmse]
MASKED = [psnr, ssim, nrmse]


@pytest.fixture
def blocks() -> tuple[np.ndarray, np.ndarray]:
    """Label 3 overlaps by half, 7 and 9 are in one map each."""
    one, other = np.zeros((4, 4, 4), int), np.zeros((4, 4, 4), int)
    one[:2], other[1:3] = 3, 3
    one[3, 0, 0], other[3, 1, 1] = 7, 9
    return one, other


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(5).random((9, 8, 10))


def test_dice_of_overlapping_blocks(blocks):
    assert dice_by_label(*blocks) == {3: 0.5, 7: 0.0, 9: 0.0}
    assert mean_dice(*blocks) == pytest.approx(0.5 / 3)
    assert mean_dice(*blocks, background=(0, 9)) == pytest.approx(0.25)


@given(LABELS, LABELS)
def test_dice_is_symmetric_and_one_for_equal_maps(one, other):
    assume(one.any() and other.any())
    assert dice_by_label(one, other) == dice_by_label(other, one)
    assert set(dice_by_label(one, one).values()) == {1.0}


def test_dice_of_background_alone_is_refused():
    with raises("image-empty", "background"):
        mean_dice(np.full((2, 2, 2), 4), np.zeros((2, 2, 2)), background=(0, 4))


@pytest.mark.parametrize("bad", [1.5, np.nan])
def test_dice_of_an_image_is_refused(blocks, bad):
    with raises("labels-invalid"):
        dice_by_label(blocks[0], np.where(blocks[1] == 9, bad, blocks[1]))


def test_psnr_by_hand():
    # A difference of 0.1 everywhere is a hundredth of the squared range: 20 dB; a range twice as wide adds 20 log10 2.
    image = np.full((3, 3, 3), 0.4)
    assert psnr(image, image + 0.1) == pytest.approx(20)
    assert psnr(image, image + 0.1, data_range=2) == pytest.approx(20 + 20 * math.log10(2))
    assert psnr(image, image) == math.inf


def test_psnr_of_integers_does_not_wrap_around():
    assert psnr(np.zeros((2, 2, 2), np.uint8), np.full((2, 2, 2), 255, np.uint8), data_range=255) == pytest.approx(0)


def test_ssim_of_one_window_by_its_formula(image):
    one, other = image[:7, :7, :7], image[2:9, 1:8, 3:10]
    covariance = np.cov(one.ravel(), other.ravel())
    luminance = (2 * one.mean() * other.mean() + 1e-4) / (one.mean() ** 2 + other.mean() ** 2 + 1e-4)
    structure = (2 * covariance[0, 1] + 9e-4) / (covariance[0, 0] + covariance[1, 1] + 9e-4)
    assert ssim(one, other) == pytest.approx(luminance * structure, rel=1e-9)
    assert ssim(image, image) == pytest.approx(1)


def test_nrmse_by_hand_and_not_the_other_way_round():
    # Differences of 1 against values of 2, then against 3.
    low, high = np.full((3, 3, 3), 2.0), np.full((3, 3, 3), 3.0)
    assert nrmse(high, low) == pytest.approx(1 / 2)
    assert nrmse(low, high) == pytest.approx(1 / 3)
    assert nrmse(low, low) == 0


def test_nrmse_of_zeros_is_refused(image):
    with raises("image-empty", "reference"):
        nrmse(image, np.zeros_like(image))


@pytest.mark.parametrize("metric", MASKED, ids=lambda metric: metric.__name__)
def test_a_mask_of_everything_changes_nothing(metric, image):
    other = np.random.default_rng(7).random(image.shape)
    assert metric(image, other, mask=np.full(image.shape, 2)) == pytest.approx(metric(image, other))


@pytest.mark.parametrize("metric", [psnr, nrmse], ids=lambda metric: metric.__name__)
def test_voxels_outside_a_mask_do_not_count(metric, image):
    other = np.random.default_rng(7).random(image.shape)
    mask = np.zeros(image.shape, bool)
    mask[2:5, 1:7, 3:9] = True
    assert metric(image, other, mask=mask) == pytest.approx(metric(image[2:5, 1:7, 3:9], other[2:5, 1:7, 3:9]))


def test_masked_ssim_is_the_mean_of_the_windows_about_the_mask(image):
    other = np.random.default_rng(7).random(image.shape)
    mask = np.zeros(image.shape, bool)
    mask[3, 3, 3] = mask[5, 4, 6] = True
    windows = [ssim(image[a : a + 7, b : b + 7, c : c + 7], other[a : a + 7, b : b + 7, c : c + 7])
               for a, b, c in ((0, 0, 0), (2, 1, 3))]  # fmt: skip
    assert ssim(image, other, mask=mask) == pytest.approx(np.mean(windows))


@pytest.mark.parametrize("metric", MASKED, ids=lambda metric: metric.__name__)
def test_masks_that_do_not_fit_or_are_empty_are_refused(metric, image):
    with raises("geometry-mismatch", (2, 2, 2), image.shape):
        metric(image, image, mask=np.ones((2, 2, 2)))
    with raises("image-empty", "mask"):
        metric(image, image, mask=np.zeros(image.shape))


def test_a_mask_at_the_border_alone_has_no_window(image):
    mask = np.zeros(image.shape)
    mask[0, 0, 0] = 1
    with raises("image-empty", "mask"):
        ssim(image, image, mask=mask)


def test_ssim_of_a_small_image_is_refused():
    with raises("image-dimensions", "7 voxels", (8, 6, 9)):
        ssim(np.zeros((8, 6, 9)), np.zeros((8, 6, 9)))


@given(st.tuples(*[st.integers(0, 3)] * 3), st.tuples(*[st.integers(0, 3)] * 3))
def test_bounding_box_of_two_voxels(first, second):
    image = np.zeros((4, 4, 4))
    image[first], image[second] = 1, -2
    assert bounding_box(image).tolist() == [
        [min(pair) for pair in zip(first, second, strict=True)],
        [max(pair) for pair in zip(first, second, strict=True)],
    ]


def test_bounding_box_of_nothing_is_refused():
    with raises("image-empty", "bounding box"):
        bounding_box(np.zeros((3, 3, 3)))


@pytest.mark.parametrize("metric", [*NUMBERS, mean_dice], ids=lambda metric: metric.__name__)
def test_other_shapes_are_refused(metric, image):
    with raises("geometry-mismatch", (9, 8, 10), (9, 10, 8)):
        metric(image, image.transpose(0, 2, 1))


@pytest.mark.parametrize("metric", NUMBERS, ids=lambda metric: metric.__name__)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused(metric, image, bad):
    spoilt = image.copy()
    spoilt[3, 3, 3] = bad
    with raises("image-not-finite"):
        metric(image, spoilt)


@pytest.mark.parametrize("metric", [psnr, ssim], ids=lambda metric: metric.__name__)
@pytest.mark.parametrize("wrong", [0, -1, np.nan])
def test_an_invalid_range_is_refused(metric, image, wrong):
    with raises("value-invalid", f"data range of {wrong}"):
        metric(image, image, data_range=wrong)


def test_nothing_to_compare_is_refused():
    with raises("image-empty"):
        psnr(np.zeros((0, 3, 3)), np.zeros((0, 3, 3)))
