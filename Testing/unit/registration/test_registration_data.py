"""Scans of a table on one grid, the pairs they form, and the batches that are drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from NeuroGenLib.registration.config import AffineAugmentationConfig, TableConfig
from NeuroGenLib.registration.data.augment import augmented, random_affines, transform_item
from NeuroGenLib.registration.data.pairs import (
    Item,
    PairBatch,
    Prepared,
    ScanFiles,
    ScanPairs,
    one_hot,
    pairs_from_table,
    pairs_within,
)
from NeuroGenLib.registration.data.table import TablePairs, read_points
from NeuroGenLib.registration.network.grids import Grids
from NeuroGenLib.spatial.grids import filled_grid
from NeuroGenLib.spatial.transforms.displacement import warp
from NeuroGenLib.spatial.volume import Volume
from Testing.geometry import oblique
from Testing.raising import raises
from Testing.registration_fixtures import label_map, write_scans

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("one_thread")

EVERYTHING = {"segmentation": "Seg", "mask": "mask", "landmarks": "points"}


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Three heads with labels, masks and landmarks."""
    return write_scans(tmp_path / "scans")


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pairs(table: Path, items: int = 2, most_labels: int | None = None, **changes: Any) -> TablePairs:
    return TablePairs(
        TableConfig(table=table, **{"placement": "world", **changes}), items=items, most_labels=most_labels
    )


class Numbered:
    """A preparation without files: the image of scan ``n`` is ``n`` everywhere."""

    def __init__(self) -> None:
        self.record: dict[str, Any] = {}
        self.read: list[str] = []

    def __call__(self, scan: ScanFiles) -> Prepared:
        self.read.append(scan.id)
        return Prepared(np.full((1, 4, 4, 4), float(scan.id), np.float32), np.eye(4))


def numbered(count: int, rule: np.ndarray | None = None, **options: Any) -> ScanPairs:
    return ScanPairs([ScanFiles(str(number), ()) for number in range(count)], Numbered(), rule, **options)


def drawn_ids(source: ScanPairs, seed: int, batch: int = 1) -> list[tuple[int, ...]]:
    items = source.sample(seeded(seed), batch).items
    return [tuple(int(item.image[sample].max()) for item in items) for sample in range(batch)]


# --- which scans form pairs -----------------------------------------------------------------------------------------


@given(st.integers(2, 6), st.integers(0, 999), st.integers(2, 3))
def test_the_images_of_a_sample_differ(count, seed, items):
    if items <= count:
        for sample in drawn_ids(numbered(count, items=items), seed, batch=3):
            assert len(set(sample)) == items


def test_all_pairs_are_drawn_in_both_orders():
    source = numbered(3)
    assert {drawn_ids(source, seed)[0] for seed in range(100)} == {(i, j) for i in range(3) for j in range(3) if i != j}


def test_listed_pairs_alone_are_drawn():
    source = numbered(4, np.array([[3, 1], [0, 2]]))
    assert {drawn_ids(source, seed)[0] for seed in range(40)} == {(3, 1), (0, 2)}


def test_threes_are_of_scans_that_form_pairs():
    rule = np.array([[0, 1], [1, 2], [2, 0], [2, 3]])  # 3 is in no triangle
    source = numbered(4, rule, items=3)
    assert {frozenset(drawn_ids(source, seed)[0]) for seed in range(40)} == {frozenset({0, 1, 2})}


@given(st.lists(st.floats(0, 10), min_size=2, max_size=8), st.floats(0, 5))
def test_pairs_within_a_range(values, most):
    expected = {
        (one, other)
        for one, first in enumerate(values)
        for other, second in enumerate(values)
        if one != other and abs(first - second) <= most
    }
    assert {tuple(pair) for pair in pairs_within(np.array(values), most).tolist()} == expected


@pytest.mark.parametrize(
    ("rule", "options", "says"),
    [
        (np.zeros((0, 2), int), {}, ("table-empty",)),
        (np.array([[0, 1], [1, 2]]), {"items": 3}, ("table-empty",)),
    ],
)
def test_rules_that_leave_nothing(rule, options, says):
    with raises(*says):
        numbered(3, rule, **options)


def test_too_few_scans_and_repeated_ids_are_refused():
    with raises("table-empty", 2, 1):
        numbered(1)
    with raises("value-duplicate"):
        ScanPairs([ScanFiles("a", ()), ScanFiles("a", ())], Numbered())


def test_a_pair_list(tmp_path):
    path = tmp_path / "pairs.tsv"
    path.write_text("moving\tfixed\nb\ta\nc\tb\n", encoding="utf-8")
    assert pairs_from_table(path, ["a", "b", "c"]).tolist() == [[1, 0], [2, 1]]
    for text, says in (
        ("moving\tfixed\nb\tB1\n", ("name-unknown", "B1")),
        ("moving\tfixed\na\ta\n", ("value-conflict", "a")),
        ("moving\tfixes\na\tb\n", ("name-unknown", "fixed")),
    ):
        path.write_text(text, encoding="utf-8")
        with raises(*says):
            pairs_from_table(path, ["a", "b", "c"])


# --- batches --------------------------------------------------------------------------------------------------------


def test_the_draw_is_a_function_of_the_generator_alone(table):
    one, other = pairs(table, **EVERYTHING), pairs(table, **EVERYTHING)
    other.sample(seeded(9), 2)  # what was read before does not matter
    first, second = one.sample(seeded(4), 2), other.sample(seeded(4), 2)
    for left, right in zip(first.items, second.items, strict=True):
        for name in ("image", "labels", "mask", "landmarks"):
            assert torch.equal(getattr(left, name), getattr(right, name))


def test_memory_changes_nothing_but_how_often_files_are_read():
    kept, read = numbered(3), numbered(3, cache_gib=0.0)
    assert [drawn_ids(kept, seed) for seed in range(6)] == [drawn_ids(read, seed) for seed in range(6)]
    assert len(kept._preparation.read) == 3
    assert len(read._preparation.read) > 12


def test_scans_are_read_ahead_while_there_is_room():
    whole, half, none = (numbered(4, cache_gib=bytes_ / 2**30) for bytes_ in (1000, 256, 0))
    for source, count in ((whole, 4), (half, 3), (none, 1)):  # a scan takes 128 bytes
        source.preload()
        assert len(source._preparation.read) == count


def test_half_precision_holds_intensities_and_labels_their_values():
    class Fine(Numbered):
        def __call__(self, scan: ScanFiles) -> Prepared:
            labels = np.full((2, 2, 2), 70_000 + int(scan.id))
            return Prepared(np.linspace(0, 1, 8, dtype=np.float32).reshape(1, 2, 2, 2), np.eye(4), labels)

    scan = ScanPairs([ScanFiles("0", ()), ScanFiles("1", ())], Fine()).prepared(1)
    np.testing.assert_allclose(scan.image.ravel(), np.linspace(0, 1, 8), atol=2**-12)
    assert int(scan.labels.max()) == 70_001
    large = ScanPairs([ScanFiles("70000", ()), ScanFiles("1", ())], Numbered()).prepared(0)
    assert float(large.image.max()) == 70_000


def test_structures_of_a_batch(table):
    found = pairs(table, **EVERYTHING).sample(seeded(), 1).items
    assert [item.labels.shape[1] for item in found] == [3, 3]
    assert torch.equal(found[0].labels.sum(dim=1, keepdim=True), found[0].mask)  # every label is inside the mask
    grouped = pairs(table, segmentation="Seg", labels=(2, 3)).sample(seeded(), 1).items[0].labels
    assert grouped.shape[1] == 2
    some = pairs(table, segmentation="Seg", most_labels=1)
    chosen = {int(some.sample(seeded(seed), 1).items[0].labels.sum()) for seed in range(20)}
    assert len(chosen) > 3  # another structure each time
    assert pairs(table).sample(seeded(), 1).items[0].labels is None


def test_one_hot_of_groups():
    labels = torch.tensor([0, 1, 2, 5]).view(1, 4, 1, 1)
    assert one_hot(labels, ((1, 5), (2,))).view(2, 4).tolist() == [[0, 1, 0, 1], [0, 0, 1, 0]]


def test_scans_of_several_shapes_are_refused():
    class Uneven(Numbered):
        def __call__(self, scan: ScanFiles) -> Prepared:
            return Prepared(np.zeros((1, 4, 4, 4 + int(scan.id)), np.float32), np.eye(4))

    with raises("geometry-mismatch"):
        ScanPairs([ScanFiles("0", ()), ScanFiles("1", ())], Uneven()).sample(seeded(), 1)


def test_landmarks_that_do_not_correspond_are_refused(table):
    points = table.with_name("sub-02_points.tsv")
    points.write_text("x\ty\tz\n1\t2\t3\n", encoding="utf-8")
    source = pairs(table, include=("sub-01", "sub-02"), landmarks="points")
    with raises("table-invalid"):
        source.sample(seeded(), 1)


# --- from files to the grid -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("axcodes", ["LPS", "PIR"])
@pytest.mark.parametrize("placement", ["world", "centre", "foreground"])
def test_how_a_file_is_stored_does_not_matter(tmp_path, axcodes, placement):
    found = [
        pairs(write_scans(tmp_path / codes, axcodes=codes), placement=placement, **EVERYTHING).prepared(1)
        for codes in ("RAS", axcodes)
    ]
    for name in ("image", "labels", "mask"):
        np.testing.assert_array_equal(getattr(found[0], name), getattr(found[1], name))
    np.testing.assert_allclose(found[0].landmarks, found[1].landmarks, atol=1e-5)
    np.testing.assert_allclose(found[0].affine, found[1].affine, atol=1e-9)


def test_landmarks_lie_on_what_they_mark(table):
    """The first landmark is the centre of label 3."""
    for placement in ("world", "foreground"):
        for index in range(3):
            scan = pairs(table, placement=placement, shape=(20, 20, 20), **EVERYTHING).prepared(index)
            centre = np.argwhere(scan.labels == 3).mean(axis=0)
            assert np.linalg.norm(scan.landmarks[0] - centre) < 1


def test_a_given_grid(table):
    scan = pairs(table, shape=(10, 12, 9), spacing=(3.0, 3.0, 4.0)).prepared(0)
    assert scan.image.shape == (1, 10, 12, 9)
    volume = Volume(scan.image[0].astype(np.float32), scan.affine)
    assert volume.spacing == pytest.approx((3, 3, 4))
    np.testing.assert_allclose(volume.centre, label_map().centre, atol=1e-9)
    assert scan.image.min() == 0
    assert scan.image.max() == 1


def test_normalisations(table):
    raw = pairs(table, normalisation="none").prepared(0).image
    assert raw.min() == 5
    assert raw.max() == 305
    scaled = pairs(table, normalisation="minmax").prepared(0).image
    np.testing.assert_allclose(scaled, (raw.astype(float) - 5) / 300, atol=1e-3)


@pytest.mark.parametrize("degrees", [0.0, 20.0])
def test_the_foreground_fills_the_grid(degrees):
    inside = oblique(label_map(), degrees)
    shape, affine = filled_grid(inside, (20, 30, 25), 0.8)
    assert shape == (20, 30, 25)
    placed = inside.resample(like=(shape, affine), order=0).array > 0
    extents = [np.flatnonzero(placed.any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3)]
    share = max(len(found) / size for found, size in zip(extents, shape, strict=True))
    assert share == pytest.approx(0.8, abs=0.11)  # of one voxel on either side
    middle = [(found[0] + found[-1]) / 2 for found in extents]
    np.testing.assert_allclose(middle, (np.array(shape) - 1) / 2, atol=1)
    widths = np.linalg.norm(affine[:3, :3], axis=0)
    np.testing.assert_allclose(widths, widths[0])


def test_nothing_cannot_be_placed():
    with raises("image-empty"):
        filled_grid(Volume(np.zeros((4, 4, 4)), np.eye(4)), (8, 8, 8), 0.8)


@pytest.mark.parametrize(
    ("spoil", "error"),
    [
        (lambda folder: (folder / "sub-01_T2w.nii").unlink(), ("file-missing", "sub-01_T2w.nii")),
        (lambda folder: (folder / "sub-01_Seg.nii").write_bytes(b"nothing"), ("file-damaged", "sub-01_Seg.nii")),
        (
            lambda folder: label_map(shape=(8, 8, 8)).save(folder / "sub-01_Seg.nii"),
            ("geometry-mismatch", "sub-01_Seg.nii", "(8, 8, 8)"),
        ),
        (lambda folder: (folder / "sub-01_points.tsv").write_text("x\ty\n1\t2\n"), ("name-unknown", "'z'")),
        (
            lambda folder: (folder / "sub-01_points.tsv").write_text("x\ty\tz\n1\t2\tthree\n"),
            ("table-invalid", "sub-01_points.tsv", "'three'"),
        ),
    ],
)
def test_bad_files_are_named(table, spoil, error):
    spoil(table.parent)
    with raises(*error):
        pairs(table, **EVERYTHING).prepared(0)


def test_a_constant_image_is_refused(table):
    volume = label_map()
    volume.with_array(np.full(volume.shape, 7.0)).save(table.with_name("sub-02_T2w.nii"))
    with raises("image-empty", "sub-02"):
        pairs(table).prepared(1)


def test_missing_columns_and_ids_are_named(table):
    with raises("name-unknown", "'T1w'"):
        pairs(table, images=("T1w",))
    with raises("name-unknown", "'sub-9'"):
        pairs(table, exclude=("sub-9",))
    with raises("name-unknown", "'weeks'"):
        pairs(table, pair_column="weeks", pair_range=2.0)


def test_points_that_are_not_finite(tmp_path):
    path = tmp_path / "points.tsv"
    path.write_text("x\ty\tz\n1\t2\tinf\n", encoding="utf-8")
    with raises("table-invalid"):
        read_points(path)


# --- random affine maps ---------------------------------------------------------------------------------------------

SPREAD = AffineAugmentationConfig(
    probability=1.0,
    translation_stds=(0.05, 0.05, 0.05),
    rotation_stds=(10.0, 10.0, 10.0),
    logscale_stds=(0.1, 0.1, 0.1),
    logshear_stds=(0.02, 0.02, 0.02),
)


def test_a_moved_image_is_a_warped_one():
    generator = seeded(1)
    image = torch.rand((2, 1, 9, 11, 8), generator=generator)
    spacing = (1.0, 1.5, 2.0)
    matrices = random_affines(2, SPREAD, generator)
    found = transform_item(Item(image, image.round(), landmarks=torch.rand(2, 5, 3) * 7), matrices, spacing)
    grids = Grids((9, 11, 8), spacing)
    grid = torch.stack(torch.meshgrid(torch.arange(9.0), torch.arange(11.0), torch.arange(8.0), indexing="ij"))[None]
    field = grids.apply_affine(matrices, grid) - grid
    torch.testing.assert_close(found.image, warp(image, field))
    assert set(found.labels.unique().tolist()) <= {0.0, 1.0}
    assert 0 < float(found.mask.mean()) <= 1


@given(st.integers(0, 99))
def test_landmarks_move_with_the_image(seed):
    """A blob's centre and its landmark stay together."""
    generator = seeded(seed)
    grid = torch.stack(torch.meshgrid(*[torch.arange(24.0)] * 3, indexing="ij"))
    place = 9 + 6 * torch.rand(3, generator=generator)
    blob = torch.exp(-((grid - place.view(3, 1, 1, 1)) ** 2).sum(0) / 8)[None, None]
    small = AffineAugmentationConfig(probability=1.0, translation_stds=(0.05,) * 3, rotation_stds=(8.0,) * 3)
    matrices = random_affines(1, small, generator)
    found = transform_item(Item(blob, landmarks=place.view(1, 1, 3)), matrices, (1.0, 1.0, 1.0))
    weights = found.image[0, 0] * (found.image[0, 0] > 0.05)
    centre = torch.stack([(weights * grid[axis]).sum() / weights.sum() for axis in range(3)])
    if bool(((found.landmarks > 7) & (found.landmarks < 17)).all()):
        torch.testing.assert_close(found.landmarks[0, 0], centre, rtol=0, atol=0.35)


def test_augmentation_happens_as_often_as_asked():
    config = AffineAugmentationConfig(probability=0.25, rotation_stds=(5.0, 5.0, 5.0))
    matrices = random_affines(2000, config, seeded())
    still = (matrices - torch.eye(4)).abs().amax(dim=(1, 2)) == 0
    assert float(still.float().mean()) == pytest.approx(0.75, abs=0.04)
    batch = PairBatch((Item(torch.rand(1, 1, 4, 4, 4)), Item(torch.rand(1, 1, 4, 4, 4))), (1.0, 1.0, 1.0))
    assert augmented(batch, AffineAugmentationConfig(), seeded()) is batch
