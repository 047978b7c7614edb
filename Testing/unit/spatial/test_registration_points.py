"""Point files: every format gives the same RAS mm and keeps what else it says; broken ones are refused by name."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from NeuroGenLib.spatial.files.landmarks import point_suffix, read_point_file
from Testing.raising import raises

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from NeuroGenLib.core.errors import Code

RAS = [(10.5, -20.25, 30.0), (-1.0, 2.0, -3.125)]
LPS = [(-10.5, 20.25, 30.0), (1.0, -2.0, -3.125)]


def fcsv(system: str, points: list[tuple[float, float, float]]) -> str:
    head = f"# Markups fiducial file version = 4.11\n# CoordinateSystem = {system}\n"
    head += "# columns = id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID\n"
    rows = [f'{n},{x},{y},{z},0,0,0,1,1,1,0,F-{n},"left, deep",vtk1\n' for n, (x, y, z) in enumerate(points)]
    return head + "".join(rows)


def markups(system: str | None, points: list[tuple[float, float, float]], **more: Any) -> dict[str, Any]:
    controls = [{"id": str(n), "label": f"F-{n}", "position": list(point)} for n, point in enumerate(points)]
    markup = {"type": "Fiducial", "coordinateUnits": "mm", "controlPoints": controls, "display": {"opacity": 0.5}}
    if system is not None:
        markup["coordinateSystem"] = system
    return {"@schema": "markups-schema-v1.0.3.json#", "markups": [markup | more]}


WRITTEN = {
    "a.tsv": "name\tx\ty\tz\tside\n" + "".join(f"p{n}\t{x}\t{y}\t{z}\tleft\n" for n, (x, y, z) in enumerate(RAS)),
    "b.csv": "X,Y,Z\n" + "".join(f"{x},{y},{z}\n" for x, y, z in RAS),
    "lps.fcsv": fcsv("LPS", LPS),
    "ras.fcsv": fcsv("RAS", RAS),
    "old_ras.fcsv": fcsv("0", RAS),
    "old_lps.fcsv": fcsv("1", LPS),
    "lps.mrk.json": json.dumps(markups("LPS", LPS)),
    "ras.mrk.json": json.dumps(markups("RAS", RAS)),
    "silent.mrk.json": json.dumps(markups(None, LPS)),
}


@pytest.fixture
def placed(tmp_path: Path) -> Callable[[str, str], Path]:
    def write(name: str, text: str) -> Path:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return write


@pytest.mark.parametrize("name", WRITTEN)
def test_every_format_gives_the_same_places(name: str, placed: Callable[[str, str], Path]) -> None:
    np.testing.assert_allclose(read_point_file(placed(name, WRITTEN[name])).points, RAS, atol=1e-12)


@pytest.mark.parametrize("name", WRITTEN)
def test_moved_points_are_written_where_they_are(name: str, placed: Callable[[str, str], Path], tmp_path: Path) -> None:
    read = read_point_file(placed(name, WRITTEN[name]))
    to = tmp_path / f"moved_{name}"
    read.with_points(np.add(read.points, (1, 2, 3))).write(to)
    np.testing.assert_allclose(read_point_file(to).points, np.add(RAS, (1, 2, 3)), atol=1e-6)
    assert read.suffix == point_suffix(to)
    np.testing.assert_allclose(read.points, RAS)


def test_the_sign_in_the_file_is_that_of_its_header(placed: Callable[[str, str], Path], tmp_path: Path) -> None:
    read = read_point_file(placed("lps.fcsv", WRITTEN["lps.fcsv"]))
    read.with_points(np.array([(1.0, 2.0, 3.0), (4.0, 5.0, 6.0)])).write(tmp_path / "out.fcsv")
    lines = (tmp_path / "out.fcsv").read_text(encoding="utf-8").splitlines()
    assert lines[:3] == WRITTEN["lps.fcsv"].splitlines()[:3]
    cells = list(csv.reader(lines[3:]))
    assert [float(cell) for cell in cells[0][1:4]] == [-1, -2, 3]
    assert [row[12] for row in cells] == ["left, deep"] * 2, "a comma in a description survives"


def test_other_columns_stay(placed: Callable[[str, str], Path], tmp_path: Path) -> None:
    read = read_point_file(placed("a.tsv", WRITTEN["a.tsv"]))
    read.with_points(read.points * 2).write(tmp_path / "out.tsv")
    lines = (tmp_path / "out.tsv").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "name\tx\ty\tz\tside"
    assert lines[1].split("\t") == ["p0", "21.000000", "-40.500000", "60.000000", "left"]


def test_markups_keep_their_looks_and_lose_what_was_measured(tmp_path: Path) -> None:
    document = markups("LPS", LPS, measurements=[{"name": "length", "value": 12.0}])
    document["markups"].append(markups("RAS", RAS)["markups"][0])
    document["markups"][0]["controlPoints"].insert(
        1, {"id": "7", "label": "later", "position": [0, 0, 0], "positionStatus": "undefined"}
    )
    path = tmp_path / "two.mrk.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    read = read_point_file(path)
    np.testing.assert_allclose(read.points, [*RAS, *RAS])
    read.with_points(np.add(read.points, (0, 0, 1))).write(tmp_path / "out.mrk.json")
    made = json.loads((tmp_path / "out.mrk.json").read_text(encoding="utf-8"))
    first, second = made["markups"]
    assert "measurements" not in first
    assert first["display"] == {"opacity": 0.5}
    assert [one["label"] for one in first["controlPoints"]] == ["F-0", "later", "F-1"]
    assert [one["position"] for one in first["controlPoints"]] == [[-10.5, 20.25, 31.0], [0, 0, 0], [1, -2, -2.125]]
    assert [one["position"] for one in second["controlPoints"]] == [[10.5, -20.25, 31.0], [-1, 2, -2.125]]
    assert "measurements" in document["markups"][0]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    points=st.lists(st.tuples(*[st.floats(-500, 500, allow_nan=False)] * 3), min_size=1, max_size=6),
    kind=st.sampled_from(["t.tsv", "t.csv", "l.fcsv", "l.mrk.json"]),
)
def test_there_and_back_through_a_file_keeps_points(
    points: list[tuple[float, float, float]], kind: str, tmp_path: Path
) -> None:
    zeros = [(0.0, 0.0, 0.0)] * len(points)
    text = {
        "t.tsv": "x\ty\tz\n" + "0\t0\t0\n" * len(points),
        "t.csv": "x,y,z\n" + "0,0,0\n" * len(points),
        "l.fcsv": fcsv("LPS", zeros),
        "l.mrk.json": json.dumps(markups("LPS", zeros)),
    }[kind]
    (tmp_path / kind).write_text(text, encoding="utf-8")
    out = tmp_path / f"out_{kind}"
    read_point_file(tmp_path / kind).with_points(np.array(points)).write(out)
    np.testing.assert_allclose(read_point_file(out).points, points, atol=1e-6)


BROKEN: dict[str, tuple[str, Code, *tuple[str, ...]]] = {
    "points.txt": ("x y z\n1 2 3\n", "file-type", "points.txt", ".mrk.json"),
    "no_z.tsv": ("x\ty\n1\t2\n", "name-unknown", "'z'", "no_z.tsv"),
    "empty.tsv": ("x\ty\tz\n", "table-empty", "empty.tsv"),
    "text.mrk.json": ("points", "file-type", "text.mrk.json"),
    "nan.tsv": ("x\ty\tz\n1\t2\t3\n1\tnan\t3\n", "value-invalid", "Row 2", "nan.tsv"),
    "word.csv": ("x,y,z\n1,here,3\n", "value-invalid", "Row 1", "here"),
    "silent.fcsv": ("# columns = id,x,y,z\n1,2,3,4\n", "value-invalid", "silent.fcsv", "CoordinateSystem"),
    "ijk.fcsv": ("# CoordinateSystem = 2\n1,2,3,4\n", "value-invalid", "ijk.fcsv", "'2'"),
    "short.fcsv": ("# CoordinateSystem = RAS\n1,2\n", "value-invalid", "Point 1", "short.fcsv"),
    "none.fcsv": ("# CoordinateSystem = RAS\n", "table-empty", "none.fcsv"),
    "columns.fcsv": (
        "# CoordinateSystem = RAS\n# columns = id,label\n1,a\n",
        "table-invalid",
        "columns.fcsv",
        "x, y and z",
    ),
    "list.mrk.json": ("[]", "file-type", "list.mrk.json"),
    "none.mrk.json": ('{"markups": []}', "table-empty", "none.mrk.json"),
    "plane.mrk.json": ('{"markups": [{"type": "Plane"}]}', "file-type", "plane.mrk.json", "Plane"),
    "frame.mrk.json": (json.dumps(markups("IJK", RAS)), "value-invalid", "frame.mrk.json", "IJK"),
    "metres.mrk.json": (
        json.dumps(markups("RAS", RAS, coordinateUnits="m")),
        "value-invalid",
        "metres.mrk.json",
        "'m'",
    ),
    "bare.mrk.json": (json.dumps(markups("RAS", RAS, controlPoints=[{"id": "1"}])), "value-missing", "Point 1"),
    "two.mrk.json": (json.dumps(markups("RAS", [(1, 2)])), "value-invalid", "Point 1", "two.mrk.json"),  # type: ignore[list-item]
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_files_are_refused_with_their_place(name: str, placed: Callable[[str, str], Path]) -> None:
    text, code, *named = BROKEN[name]
    with raises(code, *named):
        read_point_file(placed(name, text))


def test_a_file_of_bytes_and_one_that_is_missing(tmp_path: Path) -> None:
    (tmp_path / "bytes.fcsv").write_bytes(b"\xff\xfe\x00")
    with raises("file-type", tmp_path / "bytes.fcsv"):
        read_point_file(tmp_path / "bytes.fcsv")
    with raises("file-missing", tmp_path / "missing.tsv"):
        read_point_file(tmp_path / "missing.tsv")


def test_points_stay_in_their_format_and_number(placed: Callable[[str, str], Path], tmp_path: Path) -> None:
    read = read_point_file(placed("a.tsv", WRITTEN["a.tsv"]))
    with raises("file-type", tmp_path / "out.fcsv", ".tsv"):
        read.write(tmp_path / "out.fcsv")
    with raises("value-invalid", (3, 3), "2 points"):
        read.with_points(np.zeros((3, 3)))
    with raises("value-invalid", "finite"):
        read.with_points(np.full((2, 3), np.nan))
