"""The pictures of an evaluation: pairs before and after, labels, and checkpoints of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from NeuroGenLib.registration.evaluation.results import Evaluation

STAGES = (
    ("_headers", "by the headers", "#bdbdbd"),
    ("_start", "affine start", "#6baed6"),
    ("", "registered", "#31688e"),
)
"""End of the column, name and colour."""
SCORES = {
    "dice": "Dice",
    "tre_mm": "landmark distance (mm)",
    "mutual_information": "mutual information (nats)",
}
"""What is drawn: the first of them that was measured."""
_MOST_NAMED = 24
"""Pairs and labels whose names find room."""


def evaluation_figure(evaluation: Evaluation) -> Figure:
    """Draw every pair's score as the headers place it, after the start and at the end, and Dice by label."""
    from matplotlib.figure import Figure

    panels = 2 if evaluation.labels else 1
    figure = Figure(figsize=(9, 3.6 * panels), layout="constrained")
    axes = figure.subplots(panels, 1, squeeze=False)
    _plot_pairs(axes[0, 0], [row for row in evaluation.rows if row["status"] == "done"])
    if evaluation.labels:
        _plot_labels(axes[1, 0], evaluation.labels)
    return figure


def checkpoints_figure(rows: Sequence[dict[str, Any]], unit: str, column: str, best: int) -> Figure:
    """Draw the mean score of every checkpoint against its epoch or step, the best one marked.

    Parameters
    ----------
    rows:
        One a checkpoint, with the columns ``unit`` and ``column``.
    unit:
        ``epoch`` or ``step``.
    column:
        A key of :data:`SCORES`.
    best:
        Epoch or step of the best one.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3.6), layout="constrained")
    axis = figure.subplots()
    measured = [(row[unit], row[column]) for row in rows if row[column] is not None]
    axis.plot(*zip(*measured, strict=True), "o-", color=STAGES[-1][2], markersize=4)
    value = dict(measured)[best]
    axis.plot(best, value, "o", color="#d94801", markersize=9)
    axis.annotate(f"{unit} {best}", (best, value), (6, 6), textcoords="offset points", fontsize=8)
    axis.set_xlabel(unit, fontsize=9)
    _dress(axis, SCORES[column])
    return figure


def _plot_pairs(axis: Axes, rows: Sequence[dict[str, Any]]) -> None:
    column = next(name for name in SCORES if any(row[name] is not None for row in rows))
    rows = [row for row in rows if row[column] is not None]
    places = np.arange(len(rows))
    for suffix, label, colour in STAGES:
        axis.plot(places, [row[f"{column}{suffix}"] for row in rows], "o", color=colour, label=label, markersize=5)
    ends = [(row[f"{column}_headers"], row[column]) for row in rows]
    axis.vlines(places, [min(pair) for pair in ends], [max(pair) for pair in ends], color="#dddddd", zorder=0)
    if len(rows) <= _MOST_NAMED:
        names = [f"{_short(row['moving'])}\nto {_short(row['fixed'])}" for row in rows]
        axis.set_xticks(places, names, fontsize=6, rotation=90 if len(rows) > 8 else 0)
    else:
        axis.set_xlabel("pair, in the order of the table", fontsize=9)
    _dress(axis, SCORES[column])
    axis.legend(fontsize=8, frameon=False, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1))


def _plot_labels(axis: Axes, rows: Sequence[dict[str, Any]]) -> None:
    labels = sorted({row["label"] for row in rows})
    places = np.arange(len(labels))
    for number, (suffix, _, colour) in enumerate(STAGES):
        means = []
        for label in labels:
            values = [
                row[f"dice{suffix}"] for row in rows if row["label"] == label and row[f"dice{suffix}"] is not None
            ]
            means.append(np.mean(values) if values else 0.0)
        axis.bar(places + 0.27 * (number - 1), means, 0.27, color=colour)
    if len(labels) <= 2 * _MOST_NAMED:
        axis.set_xticks(places, [str(label) for label in labels], fontsize=7)
    axis.set_xlabel("label", fontsize=9)
    _dress(axis, "mean Dice")
    axis.set_ylim(0, 1)


def _dress(axis: Axes, name: str) -> None:
    axis.set_ylabel(name, fontsize=9)
    axis.tick_params(labelsize=7)
    axis.spines[["top", "right"]].set_visible(False)


def _short(name: str) -> str:
    """Return the file's name without folders and suffixes."""
    return name.replace("\\", "/").rsplit("/", 1)[-1].split(".")[0][:24]
