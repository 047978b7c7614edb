"""Which scans are registered with which, and where their files are."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from typing import TYPE_CHECKING

from NeuroGenLib.core.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

COLUMNS = ["kind", "fixed", "moving"]


@dataclass(frozen=True)
class Pair:
    """Subject folders relative to the data folder; ``kind`` groups pairs in the table of means."""

    kind: str
    fixed: str
    moving: str


def read_pairs(path: Path) -> list[Pair]:
    """Read the list of pairs, a table with tabs and the columns kind, fixed, moving.

    Raises
    ------
    InputError
        When a column or a value is missing, or there is no pair.
    """
    with path.open(newline="", encoding="utf-8") as file:
        table = csv.DictReader(file, delimiter="\t")
        if table.fieldnames != COLUMNS:
            raise InputError(
                f"{path} has the columns {table.fieldnames}.",
                f"Give {COLUMNS}, separated by tabs.",
                code="table-invalid",
            )
        rows = list(table)
    if not rows:
        raise InputError(f"{path} lists no pairs.", "Add a line with kind, fixed and moving.", code="table-invalid")
    for number, row in enumerate(rows, start=2):
        if set(row) != set(COLUMNS) or not all(row.values()):
            raise InputError(
                f"Line {number} of {path} has not three values.", "Separate them by single tabs.", code="table-invalid"
            )
    return [Pair(**row) for row in rows]


def scan_files(data: Path, subject: str) -> tuple[Path, Path]:
    """Return image and label map of a subject's ``anat`` folder.

    Raises
    ------
    InputError
        When there is not exactly one T1w or T2w image and one dseg.
    """
    anat = data / subject / "anat"
    found = []
    for pattern in ("*_T[12]w.nii.gz", "*_dseg.nii.gz"):
        files = sorted(anat.glob(pattern))
        if len(files) != 1:
            raise InputError(
                f"{anat} holds {len(files)} files {pattern}.",
                "Check --data and the list of pairs.",
                code="table-invalid",
            )
        found.append(files[0])
    return found[0], found[1]
