"""The training script of the registration network as a real process: finished, refused, killed and continued."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from NeuroGenLib.core.config import to_mapping
from NeuroGenLib.models.folder import ModelFolder
from NeuroGenLib.training.checkpoint import list_checkpoints
from Testing.registration_fixtures import table_job, write_scans

if TYPE_CHECKING:
    from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "training" / "train_registration.py"
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1", "OMP_NUM_THREADS": "1"}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Settings of a run of thirty steps into the folder ``run`` beside them."""
    return settings(tmp_path, steps=30)


def settings(folder: Path, **train: Any) -> Path:
    table = write_scans(folder / "scans")
    job = table_job(table, folder / "run", train={"checkpoint_steps": 2, **train})
    path = folder / "job.yaml"
    path.write_text(yaml.safe_dump(to_mapping(job)), encoding="utf-8")
    return path


def script(config: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), "--config", str(config), *options]
    return subprocess.run(
        command,
        cwd=config.parent,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=240,
        check=False,
    )


@pytest.mark.slow
def test_a_killed_training_goes_on_as_if_nothing_had_happened(config: Path) -> None:
    whole = script(config, f"--train.out={config.parent / 'whole'}")
    assert whole.returncode == 0, whole.stderr
    assert whole.stdout.strip() == f"The model is in {config.parent / 'whole' / 'model'}"
    run = config.parent / "run"
    with (config.parent / "said.txt").open("wb") as said:
        child = subprocess.Popen(
            [sys.executable, str(SCRIPT), "--config", str(config)],
            cwd=config.parent,
            env=ENVIRONMENT,
            stdout=said,
            stderr=subprocess.STDOUT,
        )
        end = time.monotonic() + 120
        while not list_checkpoints(run / "checkpoints"):
            assert child.poll() is None, (config.parent / "said.txt").read_text(encoding="utf-8")
            assert time.monotonic() < end, "the training does not get to its first checkpoint"
            time.sleep(0.005)
        child.kill()
        child.wait()
    again = script(config)
    assert again.returncode == 0, again.stderr
    assert (run / "metrics.csv").read_text() == (config.parent / "whole" / "metrics.csv").read_text()
    weights = [
        ModelFolder.read(folder / "model").file("model.safetensors").read_bytes()
        for folder in (run, config.parent / "whole")
    ]
    assert weights[0] == weights[1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--losses.grids", "image"], "Did you mean '--losses.grid'"),
        (["--data.table.table", "nowhere.tsv"], "nowhere.tsv"),
        (["--network.groups", "3"], "cannot be divided into 3 groups"),
        (["--data.table.images", "T1w"], "no column 'T1w'"),
    ],
)
def test_bad_settings_are_explained_and_leave_nothing(config: Path, options: list[str], says: str) -> None:
    done = script(config, *options)
    assert done.returncode == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert not (config.parent / "run").exists()
