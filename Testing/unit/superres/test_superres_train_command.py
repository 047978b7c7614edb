"""`neurogen superres train` and training/train_superresolution.py."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from NeuroGenLib import cli
from NeuroGenLib.models import ModelFolder
from NeuroGenLib.spatial.volume import Volume

REPOSITORY = Path(__file__).parents[3]
TINY = ("--window", "16", "--network.features", "[4,4]", "--train.steps", "1", "--train.device", "cpu")


@pytest.fixture
def maps(tmp_path: Path) -> Path:
    """Two heads: a box of white matter in fluid."""
    for number in range(2):
        labels = np.zeros((18, 18, 18), np.int16)
        labels[2:16, 2:16, 2:16] = 24
        labels[5:13, 5:13, 4 + number : 13] = 2
        Volume(labels, np.eye(4)).save(tmp_path / "maps" / f"sub-{number}.nii.gz")
    return tmp_path / "maps"


def test_the_command_trains_and_says_where_the_model_is(
    maps: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    line = ["superres", "train", "--maps.source", str(maps), *TINY, "--train.out", str(out)]
    assert cli.main(line) == 0
    assert f"The model is in {out / 'model'}" in capsys.readouterr().out
    assert ModelFolder.read(out / "model").kind == "superres"
    assert (out / "training_info.csv").is_file()


def test_the_command_says_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["superres", "train", "--train.out", str(tmp_path / "run"), "--train.steps", "1"]) == 2
    said = capsys.readouterr().err
    assert "nothing to train on" in said
    assert "scans.source" in said
    assert not (tmp_path / "run").exists()


def test_the_script_explains_itself() -> None:
    script = REPOSITORY / "training" / "train_superresolution.py"
    done = subprocess.run([sys.executable, str(script), "--help"], capture_output=True, text=True, check=False,
                          cwd=REPOSITORY)  # fmt: skip
    assert done.returncode == 0, done.stderr
    for word in ("--scans.source", "--maps.source", "--validation.patience", "--slices.thickness"):
        assert word in done.stdout
