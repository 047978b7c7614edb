"""Every command whose result would have the name of an input: the input stays as it was."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from NeuroGenLib.core import files
from Testing.hostile.commands import USAGES, Usage, as_cases, good_values
from Testing.hostile.test_every_command import assert_one_sentence

if TYPE_CHECKING:
    from Testing.hostile.conftest import Caller
    from Testing.hostile.workspace import Workspace

READING = [
    usage for usage in USAGES if "out" in usage.slots and "train" not in usage.words and usage.words != "samples get"
]


def suffix(path: Path) -> str:
    return "".join(path.suffixes)


@pytest.mark.parametrize("usage", as_cases(READING))
def test_no_command_overwrites_what_it_reads(usage: Usage, workspace: Workspace, call: Caller) -> None:
    """Each input lies where a result of its suffix goes; it is refused, unless the result is named after it."""
    values = {**good_values(workspace), **usage.good}
    kinds = [kind for kind in usage.slots if isinstance(values[kind], Path) and values[kind].is_file()]
    if not kinds:
        pytest.skip("reads a model alone")
    assert call(usage.arguments(workspace)).code == 0
    results = sorted(path.relative_to(workspace.out) for path in workspace.out.rglob("*") if path.is_file())
    for number, kind in enumerate(kinds):
        source = values[kind]
        names = [name for name in results if suffix(name) == suffix(source)]
        if not names:
            continue
        shutil.rmtree(workspace.out)
        place = workspace.out / names[number % len(names)]
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, place)
        before = workspace.snapshot()
        answer = call(usage.arguments(workspace, **{kind: place}))
        assert place.read_bytes() == source.read_bytes(), (kind, place)
        if answer.code:
            assert_one_sentence(answer, 2)
            whole = f"{workspace.out} holds other files"  # a model takes the place of its folder
            assert str(place) in answer.sentences[0] or whole in answer.sentences[0]
            assert workspace.snapshot() == before


@pytest.mark.parametrize(
    ("words", "kind", "name"),
    [
        ("superres run", "thick_scan", "superres.nii.gz"),
        ("superres run", "guide_scan", "residual.nii.gz"),
        ("registration run", "moving_scan", "warped.nii.gz"),
        ("registration run", "moving_points", "points.tsv"),
        ("atlas open", "precomputed", "image.nii.gz"),
        ("atlas open", "labels", "labels.tsv"),
        ("atlas latents", "covariates", "latents.tsv"),
        ("atlas evaluate", "table", "evaluation.tsv"),
        ("atlas fit", "scan", "labels.nii.gz"),
        ("registration evaluate", "pairs", "pairs.tsv"),
        ("superres batch", "thick_table", "summary.tsv"),
        ("superres evaluate", "thick_table", "scans.tsv"),
    ],
)
def test_an_input_with_the_name_of_a_result_is_refused_before_the_work(
    words: str, kind: str, name: str, workspace: Workspace, call: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = next(usage for usage in USAGES if usage.words == words and kind in usage.slots)
    place = workspace.out / name
    place.parent.mkdir()
    shutil.copy(good_values(workspace)[kind], place)
    monkeypatch.setattr(files, "require_no_inputs", list)  # the last check, after the work
    before = workspace.snapshot()
    answer = call(usage.arguments(workspace, **{kind: place}))
    assert_one_sentence(answer, 2)
    assert f"The input {place} would be overwritten." in answer.sentences[0]
    assert workspace.snapshot() == before
