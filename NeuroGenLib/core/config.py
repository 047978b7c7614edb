"""Parameters typed once: frozen dataclasses that a YAML file, the command line and a panel all fill.

A job's parameters are one class::

    @dataclass(frozen=True)
    class Train(Config):
        epochs: Annotated[int, Range(1), Unit("passes"), Help("Passes over the training data")] = 100
        rate: Annotated[float, Range(0, 1, exclusive_low=True), Help("Learning rate")] = 1e-4

Types that fields may have: ``bool``, ``int``, ``float``, ``str``, ``Path``, ``Literal``, another :class:`Config`,
``tuple``, ``list`` and ``dict[str, ...]`` of these, ``X | None`` and other unions. Several configs in one union are
distinguished by a field ``type: Literal["..."]`` of each. ``Any`` is not checked.
"""

from __future__ import annotations

import dataclasses
import math
import numbers
import os
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from NeuroGenLib.core.errors import InputError, nearest

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
class Option:
    """Marks how a field is written on the command line where that differs from its name, without dashes.

    A list with ``several`` takes words with spaces between them, too: ``--thickness 2 3``.
    """

    name: str = ""
    metavar: str = ""
    several: bool = False


@dataclass(frozen=True)
class Identifying:
    """Marks values that may identify people, such as the ids of subjects; :func:`shareable` withholds them.

    Withheld, the field is absent, or empty with ``blank``.
    """

    blank: bool = False


@dataclass(frozen=True)
class Location:
    """Marks text that may be a path of this machine; :func:`shareable` keeps its last part, as of every ``Path``."""


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
            object.__setattr__(self, name, checked_value(getattr(self, name), annotation, name))
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
    option: Option | None = None

    @property
    def required(self) -> bool:
        """Whether a value must be given."""
        return self.default is MISSING

    def describe(self) -> str:
        """Return help, unit, range and default in one line."""
        notes = [f"in {self.unit}" if self.unit else "", str(self.range or "")]
        if self.required:
            notes.append("required")
        elif self.default not in (None, {}, (), [], ""):
            notes.append(f"default: {as_text(self.default)}")
        words = ", ".join(note for note in notes if note)
        return f"{self.help} ({words})".strip() if words else self.help


def from_mapping(cls: type[Job], mapping: Mapping[str, Any], where: str = "", *, ignore_unknown: bool = False) -> Job:
    """Make a config from nested mappings, strictly.

    Parameters
    ----------
    mapping:
        Field names and values; nested configs are mappings. What is absent keeps its default.
    where:
        Dotted name of this config inside a larger one, for messages.
    ignore_unknown:
        Pass over keys that the config, or a config nested in it, does not have.

    Raises
    ------
    InputError
        When a key is unknown or abbreviated (the nearest right one is named), a required one is missing, or a value
        does not fit.
    """
    return _build(cls, mapping, where, None, ignore_unknown=ignore_unknown)


def to_mapping(config: Config) -> dict[str, Any]:
    """Return nested mappings that JSON and YAML can hold and :func:`from_mapping` turns back into the same config."""
    return {name: _plain(getattr(config, name)) for name in _annotations(type(config))}


def shareable(config: Config, *, identities: bool = False) -> dict[str, Any]:
    """Return nested mappings as :func:`to_mapping` does, for publication: without identities and folders.

    Parameters
    ----------
    config:
        The parameters.
    identities:
        Keep what is marked :class:`Identifying`.

    Examples
    --------
    >>> @dataclass(frozen=True)
    ... class Data(Config):
    ...     table: Path
    ...     include: Annotated[tuple[str, ...], Identifying()] = ()
    >>> shareable(Data(Path("/home/ann/cohort.tsv"), ("sub-ann",)))
    {'table': 'cohort.tsv'}
    """
    shared = {}
    for name, annotation in _annotations(type(config)).items():
        value, (_, markers) = getattr(config, name), split_markers(annotation)
        mark = _marker(markers, Identifying)
        if mark is None or identities:
            located = _marker(markers, Location) is not None and value is not None
            shared[name] = _shareable_value(Path(value) if located else value, identities=identities)
        elif mark.blank:
            shared[name] = [] if isinstance(value, tuple | list) else None
    return shared


def _shareable_value(value: Any, *, identities: bool) -> Any:
    if isinstance(value, Config):
        return shareable(value, identities=identities)
    if isinstance(value, Path):
        return value.name
    if isinstance(value, list | tuple):
        return [_shareable_value(item, identities=identities) for item in value]
    if isinstance(value, dict):
        return {name: _shareable_value(item, identities=identities) for name, item in value.items()}
    return value


def parameters(cls: type[Config]) -> list[Parameter]:
    """Return the parameters of ``cls`` and of the configs nested in it, in the order they are written."""
    return [parameter for parameter, _ in annotated_parameters(cls)]


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


def dotted_name(where: str, name: str) -> str:
    """Return the name of a setting inside a group; ``where`` may be empty."""
    return f"{where}.{name}" if where else name


def _build(cls: type[Job], mapping: Any, where: str, base: Config | None, *, ignore_unknown: bool = False) -> Job:
    """Make ``cls`` from ``mapping``; what is absent comes from ``base``, else from the class's defaults."""
    if not isinstance(mapping, Mapping):
        raise wrong_value(where or cls.__name__, mapping, "a group of settings by name")
    annotations = _annotations(cls)
    for key in mapping:
        if key not in annotations and not ignore_unknown:
            raise InputError(
                f"There is no setting '{dotted_name(where, str(key))}'.",
                nearest(str(key), annotations),
                code="name-unknown",
            )
    present = _defaults(cls, base)
    values = {}
    for name, annotation in annotations.items():
        key = dotted_name(where, name)
        nested = _config_class(annotation)
        if nested is not None and (name in mapping or name not in present):
            section = {} if mapping.get(name) is None else mapping[name]
            values[name] = (
                section
                if isinstance(section, nested)
                else _build(nested, section, key, present.get(name), ignore_unknown=ignore_unknown)
            )
        elif name in mapping:
            values[name] = checked_value(mapping[name], annotation, key)
        elif name in present:
            values[name] = present[name]
        else:
            raise InputError(
                f"The setting '{key}' is missing.", f"Add it to the file, or give --{key}.", code="value-missing"
            )
    try:
        return cls(**values)
    except InputError as error:
        # Single values passed above, so this is the class's own check, which does not know where it stands.
        if not where:
            raise
        raise error.within(where) from error


def _config_class(annotation: Any) -> type[Config] | None:
    bare, _ = split_markers(annotation)
    return bare if isinstance(bare, type) and issubclass(bare, Config) else None


def split_markers(annotation: Any, outer: tuple[Any, ...] = ()) -> tuple[Any, tuple[Any, ...]]:
    """Return a type without its markers, and the markers; ``outer`` are those of what holds it."""
    if typing.get_origin(annotation) is Annotated:
        bare, *markers = typing.get_args(annotation)
        return bare, (*markers, *outer)
    return annotation, outer


def _marker(markers: tuple[Any, ...], kind: type) -> Any:
    return next((marker for marker in markers if isinstance(marker, kind)), None)


def checked_value(value: Any, annotation: Any, key: str, outer: tuple[Any, ...] = ()) -> Any:
    """Return ``value`` in the annotated type, or raise an error that names ``key``."""
    bare, markers = split_markers(annotation, outer)
    origin = typing.get_origin(bare) or bare
    if origin in (typing.Union, types.UnionType):
        return _checked_union(value, bare, key, markers)
    if origin is Literal:
        return _checked_choice(value, typing.get_args(bare), key)
    if origin in (tuple, list, dict):
        return (_checked_dict if origin is dict else _checked_sequence)(value, bare, key, markers)
    if origin in _SCALARS:
        return _checked_scalar(value, origin, key, markers)
    if isinstance(origin, type) and issubclass(origin, Config) and not isinstance(value, origin):
        return from_mapping(origin, value, key)
    if bare is Any or (isinstance(origin, type) and issubclass(origin, Config)):
        return value
    raise TypeError(f"The field {key} has a type that a config cannot hold: {annotation}")


def _checked_choice(value: Any, choices: tuple[Any, ...], key: str) -> Any:
    if any(value == choice and type(value) is type(choice) for choice in choices):
        return value
    raise wrong_value(key, value, f"one of: {', '.join(map(as_text, choices))}")


def _checked_union(value: Any, bare: Any, key: str, markers: tuple[Any, ...]) -> Any:
    members = typing.get_args(bare)
    if value is None and type(None) in members:
        return None
    members = tuple(member for member in members if member is not type(None))
    if len(members) == 1:
        return checked_value(value, members[0], key, markers)
    configs = {_type_of(member): member for member in members if _config_class(member)}
    if isinstance(value, Mapping) and configs:
        name = _checked_choice(value.get("type"), tuple(configs), dotted_name(key, "type"))
        return checked_value(value, configs[name], key, markers)
    for member in members:
        try:
            return checked_value(value, member, key, markers)
        except InputError:
            continue
    raise wrong_value(key, value, " or ".join(_describe(member, markers) for member in members))


def _type_of(member: Any) -> Any:
    """Return what the field ``type`` of a config in a union must hold."""
    bare, _ = split_markers(member)
    return typing.get_args(split_markers(_annotations(bare)["type"])[0])[0]


def _checked_sequence(value: Any, bare: Any, key: str, markers: tuple[Any, ...]) -> Any:
    kind, arguments = typing.get_origin(bare), typing.get_args(bare)
    if not isinstance(value, list | tuple):
        raise wrong_value(key, value, "a list such as [a, b]")
    fixed = kind is tuple and arguments[-1] is not Ellipsis
    if fixed and len(value) != len(arguments):
        raise wrong_value(key, value, f"a list of {len(arguments)} values")
    members = arguments if fixed else arguments[:1] * len(value)
    items = enumerate(zip(value, members, strict=True))
    return kind(checked_value(item, member, f"{key}[{index}]", markers) for index, (item, member) in items)


def _checked_dict(value: Any, bare: Any, key: str, markers: tuple[Any, ...]) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise wrong_value(key, value, "a mapping such as {name: value}")
    _, item_type = typing.get_args(bare)
    for name in value:
        _checked_scalar(name, str, f"{key}.{name}", ())
    return {name: checked_value(item, item_type, dotted_name(key, name), markers) for name, item in value.items()}


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
        raise wrong_value(key, value, _describe(kind, markers))
    return kind(value)


def _describe(annotation: Any, outer: tuple[Any, ...]) -> str:
    bare, markers = split_markers(annotation, outer)
    if typing.get_origin(bare) is tuple:
        members = typing.get_args(bare)
        return "a list" if Ellipsis in members else f"{len(members)} values"
    words = [_SCALARS.get(bare) or getattr(bare, "__name__", str(bare))]
    if bare in (int, float):
        unit = _marker(markers, Unit)
        words += [str(_marker(markers, Range) or ""), unit.name if unit else ""]
    return " ".join(word for word in words if word)


def wrong_value(key: str, value: Any, expected: str) -> InputError:
    """Return the error of a value that does not fit; ``expected`` says what it must be."""
    shown = "empty" if value is None else repr(value)
    shown = shown if len(shown) <= 80 else f"{shown[:77]}..."
    return InputError(f"'{key}' is {shown}; it must be {expected}.", f"Correct '{key}'.", code="value-invalid")


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


def as_text(value: Any) -> str:
    """Return a value as a person writes it on the command line."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    return str(_plain(value)).replace("'", "")


def annotated_parameters(cls: type[Config], where: str = "", base: Config | None = None) -> list[tuple[Parameter, Any]]:
    """Return each parameter with its full annotation, nested configs opened."""
    annotations = _annotations(cls)
    defaults = _defaults(cls, base)
    leaves = []
    for name, annotation in annotations.items():
        nested = _config_class(annotation)
        if nested is not None:
            leaves += annotated_parameters(nested, dotted_name(where, name), defaults.get(name))
            continue
        bare, markers = split_markers(annotation)
        members = typing.get_args(bare) if typing.get_origin(bare) in (typing.Union, types.UnionType) else (bare,)
        kinds = [member for member in members if member is not type(None)]
        kind = split_markers(kinds[0])[0] if len(kinds) == 1 else bare
        unit, text = _marker(markers, Unit), _marker(markers, Help)
        parameter = Parameter(
            dotted_name(where, name),
            kind,
            defaults.get(name, MISSING),
            unit=unit.name if unit else "",
            range=_marker(markers, Range),
            choices=typing.get_args(kind) if typing.get_origin(kind) is Literal else (),
            help=text.text if text else "",
            optional=type(None) in members,
            option=_marker(markers, Option),
        )
        leaves.append((parameter, annotation))
    return leaves
