"""Label tables: names, colours and terms of the values of a label map; volumes of structures."""

from __future__ import annotations

import colorsys
import csv
import hashlib
import io
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from NeuroGenLib.core.errors import InputError, nearest
from NeuroGenLib.core.files import read_text, write_text
from NeuroGenLib.spatial.volume import Volume, require_3d

if TYPE_CHECKING:
    import os

log = logging.getLogger(__name__)

Colour = tuple[int, int, int]

_BACKGROUND = 0
_MISSING = ("", "n/a")
_LEAST_NOISE, _MOST_NOISE, _RELATIVE_NOISE = 0.01, 0.2, 2e-5
"""Distance from a whole number that is noise: at least, at most, and in proportion to the value."""
_DISTINCT = 90.0
"""Distance in RGB at which the search for another colour stops: a fifth of the cube's diagonal."""


@dataclass(frozen=True)
class Label:
    """Structure of a label map.

    Parameters
    ----------
    value:
        Voxel value, zero or more.
    name:
        Name of the structure, such as ``cortical_gray_matter``.
    colour:
        Red, green, blue, each 0 to 255.
    abbreviation:
        Short name; may be empty.
    terminology:
        Standard term as ``scheme^code^meaning``, such as ``SCT^113305005^Cerebellum``; may be empty.

    Raises
    ------
    InputError
        When the value is negative, the name empty, a colour outside 0 to 255, or the term not in three parts.

    Examples
    --------
    >>> Label(17, "left_hippocampus", (220, 216, 20), abbreviation="L-HC").name
    'left_hippocampus'
    """

    value: int
    name: str
    colour: Colour
    abbreviation: str = ""
    terminology: str = ""

    def __post_init__(self) -> None:
        if self.value < 0:
            raise InputError(
                f"The label value {self.value} is negative.", "Use whole numbers from 0.", code="labels-invalid"
            )
        if self.name in _MISSING or self.name != self.name.strip():
            raise InputError(
                f"The label {self.value} has no usable name ({self.name!r}).",
                "Give it a plain name.",
                code="value-invalid",
            )
        if any(sign in text for sign in "\t\r\n" for text in (self.name, self.abbreviation, self.terminology)):
            raise InputError(
                f"A text of label {self.value} holds a tab or a line break.",
                "Write it in one line.",
                code="value-invalid",
            )
        if len(self.colour) != 3 or any(not 0 <= part <= 255 for part in self.colour):
            raise InputError(
                f"{self.colour} is not a colour of '{self.name}'.",
                "Give red, green and blue, each 0 to 255.",
                code="value-invalid",
            )
        if self.terminology and self.terminology.count("^") != 2:
            raise InputError(
                f"'{self.terminology}' is not a term for '{self.name}'.",
                "Write scheme^code^meaning, or leave it out.",
                code="value-invalid",
            )


@dataclass(frozen=True)
class LabelTable:
    """Structures of a label map, in order.

    Raises
    ------
    InputError
        When there are none, or two share a value or a name.

    Examples
    --------
    >>> table = LabelTable((Label(0, "background", (0, 0, 0)), Label(4, "ventricles", (120, 18, 134))))
    >>> len(table), [label.name for label in table]
    (2, ['background', 'ventricles'])
    """

    entries: tuple[Label, ...]

    def __post_init__(self) -> None:
        if not self.entries:
            raise InputError("The label table is empty.", "Give at least one value with its name.", code="table-empty")
        for what, keys in (("value", self.values), ("name", self.names)):
            twice = next((key for index, key in enumerate(keys) if key in keys[:index]), None)
            if twice is not None:
                raise InputError(
                    f"The label table has the {what} '{twice}' twice.", "Keep one of them.", code="value-duplicate"
                )

    def __len__(self) -> int:
        return len(self.entries)

    def __iter__(self) -> Iterator[Label]:
        return iter(self.entries)

    @property
    def values(self) -> tuple[int, ...]:
        """Voxel values in the table's order.

        Examples
        --------
        >>> LabelTable.from_names(["background", "cortex"]).values
        (0, 1)
        """
        return tuple(entry.value for entry in self.entries)

    @property
    def names(self) -> tuple[str, ...]:
        """Names in the table's order.

        Examples
        --------
        >>> LabelTable.from_mapping({"3": "cortex", "2": "white_matter"}).names
        ('cortex', 'white_matter')
        """
        return tuple(entry.name for entry in self.entries)

    def lookup(self, key: int | str) -> Label:
        """Return the entry with this value or name.

        Raises
        ------
        InputError
            When there is none; it names the nearest.

        Examples
        --------
        >>> table = LabelTable.from_names(["background", "cortex"])
        >>> table.lookup("cortex").value, table.lookup(0).name
        (1, 'background')
        """
        for entry in self.entries:
            if key in (entry.value, entry.name):
                return entry
        known = self.names if isinstance(key, str) else self.values
        what = "name" if isinstance(key, str) else "value"
        raise InputError(
            f"The label table has no {what} '{key}'.", nearest(str(key), [str(k) for k in known]), code="name-unknown"
        )

    @classmethod
    def from_names(cls, names: Sequence[str]) -> LabelTable:
        """Make a table in which the value of each name is its position, from 0.

        Examples
        --------
        >>> LabelTable.from_names(["background", "cortex", "white_matter"]).lookup("white_matter").value
        2
        """
        return cls(_entries([{"value": value, "name": name} for value, name in enumerate(names)]))

    @classmethod
    def from_tsv(cls, path: str | os.PathLike[str]) -> LabelTable:
        """Read a BIDS ``dseg.tsv``.

        It has the columns ``index`` and ``name``, and may have ``color`` (``#rrggbb`` or ``r g b``), ``abbreviation``
        and ``terminology``; other columns are ignored.

        Raises
        ------
        InputError
            When the file is missing or is not such a table; it names the line.

        Examples
        --------
        >>> from NeuroGenLib.core.resources import resource
        >>> LabelTable.from_tsv(resource("labels/fetal-tissues.tsv")).names[:3]
        ('background', 'white_matter', 'ventricles')
        """
        text = read_text(path)
        rows = list(csv.reader(io.StringIO(text), delimiter="\t", quoting=csv.QUOTE_NONE))
        header = [name.strip().lower() for name in rows[0]] if rows else []
        if not {"index", "name"} <= set(header):
            raise InputError(
                f"{path} is not a label table: its first line has no columns 'index' and 'name'.",
                "Separate the columns by tabs, as BIDS asks for dseg.tsv.",
                code="table-invalid",
            )
        parsed = []
        for number, row in enumerate(rows[1:], start=2):
            cells = dict(zip(header, (cell.strip() for cell in row), strict=False))
            if not any(cells.values()):
                continue
            try:
                parsed.append(_from_cells(cells))
            except InputError as error:
                raise error.within(f"{path}, line {number}") from error
        try:
            return cls(_entries(parsed))
        except InputError as error:
            raise error.within(f"{path}") from error

    def to_tsv(self, path: str | os.PathLike[str]) -> None:
        """Write a BIDS ``dseg.tsv`` from which :meth:`from_tsv` reads the same table, whole or not at all.

        Examples
        --------
        >>> import tempfile
        >>> table = LabelTable.from_names(["background", "cortex"])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     table.to_tsv(f"{folder}/dseg.tsv")
        ...     LabelTable.from_tsv(f"{folder}/dseg.tsv") == table
        True
        """
        columns = ["index", "name", "color"]
        columns += [name for name in ("abbreviation", "terminology") if any(getattr(e, name) for e in self.entries)]
        lines = ["\t".join(columns)]
        for entry in self.entries:
            cells = {
                "index": str(entry.value),
                "name": entry.name,
                "color": _to_hex(entry.colour),
                "abbreviation": entry.abbreviation or "n/a",
                "terminology": entry.terminology or "n/a",
            }
            lines.append("\t".join(cells[column] for column in columns))
        write_text(path, "\n".join(lines) + "\n")

    @classmethod
    def from_mapping(cls, mapping: Mapping[Any, Any]) -> LabelTable:
        """Make a table from JSON: value to name, or value to ``{"name", "color", "abbreviation", "terminology"}``.

        Raises
        ------
        InputError
            When a value is not a whole number, a name is missing or a key is unknown.

        Examples
        --------
        >>> LabelTable.from_mapping({"0": "background", "1": {"name": "cortex", "color": "#cd3e4e"}}).lookup(1).colour
        (205, 62, 78)
        """
        known = ("name", "color", "abbreviation", "terminology")
        parsed = []
        for value, content in mapping.items():
            cells = {"name": content} if isinstance(content, str) else content
            if not isinstance(cells, Mapping) or not all(isinstance(cell, str) for cell in cells.values()):
                raise InputError(
                    f"The label '{value}' is not a name.",
                    "Give a name, or a mapping with name and color.",
                    code="value-invalid",
                )
            for key in cells:
                if key not in known:
                    raise InputError(
                        f"The label '{value}' has an unknown key '{key}'.",
                        nearest(str(key), known),
                        code="name-unknown",
                    )
            parsed.append(_from_cells({"index": str(value), **cells}))
        return cls(_entries(parsed))

    def to_mapping(self) -> dict[str, dict[str, str]]:
        """Return the mapping that :meth:`from_mapping` reads, ready for JSON.

        Examples
        --------
        >>> LabelTable((Label(1, "cortex", (205, 62, 78)),)).to_mapping()
        {'1': {'name': 'cortex', 'color': '#cd3e4e'}}
        """
        mapping = {}
        for entry in self.entries:
            cells = {"name": entry.name, "color": _to_hex(entry.colour)}
            optional = {"abbreviation": entry.abbreviation, "terminology": entry.terminology}
            mapping[str(entry.value)] = cells | {key: text for key, text in optional.items() if text}
        return mapping


def as_label_map(volume: Volume, name: str) -> Volume:
    """Convert a label map to an integer type; files often hold whole values as floats.

    Parameters
    ----------
    volume:
        3-D; boolean, integer, or float with whole values. What lies within 0.01 of a whole number (of large ones,
        within a share of 2e-5) is rounded, with a warning: scaling in file headers leaves such noise.
    name:
        Its name in an error.

    Raises
    ------
    InputError
        When it has channels, or values that are negative, fractional, NaN or infinite.

    Examples
    --------
    >>> as_label_map(Volume(np.full((2, 2, 2), 3.0), np.eye(4)), "dseg").array.dtype
    dtype('int32')
    """
    require_3d(volume, name)
    array = volume.array
    if array.dtype.kind == "b":
        return volume.with_array(array.astype(np.uint8))
    is_float = array.dtype.kind == "f"
    rounded = np.rint(array) if is_float else array
    largest = np.iinfo(np.int32).max if is_float else np.inf
    in_range = bool(rounded.min() >= 0 and rounded.max() <= largest)  # NaN is not
    noise = np.abs(array - rounded) if is_float and in_range else np.zeros(1)
    if not in_range or bool((noise > np.clip(rounded * _RELATIVE_NOISE, _LEAST_NOISE, _MOST_NOISE)).any()):
        raise InputError(
            f"{name} is not a label map: it has values that are not whole numbers from 0.",
            "Give a segmentation, not an image; resample segmentations with the nearest neighbour.",
            code="labels-invalid",
        )
    if noise.any():
        log.warning("The values of %s are up to %.2g off whole numbers: they were rounded.", name, noise.max())
    return volume.with_array(rounded.astype(np.int32)) if is_float else volume


def label_volumes_ml(volume: Volume, table: LabelTable) -> dict[str, float]:
    """Volumes in ml of every structure of ``table`` in a label map.

    Parameters
    ----------
    volume:
        3-D label map.
    table:
        Names of its values.

    Returns
    -------
    dict:
        Name to volume in ml in the table's order, 0.0 where the structure is absent. The background (value 0) is
        omitted: it measures the field of view.

    Raises
    ------
    InputError
        When the volume is not a label map, or has values that the table lacks.

    Examples
    --------
    >>> table = LabelTable.from_names(["background", "cortex", "ventricles"])
    >>> labels = Volume(np.ones((10, 10, 10), np.uint8), np.diag([1.0, 1.0, 2.0, 1.0]))
    >>> label_volumes_ml(labels, table)
    {'cortex': 2.0, 'ventricles': 0.0}
    """
    values, counts = np.unique(as_label_map(volume, "The label map").array, return_counts=True)
    voxels = {int(value): int(count) for value, count in zip(values, counts, strict=True)}
    unknown = sorted(voxels.keys() - {_BACKGROUND, *table.values})
    if unknown:
        shown = ", ".join(str(value) for value in unknown[:8]) + (", ..." if len(unknown) > 8 else "")
        raise InputError(
            f"The label map has {len(unknown)} value(s) that the label table lacks: {shown}.",
            "Give the table that belongs to this label map.",
            code="labels-invalid",
        )
    voxel_ml = volume.voxel_volume_ml
    return {entry.name: voxels.get(entry.value, 0) * voxel_ml for entry in table if entry.value != _BACKGROUND}


# --- parts of a table -----------------------------------------------------------------------------------------------


def _from_cells(cells: Mapping[str, str]) -> dict[str, Any]:
    """Parse the texts of a table's row or a mapping's entry for :func:`_entries`."""
    texts = {key: "" if text in _MISSING else text for key, text in cells.items()}
    value = texts.get("index", "")
    if not re.fullmatch(r"-?\d+", value):
        raise InputError(f"'{value}' is not a label value.", "Use whole numbers from 0.", code="labels-invalid")
    parsed: dict[str, Any] = {"value": int(value), "name": texts.get("name", "")}
    parsed |= {key: texts.get(key, "") for key in ("abbreviation", "terminology")}
    colour = texts.get("color", "")
    return parsed | {"colour": _colour(colour)} if colour else parsed


def _entries(parsed: Sequence[dict[str, Any]]) -> tuple[Label, ...]:
    """Make the entries; those without a colour get one by their name, distinct from those before them."""
    taken = [entry["colour"] for entry in parsed if "colour" in entry]
    entries = []
    for fields in parsed:
        if "colour" in fields:
            entries.append(Label(**fields))
            continue
        colour = (0, 0, 0) if fields["value"] == _BACKGROUND else _colour_of(fields["name"], taken)
        taken.append(colour)
        entries.append(Label(colour=colour, **fields))
    return tuple(entries)


def _colour(text: str) -> Colour:
    digits = re.fullmatch(r"#?([0-9a-fA-F]{6})(?:[0-9a-fA-F]{2})?", text)  # a fourth pair is opacity
    numbers = re.fullmatch(r"(\d{1,3})[ ,]+(\d{1,3})[ ,]+(\d{1,3})", text)
    if digits:
        red, green, blue = bytes.fromhex(digits[1])
    elif numbers:
        red, green, blue = (int(number) for number in numbers.groups())
    else:
        raise InputError(
            f"'{text}' is not a colour.", "Write #rrggbb, or three numbers from 0 to 255.", code="value-invalid"
        )
    return red, green, blue


def _to_hex(colour: Colour) -> str:
    return f"#{bytes(colour).hex()}"


def _colour_of(name: str, taken: Sequence[Colour]) -> Colour:
    """Choose a colour by the hash of ``name``: bright enough for a black background, distinct from those ``taken``."""
    best: Colour = (0, 0, 0)
    widest = -1.0
    taken_rgb = np.array(taken, float).reshape(-1, 3)
    for attempt in range(64):
        hue, light, strength, *_ = hashlib.sha256(f"{name}#{attempt}".encode()).digest()
        parts = colorsys.hls_to_rgb(hue / 255, 0.42 + 0.3 * light / 255, 0.5 + 0.45 * strength / 255)
        red, green, blue = (round(255 * part) for part in parts)
        apart = float(np.linalg.norm(taken_rgb - (red, green, blue), axis=1).min(initial=1e9))
        if apart > widest:
            best, widest = (red, green, blue), apart
        if apart > _DISTINCT:
            break
    return best
