"""Every command with every bad input it can be given: one sentence, the way out, and nothing left behind."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import Testing.hostile.inputs_fit  # adds to HOSTILE
import Testing.hostile.inputs_latents  # adds to HOSTILE
import Testing.hostile.inputs_samples  # noqa: F401  # adds to HOSTILE
from NeuroGenLib.cli import COMMANDS
from NeuroGenLib.core.provenance import RESEARCH_USE
from Testing.hostile.commands import USAGES, Usage, as_cases, good_values
from Testing.hostile.inputs import HOSTILE, Hostile
from Testing.hub_server import HubServer, Repository

if TYPE_CHECKING:
    from Testing.hostile.conftest import Answer, Caller
    from Testing.hostile.workspace import Workspace

PAIRS = [
    (usage, kind, bad) for usage in USAGES for bad in HOSTILE for kind in usage.slots if kind in bad.kinds
]  # fmt: skip


def greedy_cover(pairs: list[tuple[Usage, str, Hostile]]) -> set[int]:
    """Return the places of few pairs that hold every bad input and every slot of every usage at least once.

    First those that are new in both, then what is still missing of either.
    """
    cover: set[int] = set()
    inputs: set[Hostile] = set()
    slots: set[tuple[int, str]] = set()
    for news in (2, 1):
        for place, (usage, kind, bad) in enumerate(pairs):
            slot = (USAGES.index(usage), kind)
            if (bad not in inputs) + (slot not in slots) >= news:
                cover.add(place)
                inputs.add(bad)
                slots.add(slot)
    return cover


COVER = greedy_cover(PAIRS)
"""What the quick tier tries; the others are slow."""


def assert_one_sentence(answer: Answer, code: int) -> None:
    """One problem and one way out on stderr, for people; no traceback."""
    said = answer.out + answer.err
    assert "Traceback" not in said
    assert "something unexpected" not in said, said
    assert answer.code == code, said
    assert len(answer.sentences) == 2, f"a problem and a remedy, a line each:\n{answer.err}"
    problem, remedy = answer.sentences
    assert len(problem) > 15
    assert len(remedy) > 10
    assert problem[-1] + remedy[-1] in ("..", ".?"), "both are sentences"
    assert len(problem) + len(remedy) < 1200


def offer_model(hub: HubServer, usage: Usage, workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the workspace's model on the hub, for a command that downloads it."""
    if "hub" not in usage.slots:
        return
    monkeypatch.delenv("NEUROGEN_OFFLINE")
    monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    hub.repositories["lab/tiny"] = repository = Repository()
    repository.commit({file.name: file.read_bytes() for file in workspace.model.iterdir()})


def test_every_command_is_in_the_suite() -> None:
    missing = {command.words for command in COMMANDS} - {usage.words for usage in USAGES}
    assert not missing, f"add an entry to Testing/hostile/commands.py for: {', '.join(sorted(missing))}"


def test_every_kind_of_bad_input_is_given_to_a_command(good_inputs: Workspace) -> None:
    used = {kind for usage in USAGES for kind in usage.slots}
    assert used == set(good_values(good_inputs))
    assert used - {kind for bad in HOSTILE for kind in bad.kinds} == set(), "a kind of input that is never spoiled"
    assert {kind for bad in HOSTILE for kind in bad.kinds} <= used


@pytest.mark.parametrize("usage", as_cases(USAGES))
def test_good_inputs_work_and_stay_as_they_are(
    usage: Usage, workspace: Workspace, call: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = workspace.snapshot()
    with HubServer() as hub:
        offer_model(hub, usage, workspace, monkeypatch)
        answer = call(usage.arguments(workspace))
    assert answer.code == 0, answer.err
    after = workspace.snapshot()
    assert {name: after[name] for name in before} == before
    allowed = "cache" if "hub" in usage.slots else "out"
    assert all(name.split("/")[0] == allowed for name in after.keys() - before.keys())
    assert not any(".writing-" in name for name in after)
    assert not any(":" in name for name in after), "Windows takes no colon in a file's name"
    assert ("out" in usage.slots) == workspace.out.exists()


JSON_USAGES = [
    replace(usage, slow=usage.slow or usage.words in ("demo", "superres batch"))
    for usage in {usage.words: usage for usage in reversed(USAGES)}.values()
    if not usage.words.endswith("train")
]
"""The first of every command that has ``--json``."""


@pytest.mark.parametrize("usage", as_cases(JSON_USAGES))
def test_json_is_one_line_and_the_same_for_all_that_write(
    usage: Usage, workspace: Workspace, call: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = workspace.snapshot()
    with HubServer() as hub:
        offer_model(hub, usage, workspace, monkeypatch)
        answer = call([*usage.arguments(workspace), "--json"])
    assert answer.code == 0, answer.err
    (line,) = answer.out.splitlines()
    answered = json.loads(line)
    new = {workspace.folder / name for name in workspace.snapshot().keys() - before.keys()}
    if "out" not in usage.slots and "hub" not in usage.slots:
        assert not new
        return
    assert list(answered)[:5] == ["out", "written", "warnings", "notice", "seconds"]
    written = {Path(file) for file in answered["written"]}
    assert all(file.is_file() for file in written)
    assert {file for file in new if workspace.out in (file, *file.parents) and file.is_file()} <= written
    assert answered["notice"].endswith(RESEARCH_USE)
    assert answered["seconds"] >= 0


def test_the_quick_tier_holds_every_bad_input_and_every_slot() -> None:
    chosen = [PAIRS[place] for place in COVER]
    assert {bad for _, _, bad in chosen} == {bad for _, _, bad in PAIRS}
    slots = [{(USAGES.index(usage), kind) for usage, kind, _ in pairs} for pairs in (chosen, PAIRS)]
    assert slots[0] == slots[1]
    assert len(chosen) < len(PAIRS) / 2


@pytest.mark.parametrize(
    ("usage", "kind", "bad"),
    [
        pytest.param(usage, kind, bad, id=f"{usage.words}-{bad.name}", marks=[] if place in COVER else pytest.mark.slow)
        for place, (usage, kind, bad) in enumerate(PAIRS)
    ],
)
def test_bad_input_gets_a_sentence_and_leaves_nothing(
    usage: Usage, kind: str, bad: Hostile, workspace: Workspace, call: Caller
) -> None:
    value = bad.spoil(workspace)
    before = workspace.snapshot()
    answer = call(usage.arguments(workspace, **({} if value is None else {kind: value})))
    assert_one_sentence(answer, bad.code)
    said = " ".join(answer.sentences)
    for culprit in bad.says:
        assert culprit.format(folder=workspace.folder) in said, said
    assert workspace.snapshot() == before


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.words)
@pytest.mark.parametrize(("option", "says"), [("--no-such-option", "--no-such-option"), ("--hel", "Did you mean")])
def test_unknown_and_abbreviated_options_are_refused(
    command: object, option: str, says: str, workspace: Workspace, call: Caller
) -> None:
    usage = next(usage for usage in USAGES if usage.words == command.words)
    before = workspace.snapshot()
    answer = call([*usage.arguments(workspace), option])
    assert_one_sentence(answer, 2)
    assert says in " ".join(answer.sentences)
    assert workspace.snapshot() == before


@pytest.mark.parametrize("usage", [usage for usage in USAGES if usage.slots], ids=lambda usage: usage.words)
def test_a_line_that_ends_early_is_refused_or_complete(usage: Usage, workspace: Workspace, call: Caller) -> None:
    """Nothing after the words: the default model, or a sentence on what is missing; never a traceback."""
    answer = call([*usage.words.split(), "--device"] if "device" in usage.slots else usage.words.split())
    assert "something unexpected" not in answer.err
    assert answer.code in (0, 2)
    if answer.code:
        assert_one_sentence(answer, 2)
