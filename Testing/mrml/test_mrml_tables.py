"""Rows and table nodes, and plots of their columns."""

from __future__ import annotations

import csv
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from Testing.mrml.places import WITHOUT_SLICER, read_node, write_node

pytest.importorskip("slicer", reason=WITHOUT_SLICER)

from NeuroGenLib.mrml.core import slicer
from NeuroGenLib.mrml.tables import add_plot, add_plot_series, add_table, rows_of
from Testing.raising import raises

if TYPE_CHECKING:
    from pathlib import Path

ROWS = [
    {"scan_age": 24.5, "n": 3, "tissue": "white matter", "z": None},
    {"scan_age": 30.0, "n": 4, "tissue": "", "z": -1.25},
]
cells = st.one_of(
    st.lists(st.integers(-(2**31), 2**31 - 1), min_size=1, max_size=4),
    st.lists(st.floats(allow_nan=False), min_size=1, max_size=4),
    st.lists(st.text("abcäöü ^~,;1.", min_size=1).map(str.strip).filter(bool), min_size=1, max_size=4).filter(
        lambda texts: all("  " not in text for text in texts)
    ),
)


@given(cells)
def test_a_column_comes_back(values: list[Any]) -> None:
    scene = slicer.vtkMRMLScene()
    rows = [{"before": 1, "column": value} for value in values]
    found = rows_of(add_table(scene, rows, "table"))
    assert [row["column"] for row in found] == values
    assert [type(row["column"]) for row in found] == [type(value) for value in values]
    assert [row["before"] for row in found] == [1] * len(values)


def test_what_is_missing_is_said(scene: Any) -> None:
    node = add_table(scene, ROWS, "tissues", units={"scan_age": "weeks"})
    first, second = rows_of(node)
    assert list(first) == ["scan_age", "n", "tissue", "z"]
    assert math.isnan(first["z"])
    assert (first["tissue"], second["tissue"]) == ("white matter", "n/a")
    assert (second["n"], second["z"]) == (4, -1.25)
    assert node.GetColumnUnitLabel("scan_age") == "weeks"
    assert node.GetColumnUnitLabel("n") in (None, "")


@pytest.mark.parametrize("value", [np.float32(1.5), np.int64(7), 2**40, True])
def test_numbers_of_other_kinds(value: Any, scene: Any) -> None:
    (row,) = rows_of(add_table(scene, [{"x": value}], "table"))
    assert row["x"] == ("True" if value is True else value)


def test_slicers_file_holds_the_rows(scene: Any, tmp_path: Path) -> None:
    awkward = [{"text": 'two\twords and "quotes"\n', "x": 1.5}, {"text": None, "x": None}]
    path = tmp_path / "rows.tsv"
    write_node(scene, add_table(scene, awkward, "rows"), path)
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert [row["text"] for row in rows] == ["two words and 'quotes'", "n/a"]
    assert float(rows[0]["x"]) == 1.5
    back = rows_of(read_node(scene, "vtkMRMLTableNode", "vtkMRMLTableStorageNode", path))
    assert [row["text"] for row in back] == ["two words and 'quotes'", "n/a"]


@pytest.mark.parametrize("rows", [[], [{}]])
def test_an_empty_table_is_refused(rows: list[dict[str, object]], scene: Any) -> None:
    with raises("table-empty", "'growth'"):
        add_table(scene, rows, "growth")


def test_rows_with_other_columns_are_refused(scene: Any) -> None:
    with raises("table-invalid", "Row 2", "'growth'"):
        add_table(scene, [{"a": 1}, {"b": 1}], "growth")


def test_a_plot_shows_columns_of_a_table(scene: Any) -> None:
    table = add_table(scene, ROWS, "tissues")
    curve = add_plot_series(scene, table, "scan_age", "n", "curve", (255, 0, 51), "line")
    dots = add_plot_series(scene, table, "scan_age", "z", "dots", (0, 0, 0), "dots")
    chart = add_plot(scene, [curve, dots], "growth", x_title="scan age (weeks)", y_title="volume (ml)")
    assert [chart.GetNthPlotSeriesNode(number).GetName() for number in range(2)] == ["curve", "dots"]
    assert (chart.GetTitle(), chart.GetXAxisTitle()) == ("growth", "scan age (weeks)")
    assert chart.GetYAxisTitle() == "volume (ml)"
    assert curve.GetTableNode() is table
    assert (curve.GetXColumnName(), curve.GetYColumnName()) == ("scan_age", "n")
    np.testing.assert_allclose(curve.GetColor(), (1, 0, 0.2))
    assert curve.GetLineStyle() == curve.LineStyleSolid
    assert curve.GetMarkerStyle() == curve.MarkerStyleNone
    assert dots.GetLineStyle() == dots.LineStyleNone
    assert dots.GetMarkerStyle() == dots.MarkerStyleCircle
    assert curve.GetPlotType() == curve.PlotTypeScatter, "a numeric x axis"
