"""The text files that describe a cohort: its table, its splits, the unit of its ages."""

from __future__ import annotations

import csv
import io
import itertools
import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from NeuroGenLib.core.errors import InputError, nearest
from NeuroGenLib.core.files import existing_file, read_json, read_text
from NeuroGenLib.core.yaml_files import read_yaml

if TYPE_CHECKING:
    from collections.abc import Sequence

MISSING = ("", "n/a", "N/A", "NA", "nan", "NaN")
AGES_IN_WEEKS = ("scan_age", "gestational_age", "birth_age")

AnyPath = str | os.PathLike[str]


def read_splits(path: AnyPath, dataset: str | None = None) -> dict[str, tuple[str, ...]]:
    """Read which subject belongs to which split from YAML; ids stay text.

    The file holds ``{train: [...], val: [...]}``, ``{dataset: {train: [...]}}`` or
    ``{dataset: {subject_ids: {train: [...]}}}``; ``dataset`` says which one when it names several, and so does the end
    of a path such as ``subject_ids.yaml#dhcp_neo``. An empty list stays empty, a data set without lists is passed over.
    Another form, or an id in two splits, is an ``InputError``.
    """
    if dataset is None and not Path(path).is_file() and "#" in Path(path).name:
        file, _, dataset = str(path).rpartition("#")
        path = Path(file)
    content = read_yaml(path, as_text=True)
    form = InputError(
        f"{path} does not list subject ids by split.", "Write 'train: [...]' and 'val: [...]'.", code="table-invalid"
    )
    if not isinstance(content, dict) or not content:
        raise form
    nested = {name: value for name, value in content.items() if isinstance(value, dict)}
    by_dataset = bool(nested) and all(value == "" or isinstance(value, dict) for value in content.values())
    if by_dataset and "subject_ids" not in content:
        chosen = next(iter(nested)) if dataset is None and len(content) == 1 else dataset or ""
        if chosen not in nested:
            known = nearest(chosen, nested) if chosen else f"Name one of: {', '.join(nested)}."
            raise InputError(f"{path} has no data set '{chosen}'.", known, code="name-unknown")
        content = nested[chosen]
    content = content.get("subject_ids", content)
    lists = list(content.values()) if isinstance(content, dict) else [None]
    if not all(ids == "" or (isinstance(ids, list) and all(isinstance(name, str) for name in ids)) for ids in lists):
        raise form
    splits = {name: tuple(ids) for name, ids in content.items()}
    for first, second in itertools.combinations(splits, 2):
        shared = sorted(set(splits[first]) & set(splits[second]))
        if shared:
            raise InputError(
                f"{path} lists ids in both {first} and {second}: {few(shared)}.",
                "Keep each in one split.",
                code="value-duplicate",
            )
    return splits


def age_unit(column: str, participants_json: AnyPath | None = None) -> str:
    """Return the unit of an age column: ``weeks``, ``years``, ``months`` or ``days``.

    ``scan_age``, ``gestational_age`` and ``birth_age`` are weeks by their name; any other column, such as BIDS'
    ``age``, counts only when ``participants.json`` gives its ``Units``; else it is an ``InputError``.
    """
    if column in AGES_IN_WEEKS:
        return "weeks"
    described = participants_json and Path(participants_json).is_file()
    content = read_json(existing_file(participants_json)) if participants_json and described else {}
    entry = content.get(column) if isinstance(content, dict) else None
    recorded = str(entry.get("Units", "")).strip().lower() if isinstance(entry, dict) else ""
    unit = recorded.removesuffix("s") + "s"
    if unit not in ("weeks", "years", "months", "days"):
        remedy = f'Write {{"{column}": {{"Units": "years"}}}} (or weeks) into participants.json.'
        raise InputError(
            f"The unit of '{column}' is {f'given as {recorded!r}' if recorded else 'not given'}.",
            remedy,
            code="units-unknown",
        )
    return unit


def read_table(path: AnyPath) -> tuple[list[str], list[dict[str, str]]]:
    """Read a table of tab-, comma- or semicolon-separated text, all cells as text.

    Returns the header's names (without unnamed columns), and a mapping of column to cell for each row. What is no
    such table, names a column twice, or has a row with too few or many cells is an ``InputError``.
    """
    path, text = Path(path), read_text(path)
    header = text.partition("\n")[0]
    usual = "\t" if path.suffix.lower() == ".tsv" else ","
    reader = csv.reader(io.StringIO(text), delimiter=max((usual, "\t", ",", ";"), key=header.count), strict=True)
    rows: list[list[str]] = []
    try:
        for cells in reader:
            if any(cells):
                rows.append([cell.strip() for cell in cells])
            if rows and any(cells) and len(cells) != len(rows[0]):
                raise csv.Error(f"it has {len(cells)} cells, the header {len(rows[0])}")  # noqa: TRY301
    except csv.Error as error:
        raise InputError(
            f"Line {reader.line_num} of {path} is not a table row: {error}.", "Correct the line.", code="table-invalid"
        ) from error
    if len(rows) < 2:
        raise InputError(
            f"{path} has no rows below its header.", "Write a header line, then one line per scan.", code="table-empty"
        )
    columns = [column for column in rows[0] if column]
    if repeated(columns):
        raise InputError(
            f"{path} has two columns named {few(repeated(columns))}.", "Rename or delete one.", code="value-duplicate"
        )
    return columns, [{name: cell for name, cell in zip(rows[0], row, strict=True) if name} for row in rows[1:]]


def repeated(names: Sequence[str]) -> list[str]:
    """Return the names that stand there more than once."""
    return [name for name, times in Counter(names).items() if times > 1]


def few(names: Sequence[str], most: int = 5) -> str:
    """Return the first ``most`` names with commas, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
