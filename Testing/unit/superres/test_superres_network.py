"""The network that corrects interpolated slices."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from NeuroGenLib.superres.network import ResidualUNetConfig, SuperresNetwork, network_from_tensors

SHAPE = ResidualUNetConfig((4, 6, 8), convolutions=1)
SLICES = torch.tensor([[[0.0, 0, 4], [0, 0, 5]]])


@pytest.fixture
def network() -> SuperresNetwork:
    """One whose correction is not zero."""
    torch.manual_seed(3)
    network = SuperresNetwork(SHAPE).eval()
    with torch.no_grad():
        network.last.weight.normal_(0, 0.1)
    return network


def images(*sides: int) -> torch.Tensor:
    return torch.rand((1, 1, *sides), generator=torch.Generator().manual_seed(sum(sides)))


def test_an_untrained_network_is_the_interpolation() -> None:
    low = images(8, 8, 12)
    assert torch.equal(SuperresNetwork(SHAPE)(low, images(8, 8, 12), SLICES), low)


@pytest.mark.parametrize("sides", [(8, 12, 16), (9, 7, 5), (4, 4, 3)])
def test_any_size_keeps_its_size(network: SuperresNetwork, sides: tuple[int, int, int]) -> None:
    low = images(*sides)
    found = network(low, None, SLICES)
    assert found.shape == low.shape
    assert not torch.allclose(found, low)


def test_padding_repeats_the_border(network: SuperresNetwork) -> None:
    low = images(8, 8, 5)
    wider = torch.cat([low, low[..., -1:].expand(-1, -1, -1, -1, 3)], -1)
    assert torch.allclose(network(low, None, SLICES), network(wider, None, SLICES)[..., :5], atol=1e-6)


def test_a_guide_of_zeros_equals_no_guide(network: SuperresNetwork) -> None:
    low = images(8, 8, 8)
    assert torch.equal(network(low, torch.zeros_like(low), SLICES), network(low, None, SLICES))


def test_each_item_of_a_batch_has_a_guide_of_its_own(network: SuperresNetwork) -> None:
    low, guide = images(8, 8, 8), images(8, 8, 8) + 1
    both = network(torch.cat([low, low]), torch.cat([guide, torch.zeros_like(guide)]), torch.cat([SLICES, SLICES]))
    assert torch.allclose(both[:1], network(low, guide, SLICES), atol=1e-5)
    assert torch.allclose(both[1:], network(low, None, SLICES), atol=1e-5)
    assert not torch.allclose(both[:1], both[1:], atol=1e-3)


def test_slices_across_any_axis_are_undone_alike(network: SuperresNetwork) -> None:
    """An image that is turned with its slices is corrected likewise, alone and beside another in a batch."""
    low, guide = images(8, 12, 16), images(16, 8, 12).permute(0, 1, 3, 4, 2)
    wanted = network(low, guide, SLICES)
    order = (2, 0, 1)  # the slices now lie across the first axis
    there, back = (0, 1, 4, 2, 3), (0, 1, 3, 4, 2)
    turned = network(low.permute(there), guide.permute(there), SLICES[:, :, order])
    assert torch.allclose(turned.permute(back), wanted, atol=1e-5)
    cube = images(8, 8, 8)
    both = network(torch.cat([cube, cube.permute(there)]), None, torch.cat([SLICES, SLICES[:, :, order]]))
    assert torch.allclose(both[1:].permute(back), both[:1], atol=1e-5)


def test_thickness_distance_and_axis_all_count(network: SuperresNetwork) -> None:
    low = images(8, 8, 8)
    slices = [SLICES, SLICES.flip(1), SLICES.flip(2), 0.5 * SLICES]
    found = [network(low, None, one) for one in slices]
    for index, one in enumerate(found):
        for other in found[:index]:
            assert not torch.allclose(one, other, atol=1e-6)


def test_what_is_far_away_does_not_count(network: SuperresNetwork) -> None:
    """No layer looks at the whole input: windows agree where they overlap."""
    low = images(64, 4, 4)
    changed = low.clone()
    changed[:, :, 56:] += 1
    one, other = network(low, None, SLICES), network(changed, None, SLICES)
    assert torch.allclose(one[:, :, :16], other[:, :, :16], atol=1e-6)
    assert not torch.allclose(one[:, :, 48:56], other[:, :, 48:56], atol=1e-6)


def test_every_weight_learns(network: SuperresNetwork) -> None:
    network(images(8, 8, 8), images(8, 8, 8), SLICES).square().mean().backward()
    without = [name for name, weight in network.named_parameters() if weight.grad is None or not weight.grad.any()]
    assert not without


def test_the_bundled_size_is_small() -> None:
    count = sum(weight.numel() for weight in SuperresNetwork(ResidualUNetConfig((16, 32, 64, 96))).parameters())
    assert count < 2e6
    assert ResidualUNetConfig((16, 32, 64, 96)).multiple == 8


def test_a_manifest_and_weights_give_the_network_back(network: SuperresNetwork) -> None:
    record = {"kind": "residual", **dataclasses.asdict(SHAPE)}
    again = network_from_tensors(record, network.state_dict())
    low = images(8, 8, 8)
    assert torch.equal(again(low, None, SLICES), network(low, None, SLICES))


@pytest.mark.parametrize(
    ("record", "error"),
    [
        ({"features": [4, 6, 8]}, KeyError),
        ({"features": 4, "convolutions": 1}, TypeError),
        ({"features": [4, 6, 9], "convolutions": 1}, RuntimeError),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused(
    network: SuperresNetwork, record: dict[str, object], error: type[Exception]
) -> None:
    with pytest.raises(error):
        network_from_tensors(record, network.state_dict())
