"""The results as a table for people."""

from __future__ import annotations

from statistics import mean
from typing import Any

HEADING = (
    "| kind | fixed | moving | program | Dice before | Dice | folded voxels | CPU s | wall s | load |\n"
    "|---|---|---|---|--:|--:|--:|--:|--:|--:|\n"
)
MEANS = (
    "| kind | program | runs | Dice before | Dice | folded voxels | CPU s | wall s |\n"
    "|---|---|--:|--:|--:|--:|--:|--:|\n"
)
NUMBERS = {"dice_before": ".3f", "dice": ".3f", "folded_voxels": ".0f", "cpu_s": ".0f", "wall_s": ".0f", "load": ".1f"}


def markdown(rows: list[dict[str, Any]], programs: list[str]) -> str:
    """Return two tables: every run, and the means over the pairs of a kind, which leave failed runs out.

    Parameters
    ----------
    rows:
        Runs as in ``results.json``.
    programs:
        Names in the order in which they are listed within a pair.
    """
    pairs = list(dict.fromkeys(map(_pair, rows)))
    order = sorted(rows, key=lambda row: (pairs.index(_pair(row)), programs.index(row["program"])))
    runs = "".join(_line([*_pair(row), row["program"], *_numbers(row)]) for row in order)
    failures = "".join(
        f"\n{row['program']}, {row['fixed']}, {row['moving']}: {row['error']}\n" for row in order if "error" in row
    )
    return f"{HEADING}{runs}{failures}\n{MEANS}{_means(rows, programs)}"


def _means(rows: list[dict[str, Any]], programs: list[str]) -> str:
    lines = []
    for kind in dict.fromkeys(row["kind"] for row in rows):
        for program in programs:
            done = [row for row in rows if (row["kind"], row["program"]) == (kind, program) and "error" not in row]
            if done:
                average = {name: _mean([row[name] for row in done]) for name in NUMBERS if name != "load"}
                lines.append(_line([kind, program, str(len(done)), *_numbers(average)[:-1]]))
    return "".join(lines)


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return mean(known) if known else None


def _numbers(row: dict[str, Any]) -> list[str]:
    return ["" if row.get(name) is None else format(row[name], style) for name, style in NUMBERS.items()]


def _pair(row: dict[str, Any]) -> tuple[str, str, str]:
    return row["kind"], row["fixed"], row["moving"]


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |\n"
