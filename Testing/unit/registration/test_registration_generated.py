"""Generated pairs: label maps on the common grid, which ones meet, and what is known of a pair."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from NeuroGenLib.registration.config import GeneratedConfig, MapsConfig
from NeuroGenLib.registration.data.generated import GeneratedPairs, read_maps
from NeuroGenLib.simulate.deformation import DeformationConfig
from NeuroGenLib.spatial.transforms.displacement import warp
from NeuroGenLib.spatial.volume import Volume
from Testing.raising import raises
from Testing.registration_fixtures import ball, label_map, write_scans

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("one_thread")

SHAPE = (20, 24, 20)
DEFORMATION = DeformationConfig(
    rotation=5.0, log_scale=0.05, shear=0.02, translation=1.0, scales=(16.0,), amplitudes=(1.0,)
)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Four heads of 27 to 33 years."""
    return write_scans(tmp_path / "scans", (0.7, 0.8, 1.0, 1.3))


def group(source: Path, **changes: Any) -> MapsConfig:
    return MapsConfig(**{"source": source, "segmentation": "Seg", **changes})


def generated(*groups: MapsConfig, most_labels: int | None = None, **changes: Any) -> GeneratedPairs:
    named = {f"group {number}": one for number, one in enumerate(groups)}
    config = GeneratedConfig(**{"groups": named, "shape": SHAPE, "deformation": DEFORMATION, **changes})
    return GeneratedPairs(config, most_labels)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_maps_fill_the_grid_however_they_are_stored(tmp_path):
    found = [
        read_maps(group(write_scans(tmp_path / codes, axcodes=codes)), SHAPE, 0.8) for codes in ("RAS", "LPS", "SAR")
    ]
    for other in found[1:]:
        assert all(torch.equal(one, two) for one, two in zip(found[0].labels, other.labels, strict=True))
    for labels in found[0].labels:  # of any size, since each head fills the grid
        inside = labels > 0
        extents = [inside.amax(dim=tuple({0, 1, 2} - {axis})).nonzero() for axis in range(3)]
        shares = [(int(e.max() - e.min()) + 1) / size for e, size in zip(extents, SHAPE, strict=True)]
        assert max(shares) == pytest.approx(0.8, abs=0.11)


def test_adult_fluid_and_stem_do_not_decide_the_size(tmp_path):
    """Values of FreeSurfer: 24 is fluid, 16 the stem, 515 bone."""
    shape = (40, 40, 40)
    labels = np.zeros(shape, np.float32)
    labels[ball(shape, (20, 20, 20), 19)] = 515
    labels[ball(shape, (20, 20, 20), 15)] = 24
    labels[18:22, 18:22, 2:20] = 16
    labels[ball(shape, (20, 20, 20), 8)] = 2
    folder = tmp_path / "maps"
    folder.mkdir()
    for name in ("a", "b"):
        Volume(labels, np.eye(4)).save(folder / f"{name}.nii", np.float32)
    maps = read_maps(MapsConfig(source=folder, tissues="freesurfer"), (20, 20, 20), 0.85)
    extent = (maps.labels[0] == 2).amax(dim=(1, 2)).nonzero()
    assert int(extent.max() - extent.min()) + 1 == 17
    assert maps.compared == {2, 16}
    unknown = read_maps(MapsConfig(source=folder), (20, 20, 20), 0.85)
    assert unknown.compared == {2, 16, 24, 515}
    assert maps.partners == ((1,), (0,))


def test_pairs_keep_to_their_range(table):
    maps = read_maps(group(table, pair_column="age", pair_range=1.5), SHAPE, 0.8)  # 27, 28, 30, 33 years
    assert maps.partners == ((1,), (0,), (), ())
    assert read_maps(group(table, include=("sub-0[12]",)), SHAPE, 0.8).ids == ("sub-01", "sub-02")


def test_a_map_without_partners_is_paired_with_itself(table):
    source = generated(group(table, pair_column="age", pair_range=0.5), same_map=0.0)
    assert source.sample(seeded(0), 1).truth is not None


def test_the_draw_is_a_function_of_the_generator_alone(table):
    one, other = generated(group(table)), generated(group(table))
    other.sample(seeded(9), 1)
    first, second = one.sample(seeded(4), 2), other.sample(seeded(4), 2)
    for left, right in zip(first.items, second.items, strict=True):
        assert torch.equal(left.image, right.image)
        assert torch.equal(left.labels, right.labels)
    assert first.items[0].image.shape == (2, 1, *SHAPE)
    assert not torch.equal(first.items[0].image, one.sample(seeded(5), 2).items[0].image)


def test_the_true_map_brings_the_labels_together(table):
    source = generated(group(table), same_map=1.0)
    batch = source.sample(seeded(1), 2)
    moving, fixed = batch.items
    forward = warp(moving.labels, batch.truth.forward)
    inverse = warp(fixed.labels, batch.truth.inverse)
    for warped, other in ((forward, fixed.labels), (inverse, moving.labels)):
        # Both were sampled by nearest voxels of twice as small ones: exact is what cannot be had here.
        assert dice(warped, other) > max(0.75, dice(moving.labels, fixed.labels) + 0.05)
    assert torch.equal(batch.truth.fixed, fixed.labels.sum(dim=1, keepdim=True))  # the brain is all labels here


def test_what_is_not_known_does_not_count(table):
    source = generated(group(table), same_map=0.5)
    batches = [source.sample(seeded(seed), 3) for seed in range(8)]
    known = torch.stack([batch.truth.fixed.flatten(1).any(dim=1) for batch in batches if batch.truth is not None])
    assert 0 < float(known.float().mean()) < 1
    for batch in batches:
        if batch.truth is not None:
            unknown = ~batch.truth.fixed.flatten(1).any(dim=1)
            assert float(batch.truth.forward[unknown].abs().sum()) == 0
            assert torch.equal(unknown, ~batch.truth.moving.flatten(1).any(dim=1))
    assert generated(group(table), same_map=0.0).sample(seeded(0), 3).truth is None


def test_structures_are_as_many_as_asked_and_large_enough(table):
    assert generated(group(table), most_labels=2).sample(seeded(0), 2).items[0].labels.shape[1] == 2
    assert generated(group(table), most_labels=0).sample(seeded(0), 1).items[0].labels is None
    assert generated(group(table), least_voxels=10**6).sample(seeded(0), 1).items[0].labels is None
    items = generated(group(table), least_voxels=200).sample(seeded(0), 1).items
    assert all(float(item.labels.sum(dim=(2, 3, 4)).min()) >= 200 for item in items)


def test_groups_are_drawn_by_their_weight(table):
    """The second group holds one structure, the first three."""
    folder = table.parent / "others"
    folder.mkdir()
    plain = label_map()
    for name in ("a", "b"):
        plain.with_array((plain.array > 0).astype(np.uint8)).save(folder / f"{name}.nii")
    source = generated(group(table, weight=3.0), MapsConfig(source=folder, weight=1.0), least_voxels=1)
    counts = [source.sample(seeded(seed), 1).items[0].labels.shape[1] for seed in range(60)]
    assert set(counts) == {1, 3}
    assert counts.count(3) / 60 == pytest.approx(0.75, abs=0.17)


def test_what_the_manifest_says_of_the_preparation(table):
    record = generated(group(table)).record
    assert record == {"grid": [20, 24, 20], "fill": 0.84, "normalisation": "percentile", "orientation": "RAS"}


def test_unusable_sources_are_refused(table, tmp_path):
    with raises("value-missing"):
        read_maps(MapsConfig(source=table), SHAPE, 0.8)
    with raises("name-unknown", "'sub-9*'"):
        read_maps(group(table, include=("sub-9*",)), SHAPE, 0.8)
    with raises("table-empty", "include", "exclude", table):
        read_maps(group(table, exclude=("sub-*",)), SHAPE, 0.8)
    empty = tmp_path / "empty"
    empty.mkdir()
    with raises("file-missing", empty):
        read_maps(MapsConfig(source=empty), SHAPE, 0.8)
    Volume(np.zeros((4, 4, 4), np.uint8), np.eye(4)).save(empty / "nothing.nii")
    with raises("labels-invalid", "nothing.nii"):
        read_maps(MapsConfig(source=empty), SHAPE, 0.8)
    Volume(np.full((4, 4, 4), 0.5, np.float32), np.eye(4)).save(empty / "nothing.nii")
    with raises("labels-invalid", "nothing.nii"):
        read_maps(MapsConfig(source=empty), SHAPE, 0.8)


def dice(one: torch.Tensor, other: torch.Tensor) -> float:
    return float(2 * (one * other).sum() / (one.sum() + other.sum()))
