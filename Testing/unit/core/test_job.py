"""Inputs of a running job, which no result replaces."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from NeuroGenLib.core.files import atomic_file, atomic_folder, existing_file, read_json, staged_outputs, write_text
from NeuroGenLib.core.job import current_job, note_input, part_of_job, release_input, require_apart, running_job
from Testing.raising import raises

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from NeuroGenLib.core.job import Job


@pytest.fixture
def job() -> Iterator[Job]:
    with running_job(["neurogen", "superres", "run"]) as running:
        yield running


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    path = tmp_path / "out" / "superres.nii.gz"
    path.parent.mkdir()
    path.write_text("measured", encoding="utf-8")
    return path


def write_file(path: Path) -> None:
    with atomic_file(path) as temporary:
        temporary.write_text("result", encoding="utf-8")


def write_staged(path: Path) -> None:
    with staged_outputs(path.parent) as staging:
        (staging / "a_first").write_text("result", encoding="utf-8")
        (staging / path.name).write_text("result", encoding="utf-8")


def write_folder(path: Path) -> None:
    with atomic_folder(path.parent) as temporary:
        (temporary / path.name).write_text("result", encoding="utf-8")


@pytest.mark.parametrize("write", [write_file, write_staged, write_folder])
def test_no_result_replaces_an_input(write: Callable[[Path], None], scan: Path, job: Job) -> None:
    existing_file(scan)
    with raises("file-occupied", str(scan)):
        write(scan)
    assert scan.read_text(encoding="utf-8") == "measured"
    assert [path.name for path in scan.parent.iterdir()] == ["superres.nii.gz"], "nothing else is written either"


@pytest.mark.parametrize("write", [write_file, write_staged, write_folder])
def test_a_job_reads_and_replaces_what_it_has_made(write: Callable[[Path], None], job: Job, tmp_path: Path) -> None:
    model = tmp_path / "run" / "model.safetensors"
    with part_of_job():
        write(model)
    existing_file(model)
    write(model)
    assert model.read_text(encoding="utf-8") == "result"
    assert not job.inputs


@pytest.mark.parametrize("link", ["hard", "symbolic", "folder", "dots"])
def test_an_input_is_known_by_its_other_names(link: str, scan: Path, job: Job, tmp_path: Path) -> None:
    other = tmp_path / "elsewhere.nii.gz"
    if link == "hard":
        other.hardlink_to(scan)
    elif link == "symbolic":
        other.symlink_to(scan)
    elif link == "folder":
        (tmp_path / "mounted").symlink_to(tmp_path / "out", target_is_directory=True)
        other = tmp_path / "mounted" / scan.name
    else:
        other = tmp_path / "out" / ".." / "out" / scan.name
    existing_file(other)
    with raises("file-occupied", str(scan)):
        write_file(scan)
    assert scan.read_text(encoding="utf-8") == "measured"


def test_an_input_is_known_in_another_case_where_the_system_has_one(
    scan: Path, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os.path, "normcase", lambda path: os.fspath(path).lower())
    existing_file(scan)
    shouted = scan.with_name("SUPERRES.NII.GZ")
    shouted.write_text("the same file there", encoding="utf-8")
    with raises("file-occupied", "SUPERRES.NII.GZ"):
        write_file(shouted)


def test_a_slice_of_a_series_is_an_input(tmp_path: Path, job: Job) -> None:
    slices = [tmp_path / f"{number}.dcm" for number in range(2)]
    for path in slices:
        path.touch()
    note_input(tmp_path, slices)
    with raises("file-occupied", "1.dcm"):
        write_file(slices[1])
    write_file(tmp_path / "mask.nii.gz")


def test_an_input_with_a_planned_name_is_refused_when_it_is_read(scan: Path, job: Job, tmp_path: Path) -> None:
    job.plan(tmp_path / "out" / ".." / "out", ["forward.*", "superres.nii.gz"])
    with raises("file-occupied", str(scan)):
        existing_file(scan)
    scan.with_name("forward.h5").write_text("", encoding="utf-8")
    with raises("file-occupied", "forward.h5"):
        existing_file(scan.with_name("forward.h5"))
    write_text(tmp_path / "superres.nii.gz", "")
    existing_file(tmp_path / "superres.nii.gz")


def test_what_the_program_keeps_for_itself_is_not_an_input(tmp_path: Path, job: Job) -> None:
    for content in ("{}", "[]"):
        write_text(tmp_path / "run.json", content)
        read_json(tmp_path / "run.json")
    existing_file(tmp_path / "run.json")
    release_input(tmp_path / "run.json")
    write_text(tmp_path / "run.json", "{}")


def test_a_part_of_a_job_has_inputs_of_its_own_and_protects_all(scan: Path, job: Job, tmp_path: Path) -> None:
    note_input(scan, recorded=False)
    second = tmp_path / "second.nii.gz"
    second.touch()
    with part_of_job():
        part = current_job()
        existing_file(second)
        assert [entry.path for entry in part.inputs.values()] == [second]
        with raises("file-occupied", str(scan)):
            write_file(scan)
        with raises("file-occupied", str(scan)):
            write_folder(scan)
    with raises("file-occupied", "second.nii.gz"):
        write_file(second)
    assert {entry.path: entry.recorded for entry in job.inputs.values()} == {scan: False, second: True}


def test_a_part_meets_the_plan_of_the_whole(scan: Path, job: Job) -> None:
    job.plan(scan.parent, ["superres.nii.gz"])
    with part_of_job(), raises("file-occupied", str(scan)):
        existing_file(scan)


def test_without_a_job_files_are_replaced(scan: Path) -> None:
    existing_file(scan)
    with part_of_job():
        write_file(scan)
    assert scan.read_text(encoding="utf-8") == "result"


def test_results_and_inputs_are_compared_before_the_work(scan: Path, tmp_path: Path) -> None:
    require_apart([tmp_path / "mask.nii.gz", tmp_path / "no" / "folder"], [scan, tmp_path / "missing"])
    (tmp_path / "linked.nii.gz").hardlink_to(scan)
    for place in (scan, tmp_path / "linked.nii.gz"):
        with raises("file-occupied", scan):
            require_apart([tmp_path / "mask.nii.gz", place], [scan])
