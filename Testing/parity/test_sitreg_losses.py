"""The published registration program's losses and metrics, to float32 accuracy.

Every size, window, threshold and spacing is read from the recorded files and the names of their values. Determinants
at random points and random augmentations are not compared: the state of their generator was not recorded.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from sitreg_case import arrays, each_case, each_set, shape_of, spacing_of, tensors, values

from NeuroGenLib.registration.evaluation import measures as quality
from NeuroGenLib.registration.losses import (
    dice_loss,
    gradient_loss,
    group_consistency_loss,
    mse_loss,
    multi_resolution_ncc_loss,
    mutual_information_loss,
    ncc_loss,
    ndv_loss,
)
from NeuroGenLib.spatial.transforms.displacement import compose, voxel_grid, warp
from NeuroGenLib.spatial.transforms.jacobian import discrete_jacobians, jacobian_determinants, ndv_map, overlap_mask

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("one_thread")

RELATIVE = 1e-5
SCHEMES = {
    "average_forward": "average",
    "crop_last_forward": "forward",
    "crop_central": "central",
    "avg_along_other_dims": "average",
    "crop_last_along_other_dims": "forward",
    "central": "central",
}
DIRECTIONS = {"forward": "1", "inverse": "2"}


def primitive_sets(folder: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    return tensors(folder, "primitives"), values(folder, "primitives")


def named(expected: dict[str, Any], pattern: str) -> list[tuple[re.Match[str], float]]:
    """Return the recorded values whose whole name matches; there must be some."""
    found = [(match, value) for name, value in expected.items() if (match := re.fullmatch(pattern, name))]
    assert found
    return found


def numbers(text: str) -> list[float]:
    return [float(part) for part in text.split("_")]


def on_image_grid(outputs: dict[str, Any], direction: str) -> Any:
    return outputs.get(f"{direction}_displacement_image_grid", outputs[f"{direction}_displacement"])


def close(actual: torch.Tensor | float, expected: float) -> None:
    assert float(actual) == pytest.approx(expected, rel=RELATIVE, abs=1e-12, nan_ok=True)


@each_set
def test_ncc(primitives):
    given, expected = primitive_sets(primitives)
    for match, value in named(expected, r"ncc_window(\d+)_(?:full|separable)_(un)?masked"):
        mask = None if match[2] else given["mask_a"] * given["mask_b"]
        close(ncc_loss(given["image_a"], given["image_b"], mask, window=int(match[1])), value)


@each_set
def test_mse_mutual_information_and_dice(primitives):
    given, expected = primitive_sets(primitives)
    one, other, mask = given["image_a"], given["image_b"], given["mask_a"] * given["mask_b"]
    close(mse_loss(one, other), expected["mse_unmasked"])
    close(mse_loss(one, other, mask), expected["mse_masked"])
    close(mutual_information_loss(one, other), expected["mutual_information_unmasked"])
    close(dice_loss(given["soft_segmentation_1"], given["soft_segmentation_2"]), expected["dice_loss"])


@each_set
def test_gradient_loss(primitives):
    given, expected = primitive_sets(primitives)
    for match, value in named(expected, r"gradient_loss_spacing_([\d._]+)"):
        close(gradient_loss(given["folded_displacement"][None], numbers(match[1])), value)


@each_set
def test_folded_volume(primitives):
    given, expected = primitive_sets(primitives)
    folded = given["folded_displacement"][None]
    np.testing.assert_allclose(ndv_map(folded), given["ndv_map"], rtol=RELATIVE, atol=RELATIVE)
    close(ndv_loss(folded), expected["ndv_sum"])
    for match, value in named(expected, r"ndv_sum_threshold_([\d.]+)"):
        close(ndv_loss(folded, float(match[1])), value)
    discrete = discrete_jacobians(folded)
    means = {match[1]: value for match, value in named(expected, r"ndv_mean_jacobian_(.+)") if match[1] != "000"}
    assert discrete.keys() == means.keys()
    for name, value in means.items():
        close(discrete[name].mean(), value)
    close(quality.ndv_percent(folded), 100 * expected["ndv_sum"] / given["ndv_map"].numel())


@each_set
def test_determinants(primitives):
    given, expected = primitive_sets(primitives)
    folded = given["folded_displacement"]
    for match, value in named(expected, r"determinant_(.+)_n_negative"):
        scheme = SCHEMES[match[1]]
        recorded = given[f"determinant_{match[1]}"][:, 0]
        np.testing.assert_allclose(jacobian_determinants(folded[None], scheme), recorded, rtol=1e-5, atol=3e-5)
        found = jacobian_determinants(folded[None], scheme).double()
        assert int((found < 0).sum()) == value
        close(found.std(), expected[f"determinant_{match[1]}_std"])


@each_set
def test_group_consistency(primitives):
    given, expected = primitive_sets(primitives)
    forwards, inverses = (
        [given[f"consistency_displacement_{pair}_{direction}"] for pair in ("12", "23", "31")]
        for direction in DIRECTIONS
    )
    masks = [given[f"consistency_mask_{image}"] for image in "123"]
    loss = group_consistency_loss(forwards, inverses, masks, expected["consistency_world_spacing"])
    close(loss, expected["group_consistency_loss"])


@each_case
def test_similarity_of_a_case(case):
    given, made, expected = tensors(case, "inputs"), tensors(case, "outputs"), values(case, "values")["losses"]
    forward = on_image_grid(made, "forward")[None]
    warped, fixed = warp(given["image_1"], forward), given["image_2"]
    np.testing.assert_allclose(warped[0], made["image_1_warped"], atol=1e-5)
    mask = overlap_mask(forward, given["mask_1"], given["mask_2"])
    for match, value in named(expected, r"ncc_window(\d+)(_separable)?(_no_mask)?"):
        close(ncc_loss(warped, fixed, None if match[3] else mask, window=int(match[1])), value)
    close(mse_loss(warped, fixed, mask), expected["mse"])
    close(mutual_information_loss(warped, fixed, mask), expected["mutual_information"])
    close(multi_resolution_ncc_loss(warped, fixed, mask), expected["multiresolution_ncc"])


@each_case
def test_dice_loss_of_a_case(case):
    given, made, expected = tensors(case, "inputs"), tensors(case, "outputs"), values(case, "values")["losses"]
    forward = on_image_grid(made, "forward")[None]
    for match, value in named(expected, r"dice_loss_onehot(\d+)"):
        one, other = (
            torch.stack([given[name][:, 0] == label for label in range(int(match[1]))], dim=1).float()
            for name in ("labels_1", "labels_2")
        )
        close(dice_loss(warp(one, forward) * overlap_mask(forward), other), value)


@each_case
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_regularity_of_a_case(case, direction):
    made, expected = tensors(case, "outputs"), values(case, "values")["losses"]
    spacing = [size * factor for size, factor in zip(spacing_of(case), shape_of(case).factor, strict=True)]
    displacement = made[f"{direction}_displacement"][None]
    close(gradient_loss(displacement, spacing), expected[f"gradient_deformation_{direction}"])
    # The published term on the map itself, x + u(x).
    mapped = (voxel_grid(displacement.shape[2:], displacement) + displacement).double()
    close(gradient_loss(mapped, spacing), expected[f"gradient_flow_{direction}"])
    for match, value in named(expected, rf"ndv_threshold([\d.]+)_{direction}"):
        close(ndv_loss(displacement, float(match[1])), value)


@each_case
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_determinants_of_a_case(case, direction):
    made, expected = arrays(case, "outputs"), values(case, "values")["metrics"]
    displacement = on_image_grid(made, direction)
    field = torch.from_numpy(displacement)[None].float()
    for match, value in named(expected, rf"input_order_0_{direction}_det_std_(.+)"):
        found = jacobian_determinants(field, SCHEMES[match[1]]).double()
        close(found.std(), value)
        assert int((found < 0).sum()) == expected[f"input_order_0_{direction}_n_negative_determinants_{match[1]}"]
    everywhere = jacobian_determinants(field, "every").double()
    for name, offset in (("plain", 0), ("learn2reg", 3)):  # the challenge adds 3 before the logarithm
        spread = (everywhere + offset).clamp(1e-9, 1e9).log().std(correction=0)
        close(spread, expected[f"derived_{direction}_std_log_jacobian_{name}"])
    close((everywhere <= 0).double().mean(), expected[f"derived_{direction}_fraction_nonpositive_jacobian"])
    close(ndv_loss(field), expected[f"{direction}_ndv_sum"])
    for match, value in named(expected, rf"{direction}_ndv_sum_threshold_([\d.]+)"):
        close(ndv_loss(field, float(match[1])), value)
    close(quality.ndv_percent(displacement), expected[f"derived_{direction}_ndv_percent_of_inner_voxels"])


@each_case
@pytest.mark.parametrize(("outer", "inner", "order"), [("forward", "inverse", ""), ("inverse", "forward", "reverse_")])
def test_inverse_consistency_of_a_case(case, outer, inner, order):
    made, expected = arrays(case, "outputs"), values(case, "values")["metrics"]
    first, second = (torch.from_numpy(on_image_grid(made, name))[None].float() for name in (outer, inner))
    left, inside = compose(first, second)[0].abs().double(), overlap_mask(second)[0, 0].bool()
    for match, value in named(expected, rf"input_orders_0_0_{order}inverse_consistency_(mse|mae|max)(_masked)?"):
        sizes = left[:, inside] if match[2] else left
        found = {"mse": sizes.square().mean(), "mae": sizes.mean(), "max": sizes.max()}[match[1]]
        assert float(found) == pytest.approx(value, rel=RELATIVE, abs=1e-6)


@each_case
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_labels_of_a_case(case, direction):
    given, made, expected = arrays(case, "inputs"), arrays(case, "outputs"), values(case, "values")["metrics"]
    moving = DIRECTIONS[direction]
    fixed = given[f"labels_{'2' if moving == '1' else '1'}"][0, 0]
    warped, inside = made[f"labels_{moving}_warped"][0], made[f"labels_{moving}_warped_valid"][0]
    scores = {
        "dice": quality.label_dice(warped, fixed, inside),
        "hd95": quality.label_hd95(warped, fixed, inside=inside),
    }
    for match, value in named(expected, rf"input_order_0_{direction}_(?:label_(\d+)_)?(dice|hd95)"):
        score = scores[match[2]]
        close(score.by_label.get(int(match[1]), math.nan) if match[1] else score.mean, value)
