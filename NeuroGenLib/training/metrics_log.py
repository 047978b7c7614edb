"""Where the metrics of a training run go: the table ``metrics.csv`` and, if asked for, a Weights & Biases run.

The table has one row per recorded step; it is appended to, and cut where a run goes on.
"""

from __future__ import annotations

import csv
import io
import logging
import os
import uuid
from typing import TYPE_CHECKING

from NeuroGenLib.core.errors import InputError, NeuroGenError
from NeuroGenLib.core.files import read_json, write_json, write_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

log = logging.getLogger(__name__)

_STEP = "step"


class MetricsTable:
    """A CSV file with a column ``step`` and one per metric.

    A program that holds the file open (a spreadsheet on Windows) does not stop the training: rows wait until the file
    can be written.

    Parameters
    ----------
    path:
        The file; nothing is written before the first row.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._columns: list[str] = []
        self._waiting: list[dict[str, str]] = []
        self._warned = False

    def open(self, start: int) -> None:
        """Keep the rows up to step ``start`` and drop what came after it, and any row that was cut short."""
        self._columns, rows = _read(self.path)
        kept = [row for row in rows if _step(row) <= start]
        if self.path.exists():
            write_text(self.path, _as_csv(self._columns, kept, header=True))

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Append the row of ``step``; numbers are written so that reading gives the same bits."""
        self._waiting.append({_STEP: str(step), **{name: repr(float(value)) for name, value in values.items()}})
        self._write_waiting()

    def flush(self) -> None:
        """Bring all rows to the disk, so that a checkpoint never is ahead of its table."""
        self._write_waiting()
        if self.path.exists():
            with self.path.open("rb+") as file:
                os.fsync(file.fileno())

    def _write_waiting(self) -> None:
        if not self._waiting:
            return
        names = dict.fromkeys(name for row in self._waiting for name in row if name not in self._columns)
        try:
            if names:
                self._columns += names
                _, rows = _read(self.path)
                write_text(self.path, _as_csv(self._columns, [*rows, *self._waiting], header=True))
            else:
                with self.path.open("a", newline="", encoding="utf-8") as file:
                    file.write(_as_csv(self._columns, self._waiting, header=False))
        except (OSError, NeuroGenError) as error:
            if names:
                self._columns = self._columns[: -len(names)]
            if not self._warned:
                log.warning("%s cannot be written now (%s); its rows are kept until it can.", self.path, error)
                self._warned = True
            return
        self._waiting.clear()


def read_metrics(path: Path) -> list[dict[str, float]]:
    """Read ``metrics.csv``: one mapping per row, with the step and the metrics that were recorded at it."""
    _, rows = _read(path)
    return [{name: float(text) for name, text in row.items() if text} for row in rows]


def wandb_run_id(out: Path, project: str) -> str:
    """Return the id that a run folder has in a Weights & Biases project; a new one is kept in its ``wandb.json``.

    Raises
    ------
    InputError
        When that file is damaged.
    """
    path = out / "wandb.json"
    known = read_json(path) if path.exists() else {}
    if not isinstance(known, dict) or not all(isinstance(name, str) for name in known.values()):
        raise InputError(
            f"{path} does not name a run by project.",
            "Delete it to log to a new Weights & Biases run.",
            code="file-damaged",
        )
    if project not in known:
        known[project] = uuid.uuid4().hex[:12]
        write_json(path, known)
    return str(known[project])


def _read(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """Return columns and whole rows; a row that a power cut left short is dropped."""
    if not path.exists():
        return [], []
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        lines = [line for line in file if line.endswith("\n")]
    columns, *rows = list(csv.reader(lines)) or [[]]
    if _STEP not in columns:
        return [], []
    whole = [dict(zip(columns, row, strict=True)) for row in rows if len(row) == len(columns)]
    return columns, [row for row in whole if row[_STEP].isdigit()]


def _as_csv(columns: Iterable[str], rows: Iterable[Mapping[str, str]], *, header: bool) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(columns), restval="", lineterminator="\n")
    if header:
        writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _step(row: Mapping[str, str]) -> int:
    return int(row[_STEP])
