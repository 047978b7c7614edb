"""A cohort from tables and folders, its splits and its columns."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from NeuroGenLib.cohort.subjects import Cohort, NumericConstraint, Subject, age_unit, read_splits, read_table
from NeuroGenLib.core.errors import InputError
from Testing.raising import raises

TABLE = (
    "participant_id\tsession_id\tscan_age\tgroup\tT2w\tSeg\n"
    "007\t1\t30.5\tctrl\timg/007.nii.gz\tseg/007.nii.gz\n"
    "008\t1\tn/a\tvm\timg/008.nii.gz\tseg/008.nii.gz\n"
    "009\t1\t24\tctrl\timg/009.nii.gz\t\n"
)


def table_at(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def made(count, **columns):
    """Return a cohort of ``count`` subjects with the columns' values in order."""
    subjects = tuple(
        Subject(f"sub-{index:02d}", {}, values={name: values[index] for name, values in columns.items()})
        for index in range(count)
    )
    return Cohort(subjects, (), columns=tuple(columns))


@pytest.fixture
def table(tmp_path):
    return table_at(tmp_path / "people.tsv", TABLE)


@pytest.fixture
def tree(tmp_path):
    """A BIDS-like tree: two people, one of them with two visits, and one without a segmentation."""
    root = tmp_path / "bids"
    names = [
        "sub-01/ses-a/anat/sub-01_ses-a_T2w.nii.gz",
        "sub-01/ses-a/anat/sub-01_ses-a_dseg.nii.gz",
        "sub-01/ses-b/anat/sub-01_ses-b_T2w.nii.gz",
        "sub-01/ses-b/anat/sub-01_ses-b_dseg.nii.gz",
        "sub-02/anat/sub-02_T2w.nii.gz",
        "sub-02/anat/sub-02_T2w.json",
        "sub-02/anat/._sub-02_T2w.nii.gz",
        "sub-02/func/sub-02_bold.nii.gz",
    ]
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    table_at(root / "participants.tsv", "participant_id\tsex\tbirth_age\n01\tF\t28.5\nsub-02\tM\tn/a\n")
    table_at(root / "sub-01" / "sub-01_sessions.tsv", "session_id\tscan_age\nses-a\t31\nses-b\t38\n")
    return root


# ---- tables ----


def test_a_table_gives_paths_values_and_sessions(table):
    cohort = Cohort.from_table(table)
    assert cohort.modalities == ("T2w", "Seg")
    assert cohort.columns == ("scan_age", "group")
    first = cohort.subjects[0]
    assert (first.id, first.session, first.key) == ("007", "1", "007_1")
    assert first.paths == {"T2w": table.parent / "img/007.nii.gz", "Seg": table.parent / "seg/007.nii.gz"}
    assert first.values == {"scan_age": 30.5, "group": "ctrl"}
    assert "scan_age" not in cohort.subjects[1].values


def test_a_row_without_an_image_is_dropped_and_logged(table, caplog):
    with caplog.at_level(logging.WARNING):
        cohort = Cohort.from_table(table)
    assert cohort.ids == ("007", "008")
    assert "009_1 (no Seg)" in caplog.text
    assert Cohort.from_table(table, ["T2w"]).ids == ("007", "008", "009")
    with raises("file-missing", "009_1"):
        Cohort.from_table(table, on_missing="error")


def test_root_and_absolute_file_names(tmp_path):
    elsewhere = (tmp_path / "x" / "a.nii").resolve()
    path = table_at(tmp_path / "t.csv", f"subject_id,T1w\na,{elsewhere.as_posix()}\nb,sub/b.nii\n")
    cohort = Cohort.from_table(path, root=tmp_path / "data")
    assert [subject.paths["T1w"] for subject in cohort] == [elsewhere, tmp_path / "data" / "sub/b.nii"]


@pytest.mark.parametrize(
    ("header", "modalities", "ids", "modality"),
    [
        ("subject_id,path", None, ("1", "2"), "image"),
        ("subject_id,path", ["T1w"], ("1", "2"), "T1w"),
        ("age,path", None, ("a", "b.c"), "image"),
    ],
)
def test_a_single_path_column(tmp_path, header, modalities, ids, modality):
    path = table_at(tmp_path / "t.csv", f"{header}\n1,x/a.nii.gz\n2,x/b.c.nii\n")
    cohort = Cohort.from_table(path, modalities)
    assert cohort.ids == ids
    assert cohort.modalities == (modality,)
    assert cohort.subjects[0].paths[modality] == tmp_path / "x" / "a.nii.gz"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("t.tsv", "id\tage\n01\t3\n"),
        ("t.tsv", "id,age\n01,3\n"),
        ("t.csv", "id,age\n01,3\n"),
        ("t.csv", "id;age\n01;3\n"),
        ("t.csv", "id\tage\n01\t3\n"),
        ("t.csv", "\ufeffid,age\r\n01,3\r\n\r\n"),
        ("t.csv", ' id , age \n"01", 3\n'),
        ("t.csv", ",id,age\n0,01,3\n"),
    ],
)
def test_separators_marks_and_blanks_are_tolerated(tmp_path, name, text):
    path = tmp_path / name
    path.write_bytes(text.encode("utf-8"))
    assert read_table(path) == (["id", "age"], [{"id": "01", "age": "3"}])


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", ("table-empty",)),
        ("subject_id,T2w\n", ("table-empty",)),
        ("subject_id,T2w\na,b.nii,c\n", ("table-invalid", "Line 2")),
        ("subject_id,T2w\na,b.nii\nc\n", ("table-invalid", "Line 3")),
        ("subject_id,T2w,T2w\na,b.nii,c.nii\n", ("value-duplicate", "T2w")),
        ('subject_id,T2w\n"a,b.nii\n', ("table-invalid", "Line 2")),
        ("name,T2w\na,b.nii\n", ("table-invalid", "participant_id", "subject_id")),
        ("subject_id,age\na,3\n", ("table-invalid", "modalities")),
        ("subject_id,T2w\na,b.nii\na,c.nii\n", ("value-duplicate", "lists a ", "session_id")),
        ("subject_id,T2w\n,b.nii\n", ("table-invalid", "Row 1")),
        ("subject_id,session_id,T2w\na,1,b.nii\na,1,c.nii\n", ("value-duplicate", "a_1")),
    ],
)
def test_a_broken_table_is_refused(tmp_path, text, error):
    path = table_at(tmp_path / "broken.csv", text)
    with raises(*error, "broken"):
        Cohort.from_table(path)


def test_a_workbook_a_missing_table_and_a_wrong_column_are_refused(tmp_path, table):
    workbook = tmp_path / "t.csv"
    workbook.write_bytes(b"PK\x03\x04\xff\xfe\x80")
    with raises("file-type", "UTF-8"):
        Cohort.from_table(workbook)
    with raises("file-missing"):
        Cohort.from_table(tmp_path / "none.tsv")
    with raises("name-unknown", "T2W", "T2w"):
        Cohort.from_table(table, ["T2W"])
    empty = table_at(tmp_path / "e.csv", "subject_id,T2w\na,n/a\nb,\n")
    with raises("table-empty", "T2w"):
        Cohort.from_table(empty, ["T2w"])


def test_one_id_may_have_several_sessions(tmp_path):
    path = table_at(tmp_path / "t.csv", "subject_id,session_id,T2w\na,1,a1.nii\na,2,a2.nii\nb,1,b1.nii\n")
    cohort = Cohort.from_table(path)
    assert cohort.select(["a"]).ids == ("a", "a")
    assert [subject.key for subject in cohort.select(["a_2", "b"])] == ["a_2", "b_1"]
    assert "2 subjects in 3 sessions" in cohort.describe()


# ---- folders ----


def test_a_tree_is_read_with_its_tables(tree):
    cohort = Cohort.from_folder(tree, ["T2w"])
    assert [subject.key for subject in cohort] == ["sub-01_ses-a", "sub-01_ses-b", "sub-02"]
    assert cohort.subjects[1].paths == {"T2w": tree / "sub-01/ses-b/anat/sub-01_ses-b_T2w.nii.gz"}
    assert cohort.subjects[1].values == {"sex": "F", "birth_age": 28.5, "scan_age": 38.0}
    assert cohort.subjects[2].values == {"sex": "M"}
    assert cohort.columns == ("sex", "birth_age", "scan_age")


def test_without_names_a_tree_gives_what_every_scan_has(tree):
    assert Cohort.from_folder(tree).modalities == ("T2w",)
    assert Cohort.from_folder(tree, ["T2w", "dseg"]).ids == ("sub-01", "sub-01")
    with raises("file-missing", "sub-02"):
        Cohort.from_folder(tree, ["T2w", "dseg"], on_missing="error")
    (tree / "sub-02/anat/sub-02_T2w.nii.gz").rename(tree / "sub-02/anat/sub-02_FLAIR.nii.gz")
    with raises("value-missing", "T2w"):
        Cohort.from_folder(tree)


def test_a_person_without_the_wanted_image_is_known_as_left_out(tree, caplog):
    cohort = Cohort.from_folder(tree, ["dseg"])
    assert [(subject.key, reason) for subject, reason in cohort.left_out] == [("sub-02", "no dseg")]
    assert cohort.select(["sub-01", "sub-02"]).ids == ("sub-01", "sub-01")
    assert "sub-02 was excluded before: no dseg" in caplog.text
    with raises("table-empty", "sub-02", "T2W"):
        Cohort.from_folder(tree, ["T2W"])


def test_two_files_for_one_modality_need_a_choice(tree):
    (tree / "sub-02/anat/sub-02_rec-mial_T2w.nii.gz").touch()
    with raises("value-conflict", "sub-02", "T2w"):
        Cohort.from_folder(tree, ["T2w"])
    chosen = Cohort.from_folder(tree, ["rec-mial_T2w"])
    assert [subject.paths["rec-mial_T2w"].name for subject in chosen] == ["sub-02_rec-mial_T2w.nii.gz"]
    assert Cohort.from_folder(tree, pattern="*rec-mial*").ids == ("sub-02",)


def test_links_to_missing_files_are_passed_over(tree, caplog):
    (tree / "sub-03/anat").mkdir(parents=True)
    (tree / "sub-03/anat/sub-03_T2w.nii.gz").symlink_to("../.git/annex/objects/absent")
    assert Cohort.from_folder(tree, ["T2w"]).ids == ("sub-01", "sub-01", "sub-02")
    assert "sub-03_T2w.nii.gz" in caplog.text


def test_a_flat_folder(tmp_path):
    for name in ("b.nii.gz", "a_1.nii", "c.nrrd", "notes.txt", ".hidden.nii"):
        (tmp_path / name).touch()
    cohort = Cohort.from_folder(tmp_path)
    assert cohort.ids == ("a_1", "b", "c")
    assert cohort.subjects[1].paths == {"image": tmp_path / "b.nii.gz"}
    assert Cohort.from_folder(tmp_path, pattern="*.nii.gz").ids == ("b",)


def test_a_flat_folder_with_modalities(tmp_path):
    for name in ("x_T2w.nii.gz", "x_Seg.nii.gz", "y_T2w.nii.gz", "z_T1w.nii.gz"):
        (tmp_path / name).touch()
    cohort = Cohort.from_folder(tmp_path, ["T2w", "Seg"])
    assert cohort.ids == ("x",)
    assert cohort.subjects[0].paths["Seg"] == tmp_path / "x_Seg.nii.gz"
    assert [subject.id for subject, _ in cohort.left_out] == ["y"]


def test_a_flat_folder_refuses_one_id_twice(tmp_path):
    for name in ("a.nii.gz", "a.nii"):
        (tmp_path / name).touch()
    with raises("value-conflict"):
        Cohort.from_folder(tmp_path)


def test_an_empty_or_missing_folder_is_refused(tmp_path):
    with raises("file-missing"):
        Cohort.from_folder(tmp_path)
    with raises("file-missing"):
        Cohort.from_folder(tmp_path / "none")


# ---- columns, ids, files ----


def test_a_column_is_float_and_in_order():
    column = made(3, age=[3.0, 1.0, "007"]).column("age")
    assert column.dtype == np.float64
    assert column.tolist() == [3.0, 1.0, 7.0]


def test_a_bad_column_names_column_and_subject(table):
    cohort = Cohort.from_table(table)
    with raises("name-unknown", "scanage", "scan_age"):
        cohort.column("scanage")
    with raises("value-missing", "scan_age", "008_1"):
        cohort.column("scan_age")
    with raises("table-invalid", "ctrl", "007_1"):
        cohort.column("group")


@pytest.mark.parametrize("cell", ["007", "1_000", "0x1f", "inf", "1,5", "12a", "--1"])
def test_what_only_looks_like_a_number_stays_text(tmp_path, cell):
    path = table_at(tmp_path / "t.tsv", f"subject_id\tT2w\tx\na\ta.nii\t{cell}\n")
    assert Cohort.from_table(path).subjects[0].values == {"x": cell}


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_written_number_is_read_back(tmp_path_factory, number):
    path = table_at(tmp_path_factory.getbasetemp() / "n.tsv", f"subject_id\tT2w\tx\na\ta.nii\t{number!r}\n")
    assert Cohort.from_table(path).column("x")[0] == number


def test_an_unknown_id_names_the_nearest():
    with raises("name-unknown", "sub-0"):
        made(3).select(["sub-0"])
    with raises("table-empty"):
        made(3).select([])


def test_missing_files_are_counted_and_five_are_shown(tmp_path):
    files = [tmp_path / f"f{index}.nii" for index in range(8)]
    files[0].touch()
    cohort = Cohort(tuple(Subject(f"s{index}", {"T2w": file}) for index, file in enumerate(files)), ("T2w",))
    with pytest.raises(InputError) as caught:
        cohort.require_files()
    assert "7 of 8" in caught.value.problem
    assert "and 2 more" in caught.value.problem
    assert str(files[5]) in caught.value.problem
    assert str(files[6]) not in caught.value.problem
    cohort.select(["s0"]).require_files()


def test_the_description_says_counts_and_ranges(table):
    text = Cohort.from_table(table, ["T2w"]).describe()
    assert "people: 3 subjects" in text
    assert "scan_age: 24 to 30.5, 1 missing" in text
    assert "group: 2 different values" in text


# ---- splits ----


@given(st.integers(2, 60), st.integers(0, 5), st.sampled_from([(0.5, 0.5), (0.6, 0.4)]))
def test_a_split_deals_everybody_out_in_proportion(count, seed, shares):
    cohort = made(count, age=[float(index) for index in range(count)])
    splits = cohort.split(dict(zip(("train", "val"), shares, strict=True)), seed, stratify="age")
    train, val = splits["train"].ids, splits["val"].ids
    assert sorted(train + val) == sorted(cohort.ids)
    assert abs(len(train) - shares[0] * count) <= 1
    assert list(train) == sorted(train)
    again = cohort.split(dict(zip(("train", "val"), shares, strict=True)), seed, stratify="age")
    assert again["train"].ids == train


def test_a_stratified_split_spreads_the_column():
    cohort = made(40, age=[float(index) for index in range(40)])
    for seed in range(5):
        ages = cohort.split({"train": 0.5, "val": 0.5}, seed, stratify="age")["val"].column("age")
        assert np.histogram(ages, bins=4, range=(0, 40))[0].tolist() == [5, 5, 5, 5]
    assert made(40).split({"a": 0.5, "b": 0.5}, 0)["a"].ids != made(40).split({"a": 0.5, "b": 0.5}, 1)["a"].ids


def test_sessions_of_a_person_stay_together():
    subjects = tuple(Subject(f"p{index // 3}", {}, str(index % 3), {"age": float(index)}) for index in range(30))
    splits = Cohort(subjects, (), columns=("age",)).split({"train": 0.7, "val": 0.3}, 4, stratify="age")
    assert not set(splits["train"].ids) & set(splits["val"].ids)
    assert len(splits["train"]) == 21


@pytest.mark.parametrize("fractions", [{}, {"a": 0.5}, {"a": 1.5, "b": -0.5}, {"a": 1.0, "b": 0.0}])
def test_fractions_must_sum_to_one(fractions):
    with raises("value-invalid"):
        made(5).split(fractions, 0)


def test_an_empty_split_is_refused():
    with raises("table-empty", "val"):
        made(3).split({"train": 0.8, "val": 0.1, "test": 0.1}, 0)


@pytest.mark.parametrize(
    "text",
    [
        "train: [001, sub-2]\nval: [003]\ntest: []\n",
        "fetal:\n  train: [001, sub-2]\n  val: ['003']\n  test:\n",
        "fetal:\n  subject_ids:\n    train: [001, sub-2]\n    val: [003]\n    test: []\n",
        "neo:\n  train: [x]\nfetal:\n  train: [001, sub-2]\n  val: [003]\n  test: []\n",
    ],
)
def test_splits_are_read_in_every_form(tmp_path, text):
    path = table_at(tmp_path / "ids.yaml", text)
    dataset = "fetal" if "neo" in text else None
    assert read_splits(path, dataset) == {"train": ("001", "sub-2"), "val": ("003",), "test": ()}


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("train: [a, b, c]\nval: [c, a]\n", ("value-duplicate", "train", "val", "a, c")),
        ("one: {train: [a]}\ntwo: {train: [b]}\n", ("name-unknown", "one, two")),
        ("train: a\n", ("table-invalid",)),
        ("train: [[a]]\n", ("table-invalid",)),
        ("d: {subject_ids: [a]}\n", ("table-invalid",)),
        ("- a\n", ("table-invalid",)),
        ("", ("table-invalid",)),
        ("train: [a]\ntrain: [b]\n", ("file-damaged", "line 2", "'train'")),
    ],
)
def test_a_broken_splits_file_is_refused(tmp_path, text, error):
    path = table_at(tmp_path / "ids.yaml", text)
    with raises(*error, path):
        read_splits(path)


# ---- ages ----


@pytest.mark.parametrize("column", ["scan_age", "gestational_age", "birth_age"])
def test_ages_with_a_name_of_their_own_are_weeks(column):
    assert age_unit(column) == "weeks"


@pytest.mark.parametrize(("given_unit", "unit"), [("years", "years"), ("Year", "years"), (" weeks ", "weeks")])
def test_a_plain_age_has_the_unit_that_the_sidecar_gives(tmp_path, given_unit, unit):
    sidecar = table_at(tmp_path / "participants.json", json.dumps({"age": {"Units": given_unit}}))
    assert age_unit("age", sidecar) == unit


@pytest.mark.parametrize("content", [{}, {"age": {}}, {"age": {"Units": "moons"}}, {"age": {"Units": ""}}, [], None])
def test_an_age_without_a_unit_is_never_guessed(tmp_path, content):
    sidecar = tmp_path / "participants.json"
    if content is not None:
        table_at(sidecar, json.dumps(content))
    with raises("units-unknown", "age", "participants.json"):
        age_unit("age", sidecar)
    with raises("units-unknown", "age"):
        age_unit("age")


# ---- real data, where it is beside the checkout ----


def test_real_participants_tables_are_read():
    shared = Path(__file__).parents[3].parent / "shared" / "data"
    tables = sorted(shared.glob("**/participants.tsv"))
    if not tables:
        pytest.skip("no shared data beside the checkout")
    for table in tables:
        columns, rows = read_table(table)
        assert columns
        assert all(set(row) == set(columns) for row in rows)


def test_left_out_subjects_are_remembered_through_steps():
    cohort = made(4, age=[1.0, 2.0, 3.0, 4.0]).constrain({"age": NumericConstraint(2, 3)})
    assert [(subject.id, reason) for subject, reason in cohort.left_out] == [
        ("sub-00", "age 1 lies outside 2 to 3"),
        ("sub-03", "age 4 lies outside 2 to 3"),
    ]
