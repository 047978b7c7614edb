"""Resources/requirements.txt, which the panels ask for, says the same as pyproject.toml."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
OF_SLICER = {"numpy", "SimpleITK", "pydicom"}  # Slicer has its own, which must not be replaced


def required() -> list[str]:
    text = (ROOT / "Resources" / "requirements.txt").read_text(encoding="utf-8")
    return [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]


def declared() -> dict[str, str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return {re.split(r"[^\w.-]", line, maxsplit=1)[0]: line for line in project["dependencies"]}


def test_slicer_is_asked_for_what_it_lacks() -> None:
    assert declared().keys() >= OF_SLICER
    assert sorted(required()) == sorted(line for name, line in declared().items() if name not in OF_SLICER)


def test_only_lower_bounds_are_asked_for() -> None:
    assert required()
    for line in required():
        assert re.fullmatch(r"[A-Za-z][\w.-]*>=\d+(\.\d+)*", line), f"'{line}' is more than a lower bound"
