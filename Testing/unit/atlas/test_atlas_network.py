"""The decoder equals its formula, however it is folded and cut into chunks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from NeuroGenLib.atlas.network import (
    AtlasDecoder,
    DecoderConfig,
    decoder_from_tensors,
    hat_weights,
    interpolation_weights,
)
from NeuroGenLib.atlas.rendering.render import Grid, Renderer, grid_in_box
from NeuroGenLib.core.errors import Cancelled
from NeuroGenLib.core.progress import Progress

SHAPES = {
    "no modulation": DecoderConfig(1, 3, latent_channels=4, hidden=8, layers=1, modulated=()),
    "first layer, other frequencies": DecoderConfig(
        2, 3, 2, latent_channels=4, latent_grid=(2, 3, 4), hidden=8, layers=2, modulated=(0, 2), omega=(5.0, 3.0)
    ),
    "convolution": DecoderConfig(
        1, 2, 1, latent_channels=3, latent_grid=(3, 4, 2), latent_kernel=3, hidden=6, layers=2
    ),
    "one node": DecoderConfig(1, 2, latent_channels=3, latent_grid=(1, 1, 1), hidden=6, layers=1, modulated=(1,)),
}
COORDINATES = st.lists(st.tuples(*[st.floats(-1.3, 1.3)] * 3), min_size=1, max_size=6)


@pytest.fixture(params=SHAPES.values(), ids=SHAPES.keys())
def decoder(request: pytest.FixtureRequest) -> AtlasDecoder:
    return AtlasDecoder(request.param, torch.Generator().manual_seed(1)).double().requires_grad_(requires_grad=False)


def subject(shape: DecoderConfig, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Return latents and conditions of a made-up subject, double."""
    generator = torch.Generator().manual_seed(seed)
    latents = torch.randn(shape.latent_shape, generator=generator, dtype=torch.float64)
    return latents, torch.randn(shape.conditions, generator=generator, dtype=torch.float64)


def by_formula(decoder: AtlasDecoder, latents: torch.Tensor, conditions: torch.Tensor, point: np.ndarray) -> np.ndarray:
    """Evaluate the formula at one point as it is written, without folding, in NumPy."""
    state = {name: value.numpy() for name, value in decoder.state_dict().items()}
    grid = latents.numpy()
    if "latent_conv.weight" in state:
        grid = np.stack(
            [
                bias + sum(ndimage.correlate(channel, weight, mode="constant") for channel, weight in zip(grid, kernel))  # noqa: B905
                for kernel, bias in zip(state["latent_conv.weight"], state["latent_conv.bias"], strict=True)
            ]
        )
    place = [[(point[2 - axis] + 1) / 2 * (grid.shape[axis + 1] - 1)] for axis in range(3)]
    interpolated = [ndimage.map_coordinates(channel, place, order=1, mode="nearest")[0] for channel in grid]
    latent = np.concatenate([interpolated, conditions.numpy()])
    hidden = point
    for index in range(decoder.shape.layers + 1):
        linear = state[f"layers.{index}.linear.weight"] @ hidden + state[f"layers.{index}.linear.bias"]
        omega = decoder.shape.omega[min(index, 1)]
        scale, shift = 1.0, 0.0
        if index in decoder.shape.modulated:
            both = state[f"layers.{index}.modulation.weight"] @ latent + state[f"layers.{index}.modulation.bias"]
            scale, shift = np.split(both, 2)
        hidden = np.sin(omega * linear * scale + shift)
    return state["output.weight"] @ np.concatenate([hidden, latent]) + state["output.bias"]


@given(COORDINATES)
def test_folded_decoder_equals_the_formula(decoder, coordinates):
    people = [subject(decoder.shape, seed) for seed in (0, 1)]
    latents, conditions = (torch.stack(parts) for parts in zip(*people, strict=True))
    points = torch.tensor(coordinates, dtype=torch.float64).expand(2, -1, -1)
    output = decoder(points, decoder.fold(decoder.latent_grid(latents), conditions)).numpy()
    expected = [[by_formula(decoder, *person, np.array(point)) for point in coordinates] for person in people]
    np.testing.assert_allclose(output, expected, atol=1e-10)


@given(st.tuples(*[st.integers(1, 5)] * 3), COORDINATES)
def test_interpolation_weights_sum_to_one_and_reproduce_lines(grid, coordinates):
    points = torch.tensor(coordinates, dtype=torch.float64)
    weights = interpolation_weights(points, grid)
    assert weights.shape == (len(coordinates), np.prod(grid))
    assert torch.allclose(weights.sum(1), torch.ones(len(coordinates), dtype=torch.float64))
    nodes = np.stack(
        np.meshgrid(*(np.linspace(-1, 1, n) if n > 1 else np.zeros(1) for n in grid[::-1]), indexing="ij"), -1
    )
    expected = np.array(coordinates).clip(-1, 1) * (np.array(grid) > 1)
    np.testing.assert_allclose(weights.numpy() @ nodes[..., ::-1].reshape(-1, 3), expected, atol=1e-12)


def test_hat_weights_between_two_nodes():
    weights = hat_weights(torch.tensor([-1.0, -0.25, 1.0, 7.0]), 3)
    assert weights.tolist() == [[1, 0, 0], [0.25, 0.75, 0], [0, 0, 1], [0, 0, 1]]


def test_a_seed_gives_the_same_network():
    one, same, other = (AtlasDecoder(SHAPES["convolution"], torch.Generator().manual_seed(n)) for n in (4, 4, 5))
    for name, value in one.state_dict().items():
        assert torch.equal(value, same.state_dict()[name])
        assert not torch.equal(value, other.state_dict()[name])


def test_centred_modulation_of_zero_latents_is_a_plain_sine_network():
    shape = SHAPES["first layer, other frequencies"]
    decoder = AtlasDecoder(shape, torch.Generator().manual_seed(2))
    decoder.centre_modulation()
    sizes = DecoderConfig(
        2, 3, 2, latent_channels=4, latent_grid=(2, 3, 4), hidden=8, layers=2, modulated=(), omega=(5.0, 3.0)
    )
    plain = AtlasDecoder(sizes)
    plain.load_state_dict({name: value for name, value in decoder.state_dict().items() if "modulation" not in name})
    points = torch.rand(1, 20, 3) * 2 - 1
    zeros = torch.zeros(1, *shape.latent_shape), torch.zeros(1, 2)
    assert torch.allclose(decoder(points, decoder.fold(*zeros)), plain(points, plain.fold(*zeros)), atol=1e-6)


def test_latents_are_stored_z_y_x():
    assert DecoderConfig(1, 2, latent_channels=5, latent_grid=(2, 3, 4)).latent_shape == (5, 4, 3, 2)


@pytest.mark.parametrize("chunk", [1, 7, 100])
@pytest.mark.parametrize("moved", [False, True])
def test_renderer_equals_the_decoder(decoder, chunk, moved):
    decoder = decoder.float()
    latents, conditions = (part.float() for part in subject(decoder.shape))
    points = torch.rand(20, 3, generator=torch.Generator().manual_seed(3)) * 2 - 1
    motion = (torch.eye(3) + 0.1 * torch.arange(9).view(3, 3), torch.tensor([0.1, -0.2, 0.3])) if moved else None
    placed = points if motion is None else points @ motion[0].T + motion[1]
    expected = decoder(placed[None], decoder.fold(decoder.latent_grid(latents[None]), conditions[None]))[0]
    output = Renderer(decoder, latents, conditions, chunk, motion)(points)
    assert torch.allclose(output, expected, atol=2e-5)


def test_renderer_of_no_points(decoder):
    decoder = decoder.float()
    assert Renderer(decoder, *(part.float() for part in subject(decoder.shape)))(torch.zeros(0, 3)).shape == (
        0,
        decoder.shape.outputs,
    )


def test_renderer_reports_and_stops():
    decoder = AtlasDecoder(SHAPES["no modulation"]).requires_grad_(requires_grad=False)
    renderer = Renderer(decoder, *(part.float() for part in subject(decoder.shape)), chunk=4)
    bar = Progress()
    bar.cancel()
    with pytest.raises(Cancelled):
        renderer(torch.zeros(10, 3), bar)


def test_weights_of_other_sizes_are_refused():
    decoder = AtlasDecoder(SHAPES["no modulation"])
    tensors = {f"decoder.{name}": value for name, value in decoder.state_dict().items()}
    sizes = {"intensities": 1, "classes": 3, "latent_channels": 4, "hidden": 8, "layers": 1, "modulated": []}
    assert torch.equal(decoder_from_tensors(sizes, tensors).output.weight, decoder.output.weight)
    with pytest.raises(RuntimeError, match="size mismatch"):
        decoder_from_tensors(sizes | {"hidden": 9}, tensors)


@given(
    st.tuples(*[st.floats(20, 90)] * 3),
    st.tuples(*[st.floats(0.7, 9)] * 3),
    st.tuples(*[st.floats(-30, 30)] * 3),
)
def test_a_grid_covers_its_box_and_is_centred_on_it(sides, spacing, middle):
    low, high = np.array(middle) - np.array(sides) / 2, np.array(middle) + np.array(sides) / 2
    grid = grid_in_box(low, high, spacing)
    first, last = np.array(grid.origin), np.array([axis[-1] for axis in grid.axes()])
    half = np.array(spacing) / 2
    assert (first - half <= low + 1e-4).all()
    assert (last + half >= high - 1e-4).all()
    assert (last + half - high <= half + 1e-4).all()
    np.testing.assert_allclose((first + last) / 2, middle, atol=1e-6)
    assert grid.affine[:3, :3].tolist() == np.diag(spacing).tolist()


def test_points_of_a_grid_are_its_voxels_in_c_order():
    grid = Grid((2, 3, 4), (1.0, 2.0, 3.0), (-1.0, -4.0, 6.0))
    points = grid.points(np.array([10.0, 20.0, 30.0])).numpy()
    index = np.stack(np.unravel_index(np.arange(24), (2, 3, 4)), 1)
    world = index @ grid.affine[:3, :3].T + grid.affine[:3, 3]
    np.testing.assert_allclose(points, world / [10, 20, 30], rtol=1e-6)
    np.testing.assert_array_equal(grid.points(np.array([10.0, 20.0, 30.0]), np.array([5, 17])), points[[5, 17]])
    plane = grid.plane(1, 2)
    assert plane.shape == (2, 1, 4)
    assert plane.origin == (-1.0, 0.0, 6.0)
