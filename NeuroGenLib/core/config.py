"""Parameters typed once: frozen dataclasses that a YAML file, the command line and a panel all fill.

A job's parameters are one class::

    @dataclass(frozen=True)
    class Train(Config):
        epochs: Annotated[int, Range(1), Unit("passes"), Help("Passes over the training data")] = 100
        rate: Annotated[float, Range(0, 1, exclusive_low=True), Help("Learning rate")] = 1e-4

Types that fields may have: ``bool``, ``int``, ``float``, ``str``, ``Path``, ``Literal``, another :class:`Config`,
``tuple``, ``list`` and ``dict[str, ...]`` of these, ``X | None`` and other unions. Several configs in one union are
told apart by a field ``type: Literal["..."]`` of each.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
import numbers
import os
import re
import sys
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from NeuroGenLib.core.errors import InputError, nearest
from NeuroGenLib.core.files import existing_file

if TYPE_CHECKING:
    import jsonargparse

Job = TypeVar("Job", bound="Config")


@dataclass(frozen=True)
class Range:
    """Marks the allowed range of a number, or of every number in a container, in the field's unit.

    Both ends belong to it, but ``exclusive_low`` takes ``low`` itself away; an end that is ``None`` is open.
    """

    low: float | None = None
    high: float | None = None
    exclusive_low: bool = False

    def __contains__(self, value: float) -> bool:
        if self.low is not None and (value < self.low or (self.exclusive_low and value == self.low)):
            return False
        return self.high is None or value <= self.high

    def __str__(self) -> str:
        low = "" if self.low is None else f"{'above' if self.exclusive_low else 'at least'} {self.low}"
        high = "" if self.high is None else f"at most {self.high}"
        return " and ".join(part for part in (low, high) if part)


@dataclass(frozen=True)
class Unit:
    """Marks the unit of a number, such as ``Unit("mm")``."""

    name: str


@dataclass(frozen=True)
class Help:
    """Marks what a field means, in a phrase."""

    text: str


@dataclass(frozen=True)
class Config:
    """Base of every job's parameters; subclasses are frozen dataclasses too.

    Values are checked against the annotated types and ranges when the object is made. An ``int`` is taken for a
    ``float``, a ``str`` for a ``Path``, a list for a tuple and a mapping for a nested config; nothing else is
    converted.

    Raises
    ------
    InputError
        When a value has the wrong type or lies outside its range; the message names the key and what is allowed.
    """

    def __post_init__(self) -> None:
        for name, annotation in _annotations(type(self)).items():
            object.__setattr__(self, name, _checked(getattr(self, name), annotation, name))
        self.check()

    def check(self) -> None:
        """Raise :class:`~NeuroGenLib.core.errors.InputError` when fields contradict each other; to be overridden."""


@dataclass(frozen=True)
class Parameter:
    """One parameter of a job, as a panel or a command line shows it.

    ``name`` is dotted (``train.epochs``); ``type`` is without markers and without ``None``, which ``optional`` tells;
    ``default`` is ``dataclasses.MISSING`` when a value must be given; ``choices`` are those of a ``Literal``.
    """

    name: str
    type: Any
    default: Any
    unit: str = ""
    range: Range | None = None
    choices: tuple[Any, ...] = ()
    help: str = ""
    optional: bool = False

    @property
    def required(self) -> bool:
        """Whether a value must be given."""
        return self.default is MISSING

    def describe(self) -> str:
        """Return help, unit, range and default in one line."""
        notes = [f"in {self.unit}" if self.unit else "", str(self.range or "")]
        notes.append("required" if self.required else f"default {_as_text(self.default)}")
        return f"{self.help} [{', '.join(note for note in notes if note)}]".strip()


def from_mapping(cls: type[Job], mapping: Mapping[str, Any], where: str = "") -> Job:
    """Make a config from nested mappings, strictly.

    Parameters
    ----------
    mapping:
        Field names and values; nested configs are mappings. What is absent keeps its default.
    where:
        Dotted name of this config inside a larger one, for messages.

    Raises
    ------
    InputError
        When a key is unknown or abbreviated (the nearest right one is named), a required one is missing, or a value
        does not fit.
    """
    return _build(cls, mapping, where, None)


def to_mapping(config: Config) -> dict[str, Any]:
    """Return nested mappings that JSON and YAML can hold and :func:`from_mapping` turns back into the same config."""
    return {name: _plain(getattr(config, name)) for name in _annotations(type(config))}


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
        raise InputError(f"{path} holds no settings by name.", "Write one 'name: value' per line.")
    known = {parameter.name: annotation for parameter, annotation in _leaves(cls)}
    for name, value in (overrides or {}).items():
        if name not in known:
            raise InputError(f"There is no setting '{name}'.", nearest(name, known))
        _insert(content, name, _from_text(value, known[name]) if isinstance(value, str) else value)
    return from_mapping(cls, content)


def parameters(cls: type[Config]) -> list[Parameter]:
    """Return the parameters of ``cls`` and of the configs nested in it, in the order they are written."""
    return [parameter for parameter, _ in _leaves(cls)]


def add_arguments(parser: jsonargparse.ArgumentParser, cls: type[Config], prefix: str = "") -> None:
    """Add one ``--dotted.name VALUE`` option per parameter of ``cls``; read them back with :func:`given_options`.

    ``parser`` is made with ``allow_abbrev=False``; ``prefix`` is put before each name, with a dot.
    """
    import argparse

    for parameter in parameters(cls):
        # No default here: the parsed result then holds what was typed, and nothing that would override the file.
        option, text = f"--{_join(prefix, parameter.name)}", parameter.describe()
        parser.add_argument(option, default=argparse.SUPPRESS, metavar=_metavar(parameter), help=text)


def given_options(namespace: Any, cls: type[Config], prefix: str = "") -> dict[str, str]:
    """Return the options of :func:`add_arguments` that were typed, as ``overrides`` of :func:`load_config`."""
    names = [parameter.name for parameter in parameters(cls)]
    return {name: namespace[_join(prefix, name)] for name in names if _join(prefix, name) in namespace}


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
    import argparse

    import jsonargparse

    parser = jsonargparse.ArgumentParser(prog=program, description=description, exit_on_error=False, allow_abbrev=False)
    parser.add_argument("--config", default=None, metavar="FILE", help="YAML file with the settings")
    parser.add_argument("--print-config", action="store_true", help="Print the resulting settings as YAML and stop")
    add_arguments(parser, cls)
    known = ["config", "print-config", "help", *(parameter.name for parameter in parameters(cls))]
    try:
        namespace = parser.parse_args(_attach_values(arguments, known))
    except argparse.ArgumentError as error:
        raise InputError(f"{str(error).strip()[:1].upper()}{str(error).strip()[1:]}.", "See --help.") from error
    config = load_config(cls, namespace.config, given_options(namespace, cls))
    if namespace.print_config:
        import yaml

        sys.stdout.write(yaml.safe_dump(to_mapping(config), sort_keys=False))
        raise SystemExit(0)
    return config


def read_yaml(path: str | os.PathLike[str], *, as_text: bool = False) -> Any:
    """Read a YAML file safely, by the rules of YAML 1.2.

    Unlike YAML 1.1, ``1e-4`` is a number, ``yes`` and ``no`` are text, and so are dates and ``007``.

    Parameters
    ----------
    path:
        The file, UTF-8.
    as_text:
        Leave every scalar as text (subject ids that look like numbers).

    Raises
    ------
    InputError
        When it is missing, not YAML (the line is named), or names a key twice.
    """
    import yaml

    path = existing_file(path)
    try:
        return _parse_yaml(path.read_text(encoding="utf-8-sig"), as_text=as_text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f" in line {mark.line + 1}" if mark else ""
        raise InputError(f"{path} is not valid YAML{line}: {error.problem or error.context}.", "Correct it.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not a YAML text file ({error}).", "Save it as UTF-8 text.") from error


def _annotations(cls: type[Config]) -> dict[str, Any]:
    hints = typing.get_type_hints(cls, include_extras=True)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls)}


def _defaults(cls: type[Config], base: Config | None) -> dict[str, Any]:
    """Return the values that need not be given: those of ``base``, else the class's defaults."""
    if base is not None:
        return {name: getattr(base, name) for name in _annotations(cls)}
    fields = dataclasses.fields(cls)
    values = {field.name: field.default for field in fields if field.default is not MISSING}
    return values | {field.name: field.default_factory() for field in fields if field.default_factory is not MISSING}


def _join(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def _build(cls: type[Job], mapping: Any, where: str, base: Config | None) -> Job:
    """Make ``cls`` from ``mapping``; what is absent comes from ``base``, else from the class's defaults."""
    if not isinstance(mapping, Mapping):
        raise _wrong(where or cls.__name__, mapping, "a group of settings by name")
    annotations = _annotations(cls)
    for key in mapping:
        if key not in annotations:
            raise InputError(f"There is no setting '{_join(where, str(key))}'.", nearest(str(key), annotations))
    present = _defaults(cls, base)
    values = {}
    for name, annotation in annotations.items():
        key = _join(where, name)
        nested = _config_class(annotation)
        if nested is not None and (name in mapping or name not in present):
            given = {} if mapping.get(name) is None else mapping[name]
            values[name] = given if isinstance(given, nested) else _build(nested, given, key, present.get(name))
        elif name in mapping:
            values[name] = _checked(mapping[name], annotation, key)
        elif name in present:
            values[name] = present[name]
        else:
            raise InputError(f"The setting '{key}' is missing.", f"Add it to the file, or give --{key}.")
    try:
        return cls(**values)
    except InputError as error:
        # Single values passed above, so this is the class's own check, which does not know where it stands.
        if not where:
            raise
        raise error.within(where) from error


def _config_class(annotation: Any) -> type[Config] | None:
    bare, _ = _split_markers(annotation)
    return bare if isinstance(bare, type) and issubclass(bare, Config) else None


def _split_markers(annotation: Any, outer: tuple[Any, ...] = ()) -> tuple[Any, tuple[Any, ...]]:
    if typing.get_origin(annotation) is Annotated:
        bare, *markers = typing.get_args(annotation)
        return bare, (*markers, *outer)
    return annotation, outer


def _marker(markers: tuple[Any, ...], kind: type) -> Any:
    return next((marker for marker in markers if isinstance(marker, kind)), None)


def _checked(value: Any, annotation: Any, key: str, outer: tuple[Any, ...] = ()) -> Any:
    """Return ``value`` in the annotated type, or raise an error that names ``key``."""
    bare, markers = _split_markers(annotation, outer)
    origin = typing.get_origin(bare) or bare
    if origin in (typing.Union, types.UnionType):
        return _checked_union(value, bare, key, markers)
    if origin is Literal:
        return _checked_choice(value, typing.get_args(bare), key)
    if origin in (tuple, list):
        return _checked_sequence(value, bare, key, markers)
    if origin is dict:
        return _checked_dict(value, bare, key, markers)
    if origin in _SCALARS:
        return _checked_scalar(value, origin, key, markers)
    if isinstance(origin, type) and issubclass(origin, Config):
        return value if isinstance(value, origin) else from_mapping(origin, value, key)
    raise TypeError(f"The field {key} has a type that a config cannot hold: {annotation}")


def _checked_choice(value: Any, choices: tuple[Any, ...], key: str) -> Any:
    if any(value == choice and type(value) is type(choice) for choice in choices):
        return value
    raise _wrong(key, value, f"one of: {', '.join(map(_as_text, choices))}")


def _checked_union(value: Any, bare: Any, key: str, markers: tuple[Any, ...]) -> Any:
    members = typing.get_args(bare)
    if value is None and type(None) in members:
        return None
    members = tuple(member for member in members if member is not type(None))
    if len(members) == 1:
        return _checked(value, members[0], key, markers)
    configs = {_type_of(member): member for member in members if _config_class(member)}
    if isinstance(value, Mapping) and configs:
        name = _checked_choice(value.get("type"), tuple(configs), _join(key, "type"))
        return _checked(value, configs[name], key, markers)
    for member in members:
        try:
            return _checked(value, member, key, markers)
        except InputError:
            continue
    raise _wrong(key, value, " or ".join(_wanted(member, markers) for member in members))


def _type_of(member: Any) -> Any:
    """Return what the field ``type`` of a config in a union must hold."""
    bare, _ = _split_markers(member)
    return typing.get_args(_split_markers(_annotations(bare)["type"])[0])[0]


def _checked_sequence(value: Any, bare: Any, key: str, markers: tuple[Any, ...]) -> Any:
    kind, arguments = typing.get_origin(bare), typing.get_args(bare)
    if not isinstance(value, list | tuple):
        raise _wrong(key, value, "a list such as [a, b]")
    fixed = kind is tuple and arguments[-1] is not Ellipsis
    if fixed and len(value) != len(arguments):
        raise _wrong(key, value, f"a list of {len(arguments)} values")
    members = arguments if fixed else arguments[:1] * len(value)
    items = enumerate(zip(value, members, strict=True))
    return kind(_checked(item, member, f"{key}[{index}]", markers) for index, (item, member) in items)


def _checked_dict(value: Any, bare: Any, key: str, markers: tuple[Any, ...]) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise _wrong(key, value, "a mapping such as {name: value}")
    _, item_type = typing.get_args(bare)
    for name in value:
        _checked_scalar(name, str, f"{key}.{name}", ())
    return {name: _checked(item, item_type, _join(key, name), markers) for name, item in value.items()}


_SCALARS = {bool: "true or false", int: "a whole number", float: "a number", str: "text (in quotes)", Path: "a path"}


def _checked_scalar(value: Any, kind: type, key: str, markers: tuple[Any, ...]) -> Any:
    is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    fits = {
        bool: isinstance(value, bool),
        int: isinstance(value, numbers.Integral) and is_number,
        float: is_number and math.isfinite(value),
        str: isinstance(value, str),
        Path: isinstance(value, str | os.PathLike) and str(value) != "",
    }
    allowed = _marker(markers, Range)
    if not fits[kind] or (allowed is not None and kind in (int, float) and value not in allowed):
        raise _wrong(key, value, _wanted(kind, markers))
    return kind(value)


def _wanted(annotation: Any, outer: tuple[Any, ...]) -> str:
    bare, markers = _split_markers(annotation, outer)
    words = [_SCALARS.get(bare) or getattr(bare, "__name__", str(bare))]
    if bare in (int, float):
        unit = _marker(markers, Unit)
        words += [str(_marker(markers, Range) or ""), unit.name if unit else ""]
    return " ".join(word for word in words if word)


def _wrong(key: str, value: Any, wanted: str) -> InputError:
    shown = "empty" if value is None else repr(value)
    shown = shown if len(shown) <= 80 else f"{shown[:77]}..."
    return InputError(f"'{key}' is {shown}; it must be {wanted}.", f"Correct '{key}'.")


def _plain(value: Any) -> Any:
    if isinstance(value, Config):
        return to_mapping(value)
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return value


def _as_text(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    return str(_plain(value)).replace("'", "")


def _from_text(text: str, annotation: Any) -> Any:
    """Read one command-line value by its type; what cannot be read stays text, for the check to refuse by name."""
    bare, _ = _split_markers(annotation)
    origin, arguments = typing.get_origin(bare) or bare, typing.get_args(bare)
    if origin in (typing.Union, types.UnionType):
        return _union_from_text(text, arguments)
    if origin is Literal:
        return next((choice for choice in arguments if _as_text(choice) == text), text)
    if origin in (bool, int, float):
        value = _read_flow(text)
        return text if value is None or isinstance(value, list | dict) else value
    if origin in (list, tuple) and not text.strip().startswith("["):
        words = [word.strip() for word in text.split(",")] if text.strip() else []
        fixed = () if Ellipsis in arguments else arguments
        members = itertools.chain(fixed, itertools.repeat(arguments[0]))
        return [_from_text(word, member) for word, member in zip(words, members, strict=False)]
    return text if origin in (str, Path) else _read_flow(text)


def _union_from_text(text: str, members: tuple[Any, ...]) -> Any:
    if type(None) in members and text.strip().lower() in ("none", "null"):
        return None
    readings = [(_from_text(text, member), member) for member in members if member is not type(None)]
    for value, member in readings:
        try:
            return _checked(value, member, "")
        except InputError:
            continue
    return readings[0][0]


def _read_flow(text: str) -> Any:
    """Read ``[1, 2]``, ``{a: 1}``, ``true`` or ``1e-4`` by the rules of :func:`read_yaml`; else return the text."""
    import yaml

    try:
        return _parse_yaml(text, as_text=False)
    except yaml.YAMLError:
        return text


def _parse_yaml(text: str, *, as_text: bool) -> Any:
    loader = _yaml_loader(as_text=as_text)(text)
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()


@functools.cache
def _yaml_loader(*, as_text: bool) -> Any:
    import yaml

    class Loader(yaml.SafeLoader):
        """Safe loader with the scalars of YAML 1.2 that refuses duplicate keys."""

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:  # noqa: FBT001, FBT002 (PyYAML calls it so)
            keys = [key for key, _ in node.value if isinstance(key.value, str)]
            for index, key in enumerate(keys):
                if key.value in [earlier.value for earlier in keys[:index]]:
                    problem = f"the key '{key.value}' stands there twice"
                    raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
            return super().construct_mapping(node, deep)

    Loader.yaml_implicit_resolvers = {}
    scalars = {
        "merge": r"<<",
        "null": r"~|null|Null|NULL|",
        "bool": r"true|True|TRUE|false|False|FALSE",
        "int": r"[-+]?(?:0|[1-9][0-9]*)",
        "float": r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|[-+]?[0-9]+[eE][-+]?[0-9]+"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
    }
    for name in ("merge",) if as_text else tuple(scalars):
        Loader.add_implicit_resolver(f"tag:yaml.org,2002:{name}", re.compile(f"^(?:{scalars[name]})$"), None)
    return Loader


def _leaves(cls: type[Config], where: str = "", base: Config | None = None) -> list[tuple[Parameter, Any]]:
    """Return each parameter with its full annotation, nested configs opened."""
    annotations = _annotations(cls)
    defaults = _defaults(cls, base)
    leaves = []
    for name, annotation in annotations.items():
        nested = _config_class(annotation)
        if nested is not None:
            leaves += _leaves(nested, _join(where, name), defaults.get(name))
            continue
        bare, markers = _split_markers(annotation)
        members = typing.get_args(bare) if typing.get_origin(bare) in (typing.Union, types.UnionType) else (bare,)
        kinds = [member for member in members if member is not type(None)]
        kind = _split_markers(kinds[0])[0] if len(kinds) == 1 else bare
        unit, text = _marker(markers, Unit), _marker(markers, Help)
        parameter = Parameter(
            _join(where, name),
            kind,
            defaults.get(name, MISSING),
            unit=unit.name if unit else "",
            range=_marker(markers, Range),
            choices=typing.get_args(kind) if typing.get_origin(kind) is Literal else (),
            help=text.text if text else "",
            optional=type(None) in members,
        )
        leaves.append((parameter, annotation))
    return leaves


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
            raise _wrong(group, inner, "a group of settings by name")
        content[group] = dict(inner or {})  # a copy: YAML aliases share one object
        content = content[group]
    content[last] = value


def _attach_values(arguments: Sequence[str], known: Sequence[str]) -> list[str]:
    """Refuse unknown options, and write ``--name -1e-3`` as ``--name=-1e-3``, which argparse takes for an option."""
    attached: list[str] = []
    for argument in arguments:
        if argument.startswith("--"):
            name = argument[2:].partition("=")[0]
            if name not in known:
                raise InputError(f"There is no option '--{name}'.", nearest(name, known))
        elif re.match(r"-[\d.]", argument) and attached and attached[-1].startswith("--") and "=" not in attached[-1]:
            attached[-1] += f"={argument}"
            continue
        attached.append(argument)
    return attached
