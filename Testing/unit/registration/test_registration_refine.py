"""The optimisation on one pair: every step keeps what the network promises, and makes the images more alike."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from NeuroGenLib.core.errors import Cancelled
from NeuroGenLib.core.progress import Progress
from NeuroGenLib.registration.network.sitreg import SITReg
from NeuroGenLib.registration.network.sizes import SITRegConfig
from NeuroGenLib.registration.refine import Adam, HalfMaps, refine, relaxed, unfolded
from NeuroGenLib.spatial.transforms.displacement import Displacement, compose, voxel_grid, warp
from NeuroGenLib.spatial.transforms.jacobian import discrete_jacobians, jacobian_determinants
from NeuroGenLib.training.random_streams import seeded_weights
from Testing.geometry import rotation

pytestmark = pytest.mark.usefixtures("one_thread")

SIZE = (16, 14, 15)


def image_pair(seed, channels=1, size=SIZE):
    """Two smooth images, 0 to 1, the second one the first bent by about a voxel."""
    generator = np.random.default_rng(seed)
    image = gaussian_filter(generator.normal(size=(channels, *size)), (0, 1.5, 1.5, 1.5))
    image = torch.from_numpy((image - image.min()) / np.ptp(image)).float()[None]
    bend = gaussian_filter(generator.normal(size=(3, *size)), (0, 3, 3, 3))
    bend = torch.from_numpy(1.2 * bend / np.abs(bend).max()).float()[None]
    return warp(image, bend), image


def started(seed, size=SIZE):
    """Half-way maps that are not the identity, with their inverses."""
    first, second = image_pair(seed, size=size)
    return refine(first, second, HalfMaps.identity(size, first), 3)


def alike(first, second, maps):
    """Pearson's correlation of the two images in the middle."""
    one, other = warp(first, maps.left).flatten(), warp(second, maps.right).flatten()
    return float(torch.corrcoef(torch.stack([one, other]))[0, 1])


@given(st.integers(0, 99), st.sampled_from([2, 3, 4]), st.sampled_from([0.1, 0.25, 2.0]))
@settings(max_examples=12)
def test_no_step_folds_however_large(seed, spacing, rate):
    first, second = image_pair(seed)
    maps = HalfMaps.identity(SIZE, first)
    for _ in range(4):
        maps = refine(first, second, maps, 1, Adam(rate=rate, spacing=spacing))
        for one in (maps.left, maps.right):
            assert all(bool((found > 0).all()) for found in discrete_jacobians(one).values())


@given(st.integers(0, 99), st.integers(1, 2))
@settings(max_examples=5)
def test_images_become_more_alike_and_stay_invertible(seed, channels):
    first, second = image_pair(seed, channels)
    identity = HalfMaps.identity(SIZE, first)
    some, more = (refine(first, second, identity, steps) for steps in (4, 25))
    assert alike(first, second, identity) < alike(first, second, some)
    assert 1 - alike(first, second, more) < 0.4 * (1 - alike(first, second, identity))
    forward, inverse = (one.values for one in more.polished().total())
    assert float(compose(forward, inverse).abs().mean()) < 0.02
    assert float(compose(inverse, forward).abs().mean()) < 0.02


@given(st.integers(0, 99), st.integers(1, 5))
@settings(max_examples=10)
def test_swapped_images_swap_the_maps_exactly(seed, steps):
    first, second = image_pair(seed)
    begun = started(seed + 1)
    swapped = HalfMaps(begun.right, begun.left, begun.right_inverse, begun.left_inverse, begun.affine)
    there, back = refine(first, second, begun, steps), refine(second, first, swapped, steps)
    assert torch.equal(there.left, back.right)
    assert torch.equal(there.right_inverse, back.left_inverse)
    for one, other in zip(there.polished().total(), reversed(back.polished().total()), strict=True):
        assert torch.equal(one.values, other.values)
    assert float(there.left.abs().max()) > 0


def test_the_same_image_stays_where_it_is():
    image, _ = image_pair(4)
    maps = refine(image, image, HalfMaps.identity(SIZE, image), 10).polished()
    forward, inverse = (one.values for one in maps.total())
    assert float(forward.abs().max()) < 1e-4
    assert float(inverse.abs().max()) < 1e-4


def test_noise_moves_little():
    """The same head scanned twice: a few steps do not make it worse by much."""
    image, _ = image_pair(4)
    noise = 1e-3 * torch.randn((2, *image.shape), generator=torch.Generator().manual_seed(1))
    for steps in (1, 3, 10, 40):
        maps = refine(image + noise[0], image + noise[1], HalfMaps.identity(SIZE, image), steps)
        assert float(maps.left.norm(dim=1).mean()) < 0.1


@pytest.mark.parametrize("image", [torch.zeros(1, 1, *SIZE), torch.ones(1, 1, *SIZE)])
def test_images_that_show_nothing_move_nothing(image):
    maps = refine(image, image, HalfMaps.identity(SIZE, image), 3)
    for one in (maps.left, maps.right, maps.left_inverse, maps.right_inverse):
        assert float(one.abs().max()) < 1e-3


def test_zero_steps_change_nothing():
    first, second = image_pair(1)
    maps = started(2)
    assert refine(first, second, maps, 0) == maps


@pytest.mark.parametrize("size", [(2, 3, 2), (5, 4, 1), (7, 30, 3)])
def test_thin_grids(size):
    first, second = torch.rand((2, 1, 1, *size), generator=torch.Generator().manual_seed(0))
    maps = refine(first, second, HalfMaps.identity(size, first), 3).polished()
    assert all(bool(torch.isfinite(one.values).all()) for one in maps.total())


def almost_folded(size):
    """A map that squeezes a plane of voxels to a tenth; beyond 12 voxels it moves nothing."""
    along = torch.linspace(-12, 12, 25)
    profile = -along * torch.exp(-((along / 3) ** 2))
    line = torch.zeros(size[0])
    line[size[0] // 2 - 12 : size[0] // 2 + 13] = profile
    field = torch.zeros(1, 3, *size)
    field[0, 0] = line[:, None, None]
    return field


def test_what_is_almost_folded_is_smoothed_and_nothing_else():
    field = almost_folded((60, 6, 7))
    before = torch.gradient(field[0, 0], dim=0)[0]
    after = relaxed(field)
    assert float(before.min()) < -0.85
    assert float(torch.gradient(after[0, 0], dim=0)[0].min()) >= -0.8
    far = abs(torch.arange(60) - 30) > 20
    assert torch.equal(after[:, :, far], field[:, :, far])
    assert torch.equal(after[:, 1:], field[:, 1:])
    assert torch.equal(relaxed(0.5 * field), 0.5 * field)


def test_a_turned_tetrahedron_is_smoothed_and_nothing_else():
    """A voxel that jumps over its neighbour: central differences do not see it, the tetrahedra do."""
    field = torch.zeros(1, 3, 12, 11, 10)
    field[0, 0, 6, 5, 5] = 1.4
    assert float(jacobian_determinants(field, "every").min()) > 0.2
    assert min(float(one.min()) for one in discrete_jacobians(field).values()) < 0
    after = unfolded(field)
    assert min(float(one.min()) for one in discrete_jacobians(after).values()) >= 0.05
    assert torch.equal(after[:, :, :2], field[:, :, :2])
    assert torch.equal(after[:, 1:], field[:, 1:])
    assert torch.equal(unfolded(0.5 * field), 0.5 * field)


def test_more_smoothness_moves_less():
    first, second = image_pair(3)
    identity = HalfMaps.identity(SIZE, first)
    lengths = [
        float(refine(first, second, identity, 15, Adam(smoothness=weight)).left.norm()) for weight in (0.0, 1.0, 30.0)
    ]
    assert lengths[0] > lengths[1] > lengths[2]


def test_no_gradients_remain_and_inputs_are_unchanged():
    first, second = image_pair(5)
    maps = started(6)
    kept = [one.clone() for one in (first, second, maps.left, maps.left_inverse)]
    found = refine(first, second, maps, 2)
    assert not found.left.requires_grad
    assert all(
        torch.equal(one, other) for one, other in zip(kept, (first, second, maps.left, maps.left_inverse), strict=True)
    )


def test_cancel_ends_the_work_after_a_step():
    class Impatient(Progress):
        seen = 0

        def show(self, *_):
            self.seen += 1
            if self.seen == 2:
                self.cancel()

    first, second = image_pair(0)
    progress = Impatient()
    with pytest.raises(Cancelled):
        refine(first, second, HalfMaps.identity(SIZE, first), 50, progress=progress)
    assert progress.seen == 2


def a_grid(turned, spacing, origin):
    affine = rotation(turned, (0, 0, 0)) @ np.diag([*spacing, 1.0])
    affine[:3, 3] = origin
    return affine


def in_millimetres(affine, shape):
    grid = voxel_grid(shape)[0].numpy().astype(np.float64)
    return np.einsum("ij,j...->i...", affine[:3, :3], grid) + affine[:3, 3].reshape(3, 1, 1, 1)


@given(st.floats(-60, 60), st.tuples(*[st.floats(1.0, 3.0)] * 3), st.integers(0, 99))
def test_vectors_on_another_grid_are_the_same_millimetres(degrees, spacing, seed):
    """A displacement that is linear in the world is the same one on any grid inside the first."""
    matrix = 0.1 * np.random.default_rng(seed).normal(size=(3, 3))
    own = a_grid(20, (2.0, 2.5, 1.5), (-30, -30, -30))
    own[0] *= -1  # left-handed
    shape, new_shape = (50, 44, 60), (4, 5, 6)
    new = a_grid(degrees, spacing, (0, 0, 0))
    new[:3, 3] = own[:3, :3] @ ((np.array(shape) - 1) / 2) + own[:3, 3] - new[:3, :3] @ [1.5, 2, 2.5]
    millimetres = np.einsum("ij,j...->i...", matrix, in_millimetres(own, shape))
    voxels = np.einsum("ij,j...->i...", np.linalg.inv(own[:3, :3]), millimetres)
    found = Displacement(torch.from_numpy(voxels)[None], own).on_grid(new_shape, new).values[0].numpy()
    expected = np.einsum("ij,j...->i...", matrix, in_millimetres(new, new_shape))
    assert np.allclose(np.einsum("ij,j...->i...", new[:3, :3], found), expected, atol=1e-6)


def test_a_finer_grid_and_back():
    coarse, fine = np.diag([4.0, 4, 4, 1]), np.diag([2.0, 2, 2, 1])
    maps = replace(started(7), affine=coarse)
    there = maps.on_grid(tuple(2 * n - 1 for n in SIZE), fine)
    assert float(there.left.abs().max()) == pytest.approx(2 * float(maps.left.abs().max()), rel=0.05)
    back = there.on_grid(SIZE, coarse)
    assert torch.allclose(back.left, maps.left, atol=1e-5)
    assert torch.allclose(back.right_inverse, maps.right_inverse, atol=1e-5)
    assert maps.on_grid(SIZE, coarse.copy()).left is maps.left


def a_network(size, affine):
    shape = SITRegConfig(
        features=(4, 4, 8),
        feature_convolutions=(1, 1, 1),
        stage_features=(None, 6, 6),
        stage_convolutions=(None, 1, 1),
        factor=(2.0, 2.0, 2.0),
        affine_inputs=int(np.prod([-(-n // 4) for n in size])) if affine else None,
        threshold=1e-4,
    )
    with seeded_weights(3):
        network = SITReg(shape)
        with torch.no_grad():
            for stage in network.stages.values():
                stage.final.weight.normal_(0, 0.3)
            if network.affine is not None:
                network.affine.final.weight.normal_(0, 0.002)
                network.affine.final.bias.normal_(0, 0.02)
    return network


@pytest.mark.parametrize("affine", [False, True])
def test_half_maps_of_the_network_make_its_own_total(affine):
    """What the optimisation starts from is what the network found, also where half of that is affine."""
    size = (24, 28, 20)
    first, second = torch.rand((2, 1, 1, *size), generator=torch.Generator().manual_seed(8))
    with torch.no_grad():
        found = a_network(size, affine)(first, second)
    assert (found.affine is not None) == affine
    if found.affine is not None:
        assert float((found.affine - torch.eye(4)).abs().max()) > 0.02
    forward, inverse = (one.values for one in HalfMaps(*found.half_maps(), np.eye(4)).total())
    inner = (slice(None), slice(None), *[slice(3, -3)] * 3)  # beyond the border an affine map is cut off
    assert float(found.forward[inner].abs().max()) > 0.2
    assert float((forward - found.forward)[inner].abs().max()) < 0.05
    assert float((inverse - found.inverse)[inner].abs().max()) < 0.05
    assert float((forward - found.forward)[inner].abs().mean()) < 0.01
