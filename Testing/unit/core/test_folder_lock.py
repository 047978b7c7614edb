"""The lock on a folder that a command writes into."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from NeuroGenLib.commands.shared import files_below, out_folder
from NeuroGenLib.core.files import staged_outputs, write_text
from NeuroGenLib.core.folder_lock import LOCK, Owner, locked_folder
from NeuroGenLib.core.job import running_job
from Testing.raising import raises

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[3]
NO_PID = 2**30
"""More than any system gives to a process."""

HOLDER = """
import sys
from pathlib import Path
from NeuroGenLib.core.folder_lock import locked_folder
from NeuroGenLib.core.job import running_job
with running_job(["neurogen", "demo", "--token", "secret"]), locked_folder(Path(sys.argv[1])):
    print("locked", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Process that holds the lock of the folder ``out`` until its input ends."""
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "out")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline().strip() == "locked"
            yield process
        finally:
            process.kill()


def put_lock(folder: Path, owner: Owner) -> None:
    folder.mkdir()
    (folder / LOCK).write_text(json.dumps(asdict(owner)), encoding="utf-8")


def test_a_second_process_is_told_who_writes_and_may_write_afterwards(
    holder: subprocess.Popen[str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with raises("run-conflict", out, str(holder.pid), "neurogen demo --token", "since") as error, locked_folder(out):
        pytest.fail("both write")
    assert "secret" not in str(error.value)
    assert error.value.exit_code == 2
    holder.communicate()
    assert not out.exists()
    with locked_folder(out):
        assert (out / LOCK).is_file()
    assert not out.exists()


def test_the_lock_of_a_killed_process_is_taken_over(holder: subprocess.Popen[str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    holder.kill()
    holder.wait()
    assert (out / LOCK).is_file()
    with locked_folder(out), staged_outputs(out) as staging:
        assert json.loads((out / LOCK).read_text(encoding="utf-8"))["pid"] == os.getpid()
        write_text(staging / "table.tsv", "age")
    assert [path.name for path in out.iterdir()] == ["table.tsv"]


def test_a_lock_of_another_machine_is_kept_unless_slurm_started_the_job_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "71")
    out = tmp_path / "out"
    elsewhere = replace(Owner.this_process(), pid=NO_PID, machine="0" * 8, host="node7")
    put_lock(out, elsewhere)
    with locked_folder(out):
        assert json.loads((out / LOCK).read_text(encoding="utf-8"))["pid"] == os.getpid()
    for batch_job in ("70", ""):
        put_lock(tmp_path / f"out{batch_job}_kept", replace(elsewhere, batch_job=batch_job))
        with raises("run-conflict", "node7", LOCK), locked_folder(tmp_path / f"out{batch_job}_kept"):
            pytest.fail("both write")


@pytest.mark.parametrize("content", ["", "[]", '{"pid": 1}'])
def test_a_lock_without_an_owner_is_kept(content: str, tmp_path: Path) -> None:
    (tmp_path / LOCK).write_text(content, encoding="utf-8")
    with raises("run-conflict", tmp_path / LOCK), locked_folder(tmp_path):
        pytest.fail("both write")


def test_a_process_locks_a_folder_and_those_inside_once(tmp_path: Path) -> None:
    with locked_folder(tmp_path / "out"):
        with locked_folder(tmp_path / "out"), locked_folder(tmp_path / "out" / "sub-01"):
            assert [path.name for path in (tmp_path / "out").iterdir()] == [LOCK]
        assert (tmp_path / "out" / LOCK).is_file()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("error", [None, ValueError("broken"), KeyboardInterrupt()])
def test_the_folder_of_a_command_is_locked_until_its_job_ends(error: BaseException | None, tmp_path: Path) -> None:
    out = tmp_path / "a" / "out"
    try:
        with running_job(["neurogen", "demo"]):
            assert out_folder(str(out)) == out
            assert (out / LOCK).is_file()
            assert files_below(out) == []
            if error is not None:
                raise error
    except (ValueError, KeyboardInterrupt):
        pass
    assert not list(tmp_path.iterdir())


def test_a_command_is_refused_while_another_process_writes(holder: subprocess.Popen[str], tmp_path: Path) -> None:
    with raises("run-conflict", str(holder.pid)), running_job(["neurogen", "demo"]):
        out_folder(str(tmp_path / "out"), continues=True)
    assert (tmp_path / "out" / LOCK).is_file()


def test_single_files_are_written_beside_a_lock(holder: subprocess.Popen[str], tmp_path: Path) -> None:
    with staged_outputs(tmp_path / "out") as staging:
        write_text(staging / "brain_mask.json", "{}")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [LOCK, "brain_mask.json"]
