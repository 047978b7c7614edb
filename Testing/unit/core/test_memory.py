"""Memory that is left: what the system says, and the limit of a container or of a cluster's job."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from NeuroGenLib.core import memory

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.skipif(sys.platform == "win32", reason="Windows is asked by another call")
def test_the_smaller_of_what_is_free_and_what_is_allowed_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in (("_MEMINFO", "MemTotal: 99 kB\nMemAvailable: 4096 kB\n"), ("_LIMIT", "max"), ("_USED", "1000")):
        (tmp_path / name).write_text(text, encoding="ascii")
        monkeypatch.setattr(memory, name, tmp_path / name)
    assert memory.free_memory() == 4096 * 1024
    (tmp_path / "_LIMIT").write_text("51000\n", encoding="ascii")
    assert memory.free_memory() == 50000
    (tmp_path / "_LIMIT").write_text("10\n", encoding="ascii")
    assert memory.free_memory() == 1, "a job beyond its limit has none left"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows is asked by another call")
def test_a_system_that_does_not_say_what_is_free_says_what_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("_MEMINFO", "_LIMIT", "_USED"):
        monkeypatch.setattr(memory, name, tmp_path / "missing")
    free = memory.free_memory()
    assert free is not None
    assert free > 2**20
