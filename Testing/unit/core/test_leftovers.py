"""What killed processes leave half-written, and who removes it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from NeuroGenLib.core.files import atomic_file, atomic_folder, staged_outputs, write_text
from NeuroGenLib.core.leftovers import OLD_SECONDS, WRITING, remove_leftovers
from NeuroGenLib.core.processes import is_alive, machine

ROOT = Path(__file__).resolve().parents[3]

WRITERS = """
import os, sys, signal
from contextlib import ExitStack
from pathlib import Path
from NeuroGenLib.core.files import atomic_file, atomic_folder, staged_outputs
out = Path(sys.argv[1])
stack = ExitStack()
stack.enter_context(atomic_file(out / "brain.nii.gz")).write_text("half")
(stack.enter_context(atomic_folder(out / "model")) / "weights").write_text("half")
(stack.enter_context(staged_outputs(out)) / "table.tsv").write_text("half")
print("writing", flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def ended_pid() -> int:
    process = subprocess.Popen([sys.executable, "-S", "-c", ""])
    process.wait()
    return process.pid


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def place_of(folder: Path, pid: int, where: str, meant: str = "", begin: str = WRITING) -> Path:
    return folder / f"{begin}{pid}-{where}-a1b2c3d4{meant and '-'}{meant}"


def test_a_process_is_alive_until_it_ends(ended_pid: int) -> None:
    assert is_alive(os.getpid())
    assert not is_alive(ended_pid)
    assert not is_alive(0)
    assert not is_alive(-1)
    assert not is_alive(2**80)


def test_what_a_killed_process_left_is_removed_by_the_next_command_that_writes_there(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", WRITERS, str(tmp_path)]
    process = subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == "writing"
        with staged_outputs(tmp_path):
            assert len(names(tmp_path)) == 4, "a living process keeps its own"
        process.kill()
        process.communicate()
        assert len(names(tmp_path)) == 3
    finally:
        process.kill()
        process.communicate()
    with staged_outputs(tmp_path) as staging:
        write_text(staging / "report.txt", "done")
    assert names(tmp_path) == ["report.txt"]


@pytest.mark.parametrize("writer", [atomic_file, atomic_folder])
def test_every_way_of_writing_removes_leftovers(writer: object, tmp_path: Path, ended_pid: int) -> None:
    place_of(tmp_path, ended_pid, machine(), "old.txt").touch()
    with writer(tmp_path / "new") as temporary:  # type: ignore[operator]
        assert names(tmp_path) == [temporary.name]


def test_what_another_machine_writes_stays_for_a_week(tmp_path: Path, ended_pid: int) -> None:
    recent, old, old_with_recent = (
        place_of(tmp_path, ended_pid, "0" * 8, name) for name in ("recent", "old", "old_with_recent")
    )
    unknown = tmp_path / ".writing-a1b2c3d4-brain.nii.gz"
    for place in (recent, old, unknown):
        place.touch()
    old_with_recent.mkdir()
    (old_with_recent / "volume").touch()
    past = time.time() - OLD_SECONDS - 60
    for place in (old, old_with_recent):
        os.utime(place, (past, past))
    remove_leftovers(tmp_path)
    assert names(tmp_path) == sorted(place.name for place in (recent, old_with_recent, unknown))


def test_a_folder_that_was_about_to_be_replaced_is_put_back(tmp_path: Path, ended_pid: int) -> None:
    for name in ("model", "other"):
        retired = place_of(tmp_path, ended_pid, machine(), name, ".replaced-")
        retired.mkdir()
        (retired / "weights").write_text("before", encoding="utf-8")
    (tmp_path / "other").mkdir()
    remove_leftovers(tmp_path)
    assert names(tmp_path) == ["model", "other"]
    assert (tmp_path / "model" / "weights").read_text(encoding="utf-8") == "before"
    assert names(tmp_path / "other") == []


def test_a_folder_that_is_not_there_has_no_leftovers(tmp_path: Path) -> None:
    remove_leftovers(tmp_path / "absent")
    assert names(tmp_path) == []
