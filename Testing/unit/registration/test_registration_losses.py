"""What a registration network minimises, against formulas written out in numpy."""

from __future__ import annotations

import functools
import itertools

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from NeuroGenLib.registration.losses import (
    dice_loss,
    gradient_loss,
    group_consistency_loss,
    landmark_loss,
    mse_loss,
    multi_resolution_ncc_loss,
    mutual_information_loss,
    ncc_loss,
    ndv_loss,
)
from NeuroGenLib.spatial.transforms.jacobian import overlap_mask, sample_mask
from Testing.raising import raises

pytestmark = pytest.mark.usefixtures("one_thread")

SHAPE = (6, 5, 7)
SEEDS = st.integers(0, 10_000)
LINEAR = arrays.arrays(np.float64, (3, 3), elements=st.floats(-0.4, 0.4))
SPACINGS = st.tuples(*[st.floats(0.5, 4)] * 3)
MASKED = [ncc_loss, mse_loss, mutual_information_loss, multi_resolution_ncc_loss]
SIMILARITIES = [*MASKED, dice_loss]


def images(seed: int, shape: tuple[int, ...] = SHAPE, batch: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(seed)
    one, other = (torch.from_numpy(rng.random((batch, 1, *shape)).astype(np.float32)) for _ in range(2))
    return one, other


def affine_displacement(linear: np.ndarray, shift: np.ndarray | None = None) -> torch.Tensor:
    """u(x) = linear x + shift, as (1, 3, I, J, K)."""
    points = np.stack(np.meshgrid(*[np.arange(size) for size in SHAPE], indexing="ij")).astype(float)
    field = np.einsum("ca,aijk->cijk", linear, points)
    if shift is not None:
        field = field + np.reshape(shift, (3, 1, 1, 1))
    return torch.from_numpy(field)[None]


def translation(*shift: float) -> torch.Tensor:
    return torch.tensor(shift, dtype=torch.float32).view(1, 3, 1, 1, 1).expand(1, 3, *SHAPE).clone()


def squared_correlations(one: np.ndarray, other: np.ndarray, window: int) -> np.ndarray:
    """Window by window, zeros beyond the border."""
    half = window // 2
    padded = [np.pad(image, half) for image in (one, other)]
    result = np.zeros(one.shape)
    for index in np.ndindex(one.shape):
        box = tuple(slice(start, start + window) for start in index)
        a, b = (image[box] - image[box].mean() for image in padded)
        result[index] = (a * b).sum() ** 2 / ((a**2).sum() * (b**2).sum() + 1e-5)
    return result


@pytest.fixture
def half() -> torch.Tensor:
    """A mask of the first half."""
    mask = torch.zeros(1, 1, *SHAPE)
    mask[:, :, : SHAPE[0] // 2] = 1
    return mask


@given(SEEDS, st.sampled_from([1, 3, 5]))
def test_ncc_is_the_mean_of_squared_window_correlations(seed, window):
    one, other = images(seed)
    expected = -squared_correlations(one[0, 0].double().numpy(), other[0, 0].double().numpy(), window).mean()
    assert float(ncc_loss(one, other, window=window)) == pytest.approx(expected, rel=1e-4, abs=1e-7)


@given(SEEDS)
def test_ncc_over_the_mask(seed):
    one, other = images(seed, batch=2)
    masks = np.random.default_rng(seed + 1).random((2, 1, *SHAPE)) > 0.4
    expected = [
        -squared_correlations(a[0].numpy() * m[0], b[0].numpy() * m[0], 3)[m[0]].mean()
        for a, b, m in zip(one.double(), other.double(), masks, strict=True)
    ]
    found = ncc_loss(one, other, torch.from_numpy(masks), window=3, normalise="valid")
    assert float(found) == pytest.approx(np.mean(expected), rel=1e-4)


@pytest.mark.parametrize("loss", [ncc_loss, multi_resolution_ncc_loss])
def test_equal_and_inverted_contrast_correlate_alike(loss):
    one, _ = images(3)
    assert float(loss(one, one)) < -0.98
    assert float(loss(one, -one)) == pytest.approx(float(loss(one, one)), rel=1e-5)
    assert float(loss(one, 3 * one)) < -0.98


@pytest.mark.parametrize("loss", MASKED)
def test_masked_voxels_do_not_matter(loss, half):
    one, other = images(4)
    changed = torch.where(half > 0, one, 9 * one + 2)
    assert float(loss(changed, other, half)) == pytest.approx(float(loss(one, other, half)), rel=1e-6)
    assert float(loss(changed, other)) != pytest.approx(float(loss(one, other)), rel=1e-3)


@pytest.mark.parametrize("loss", [functools.partial(ncc_loss, window=3), mse_loss], ids=["ncc", "mse"])
def test_background_weakens_the_published_mean_alone(loss):
    one, other = images(5)
    inside = torch.ones_like(one)
    wide = [torch.nn.functional.pad(image, (0, 0, 0, 0, 0, 12)) for image in (one, other, inside)]
    assert float(loss(*wide, normalise="valid")) == pytest.approx(float(loss(one, other, inside, normalise="valid")))
    # Windows of masked voxels near the mask still see some of the image.
    expected = SHAPE[0] / (SHAPE[0] + 12)
    weakened = float(loss(*wide)) / float(loss(one, other, inside))
    assert expected * (1 - 1e-5) <= weakened < expected + 0.25


def test_an_empty_mask_gives_nothing_to_learn():
    one, other = images(6)
    one.requires_grad_()
    for loss in (ncc_loss, mse_loss):
        value = loss(one, other, torch.zeros_like(other), normalise="valid")
        value.backward()
        assert value.item() == 0
    assert torch.count_nonzero(one.grad) == 0


@pytest.mark.parametrize("normalise", ["all", "valid"])
def test_constant_images_have_a_finite_loss(normalise):
    flat = torch.full((1, 1, 9, 9, 9), 0.7, requires_grad=True)
    value = ncc_loss(flat, torch.full((1, 1, 9, 9, 9), 0.3), torch.ones(1, 1, 9, 9, 9), normalise=normalise)
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(flat.grad).all()


@given(SEEDS)
def test_multi_resolution_ncc_adds_up_averaged_images(seed):
    one, other = images(seed, shape=(4, 6, 4))
    coarse = [image.numpy()[0, 0].reshape(2, 2, 3, 2, 2, 2).mean(axis=(1, 3, 5)) for image in (one, other)]
    fine = squared_correlations(one.numpy()[0, 0], other.numpy()[0, 0], 3).mean()
    expected = -0.25 * fine - 0.75 * squared_correlations(*coarse, 3).mean()
    found = multi_resolution_ncc_loss(one, other, windows=(3, 3), pools=(1, 2), weights=(0.25, 0.75))
    assert float(found) == pytest.approx(expected, rel=1e-4, abs=1e-6)


@given(SEEDS)
def test_mutual_information_of_a_histogram_in_numpy(seed):
    one, other = images(seed)
    centres = np.arange(9) / 8
    weights = []
    for image in (one, other):
        kernel = np.exp(-((image.double().numpy().ravel()[:, None] - centres) ** 2) / (2 * (0.5 / 8) ** 2))
        weights.append(kernel / kernel.sum(axis=1, keepdims=True))
    joint = np.einsum("va,vb->ab", *weights) / one.numel()
    product = np.outer(joint.sum(axis=1), joint.sum(axis=0))
    expected = -(joint * np.log((joint + 1e-5) / (product + 1e-5) + 1e-5)).sum()
    assert float(mutual_information_loss(one, other, bins=9)) == pytest.approx(expected, rel=1e-4)


def test_mutual_information_sees_through_contrast():
    one, other = images(7, shape=(16, 16, 16))
    known, inverted = (float(mutual_information_loss(one, image)) for image in (one, 1 - one))
    assert inverted == pytest.approx(known, rel=1e-3)
    assert known < 20 * float(mutual_information_loss(one, other)) < 0


def test_mutual_information_clips():
    one, other = images(8)
    stretched = one * 3 - 1
    assert float(mutual_information_loss(stretched, other)) == pytest.approx(
        float(mutual_information_loss(stretched.clamp(0, 1), other))
    )


def test_dice_of_labels():
    one = torch.zeros(1, 3, *SHAPE)
    one[:, 0, :3], one[:, 1, 3:] = 1, 1
    other = torch.zeros(1, 3, *SHAPE)
    other[:, 0, :2], other[:, 1, 2:] = 1, 1
    # The third class is in neither and counts as met.
    assert float(dice_loss(one, other)) == pytest.approx(-(4 / 5 + 6 / 7 + 1) / 3, rel=1e-5)
    assert float(dice_loss(one, one)) == pytest.approx(-1)


@given(LINEAR, SPACINGS)
def test_gradient_of_a_linear_map_in_physical_proportions(linear, spacing):
    displacement = affine_displacement(linear)
    physical = linear * np.array(spacing)[:, None] / np.array(spacing)[None, :]
    assert float(gradient_loss(displacement, spacing)) == pytest.approx((physical**2).sum() / 9, abs=1e-9)
    tripled = [3 * distance for distance in spacing]
    assert float(gradient_loss(displacement, tripled)) == pytest.approx(float(gradient_loss(displacement, spacing)))


def test_a_translation_is_free():
    assert float(gradient_loss(translation(1.5, -2, 0.25))) == 0


@given(arrays.arrays(np.float64, (3, 3), elements=st.floats(-1.5, 1.5)))
def test_folded_volume_of_a_linear_map_is_its_determinant(matrix):
    determinant = np.linalg.det(matrix)
    assume(abs(determinant) > 1e-3)
    inner = np.prod(np.array(SHAPE) - 2)
    loss = ndv_loss(affine_displacement(matrix - np.eye(3)))
    assert float(loss) == pytest.approx(inner * max(-determinant, 0), rel=1e-6, abs=1e-6)


def test_a_threshold_counts_what_is_about_to_fold():
    squeezed = affine_displacement(np.diag([-0.9, 0, 0])).float()
    inner = np.prod(np.array(SHAPE) - 2)
    assert float(ndv_loss(squeezed)) == 0
    # Eight determinants of 0.1 and two of 0.2, below 0.5 all of them.
    assert float(ndv_loss(squeezed, 0.5)) == pytest.approx(-inner * (8 * 0.1 + 2 * 0.2) / 12, rel=1e-4)
    assert float(ndv_loss(squeezed, 0.05)) == pytest.approx(-inner * 10 * 0.05 / 12, rel=1e-4)


def test_a_consistent_round_costs_nothing():
    forwards = [translation(1, 0, 0), translation(0, -2, 1), translation(-1, 2, -1)]
    assert float(group_consistency_loss(forwards, [-step for step in forwards])) == pytest.approx(0, abs=1e-12)


def test_an_inconsistent_round_costs_its_squared_length():
    forwards = [translation(1, 0, 0), translation(0, 1, 0), translation(0, 0, 0)]
    inverses = [translation(0, 0, 0)] * 3
    spacing = (1.0, 2.0, 0.5)
    scale = np.array(spacing) * 2 / max(np.array(SHAPE) * spacing)
    length = (scale**2 * [1, 1, 0]).sum()
    # From image 1 the second step goes on along j: from the last layer, the third one would start outside the grid.
    seen = (SHAPE[1] - 1) / SHAPE[1]
    assert float(group_consistency_loss(forwards, inverses, spacing=spacing)) == pytest.approx(length * seen / 2)


def test_a_round_starts_in_image_1_and_meets_the_masks_of_the_images():
    still = [translation(0, 0, 0)] * 3
    moved = [translation(0, 0, 0), translation(0, 0, 0), translation(1, 0, 0)]
    nowhere, everywhere = torch.zeros(1, 1, *SHAPE), torch.ones(1, 1, *SHAPE)
    first_layer = everywhere.clone()
    first_layer[:, :, 1:] = 0
    scale = (2 / max(SHAPE)) ** 2
    # forwards[2] takes points of image 1 to image 3: from layer 0 of image 1 to layer 1 of image 3.
    masks = [first_layer, everywhere, everywhere]
    assert float(group_consistency_loss(moved, still, masks)) == pytest.approx(scale / SHAPE[0] / 2)
    assert float(group_consistency_loss(moved, still, [everywhere, everywhere, first_layer])) == 0
    for empty in range(3):
        masks = [nowhere if image == empty else everywhere for image in range(3)]
        assert float(group_consistency_loss(moved, moved, masks)) == 0


def test_each_step_of_a_round_meets_the_mask_of_the_image_it_starts_in():
    forwards = [translation(0, 0, 0), translation(0, 1, 0), translation(1, 0, 0)]
    masks = [torch.ones(1, 1, *SHAPE), torch.zeros(1, 1, *SHAPE), torch.zeros(1, 1, *SHAPE)]
    # A point (0, 0, k) of image 1 comes to (1, 0, k) in image 3, and from there to (1, 1, k) in image 2.
    masks[2][:, :, 1, 0] = 1
    masks[1][:, :, 1, 1] = 1
    share = 1 / (SHAPE[0] * SHAPE[1])
    loss = group_consistency_loss(forwards, [translation(0, 0, 0)] * 3, masks)
    assert float(loss) == pytest.approx(2 * (2 / max(SHAPE)) ** 2 * share / 2)


def test_landmarks_that_meet_cost_nothing():
    moving = torch.tensor([[[1.0, 2.0, 3.0], [2.5, 2.0, 4.0]]])
    fixed = moving - torch.tensor([0.5, 1.0, -1.0])
    forward = translation(0.5, 1, -1)
    assert float(landmark_loss(forward, -forward, moving, fixed)) == pytest.approx(0, abs=1e-10)
    swapped = landmark_loss(-forward, forward, moving, fixed)
    assert float(swapped) == pytest.approx((1 + 4 + 4) / 3, rel=1e-5)
    one_way = landmark_loss(forward, torch.zeros_like(forward), moving, fixed)
    assert float(one_way) == pytest.approx((0.25 + 1 + 1) / 3 / 2, rel=1e-5)


def test_overlap_of_the_fields_of_view():
    mask = overlap_mask(translation(2, 0, 0))
    assert mask[0, 0, :, 0, 0].tolist() == [1, 1, 1, 1, 0, 0]
    moving = torch.ones(1, 1, *SHAPE)
    moving[:, :, 3] = 0
    fixed = torch.ones(1, 1, *SHAPE)
    fixed[:, :, 0] = 0
    assert overlap_mask(translation(2, 0, 0), moving, fixed)[0, 0, :, 0, 0].tolist() == [0, 0, 1, 1, 0, 0]
    assert overlap_mask(translation(1e-4, -1e-4, 0)).all()
    # Halfway into a masked voxel is masked.
    assert overlap_mask(translation(0.5, 0, 0), moving)[0, 0, :, 0, 0].tolist() == [1, 1, 0, 0, 1, 0]
    # A hundredth is too much already, beyond the border too.
    assert overlap_mask(translation(0.01, 0, 0), moving)[0, 0, :, 0, 0].tolist() == [1, 1, 0, 0, 1, 0]


def test_one_mask_serves_a_batch():
    both = torch.cat([translation(0, 0, 0), translation(0, 0, 1)])
    mask = torch.ones(1, 1, *SHAPE)
    assert sample_mask(mask, both, both).shape == (2, 1, *SHAPE)


@pytest.mark.parametrize("loss", SIMILARITIES)
def test_autocast_and_half_precision_change_nothing(loss):
    one, other = images(9)
    expected = loss(one, other)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = loss(one, other)
    assert inside.dtype == torch.float32
    assert float(inside) == float(expected)
    halves = [image.bfloat16() for image in (one, other)]
    assert float(loss(*halves)) == float(loss(*[half.float() for half in halves]))
    assert loss(one.double(), other.double()).dtype == torch.float64


def test_gradients_are_the_losses_slopes():
    rng = np.random.default_rng(10)
    one, other = (torch.from_numpy(rng.random((1, 1, 3, 4, 3))).requires_grad_() for _ in range(2))
    mask = torch.from_numpy(rng.random((1, 1, 3, 4, 3)) > 0.2)
    for loss in (ncc_loss, mse_loss):
        for normalise in ("all", "valid"):
            torch.autograd.gradcheck(
                lambda a, b, loss=loss, normalise=normalise: loss(a, b, mask, normalise=normalise), (one, other)
            )
    torch.autograd.gradcheck(lambda a, b: mutual_information_loss(a, b, bins=4), (one, other))
    torch.autograd.gradcheck(dice_loss, (one, other))
    fields = [torch.from_numpy(rng.normal(0, 0.3, (1, 3, 4, 3, 3))).requires_grad_() for _ in range(6)]
    torch.autograd.gradcheck(gradient_loss, fields[:1])
    torch.autograd.gradcheck(lambda field: ndv_loss(4 * field, 0.9), fields[:1])
    inner = torch.zeros(1, 1, 4, 3, 3)
    inner[:, :, 1:3, 1, 1] = 1
    torch.autograd.gradcheck(
        lambda *steps: group_consistency_loss(steps[:3], steps[3:], [inner, torch.ones(1, 1, 4, 3, 3), inner]),
        fields,
        fast_mode=True,
    )
    points = torch.from_numpy(rng.uniform(0.1, 1.9, (1, 2, 3)))
    torch.autograd.gradcheck(lambda a, b: landmark_loss(a, b, points, points + 0.05), fields[:2])


@pytest.mark.parametrize("loss", SIMILARITIES)
def test_images_of_different_shape(loss):
    one, _ = images(1)
    with raises("geometry-mismatch", "(1, 1, 6, 5, 7)", "(1, 1, 6, 5, 6)"):
        loss(one, one[..., :-1])
    with raises("geometry-mismatch"):
        loss(one[0], one[0])


def test_settings_that_make_no_sense():
    one, other = images(2)
    for window in (0, 4, -3):
        with raises("value-invalid", window):
            ncc_loss(one, other, window=window)
    with raises("value-invalid", 2, 1):
        multi_resolution_ncc_loss(one, other, pools=(1,))
    with raises("value-invalid", 1):
        mutual_information_loss(one, other, bins=1)
    for spacing in ((1, 1), (1, 0, 1), (1, float("nan"), 1)):
        with raises("value-invalid"):
            gradient_loss(translation(0, 0, 0), spacing)
    with raises("image-dimensions"):
        gradient_loss(torch.zeros(1, 3, 4, 1, 4))
    with raises("image-dimensions", 3):
        ndv_loss(torch.zeros(1, 3, 4, 2, 4))


def test_rounds_and_landmarks_that_do_not_fit():
    still = [translation(0, 0, 0)] * 3
    for forwards, inverses, masks in ((still[:2], still, None), (still, still, [torch.ones(1, 1, *SHAPE)])):
        with raises("value-invalid"):
            group_consistency_loss(forwards, inverses, masks)
    points = torch.zeros(1, 4, 3)
    for other in (torch.zeros(1, 5, 3), torch.zeros(4, 3)):
        with raises("geometry-mismatch"):
            landmark_loss(still[0], still[0], points, other)


def test_pooling_axes_are_not_mixed_up():
    one, other = images(11, shape=(3, 4, 5))
    for order in itertools.permutations((2, 3, 4)):
        turned = ncc_loss(one.permute(0, 1, *order), other.permute(0, 1, *order), window=3)
        assert float(turned) == pytest.approx(float(ncc_loss(one, other, window=3)), rel=1e-5)
