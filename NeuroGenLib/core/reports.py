"""Tables and figures for reports; on disk they appear whole or not at all."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from NeuroGenLib.core.files import atomic_file, write_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from matplotlib.figure import Figure


def write_table(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Write rows as a tab-separated table."""
    lines = ["\t".join(rows[0])]
    lines += [
        "\t".join(f"{value:g}" if isinstance(value, float) else str(value) for value in row.values()) for row in rows
    ]
    write_text(path, "\n".join(lines) + "\n")


def markdown_table(rows: Sequence[Mapping[str, object]]) -> str:
    """Return rows as a Markdown table, for cards and documents."""
    names = list(rows[0])
    lines = [f"| {' | '.join(names)} |", f"|{'---|' * len(names)}"]
    lines += [f"| {' | '.join(str(row.get(name, '')) for name in names)} |" for row in rows]
    return "\n".join(lines)


def one_line(text: str) -> str:
    """Return a text without line breaks and doubled spaces, for the cell of a table."""
    return " ".join(text.split())


def reason_of(error: Exception) -> str:
    """Return what an error says, in one line; its type where it says nothing."""
    return one_line(str(error)) or type(error).__name__


def save_figure(path: Path, figure: Figure) -> None:
    """Write a figure as PNG, whole or not at all, and close it."""
    import matplotlib.pyplot as plt

    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
    plt.close(figure)
    with atomic_file(path) as temporary:
        temporary.write_bytes(buffer.getvalue())
