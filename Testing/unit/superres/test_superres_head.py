"""The head in a scan: found at its own voxels, wherever it lies, with a margin that fades."""

from __future__ import annotations

import numpy as np
import pytest

from NeuroGenLib.spatial.volume import Volume
from NeuroGenLib.superres.head import find_head
from Testing.geometry import a_brain_phantom, dice, oblique, orientations, same_in_world
from Testing.raising import raises


@pytest.fixture(scope="module")
def head() -> Volume:
    """A head of 58 x 74 x 54 mm with room around it."""
    return a_brain_phantom((46, 52, 44), 2.0).image


def test_it_is_where_the_image_is_bright(head: Volume) -> None:
    found = find_head(head)
    assert found.mask.same_space(head)
    assert found.mask.array.dtype == bool
    assert dice(found.mask, head.with_array(head.array > 250)) > 0.95


def test_the_weight_falls_from_1_to_0_around_it(head: Volume) -> None:
    found = find_head(head, margin_mm=6)
    weight = found.weight.array
    assert (weight[found.mask.array] == 1).all()
    assert weight[0, 0, 0] == 0
    line = weight[:, 26, 22]
    fading = line[(line > 0) & (line < 1)]
    assert 4 <= len(fading) <= 10, "6 mm on either side"
    assert np.abs(np.diff(line)).max() < 0.6


def test_the_edge_lies_halfway_between_the_last_voxel_of_the_head_and_the_first_of_air() -> None:
    """A block of 2 mm voxels: the voxels outside its face are 1, 3 and 5 mm from the edge, of a margin of 6 mm."""
    array = np.full((32, 32, 32), 10.0)
    array[8:24, 8:24, 8:24] = 800.0
    found = find_head(Volume(array, np.diag([2.0, 2.0, 2.0, 1.0])), margin_mm=6)
    assert np.array_equal(found.mask.array[:, 16, 16], array[:, 16, 16] > 100)
    outside = [1 - 1 / 6, 1 - 3 / 6, 1 - 5 / 6, 0.0]
    assert found.weight.array[24:28, 16, 16] == pytest.approx(outside, abs=1e-5)
    assert found.weight.array[7:3:-1, 16, 16] == pytest.approx(outside, abs=1e-5)


def test_dark_insides_belong_to_it_also_in_a_slab() -> None:
    """A bright ring that is open above and below, as fluid in a slab through a head."""
    grid = np.stack(np.meshgrid(*[np.arange(40) - 19.5] * 2, indexing="ij"))
    away = np.linalg.norm(grid, axis=0)
    ring = np.where((away > 11) & (away < 16), 900.0, 20.0)
    slab = Volume(np.repeat(ring[:, :, None], 20, axis=2), np.diag([2.0, 2.0, 2.0, 1.0]))
    mask = find_head(slab).mask.array
    assert mask[20, 20].all()
    assert not mask[0, 0].any()


def test_storage_and_turning_do_not_change_it(head: Volume) -> None:
    wanted = find_head(head)
    for _, stored in orientations(head, ["LPS", "PIR"]):
        found = find_head(stored)
        assert same_in_world(found.mask, wanted.mask)
        assert same_in_world(found.weight, wanted.weight)
    turned = find_head(oblique(head, 40))
    assert dice(turned.mask.with_array(turned.mask.array), Volume(wanted.mask.array, turned.mask.affine)) > 0.98


def test_what_shows_no_head_is_refused(head: Volume) -> None:
    with raises("image-empty", "The scan's image"):
        find_head(head.with_array(np.ones(head.shape)))
