"""From the annotations of a class to its typed fields: which codec keeps which type."""

from __future__ import annotations

import enum
import types
import typing
from typing import TYPE_CHECKING, Any, NamedTuple

from Testing.slicer_desktop.parameters.annotations import Default, Validator, default_among, splitAnnotations
from Testing.slicer_desktop.parameters.codecs import (
    PATHS,
    Codec,
    DictCodec,
    ListCodec,
    NodeCodec,
    NoneCodec,
    TextCodec,
    TupleCodec,
    UnionCodec,
)
from Testing.slicer_desktop.parameters.containers import write_at_once

if TYPE_CHECKING:
    from collections.abc import Callable


class PackCodec(Codec):
    """A pack: each member under ``name.member``."""

    def __init__(self, pack_class: Any) -> None:
        self._pack_class = pack_class

    def default(self) -> Any:
        """Return a pack of defaults."""
        return self._pack_class()

    def check(self, value: Any) -> None:
        """Raise TypeError for anything but this pack; its members were checked when they were set."""
        if not isinstance(value, self._pack_class):
            raise TypeError(f"{value!r} is not a {self._pack_class.__name__}.")

    def is_in(self, node: Any, name: str) -> bool:
        """Tell by the first member."""
        first, field = next(iter(self._fields().items()))
        return field.codec.is_in(node, f"{name}.{first}")

    def write(self, node: Any, name: str, value: Any) -> None:
        """Write each member."""
        for member, field in self._fields().items():
            field.codec.write(node, f"{name}.{member}", value.getValue(member))

    def read(self, node: Any, name: str) -> Any:
        """Return a pack that writes its changes back."""
        members = {member: field.codec.read(node, f"{name}.{member}") for member, field in self._fields().items()}
        return self._pack_class.stored(members, lambda pack: write_at_once(self, node, name, pack))

    def remove(self, node: Any, name: str) -> None:
        """Take out each member."""
        for member, field in self._fields().items():
            field.codec.remove(node, f"{name}.{member}")

    def _fields(self) -> dict[str, Field]:
        return self._pack_class.allParameters


class Field(NamedTuple):
    """A typed field of a parameter node or a pack; the names are Slicer's, but for ``codec``."""

    basename: str
    codec: Codec
    default: Default
    unalteredType: Any


def fields_of(owner: type) -> dict[str, Field]:
    """Return the typed fields of a class.

    Raises
    ------
    TypeError
        When a field's type cannot be kept in a parameter node.
    """
    fields = {}
    for name, datatype in typing.get_type_hints(owner, include_extras=True).items():
        try:
            codec = codec_for(datatype)
        except TypeError as error:
            raise TypeError(f"{owner.__name__}.{name}: {error}") from error
        default = default_among(splitAnnotations(datatype)[1]) or Default(generator=codec.default)
        if hasattr(owner, name):
            default = Default(getattr(owner, name))
        fields[name] = Field(name, codec, default, datatype)
    return fields


def codec_for(datatype: Any) -> Codec:
    """Return the codec for a type, with the validators that stand beside it."""
    plain, annotations = splitAnnotations(datatype)
    codec = _plain_codec(plain)
    # A validator may be given as a class, as in Annotated[int, NotNone].
    made = (part() if isinstance(part, type) and issubclass(part, Validator) else part for part in annotations)
    codec.validators = tuple(part for part in made if isinstance(part, Validator))
    return codec


def _plain_codec(plain: Any) -> Codec:
    members = typing.get_args(plain)
    match typing.get_origin(plain):
        case None:
            return _class_codec(plain)
        case kind if kind is list:
            return ListCodec(codec_for(members[0]))
        case kind if kind is tuple and Ellipsis not in members:
            return TupleCodec([codec_for(member) for member in members])
        case kind if kind is dict:
            return DictCodec(*(codec_for(member) for member in members))
        case typing.Union:
            return UnionCodec([codec_for(member) for member in members])
        case types.UnionType:
            raise TypeError(f"Not every Slicer reads {plain}: write Optional[...] or Union[...].")
    raise TypeError(f"{plain} cannot be kept in a parameter node.")


def _class_codec(plain: Any) -> Codec:
    import slicer

    if getattr(plain, "isParameterPack", False):
        return PackCodec(plain)
    simple: dict[Any, Callable[[], Codec]] = {
        bool: lambda: TextCodec(bool, False, lambda text: text == "True"),
        int: lambda: TextCodec(int, 0, int),
        float: lambda: TextCodec((int, float), 0.0, float),
        str: lambda: TextCodec(str, "", str),
        type(None): NoneCodec,
    }
    if plain in simple:
        return simple[plain]()
    if plain in PATHS:
        return TextCodec(plain, plain(), plain)
    if isinstance(plain, type) and issubclass(plain, enum.Enum):
        return TextCodec(plain, next(iter(plain)), plain.__getitem__, lambda member: member.name)
    if isinstance(plain, type) and issubclass(plain, slicer.vtkMRMLNode):
        return NodeCodec(plain)
    raise TypeError(f"{plain} cannot be kept in a parameter node.")
