"""Registration pairs: the stated map is the true one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import maximum_filter, minimum_filter

from NeuroGenLib.simulate.contrast import ContrastConfig
from NeuroGenLib.simulate.deformation import DeformationConfig, warp
from NeuroGenLib.simulate.pair import simulate_pair
from Testing.raising import raises

SHAPE = (61, 58, 64)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def blobs() -> torch.Tensor:
    """Two large ellipsoids that share a face, off the centre so that no symmetry hides a mistake."""
    i, j, k = np.indices(SHAPE, dtype=float)
    labels = np.where(((i - 32) / 24) ** 2 + ((j - 26) / 20) ** 2 + ((k - 33) / 25) ** 2 < 1, 7, 0)
    labels[(labels == 7) & (k > 36)] = 300
    return torch.from_numpy(labels.astype(np.int16))


def dice(one: torch.Tensor, other: torch.Tensor, value: int) -> float:
    first, second = one == value, other == value
    return float(2 * (first & second).sum() / (first.sum() + second.sum()))


def clear_share(found: torch.Tensor, expected: torch.Tensor, displacement: torch.Tensor) -> float:
    """Share of equal labels among voxels that come from inside the image and do not touch another label."""
    array = expected.numpy()
    clear = maximum_filter(array, 3) == minimum_filter(array, 3)
    points = np.indices(SHAPE) + displacement[0].numpy()
    clear &= ((points >= 0) & (points <= np.reshape(SHAPE, (3, 1, 1, 1)) - 1)).all(axis=0) & (array > 0)
    assert clear.sum() > 2000
    return float((found.numpy() == array)[clear].mean())


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_true_map_maps_the_labels(blobs: torch.Tensor, seed: int) -> None:
    pair = simulate_pair(blobs, generator=seeded(seed))
    assert pair.forward is not None
    assert pair.inverse is not None
    there, back = warp(pair.labels_1, pair.forward, order=0), warp(pair.labels_2, pair.inverse, order=0)
    assert clear_share(there, pair.labels_2, pair.forward) > 0.999
    assert clear_share(back, pair.labels_1, pair.inverse) > 0.999
    # What is lost without a map, or with that of the other direction.
    assert clear_share(pair.labels_1, pair.labels_2, pair.forward) < 0.97
    assert clear_share(warp(pair.labels_1, pair.inverse, order=0), pair.labels_2, pair.forward) < 0.97


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_head_inside_the_image_overlaps_itself(blobs: torch.Tensor, seed: int) -> None:
    small = DeformationConfig(rotation=6, translation=2, log_scale=0.05)
    pair = simulate_pair((blobs > 0).int(), generator=seeded(seed), deformation=small)
    assert pair.forward is not None
    assert dice(warp(pair.labels_1, pair.forward, order=0), pair.labels_2, 1) > 0.97


def test_the_image_shows_its_labels(blobs: torch.Tensor) -> None:
    sharp = ContrastConfig(
        deviation=(0, 0), texture=(0, 0), background=0, lesions=0, stripped=0, blur=(0, 0), thick=0, bias=(0, 0),
        noise=(0, 0),
    )  # fmt: skip
    pair = simulate_pair(blobs, generator=seeded(0), contrast=sharp)
    for image, labels in ((pair.image_1, pair.labels_1), (pair.image_2, pair.labels_2)):
        assert [len(image[0][labels == value].unique()) for value in (0, 7, 300)] == [1, 1, 1]
    assert pair.image_1.max() == pair.image_2.max() == 1
    assert pair.image_1.shape == (1, *SHAPE)
    # The labels kept their type, and no value is new.
    assert pair.labels_1.dtype == torch.int16
    assert set(pair.labels_2.unique().tolist()) == {0, 7, 300}


def test_without_deformation_the_map_is_the_identity(blobs: torch.Tensor) -> None:
    still = DeformationConfig(rotation=0, log_scale=0, shear=0, translation=0, scales=(), amplitudes=())
    pair = simulate_pair(blobs, generator=seeded(0), deformation=still)
    assert pair.forward is not None
    assert pair.forward.abs().max() < 1e-4
    assert torch.equal(pair.labels_1, blobs)
    assert not torch.allclose(pair.image_1, pair.image_2, atol=0.05)


def test_two_heads_have_no_true_map(blobs: torch.Tensor) -> None:
    pair = simulate_pair(blobs, blobs.flip(2), generator=seeded(0))
    assert pair.forward is None
    assert pair.inverse is None
    assert pair.labels_1.shape == pair.labels_2.shape == SHAPE


def test_the_seed_decides(blobs: torch.Tensor) -> None:
    first, same, other = (simulate_pair(blobs, generator=seeded(seed)) for seed in (5, 5, 6))
    assert torch.equal(first.image_2, same.image_2)
    assert first.forward is not None
    assert same.forward is not None
    assert torch.equal(first.forward, same.forward)
    assert not torch.equal(first.labels_1, other.labels_1)


def test_an_empty_map_makes_a_pair() -> None:
    pair = simulate_pair(torch.zeros((5, 4, 7), dtype=torch.int32), generator=seeded(0))
    assert torch.isfinite(pair.image_1).all()
    assert pair.forward is not None
    assert torch.isfinite(pair.forward).all()


def test_maps_of_different_shapes_are_refused(blobs: torch.Tensor) -> None:
    with raises("geometry-mismatch", (61, 58, 64), (60, 58, 64)):
        simulate_pair(blobs, blobs[1:], generator=seeded(0))
