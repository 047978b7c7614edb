"""Lists and dicts that were read from a parameter node: a change is written back at once, or refused as a whole."""

from __future__ import annotations

from collections.abc import MutableMapping, MutableSequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from Testing.slicer_desktop.parameters.codecs import DictCodec, ListCodec


class StoredList(MutableSequence):
    """A list of the parameter node."""

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, codec: ListCodec, node: Any, name: str) -> None:
        self._codec, self._node, self._name = codec, node, name
        self._values = codec.values(node, name)

    def _become(self, values: list[Any]) -> None:
        self._codec.accept(values)
        write_at_once(self._codec, self._node, self._name, values)
        self._values = self._codec.values(self._node, self._name)

    def __getitem__(self, index: Any) -> Any:
        return self._values[index]

    def __len__(self) -> int:
        return len(self._values)

    def __setitem__(self, index: Any, value: Any) -> None:
        values = self._values.copy()
        values[index] = value
        self._become(values)

    def __delitem__(self, index: Any) -> None:
        values = self._values.copy()
        del values[index]
        self._become(values)

    def insert(self, index: int, value: Any) -> None:
        """Insert a value before ``index``."""
        values = self._values.copy()
        values.insert(index, value)
        self._become(values)

    def sort(self, **keywords: Any) -> None:
        """Sort the list."""
        self._become(sorted(self._values, **keywords))

    def __eq__(self, other: object) -> bool:
        return self._values == (other._values if isinstance(other, StoredList) else other)

    def __repr__(self) -> str:
        return repr(self._values)


class StoredDict(MutableMapping):
    """A dict of the parameter node."""

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, codec: DictCodec, node: Any, name: str) -> None:
        self._codec, self._node, self._name = codec, node, name
        self._values = codec.values(node, name)

    def _become(self, values: dict[Any, Any]) -> None:
        self._codec.accept(values)
        write_at_once(self._codec, self._node, self._name, values)
        self._values = self._codec.values(self._node, self._name)

    def __getitem__(self, key: Any) -> Any:
        return self._values[key]

    def __len__(self) -> int:
        return len(self._values)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._values)

    def __setitem__(self, key: Any, value: Any) -> None:
        self._become({**self._values, key: value})

    def __delitem__(self, key: Any) -> None:
        values = self._values.copy()
        del values[key]
        self._become(values)

    def __eq__(self, other: object) -> bool:
        return self._values == (other._values if isinstance(other, StoredDict) else other)

    def __repr__(self) -> str:
        return repr(self._values)


def write_at_once(codec: Any, node: Any, name: str, value: Any) -> None:
    """Write a value, with one event of the node for all of it."""
    import slicer.util

    with slicer.util.NodeModify(node):
        codec.write(node, name, value)
