"""The practice cohort of the tutorial: heads stored as scanners store them, and the tables beside them."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import nibabel
import numpy as np
import pytest
import yaml

from NeuroGenLib.cli import run_safely
from NeuroGenLib.cohort.subjects import Cohort, read_splits
from NeuroGenLib.core.errors import Cancelled
from NeuroGenLib.core.progress import Progress
from NeuroGenLib.models import open_model
from NeuroGenLib.spatial.labels import LabelTable
from training.example_cohort import (
    HEADS,
    MARGIN_MM,
    SCANNERS,
    SOURCE,
    Head,
    main,
    splits_text,
    stored_head,
    write_cohort,
)

if TYPE_CHECKING:
    from pathlib import Path

    from NeuroGenLib.atlas.infer import AtlasModel
    from NeuroGenLib.spatial.volume import Volume

YOUNG = tuple(
    Head(f"sub-{number}", 22.5, 0.16, scanner, split)
    for number, (scanner, split) in enumerate(zip(SCANNERS, ("train", "val", "test"), strict=True))
)
"""One small head a scanner, quickly drawn."""


@pytest.fixture(scope="module")
def atlas() -> AtlasModel:
    return open_model(SOURCE, device="cpu")


@pytest.fixture(scope="module")
def stored(atlas: AtlasModel) -> list[tuple[Volume, Volume]]:
    """Image and label map of each young head."""
    return [stored_head(atlas, head, seed=number) for number, head in enumerate(YOUNG)]


@pytest.fixture(scope="module")
def cohort(atlas: AtlasModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the young heads."""
    folder = tmp_path_factory.mktemp("cohort")
    write_cohort(atlas, YOUNG, folder)
    return folder


def rotation(degrees: tuple[float, float, float]) -> np.ndarray:
    """The (3, 3) rotation about a vector by its length, from the matrix exponential's series."""
    x, y, z = np.radians(degrees)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    total = term = np.eye(3)
    for order in range(1, 30):
        term = term @ cross / order
        total = total + term
    return total


def moments(volume: Volume) -> tuple[float, np.ndarray, np.ndarray]:
    """Brain volume in ml, and mean and covariance (mm) of where it lies in the world."""
    where = np.argwhere(volume.array > 0) @ volume.affine[:3, :3].T + volume.affine[:3, 3]
    return len(where) * abs(np.linalg.det(volume.affine[:3, :3])) / 1000, where.mean(0), np.cov(where.T)


def test_the_heads_cover_the_atlas(atlas: AtlasModel) -> None:
    assert len({head.id for head in HEADS}) == len(HEADS)
    low, high = atlas.age_range
    assert all(low <= head.age <= high for head in HEADS)
    (condition,) = atlas.conditions
    assert all(condition.minimum <= head.ventricles <= condition.maximum for head in HEADS)
    trained = [head for head in HEADS if head.split == "train"]
    assert {head.scanner.name for head in trained} == {scanner.name for scanner in SCANNERS}
    assert min(head.age for head in trained) < min(head.age for head in HEADS if head.split != "train")
    assert max(head.age for head in trained) > max(head.age for head in HEADS if head.split != "train")


def test_heads_are_stored_as_their_scanner_stores_them(stored: list[tuple[Volume, Volume]]) -> None:
    for head, (image, labels) in zip(YOUNG, stored, strict=True):
        assert "".join(nibabel.aff2axcodes(labels.affine)) == head.scanner.axcodes
        assert np.array_equal(image.affine, labels.affine)
        assert image.shape == labels.shape
        # The scanner's spacing is that of world x, y, z.
        letters = [next(pair for pair in ("LR", "PA", "IS") if code in pair) for code in head.scanner.axcodes]
        spacing = [head.scanner.spacing[("LR", "PA", "IS").index(pair)] for pair in letters]
        np.testing.assert_allclose(np.linalg.norm(labels.affine[:3, :3], axis=0), spacing, rtol=1e-6)


def test_images_are_zero_outside_the_brain_and_scaled_by_the_gain(stored: list[tuple[Volume, Volume]]) -> None:
    for head, (image, labels) in zip(YOUNG, stored, strict=True):
        assert image.array.dtype == np.int16
        assert not image.array[labels.array == 0].any()
        inside = image.array[labels.array > 0]
        assert inside.min() >= 0
        assert 0.2 < np.median(inside) / head.scanner.gain < 0.9


def test_every_side_has_its_margin(stored: list[tuple[Volume, Volume]]) -> None:
    for _, labels in stored:
        brain = np.argwhere(labels.array > 0)
        spacing = np.linalg.norm(labels.affine[:3, :3], axis=0)
        room = np.stack([brain.min(0), np.array(labels.shape) - 1 - brain.max(0)]) * spacing
        assert (room >= MARGIN_MM - 1e-6).all()
        assert (room < MARGIN_MM + 2 * spacing).all()


def test_heads_are_turned_and_nothing_else(stored: list[tuple[Volume, Volume]]) -> None:
    """All young heads are one brain: same volume, its shape turned by the scanner's tilt."""
    size, centre, shape = moments(stored[0][1])
    assert YOUNG[0].scanner.tilt == (0, 0, 0)
    for head, (_, labels) in zip(YOUNG[1:], stored[1:], strict=True):
        turn = rotation(head.scanner.tilt)
        other_size, other_centre, other_shape = moments(labels)
        assert other_size == pytest.approx(size, rel=0.05)
        np.testing.assert_allclose(other_centre, turn @ centre, atol=0.5)
        np.testing.assert_allclose(other_shape, turn @ shape @ turn.T, atol=0.01 * np.trace(shape))
        assert np.abs(other_shape - shape).max() > 0.02 * np.trace(shape), "a turn left out would be seen"


def test_the_seed_draws_the_noise(atlas: AtlasModel, stored: list[tuple[Volume, Volume]]) -> None:
    image, labels = stored[0]
    again, _ = stored_head(atlas, YOUNG[0], seed=0)
    assert np.array_equal(again.array, image.array)
    other, _ = stored_head(atlas, YOUNG[0], seed=99)
    noise = (other.array - image.array)[labels.array > 0]
    # Two independent draws of 1 % of the gain differ by sqrt(2) times that.
    assert noise.std() == pytest.approx(np.sqrt(2) * 0.01 * YOUNG[0].scanner.gain, rel=0.1)


def test_splits_name_every_head_once() -> None:
    splits = yaml.safe_load(splits_text(HEADS))
    assert sorted(name for names in splits.values() for name in names) == [head.id for head in HEADS]
    assert set(splits) == {"train", "val", "test"}


def test_the_folder_is_a_cohort(cohort: Path, stored: list[tuple[Volume, Volume]]) -> None:
    table = Cohort.from_table(cohort / "participants.tsv", ("T2w", "Seg"))
    table.require_files()
    assert [subject.id for subject in table] == [head.id for head in YOUNG]
    assert table.column("scan_age").tolist() == [22.5] * 3
    assert table.subjects[1].values["scanner"] == SCANNERS[1].name
    assert read_splits(cohort / "splits.yaml") == {"train": ("sub-0",), "val": ("sub-1",), "test": ("sub-2",)}
    values = {int(value) for _, labels in stored for value in np.unique(labels.array)}
    assert values <= set(LabelTable.from_tsv(cohort / "labels.tsv").values)
    written = nibabel.load(cohort / "sub-2_T2w.nii.gz")
    assert np.array_equal(np.asarray(written.dataobj), stored[2][0].array)


def test_the_record_says_what_brains_these_are(cohort: Path) -> None:
    record = json.loads((cohort / "provenance.json").read_text(encoding="utf-8"))
    assert record["model"]["reference"] == SOURCE
    assert "not a norm" in record["shows"]
    assert "research use only" in record["notice"]
    assert record["citation"]


def test_cancelling_leaves_nothing(atlas: AtlasModel, tmp_path: Path) -> None:
    progress = Progress()
    progress.cancel()
    with pytest.raises(Cancelled):
        write_cohort(atlas, YOUNG, tmp_path / "cohort", progress)
    assert not list(tmp_path.rglob("*.*"))


def called(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["example_cohort.py", *arguments])
    return run_safely(main)


def test_help_has_the_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert called(monkeypatch, "--help") == 0
    assert "training/example_cohort.py --out" in capsys.readouterr().out


def test_a_missing_folder_name_is_said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert called(monkeypatch) == 2
    assert "required: --out" in capsys.readouterr().err


def test_a_file_in_the_way_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr("training.example_cohort.HEADS", YOUNG[:1])
    (tmp_path / "cohort").write_text("mine", encoding="utf-8")
    assert called(monkeypatch, "--out", str(tmp_path / "cohort")) == 2
    assert "cohort" in capsys.readouterr().err
    assert (tmp_path / "cohort").read_text(encoding="utf-8") == "mine"
