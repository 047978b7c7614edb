"""Displacement fields: sampled, warped and composed as their definitions say."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates

from NeuroGenLib.spatial.transforms.displacement import compose, inside, sample, voxel_grid, warp

sizes = st.tuples(*[st.integers(1, 7)] * 3)


def random(shape, seed, scale=1.0):
    return scale * torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_a_grid_holds_its_own_indices():
    grid = voxel_grid((2, 3, 4), torch.zeros(1, dtype=torch.float64))
    assert grid.shape == (1, 3, 2, 3, 4)
    assert grid.dtype == torch.float64
    assert grid[0, :, 1, 2, 3].tolist() == [1, 2, 3]
    assert voxel_grid((2, 2, 2)).dtype == torch.float32


@given(sizes, st.integers(0, 99))
def test_sampling_is_linear_and_the_border_goes_on(shape, seed):
    values, where = random((2, 3, *shape), seed), random((2, 3, 4, 3, 2), seed + 1, 5.0)
    expected = [
        [map_coordinates(layer, place, order=1, mode="nearest") for layer in layers]
        for layers, place in zip(values.numpy(), where.numpy(), strict=True)
    ]
    assert np.allclose(sample(values, where), expected, atol=1e-9)


@given(sizes, st.integers(0, 99))
def test_the_nearest_voxel(shape, seed):
    values, where = random((1, 1, *shape), seed), random((1, 3, 5, 5, 5), seed + 1, 4.0)
    index = [
        np.clip(np.rint(place), 0, size - 1).astype(int) for place, size in zip(where[0].numpy(), shape, strict=True)
    ]
    assert np.array_equal(sample(values, where, "nearest")[0, 0], values[0, 0].numpy()[tuple(index)])


def test_one_set_of_coordinates_serves_a_batch():
    values, where = random((3, 2, 4, 5, 6), 0), random((1, 3, 2, 2, 2), 1, 3.0)
    assert torch.equal(sample(values, where), sample(values, where.expand(3, -1, -1, -1, -1)))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_channel_moves_along_its_own_axis_and_pulls(axis):
    image = random((1, 1, 5, 6, 7), 2)
    displacement = torch.zeros((1, 3, 5, 6, 7), dtype=torch.float64)
    displacement[:, axis] = 2
    size = image.shape[2 + axis]
    index = torch.clamp(torch.arange(size) + 2, max=size - 1)
    assert torch.allclose(warp(image, displacement), image.index_select(2 + axis, index))


@given(st.integers(0, 99))
def test_composing_is_moving_twice(seed):
    outer, inner = random((2, 3, 5, 4, 6), seed, 0.8), random((2, 3, 5, 4, 6), seed + 1, 0.8)
    grid = voxel_grid((5, 4, 6), outer)
    there = grid + inner
    expected = there + sample(outer, there) - grid
    assert torch.allclose(compose(outer, inner), expected)
    assert torch.equal(compose(outer, inner, grid), compose(outer, inner))


def test_composing_with_nothing_changes_nothing():
    field = random((1, 3, 4, 5, 6), 3)
    zero = torch.zeros_like(field)
    assert torch.allclose(compose(field, zero), field)
    assert torch.allclose(compose(zero, field), field)


def test_the_inside_ends_at_the_outer_voxel_centres():
    places = torch.tensor([[0, 0, 0], [3, 4, 5], [-0.001, 2, 2], [2, 4.001, 2], [2, 2, 5.001]])
    found = inside(places.T[None, :, :, None, None], (4, 5, 6))
    assert found.shape == (1, 1, 5, 1, 1)
    assert found.flatten().tolist() == [True, True, False, False, False]
