"""Tables and figures for reports; on disk they appear whole or not at all."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from NeuroGenLib.core.config import Config, Help, Option, Range
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


PictureFormat = Literal["png", "svg", "pdf"]


@dataclass(frozen=True)
class PictureConfig(Config):
    """How the pictures of a job are written.

    Examples
    --------
    >>> PictureConfig(picture_format="svg").dpi
    150
    """

    picture_format: Annotated[PictureFormat, Help("Of the pictures; svg and pdf keep lines sharp")] = "png"
    dpi: Annotated[int, Range(50, 1200), Option(metavar="N"), Help("Pixels of the pictures per inch")] = 150


PICTURE = PictureConfig()
"""Pictures as they are written when nothing else is asked for."""


def save_figure(path: Path, figure: Figure, picture: PictureConfig = PICTURE) -> Path:
    """Write a figure, whole or not at all, and return the file; the same figure gives the same bytes.

    Parameters
    ----------
    path:
        Folder and name, without an ending.
    figure:
        Made without pyplot, which would keep it in memory.
    picture:
        Format and resolution.
    """
    import matplotlib as mpl

    kind = picture.picture_format
    file = path.with_name(f"{path.name}.{kind}")
    no_date: dict[str, dict[str, Any]] = {
        "png": {"Software": None},
        "svg": {"Date": None},
        "pdf": {"CreationDate": None},
    }
    buffer = io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": "neurogen", "pdf.fonttype": 42}):
        figure.savefig(buffer, format=kind, dpi=picture.dpi, metadata=no_date[kind])
    with atomic_file(file) as temporary:
        temporary.write_bytes(buffer.getvalue())
    return file
