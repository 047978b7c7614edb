"""One brain from probabilities, the network's shape and the loss."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from NeuroGenLib.mask.losses import mask_loss
from NeuroGenLib.mask.network import BrainNetwork, BrainNetworkConfig, ChannelNorm, network_from_tensors
from NeuroGenLib.mask.regions import BrainRegion, cautions, largest_region, require_maskable
from NeuroGenLib.spatial.volume import Volume
from Testing.raising import raises


def two_parts() -> np.ndarray:
    probability = np.full((20, 20, 20), 0.1, np.float32)
    probability[2:12, 2:12, 2:12] = 0.9
    probability[5:7, 5:7, 5:7] = 0.2
    probability[15:18, 15:18, 15:18] = 0.8
    return probability


def test_the_largest_part_is_kept_and_filled() -> None:
    found = largest_region(two_parts())
    expected = np.zeros((20, 20, 20), bool)
    expected[2:12, 2:12, 2:12] = True
    assert np.array_equal(found.probability > 0.5, expected)
    assert found.share == pytest.approx(992 / (992 + 27))
    assert found.confidence == pytest.approx(0.9)
    assert found.probability[0, 0, 0] == pytest.approx(0.1)


def test_parts_that_touch_at_a_corner_are_two() -> None:
    probability = np.zeros((6, 6, 6), np.float32)
    probability[0:3, 0:3, 0:3] = 1
    probability[3:5, 3:5, 3:5] = 1
    assert (largest_region(probability).probability > 0.5).sum() == 27


def test_no_brain_is_an_error_with_a_way_out() -> None:
    with raises("model-range"):
        largest_region(np.full((8, 8, 8), 0.5, np.float32))


@pytest.mark.parametrize(
    ("confidence", "share", "volume", "says"),
    [
        (0.97, 1.0, 1500.0, []),
        (0.97, 1.0, 300.0, ["300 ml"]),
        (0.97, 1.0, 4000.0, ["4000 ml"]),
        (0.97, 0.6, 1500.0, ["several places"]),
        (0.7, 0.6, 1500.0, ["several places", "unsure"]),
    ],
)
def test_what_is_unlike_a_head_is_said(confidence: float, share: float, volume: float, says: list[str]) -> None:
    notes = cautions(BrainRegion(np.zeros((2, 2, 2)), confidence, share), volume)
    assert len(notes) == len(says)
    assert all(word in note for word, note in zip(says, notes, strict=True))
    assert all(note.endswith("Look at the mask before you use it.") for note in notes)


def test_network_keeps_the_grid_and_fits_its_own_tensors() -> None:
    network = BrainNetwork(BrainNetworkConfig((4, 8, 8))).eval()
    image = torch.rand(1, 1, 8, 12, 16)
    assert network(image).shape == image.shape
    halved = {name: tensor.half() for name, tensor in network.state_dict().items()}
    again = network_from_tensors({"features": [4, 8, 8]}, halved)
    assert torch.allclose(again(image), network(image), atol=0.02)
    assert again(image).dtype == torch.float32
    assert network.config.multiple == 4


def test_what_is_found_does_not_depend_on_the_air_around() -> None:
    network = BrainNetwork(BrainNetworkConfig((4, 8))).eval()
    head = torch.rand(1, 1, 16, 16, 16, generator=torch.Generator().manual_seed(2))
    little, much = (torch.nn.functional.pad(head, [width] * 6) for width in (8, 24))
    assert torch.allclose(network(little)[..., 8:24, 8:24, 8:24], network(much)[..., 24:40, 24:40, 24:40], atol=1e-5)


def test_channels_are_scaled_to_mean_square_one() -> None:
    value = torch.randn(2, 6, 3, 4, 5, generator=torch.Generator().manual_seed(2)) * 50
    found = ChannelNorm(6)(value)
    expected = value / value.square().mean(1, keepdim=True).sqrt()
    assert torch.allclose(found, expected, atol=1e-3)


@pytest.mark.parametrize("entry", [{}, {"features": [4, 8]}, {"features": 4}, {"features": ["four", 8, 8]}])
def test_tensors_of_another_network_are_refused(entry: dict[str, object]) -> None:
    tensors = BrainNetwork(BrainNetworkConfig((4, 8, 8))).state_dict()
    with pytest.raises((KeyError, TypeError, ValueError, RuntimeError)):
        network_from_tensors(entry, tensors)


def test_loss_by_hand() -> None:
    """Two voxels, probabilities 0.8 and 0.5, of which the first is brain."""
    logits = torch.tensor([4.0, 1.0]).log().view(1, 1, 1, 1, 2)
    brain = torch.tensor([1.0, 0.0]).view(1, 1, 1, 1, 2)
    parts = mask_loss(logits, brain, 2.0)
    entropy = -(np.log(0.8) + np.log(0.5)) / 2
    dice = (2 * 0.8 + 1) / (0.64 + 0.25 + 1 + 1)
    assert float(parts["entropy"]) == pytest.approx(entropy)
    assert float(parts["dice"]) == pytest.approx(dice)
    assert float(parts["loss"]) == pytest.approx(entropy + 2 * (1 - dice))


def test_loss_is_least_where_the_mask_equals_the_shares() -> None:
    brain = torch.rand(1, 1, 6, 6, 6, generator=torch.Generator().manual_seed(3)) * 0.9 + 0.05
    best = float(mask_loss(torch.logit(brain), brain, 1.0)["loss"])
    for shift in (-0.3, 0.3):
        assert float(mask_loss(torch.logit(brain) + shift, brain, 1.0)["loss"]) > best


def test_a_ct_is_refused_and_an_image_with_few_negative_values_is_not() -> None:
    values = np.full((10, 10, 10), -1000.0, np.float32)
    values[:, 1:] = 40
    with raises("model-range", "10 %"):
        require_maskable(Volume(values, np.eye(4)))
    values[:, :1, :7] = -3
    require_maskable(Volume(values, np.eye(4)))
