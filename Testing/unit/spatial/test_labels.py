"""Label tables and what is measured with them."""

from __future__ import annotations

import json
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from NeuroGenLib.core.resources import resource
from NeuroGenLib.spatial.labels import Label, LabelTable, as_label_map, label_volumes_ml
from NeuroGenLib.spatial.volume import Volume
from Testing.geometry import Phantom, oblique, reoriented
from Testing.raising import raises

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from NeuroGenLib.core.errors import Code

FETAL_TISSUES = [
    "background",
    "white_matter",
    "ventricles",
    "cerebellum",
    "extra_axial_csf",
    "cortical_gray_matter",
    "deep_gray_matter",
    "brainstem",
    "corpus_callosum",
]

NAMES = st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=12).filter(
    lambda name: name != "n/a"
)
COLOURS = st.tuples(*[st.integers(0, 255)] * 3)


@pytest.fixture
def tissues() -> LabelTable:
    return LabelTable.from_tsv(resource("labels/fetal-tissues.tsv"))


@st.composite
def tables(draw: st.DrawFn) -> LabelTable:
    names = draw(st.lists(NAMES, min_size=1, max_size=6, unique=True))
    values = draw(st.lists(st.integers(0, 15000), min_size=len(names), max_size=len(names), unique=True))
    terms = st.sampled_from(["", "SCT^12738006^Brain"])
    return LabelTable(
        tuple(
            Label(value, name, draw(COLOURS), draw(st.sampled_from(["", "WM"])), draw(terms))
            for value, name in zip(values, names, strict=True)
        )
    )


def written(path: Path, text: str) -> Path:
    path.write_bytes(text.encode())
    return path


# --- the table that ships ---


def test_the_fetal_tissues_are_complete(tissues: LabelTable) -> None:
    assert tissues.values == tuple(range(9))
    assert list(tissues.names) == FETAL_TISSUES
    assert tissues.lookup(0).colour == (0, 0, 0)
    assert all(entry.terminology for entry in tissues if entry.value)
    apart = [np.linalg.norm(np.subtract(a.colour, b.colour)) for a, b in combinations(tissues, 2)]
    assert min(apart) > 45


# --- making and keeping tables ---


@given(table=tables())
def test_tables_survive_their_files(tmp_path: Path, table: LabelTable) -> None:
    table.to_tsv(tmp_path / "dseg.tsv")
    assert LabelTable.from_tsv(tmp_path / "dseg.tsv") == table
    assert LabelTable.from_mapping(json.loads(json.dumps(table.to_mapping()))) == table


@given(table=tables(), data=st.data())
def test_every_label_is_found_by_value_and_by_name(table: LabelTable, data: st.DataObject) -> None:
    label = data.draw(st.sampled_from(table.entries))
    assert table.lookup(label.value) is label
    assert table.lookup(label.name) is label
    assert table.values[table.names.index(label.name)] == label.value


@given(names=st.lists(NAMES, min_size=1, max_size=8, unique=True))
def test_tables_of_names_survive_their_files(tmp_path: Path, names: list[str]) -> None:
    """Colours chosen by name are written, so that a reader does not choose others."""
    table = LabelTable.from_names(names)
    table.to_tsv(tmp_path / "dseg.tsv")
    assert LabelTable.from_tsv(tmp_path / "dseg.tsv") == table
    assert (table.names, table.values) == (tuple(names), tuple(range(len(names))))


@given(table=tables(), counts=st.data())
def test_volumes_of_structures_add_up_to_the_foreground(table: LabelTable, counts: st.DataObject) -> None:
    values = counts.draw(st.lists(st.sampled_from((0, *table.values)), min_size=24, max_size=24))
    labels = Volume(np.array(values).reshape(2, 3, 4), np.diag([2.0, -1.5, 3.0, 1.0]))
    foreground = sum(value != 0 for value in values)
    assert sum(label_volumes_ml(labels, table).values()) == pytest.approx(foreground * 0.009)


def test_a_bids_table_is_read_whoever_wrote_it(tmp_path: Path) -> None:
    text = "\ufeffIndex\tname \tabbreviation\tcolor\tmapping\r\n"
    text += "0\tbackground\tn/a\t#000000\t0\r\n\r\n41\t left WM\tWM\t255 250 0\t2\r\n"
    table = LabelTable.from_tsv(written(tmp_path / "dseg.tsv", text))
    assert table.entries == (Label(0, "background", (0, 0, 0)), Label(41, "left WM", (255, 250, 0), "WM"))
    short = LabelTable.from_tsv(written(tmp_path / "plain.tsv", "name\tindex\tcolor\nwhite\t2\t#FFeeDDff\ngrey\t7\n"))
    assert short.lookup("white").colour == (255, 238, 221)
    assert short.lookup("grey").value == 7


def test_names_alone_are_numbered_and_coloured() -> None:
    table = LabelTable.from_names(["background", "cortex", "white_matter"])
    assert table.values == (0, 1, 2)
    assert table.lookup("background").colour == (0, 0, 0)
    assert LabelTable.from_mapping({"0": "background", "1": "cortex", "2": "white_matter"}) == table


def test_default_colours_follow_the_name_and_differ() -> None:
    names = [f"region_{n}" for n in range(14)]
    table = LabelTable.from_names(["background", *names])
    alone = LabelTable.from_mapping({"900": "region_0"})
    assert table.lookup("region_0").colour == alone.lookup("region_0").colour
    colours = [entry.colour for entry in table]
    assert min(np.linalg.norm(np.subtract(a, b)) for a, b in combinations(colours, 2)) > 50
    assert all(max(colour) > 100 for colour in colours[1:])
    given_one = LabelTable.from_mapping({"1": {"name": "a", "color": "#102030"}, "2": "region_0"})
    assert given_one.lookup("a").colour == (16, 32, 48)


def test_lookup_by_name_or_value_names_the_nearest(tissues: LabelTable) -> None:
    assert tissues.lookup("ventricles") is tissues.lookup(2)
    assert tissues.lookup(np.int16(8)).name == "corpus_callosum"  # type: ignore[arg-type]
    with raises("name-unknown", "'ventricle'", "'ventricles'"):
        tissues.lookup("ventricle")
    with raises("name-unknown", 77):
        tissues.lookup(77)


@pytest.mark.parametrize(
    ("text", "code", "named"),
    [
        ("", "table-invalid", "'index'"),
        ("index,name\n0,background\n", "table-invalid", "'name'"),
        ("index\tname\n", "table-empty", "dseg.tsv"),
        ("index\tname\n1\ta\n1\tb\n", "value-duplicate", "value '1'"),
        ("index\tname\n1\ta\n2\ta\n", "value-duplicate", "name 'a'"),
        ("index\tname\n1\ta\n1.5\tb\n", "labels-invalid", "line 3: '1.5'"),
        ("index\tname\n-1\ta\n", "labels-invalid", -1),
        ("index\tname\n1\tn/a\n", "value-invalid", "label 1"),
        ("index\tname\tcolor\n1\ta\tred\n", "value-invalid", "line 2: 'red'"),
        ("index\tname\tcolor\n1\ta\t256 0 0\n", "value-invalid", (256, 0, 0)),
        ("index\tname\tterminology\n1\ta\t12738006\n", "value-invalid", "'12738006'"),
    ],
)
def test_broken_tables_are_refused_by_name(tmp_path: Path, text: str, code: Code, named: object) -> None:
    with raises(code, named) as caught:
        LabelTable.from_tsv(written(tmp_path / "dseg.tsv", text))
    assert "dseg.tsv" in caught.value.problem
    assert caught.value.remedy


def test_binary_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "dseg.tsv").write_bytes(b"index\tname\n1\t\xff\xfe\n")
    with raises("file-type", tmp_path / "dseg.tsv"):
        LabelTable.from_tsv(tmp_path / "dseg.tsv")
    with raises("file-missing", tmp_path / "none.tsv"):
        LabelTable.from_tsv(tmp_path / "none.tsv")


@pytest.mark.parametrize(
    ("mapping", "code", "named"),
    [
        ({}, "table-empty", "table"),
        ({"one": "a"}, "labels-invalid", "'one'"),
        ({"1": 7}, "value-invalid", "label '1'"),
        ({"1": {"name": "a", "colour": "#000000"}}, "name-unknown", "'color'"),
        ({"1": {"color": "#000000"}}, "value-invalid", "label 1"),
        ({"1": "a", "01": "b"}, "value-duplicate", "value '1'"),
    ],
)
def test_broken_mappings_are_refused(mapping: dict, code: Code, named: object) -> None:
    with raises(code, named):
        LabelTable.from_mapping(mapping)


@pytest.mark.parametrize(
    "texts", [{"name": " a"}, {"name": "n/a"}, {"name": "a\tb"}, {"name": "a", "abbreviation": "x\ny"}]
)
def test_texts_that_a_table_could_not_keep_are_refused(texts: dict) -> None:
    with raises("value-invalid", "label 1"):
        Label(1, colour=(0, 0, 0), **texts)


# --- label maps ---


def test_volumes_are_voxels_times_their_size(phantom: Phantom, tissues: LabelTable) -> None:
    expected = {name: (phantom.labels.array == n).sum() * 8e-3 for n, name in enumerate(tissues.names) if n}
    for labels in (phantom.labels, reoriented(phantom.labels, "PIR"), oblique(phantom.labels, 30)):
        assert label_volumes_ml(labels, tissues) == pytest.approx(expected)
    as_floats = phantom.labels.with_array(phantom.labels.array.astype(np.float32))
    assert list(label_volumes_ml(as_floats, tissues)) == list(tissues.names[1:])


def test_absent_structures_measure_zero_and_foreign_values_are_named(tissues: LabelTable) -> None:
    array = np.zeros((4, 4, 4), np.int16)
    array[0] = 3
    volumes = label_volumes_ml(Volume(array, np.diag([1.0, -2.0, 3.0, 1.0])), tissues)
    assert volumes.pop("cerebellum") == pytest.approx(16 * 0.006)
    assert set(volumes.values()) == {0.0}
    array[1, 0, :2] = 41, 42
    with raises("labels-invalid", 2, "41, 42"):
        label_volumes_ml(Volume(array, np.eye(4)), tissues)


@pytest.mark.parametrize(
    ("dtype", "becomes"), [("bool", "uint8"), ("uint16", "uint16"), ("int16", "int16"), ("float32", "int32")]
)
def test_whole_values_become_a_label_map(dtype: str, becomes: str) -> None:
    array = np.array([0, 1, 1, 0]).reshape(1, 2, 2).astype(dtype)
    labels = as_label_map(Volume(array, np.eye(4)), "dseg")
    assert labels.array.dtype == becomes
    np.testing.assert_array_equal(labels.array, array)


@pytest.mark.parametrize("noise", [lambda a: a * 0.99999, lambda a: a + 1e-3, lambda a: a - 1e-3])
def test_labels_with_the_noise_of_floats_are_rounded(noise: Callable, caplog: pytest.LogCaptureFixture) -> None:
    array = np.array([0, 3, 77, 2035, 12175, 0, 1, 2], np.float32).reshape(2, 2, 2)
    labels = as_label_map(Volume(noise(array), np.eye(4)), "dseg")
    np.testing.assert_array_equal(labels.array, array)
    assert labels.array.dtype == np.int32
    assert "dseg" in caplog.text


@pytest.mark.parametrize("value", [0.5, 0.02, 100.02, 50000.3, -1.0, np.nan, np.inf, 1e12])
def test_images_are_refused_as_label_maps(value: float) -> None:
    array = np.zeros((2, 2, 2), np.float32)
    array[0, 0, 0] = value
    with raises("labels-invalid", "sub-01_dseg"):
        as_label_map(Volume(array, np.eye(4)), "sub-01_dseg")
    with raises("image-dimensions", "sub-01_dseg", "2 channels"):
        as_label_map(Volume(np.stack([array, array]), np.eye(4)), "sub-01_dseg")
