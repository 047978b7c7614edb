"""Finds the recorded runs of the published systems that the parity tests compare with."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def parity_root() -> Path:
    """Return the folder with the recorded runs: ``NEUROGEN_PARITY``, else ``shared/parity`` beside the checkout."""
    given = os.environ.get("NEUROGEN_PARITY")
    return Path(given) if given else Path(__file__).parents[2].parent / "shared" / "parity"


def cinema_cases(requires: Sequence[str] = ("selection.json",)) -> list[Path]:
    """Return the folders of recorded CINeMA runs that hold every file in ``requires`` (* allowed), sorted by name."""
    cases = sorted((parity_root() / "cinema").glob("case_*"))
    return [case for case in cases if all(any(case.glob(name)) for name in requires)]


def each_cinema_case(*requires: str) -> Callable[[Callable[..., None]], Any]:
    """Run a test on every recorded CINeMA run that holds the files it needs; without any, there is no such test."""
    cases = cinema_cases(("configs", *requires))
    if not cases:
        return lambda test: None  # noqa: ARG005 (pytest does not collect None)
    return pytest.mark.parametrize("case", cases, ids=lambda case: case.name)
