"""Terminals without UTF-8, users without a home, folders that are gone: commands work, or say why not."""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import pytest

from NeuroGenLib import cli
from NeuroGenLib.commands.options import print_json
from NeuroGenLib.models.reference import models_folder

if TYPE_CHECKING:
    from collections.abc import Callable

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="of POSIX alone")


def printed_in_ascii(work: Callable[[], None]) -> bytes:
    """What a terminal without UTF-8 receives from a job."""
    received = io.BytesIO()
    with contextlib.redirect_stdout(io.TextIOWrapper(received, encoding="ascii")):
        assert cli.run_safely(work) == 0
        return received.getvalue().strip()


def test_what_a_terminal_lacks_is_printed_as_an_escape() -> None:
    assert printed_in_ascii(lambda: print("größe t\udce9te")) == b"gr\\xf6\\xdfe t\\udce9te"


def test_json_stays_json_on_such_a_terminal() -> None:
    printed = printed_in_ascii(lambda: print_json({"größe": "t\udce9te"}))
    assert json.loads(printed) == {"größe": "t\udce9te"}


@pytest.fixture
def no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a container's user without an entry in the list of users."""
    import pwd

    def unknown(_: int) -> NoReturn:
        raise KeyError("uid not found")

    for name in ("HOME", "XDG_CACHE_HOME", "NEUROGEN_MODELS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)


@POSIX
def test_without_a_home_models_go_to_the_temporary_folder(
    no_home: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert models_folder() == tmp_path / f"cache-{os.getuid()}" / "neurogen" / "models"
    assert "NEUROGEN_MODELS" in caplog.text
    monkeypatch.setenv("NEUROGEN_MODELS", "~/models")
    assert models_folder() == Path("~/models")


@POSIX
@pytest.mark.parametrize("words", [["models", "list"], ["doctor"]])
def test_commands_run_without_a_home(no_home: None, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(words) == 0
    assert "fetal-sba" in capsys.readouterr().out


def test_a_working_folder_that_is_gone_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def gone() -> NoReturn:
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr(os, "getcwd", gone)
    assert cli.main(["doctor"]) == 2
    assert "folder in which this was started" in capsys.readouterr().err
