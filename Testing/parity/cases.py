"""Finds the recorded runs of the published systems that the parity tests compare with."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def parity_root() -> Path:
    """Return the folder with the recorded runs: ``NEUROGEN_PARITY``, else ``shared/parity`` beside the checkout."""
    given = os.environ.get("NEUROGEN_PARITY")
    return Path(given) if given else Path(__file__).parents[2].parent / "shared" / "parity"


def cinema_cases(requires: Sequence[str] = ("selection.json",)) -> list[Path]:
    """Return the folders of recorded CINeMA runs that hold every file in ``requires``, sorted by name."""
    cases = sorted((parity_root() / "cinema").glob("case_*"))
    return [case for case in cases if all((case / name).exists() for name in requires)]
