"""Conversion between rows and table nodes; plots of their columns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from NeuroGenLib.core.errors import InputError
from NeuroGenLib.mrml.core import Node, Scene, vtk

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from NeuroGenLib.spatial.labels import Colour

MISSING = "n/a"
"""Slicer's table files lose empty texts."""

Style: TypeAlias = Literal["line", "dots", "diamonds"]

_WHOLE = range(-(2**31), 2**31)


def add_table(
    scene: Scene, rows: Sequence[Mapping[str, object]], name: str, *, units: Mapping[str, str] | None = None
) -> Node:
    """Add rows as ``vtkMRMLTableNode``.

    Columns of numbers become whole numbers or doubles (None is not-a-number), all others texts (None and the empty
    text are ``n/a``; quotes and tabs, which Slicer's table files cannot hold, become apostrophes and blanks). These
    files store six digits of a number.

    Parameters
    ----------
    scene:
        ``vtkMRMLScene``.
    rows:
        Values by name of the column, with the same names in each.
    name:
        The node's name.
    units:
        Unit of a column.

    Raises
    ------
    InputError
        When there is no row, or one has other columns.

    Examples
    --------
    >>> from NeuroGenLib.mrml.scene import HeadlessScene
    >>> with HeadlessScene() as headless:
    ...     node = add_table(headless.scene, [{"age": 30.5, "n": 2}], "cohort", units={"age": "weeks"})
    ...     rows_of(node)
    [{'age': 30.5, 'n': 2}]
    """
    table = _table(rows, name)
    node = scene.AddNewNodeByClass("vtkMRMLTableNode", name)
    node.SetAndObserveTable(table)
    for column, unit in (units or {}).items():
        node.SetColumnUnitLabel(_text(column), unit)
    return node


def update_table(node: Node, rows: Sequence[Mapping[str, object]]) -> None:
    """Replace the rows of a node of :func:`add_table`; plots of it follow, units are kept.

    Raises
    ------
    InputError
        As :func:`add_table`.
    """
    node.SetAndObserveTable(_table(rows, str(node.GetName())))


def rows_of(node: Node) -> list[dict[str, float | int | str]]:
    """Return the rows of a table node: int, float (with not-a-number) or text by name of the column."""
    table = node.GetTable()
    columns = [table.GetColumn(number) for number in range(table.GetNumberOfColumns())]
    return [{column.GetName(): column.GetValue(row) for column in columns} for row in range(table.GetNumberOfRows())]


def add_plot_series(scene: Scene, table: Node, x: str, y: str, name: str, colour: Colour, style: Style) -> Node:
    """Add a ``vtkMRMLPlotSeriesNode`` of two columns of a table node."""
    series = scene.AddNewNodeByClass("vtkMRMLPlotSeriesNode", name)
    series.SetAndObserveTableNodeID(table.GetID())
    series.SetPlotType(series.PlotTypeScatter)
    series.SetXColumnName(_text(x))
    series.SetYColumnName(_text(y))
    series.SetColor(*(part / 255 for part in colour))
    markers = {"line": series.MarkerStyleNone, "dots": series.MarkerStyleCircle, "diamonds": series.MarkerStyleDiamond}
    series.SetMarkerStyle(markers[style])
    series.SetMarkerSize(12 if style == "diamonds" else 5)
    series.SetLineStyle(series.LineStyleSolid if style == "line" else series.LineStyleNone)
    return series


def add_plot(scene: Scene, series: Sequence[Node], name: str, *, x_title: str, y_title: str) -> Node:
    """Add a ``vtkMRMLPlotChartNode`` of several series."""
    chart = scene.AddNewNodeByClass("vtkMRMLPlotChartNode", name)
    for node in series:
        chart.AddAndObservePlotSeriesNodeID(node.GetID())
    chart.SetTitle(name)
    chart.SetXAxisTitle(x_title)
    chart.SetYAxisTitle(y_title)
    return chart


def _table(rows: Sequence[Mapping[str, object]], name: str) -> Any:
    if not rows or not rows[0]:
        raise InputError(f"The table '{name}' is empty.", "Give at least one row.", code="table-empty")
    for number, row in enumerate(rows, start=1):
        if list(row) != list(rows[0]):
            raise InputError(
                f"Row {number} of the table '{name}' does not have the columns of the first.",
                "Give the same.",
                code="table-invalid",
            )
    table = vtk.vtkTable()
    for column in rows[0]:
        table.AddColumn(_column(_text(column), [row[column] for row in rows]))
    return table


def _column(name: str, values: Sequence[Any]) -> Any:
    array: Any
    cells: list[Any]
    if all(_is_number(value) and isinstance(value, int | np.integer) and int(value) in _WHOLE for value in values):
        array, cells = vtk.vtkIntArray(), [int(value) for value in values]
    elif all(value is None or _is_number(value) for value in values):
        array, cells = vtk.vtkDoubleArray(), [float("nan") if value is None else float(value) for value in values]
    else:
        array, cells = vtk.vtkStringArray(), [_text(value) for value in values]
    array.SetName(name)
    for cell in cells:
        array.InsertNextValue(cell)
    return array


def _is_number(value: object) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)


def _text(value: object) -> str:
    text = "" if value is None else " ".join(str(value).replace('"', "'").split())
    return text or MISSING
