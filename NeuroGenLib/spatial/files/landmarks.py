"""Landmark files: tables (.tsv, .csv), Slicer's fiducial lists (.fcsv) and markups (.mrk.json).

Points are converted to RAS mm from the coordinates of the file. The other content of a file (names, colours, further
columns) is kept when its coordinates are replaced.
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
from NeuroGenLib.core.files import existing_file, read_json, read_text, write_text

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
"""Types of Slicer's markups that consist of their control points."""


class _Content(Protocol):
    """The content of a file besides the coordinates."""

    def text(self, points: np.ndarray) -> str:
        """Return the file with these points, (N, 3) RAS mm."""


@dataclass(frozen=True, eq=False)
class PointFile:
    r"""Landmarks of a file, with its other content.

    Attributes
    ----------
    points:
        (N, 3) RAS mm.
    suffix:
        One of :data:`POINT_SUFFIXES`; it is written in the same format.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "landmarks.csv")
    ...     _ = path.write_text("name,x,y,z\nAC,1,2,3\n")
    ...     landmarks = read_point_file(path)
    ...     landmarks.with_points(landmarks.points + 10).write(path)
    ...     print(path.read_text())
    name,x,y,z
    AC,11.000000,12.000000,13.000000
    <BLANKLINE>
    """

    points: np.ndarray
    suffix: str
    _content: _Content

    def with_points(self, points: np.ndarray) -> PointFile:
        r"""Return the same content with other coordinates, (N, 3) RAS mm in the same order.

        Raises
        ------
        InputError
            When their number differs, or one is not finite.

        Examples
        --------
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "landmarks.csv")
        ...     _ = path.write_text("x,y,z\n1,2,3\n")
        ...     landmarks = read_point_file(path)
        >>> landmarks.with_points(landmarks.points * 2).points.tolist()
        [[2.0, 4.0, 6.0]]
        """
        if points.shape != self.points.shape or not np.isfinite(points).all():
            raise InputError(
                f"An array of shape {points.shape} does not replace {len(self.points)} points.",
                "Give the same number of rows of three finite coordinates.",
                code="value-invalid",
            )
        return PointFile(np.asarray(points, dtype=np.float64), self.suffix, self._content)

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the file, whole or not at all.

        Raises
        ------
        InputError
            When the name has another suffix than the file that was read.
        NeuroGenError
            When the file cannot be written.
        """
        if point_suffix(path) != self.suffix:
            raise InputError(
                f"{path} cannot hold points that were read as {self.suffix}.",
                f"End the name in {self.suffix}.",
                code="file-type",
            )
        write_text(path, self._content.text(self.points))


def point_suffix(path: str | os.PathLike[str]) -> str | None:
    """Return which of :data:`POINT_SUFFIXES` a name ends in, None for other files.

    Examples
    --------
    >>> point_suffix("sub-01/landmarks.mrk.json"), point_suffix("T2w.nii.gz")
    ('.mrk.json', None)
    """
    name = Path(path).name.lower()
    return next((suffix for suffix in POINT_SUFFIXES if name.endswith(suffix)), None)


def read_point_file(path: str | os.PathLike[str]) -> PointFile:
    r"""Read a landmark file.

    Parameters
    ----------
    path:
        ``.tsv`` or ``.csv`` with columns x, y and z, RAS mm; Slicer's ``.fcsv`` or ``.mrk.json``, in the coordinate
        system that it names.

    Raises
    ------
    InputError
        When the file is missing, of another kind or empty, does not name its coordinate system, or holds a coordinate
        that is not a finite number.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "F.fcsv")
    ...     _ = path.write_text("# CoordinateSystem = LPS\nF-1,10,20,30,0,0,0,1,1,1,0,F-1,,\n")
    ...     read_point_file(path).points.tolist()
    [[-10.0, -20.0, 30.0]]
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
        raise InputError(f"{path} contains no point.", "Check that it is the right file.", code="table-empty")
    return PointFile(points, suffix, content)


@dataclass(frozen=True)
class _Columns:
    """Table: the cells of every row by column, and which columns are x, y and z."""

    columns: list[str]
    rows: list[dict[str, str]]
    axes: tuple[str, ...]
    delimiter: str

    def text(self, points: np.ndarray) -> str:
        rows = [row | _cells(self.axes, point) for row, point in zip(self.rows, points, strict=True)]
        return _csv_text([self.columns, *([row[name] for name in self.columns] for row in rows)], self.delimiter)


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
    """Slicer's fiducial list: its header lines, and the cells of every point."""

    header: list[str]
    rows: list[list[str]]
    axes: tuple[int, ...]
    sign: np.ndarray

    def text(self, points: np.ndarray) -> str:
        rows = []
        for row, point in zip(self.rows, points * self.sign, strict=True):
            cells = _cells(self.axes, point)
            rows.append([cells.get(column, cell) for column, cell in enumerate(row)])
        return "".join(f"{line}\n" for line in self.header) + _csv_text(rows, ",")


def _read_fcsv(path: Path) -> tuple[_Content, np.ndarray]:
    lines = read_text(path).splitlines()
    header = [line for line in lines if line.startswith("#")]
    fields = {name.strip().lower(): value.strip() for name, _, value in (line[1:].partition("=") for line in header)}
    stated = fields.get("coordinatesystem", "nothing")
    system = _FCSV_SYSTEMS.get(stated.upper())
    if system is None:
        raise InputError(
            f"{path} names the coordinate system '{stated}', not RAS or LPS.",
            "Write '# CoordinateSystem = LPS' (or RAS) above its points.",
            code="value-invalid",
        )
    columns = fields.get("columns", _FCSV_COLUMNS).split(",")
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
    """Slicer's markups as read, and the signs that convert x, y and z of each to RAS."""

    document: dict[str, Any]
    signs: list[np.ndarray]

    def text(self, points: np.ndarray) -> str:
        document = copy.deepcopy(self.document)
        remaining = iter(points)
        for markup, sign in zip(document["markups"], self.signs, strict=True):
            markup.pop("measurements", None)  # lengths and angles of the old positions; Slicer measures again
            for control in _control_points(markup):
                control["position"] = np.round(next(remaining) * sign, _DECIMALS).tolist()
        return json.dumps(document, indent=4, ensure_ascii=False) + "\n"


def _read_markups(path: Path) -> tuple[_Content, np.ndarray]:
    document = read_json(path)
    markups = document.get("markups") if isinstance(document, dict) else None
    if not isinstance(markups, list) or not all(isinstance(markup, dict) for markup in markups):
        raise InputError(
            f"{path} contains no markups of Slicer.", "Save the points again in Slicer, as .mrk.json.", code="file-type"
        )
    signs: list[np.ndarray] = []
    points: list[list[float]] = []
    for markup in markups:
        kind = markup.get("type")
        if kind not in _MARKUPS:
            raise InputError(
                f"{path} contains a markup of type '{kind}', which control points do not define.",
                f"Give one of {', '.join(_MARKUPS)}.",
                code="file-type",
            )
        sign = _markup_sign(markup, path)
        signs.append(sign)
        for control in _control_points(markup):
            position = control.get("position")
            where = f"Point {len(points) + 1} of {path}"
            if not isinstance(position, list):
                raise InputError(f"{where} has no position.", "Save the points again in Slicer.", code="value-missing")
            points.append((np.array(_point(position, where)) * sign).tolist())
    return _Markups(document, signs), np.array(points).reshape(-1, 3)


def _markup_sign(markup: Mapping[str, Any], path: Path) -> np.ndarray:
    """Return the signs that convert the positions of a markup to RAS and from it."""
    system = markup.get("coordinateSystem", "LPS")  # the default of the format
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


def _control_points(markup: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the control points of a markup that have a position."""
    controls = markup.get("controlPoints")
    controls = controls if isinstance(controls, list) else []
    return [point for point in controls if isinstance(point, dict) and point.get("positionStatus") != "undefined"]


def _point(cells: Sequence[Any], where: str) -> list[float]:
    """Return three coordinates."""
    try:
        point = [float(cell) for cell in cells]
    except (TypeError, ValueError):
        point = []
    if len(point) != 3 or not all(map(math.isfinite, point)):
        shown = ", ".join(str(cell) for cell in cells)[:60]
        raise InputError(
            f"{where} is not a position: '{shown}'.", "Write three finite numbers, in mm.", code="value-invalid"
        )
    return point


def _cells(names: Sequence[Any], point: np.ndarray) -> dict[Any, str]:
    return {name: f"{value:.{_DECIMALS}f}" for name, value in zip(names, point, strict=True)}


def _csv_text(rows: Sequence[Sequence[str]], delimiter: str) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, delimiter=delimiter, lineterminator="\n").writerows(rows)
    return buffer.getvalue()
