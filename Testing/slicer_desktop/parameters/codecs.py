"""How a typed value is kept in a parameter node: as text under its name, nodes as node references.

A list of two numbers ``xs`` is kept as ``xs_len``, ``xs_0``, ``xs_1``, a pack's member as ``pack.member``.
"""

from __future__ import annotations

import pathlib
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from Testing.slicer_desktop.parameters.containers import StoredDict, StoredList

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from Testing.slicer_desktop.parameters.annotations import Validator

PATHS = (
    pathlib.Path,
    pathlib.PosixPath,
    pathlib.WindowsPath,
    pathlib.PurePath,
    pathlib.PurePosixPath,
    pathlib.PureWindowsPath,
)


class Codec(ABC):
    """Writes and reads values of one type; ``node`` is a vtkMRMLScriptedModuleNode, ``name`` the field's name."""

    validators: tuple[Validator, ...] = ()

    def accept(self, value: Any) -> None:
        """Raise TypeError or ValueError when the type or a validator refuses the value."""
        self.check(value)
        for validator in self.validators:
            validator.validate(value)

    @abstractmethod
    def default(self) -> Any:
        """Return the value of a field without default."""

    @abstractmethod
    def check(self, value: Any) -> None:
        """Raise TypeError or ValueError when the value's type cannot be kept."""

    @abstractmethod
    def is_in(self, node: Any, name: str) -> bool:
        """Tell whether the node has a value."""

    @abstractmethod
    def write(self, node: Any, name: str, value: Any) -> None:
        """Write a checked value."""

    @abstractmethod
    def read(self, node: Any, name: str) -> Any:
        """Return the value."""

    @abstractmethod
    def remove(self, node: Any, name: str) -> None:
        """Take the value out, if there is one."""


class TextCodec(Codec):
    """One value as one text."""

    def __init__(
        self, kinds: Any, default: Any, decode: Callable[[str], Any], encode: Callable[[Any], str] = str
    ) -> None:
        self._kinds = kinds
        self._default = default
        self._decode = decode
        self._encode = encode

    def default(self) -> Any:
        """Zero, empty, False, or the first of an enum."""
        return self._default

    def check(self, value: Any) -> None:
        """Raise TypeError for another type."""
        if not isinstance(value, self._kinds):
            raise TypeError(f"{value!r} is a {type(value).__name__}, but {self._kinds} is needed.")

    def is_in(self, node: Any, name: str) -> bool:
        """Tell whether the node has the parameter."""
        return bool(node.HasParameter(name))

    def write(self, node: Any, name: str, value: Any) -> None:
        """Write the text."""
        node.SetParameter(name, self._encode(value))

    def read(self, node: Any, name: str) -> Any:
        """Read the text."""
        return self._decode(node.GetParameter(name))

    def remove(self, node: Any, name: str) -> None:
        """Unset the parameter."""
        node.UnsetParameter(name)


class NoneCodec(TextCodec):
    """None and nothing else, for ``Optional``."""

    def __init__(self) -> None:
        super().__init__(type(None), None, lambda _text: None)


class NodeCodec(TextCodec):
    """A node of the scene, or None: a reference, which follows the node when scenes are loaded or merged."""

    def __init__(self, node_class: type) -> None:
        super().__init__((node_class, type(None)), None, str)

    def write(self, node: Any, name: str, value: Any) -> None:
        """Write the reference; the empty parameter tells None from never set."""
        node.SetParameter(name, "")
        node.SetNodeReferenceID(name, value.GetID() if value is not None else None)

    def read(self, node: Any, name: str) -> Any:
        """Return the node; None when it is no longer in the scene."""
        return node.GetNodeReference(name)

    def remove(self, node: Any, name: str) -> None:
        """Take out the reference."""
        super().remove(node, name)
        node.RemoveNodeReferenceIDs(name)


class TupleCodec(Codec):
    """A fixed number of values, each of its own type."""

    def __init__(self, members: Sequence[Codec]) -> None:
        self._members = members

    def default(self) -> tuple[Any, ...]:
        """Return the members' defaults."""
        return tuple(member.default() for member in self._members)

    def check(self, value: Any) -> None:
        """Raise when the number or a member is wrong."""
        if len(value) != len(self._members):
            raise ValueError(f"{value!r} has {len(value)} members, {len(self._members)} are needed.")
        for member, part in zip(self._members, value, strict=True):
            member.accept(part)

    def is_in(self, node: Any, name: str) -> bool:
        """Tell by the first member."""
        return self._members[0].is_in(node, f"{name}_0")

    def write(self, node: Any, name: str, value: Any) -> None:
        """Write each member under its number."""
        for index, (member, part) in enumerate(zip(self._members, value, strict=True)):
            member.write(node, f"{name}_{index}", part)

    def read(self, node: Any, name: str) -> tuple[Any, ...]:
        """Return all members."""
        return tuple(member.read(node, f"{name}_{index}") for index, member in enumerate(self._members))

    def remove(self, node: Any, name: str) -> None:
        """Take out each member."""
        for index, member in enumerate(self._members):
            member.remove(node, f"{name}_{index}")


class ListCodec(Codec):
    """Any number of values of one type."""

    def __init__(self, member: Codec) -> None:
        self._member = member

    def default(self) -> list[Any]:
        """Return an empty list."""
        return []

    def check(self, value: Any) -> None:
        """Raise when a member is wrong."""
        if isinstance(value, str):
            raise TypeError(f"{value!r} is a text, but a list is needed.")
        for part in value:
            self._member.accept(part)

    def is_in(self, node: Any, name: str) -> bool:
        """Tell by the length."""
        return bool(node.HasParameter(f"{name}_len"))

    def write(self, node: Any, name: str, value: Any) -> None:
        """Write the length, and each member under its number."""
        values = list(value)
        before = self._length(node, name)
        for index, part in enumerate(values):
            self._member.write(node, f"{name}_{index}", part)
        node.SetParameter(f"{name}_len", str(len(values)))
        for index in range(len(values), before):
            self._member.remove(node, f"{name}_{index}")

    def values(self, node: Any, name: str) -> list[Any]:
        """Return all members as a plain list."""
        return [self._member.read(node, f"{name}_{index}") for index in range(self._length(node, name))]

    def read(self, node: Any, name: str) -> StoredList:
        """Return a list that writes its changes back."""
        return StoredList(self, node, name)

    def remove(self, node: Any, name: str) -> None:
        """Take out all members."""
        for index in range(self._length(node, name)):
            self._member.remove(node, f"{name}_{index}")
        node.UnsetParameter(f"{name}_len")

    def _length(self, node: Any, name: str) -> int:
        return int(node.GetParameter(f"{name}_len") or 0)


class DictCodec(Codec):
    """Keys and values of one type each, in order: kept as a list of pairs."""

    def __init__(self, key: Codec, value: Codec) -> None:
        self._pairs = ListCodec(TupleCodec([key, value]))

    def default(self) -> dict[Any, Any]:
        """Return an empty dict."""
        return {}

    def check(self, value: Any) -> None:
        """Raise when a key or a value is wrong."""
        self._pairs.check(list(value.items()))

    def is_in(self, node: Any, name: str) -> bool:
        """Tell by the list of pairs."""
        return self._pairs.is_in(node, name)

    def write(self, node: Any, name: str, value: Any) -> None:
        """Write the pairs."""
        self._pairs.write(node, name, value.items())

    def values(self, node: Any, name: str) -> dict[Any, Any]:
        """Return a plain dict."""
        return dict(self._pairs.values(node, name))

    def read(self, node: Any, name: str) -> StoredDict:
        """Return a dict that writes its changes back."""
        return StoredDict(self, node, name)

    def remove(self, node: Any, name: str) -> None:
        """Take out all pairs."""
        self._pairs.remove(node, name)


class UnionCodec(Codec):
    """A value of one of several types, kept under the number of its type."""

    def __init__(self, members: Sequence[Codec]) -> None:
        self._members = members

    def default(self) -> Any:
        """Return None for ``Optional``, else the first type's default."""
        optional = len(self._members) == 2 and isinstance(self._members[1], NoneCodec)
        return None if optional else self._members[0].default()

    def check(self, value: Any) -> None:
        """Raise when no type takes the value."""
        self._index_for(value)

    def is_in(self, node: Any, name: str) -> bool:
        """Tell whether there is a value of any type."""
        return self._index_in(node, name) is not None

    def write(self, node: Any, name: str, value: Any) -> None:
        """Write the value under its type's number, and take out those of other types."""
        self.remove(node, name)
        index = self._index_for(value)
        self._members[index].write(node, f"{name}.{index}", value)

    def read(self, node: Any, name: str) -> Any:
        """Return the value."""
        index = self._index_in(node, name)
        if index is None:
            raise KeyError(f"There is no value for {name}.")
        return self._members[index].read(node, f"{name}.{index}")

    def remove(self, node: Any, name: str) -> None:
        """Take out the value of any type."""
        for index, member in enumerate(self._members):
            member.remove(node, f"{name}.{index}")

    def _index_in(self, node: Any, name: str) -> int | None:
        found = (index for index, member in enumerate(self._members) if member.is_in(node, f"{name}.{index}"))
        return next(found, None)

    def _index_for(self, value: Any) -> int:
        problems = []
        for index, member in enumerate(self._members):
            if value is None and isinstance(member, NodeCodec):
                problems.append("A Union of node classes holds None only when None is one of its members.")
                continue
            try:
                member.accept(value)
            except (TypeError, ValueError, AttributeError) as error:
                problems.append(str(error))
            else:
                return index
        raise TypeError(" ".join(dict.fromkeys(problems)))
