"""Reads ``training_config.json`` of the published registration program, one setting at a time."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from NeuroGenLib.core.errors import InputError
from NeuroGenLib.core.files import existing_file, read_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

FILE = "training_config.json"
MODEL = "application.config.model"
TRAINING = "application.config.training"
DATA = "data.config"
CITATION = (
    "Honkamaa J, Marttinen P. SITReg: Multi-resolution architecture for symmetric, inverse consistent, and topology"
    " preserving image registration. Machine Learning for Biomedical Imaging 2024. doi:10.59275/j.melba.2024-276b"
)
_MOST_BYTES = 2**22
"""A larger settings file is refused before it is read."""
_NEEDED = object()
_MISSING = object()


class Settings:
    """The settings of one file by dotted key; remembers which were read."""

    def __init__(self, file: str, content: Mapping[str, Any]) -> None:
        self.file = file
        self.content = content
        self._read: set[str] = set()

    @classmethod
    def load(cls, path: Path) -> Settings:
        """Read the file.

        Raises
        ------
        InputError
            When it is missing, no JSON, far too large, or lacks the sections ``data`` and ``application``.
        """
        if path.is_file() and path.stat().st_size > _MOST_BYTES:
            raise InputError(
                f"{path} is too large for a settings file.", f"Give the run's own {FILE}.", code="file-type"
            )
        content = read_json(existing_file(path))
        sections = [content.get(name) if isinstance(content, dict) else None for name in ("data", "application")]
        if not all(isinstance(section, dict) for section in sections):
            raise InputError(
                f"{path} has no sections 'data' and 'application'.",
                f"Give {FILE}, which the published program writes beside its models.",
                code="file-type",
            )
        return cls(path.name, content)

    def get(self, key: str, default: Any = _NEEDED) -> Any:
        """Return a setting as it stands.

        Raises
        ------
        InputError
            When it is missing and has no default.
        """
        value = self.peek(key, _MISSING)
        if value is _MISSING:
            if default is not _NEEDED:
                return default
            raise InputError(
                f"{self.file} has no '{key}'.", f"Give the published program's own {FILE}.", code="value-missing"
            )
        self._read.add(key)
        return value

    def peek(self, key: str, default: Any = None) -> Any:
        """Return a setting, or the default when it is missing; it does not count as read."""
        value: Any = self.content
        for name in key.split("."):
            if not isinstance(value, dict) or name not in value:
                return default
            value = value[name]
        return value

    def whole(self, key: str, default: Any = _NEEDED, least: int = 1) -> Any:
        """Return a whole number from ``least`` on; the default, such as None, when it is missing or null."""
        return self._checked(key, default, f"a whole number from {least}", lambda value: _is_whole(value, least))

    def number(self, key: str, default: Any = _NEEDED) -> Any:
        """Return a finite number."""
        return self._checked(key, default, "a number", _is_number)

    def flag(self, key: str, default: Any = _NEEDED) -> Any:
        """Return true or false."""
        return self._checked(key, default, "true or false", lambda value: isinstance(value, bool))

    def text(self, key: str, default: Any = _NEEDED) -> Any:
        """Return text."""
        return self._checked(key, default, "text", lambda value: isinstance(value, str) and value != "")

    def numbers(self, key: str, count: int | None = None, default: Any = _NEEDED) -> Any:
        """Return a list of numbers, ``count`` of them when that is given."""
        expected = f"a list of {'' if count is None else f'{count} '}numbers"
        return self._checked(key, default, expected, lambda value: _is_list(value, _is_number, count))

    def wholes(self, key: str, count: int | None = None, default: Any = _NEEDED, least: int = 0) -> Any:
        """Return a list of whole numbers from ``least`` on."""
        expected = f"a list of {'' if count is None else f'{count} '}whole numbers from {least}"
        return self._checked(
            key, default, expected, lambda value: _is_list(value, lambda number: _is_whole(number, least), count)
        )

    def optional_wholes(self, key: str) -> list[int | None]:
        """Return a list of whole numbers from 1 and nulls."""
        values: list[int | None] = self._checked(
            key,
            _NEEDED,
            "a list of whole numbers from 1, or null",
            lambda value: _is_list(value, lambda number: number is None or _is_whole(number, 1), None),
        )
        return values

    def lists(self, key: str, default: Any = _NEEDED) -> Any:
        """Return a list of lists of whole numbers."""
        return self._checked(
            key,
            default,
            "a list of lists of whole numbers",
            lambda value: _is_list(
                value, lambda members: _is_list(members, lambda inner: _is_whole(inner, 0), None, empty=True), None
            ),
        )

    def levels(self, key: str) -> list[list[dict[str, Any]]]:
        """Return the losses of each level, finest first; a level without any is an empty list."""
        value = self.get(key, None)
        value = [] if value is None else value
        plain = isinstance(value, list) and all(
            level is None or (isinstance(level, list) and all(isinstance(entry, dict) for entry in level))
            for level in value
        )
        if not plain:
            raise self.wrong(key, "a list for each level, of losses by name")
        return [level or [] for level in value]

    def rest(self) -> Iterator[tuple[str, Any]]:
        """Yield what was not read, as dotted key and value."""
        waiting: list[tuple[str, Any]] = list(self.content.items())
        while waiting:
            key, value = waiting.pop(0)
            if key in self._read:
                continue
            if isinstance(value, dict) and value:
                waiting[:0] = [(f"{key}.{name}", inner) for name, inner in value.items()]
            else:
                yield key, value

    def wrong(self, key: str, expected: str) -> InputError:
        """Return the error of a setting that cannot be used."""
        shown = json.dumps(self.peek(key), ensure_ascii=True)
        shown = shown if len(shown) <= 60 else f"{shown[:57]}..."
        return InputError(
            f"'{key}' of {self.file} is {shown}; it must be {expected}.",
            "Correct it in that file.",
            code="value-invalid",
        )

    def _checked(self, key: str, default: Any, expected: str, fits: Callable[[Any], bool]) -> Any:
        value = self.get(key, default)
        if value is None and default is not _NEEDED:
            return default
        if value is not default and not fits(value):
            raise self.wrong(key, expected)
        return value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_whole(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value < 2**40


def _is_list(value: Any, fits: Callable[[Any], bool], count: int | None, *, empty: bool = False) -> bool:
    if not isinstance(value, list) or not (value or empty) or (count is not None and len(value) != count):
        return False
    return all(fits(member) for member in value)
