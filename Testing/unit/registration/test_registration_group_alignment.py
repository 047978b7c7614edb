"""Heads of a group placed on each other before they form training pairs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from NeuroGenLib.registration.data.group_alignment import affine_to_mean

pytestmark = pytest.mark.usefixtures("one_thread")

SHAPE = (26, 30, 23)


@pytest.fixture
def template() -> np.ndarray:
    """Three tissues without any symmetry."""
    i, j, k = np.meshgrid(*(np.arange(size) for size in SHAPE), indexing="ij")
    head = ((i - 12) / 8) ** 2 + ((j - 15) / 10.5) ** 2 + ((k - 11) / 7) ** 2 < 1
    core = ((i - 10) / 4) ** 2 + ((j - 12) / 3) ** 2 + ((k - 12) / 3) ** 2 < 1
    corner = (i > 13) & (j > 17) & (k < 11)
    return np.stack([head & ~core & ~corner, core, head & corner & ~core]).astype(np.float32)


@pytest.fixture
def places() -> list[np.ndarray]:
    """Where each head lies: voxels of the template to voxels of the head."""
    rng = np.random.default_rng(3)
    middle = (np.array(SHAPE) - 1) / 2
    matrices = []
    for _ in range(4):
        matrix = np.eye(4)
        matrix[:3, :3] += rng.uniform(-0.12, 0.12, (3, 3))
        matrix[:3, 3] = middle - matrix[:3, :3] @ middle + rng.uniform(-1.5, 1.5, 3)
        matrices.append(matrix)
    return matrices


def test_heads_that_differ_by_an_affine_map_come_to_lie_on_each_other(template, places):
    heads = []
    for place in places:
        back = np.linalg.inv(place)
        heads.append([ndimage.affine_transform(one, back[:3, :3], back[:3, 3], order=1) for one in template])
    found = affine_to_mean(torch.tensor(np.array(heads)))
    corners = np.array([[i, j, k, 1] for i in (6, 18) for j in (7, 22) for k in (6, 16)], dtype=float).T
    # A voxel of the common grid is the same place of the template in each head.
    seen = np.array([(np.linalg.inv(place) @ one @ corners)[:3] for place, one in zip(places, found, strict=True)])
    before = np.array([(np.linalg.inv(place) @ corners)[:3] for place in places])
    assert np.abs(before - before.mean(axis=0)).max() > 1.5
    assert np.abs(seen - seen.mean(axis=0)).max() < 0.5
    # Together they have neither moved nor shrunk.
    assert np.allclose(np.mean(found, axis=0), np.eye(4), atol=1e-5)


def test_equal_heads_stay_where_they_are(template):
    found = affine_to_mean(torch.tensor(np.array([template, template])))
    assert np.allclose(found, np.eye(4), atol=1e-6)
