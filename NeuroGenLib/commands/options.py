"""Options of the commands: parsers that take no abbreviations and explain what is wrong."""

from __future__ import annotations

import argparse
import json
import math
import sys
from typing import TYPE_CHECKING, Any

from NeuroGenLib.core.errors import InputError, nearest
from NeuroGenLib.core.progress import SILENT, JsonLinesProgress, Progress, TerminalProgress

if TYPE_CHECKING:
    from collections.abc import Sequence

    import jsonargparse


def make_parser(name: str, description: str, examples: Sequence[str] = ()) -> jsonargparse.ArgumentParser:
    """Return the parser of one command.

    Parameters
    ----------
    name:
        The command's words, without ``neurogen``.
    description:
        What it does.
    examples:
        Command lines shown under the help.
    """
    import jsonargparse

    epilog = "examples:\n" + "\n".join(f"  {line}" for line in examples) if examples else None
    return jsonargparse.ArgumentParser(
        prog=f"neurogen {name}",
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        exit_on_error=False,
        allow_abbrev=False,
    )


def add_report_options(parser: jsonargparse.ArgumentParser) -> None:
    """Add ``--json`` and ``--progress``."""
    parser.add_argument("--json", action="store_true", help="print what was done as one line of JSON")
    parser.add_argument(
        "--progress",
        choices=("bar", "json", "none"),
        default="bar",
        help="how to show progress (default: bar, on stderr)",
    )


def add_device_option(parser: jsonargparse.ArgumentParser) -> None:
    """Add ``--device``."""
    parser.add_argument(
        "--device", default="auto", metavar="NAME", help="auto (a GPU when there is one), cpu, cuda, cuda:N or mps"
    )


def parse(parser: jsonargparse.ArgumentParser, arguments: Sequence[str]) -> Any:
    """Parse the arguments of a command.

    Raises
    ------
    InputError
        When an option is unknown, abbreviated or lacks its value; the nearest right one is named.
    """
    known = [option for action in parser._actions for option in action.option_strings]
    for argument in arguments:
        name = argument.partition("=")[0]
        if argument.startswith("--") and len(argument) > 2 and name not in known:
            raise InputError(f"There is no option '{name}'.", nearest(name, known))
    try:
        return parser.parse_args(_positionals_first(_attached(arguments, known), parser))
    except argparse.ArgumentError as error:
        sentence = str(error).strip().splitlines()[0]
        raise InputError(f"{sentence[:1].upper()}{sentence[1:]}.", f"See '{parser.prog} --help'.") from error


def make_progress(kind: str) -> Progress:
    """Return the progress that ``--progress`` asks for."""
    if kind == "json":
        return JsonLinesProgress(sys.stderr)
    return TerminalProgress() if kind == "bar" else SILENT


def print_json(content: dict[str, Any]) -> None:
    """Print one line of JSON."""
    print(json.dumps(content, ensure_ascii=False, default=str))


def numbers(text: str, what: str) -> tuple[float, ...]:
    """Return comma-separated numbers.

    Raises
    ------
    InputError
        When one of them is no number.
    """
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise InputError(f"'{text}' is not {what}.", "Write numbers with commas between them.") from None


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
        raise InputError(f"'{text}' is not {what}.", f"Write one number{' above zero' if positive else ''}.")
    return value


def whole_number(text: str, what: str, least: int = 0) -> int:
    """Return a whole number of at least ``least``.

    Raises
    ------
    InputError
        When it is none, or smaller.
    """
    if not text.isdecimal() or int(text) < least:
        raise InputError(f"'{text}' is not {what}.", f"Write a whole number, at least {least}.")
    return int(text)


def name_values(items: Sequence[str]) -> dict[str, list[str]]:
    """Return the values of repeated ``NAME=VALUE[,VALUE...]`` options by name.

    Raises
    ------
    InputError
        When one has no ``=``, no value, or names a condition again.
    """
    values: dict[str, list[str]] = {}
    for item in items:
        name, equals, text = item.partition("=")
        parts = [part.strip() for part in text.split(",")]
        if not equals or not name or not all(parts):
            raise InputError(f"'--set {item}' is not NAME=VALUE.", "Write --set lv_volume_normed=0.12.")
        if name in values:
            raise InputError(f"'{name}' is set twice.", f"Give all its values at once: --set {name}=1,2.")
        values[name] = parts
    return values


def _attached(arguments: Sequence[str], known: Sequence[str]) -> list[str]:
    """Write ``--box -50,50`` as ``--box=-50,50``: argparse takes a leading minus for an option."""
    attached: list[str] = []
    for argument in arguments:
        negative = (argument[:1] == "-" and argument[1:2].isdigit()) or argument[:2] == "-."
        if negative and attached and attached[-1] in known:
            attached[-1] += f"={argument}"
        else:
            attached.append(argument)
    return attached


def _positionals_first(arguments: Sequence[str], parser: jsonargparse.ArgumentParser) -> list[str]:
    """Put what is no option first: argparse takes several files only where no option stands between them."""
    takes = {name: action.nargs for action in parser._actions for name in action.option_strings}
    positionals: list[str] = []
    options: list[str] = []
    most: int | str | None = 0  # values that the last option still takes
    for argument in arguments:
        if argument.startswith("-") and len(argument) > 1:
            name, equals, _ = argument.partition("=")
            options.append(argument)
            most = 0 if equals else takes.get(name)
        elif most == 0:
            positionals.append(argument)
        else:
            options.append(argument)
            most = 0 if most is None else most
    return positionals + options
