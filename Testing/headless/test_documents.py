"""The documents say what is true: their Python runs, their commands exist with these options, their files are there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from NeuroGenLib.atlas.config import AtlasTrainConfig
from NeuroGenLib.atlas.published.training_config import _NO_COUNTERPART
from NeuroGenLib.cli import COMMANDS, command_of
from NeuroGenLib.core.config import parameters
from NeuroGenLib.registration.config import RegistrationTrainConfig
from NeuroGenLib.superres.config import SuperresTrainConfig
from Testing.notebook_run import read_notebook, source_of

ROOT = Path(__file__).parents[2]
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "docs").rglob("*.ipynb")),
]
CINEMA = ROOT / "docs" / "published" / "cinema.md"


def text_of(document: Path) -> str:
    """The Markdown of a document; of a notebook, that of its cells."""
    if document.suffix == ".ipynb":
        cells = read_notebook(document)["cells"]
        return "\n\n".join(source_of(cell) for cell in cells if cell["cell_type"] == "markdown")
    return document.read_text(encoding="utf-8")


def blocks(document: Path, *languages: str) -> list[str]:
    """The fenced blocks of a document in these languages, "" being a fence without one."""
    # All fences are read, whatever their language: the end of one must not pass for the start of another.
    found = re.findall(r"^```(\w*)\n(.*?)^```$", text_of(document), re.MULTILINE | re.DOTALL)
    return [text for language, text in found if language in languages]


PYTHON = [
    pytest.param(code, id=f"{path.name}-{n}") for path in DOCUMENTS for n, code in enumerate(blocks(path, "python"))
]
LINES = [
    line.split("#")[0].strip()
    for path in DOCUMENTS
    for text in blocks(path, "", "bash")
    for line in text.replace("\\\n", " ").splitlines()
    if line.startswith("neurogen ")
]


@pytest.mark.slow
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
    command = command_of(words)
    with pytest.raises(SystemExit):
        command.run(["--help"])
    known = capsys.readouterr().out
    for word in words:
        if word.startswith("--"):
            assert word in known, f"{command.words} has no option {word}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document):
    for target in re.findall(r"\]\(([^)#]+)\)", text_of(document)):
        if not target.startswith("http"):
            assert (document.parent / target).exists(), target


def test_files_named_by_the_documents_exist():
    for document in DOCUMENTS:
        for name in re.findall(r"`((?:NeuroGenLib|training|Resources|Testing|docs)/[\w./-]+)`", text_of(document)):
            assert (ROOT / name).exists(), f"{document.name} names {name}"


def test_settings_named_by_the_documents_exist():
    jobs = (AtlasTrainConfig, RegistrationTrainConfig, SuperresTrainConfig)
    known = {parameter.name for job in jobs for parameter in parameters(job)}
    sections = {name.partition(".")[0] for name in known}
    groups = {name.rpartition(".")[0] for name in known}
    for document in DOCUMENTS:
        for name in re.findall(r"`(?:--)?((?:[a-z_]+\.)+[a-z_]+)\b[^`]*`", text_of(document)):
            if name.partition(".")[0] in sections and not name.endswith((".py", ".tsv")):
                assert name in known | groups, f"{document.name} names the setting {name}"


def test_commands_named_in_sentences_exist():
    words = {command.words for command in COMMANDS} | {command.words.split()[0] for command in COMMANDS}
    for document in DOCUMENTS:
        for line in re.findall(r"`neurogen ([a-z][a-z -]*[a-z])", text_of(document)):
            assert any(line == known or line.startswith(f"{known} ") for known in words), f"{document.name}: {line}"


def test_the_page_on_cinema_names_every_setting_without_a_counterpart():
    text = CINEMA.read_text(encoding="utf-8")
    for name in _NO_COUNTERPART:
        assert f"`{name.split('.')[-1]}" in text or f"`{name}" in text, name


def test_messages_under_troubleshooting_are_in_the_source() -> None:
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "NeuroGenLib").rglob("*.py")]
    code = "\n".join(re.sub(r'"\s*\n\s*f?"', "", source) for source in sources)  # literals over several lines
    quoted = [
        (document.name, message)
        for document in DOCUMENTS
        for table in text_of(document).split("## Troubleshooting")[1:]
        for message in re.findall(r"^\| `([^`]+)` \|", table, re.MULTILINE)
    ]
    assert len(quoted) > 10
    assert [(name, message) for name, message in quoted if message.replace("...", "").strip(" .") not in code] == []
