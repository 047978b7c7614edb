"""A second run into the folder of a first one: refused, or with --overwrite in its place; never a mixture."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from NeuroGenLib.core.provenance import RECORD
from Testing.hostile.commands import USAGES, Usage, as_cases
from Testing.hostile.test_every_command import assert_one_sentence

if TYPE_CHECKING:
    from Testing.hostile.conftest import Caller
    from Testing.hostile.workspace import Workspace

CONTINUES = ("registration evaluate", "superres batch")
RECORDED = [
    usage
    for usage in USAGES
    if usage.slots.get("out") == "--out={}" and usage.words not in ("mask", "models import", "samples get")
]
"""Commands whose folder has one record for all that is in it."""


@pytest.mark.parametrize("usage", as_cases(RECORDED))
def test_a_folder_has_one_result(usage: Usage, workspace: Workspace, call: Caller) -> None:
    assert call(usage.arguments(workspace)).code == 0
    record = json.loads((workspace.out / RECORD).read_text(encoding="utf-8"))
    files = {path.relative_to(workspace.out).as_posix() for path in workspace.out.rglob("*") if path.is_file()}
    assert set(record["outputs"]) == {name for name in files if not name.startswith("done/") and "/done/" not in name}
    assert record["command"] == ["neurogen", *usage.arguments(workspace)]
    assert all(len(entry["sha256"]) == 64 for entry in record["inputs"])
    if usage.words in CONTINUES:
        assert call(usage.arguments(workspace)).code == 0
        return
    before = workspace.snapshot()
    answer = call(usage.arguments(workspace))
    assert_one_sentence(answer, 2)
    assert "--overwrite" in answer.sentences[1]
    assert workspace.snapshot() == before


def test_overwrite_clears_what_the_earlier_record_lists_and_nothing_else(workspace: Workspace, call: Caller) -> None:
    short, long = [usage for usage in USAGES if usage.words == "atlas generate"]
    assert call([*long.arguments(workspace), "--certainty"]).code == 0
    path = workspace.out / RECORD
    record = json.loads(path.read_text(encoding="utf-8"))
    outside = workspace.folder / "precious.txt"
    for file in (outside, workspace.out / "notes.txt"):
        file.write_text("keep", encoding="utf-8")
    record["outputs"] += ["../precious.txt", str(outside), "certainty"]
    path.write_text(json.dumps(record), encoding="utf-8")
    assert (workspace.out / "growth.png").is_file()
    assert call([*short.arguments(workspace), "--overwrite"]).code == 0
    assert outside.is_file()
    assert (workspace.out / "notes.txt").is_file()
    assert not (workspace.out / "growth.png").exists()
    assert not (workspace.out / "certainty").exists()
    listed = json.loads(path.read_text(encoding="utf-8"))["outputs"]
    files = [file.relative_to(workspace.out).as_posix() for file in workspace.out.rglob("*") if file.is_file()]
    assert sorted([*listed, "notes.txt"]) == sorted(files)


def test_overwrite_does_not_clear_an_input(workspace: Workspace, call: Caller) -> None:
    run, apply = (next(usage for usage in USAGES if usage.words == f"registration {word}") for word in ("run", "apply"))
    assert call(run.arguments(workspace)).code == 0
    before = workspace.snapshot()
    answer = call([*apply.arguments(workspace, transform=workspace.out / "forward.h5"), "--overwrite"])
    assert_one_sentence(answer, 2)
    assert str(workspace.out / "forward.h5") in answer.sentences[0]
    assert workspace.snapshot() == before
