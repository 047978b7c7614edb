"""Where features, control points and the transform lie: formulas against geometry computed on its own."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from NeuroGenLib.alignment.halfway import HalfwayGrid
from NeuroGenLib.registration.network.grids import Grids
from NeuroGenLib.registration.prepare import transform_affine

LIKE = torch.zeros(1, dtype=torch.float64)
shapes = st.tuples(*[st.integers(4, 21)] * 3)
factors = st.sampled_from([(1.0, 1.0, 1.0), (2.0, 2.0, 2.0), (1.0, 2.0, 3.0), (4.0, 2.0, 2.0)])
levels = st.integers(0, 4)


def halved(size, times):
    """Voxels after padding to an even number and halving, again and again."""
    for _ in range(times):
        size = (size + size % 2) // 2
    return size


def level_centres(size, level):
    """Image voxels of the centres of blocks of 2^level voxels, from the first voxel on."""
    return np.array(
        [np.mean(np.arange(start, start + 2**level)) for start in range(0, halved(size, level) * 2**level, 2**level)]
    )


@given(shapes, levels)
def test_levels_are_halved_with_padding(shape, level):
    assert Grids(shape).level_shape(level) == tuple(halved(size, level) for size in shape)


@given(shapes, factors)
def test_the_transform_covers_the_image_about_its_centre(shape, factor):
    grids = Grids(shape, factor=factor)
    for size, own, width in zip(shape, grids.transform_shape, factor, strict=True):
        assert (own - 1) * width < size <= own * width
    centre = (torch.tensor(grids.transform_shape, dtype=torch.float64) - 1) / 2
    middle = grids.to_level(centre.view(1, 3, 1, 1, 1), 0).flatten()
    assert np.allclose(middle, (np.array(shape) - 1) / 2)


@given(shapes, factors, levels)
def test_a_level_lies_in_the_middle_of_its_blocks(shape, factor, level):
    grids = Grids(shape, factor=factor)
    found = grids.to_level(grids.level_positions(level, LIKE), 0)[0].numpy()
    for axis, size in enumerate(shape):
        line = np.moveaxis(found[axis], axis, 0)[:, 0, 0]
        assert np.allclose(line, level_centres(size, level))


@given(shapes, factors, levels, st.integers(0, 99))
def test_there_and_back_between_level_and_transform(shape, factor, level, seed):
    grids = Grids(shape, factor=factor)
    voxels = 10 * torch.rand((1, 3, 2, 3, 2), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    scale, offset = (torch.from_numpy(one).view(1, 3, 1, 1, 1) for one in grids.transform_from_level(level))
    assert torch.allclose(grids.to_level(voxels * scale + offset, level), voxels)
    assert torch.allclose(grids.level_voxel(level, LIKE), scale)
    assert np.allclose(scale.flatten(), 2.0**level / np.array(factor))


@given(shapes, factors, levels)
def test_spline_matrices_put_control_points_at_the_voxels_of_the_level(shape, factor, level):
    """Control points that hold the place of their voxel give, at a voxel of the transform inside, its place."""
    grids = Grids(shape, factor=factor)
    for axis, matrix in enumerate(grids.spline_matrices(level, LIKE)):
        count, size = grids.level_shape(level)[axis], grids.transform_shape[axis]
        assert matrix.shape == (size, count)
        assert np.allclose(matrix.sum(dim=1), 1)
        in_image = (np.arange(size) - (size - 1) / 2) * factor[axis] + (shape[axis] - 1) / 2
        centres = level_centres(shape[axis], level)
        if count < 4:
            continue
        inner = (in_image >= centres[1]) & (in_image <= centres[-2])
        assert np.allclose((matrix.numpy() @ centres)[inner], in_image[inner])


def test_control_points_are_bounded_by_the_step_of_the_transform():
    grids = Grids((32, 32, 32), factor=(2.0, 2.0, 2.0))
    assert grids.control_point_bound(1) == pytest.approx(0.36, abs=1e-7)
    assert grids.control_point_bound(2) == pytest.approx(0.38544695, abs=1e-7)
    with pytest.raises(ValueError, match="finer"):
        grids.control_point_bound(0)


@given(shapes, st.tuples(*[st.floats(0.5, 5)] * 3), factors, st.integers(0, 99))
def test_affines_act_about_the_centre_with_the_longest_side_two(shape, spacing, factor, seed):
    grids = Grids(shape, spacing, factor)
    generator = np.random.default_rng(seed)
    matrix = np.eye(4)
    matrix[:3] += 0.2 * generator.normal(size=(3, 4))
    voxels = generator.uniform(-3, 20, size=(3, 5))
    unit = 2 / max(n * mm for n, mm in zip(shape, spacing, strict=True))
    millimetres = np.array(factor) * np.array(spacing) * unit
    centre = (np.array(grids.transform_shape) - 1) / 2
    world = (voxels.T - centre) * millimetres
    expected = ((world @ matrix[:3, :3].T + matrix[:3, 3]) / millimetres + centre).T
    found = grids.apply_affine(torch.from_numpy(matrix)[None], torch.from_numpy(voxels)[None, :, :, None, None])
    assert np.allclose(found[0, :, :, 0, 0], expected)


@given(shapes, factors)
def test_the_transforms_affine_is_that_of_its_grid(shape, factor):
    """In mm: the voxels of the transform lie where :meth:`Grids.to_level` and the image's affine put them."""
    affine = np.diag([1.5, -2.0, 3.0, 1.0])[[1, 0, 2, 3]]
    affine[:3, 3] = (5, -7, 11)
    grids = Grids(shape, factor=factor)
    own = transform_affine(HalfwayGrid(shape, affine), factor, grids.transform_shape)
    voxels = np.array([[0, 0, 0], [1, 2, 3], [4, 0, 2.5]], dtype=float)
    in_image = grids.to_level(torch.from_numpy(voxels.T)[None, :, :, None, None], 0)[0, :, :, 0, 0].numpy().T
    assert np.allclose(voxels @ own[:3, :3].T + own[:3, 3], in_image @ affine[:3, :3].T + affine[:3, 3])
