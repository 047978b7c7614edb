"""Point files: tables (.tsv, .csv), Slicer's fiducial lists (.fcsv) and markups (.mrk.json).

Whatever coordinates a file is written in, the points are RAS mm here. What a file says beside the coordinates (names,
colours, further columns) is kept when its points are moved.
"""

from __future__ import annotations

import copy
import csv
import io
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from NeuroGenLib.cohort.tables import read_table
from NeuroGenLib.core.errors import InputError, nearest
from NeuroGenLib.core.files import existing_file, read_json, write_text

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

POINT_SUFFIXES = (".tsv", ".csv", ".fcsv", ".mrk.json")

_AXES = ("x", "y", "z")
_DECIMALS = 6
_LPS = np.array([-1.0, -1.0, 1.0])
_FCSV_COLUMNS = "id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID"
_FCSV_SYSTEMS = {"RAS": "RAS", "LPS": "LPS", "0": "RAS", "1": "LPS"}
_MARKUPS = ("Fiducial", "Line", "Angle", "Curve", "ClosedCurve")
"""Kinds of Slicer's markups that are their control points and nothing else."""


class _Content(Protocol):
    """What a file holds beside the coordinates."""

    def text(self, points: np.ndarray) -> str:
        """Return the file with these points, (N, 3) RAS mm."""


@dataclass(frozen=True, eq=False)
class PointFile:
    """The points of a file.

    Attributes
    ----------
    points:
        (N, 3) RAS mm.
    suffix:
        One of :data:`POINT_SUFFIXES`; it is written in the same format.
    """

    points: np.ndarray
    suffix: str
    _content: _Content

    def with_points(self, points: np.ndarray) -> PointFile:
        """Return the same file with other coordinates, (N, 3) RAS mm in the same order.

        Raises
        ------
        InputError
            When there are more or fewer of them, or one is not finite.
        """
        if points.shape != self.points.shape or not np.isfinite(points).all():
            raise InputError(
                f"An array of shape {points.shape} does not replace {len(self.points)} points.",
                "Give as many rows of three finite coordinates.",
                code="value-invalid",
            )
        return PointFile(np.asarray(points, dtype=np.float64), self.suffix, self._content)

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the file, whole or not at all.

        Raises
        ------
        InputError
            When the name ends otherwise than the file that was read.
        NeuroGenError
            When the disk refuses.
        """
        if point_suffix(path) != self.suffix:
            raise InputError(
                f"{path} cannot hold points that were read as {self.suffix}.",
                f"End the name in {self.suffix}.",
                code="file-type",
            )
        write_text(path, self._content.text(self.points))


def point_suffix(path: str | os.PathLike[str]) -> str | None:
    """Return which of :data:`POINT_SUFFIXES` a name ends in, None when it is no point file."""
    name = Path(path).name.lower()
    return next((suffix for suffix in POINT_SUFFIXES if name.endswith(suffix)), None)


def read_point_file(path: str | os.PathLike[str]) -> PointFile:
    """Read the points of a file.

    Parameters
    ----------
    path:
        ``.tsv`` or ``.csv`` with a header that names x, y and z, RAS mm; Slicer's ``.fcsv`` or ``.mrk.json``, in the
        coordinates that it says it has.

    Raises
    ------
    InputError
        When the file is missing, of another kind, empty, does not say which coordinates it has, or holds a coordinate
        that is no finite number.
    """
    suffix = point_suffix(path)
    if suffix is None:
        raise InputError(
            f"{path} is not a point file NeuroGen reads.", f"Give {', '.join(POINT_SUFFIXES)}.", code="file-type"
        )
    path = existing_file(path)
    if suffix == ".fcsv":
        content, points = _read_fcsv(path)
    elif suffix == ".mrk.json":
        content, points = _read_markups(path)
    else:
        content, points = _read_columns(path)
    if not len(points):
        raise InputError(f"{path} holds no point.", "Check that it is the right file.", code="table-empty")
    return PointFile(points, suffix, content)


@dataclass(frozen=True)
class _Columns:
    """A table: the cells of every row by column, and which columns are x, y and z."""

    columns: list[str]
    rows: list[dict[str, str]]
    axes: tuple[str, ...]
    delimiter: str

    def text(self, points: np.ndarray) -> str:
        moved = [row | _cells(self.axes, point) for row, point in zip(self.rows, points, strict=True)]
        return _csv_text([self.columns, *([row[name] for name in self.columns] for row in moved)], self.delimiter)


def _read_columns(path: Path) -> tuple[_Content, np.ndarray]:
    columns, rows = read_table(path)
    by_name = {column.lower(): column for column in columns}
    for axis in _AXES:
        if axis not in by_name:
            raise InputError(f"There is no column '{axis}' in {path}.", nearest(axis, columns), code="name-unknown")
    axes = tuple(by_name[axis] for axis in _AXES)
    points = [_point([row[axis] for axis in axes], f"Row {number} of {path}") for number, row in enumerate(rows, 1)]
    return _Columns(columns, rows, axes, "\t" if path.suffix.lower() == ".tsv" else ","), np.array(points)


@dataclass(frozen=True)
class _Fiducials:
    """Slicer's list: its header lines, and the cells of every point."""

    header: list[str]
    rows: list[list[str]]
    axes: tuple[int, ...]
    sign: np.ndarray

    def text(self, points: np.ndarray) -> str:
        moved = []
        for row, point in zip(self.rows, points * self.sign, strict=True):
            cells = _cells(self.axes, point)
            moved.append([cells.get(column, cell) for column, cell in enumerate(row)])
        return "".join(f"{line}\n" for line in self.header) + _csv_text(moved, ",")


def _read_fcsv(path: Path) -> tuple[_Content, np.ndarray]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path} is not a UTF-8 text file.", "Save the points again in Slicer.", code="table-invalid"
        ) from error
    header = [line for line in lines if line.startswith("#")]
    said = {name.strip().lower(): value.strip() for name, _, value in (line[1:].partition("=") for line in header)}
    given = said.get("coordinatesystem", "nothing")
    system = _FCSV_SYSTEMS.get(given.upper())
    if system is None:
        raise InputError(
            f"{path} says '{given}' of its coordinate system, not RAS or LPS.",
            "Write '# CoordinateSystem = LPS' (or RAS) above its points.",
            code="value-invalid",
        )
    columns = said.get("columns", _FCSV_COLUMNS).split(",")
    if not set(_AXES) <= set(columns):
        raise InputError(f"{path} has no columns x, y and z.", "Save the points again in Slicer.", code="table-invalid")
    axes = tuple(columns.index(axis) for axis in _AXES)
    try:
        rows = [row for row in csv.reader((line for line in lines if not line.startswith("#")), strict=True) if row]
    except csv.Error as error:
        raise InputError(
            f"{path} is not readable: {error}.", "Save the points again in Slicer.", code="table-invalid"
        ) from error
    sign = _LPS if system == "LPS" else np.ones(3)
    points = [
        _point([row[axis] if axis < len(row) else "" for axis in axes], f"Point {number} of {path}")
        for number, row in enumerate(rows, 1)
    ]
    return _Fiducials(header, rows, axes, sign), np.array(points).reshape(-1, 3) * sign


@dataclass(frozen=True)
class _Markups:
    """Slicer's markups as read, and the sign of x, y and z in each of them."""

    document: dict[str, Any]
    signs: list[np.ndarray]

    def text(self, points: np.ndarray) -> str:
        document = copy.deepcopy(self.document)
        left = iter(points)
        for markup, sign in zip(document["markups"], self.signs, strict=True):
            markup.pop("measurements", None)  # lengths and angles of the old places; Slicer measures anew
            for control in _placed(markup):
                control["position"] = np.round(next(left) * sign, _DECIMALS).tolist()
        return json.dumps(document, indent=4, ensure_ascii=False) + "\n"


def _read_markups(path: Path) -> tuple[_Content, np.ndarray]:
    document = read_json(path)
    markups = document.get("markups") if isinstance(document, dict) else None
    if not isinstance(markups, list) or not all(isinstance(markup, dict) for markup in markups):
        raise InputError(
            f"{path} holds no markups of Slicer.", "Save the points again in Slicer, as .mrk.json.", code="file-type"
        )
    signs: list[np.ndarray] = []
    points: list[list[float]] = []
    for markup in markups:
        kind = markup.get("type")
        if kind not in _MARKUPS:
            raise InputError(
                f"{path} holds a markup of type '{kind}', which is more than its points.",
                f"Give one of {', '.join(_MARKUPS)}.",
                code="file-type",
            )
        sign = _markup_sign(markup, path)
        signs.append(sign)
        for control in _placed(markup):
            position = control.get("position")
            where = f"Point {len(points) + 1} of {path}"
            if not isinstance(position, list):
                raise InputError(f"{where} has no position.", "Save the points again in Slicer.", code="value-missing")
            points.append((np.array(_point(position, where)) * sign).tolist())
    return _Markups(document, signs), np.array(points).reshape(-1, 3)


def _markup_sign(markup: Mapping[str, Any], path: Path) -> np.ndarray:
    """Return what turns the positions of a markup into RAS and back."""
    system = markup.get("coordinateSystem", "LPS")  # what the format takes when nothing is said
    if system not in ("RAS", "LPS"):
        raise InputError(
            f"{path} has the coordinate system '{system}', not RAS or LPS.",
            "Save the points again in Slicer.",
            code="value-invalid",
        )
    units = markup.get("coordinateUnits", "mm")
    if set(units if isinstance(units, list) else [units]) != {"mm"}:
        raise InputError(
            f"{path} has coordinates in '{units}', not mm.", "Save the points in mm.", code="value-invalid"
        )
    return _LPS if system == "LPS" else np.ones(3)


def _placed(markup: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the control points of a markup that have a place."""
    controls = markup.get("controlPoints")
    given = controls if isinstance(controls, list) else []
    return [one for one in given if isinstance(one, dict) and one.get("positionStatus") != "undefined"]


def _point(cells: Sequence[Any], where: str) -> list[float]:
    """Return three coordinates."""
    try:
        point = [float(cell) for cell in cells]
    except (TypeError, ValueError):
        point = []
    if len(point) != 3 or not all(map(math.isfinite, point)):
        shown = ", ".join(str(cell) for cell in cells)[:60]
        raise InputError(f"{where} is no place: '{shown}'.", "Write three finite numbers, in mm.", code="value-invalid")
    return point


def _cells(names: Sequence[Any], point: np.ndarray) -> dict[Any, str]:
    return {name: f"{value:.{_DECIMALS}f}" for name, value in zip(names, point, strict=True)}


def _csv_text(rows: Sequence[Sequence[str]], delimiter: str) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, delimiter=delimiter, lineterminator="\n").writerows(rows)
    return buffer.getvalue()
