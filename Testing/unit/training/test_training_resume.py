"""A training that is killed, stopped or shared between processes gives the numbers of the uninterrupted one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from ddp_script import TinyModule, settings, weights
from typing_extensions import override

from NeuroGenLib.core.errors import Cancelled, NeuroGenError
from NeuroGenLib.core.progress import Progress
from NeuroGenLib.training.checkpoint import list_checkpoints, read_checkpoint
from NeuroGenLib.training.metrics_log import read_metrics
from NeuroGenLib.training.run import fit
from Testing.raising import raises

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

STEPS = 200
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[dict[str, float]], list[Any]]:
    """Rows and final weights of the uninterrupted run."""
    folder, module = tmp_path_factory.mktemp("whole"), TinyModule()
    fit(module, settings(folder, STEPS, checkpoint_steps=10))
    rows = read_metrics(folder / "metrics.csv")
    assert [row["loss"] for row in rows] == module.losses
    return rows, weights(module)


@pytest.fixture
def child() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts the script with some arguments; what still runs at the end of the test is killed."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: object) -> subprocess.Popen[str]:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
        command = [sys.executable, str(Path(__file__).with_name("ddp_script.py")), *map(str, arguments)]
        pipe = subprocess.PIPE
        started.append(subprocess.Popen(command, env=environment, stdout=pipe, stderr=subprocess.STDOUT, text=True))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def wait_until(condition: Any, process: subprocess.Popen[str]) -> None:
    while not condition():
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.01)


def rows_in(folder: Path) -> int:
    return len(read_metrics(folder / "metrics.csv"))


def assert_goes_on_like(folder: Path, whole: tuple[list[dict[str, float]], list[Any]]) -> TinyModule:
    module = TinyModule()
    fit(module, settings(folder, STEPS, checkpoint_steps=10))
    rows, final = whole
    assert 0 < len(module.losses) < STEPS
    assert read_metrics(folder / "metrics.csv") == rows
    assert weights(module) == final
    return module


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGTERM that a program can answer")
def test_sigterm_keeps_a_checkpoint_and_the_run_goes_on(tmp_path, child, uninterrupted):
    process = child("alone", tmp_path, STEPS, 0)
    wait_until(lambda: rows_in(tmp_path) >= 23, process)
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=30)
    assert process.returncode == 130
    newest = list_checkpoints(tmp_path / "checkpoints")[-1][0]
    sentence = f"The system asked to stop (SIGTERM): stopped at step {newest} of {STEPS}."
    assert said == f"{sentence} Run the same command again to continue.\n"
    assert rows_in(tmp_path) == newest
    module = assert_goes_on_like(tmp_path, uninterrupted)
    assert len(module.losses) == STEPS - newest


@pytest.mark.slow
def test_a_kill_at_any_moment_costs_only_the_steps_since_the_checkpoint(tmp_path, child, uninterrupted):
    rows = int(np.random.default_rng().integers(12, 150))
    process = child("alone", tmp_path, STEPS, 0)
    wait_until(lambda: rows_in(tmp_path) >= rows, process)
    process.kill()
    process.wait()
    module = assert_goes_on_like(tmp_path, uninterrupted)
    assert len(module.losses) <= STEPS - rows + 10


@pytest.mark.slow
def test_a_kill_in_the_middle_of_a_write_falls_back_to_the_checkpoint_before(tmp_path, child, uninterrupted):
    process = child("alone", tmp_path, STEPS, 3)
    wait_until((tmp_path / "stalled").exists, process)
    process.kill()
    process.wait()
    folder = tmp_path / "checkpoints"
    assert [step for step, _ in list_checkpoints(folder)] == [10, 20]
    assert len(list(folder.iterdir())) == 3, "the half-written file lies beside them"
    module = assert_goes_on_like(tmp_path, uninterrupted)
    assert len(module.losses) == STEPS - 20
    assert sorted(path.name for path in folder.iterdir()) == [f"step={STEPS - 10:06d}.ckpt", f"step={STEPS:06d}.ckpt"]


@pytest.mark.parametrize("damage", ["truncated", "empty", "flipped bit"])
def test_a_damaged_newest_checkpoint_is_passed_over(tmp_path, caplog, uninterrupted, damage):
    fit(TinyModule(), settings(tmp_path, 30, checkpoint_steps=10))
    newest = list_checkpoints(tmp_path / "checkpoints")[-1][1]
    content = bytearray(newest.read_bytes())
    weight = read_checkpoint(newest)["state_dict"]["network.0.weight"]
    content[content.index(weight.numpy().tobytes())] ^= 1
    newest.write_bytes({"truncated": content[:700], "empty": b"", "flipped bit": content}[damage])
    module = assert_goes_on_like(tmp_path, uninterrupted)
    assert len(module.losses) == STEPS - 20
    assert newest.name in caplog.text
    assert "damaged" in caplog.text
    assert (tmp_path / "checkpoints" / "step=000030.ckpt.damaged").exists()


def test_no_readable_checkpoint_is_an_error_and_not_a_silent_new_start(tmp_path):
    fit(TinyModule(), settings(tmp_path, 20, checkpoint_steps=10))
    for _, path in list_checkpoints(tmp_path / "checkpoints"):
        path.write_bytes(b"PK nonsense")
    with raises("file-damaged", kind=NeuroGenError):
        fit(TinyModule(), settings(tmp_path, 30))


def test_any_number_of_interruptions_gives_the_same_run(tmp_path, uninterrupted):
    for steps in (1, 2, 50, 51, 120):
        fit(TinyModule(), settings(tmp_path, steps, checkpoint_minutes=999))
    assert_goes_on_like(tmp_path, uninterrupted)
    starts = json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))["starts"]
    assert [start["step"] for start in starts] == [0, 1, 2, 50, 51, 120]


class StopAfter(Progress):
    """A person who cancels when a step is reached."""

    def __init__(self, step: int) -> None:
        super().__init__()
        self.step = step

    @override
    def show(self, step: float, total: float, message: str) -> None:
        assert total == STEPS
        if step == self.step:
            self.cancel()


def test_cancel_stops_after_a_step_with_a_checkpoint(tmp_path, uninterrupted):
    with raises("cancelled", 200, kind=Cancelled):
        fit(TinyModule(), settings(tmp_path, STEPS), StopAfter(33))
    newest = list_checkpoints(tmp_path / "checkpoints")[-1][0]
    assert newest == 34
    assert len(assert_goes_on_like(tmp_path, uninterrupted).losses) == STEPS - newest


class Signalling(TinyModule):
    """Sends itself a signal ``times`` times in the eleventh step."""

    def __init__(self, number: int, times: int = 1) -> None:
        super().__init__()
        self.number, self.times = number, times

    def step_loss(self, step: int) -> Any:
        if step == 10:
            for _ in range(self.times):
                signal.raise_signal(self.number)
        return super().step_loss(step)


def test_ctrl_c_finishes_the_step_and_keeps_a_checkpoint(tmp_path, caplog, uninterrupted):
    before = signal.getsignal(signal.SIGINT)
    with raises("cancelled", 11, 200, kind=Cancelled) as stop:
        fit(Signalling(signal.SIGINT), settings(tmp_path, STEPS))
    assert stop.value.exit_code == 130
    assert "press Ctrl-C again" in caplog.text
    assert signal.getsignal(signal.SIGINT) is before
    assert len(assert_goes_on_like(tmp_path, uninterrupted).losses) == STEPS - 11


def test_a_second_ctrl_c_stops_at_once_and_the_last_checkpoint_stays(tmp_path, uninterrupted):
    before = signal.getsignal(signal.SIGINT)
    with raises("cancelled", kind=Cancelled):
        fit(Signalling(signal.SIGINT, times=2), settings(tmp_path, STEPS, checkpoint_steps=4))
    assert signal.getsignal(signal.SIGINT) is before
    assert len(assert_goes_on_like(tmp_path, uninterrupted).losses) == STEPS - 8


@pytest.mark.skipif(os.name == "nt", reason="SLURM's signal does not exist on Windows")
def test_slurm_is_asked_to_queue_the_job_again(tmp_path, monkeypatch, uninterrupted):
    scontrol = tmp_path / "bin" / "scontrol"
    scontrol.parent.mkdir()
    scontrol.write_text(f'#!/bin/sh\necho "$@" > {tmp_path / "asked"}\n', encoding="utf-8")
    scontrol.chmod(0o755)
    monkeypatch.setenv("PATH", f"{scontrol.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "1234")
    with raises("cancelled", 11, 200, "SLURM", kind=Cancelled):
        fit(Signalling(signal.SIGUSR1), settings(tmp_path / "run", STEPS))
    assert (tmp_path / "asked").read_text(encoding="utf-8") == "requeue 1234\n"
    assert len(assert_goes_on_like(tmp_path / "run", uninterrupted).losses) == STEPS - 11


def test_the_time_budget_ends_in_a_checkpoint_and_no_error(tmp_path, caplog, uninterrupted):
    assert fit(TinyModule(pause=0.02), settings(tmp_path, STEPS, max_minutes=0.1 / 60)) == tmp_path
    newest = list_checkpoints(tmp_path / "checkpoints")[-1][0]
    assert 1 <= newest < 20
    assert f"time budget ended at step {newest}" in caplog.text
    assert_goes_on_like(tmp_path, uninterrupted)


def test_checkpoints_come_by_the_clock(tmp_path):
    fit(TinyModule(pause=0.02), settings(tmp_path, 12, checkpoint_minutes=0.05 / 60))
    steps = [step for step, _ in list_checkpoints(tmp_path / "checkpoints")]
    assert steps[-1] == 12
    assert 6 <= steps[0] < 12


@pytest.mark.slow
def test_two_processes_train_as_one_and_go_on_as_one(tmp_path, child):
    process = child("together", tmp_path)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 0, said
    assert not any(word in said for word in ("available:", "Tip", "Warning", "distributed_backend")), said
    first, second = (json.loads((tmp_path / f"rank{rank}.json").read_text(encoding="utf-8")) for rank in (0, 1))
    assert first["whole"] == second["whole"] == first["parts"] == second["parts"]
    assert len({*first["batches"], *second["batches"]}) == 18, "each process draws its own batches"
    for name, starts in (("whole", 1), ("parts", 2)):
        rows = read_metrics(tmp_path / name / "metrics.csv")
        assert [row["step"] for row in rows] == list(range(1, 10))
        means = [(one + two) / 2 for one, two in zip(first["losses"], second["losses"], strict=True)]
        assert [row["loss"] for row in rows] == means
        run = json.loads((tmp_path / name / "run.json").read_text(encoding="utf-8"))
        assert [start["processes"] for start in run["starts"]] == [2] * starts
        assert len(list((tmp_path / name / "tensorboard").iterdir())) == starts
    assert first["ended_steps"] == second["ended_steps"] == 4, "a signal to one process stops both at the same step"
    assert "stopped at step 4 of 9" in first["outcome"]
    assert second["outcome"] == "left with 0"
    assert list_checkpoints(tmp_path / "ended" / "checkpoints")[-1][0] == 4


def test_checkpoints_hold_no_code(tmp_path):
    fit(TinyModule(), settings(tmp_path, 3))
    path = list_checkpoints(tmp_path / "checkpoints")[-1][1]
    assert torch.load(path, weights_only=True)["neurogen"] == {"step": 3, "seed": 5}
    assert read_checkpoint(path)["global_step"] == 3
