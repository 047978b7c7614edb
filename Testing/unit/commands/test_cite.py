"""`neurogen cite` names the papers of models and of results."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from raising import raises

from NeuroGenLib import cli
from NeuroGenLib.commands.cite import cited_of
from NeuroGenLib.models.citation import bibtex

if TYPE_CHECKING:
    from pathlib import Path

PAPER = "Doe J, Roe RA. Of brains: a study. NeuroImage 2021;1(2):3-4. doi:10.1/x (method)"
DATA = "Poe E, et al. Images. Data 2020. doi:10.1/y (data)"


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A folder with a result of one model, which used another, and one of several files with their own records."""
    folder = tmp_path / "results"
    (folder / "sub-01").mkdir(parents=True)
    record = {"model": {"reference": "bundled:x"}, "citation": [PAPER], "masks": [{"citation": [PAPER, DATA]}]}
    (folder / "provenance.json").write_text(json.dumps(record), encoding="utf-8")
    (folder / "sub-01" / "brain_provenance.json").write_text(json.dumps({"citation": [DATA]}), encoding="utf-8")
    for name in ("warped.nii.gz", "sub-01/brain.nii.gz", "sub-01/other.nii.gz"):
        (folder / name).write_bytes(b"")
    return folder


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ("", [PAPER, DATA]),
        ("provenance.json", [PAPER, DATA]),
        ("warped.nii.gz", [PAPER, DATA]),
        ("sub-01", [DATA]),
        ("sub-01/brain.nii.gz", [DATA]),
    ],
)
def test_a_result_is_cited_by_its_record(results: Path, place: str, expected: list[str]) -> None:
    assert cited_of(str(results / place)).citation == expected


def test_a_file_without_a_record_is_refused(results: Path) -> None:
    with raises("file-missing", results / "sub-01" / "other.nii.gz"):
        cited_of(str(results / "sub-01" / "other.nii.gz"))


def test_json_and_bibtex_name_the_same_papers(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["cite", "cinema", str(results), "--json"]) == 0
    cited = json.loads(capsys.readouterr().out)["cited"]
    assert [item["name"] for item in cited] == ["cinema", str(results)]
    assert cited[1]["citation"] == [PAPER, DATA]
    assert cli.main(["cite", str(results), "--bibtex"]) == 0
    entries = capsys.readouterr().out.split("\n\n")
    assert [entry.partition(",")[0] for entry in entries] == [
        "@software{neurogen",
        "@article{doe2021",
        "@article{poe2020",
    ]
    assert "author = {Doe, J. and Roe, R. A.}" in entries[1]
    assert "number = {2}" in entries[1]
    assert "author = {Poe, E. and others}" in entries[2]


def test_a_paper_cited_for_two_things_is_one_entry_and_keys_are_unique() -> None:
    again = PAPER.replace("(method)", "(labels)")
    other = PAPER.replace("10.1/x", "10.1/z")
    keys = [
        entry.partition(",")[0] for entry in bibtex([PAPER, again, other, "Data & more, doi:10.1/w."]).split("\n\n")
    ]
    assert keys[1:] == ["@article{doe2021", "@article{doe2021-2", "@misc{data"]
    assert r"Data \& more" in bibtex(["Data & more"])
