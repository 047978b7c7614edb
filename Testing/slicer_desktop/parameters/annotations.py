"""What stands beside the type in ``Annotated[...]``: defaults, validators, and hints for widgets."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_origin

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable


class Default:
    """The value of a field that was never set; ``generator`` is called again each time."""

    def __init__(self, value: Any = None, *, generator: Callable[[], Any] | None = None) -> None:
        self._value = value
        self._generator = generator

    @property
    def value(self) -> Any:
        """The default."""
        return self._generator() if self._generator is not None else self._value

    def __repr__(self) -> str:
        return f"Default({self._generator or self._value!r})"


class Validator(ABC):
    """Base of all validators, also of those that a module writes itself."""

    @abstractmethod
    def validate(self, value: Any) -> None:
        """Raise ValueError or TypeError when the value is not allowed."""


@dataclass(frozen=True)
class NotNone(Validator):
    """A value is needed."""

    def validate(self, value: Any) -> None:
        """Raise ValueError for None."""
        if value is None:
            raise ValueError("None is not allowed here.")


@dataclass(frozen=True)
class IsInstance(Validator):
    """None, or an instance of a class or of one of several."""

    classtype: Any

    def validate(self, value: Any) -> None:
        """Raise TypeError for anything else."""
        if value is not None and not isinstance(value, self.classtype):
            raise TypeError(f"{value!r} is a {type(value).__name__}, but {self.classtype} is needed.")


@dataclass(frozen=True)
class WithinRange(Validator):
    """Between two numbers, ends included."""

    minimum: float
    maximum: float

    def validate(self, value: Any) -> None:
        """Raise ValueError outside the range."""
        if not self.minimum <= value <= self.maximum:
            raise ValueError(f"{value} is outside {self.minimum} to {self.maximum}.")


@dataclass(frozen=True)
class Minimum(Validator):
    """Not below a number."""

    minimum: float

    def validate(self, value: Any) -> None:
        """Raise ValueError below the minimum."""
        if value < self.minimum:
            raise ValueError(f"{value} is below {self.minimum}.")


@dataclass(frozen=True)
class Maximum(Validator):
    """Not above a number."""

    maximum: float

    def validate(self, value: Any) -> None:
        """Raise ValueError above the maximum."""
        if value > self.maximum:
            raise ValueError(f"{value} is above {self.maximum}.")


@dataclass(frozen=True)
class Choice(Validator):
    """One of some values."""

    choices: Collection[Any]

    def validate(self, value: Any) -> None:
        """Raise ValueError for a value that is not among them."""
        if value not in self.choices:
            raise ValueError(f"{value!r} is none of {self.choices}.")


@dataclass(frozen=True)
class Exclude(Validator):
    """Anything but some values."""

    excludedValues: Collection[Any]

    def validate(self, value: Any) -> None:
        """Raise ValueError for one of the excluded values."""
        if value in self.excludedValues:
            raise ValueError(f"{value!r} is excluded.")


@dataclass(frozen=True)
class RangeBounds(Validator):
    """A FloatRange with both ends between two numbers."""

    minimum: float
    maximum: float

    def validate(self, value: Any) -> None:
        """Raise ValueError when an end lies outside."""
        if value.minimum < self.minimum or value.maximum > self.maximum:
            raise ValueError(
                f"{value.minimum} to {value.maximum} does not lie within {self.minimum} to {self.maximum}."
            )


@dataclass(frozen=True)
class Decimals:
    """How many digits a widget shows after the point."""

    value: int


@dataclass(frozen=True)
class SingleStep:
    """A widget's step."""

    value: float


def splitAnnotations(datatype: Any) -> tuple[Any, tuple[Any, ...]]:
    """Return the plain type and what stands beside it."""
    if get_origin(datatype) is Annotated:
        plain, *annotations = get_args(datatype)
        return plain, tuple(annotations)
    return datatype, ()


def unannotatedType(datatype: Any) -> Any:
    """Return the plain type."""
    return splitAnnotations(datatype)[0]


def findFirstAnnotation(annotations: Iterable[Any], kind: type) -> Any:
    """Return the first annotation of a class, or None."""
    return next((annotation for annotation in annotations if isinstance(annotation, kind)), None)


def default_among(annotations: Iterable[Any]) -> Default | None:
    """Return the one ``Default``, or None; two are an error."""
    defaults = [annotation for annotation in annotations if isinstance(annotation, Default)]
    if len(defaults) > 1:
        raise ValueError(f"A field has one default, here are {len(defaults)}: {defaults}.")
    return defaults[0] if defaults else None
