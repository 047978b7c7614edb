"""What the atlas's commands do before and beside their work: places to write into are asked for first, notes shown."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from NeuroGenLib.atlas import train as training
from NeuroGenLib.commands.atlas.evaluate import evaluate
from NeuroGenLib.commands.atlas.fit import fit
from NeuroGenLib.commands.atlas.generate import generate
from NeuroGenLib.commands.atlas.latents import latents
from NeuroGenLib.commands.atlas.open import open_
from NeuroGenLib.commands.atlas.train import train
from NeuroGenLib.core.config import parameters
from Testing.raising import raises

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from NeuroGenLib.atlas.config import AtlasTrainConfig
    from NeuroGenLib.core.errors import Code
    from NeuroGenLib.core.progress import Progress

GONE = "--model=no-model"
LINES = [
    (fit, ["scan.nii.gz", GONE], "model-missing"),
    (generate, ["--age=30", GONE], "model-missing"),
    (evaluate, ["--table=people.tsv", "--subjects=sub-01", GONE], "model-missing"),
    (latents, [GONE], "model-missing"),
    (open_, ["gone.nii.gz"], "file-missing"),
]
"""Calls that fail as soon as anything is read: none of their inputs exists."""


@pytest.mark.parametrize(("command", "words", "code"), LINES, ids=lambda value: getattr(value, "__name__", ""))
@pytest.mark.parametrize("out", ["notes.txt", "notes.txt/results/brain"])
def test_a_bad_place_is_refused_before_anything_is_read(
    command: Callable[[list[str]], None],
    words: list[str],
    code: Code,
    out: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.txt").write_text("keep", encoding="utf-8")
    with raises("file-unwritable", "notes.txt"):
        command([*words, f"--out={out}", "--progress=none"])
    with raises(code, "gone.nii.gz" if command is open_ else "no-model"):
        command([*words, "--out=out", "--progress=none"])
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_bad_run_folder_is_refused_before_the_cohort_is_read(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("keep", encoding="utf-8")
    line = [f"--data.table={tmp_path / 'gone.tsv'}", "--train.steps=1"]
    with raises("file-unwritable", "notes.txt"):
        train([*line, f"--train.out={tmp_path / 'notes.txt' / 'run'}"])
    with raises("file-missing", "gone.tsv"):
        train([*line, f"--train.out={tmp_path / 'run'}"])


def test_who_was_chosen_is_a_line_on_stderr(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(_: AtlasTrainConfig, progress: Progress) -> Path:
        progress.update(0, 1, "reading subjects")
        logging.getLogger(training.__name__).info("%d of %d scans are chosen.", 12, 14)
        return tmp_path / "model"

    monkeypatch.setattr(training, "train", run)
    logger = logging.getLogger("NeuroGenLib.atlas")
    before = (logger.level, list(logger.handlers))
    train([f"--data.table={tmp_path / 'people.tsv'}", "--train.steps=1", f"--train.out={tmp_path / 'run'}"])
    said = capsys.readouterr()
    assert said.err.splitlines().count("12 of 14 scans are chosen.") == 1
    assert "scans are chosen" not in said.out
    assert (logger.level, logger.handlers) == before


def test_the_help_of_the_splits_says_how_one_of_several_is_named() -> None:
    from NeuroGenLib.atlas.config import AtlasTrainConfig

    (splits,) = [one for one in parameters(AtlasTrainConfig) if one.name == "data.splits"]
    assert "file.yaml#dataset" in splits.help


def test_a_scene_of_an_opened_atlas_needs_a_folder(tmp_path: Path) -> None:
    with raises("value-missing", "all.mrb", "--out"):
        open_([str(tmp_path / "gone.nii.gz"), "--scene=all.mrb"])
