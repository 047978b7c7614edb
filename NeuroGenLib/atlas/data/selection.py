"""Who was chosen to train an atlas, and from whom: a table and histograms in the run folder."""

from __future__ import annotations

import importlib.util
import logging
import math
from typing import TYPE_CHECKING

import numpy as np

from NeuroGenLib.atlas.conditions import as_word
from NeuroGenLib.cohort.subjects import NumericConstraint
from NeuroGenLib.core.reports import save_figure, write_table

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from NeuroGenLib.atlas.config import DataConfig
    from NeuroGenLib.cohort.subjects import Cohort

log = logging.getLogger(__name__)

BARS = 20
"""Bars of a histogram whose column is not spread over bins of its own."""

MOST_BARS = 200
"""A constraint's own bins are drawn up to this many; else there are :data:`BARS`."""
_LIGHT, _DARK = "0.8", "#1f4e79"


def write_selection(
    folder: Path, candidates: Cohort, chosen: Cohort, data: DataConfig, unit: str, *, store_ids: bool
) -> None:
    """Write ``selection.tsv`` and, where matplotlib is installed, ``selection.png``; existing files stay.

    The table has one row per candidate with age, conditions, constrained columns and whether it was chosen; ids are
    in it only with ``store_ids``. ``unit`` is that of the age.

    Raises
    ------
    NeuroGenError
        When a file cannot be written.
    """
    table, picture = folder / "selection.tsv", folder / "selection.png"
    if not table.exists():
        write_table(table, selection_rows(candidates, chosen, data, store_ids=store_ids))
    if picture.exists():
        return
    if importlib.util.find_spec("matplotlib") is None:
        log.info("%s is not plotted: matplotlib is not installed.", picture)
        return
    save_figure(folder / "selection", selection_figure(candidates, chosen, data, unit))


def summary(candidates: Cohort, chosen: Cohort, age: str, unit: str) -> str:
    """Return how many of how many were chosen, and their range of age."""
    ages = chosen.column(age)
    return f"{len(chosen)} of {len(candidates)} scans are chosen, {age} {ages.min():g} to {ages.max():g} {unit}."


def columns_of(data: DataConfig) -> tuple[str, ...]:
    """Return the columns that matter for the choice: age, conditions, and those with a constraint."""
    return tuple(dict.fromkeys((data.age, *data.conditions, *data.constraints)))


def selection_rows(
    candidates: Cohort, chosen: Cohort, data: DataConfig, *, store_ids: bool = False
) -> list[dict[str, float | str]]:
    """Return one row per candidate, in the cohort's order: the columns that matter (``n/a`` when missing), ``chosen``.

    With ``store_ids``, ``participant_id`` comes first, and ``session_id`` where there are sessions.
    """
    taken = {subject.key for subject in chosen}
    sessions = any(subject.session is not None for subject in candidates)
    rows = []
    for subject in candidates:
        row: dict[str, float | str] = {"participant_id": subject.id} if store_ids else {}
        if store_ids and sessions:
            row["session_id"] = subject.session or "n/a"
        row |= {column: subject.values.get(column, "n/a") for column in columns_of(data)}
        rows.append(row | {"chosen": "yes" if subject.key in taken else "no"})
    return rows


def selection_figure(candidates: Cohort, chosen: Cohort, data: DataConfig, unit: str) -> Figure:
    """Draw one panel per column that matters: the candidates light, the chosen dark in front.

    Numbers are a histogram whose bars are the bins of the column's distribution, where it has one, and dashed lines
    are the ends of its constraint; words (and numbers that a condition or constraint takes for such) are one bar each.
    """
    from matplotlib.figure import Figure

    names = columns_of(data)
    across = min(len(names), 3)
    down = math.ceil(len(names) / across)
    figure = Figure(figsize=(4 * across, 2.8 * down), layout="constrained")
    panels = np.atleast_1d(figure.subplots(down, across)).ravel()
    for axis, name in zip(panels, names, strict=False):
        cells = [_cells(cohort, name) for cohort in (candidates, chosen)]
        if _is_numeric(cells[0], name, data):
            _draw_numbers(axis, cells[0], cells[1], data.constraints.get(name))
        else:
            _draw_words(axis, cells[0], cells[1])
        axis.set_title(f"{name} ({unit})" if name == data.age else name, fontsize=10)
        axis.spines[["top", "right"]].set_visible(False)
    for axis in panels[len(names) :]:
        axis.set_axis_off()
    panels[0].legend(fontsize=8, frameon=False)
    figure.supylabel("scans", fontsize=10)
    return figure


def bin_edges(values: np.ndarray, constraint: object) -> np.ndarray:
    """Return (bars + 1,) edges of a histogram that holds all values.

    The bins that a constraint's distribution is spread over, continued to both sides; else twenty.
    """
    if isinstance(constraint, NumericConstraint) and constraint.distribution is not None:
        low, high = float(constraint.min or 0), float(constraint.max or 0)
        count = constraint.distribution.bins or max(1, math.ceil(high - low))
        width = (high - low) / count
        if width > 0:
            before = max(math.ceil((low - values.min()) / width), 0)
            after = max(math.ceil((values.max() - high) / width), 0)
            if before + count + after <= MOST_BARS:
                return low + width * np.arange(-before, count + after + 1)
    return np.histogram_bin_edges(values, BARS)


def _cells(cohort: Cohort, name: str) -> list[float | str]:
    return [subject.values[name] for subject in cohort if name in subject.values]


def _is_numeric(cells: Sequence[float | str], name: str, data: DataConfig) -> bool:
    condition, constraint = data.conditions.get(name), data.constraints.get(name)
    if condition is not None and condition.kind == "categoric":
        return False
    if constraint is not None and not isinstance(constraint, NumericConstraint):
        return False
    return bool(cells) and all(isinstance(cell, float) for cell in cells)


def _draw_numbers(
    axis: Axes, candidates: Sequence[float | str], chosen: Sequence[float | str], constraint: object
) -> None:
    edges = bin_edges(np.array(candidates, float), constraint)
    axis.hist(np.array(candidates, float), edges.tolist(), color=_LIGHT, label="candidates")
    axis.hist(np.array(chosen, float), edges.tolist(), color=_DARK, label="chosen")
    if isinstance(constraint, NumericConstraint):
        for end in (constraint.min, constraint.max):
            if end is not None:
                axis.axvline(end, color="0.4", linewidth=0.8, linestyle="--")


def _draw_words(axis: Axes, candidates: Sequence[float | str], chosen: Sequence[float | str]) -> None:
    words = [as_word(cell) for cell in candidates]
    names = sorted(set(words))
    taken = [as_word(cell) for cell in chosen]
    axis.bar(range(len(names)), [words.count(name) for name in names], color=_LIGHT, label="candidates")
    axis.bar(range(len(names)), [taken.count(name) for name in names], color=_DARK, label="chosen")
    axis.set_xticks(range(len(names)), names, rotation=90 if len(names) > 6 else 0)
