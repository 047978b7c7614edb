"""A training killed again and again, by the operating system and at any moment, ends as if nothing had happened."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import yaml

from NeuroGenLib.atlas.train import train
from NeuroGenLib.core.config import to_mapping
from NeuroGenLib.training.checkpoint import list_checkpoints
from NeuroGenLib.training.metrics_log import read_metrics

if TYPE_CHECKING:
    from collections.abc import Callable

    from NeuroGenLib.atlas.config import AtlasTrainConfig
    from Testing.atlas_fixtures import AtlasCohort

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
STEPS = 400
KILLS = 3


def job(cohort: AtlasCohort, out: Path) -> AtlasTrainConfig:
    """Return a job whose steps draw subjects, points, noise and deformations."""
    return cohort.config(
        out,
        train={"out": str(out), "steps": STEPS, "log_every": 1, "checkpoint_steps": 20},
        optimiser={"points": 600, "subjects_per_step": 3},
        top={"augmentation": {"noise": {"probability": 0.5}, "deformation": {"probability": 0.5}}},
    )


def started(config: Path, said: Path) -> subprocess.Popen[bytes]:
    """Start the command line on a config file; what it says goes to a file."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PYTHONUTF8": "1"}
    command = [sys.executable, "-m", "NeuroGenLib.cli", "atlas", "train", "--config", str(config)]
    with said.open("ab") as output:
        return subprocess.Popen(command, cwd=said.parent, env=environment, stdout=output, stderr=subprocess.STDOUT)


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[bytes], said: Path) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert process.poll() is None, said.read_text(encoding="utf-8")
        assert time.monotonic() < end, "the training does not get there"
        time.sleep(0.005)


@pytest.mark.usefixtures("one_thread")
def test_three_kills_leave_no_trace_in_the_loss_curve_or_the_model(atlas_cohort: AtlasCohort, tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    config, said = tmp_path / "job.yaml", tmp_path / "said.txt"
    # The order of the conditions is that of the inputs of the network.
    config.write_text(yaml.safe_dump(to_mapping(job(atlas_cohort, killed)), sort_keys=False), encoding="utf-8")
    train(job(atlas_cohort, whole))

    # A moment in each quarter but the last, and a little later: in the middle of a step, a row or a checkpoint.
    rng = np.random.default_rng(20)
    for kill in range(KILLS):
        moment = STEPS // 4 * kill + int(rng.integers(25, STEPS // 4 - 10))
        process = started(config, said)
        try:
            wait_until(
                lambda step=moment: (
                    (killed / "metrics.csv").exists()
                    and len(read_metrics(killed / "metrics.csv")) >= step
                    and bool(list_checkpoints(killed / "checkpoints"))
                ),
                process,
                said,
            )
            time.sleep(rng.uniform(0, 0.03))
        finally:
            process.kill()
            process.wait()
        assert not (killed / "model").exists(), "it was killed while it trained"
        assert moment <= len(read_metrics(killed / "metrics.csv")) < STEPS
    process = started(config, said)
    try:
        assert process.wait(timeout=60) == 0, said.read_text(encoding="utf-8")
    finally:
        process.kill()

    assert (killed / "metrics.csv").read_bytes() == (whole / "metrics.csv").read_bytes()
    assert [row["step"] for row in read_metrics(killed / "metrics.csv")] == list(range(1, STEPS + 1))
    weights = "model/model.safetensors"
    assert (killed / weights).read_bytes() == (whole / weights).read_bytes()
