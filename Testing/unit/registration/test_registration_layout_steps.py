"""What is done to the volumes of published data sets, step by step, with their place in space."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from NeuroGenLib.registration.published.datasets import steps as modifications
from NeuroGenLib.registration.published.datasets.config import PreparationConfig
from NeuroGenLib.spatial.foreground import pooled
from NeuroGenLib.spatial.volume import Volume
from Testing.layout_folders import OBLIQUE, SHAPE, world_of
from Testing.raising import raises


@given(
    shape=st.tuples(*[st.integers(4, 9)] * 3),
    crop=st.tuples(*[st.tuples(st.integers(0, 1), st.integers(0, 2))] * 3),
    target=st.tuples(*[st.integers(1, 12)] * 3),
)
def test_every_voxel_keeps_its_place_in_the_world(shape, crop, target):
    values = np.arange(1, np.prod(shape) + 1, dtype=np.float32).reshape(shape)
    config = PreparationConfig(crop=crop, crop_or_pad_to=target)
    made = modifications.regridded(Volume(values, OBLIQUE), config)
    assert made.shape == target
    kept = np.argwhere(made.array > 0)
    assert len(kept) == np.prod([min(n - a - b, t) for n, (a, b), t in zip(shape, crop, target, strict=True)])
    for voxel in (kept[0], kept[-1], kept[len(kept) // 2]):
        source = np.argwhere(values == made.array[tuple(voxel)])[0]
        assert np.allclose(world_of(made.affine, voxel), world_of(OBLIQUE, source))


def test_a_crop_or_pad_is_centred_with_the_odd_voxel_at_the_end():
    line = np.arange(1, 8, dtype=np.float32).reshape(7, 1, 1)
    shorter = modifications.regridded(Volume(line, np.eye(4)), PreparationConfig(crop_or_pad_to=(4, 1, 1)))
    longer = modifications.regridded(Volume(line, np.eye(4)), PreparationConfig(crop_or_pad_to=(10, 1, 1)))
    assert shorter.array.ravel().tolist() == [2, 3, 4, 5]
    assert longer.array.ravel().tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 0, 0]


@given(shape=st.tuples(*[st.integers(4, 9)] * 3), factor=st.tuples(*[st.integers(1, 4)] * 3))
def test_blocks_are_averaged_about_their_centres(shape, factor):
    values = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    made = pooled(Volume(values, OBLIQUE), factor)
    expected = torch.nn.functional.avg_pool3d(torch.from_numpy(values)[None, None], factor)[0, 0].numpy()
    assert np.allclose(made.array, expected, atol=1e-6)
    last = np.array(made.shape) - 1
    corners = [world_of(OBLIQUE, corner) for corner in (last * factor, last * factor + np.array(factor) - 1)]
    assert np.allclose(world_of(made.affine, last), np.mean(corners, axis=0))


def test_intensities_are_clipped_before_they_are_shifted_and_stretched_last():
    values = np.array([-50.0, 10, 20, 60, 900], np.float32)
    config = PreparationConfig(clip=(0, 100), shift=20, scale=10)
    assert modifications.scaled(values, config).tolist() == [-2, -1, 0, 4, 8]
    stretched = modifications.scaled(values, PreparationConfig(clip=(0, 100), shift=20, scale=10, minmax=True))
    assert np.allclose(stretched, [0, 0.1, 0.2, 0.6, 1.0])
    open_end = modifications.scaled(values, PreparationConfig(clip=(None, 15)))
    assert open_end.tolist() == [-50, 10, 15, 15, 15]


def test_a_constant_image_is_not_stretched():
    with raises("image-empty", 3):
        modifications.scaled(np.full(4, 3.0), PreparationConfig(minmax=True))


def test_a_mask_counts_where_it_fills_a_coarser_voxel():
    mask = np.ones((4, 2, 2), np.float32)
    mask[3, 1, 1] = 0
    made = modifications.prepared_mask(Volume(mask, np.eye(4)), PreparationConfig(downsampling=(2, 2, 2)))
    assert made.ravel().tolist() == [True, False]


def test_a_coarser_voxel_gets_its_most_frequent_label():
    line = np.array([5, 7, 7, 9, 9, 9, 5, 7], np.int16).reshape(8, 1, 1)
    config = PreparationConfig(downsampling=(4, 1, 1))
    made = modifications.prepared_labels(Volume(line, np.eye(4)), config, (7, 5))
    # 9 is not listed and becomes 0: [5 7 7 0] and [0 0 5 7].
    assert made.ravel().tolist() == [7, 0]
    fine = modifications.prepared_labels(Volume(line, np.eye(4)), PreparationConfig(), (7, 5))
    assert fine.ravel().tolist() == [5, 7, 7, 0, 0, 0, 5, 7]
    tie = np.array([5, 7], np.int16).reshape(2, 1, 1)
    halves = PreparationConfig(downsampling=(2, 1, 1))
    assert modifications.prepared_labels(Volume(tie, np.eye(4)), halves, (0, 7, 5)).ravel().tolist() == [7]


@given(
    crop=st.tuples(*[st.tuples(st.integers(0, 1), st.integers(0, 1))] * 3),
    target=st.none() | st.tuples(*[st.sampled_from([4, 6, 8, 12, 16])] * 3),
    factor=st.tuples(*[st.sampled_from([1, 2])] * 3),
)
def test_landmarks_move_with_the_voxels(crop, target, factor):
    config = PreparationConfig(crop=crop, crop_or_pad_to=target, downsampling=factor)
    volume = Volume(np.zeros(SHAPE, np.float32), OBLIQUE)
    points = np.array([[2.0, 3, 4], [4.5, 5.25, 3.0]])
    made = pooled(modifications.regridded(volume, config), factor)
    moved = modifications.prepared_points(points, SHAPE, config)
    assert np.allclose(made.voxel_to_world(moved), volume.voxel_to_world(points), atol=1e-5)


def test_a_crop_that_takes_everything_is_refused():
    with raises("value-invalid", "(5, 4)"):
        modifications.crop_box((9, 9, 9), ((5, 4), (0, 0), (0, 0)))


def test_a_volume_smaller_than_a_block_is_refused():
    with raises("value-invalid", "(2, 4, 4)", "(4, 1, 1)"):
        pooled(Volume(np.zeros((2, 4, 4)), np.eye(4)), (4, 1, 1))
