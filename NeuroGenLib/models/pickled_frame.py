"""Gets the columns out of a pandas table in a checkpoint, without pandas and whatever its version was.

A pickled table is a block manager: arrays of shape (columns of one type, rows), the columns each array fills, and the
two axes. Numbers, text and dates are read in the layouts of pandas 1.3 to 3.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

import numpy as np

from NeuroGenLib.core.errors import InputError
from NeuroGenLib.models.unpickle import Pickled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from NeuroGenLib.models.unpickle import PickledFrame

_TYPE_CODE = re.compile(r"([?bBhHiIlLqQefdgFDGO]|[biufcmMSU]\d+|O8)")
_MOST_COLUMNS = 100_000
"""A table that claims more columns is refused: a limit on the work of reading it."""
_TIME_UNITS = (b"Y", b"M", b"W", b"D", b"h", b"m", b"s", b"ms", b"us", b"ns")


def frame_columns(frame: PickledFrame) -> dict[str, list[Any]]:
    """Return the columns of a pickled table in their order, rows in theirs.

    Numbers come as int, float or bool, dates as :class:`datetime.datetime`, text as str; what was missing is None or
    a float not-a-number, as the file has it.

    Raises
    ------
    InputError
        When the table has a layout or a column type that is not known.
    """
    manager = frame.state.get("_mgr", frame.state.get("_data")) if isinstance(frame.state, dict) else None
    if not isinstance(manager, Pickled) or len(manager.arguments) < 2:
        raise _unknown("its layout")
    blocks, axes = manager.arguments[:2]
    if not isinstance(blocks, tuple | list) or not isinstance(axes, tuple | list) or len(axes) != 2:
        raise _unknown("its layout")
    labels, rows = _index_values(axes[0]), len(_index_values(axes[1]))
    if len(labels) > _MOST_COLUMNS:
        raise _unknown(f"{len(labels)} columns")
    names = [str(label) for label in labels]
    if len(set(names)) != len(names):
        raise _unknown("two columns of one name")
    columns: dict[str, list[Any]] = {}
    for block in blocks:
        for position, values in _block_columns(block, rows):
            if not 0 <= position < len(names):
                raise _unknown("a column outside its header")
            columns[names[position]] = values
    if len(columns) != len(names):
        raise _unknown(f"no values for {', '.join(sorted(set(names) - set(columns)))}")
    return {name: columns[name] for name in names}


def _block_columns(block: object, rows: int) -> list[tuple[int, list[Any]]]:
    if not isinstance(block, Pickled) or len(block.arguments) < 2:
        raise _unknown("its layout")
    values, placement = block.arguments[:2]
    # Types of pandas' own hold one column without the axis of columns.
    content = _values(values)
    table = [content] if not content or not isinstance(content[0], list) else content
    positions = _positions(placement)
    if len(positions) != len(table) or any(len(column) != rows for column in table):
        raise _unknown("columns of unequal length")
    return list(zip(positions, table, strict=True))


def _positions(placement: object) -> list[int]:
    if isinstance(placement, slice):
        start, stop, step = placement.start or 0, placement.stop, placement.step or 1
        if not all(type(bound) is int and abs(bound) <= _MOST_COLUMNS for bound in (start, stop, step)):
            raise _unknown("its layout")
        return list(range(start, stop, step))
    return [int(position) for position in _values(placement)]


def _index_values(index: object) -> Sequence[Any]:
    """Labels of an axis: a list, or a range that takes no memory however long it claims to be."""
    details = index.arguments[1] if isinstance(index, Pickled) and len(index.arguments) > 1 else None
    if not isinstance(details, dict):
        raise _unknown("its index")
    if "data" in details:
        return _values(details["data"])
    bounds = [details.get(key) for key in ("start", "stop", "step")]
    if not all(type(bound) is int and abs(bound) < 2**62 for bound in bounds) or bounds[2] == 0:
        raise _unknown("its index")
    return range(*bounds)  # type: ignore[arg-type]


def _values(pickled: object) -> list[Any]:
    """Content of an array of numpy or pandas as nested lists."""
    if not isinstance(pickled, Pickled):
        raise _unknown(f"a {type(pickled).__name__} in place of an array")
    state = pickled.state
    if isinstance(state, dict) and {"_data", "_mask"} <= state.keys():  # pandas' numbers with missing values
        pairs = zip(_values(state["_data"]), _values(state["_mask"]), strict=True)
        return [None if masked else value for value, masked in pairs]
    if isinstance(state, dict) and "_ndarray" in state:
        return _values(state["_ndarray"])
    if isinstance(state, tuple) and len(state) == 5:
        return _array_values(state)
    if isinstance(state, tuple) and 2 <= len(state) <= 3:  # dates, text and categories: an array and its type
        return _typed_values(state)
    raise _unknown(f"an array of type {pickled.source}")


def _typed_values(state: tuple[Any, ...]) -> list[Any]:
    arrays = [part for part in state[:2] if isinstance(part, Pickled) and isinstance(part.state, tuple)]
    arrays = [part for part in arrays if len(part.state) == 5]
    if len(arrays) != 1:
        raise _unknown("its layout")
    values = _values(arrays[0])
    for part in state[:2]:
        if isinstance(part, Pickled) and isinstance(part.state, dict) and "categories" in part.state:
            categories = _index_values(part.state["categories"])
            if any(not -1 <= code < len(categories) for code in values):
                raise _unknown("a category that is not listed")
            return [None if code < 0 else categories[code] for code in values]
    return values


def _array_values(state: tuple[Any, ...]) -> list[Any]:
    """Content of a numpy array from (version, shape, type, Fortran order, bytes or list)."""
    _, shape, dtype, fortran, data = state
    if not isinstance(shape, tuple) or not all(type(length) is int and length >= 0 for length in shape):
        raise _unknown("its layout")
    kind = _dtype(dtype)
    count = math.prod(shape)
    if kind.hasobject:
        if not isinstance(data, list) or len(data) != count:
            raise _unknown("an array of unequal length")
        array = np.empty(count, dtype=object)
        array[:] = data
    else:
        if not isinstance(data, bytes) or len(data) != count * kind.itemsize:
            raise _unknown("an array of unequal length")
        array = np.frombuffer(data, dtype=kind)
    if kind.kind in "mM":  # nanoseconds have no Python type
        array = array.astype(f"{kind.kind}8[us]")
    result: list[Any] = array.reshape(shape, order="F" if fortran else "C").tolist()
    return result


def _dtype(pickled: object) -> np.dtype[Any]:
    known = isinstance(pickled, Pickled) and pickled.arguments and isinstance(pickled.state, tuple)
    code = pickled.arguments[0] if known else None  # type: ignore[attr-defined]
    if not isinstance(code, str) or not _TYPE_CODE.fullmatch(code):
        raise _unknown(f"values of type {code}")
    state = pickled.state  # type: ignore[attr-defined]
    if code[0] in "mM":
        unit = state[-1][-1][0] if len(state) > 8 else None
        if unit not in _TIME_UNITS:
            raise _unknown("dates of an unknown unit")
        code = f"{code}[{unit.decode()}]"
    return np.dtype(code).newbyteorder(">" if len(state) > 1 and state[1] == ">" else "<")


def _unknown(what: str) -> InputError:
    return InputError(
        f"A table in the checkpoint cannot be read: {what}.",
        "Save the table as TSV with the program that wrote the checkpoint, and give that.",
        code="file-damaged",
    )
