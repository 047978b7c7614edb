"""Files and folders that appear whole or not at all."""

from __future__ import annotations

import errno
import json
import os
import stat
import sys
from typing import TYPE_CHECKING, NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st

from NeuroGenLib.core.errors import NeuroGenError
from NeuroGenLib.core.files import (
    atomic_file,
    atomic_folder,
    existing_file,
    read_json,
    read_text,
    require_content,
    require_folder_place,
    staged_outputs,
    utf8_name,
    write_json,
    write_text,
)
from Testing.raising import raises

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path


class Broken(Exception):
    """What goes wrong in the middle of a write."""


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> NoReturn:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)


def write_half(writing: AbstractContextManager[Path], error: BaseException, *files: str) -> None:
    """Write some files, or the file itself, and fail."""
    with writing as place:
        for path in [place / name for name in files] or [place]:
            path.write_text("half", encoding="utf-8")
        raise error


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_a_file_appears_when_the_block_ends(tmp_path: Path) -> None:
    target = tmp_path / "new" / "image.nii.gz"
    with atomic_file(target) as temporary:
        assert temporary.parent == target.parent
        assert temporary.name.endswith("-image.nii.gz"), "writers choose the format by the whole suffix"
        temporary.write_bytes(b"voxels")
        assert not target.exists()
    assert target.read_bytes() == b"voxels"
    assert names(tmp_path) == ["new", "new/image.nii.gz"]


def test_a_file_is_as_it_was_when_the_block_fails(tmp_path: Path) -> None:
    target = tmp_path / "table.tsv"
    target.write_text("old", encoding="utf-8")
    with pytest.raises(Broken):
        write_half(atomic_file(target), Broken())
    assert target.read_text(encoding="utf-8") == "old"
    assert names(tmp_path) == ["table.tsv"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such permissions")
def test_a_file_can_be_read_by_whom_the_user_lets(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_text(tmp_path / "table.tsv", "x")
        with atomic_folder(tmp_path / "model") as folder:
            (folder / "a").touch()
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "table.tsv").stat().st_mode) == 0o640
    assert stat.S_IMODE((tmp_path / "model").stat().st_mode) == 0o750


def test_a_full_disk_is_a_sentence_and_leaves_nothing(tmp_path: Path, full_disk: None) -> None:
    with raises("file-unwritable", "table.tsv", kind=NeuroGenError) as caught:
        write_text(tmp_path / "table.tsv", "x")
    assert caught.value.exit_code == 1
    assert "space" in caught.value.remedy
    assert names(tmp_path) == []


def test_a_sentence_about_a_nested_write_names_what_the_person_asked_for(tmp_path: Path, full_disk: None) -> None:
    with pytest.raises(NeuroGenError) as staged, staged_outputs(tmp_path / "out") as staging:
        write_text(staging / "growth.tsv", "x")
    with pytest.raises(NeuroGenError) as folder, atomic_folder(tmp_path / "model") as temporary:
        write_text(temporary / "README.md", "x")
    assert staged.value.problem.startswith(f"{tmp_path / 'out' / 'growth.tsv'} could")
    assert folder.value.problem.startswith(f"{tmp_path / 'model' / 'README.md'} could")
    assert names(tmp_path) == []


def test_a_folder_replaces_the_one_before_whole(tmp_path: Path) -> None:
    target = tmp_path / "model"
    target.mkdir()
    (target / "old").touch()
    with atomic_folder(target) as temporary:
        (temporary / "new").touch()
        assert names(target) == ["old"]
    assert names(tmp_path) == ["model", "model/new"]


def test_a_folder_is_as_it_was_when_the_block_fails(tmp_path: Path) -> None:
    target = tmp_path / "model"
    target.mkdir()
    (target / "old").touch()
    with pytest.raises(Broken):
        write_half(atomic_folder(target), Broken(), "new")
    assert names(tmp_path) == ["model", "model/old"]


def test_names_that_are_not_utf8_are_kept_in_json(tmp_path: Path) -> None:
    write_json(tmp_path / "record.json", {"image": "t\udce9te.nii"})
    (tmp_path / "record.json").read_bytes().decode("utf-8")
    assert read_json(tmp_path / "record.json") == {"image": "t\udce9te.nii"}


@pytest.mark.skipif(sys.platform == "win32", reason="file names are UTF-16 there")
def test_names_that_are_not_utf8_are_refused_where_a_format_needs_it(tmp_path: Path) -> None:
    assert utf8_name(tmp_path / "größe.nrrd") == str(tmp_path / "größe.nrrd")
    for refused in (utf8_name, require_folder_place):
        with raises("path-unsafe", "t\\udce9te"):
            refused(tmp_path / "t\udce9te")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16-le", "utf-16-be"])
def test_text_is_read_with_any_byte_order_mark(encoding: str, tmp_path: Path) -> None:
    mark = "\ufeff" if encoding.startswith("utf-16") else ""
    (tmp_path / "text").write_bytes(f"{mark}größe\r\nb".encode(encoding))
    assert read_text(tmp_path / "text") == "größe\nb"


def test_what_is_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_bytes(b"\x80")
    with raises("file-type", tmp_path / "text"):
        read_text(tmp_path / "text")
    with raises("file-missing", tmp_path / "absent"):
        read_text(tmp_path / "absent")


@pytest.mark.parametrize("writer", [atomic_folder, staged_outputs])
@pytest.mark.parametrize("below", ["", "deeper/still"])
def test_a_file_in_the_way_is_named_and_kept(writer: object, below: str, tmp_path: Path) -> None:
    (tmp_path / "scan.nii").write_bytes(b"precious")
    with raises("file-unwritable", "scan.nii"), writer(tmp_path / "scan.nii" / below):
        pytest.fail("the block is not entered")
    assert (tmp_path / "scan.nii").read_bytes() == b"precious"
    assert names(tmp_path) == ["scan.nii"]


@pytest.mark.parametrize("below", ["", "new/still/deeper"])
def test_a_place_that_may_not_be_written_into_is_refused_before_the_work(
    below: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = tmp_path / "closed"
    closed.mkdir()
    require_folder_place(closed / below)
    monkeypatch.setattr(os, "access", lambda place, _: place != closed)  # root may write everywhere
    with raises("file-unwritable", kind=NeuroGenError):
        require_folder_place(closed / below)
    assert names(tmp_path) == ["closed"], "nothing is made"


def test_a_name_that_is_too_long_is_a_sentence(tmp_path: Path) -> None:
    """Some systems say so when they are asked, some when the folder is made."""
    with raises("file-unwritable", kind=NeuroGenError):
        write_text(tmp_path / ("x" * 300) / "table.tsv", "x")
    assert names(tmp_path) == []


def test_a_file_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "scan.nii").write_bytes(b"precious")
    with raises("file-unwritable", "scan.nii"):
        write_text(tmp_path / "scan.nii" / "table.tsv", "x")


def test_outputs_join_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("keep", encoding="utf-8")
    (tmp_path / "image").write_text("old", encoding="utf-8")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "other").touch()
    with staged_outputs(tmp_path) as staging:
        (staging / "image").write_text("new", encoding="utf-8")
        (staging / "sub").mkdir()
        (staging / "sub" / "mine").touch()
    assert names(tmp_path) == ["image", "notes.txt", "sub", "sub/mine", "sub/other"]
    assert (tmp_path / "image").read_text(encoding="utf-8") == "new"


@pytest.mark.parametrize(("old", "new"), [("folder", "file"), ("file", "folder")])
def test_outputs_that_do_not_fit_what_is_there_change_nothing(old: str, new: str, tmp_path: Path) -> None:
    def make(path: Path, kind: str) -> None:
        path.mkdir() if kind == "folder" else path.write_text(kind, encoding="utf-8")

    make(tmp_path / "z", old)
    (tmp_path / "a").write_text("old", encoding="utf-8")

    def write() -> None:
        with staged_outputs(tmp_path) as staging:
            (staging / "a").write_text("new", encoding="utf-8")
            make(staging / "z", new)

    with raises("file-unwritable", tmp_path / "z", old, new):
        write()
    assert (tmp_path / "a").read_text(encoding="utf-8") == "old"
    assert names(tmp_path) == ["a", "z"]


@pytest.mark.parametrize("error", [Broken(), KeyboardInterrupt(), OSError(errno.EIO, "Input/output error")])
def test_outputs_of_a_job_that_fails_leave_no_folder(error: BaseException, tmp_path: Path) -> None:
    expected = NeuroGenError if isinstance(error, OSError) else type(error)
    with pytest.raises(expected):
        write_half(staged_outputs(tmp_path / "deep" / "er" / "out"), error, "image")
    assert names(tmp_path) == []


def test_outputs_of_a_job_that_fails_leave_the_folder_that_was_there(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(Broken), staged_outputs(out):
        raise Broken
    assert names(tmp_path) == ["out"]


@given(
    content=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=8,
    )
)
def test_json_is_read_as_it_was_written(content: object, tmp_path: Path) -> None:
    write_json(tmp_path / "content.json", content)
    assert read_json(tmp_path / "content.json") == content
    text = (tmp_path / "content.json").read_bytes().decode("utf-8")
    assert json.loads(text) == content
    assert text.endswith("\n")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object()])
def test_json_that_others_cannot_read_is_not_written(value: object, tmp_path: Path) -> None:
    with pytest.raises((ValueError, TypeError)):
        write_json(tmp_path / "content.json", {"value": value})
    assert names(tmp_path) == []


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe{}", b"not json"])
def test_what_is_not_json_is_named(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "content.json").write_bytes(content)
    with raises("file-type", "content.json"):
        read_json(tmp_path / "content.json")


def test_a_library_that_wrote_nothing_is_a_failure(tmp_path: Path) -> None:
    with (
        raises("file-unwritable", "field.nrrd", "nothing was written", kind=NeuroGenError),
        atomic_file(tmp_path / "field.nrrd") as temporary,
    ):
        require_content(temporary)
    assert names(tmp_path) == []


def test_a_missing_file_and_a_folder_are_told_apart(tmp_path: Path) -> None:
    with raises("file-missing"):
        existing_file(tmp_path / "nothing")
    with raises("file-missing"):
        existing_file(tmp_path)
    (tmp_path / "file").touch()
    assert existing_file(str(tmp_path / "file")) == tmp_path / "file"
