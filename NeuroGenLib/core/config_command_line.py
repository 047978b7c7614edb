"""Configs on the command line: options from fields, values from text, files with overrides."""

from __future__ import annotations

import argparse
import itertools
import math
import sys
import types
import typing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from NeuroGenLib.core.arguments import ArgumentParser
from NeuroGenLib.core.config import (
    Config,
    Option,
    Parameter,
    annotated_parameters,
    as_text,
    checked_value,
    from_mapping,
    parameters,
    split_markers,
    to_mapping,
    wrong_value,
)
from NeuroGenLib.core.errors import InputError, nearest
from NeuroGenLib.core.yaml_files import read_flow, read_yaml

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Mapping, Sequence

Job = TypeVar("Job", bound=Config)

_PROPER_NOUNS = ("Jacobian", "Rician")


def load_config(
    cls: type[Job], path: str | os.PathLike[str] | None = None, overrides: Mapping[str, Any] | None = None
) -> Job:
    """Read a config from a YAML file and override single values.

    Relative paths in fields of type ``Path`` stay as they are written: they start from the current directory, not
    from the file's folder.

    Parameters
    ----------
    path:
        The YAML file; ``None`` starts from the defaults.
    overrides:
        Dotted names and values. Text is read the way the command line reads it: ``"200"`` for a number,
        ``"1,1,1"`` or ``"[1, 1, 1]"`` for a tuple or list, ``"{a: 1}"`` for a mapping, ``"none"`` for nothing.

    Raises
    ------
    InputError
        When the file is missing or no YAML mapping, or anything :func:`from_mapping` refuses.
    """
    content = None if path is None else read_yaml(path)
    content = {} if content is None else content
    if not isinstance(content, dict):
        raise InputError(f"{path} holds no settings by name.", "Write one 'name: value' per line.", code="file-type")
    known = {parameter.name: annotation for parameter, annotation in annotated_parameters(cls)}
    for name, value in (overrides or {}).items():
        if name not in known:
            raise InputError(f"There is no setting '{name}'.", nearest(name, known), code="name-unknown")
        _insert(content, name, _from_text(value, known[name]) if isinstance(value, str) else value)
    return from_mapping(cls, content)


def add_options(parser: argparse._ActionsContainer, cls: type[Config], only: Iterable[str] = ()) -> None:
    """Add one option per parameter of a run; :func:`options_of` reads them back.

    Parameters
    ----------
    parser:
        A parser, or a group of one.
    cls:
        The config. Underscores are dashes on the command line. A switch that is off has an option that turns it on, one
        that is on an option ``--no-...``; a ``dict`` takes ``NAME=VALUE`` again and again.
    only:
        The parameters to add; all when empty.
    """
    for parameter, annotation in annotated_parameters(cls):
        if only and parameter.name not in only:
            continue
        option = parameter.option or Option()
        flag = f"--{option.name or parameter.name.replace('_', '-')}"
        more: dict[str, Any] = {
            "dest": parameter.name,
            "default": argparse.SUPPRESS,
            "help": _help(parameter.describe()),
        }
        if parameter.type is bool and parameter.default is True:
            parser.add_argument(f"--no-{flag[2:]}", action="store_false", **{**more, "help": _help(parameter.help)})
        elif parameter.type is bool:
            parser.add_argument(flag, action="store_true", **{**more, "help": _help(parameter.help)})
        elif _origin(annotation) is dict:
            parser.add_argument(flag, action="append", metavar=option.metavar or "NAME=VALUE", **more)
        else:
            if option.several:
                more["nargs"] = "+"
            parser.add_argument(
                flag, metavar=option.metavar or _metavar(parameter), required=parameter.required, **more
            )


def options_of(namespace: argparse.Namespace, cls: type[Job], **more: Any) -> Job:
    """Return the config whose options of :func:`add_options` were typed; ``more`` are values that come from elsewhere.

    Raises
    ------
    InputError
        When a value does not fit; the message names the parameter.
    """
    options = vars(namespace)
    values: dict[str, Any] = {}
    for parameter, annotation in annotated_parameters(cls):
        if parameter.name in options and parameter.name not in more:
            typed = options[parameter.name]
            if isinstance(typed, list) and parameter.option is not None and parameter.option.several:
                typed = ",".join(typed)
            elif isinstance(typed, list):
                typed = _named_values(typed, annotation, parameter)
            _insert(values, parameter.name, _from_text(typed, annotation) if isinstance(typed, str) else typed)
    return from_mapping(cls, values | more)


def add_arguments(parser: ArgumentParser, cls: type[Config]) -> None:
    """Add one ``--dotted.name VALUE`` option per parameter of ``cls``, for settings that may also come from a file."""
    groups: dict[str, argparse._ArgumentGroup] = {}
    for parameter in sorted(parameters(cls), key=lambda parameter: "." in parameter.name):
        title = parameter.name.rpartition(".")[0] or "general"
        if title not in groups:
            groups[title] = parser.add_argument_group(title)
        # No default here: the parsed result then holds what was typed, and nothing that would override the file.
        metavar, text = _metavar(parameter), _help(parameter.describe())
        groups[title].add_argument(f"--{parameter.name}", default=argparse.SUPPRESS, metavar=metavar, help=text)


def parse_config(cls: type[Job], arguments: Sequence[str], program: str, description: str) -> Job:
    """Make a config from command-line arguments.

    ``--config FILE`` reads a YAML file, ``--dotted.name VALUE`` overrides it wherever it stands on the line.
    ``--help`` and ``--print-config`` (the resulting settings as YAML) print and end the program with code 0.

    ``arguments`` are what follows the program's name; ``program`` and ``description`` are for the help.

    Raises
    ------
    InputError
        When an option is unknown or abbreviated, lacks its value, or has a value that does not fit.
    """
    parser = ArgumentParser(program, description, empty_values=True)
    parser.usage = f"{program} [-h] [--config FILE] [--print-config] [--GROUP.SETTING VALUE ...]"
    parser.add_argument("--config", metavar="FILE", help="YAML file with the settings")
    parser.add_argument("--print-config", action="store_true", help="print the resulting settings as YAML and stop")
    add_arguments(parser, cls)
    options = vars(parser.parse(arguments))
    path, printed = options.pop("config"), options.pop("print_config")
    config = load_config(cls, path, options)
    if printed:
        import yaml

        sys.stdout.write(yaml.safe_dump(to_mapping(config), sort_keys=False))
        raise SystemExit(0)
    return config


def _help(text: str) -> str:
    """Return a parameter's help as argparse formats it, with a small letter first like the help of other options."""
    first = text.partition(" ")[0]
    plain = first.capitalize() == first and first not in _PROPER_NOUNS
    return (text[:1].lower() + text[1:] if plain else text).replace("%", "%%")


def _origin(annotation: Any) -> Any:
    bare, _ = split_markers(annotation)
    return typing.get_origin(bare) or bare


def _named_values(items: Sequence[str], annotation: Any, parameter: Parameter) -> dict[str, Any]:
    """Return the values of repeated ``NAME=VALUE`` options by name, each read by the type of the dict's values."""
    bare, _ = split_markers(annotation)
    _, kind = typing.get_args(bare)
    values: dict[str, Any] = {}
    flag = parameter.option.name if parameter.option else parameter.name
    for item in items:
        name, equals, text = item.partition("=")
        if not equals or not name or not all(part.strip() for part in text.split(",")):
            raise InputError(
                f"'--{flag} {item}' is not NAME=VALUE.", f"Write --{flag} NAME=VALUE.", code="value-invalid"
            )
        if name in values:
            raise InputError(
                f"'{name}' is set twice.", f"Give all its values at once: --{flag} {name}=1,2.", code="value-duplicate"
            )
        values[name] = _from_text(text, kind)
    return values


def _from_text(text: str, annotation: Any) -> Any:
    """Read one command-line value by its type; what cannot be read stays text, for the check to refuse by name."""
    bare, _ = split_markers(annotation)
    origin, arguments = typing.get_origin(bare) or bare, typing.get_args(bare)
    if origin in (typing.Union, types.UnionType):
        return _union_from_text(text, arguments)
    if origin is Literal:
        return next((choice for choice in arguments if as_text(choice) == text), text)
    if origin in (bool, int, float):
        value = read_flow(text)
        finite = not isinstance(value, float) or math.isfinite(value)  # else refused as it was typed: 1e400, not inf
        return value if isinstance(value, bool | int | float | str) and finite else text
    if origin in (list, tuple) and not text.strip().startswith("["):
        words = [word.strip() for word in text.split(",")] if text.strip() else []
        fixed = () if Ellipsis in arguments else arguments
        members = itertools.chain(fixed, itertools.repeat(arguments[0]))
        return [_from_text(word, member) for word, member in zip(words, members, strict=False)]
    return text if origin in (str, Path) else read_flow(text)


def _union_from_text(text: str, members: tuple[Any, ...]) -> Any:
    if type(None) in members and text.strip().lower() in ("none", "null"):
        return None
    readings = [(_from_text(text, member), member) for member in members if member is not type(None)]
    for value, member in readings:
        try:
            return checked_value(value, member, "")
        except InputError:
            continue
    return readings[0][0]


def _metavar(parameter: Parameter) -> str:
    if parameter.choices:
        return "{" + ",".join(map(str, parameter.choices)) + "}"
    names = {bool: "{true,false}", int: "N", float: "NUMBER", str: "TEXT", Path: "PATH"}
    return names.get(parameter.type, "VALUE")


def _insert(content: dict[str, Any], name: str, value: Any) -> None:
    *groups, last = name.split(".")
    for group in groups:
        inner = content.get(group)
        if inner is not None and not isinstance(inner, dict):
            raise wrong_value(group, inner, "a group of settings by name")
        content[group] = dict(inner or {})  # a copy: YAML aliases share one object
        content = content[group]
    content[last] = value
