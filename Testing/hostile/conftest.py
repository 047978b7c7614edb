"""Fixtures of the hostile suite."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from NeuroGenLib import cli
from NeuroGenLib.commands.atlas import demo
from Testing.hostile.workspace import Workspace, kept_workspace

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Answer:
    """What a command said and returned."""

    code: int
    out: str
    err: str

    @property
    def sentences(self) -> list[str]:
        """The problem and its remedy, as they stand after ``Error:`` on stderr."""
        lines = self.err.splitlines()
        starts = [index for index, line in enumerate(lines) if line.startswith(("Error: ", "Stopped: "))]
        assert len(starts) == 1, f"one error is printed, once:\n{self.err}"
        return [line.removeprefix("Error: ").strip() for line in lines[starts[0] :]]


class Caller:
    """Runs commands inside this process, as the command line does."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, arguments: list[str]) -> Answer:
        self._capsys.readouterr()
        code = cli.main(arguments)
        return Answer(code, *self._capsys.readouterr())


@pytest.fixture(scope="session")
def good_inputs(pytestconfig: pytest.Config) -> Workspace:
    """Good inputs with a trained atlas; to be copied, not changed."""
    return kept_workspace(pytestconfig)


@pytest.fixture
def workspace(good_inputs: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A copy of the good inputs, the place where the command runs; no network, an empty model cache."""
    made = good_inputs.copied(tmp_path / "work")
    monkeypatch.chdir(made.folder)
    monkeypatch.setenv("NEUROGEN_OFFLINE", "1")
    monkeypatch.setenv("NEUROGEN_MODELS", str(made.cache))
    # The demo draws the bundled atlas; here it draws the tiny one.
    monkeypatch.setattr(demo, "BUNDLED", str(made.model))
    return made


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Caller:
    return Caller(capsys)
