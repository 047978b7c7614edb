"""``@parameterPack``: several typed fields as one value; a pack may hold packs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from Testing.slicer_desktop.parameters.annotations import unannotatedType
from Testing.slicer_desktop.parameters.fields import Field, fields_of

if TYPE_CHECKING:
    from collections.abc import Callable


class _Member:
    """One field of a pack: checked when it is set, and written back when the pack came from a parameter node."""

    def __init__(self, field: Field) -> None:
        self._field = field

    def __get__(self, pack: Any, owner: type) -> Any:
        return self if pack is None else pack.__dict__[self._field.basename]

    def __set__(self, pack: Any, value: Any) -> None:
        try:
            self._field.codec.accept(value)
        except (TypeError, ValueError) as error:
            raise type(error)(f"{type(pack).__name__}.{self._field.basename}: {error}") from error
        pack.__dict__[self._field.basename] = value
        write_back = pack.__dict__.get("_write_back")
        if write_back is not None:
            write_back(pack)


def parameterPack(pack_class: Any = None) -> Any:
    """Class decorator: make the annotated fields one value of a parameter node.

    Raises
    ------
    TypeError, ValueError
        When a field's type cannot be kept, its default is refused, or there is no field.
    """
    return _make_pack(pack_class) if pack_class is not None else _make_pack


def isParameterPack(thing: Any) -> bool:
    """Tell whether a class or an instance is a pack."""
    return bool(getattr(thing, "isParameterPack", False))


def _make_pack(pack_class: Any) -> Any:
    fields = fields_of(pack_class)
    if not fields:
        raise ValueError(f"{pack_class.__name__} has no typed field.")
    own_init = pack_class.__dict__.get("__init__")
    for name, field in fields.items():
        setattr(pack_class, name, _Member(field))

    def init(self: Any, *values: Any, **named: Any) -> None:
        _set_fields(self, *(() if own_init else values), **({} if own_init else named))
        if own_init:
            own_init(self, *values, **named)

    methods = {
        "__init__": init,
        "__eq__": _equal,
        "__repr__": _text,
        "__hash__": None,
        "__setattr__": _set_known,
        "getValue": _get_value,
        "setValue": _set_value,
        "dataType": classmethod(data_type),
        "stored": classmethod(_stored),
        "allParameters": fields,
        "isParameterPack": True,
    }
    for name, method in methods.items():
        if name == "__init__" or name not in pack_class.__dict__:
            setattr(pack_class, name, method)
    pack_class()  # refused defaults show where they are written
    return pack_class


def _set_fields(self: Any, *values: Any, **named: Any) -> None:
    names = list(self.allParameters)
    if len(values) > len(names):
        raise TypeError(f"{type(self).__name__} has {len(names)} fields, {len(values)} values were given.")
    given = dict(zip(names, values, strict=False))
    twice, unknown = given.keys() & named.keys(), named.keys() - set(names)
    if twice or unknown:
        raise TypeError(f"{type(self).__name__}: {', '.join(sorted(twice | unknown))} given twice or unknown.")
    given |= named
    for name, field in self.allParameters.items():
        setattr(self, name, given.get(name, field.default.value))


def _stored(pack_class: Any, members: dict[str, Any], write: Callable[[Any], None]) -> Any:
    """Make a pack from members that were read; changes, also those in packs inside, are written back."""
    pack = pack_class.__new__(pack_class)
    pack.__dict__.update(members)
    pack.__dict__["_write_back"] = write
    return pack


def _set_known(self: Any, name: str, value: Any) -> None:
    if "_write_back" in self.__dict__ and not hasattr(type(self), name):
        raise AttributeError(f"{type(self).__name__} has no field {name}; it has {', '.join(self.allParameters)}.")
    object.__setattr__(self, name, value)


def _equal(self: Any, other: object) -> bool:
    if not isinstance(other, type(self)):
        return NotImplemented
    return all(getattr(self, name) == getattr(other, name) for name in self.allParameters)


def _text(self: Any) -> str:
    members = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.allParameters)
    return f"{type(self).__name__}({members})"


def _get_value(self: Any, name: str) -> Any:
    """Return a member by its name; ``inner.x`` reaches into packs."""
    first, _, rest = known_name(self, name)
    value = getattr(self, first)
    return value.getValue(rest) if rest else value


def _set_value(self: Any, name: str, value: Any) -> None:
    """Set a member by its name; ``inner.x`` reaches into packs."""
    first, _, rest = known_name(self, name)
    if rest:
        getattr(self, first).setValue(rest, value)
    else:
        setattr(self, first, value)


def data_type(owner: Any, name: str) -> Any:
    """Return the annotated type of a member by its name."""
    first, _, rest = known_name(owner, name)
    datatype = owner.allParameters[first].unalteredType
    return unannotatedType(datatype).dataType(rest) if rest else datatype


def known_name(owner: Any, name: str) -> tuple[str, str, str]:
    """Split ``pack.member`` at the first point.

    Raises
    ------
    ValueError
        When there is no such field, or it is not a pack and cannot have a member.
    """
    first, point, rest = name.partition(".")
    if first not in owner.allParameters:
        raise ValueError(f"There is no parameter {first}; there are {', '.join(owner.allParameters)}.")
    if rest and not isParameterPack(unannotatedType(owner.allParameters[first].unalteredType)):
        raise ValueError(f"{first} is not a pack and has no {rest}.")
    return first, point, rest


@parameterPack
class FloatRange:
    """Two numbers, the lower never above the upper."""

    _minimum: float
    _maximum: float

    def __init__(self, minimum: float = 0.0, maximum: float = 0.0) -> None:
        self.setRange(minimum, maximum)

    @property
    def minimum(self) -> float:
        """The lower number."""
        return self._minimum

    @minimum.setter
    def minimum(self, value: float) -> None:
        self.setRange(value, self._maximum)

    @property
    def maximum(self) -> float:
        """The upper number."""
        return self._maximum

    @maximum.setter
    def maximum(self, value: float) -> None:
        self.setRange(self._minimum, value)

    def setRange(self, minimum: float, maximum: float) -> None:
        """Set both numbers; ValueError when they are in the wrong order."""
        if minimum > maximum:
            raise ValueError(f"The lower end {minimum} is above the upper end {maximum}.")
        self._minimum, self._maximum = minimum, maximum
