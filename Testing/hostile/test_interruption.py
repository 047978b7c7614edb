"""A full disk, Ctrl-C and kill -9, at every command that writes: nothing half-written, and training goes on."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import pytest

from NeuroGenLib.training.checkpoint import list_checkpoints
from NeuroGenLib.training.metrics_log import read_metrics
from Testing.hostile.commands import USAGES, Usage, as_cases
from Testing.hostile.test_every_command import assert_one_sentence

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from Testing.hostile.conftest import Answer, Caller
    from Testing.hostile.workspace import Workspace

ROOT = Path(__file__).resolve().parents[2]
WRITING = [usage for usage in USAGES if "out" in usage.slots]
posix = pytest.mark.skipif(os.name == "nt", reason="Windows has neither this limit nor these signals")

STEPS = 80

PAUSED_WRITE = """
import sys, time
from pathlib import Path
from NeuroGenLib import cli
from NeuroGenLib.core import files
flush = files._flush
def pause_in_the_checkpoint_of_step_40(path):
    if path.name.endswith("step=000040.ckpt"):
        path.write_bytes(path.read_bytes()[:1000])
        Path("paused").touch()
        time.sleep(600)
    flush(path)
files._flush = pause_in_the_checkpoint_of_step_40
sys.exit(cli.main())
"""

PAUSED_DRAWING = """
import sys, time
from pathlib import Path
from NeuroGenLib import cli
from NeuroGenLib.atlas import output
write_table = output.write_table
def pause_beside_written_volumes(path, rows):
    Path("paused").touch()
    time.sleep(600)
output.write_table = pause_beside_written_volumes
sys.exit(cli.main())
"""


GOES_ON = ("atlas train", "mask train", "registration train", "registration evaluate", "superres train")
"""Commands whose folder is where the next call goes on; it stays, without half-written files."""


REPLACES = ("mask", "models import", "samples get")
"""Commands that replace an earlier result of the same name without being asked."""


def snapshot_without_out(made: Workspace) -> dict[str, tuple[str, int]]:
    return {name: facts for name, facts in made.snapshot().items() if name != "out" and not name.startswith("out/")}


def assert_stopped_by_the_disk(answer: Answer, made: Workspace, before: dict[str, tuple[str, int]]) -> None:
    assert_one_sentence(answer, 1)
    assert str(made.out) in answer.sentences[0]
    assert ".writing-" not in answer.sentences[0], "the name that the person gave"
    assert snapshot_without_out(made) == before
    assert not [path for path in made.out.rglob("*") if ".writing-" in path.name]


@pytest.fixture
def no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> NoReturn:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)


@pytest.fixture
def small_files_only() -> Iterator[None]:
    """The system refuses to let a file grow beyond half a kilobyte."""
    resource = pytest.importorskip("resource", reason="only POSIX limits the size of files")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (512, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("usage", as_cases(WRITING))
def test_a_full_disk_leaves_nothing(usage: Usage, workspace: Workspace, call: Caller, no_room: None) -> None:
    before = snapshot_without_out(workspace)
    answer = call(usage.arguments(workspace))
    assert_stopped_by_the_disk(answer, workspace, before)
    assert "No space left on device" in answer.sentences[0]
    if usage.words not in GOES_ON:
        assert not workspace.out.exists()


@pytest.mark.parametrize("usage", as_cases(WRITING))
def test_a_file_that_cannot_grow_leaves_nothing(
    usage: Usage, workspace: Workspace, call: Caller, small_files_only: None
) -> None:
    before = snapshot_without_out(workspace)
    answer = call(usage.arguments(workspace))
    assert_stopped_by_the_disk(answer, workspace, before)
    assert not list_checkpoints(workspace.out / "checkpoints")
    if usage.words not in GOES_ON:
        assert not workspace.out.exists()


@pytest.mark.parametrize("usage", [WRITING[1], WRITING[-1]], ids=lambda usage: usage.words)
def test_a_full_disk_keeps_earlier_results(
    usage: Usage, workspace: Workspace, call: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert call(usage.arguments(workspace)).code == 0
    before = workspace.snapshot()

    def full(_: int) -> NoReturn:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    again = [] if usage.words in REPLACES else ["--overwrite"]
    assert call([*usage.arguments(workspace), *again]).code == 1
    assert workspace.snapshot() == before


def test_results_join_other_files_of_the_folder(workspace: Workspace, call: Caller) -> None:
    usage = next(usage for usage in USAGES if usage.words == "atlas generate")
    workspace.out.mkdir()
    (workspace.out / "notes.txt").write_text("keep", encoding="utf-8")
    (workspace.out / "labels.tsv").write_text("old", encoding="utf-8")
    assert call(usage.arguments(workspace)).code == 0
    assert (workspace.out / "notes.txt").read_text(encoding="utf-8") == "keep"
    assert (workspace.out / "labels.tsv").read_text(encoding="utf-8") != "old"


def test_a_folder_in_the_place_of_a_result_is_refused_before_anything_is_replaced(
    workspace: Workspace, call: Caller
) -> None:
    usage = next(usage for usage in USAGES if usage.words == "atlas generate")
    (workspace.out / "labels.nii.gz").mkdir(parents=True)
    (workspace.out / "growth.tsv").write_text("old", encoding="utf-8")
    before = workspace.snapshot()
    answer = call(usage.arguments(workspace))
    assert_one_sentence(answer, 2)
    assert "labels.nii.gz" in answer.sentences[0]
    assert workspace.snapshot() == before


def test_an_imported_model_never_replaces_a_folder_of_other_files(workspace: Workspace, call: Caller) -> None:
    usage = next(usage for usage in USAGES if usage.words == "models import")
    before = workspace.snapshot()
    answer = call(usage.arguments(workspace, out=workspace.folder))
    assert_one_sentence(answer, 2)
    assert str(workspace.folder) in answer.sentences[0]
    assert workspace.snapshot() == before
    assert call(usage.arguments(workspace)).code == 0
    assert call(usage.arguments(workspace)).code == 0, "an earlier import is replaced"


@pytest.fixture
def child(workspace: Workspace) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts the command line, or a program around it, as a process of its own; kills what is left of it."""
    started: list[subprocess.Popen[str]] = []

    def start(arguments: list[str], program: str | None = None) -> subprocess.Popen[str]:
        how = ["-m", "NeuroGenLib.cli"] if program is None else ["-c", program]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        pipe = subprocess.PIPE
        command = [sys.executable, *how, *arguments]
        started.append(subprocess.Popen(command, env=environment, stdout=pipe, stderr=pipe, text=True))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Wait for what the child does, however busy the machine is; pytest's own timeout ends a child that hangs."""
    while not condition():
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)


def training(made: Workspace, out: Path) -> list[str]:
    usage = next(usage for usage in USAGES if usage.words == "atlas train")
    return [word for word in usage.arguments(made, out=out) if "init_from" not in word]


@posix
@pytest.mark.slow
def test_ctrl_c_and_kill_in_training_cost_nothing_but_time(
    workspace: Workspace, call: Caller, child: Callable[..., subprocess.Popen[str]]
) -> None:
    """Two runs of the same settings, one stopped by hand, one killed inside a write, end as the uninterrupted one."""
    stopped_run, killed_run, whole_run = (workspace.folder / name for name in ("stopped", "killed", "whole"))
    stopped = child(training(workspace, stopped_run))
    killed = child(training(workspace, killed_run), PAUSED_WRITE)
    assert call(training(workspace, whole_run)).code == 0
    expected = read_metrics(whole_run / "metrics.csv")
    assert len(expected) == STEPS
    inputs = {name: facts for name, facts in workspace.snapshot().items() if name.startswith(("cohort", "settings"))}

    wait_until(lambda: len(read_metrics(stopped_run / "metrics.csv")) >= 5, stopped)
    stopped.send_signal(signal.SIGINT)
    _, said = stopped.communicate()
    assert stopped.returncode == 130
    assert "Traceback" not in said
    assert "Run the same command again to continue." in said
    done = list_checkpoints(stopped_run / "checkpoints")[-1][0]
    assert 0 < done < STEPS
    assert not (stopped_run / "model").exists()

    wait_until((workspace.folder / "paused").exists, killed)
    killed.kill()
    killed.communicate()
    assert [step for step, _ in list_checkpoints(killed_run / "checkpoints")] == [20]
    assert not (killed_run / "model").exists()

    for run in (stopped_run, killed_run):
        assert call(training(workspace, run)).code == 0
        assert read_metrics(run / "metrics.csv") == expected
        weights = [folder / "model" / "model.safetensors" for folder in (run, whole_run)]
        assert weights[0].read_bytes() == weights[1].read_bytes()
        assert not [path for path in run.rglob("*") if ".writing-" in path.name]
    after = workspace.snapshot()
    assert {name: after[name] for name in inputs} == inputs


@posix
@pytest.mark.parametrize(("number", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129), ("SIGKILL", -9)])
def test_a_stop_while_drawing_leaves_no_result(
    number: str, code: int, workspace: Workspace, call: Caller, child: Callable[..., subprocess.Popen[str]]
) -> None:
    usage = next(usage for usage in USAGES if usage.words == "atlas generate")
    arguments = usage.arguments(workspace)
    process = child(arguments, PAUSED_DRAWING)
    wait_until((workspace.folder / "paused").exists, process)
    process.send_signal(getattr(signal, number))
    _, said = process.communicate()
    assert process.returncode == code
    assert "Traceback" not in said
    if number != "SIGKILL":
        assert "Stopped" in said
        assert number == "SIGINT" or number in said
        assert not workspace.out.exists()
    else:  # nothing can tidy up after kill -9; but nothing has the name of a result, and the next run removes it
        assert all(path.name.startswith(".") for path in workspace.out.iterdir())
    assert call(arguments).code == 0
    assert (workspace.out / "provenance.json").is_file()
    assert not [path for path in workspace.out.rglob("*") if path.name.startswith(".")]
