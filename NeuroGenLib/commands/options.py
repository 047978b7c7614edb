"""Options of the commands: parsers that take no abbreviations and explain what is wrong."""

from __future__ import annotations

import json
import math
import sys
from typing import TYPE_CHECKING, Any

from NeuroGenLib.core.arguments import ArgumentParser
from NeuroGenLib.core.errors import InputError
from NeuroGenLib.core.progress import SILENT, JsonLinesProgress, Progress, TerminalProgress

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence


def make_parser(name: str, description: str, examples: Sequence[str] = ()) -> ArgumentParser:
    """Return the parser of the command ``neurogen NAME``; see :class:`~NeuroGenLib.core.arguments.ArgumentParser`."""
    return ArgumentParser(f"neurogen {name}", description, examples)


def add_json_option(parser: argparse._ActionsContainer) -> None:
    """Add ``--json``."""
    parser.add_argument("--json", action="store_true", help="print one line of JSON instead of text")


def add_report_options(parser: ArgumentParser) -> None:
    """Add ``--json`` and ``--progress``."""
    add_json_option(parser)
    parser.add_argument(
        "--progress",
        choices=("bar", "json", "none"),
        default="bar",
        help="how to show progress on stderr (default: bar)",
    )


def add_device_option(parser: ArgumentParser) -> None:
    """Add ``--device``."""
    parser.add_argument(
        "--device",
        default="auto",
        metavar="NAME",
        help="auto (a GPU when there is one), cpu, cuda, cuda:N or mps (default: auto)",
    )


def make_progress(kind: str) -> Progress:
    """Return the progress that ``--progress`` asks for."""
    if kind == "json":
        return JsonLinesProgress(sys.stderr)
    return TerminalProgress() if kind == "bar" else SILENT


def print_json(content: dict[str, Any]) -> None:
    """Print one line of JSON, with escapes for what the terminal's encoding lacks."""
    line = json.dumps(content, ensure_ascii=False, default=str)
    try:
        line.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeError:
        line = json.dumps(content, default=str)
    print(line)


def number(text: str, what: str, *, positive: bool = False) -> float:
    """Return one finite number.

    Raises
    ------
    InputError
        When it is none, or not above zero where it must be.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or (positive and value <= 0):
        raise InputError(
            f"'{text}' is not {what}.", f"Write one number{' above zero' if positive else ''}.", code="value-invalid"
        )
    return value


def whole_number(text: str, what: str, least: int = 0) -> int:
    """Return a whole number of at least ``least``.

    Raises
    ------
    InputError
        When it is none, or smaller.
    """
    if not text.isdecimal() or int(text) < least:
        raise InputError(f"'{text}' is not {what}.", f"Write a whole number, at least {least}.", code="value-invalid")
    return int(text)
