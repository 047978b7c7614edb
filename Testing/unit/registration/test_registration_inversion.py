"""Inverse displacements: the fixed point, Newton's method, and what happens where there is none."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from NeuroGenLib.registration.network import inversion
from NeuroGenLib.registration.network.inversion import FixedPoint, invert, newton_inverse, solve
from NeuroGenLib.spatial.transforms.displacement import compose, sample, voxel_grid
from NeuroGenLib.spatial.transforms.jacobian import discrete_jacobians

SHAPE = (13, 11, 14)
CLOSE = FixedPoint(threshold=1e-6, most=300)

shifts = st.tuples(*[st.floats(-3, 3)] * 3)


def smooth_field(seed, largest, shape=SHAPE, dtype=torch.float64):
    """Return a smooth field, at most ``largest`` voxels along an axis, that ends in zero at the border."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn((1, 3, 4, 4, 4), generator=generator, dtype=dtype)
    field = torch.nn.functional.interpolate(coarse, shape, mode="trilinear", align_corners=True)
    for axis, size in enumerate(shape):
        place = torch.linspace(0, torch.pi, size, dtype=dtype)
        field = field * place.sin().view([-1 if other == axis else 1 for other in range(3)])
    return largest * field / field.abs().max()


def folds(field):
    return any(bool((one <= 0.05).any()) for one in discrete_jacobians(field).values())


@given(st.integers(0, 99), st.floats(0.05, 0.9))
def test_a_contraction_of_numbers_has_its_fixed_point(seed, slope):
    generator = torch.Generator().manual_seed(seed)
    shift = torch.randn((3, 5), generator=generator, dtype=torch.float64)
    found = solve(lambda value: slope * value.cos() + shift, torch.zeros_like(shift), FixedPoint(1e-10, most=500))
    assert torch.allclose(found, slope * found.cos() + shift, atol=1e-8)


def test_every_element_of_a_batch_is_mixed_by_itself():
    one, other = smooth_field(1, 1.0), smooth_field(2, 0.4)
    together = invert(torch.cat([one, other]), CLOSE)
    for number, field in enumerate((one, other)):
        alone = invert(field, CLOSE)
        assert torch.allclose(together[number], alone[0], atol=1e-5)


@given(st.integers(0, 99))
def test_the_fixed_point_inverts_gentle_fields(seed):
    field = smooth_field(seed, 1.0)
    inverse = invert(field, CLOSE)
    there = voxel_grid(SHAPE, field) + inverse
    assert float((inverse + sample(field, there)).abs().max()) < 1e-5


@given(st.integers(0, 999), st.floats(1.0, 3.0))
@settings(max_examples=20)
def test_newton_inverts_fields_of_several_voxels(seed, largest):
    """Whatever does not fold is inverted, also where the fixed-point iteration does not converge."""
    field = smooth_field(seed, largest)
    while folds(field):
        field = field * 0.8
    inverse = newton_inverse(field, -field, steps=40)
    assert float(compose(field, inverse).abs().max()) < 1e-6


@given(st.integers(0, 999), st.floats(1.0, 3.0), st.floats(0.0, 0.5))
def test_newton_never_makes_an_inverse_worse(seed, largest, noise):
    field = smooth_field(seed, largest)
    generator = torch.Generator().manual_seed(seed)
    start = -field + noise * torch.randn(field.shape, generator=generator, dtype=field.dtype)
    before, after = (compose(field, one).square().sum(dim=1) for one in (start, newton_inverse(field, start, steps=2)))
    assert bool((after <= before + 1e-12).all())


def test_newton_is_not_held_up_by_a_start_that_leads_astray():
    """A few voxels begin far off, behind the field's steepest place; their neighbours know the way."""
    field = smooth_field(11, 2.0).float()
    while folds(field):
        field = field * 0.8
    right = newton_inverse(field, -field, steps=40)
    start = right.clone()
    start[:, :, 4:6, 4, 4] += 3.0
    assert float(compose(field, start)[:, :, 4:6, 4, 4].abs().max()) > 0.5
    assert float(compose(field, newton_inverse(field, start)).abs().max()) < 0.02


@pytest.mark.parametrize("shift", [(0.0, 0.0, 0.0), (2.5, -1.0, 0.25)])
def test_a_shift_is_inverted_at_once(shift):
    field = torch.tensor(shift, dtype=torch.float64).view(1, 3, 1, 1, 1).expand(1, 3, 6, 5, 4).contiguous()
    assert torch.allclose(invert(field), -field)
    assert torch.allclose(newton_inverse(field, torch.zeros_like(field), steps=4), -field)


def test_float32_is_good_to_a_thousandth_of_a_voxel():
    field = smooth_field(5, 1.5).float()
    assert not folds(field)
    inverse = newton_inverse(field, -field, steps=20)
    assert float(compose(field, inverse).abs().max()) < 1e-3
    # The other way round it is sampled between its own voxels.
    assert float(compose(inverse, field).abs().mean()) < 0.02


def test_a_folded_field_has_no_inverse_but_numbers():
    field = 6 * smooth_field(3, 1.0)
    assert folds(field)
    for inverse in (invert(field), newton_inverse(field, -field)):
        assert bool(torch.isfinite(inverse).all())


def test_a_slope_of_minus_one_does_not_divide_by_zero():
    """The map sends everything to one plane: its slope cannot be inverted anywhere."""
    grid = voxel_grid((6, 6, 6), torch.zeros(1, dtype=torch.float64))
    field = torch.zeros_like(grid)
    field[:, 0] = 2.5 - grid[:, 0]
    inverse = newton_inverse(field, torch.zeros_like(field))
    assert bool(torch.isfinite(inverse).all())


def test_a_step_of_newton_goes_a_voxel_at_most():
    """The inverse of a shift by five voxels is five steps away."""
    displacement = torch.zeros(1, 3, 12, 6, 6)
    displacement[:, 0] = 5
    found = inversion._newton(displacement, voxel_grid((12, 6, 6)), torch.zeros_like(displacement), 3)
    assert torch.equal(found[:, 0], torch.full((1, 12, 6, 6), -3.0))
    assert not found[:, 1:].any()
