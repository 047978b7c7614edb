"""The table of pairs that a registration is evaluated on."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from NeuroGenLib.cohort.subjects import read_table
from NeuroGenLib.cohort.tables import MISSING
from NeuroGenLib.core.errors import InputError, nearest

if TYPE_CHECKING:
    from collections.abc import Mapping

NEEDED = ("fixed", "moving")
TWINS = (("fixed_labels", "moving_labels"), ("fixed_landmarks", "moving_landmarks"))
"""Columns that count only together."""
FILES = (*NEEDED, *TWINS[0], "fixed_mask", "moving_mask", *TWINS[1])
_SAME_NAME = 0.85
"""Similarity (of `difflib`) from which another column's name is taken for a misspelt one."""


@dataclass(frozen=True)
class PairFiles:
    """The files of one pair.

    Attributes
    ----------
    fixed, moving:
        Images: files, or folders with a DICOM series.
    fixed_labels, moving_labels:
        Label maps in the space of their images; both or none.
    fixed_mask, moving_mask:
        Nonzero where an image counts.
    fixed_landmarks, moving_landmarks:
        Tables with the columns x, y and z in RAS mm, the same landmarks in the same order; both or none.
    named:
        Fixed and moving as the table writes them.
    kind:
        Group of pairs in the summary, or empty.
    """

    fixed: Path
    moving: Path
    fixed_labels: Path | None = None
    moving_labels: Path | None = None
    fixed_mask: Path | None = None
    moving_mask: Path | None = None
    fixed_landmarks: Path | None = None
    moving_landmarks: Path | None = None
    named: tuple[str, str] = ("", "")
    kind: str = ""

    @property
    def name(self) -> str:
        """The pair for people: the last names of its images."""
        return f"{self.moving.name} to {self.fixed.name}"

    def fingerprint(self, settings: Mapping[str, object]) -> str:
        """Return 24 hexadecimal digits that change with a file, the pair's names, or ``settings`` (JSON values)."""
        files = {}
        for column in FILES:
            path = getattr(self, column)
            if path is not None:
                facts = path.stat()
                files[column] = [path.name, facts.st_size, facts.st_mtime_ns]
        content = json.dumps({"named": self.named, "files": files, "settings": settings}, sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:24]


def read_pairs(table: Path) -> list[PairFiles]:
    """Read the pairs of a table (tsv or csv); relative names start from the table's folder.

    Needed are the columns ``fixed`` and ``moving``; ``fixed_labels``, ``moving_labels``, ``fixed_mask``,
    ``moving_mask``, ``fixed_landmarks``, ``moving_landmarks`` and ``kind`` may be there, with empty cells or ``n/a``;
    other columns are left alone.

    Raises
    ------
    InputError
        When a needed column or cell is missing, one of two that belong together is, a column is misspelt, a file does
        not exist, or a pair stands there twice.
    """
    columns, rows = read_table(table)
    known = (*FILES, "kind")
    for column in NEEDED:
        if column not in columns:
            raise InputError(
                f"There is no column '{column}' in {table}.", nearest(column, columns), code="name-unknown"
            )
    for column in columns:
        meant = difflib.get_close_matches(column, [name for name in known if name not in columns], 1, _SAME_NAME)
        if column not in known and meant:
            raise InputError(f"{table} has a column '{column}'.", f"Did you mean '{meant[0]}'?", code="name-unknown")
    pairs = [_pair(row, number, table) for number, row in enumerate(rows, start=1)]
    twice = [pair for pair, times in Counter(pair.named for pair in pairs).items() if times > 1]
    if twice:
        raise InputError(
            f"{table} has the pair of {twice[0][0]} and {twice[0][1]} twice.",
            "Delete one of its rows.",
            code="value-duplicate",
        )
    return pairs


def _pair(row: Mapping[str, str], number: int, table: Path) -> PairFiles:
    cells = {column: row[column] for column in FILES if row.get(column, "") not in MISSING}
    for column in NEEDED:
        if column not in cells:
            raise InputError(
                f"Row {number} of {table} has nothing under '{column}'.",
                "Fill the cell or delete the row.",
                code="value-missing",
            )
    for first, second in TWINS:
        if (first in cells) != (second in cells):
            lacking = second if first in cells else first
            raise InputError(
                f"Row {number} of {table} has no {lacking}.",
                f"Give both {first} and {second}, or none.",
                code="value-missing",
            )
    paths = {column: Path(table).parent / name for column, name in cells.items()}
    for column, path in paths.items():
        if not _exists(path):
            raise InputError(
                f"The {column} of row {number} of {table}, {path}, does not exist.",
                "Correct the table.",
                code="file-missing",
            )
    kind = row.get("kind", "")
    return PairFiles(**paths, named=(cells["fixed"], cells["moving"]), kind="" if kind in MISSING else kind)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # too long, or with signs that no file's name has
        return False
