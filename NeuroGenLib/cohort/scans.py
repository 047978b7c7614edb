"""Scans of a cohort: which rows of a table or subjects of a folder a job reads."""

from __future__ import annotations

import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING

from NeuroGenLib.cohort.subjects import Cohort
from NeuroGenLib.core.errors import InputError, nearest

if TYPE_CHECKING:
    from collections.abc import Sequence


def read_cohort(
    table: Path, columns: Sequence[str] | None, root: Path | None, include: Sequence[str], exclude: Sequence[str]
) -> Cohort:
    """Read a table or a folder, and keep the ids that match an ``include`` (all without any) and no ``exclude``.

    Raises
    ------
    InputError
        When the table or a column is missing, or no subject is left.
    """
    cohort = (
        Cohort.from_folder(table, columns) if Path(table).is_dir() else Cohort.from_table(table, columns, root=root)
    )
    for pattern in (*include, *exclude):
        if not any(fnmatch.fnmatchcase(name, pattern) for name in cohort.ids):
            raise InputError(
                f"No scan of {table} is named '{pattern}'.", nearest(pattern, cohort.ids), code="name-unknown"
            )

    def kept(name: str) -> bool:
        included = not include or any(fnmatch.fnmatchcase(name, pattern) for pattern in include)
        return included and not any(fnmatch.fnmatchcase(name, pattern) for pattern in exclude)

    ids = [name for name in cohort.ids if kept(name)]
    if not ids:
        raise InputError(f"include and exclude leave no scan of {table}.", "Correct one of them.", code="table-empty")
    return cohort.select(ids)
