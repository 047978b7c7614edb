"""Finds the recorded runs of the published systems that the parity tests compare with.

The full set lies outside the checkout; the smallest case of each system comes with it, so that every clone checks
published numbers.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

BUNDLED = Path(__file__).parents[1] / "data" / "parity"


def parity_root() -> Path:
    """Return the folder with the full set: ``NEUROGEN_PARITY``, else ``shared/parity`` beside the checkout."""
    given = os.environ.get("NEUROGEN_PARITY")
    return Path(given) if given else Path(__file__).parents[2].parent / "shared" / "parity"


def folders(system: str) -> list[Path]:
    """Return the folders with recorded runs of a system: that of the full set, where there is one, and the bundled."""
    return [root / system for root in (parity_root(), BUNDLED) if (root / system).is_dir()]


def recorded_cases(system: str, *requires: str) -> list[Path]:
    """Return the case folders of a system that hold every file in ``requires`` (* allowed), sorted by name."""
    cases = [case for folder in folders(system) for case in sorted(folder.glob("case_*"))]
    return [case for case in cases if all(any(case.glob(name)) for name in requires)]


def each_recorded_case(system: str, *requires: str) -> Callable[[Callable[..., None]], Any]:
    """Run a test on every case of a system that holds the files it needs; without any, there is no such test."""
    cases = recorded_cases(system, *requires)
    if not cases:
        return lambda test: None  # noqa: ARG005 (pytest does not collect None)
    return pytest.mark.parametrize("case", cases, ids=lambda case: case.name)


def each_cinema_case(*requires: str) -> Callable[[Callable[..., None]], Any]:
    """Run a test on every recorded CINeMA run that holds the files it needs."""
    return each_recorded_case("cinema", "configs", *requires)


def each_sitreg_case(*requires: str) -> Callable[[Callable[..., None]], Any]:
    """Run a test on every recorded SITReg run that holds these arrays besides its inputs and outputs."""
    return each_recorded_case("sitreg", "inputs.npz", "outputs.npz", *requires)
