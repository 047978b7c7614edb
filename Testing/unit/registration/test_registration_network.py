"""Properties of the registration network for any images: symmetry under swapping, inverse consistency, no folds."""

from __future__ import annotations

import dataclasses
import threading
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from NeuroGenLib.core.errors import Cancelled
from NeuroGenLib.core.progress import Progress
from NeuroGenLib.registration.network.inversion import FixedPoint, invert
from NeuroGenLib.registration.network.sitreg import Mappings, SITReg
from NeuroGenLib.registration.network.sizes import SITRegConfig
from NeuroGenLib.spatial.transforms.b_splines import evaluate, evaluation_matrix
from NeuroGenLib.spatial.transforms.displacement import compose, voxel_grid
from NeuroGenLib.spatial.transforms.jacobian import discrete_jacobians
from NeuroGenLib.training.random_streams import seeded_weights

pytestmark = pytest.mark.usefixtures("one_thread")

TINY = SITRegConfig(
    features=(4, 4, 8),
    feature_convolutions=(1, 1, 1),
    stage_features=(None, 6, 6),
    stage_convolutions=(None, 1, 1),
    factor=(2.0, 2.0, 2.0),
    threshold=1e-4,
    most_iterations=200,
)

sizes = st.tuples(*[st.integers(6, 15)] * 3)


def network_with(shape: SITRegConfig, seed: int, gain: float) -> SITReg:
    """Return a network whose last layers are so large that control points reach their bounds."""
    with seeded_weights(seed):
        network = SITReg(shape)
        with torch.no_grad():
            for stage in network.stages.values():
                stage.final.weight.normal_(0, gain)
                stage.final.bias.normal_(0, gain)
    return network


def image_pair(size: tuple[int, int, int], seed: int, channels: int = 1, batch: int = 1) -> tuple[Any, Any]:
    generator = torch.Generator().manual_seed(seed)
    one, other = torch.rand((2, batch, channels, *size), generator=generator)
    return one, other


def registered(network: SITReg, one: torch.Tensor, other: torch.Tensor, **options: Any) -> Mappings:
    with torch.no_grad():
        return network(one, other, **options)


@given(sizes, st.integers(0, 99), st.sampled_from([(1.0, 1.0, 1.0), (2.0, 2.0, 2.0), (1.0, 2.0, 2.0)]))
@example((33, 26, 19), 0, (1.0, 2.0, 2.0))  # rows and images that do not start at multiples of 64 bytes
@example((26, 10, 18), 12, (1.0, 2.0, 2.0))
@settings(max_examples=12)
def test_swapped_images_swap_the_maps_exactly(size, seed, factor):
    network = network_with(dataclasses.replace(TINY, factor=factor), seed, 1.0)
    one, other = image_pair(size, seed)
    there, back = registered(network, one, other), registered(network, other, one)
    assert there.forward.shape == (1, 3, *there.grids.transform_shape)
    assert there.forward_on_images().shape == (1, 3, *size)
    assert torch.equal(there.forward, back.inverse)
    assert torch.equal(there.inverse, back.forward)
    assert float(there.forward.abs().max()) > 0


@given(sizes, st.integers(0, 99), st.sampled_from([1.0, 2.0, 3.0]))
@settings(max_examples=12)
def test_large_random_weights_do_not_fold(size, seed, factor):
    """What a stage finds, linear between voxels, keeps every tetrahedron's orientation and has an inverse."""
    levels = (1, 2) if factor < 3 else (2,)
    widths = tuple(6 if level in levels else None for level in range(3))
    counts = tuple(1 if level in levels else None for level in range(3))
    shape = dataclasses.replace(TINY, factor=(factor,) * 3, stage_features=widths, stage_convolutions=counts)
    network = network_with(shape, seed, 30.0)
    controls: dict[int, torch.Tensor] = {}
    for level in levels:
        network.stages[str(level)].register_forward_hook(lambda _m, _i, out, key=level: controls.update({key: out}))
    grids = registered(network, *image_pair(size, seed)).grids
    for level, control in controls.items():
        assert float(control.abs().max()) > 0.9 * shape.bound * grids.control_point_bound(level)  # the bound is reached
        field = evaluate(control, grids.spline_matrices(level, control)) * grids.level_voxel(level, control)
        if min(field.shape[2:]) > 2:
            corners = [volume for name, volume in discrete_jacobians(field).items() if "*" not in name]
            assert min(float(volume.min()) for volume in corners) > 0
        assert float(compose(field, invert(field, shape.fixed_point)).abs().max()) < 1e-3


@given(sizes, st.integers(0, 99))
@settings(max_examples=10)
def test_there_and_back_is_nothing(size, seed):
    network = network_with(TINY, seed, 0.05)
    found = registered(network, *image_pair(size, seed))
    assert float(compose(found.forward, found.inverse).abs().max()) < 0.02
    assert float(compose(found.inverse, found.forward).abs().max()) < 0.02


@given(sizes, st.integers(0, 99))
@settings(max_examples=8)
def test_an_image_and_itself_do_not_move(size, seed):
    one, _ = image_pair(size, seed)
    found = registered(network_with(TINY, seed, 1.0), one, one)
    # Both directions see the same features; what is left is the error of inversion and interpolation.
    assert float(found.forward.abs().max()) < 5e-3
    assert torch.equal(found.forward, found.inverse)


@pytest.mark.parametrize("size", [(1, 9, 8), (9, 1, 8), (2, 2, 2), (16, 3, 5)])
def test_thin_images(size):
    network = network_with(TINY, 0, 1.0)
    found = registered(network, *image_pair(size, 0))
    assert bool(torch.isfinite(found.forward).all())
    assert found.forward_on_images().shape == (1, 3, *size)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("groups", [None, 0, 2])
def test_channels_and_normalisations(channels, groups):
    shape = dataclasses.replace(TINY, channels=channels, groups=groups, normalise_stages=True, negative_slope=0.1)
    found = registered(network_with(shape, 0, 1.0), *image_pair((16, 12, 12), 0, channels))
    assert bool(torch.isfinite(found.forward).all())


def test_pairs_of_a_batch_do_not_see_each_other():
    network = network_with(TINY, 3, 0.5)
    one, other = image_pair((12, 10, 9), 4, batch=3)
    together = registered(network, one, other)
    for index in range(3):
        alone = registered(network, one[index : index + 1], other[index : index + 1])
        torch.testing.assert_close(together.forward[index], alone.forward[0], rtol=0, atol=2e-3)


def test_no_network_is_changed_by_use_and_two_threads_get_the_same():
    network = network_with(TINY, 5, 0.5)
    pairs = [image_pair((12, 10, 9), 1), image_pair((9, 14, 8), 2)]
    expected = [registered(network, *pair).forward for pair in pairs]
    found: dict[int, torch.Tensor] = {}

    def work(number: int) -> None:
        found[number] = registered(network, *pairs[number % 2]).forward

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(found[number], expected[number % 2]) for number in range(4))


def test_cancel_ends_the_work_between_levels():
    class Impatient(Progress):
        def show(self, step: float, total: float, message: str) -> None:  # noqa: ARG002
            seen.append(step)
            if step == 1:
                self.cancel()

    seen: list[float] = []
    with pytest.raises(Cancelled):
        registered(network_with(TINY, 0, 1.0), *image_pair((12, 12, 12), 0), progress=Impatient())
    assert seen == [0, 1]


def test_levels_go_from_coarse_to_the_whole_map():
    network = network_with(TINY, 7, 0.5)
    one, other = image_pair((12, 10, 9), 7)
    with torch.no_grad():
        found = list(network.levels(one, other))
        (last,) = network.levels(one, other, every=False)
    assert len(found) == 3
    assert float(found[0].forward.abs().max()) == 0
    assert torch.equal(found[-1].forward, last.forward)


@given(st.integers(0, 99), st.tuples(*[st.integers(2, 3)] * 3))
@settings(max_examples=4)
def test_gradient_of_the_inverse(seed, shape):
    """The exact adjoint against differences, in double precision."""
    generator = torch.Generator().manual_seed(seed)
    control = 0.5 * (torch.rand((1, 3, *shape), generator=generator, dtype=torch.float64) - 0.5)
    positions = [torch.linspace(0, size - 1, size + 2).numpy() for size in shape]
    matrices = [torch.from_numpy(evaluation_matrix(n, where)) for n, where in zip(shape, positions, strict=True)]
    field = evaluate(control, matrices).requires_grad_()
    tight = FixedPoint(threshold=1e-13, most=300, ridge=1e-12)
    assert torch.autograd.gradcheck(lambda u: invert(u, tight), field, eps=1e-7, atol=1e-5, fast_mode=True)


@given(st.integers(0, 99))
@settings(max_examples=10)
def test_the_inverse_solves_its_equation(seed):
    generator = torch.Generator().manual_seed(seed)
    control = 0.7 * (torch.rand((2, 3, 4, 5, 4), generator=generator) - 0.5)
    matrices = [
        torch.from_numpy(evaluation_matrix(n, torch.arange(-0.25, n - 0.5, 0.5).numpy())).float() for n in (4, 5, 4)
    ]
    field = 2 * evaluate(control, matrices)
    inverse = invert(field, FixedPoint(threshold=1e-5, most=200))
    assert float(compose(field, inverse, voxel_grid(field.shape[2:])).abs().max()) < 1e-4
