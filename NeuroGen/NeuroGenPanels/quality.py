"""Quality of a result as panels show it: rows of a table, and the remarks of its record."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def quality_cells(rows: Sequence[Mapping[str, Any]], stages: Sequence[str]) -> list[tuple[str, ...]]:
    """Return the rows of a quality table node as a panel shows them.

    Parameters
    ----------
    rows:
        With ``measure``, ``label`` (``all`` or the label that it refers to), ``unit``, and a value for each stage.
    stages:
        The columns with values.
    """
    from NeuroGenLib.mrml.tables import MISSING

    return [
        (
            _measure(row),
            *("" if row[stage] == MISSING else str(row[stage]) for stage in stages),
            "" if row["unit"] == MISSING else str(row["unit"]),
        )
        for row in rows
    ]


def remarks_of(record: Mapping[str, Any]) -> list[str]:
    """Return the warnings of a result's record, and what its model was trained on."""
    shows = [record["shows"]] if record.get("shows") else []
    return [str(text) for text in [*(record.get("warnings") or []), *shows]]


def _measure(row: Mapping[str, Any]) -> str:
    label = str(row["label"]).replace("_", " ")
    return str(row["measure"]) if label == "all" else f"{row['measure']}, {label}"
