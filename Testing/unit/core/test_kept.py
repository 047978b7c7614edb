"""Expensive fixtures are made once for the same sources, and again when these or the fixture itself changed."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from Testing import kept as module
from Testing.kept import kept

if TYPE_CHECKING:
    from pathlib import Path


class Cache:
    """The part of pytest's cache that is used."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def mkdir(self, name: str) -> Path:
        (self.folder / name).mkdir(parents=True, exist_ok=True)
        return self.folder / name


@pytest.fixture
def made() -> list[Path]:
    """The folders that were filled."""
    return []


@pytest.fixture
def keep(tmp_path: Path, made: list[Path], monkeypatch: pytest.MonkeyPatch) -> Any:
    """Keeps a folder that depends on one source file."""
    monkeypatch.setattr(module, "ROOT", tmp_path)
    (tmp_path / "source.py").write_text("1", encoding="utf-8")

    def make(folder: Path) -> None:
        made.append(folder)
        assert not list(folder.iterdir())
        (folder / "result.txt").write_text("good", encoding="utf-8")

    config = SimpleNamespace(cache=Cache(tmp_path / "cache"))
    return lambda: kept(config, "thing", ["source.py"], make)


def test_it_is_made_once(keep: Any, made: list[Path]) -> None:
    assert keep() == keep()
    assert len(made) == 1
    assert (keep() / "result.txt").read_text(encoding="utf-8") == "good"


def test_other_sources_make_another(keep: Any, made: list[Path], tmp_path: Path) -> None:
    first = keep()
    (tmp_path / "source.py").write_text("2", encoding="utf-8")
    assert keep() != first
    assert len(made) == 2


def test_what_was_changed_is_made_again(keep: Any, made: list[Path]) -> None:
    (keep() / "result.txt").write_text("spoilt", encoding="utf-8")
    assert (keep() / "result.txt").read_text(encoding="utf-8") == "good"
    (keep() / "stray.txt").touch()
    assert not (keep() / "stray.txt").exists()
    assert len(made) == 3


def test_what_was_broken_off_is_made_again(
    keep: Any, made: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep().joinpath("result.txt").unlink()
    for seal in (tmp_path / "cache").rglob("*.json"):
        seal.unlink()
    assert (keep() / "result.txt").is_file()
    assert len(made) == 2
