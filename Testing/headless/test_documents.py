"""The documents say what is true: their Python runs, their commands exist with these options, their files are there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from NeuroGenLib.cli import COMMANDS

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(document: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", document.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


PYTHON = [
    pytest.param(code, id=f"{path.name}-{n}") for path in DOCUMENTS for n, code in enumerate(blocks(path, "python"))
]
LINES = [
    line.split("#")[0].strip()
    for path in DOCUMENTS
    for text in blocks(path, "")
    for line in text.replace("\\\n", " ").splitlines()
    if line.startswith("neurogen ")
]


@pytest.mark.parametrize("code", PYTHON)
def test_the_python_of_the_documents_runs(code, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    coarse = re.sub(r"spacing=[\d.]+", "spacing=4", code)  # the same calls, quickly
    exec(compile(coarse, "document", "exec"), {})  # noqa: S102 (our own documents)
    for name in re.findall(r'save\("([^"]+)"\)', code):
        assert (tmp_path / name).stat().st_size > 0


def test_there_is_python_to_run():
    assert len(PYTHON) >= 2


@pytest.mark.parametrize("line", LINES)
def test_the_commands_of_the_documents_exist(line, capsys):
    words = shlex.split(line)[1:]
    command = next(one for one in COMMANDS if words[: len(one.words.split())] == one.words.split())
    with pytest.raises(SystemExit):
        command.run(["--help"])
    known = capsys.readouterr().out
    for word in words:
        if word.startswith("--"):
            assert word in known, f"{command.words} has no option {word}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document):
    for target in re.findall(r"\]\(([^)#]+)\)", document.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            assert (document.parent / target).exists(), target


def test_files_named_by_the_documents_exist():
    for document in DOCUMENTS:
        for name in re.findall(
            r"`((?:training|Resources|Testing|docs)/[\w./-]+)`", document.read_text(encoding="utf-8")
        ):
            assert (ROOT / name).exists(), f"{document.name} names {name}"
