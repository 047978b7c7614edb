"""Conditions of an atlas besides age: from table values to what the network reads, by name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from NeuroGenLib.core.errors import InputError, nearest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True)
class Condition:
    """One condition.

    Attributes
    ----------
    name:
        Its column in the cohort's table.
    kind:
        ``numeric`` or ``categoric``.
    minimum, maximum:
        Of a numeric condition: the values that become the network's ``-scale`` and ``+scale``.
    values:
        Of a categoric condition: its words; each is one network input of ``+scale`` or ``-scale``; two words share one.
    unit:
        Unit of a numeric condition, for people.
    scale:
        Size of the value inside the network.
    """

    name: str
    kind: Literal["numeric", "categoric"] = "numeric"
    minimum: float = 0.0
    maximum: float = 1.0
    values: tuple[str, ...] = ()
    unit: str = ""
    scale: float = 1.0

    @property
    def width(self) -> int:
        """Number of network inputs."""
        if self.kind == "numeric":
            return 1
        return 1 if len(self.values) <= 2 else len(self.values)

    @property
    def middle(self) -> float | str:
        """Where a control begins: the middle of the range, or the first word."""
        return (self.minimum + self.maximum) / 2 if self.kind == "numeric" else self.values[0]

    def encode(self, value: object) -> list[float]:
        """Return the network inputs of one table value.

        Raises
        ------
        InputError
            When a numeric value is not a number, or a word is not one of the condition's.
        """
        if self.kind == "categoric":
            word = as_word(value)
            if word not in self.values:
                raise InputError(
                    f"The condition '{self.name}' has no value '{word}'.",
                    nearest(word, self.values),
                    code="name-unknown",
                )
            if self.width == 1:
                return [self.scale if word == self.values[-1] else -self.scale]
            return [self.scale if word == known else -self.scale for known in self.values]
        return [(2 * (self.number(value) - self.minimum) / (self.maximum - self.minimum) - 1) * self.scale]

    def number(self, value: object) -> float:
        """Return a numeric value.

        Raises
        ------
        InputError
            When it is not a finite number.
        """
        try:
            number = float(value)  # type: ignore[arg-type]
        except (TypeError, ValueError):
            number = float("nan")
        if not np.isfinite(number):
            raise InputError(
                f"The condition '{self.name}' needs a number, not '{value}'.",
                f"The model knows {self.minimum:g} to {self.maximum:g} {self.unit}".strip() + ".",
                code="value-invalid",
            )
        return number

    def parse(self, value: object) -> float | str:
        """Return a table value in its own type, checked."""
        if self.kind == "numeric":
            return self.number(value)
        self.encode(value)
        return as_word(value)

    def describe(self) -> str:
        """Return the range or the words, for people."""
        if self.kind == "numeric":
            return f"{self.minimum:g} to {self.maximum:g} {self.unit}".strip()
        return " | ".join(self.values)

    def to_manifest(self) -> dict[str, Any]:
        """Return the entry of a model's manifest."""
        entry: dict[str, Any] = {"name": self.name, "kind": self.kind, "unit": self.unit, "scale": self.scale}
        if self.kind == "numeric":
            return entry | {"range": [self.minimum, self.maximum]}
        return entry | {"values": list(self.values)}

    @classmethod
    def from_manifest(cls, entry: Mapping[str, Any]) -> Condition:
        """Read the entry of a model's manifest."""
        low, high = entry.get("range", (0.0, 1.0))
        return cls(
            entry["name"],
            entry["kind"],
            float(low),
            float(high),
            tuple(entry.get("values", ())),
            entry.get("unit", ""),
            float(entry.get("scale", 1.0)),
        )


def as_word(value: object) -> str:
    """Return a table value as a word; tables hold 0 and 1 as floats, people write them as whole numbers."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def encode_all(conditions: Sequence[Condition], values: Mapping[str, object]) -> np.ndarray:
    """Return the (width,) float32 network inputs of one subject or atlas."""
    return np.array(
        [number for condition in conditions for number in condition.encode(values[condition.name])], np.float32
    )


def parsed(conditions: Sequence[Condition], entries: Mapping[str, object]) -> tuple[dict[str, float | str], list[str]]:
    """Return the checked values of the entered conditions, and a warning for each outside the trained range.

    Raises
    ------
    InputError
        When a name is not a condition of the model, a value is unusable, or a number lies more than one range width
        beyond the range.
    """
    known = {condition.name: condition for condition in conditions}
    for name in entries:
        if name not in known:
            raise InputError(f"The model has no condition '{name}'.", nearest(name, known), code="name-unknown")
    values: dict[str, float | str] = {}
    warnings = []
    for name, condition in known.items():
        if name not in entries:
            continue
        value = condition.parse(entries[name])
        values[name] = value
        if isinstance(value, float):
            beyond = max(condition.minimum - value, value - condition.maximum)
            if beyond > condition.maximum - condition.minimum:
                raise InputError(
                    f"{name}={value:g} is far outside what the model was trained on.",
                    f"Its range is {condition.describe()}.",
                    code="model-range",
                )
            if beyond > 0:
                warnings.append(
                    f"{name}={value:g} is outside the trained range {condition.describe()}: the result is a guess."
                )
    return values, warnings


def complete(
    conditions: Sequence[Condition], entries: Mapping[str, object], expected: Mapping[str, float | str]
) -> tuple[dict[str, float | str], list[str]]:
    """Return a checked value for every condition, and warnings.

    Parameters
    ----------
    conditions, entries:
        The conditions, and the values of some.
    expected:
        The values of the others: what the training subjects of the age have.

    Raises
    ------
    InputError
        As :func:`parsed`.
    """
    values, warnings = parsed(conditions, entries)
    for condition in conditions:
        if condition.name not in values:
            value = values[condition.name] = expected[condition.name]
            if isinstance(value, float):
                source = f"{value:.4g}, the mean of the training subjects near this age,"
            else:
                source = f"'{value}', the most frequent among the training subjects near this age,"
            warnings.append(f"'{condition.name}' was not given: {source} is used.")
    return {condition.name: values[condition.name] for condition in conditions}, warnings


def beyond_neighbours(
    conditions: Sequence[Condition], values: Mapping[str, object], neighbours: Sequence[Mapping[str, object]]
) -> list[str]:
    """Return a phrase for each condition whose value no neighbour comes near: a tenth of its range, or the same word.

    Parameters
    ----------
    conditions, values:
        The conditions and the value asked for of each.
    neighbours:
        The values of the training subjects near the age asked for.
    """
    phrases = []
    for condition in conditions:
        own = [subject[condition.name] for subject in neighbours]
        value = values[condition.name]
        if condition.kind == "numeric":
            numbers = [condition.number(number) for number in own]
            slack = 0.1 * (condition.maximum - condition.minimum)
            if numbers and not min(numbers) - slack <= condition.number(value) <= max(numbers) + slack:
                phrases.append(f"{condition.name}={value:g} (they have {min(numbers):g} to {max(numbers):g})")
        elif own and as_word(value) not in {as_word(word) for word in own}:
            phrases.append(f"{condition.name}={as_word(value)} (none of them)")
    return phrases
