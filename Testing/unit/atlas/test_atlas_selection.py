"""The record of who was chosen: table, histograms and the line in the log."""

from __future__ import annotations

import dataclasses
import importlib.util
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from NeuroGenLib.atlas.config import ConditionConfig, DataConfig
from NeuroGenLib.atlas.data.dataset import choose, read_candidates, select_cohort
from NeuroGenLib.atlas.data.selection import (
    MOST_BARS,
    bin_edges,
    columns_of,
    selection_figure,
    selection_rows,
    summary,
    write_selection,
)
from NeuroGenLib.atlas.train import train
from NeuroGenLib.cohort.subjects import (
    BinaryConstraint,
    CategoricConstraint,
    Cohort,
    Distribution,
    NumericConstraint,
    Subject,
    read_table,
)
from Testing.raising import raises

LIGHT, DARK = (0.8, 0.8, 0.8), (0x1F / 255, 0x4E / 255, 0x79 / 255)

PEOPLE = (
    ("a", {"scan_age": 20.0, "sex": "F", "site": 1.0, "ok": "yes"}),
    ("b", {"scan_age": 20.5, "sex": "M", "site": 1.0, "ok": "yes"}),
    ("c", {"scan_age": 23.5, "sex": "F", "site": 2.0, "ok": "no"}),
    ("d", {"scan_age": 27.0, "sex": "F", "site": 2.0}),
    ("e", {"scan_age": 35.0, "site": 2.0, "ok": "yes"}),
)


@pytest.fixture
def candidates() -> Cohort:
    """Five scans, some without sex or ok."""
    subjects = tuple(Subject(name, {"T2w": Path(f"{name}.nii")}, values=dict(values)) for name, values in PEOPLE)
    return Cohort(subjects, ("T2w",), "five", ("scan_age", "sex", "site", "ok"))


@pytest.fixture
def chosen(candidates: Cohort) -> Cohort:
    """Two of them, in another order."""
    return dataclasses.replace(candidates, subjects=(candidates.subjects[2], candidates.subjects[0]))


@pytest.fixture
def data() -> DataConfig:
    """Sex as a condition; constraints on age (spread over bins of two weeks), site and ok."""
    return DataConfig(
        Path("five.tsv"),
        conditions={"sex": ConditionConfig("categoric"), "scan_age": ConditionConfig()},
        constraints={
            "scan_age": NumericConstraint(20, 26, Distribution(bins=3)),
            "site": CategoricConstraint((1.0, 2.0)),
            "ok": BinaryConstraint(True),
        },
    )


def bars(axis: Any, colour: tuple[float, float, float]) -> list[float]:
    """Return the heights of a panel's bars of one colour, from left to right."""
    shown = [patch for patch in axis.patches if np.allclose(patch.get_facecolor()[:3], colour, atol=1e-3)]
    return [patch.get_height() for patch in sorted(shown, key=lambda patch: patch.get_x())]


def test_every_column_that_matters_is_named_once(data):
    assert columns_of(data) == ("scan_age", "sex", "site", "ok")


def test_the_table_says_who_was_chosen_without_naming_them(candidates, chosen, data):
    rows = selection_rows(candidates, chosen, data)
    assert rows[0] == {"scan_age": 20.0, "sex": "F", "site": 1.0, "ok": "yes", "chosen": "yes"}
    assert [row["chosen"] for row in rows] == ["yes", "no", "yes", "no", "no"]
    assert rows[4]["sex"] == rows[3]["ok"] == "n/a"


def test_ids_and_sessions_are_named_when_asked_for(candidates, chosen, data):
    named = selection_rows(candidates, chosen, data, store_ids=True)
    assert [row["participant_id"] for row in named] == list("abcde")
    assert "session_id" not in named[0]
    first, second = (dataclasses.replace(candidates.subjects[0], session=visit) for visit in ("ses-1", "ses-2"))
    visits = dataclasses.replace(candidates, subjects=(first, second))
    rows = selection_rows(visits, dataclasses.replace(visits, subjects=(second,)), data, store_ids=True)
    assert [(row["session_id"], row["chosen"]) for row in rows] == [("ses-1", "no"), ("ses-2", "yes")]


def test_histograms_show_candidates_and_chosen(candidates, chosen, data):
    figure = selection_figure(candidates, chosen, data, "weeks")
    age, sex, site, ok = (axis for axis in figure.axes if axis.axison)
    assert [axis.get_title() for axis in (age, sex, site, ok)] == ["scan_age (weeks)", "sex", "site", "ok"]
    # Bins 20-22, 22-24, 24-26 of the distribution, continued to 36.
    assert bars(age, LIGHT) == [2, 1, 0, 1, 0, 0, 0, 1]
    assert bars(age, DARK) == [1, 1, 0, 0, 0, 0, 0, 0]
    assert sorted(line.get_xdata()[0] for line in age.lines) == [20, 26]
    for axis, words, light, dark in ((sex, ["F", "M"], [3, 1], [2, 0]), (site, ["1", "2"], [2, 3], [1, 1]),
                                     (ok, ["no", "yes"], [1, 3], [1, 1])):  # fmt: skip
        assert [label.get_text() for label in axis.get_xticklabels()] == words
        assert (bars(axis, LIGHT), bars(axis, DARK)) == (light, dark)


@given(
    values=st.lists(st.floats(0, 100), min_size=1, max_size=30),
    low=st.integers(10, 40),
    width=st.integers(1, 30),
    bins=st.one_of(st.none(), st.integers(1, 40)),
)
def test_edges_hold_every_value_and_are_the_distributions(values, low, width, bins):
    constraint = NumericConstraint(low, low + width, Distribution(bins=bins))
    edges = bin_edges(np.array(values), constraint)
    assert edges[0] <= min(values) + 1e-9
    assert edges[-1] >= max(values) - 1e-9
    assert len(edges) <= MOST_BARS + 1
    own = np.linspace(low, low + width, (bins or width) + 1)
    continued = width / (bins or width)
    if (max(*values, low + width) - min(*values, low)) / continued < MOST_BARS - 2:
        assert all(np.abs(edges - edge).min() < 1e-6 for edge in own)


def test_a_constraint_on_one_value_has_edges_too():
    assert len(bin_edges(np.array([20.0, 30.0]), NumericConstraint(25, 25, Distribution()))) == 21
    assert len(bin_edges(np.array([20.0]), None)) == 21


def test_the_summary_says_how_many_of_how_many_and_how_old(candidates, chosen):
    assert summary(candidates, chosen, "scan_age", "weeks") == ("2 of 5 scans are chosen, scan_age 20 to 23.5 weeks.")


def test_what_is_there_stays(tmp_path, candidates, chosen, data):
    (tmp_path / "selection.tsv").write_text("mine")
    write_selection(tmp_path, candidates, chosen, data, "weeks", store_ids=True)
    assert (tmp_path / "selection.tsv").read_text() == "mine"
    assert (tmp_path / "selection.png").read_bytes().startswith(b"\x89PNG")


def test_without_matplotlib_there_is_the_table_alone(tmp_path, monkeypatch, candidates, chosen, data):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "matplotlib" else find(name))
    write_selection(tmp_path, candidates, chosen, data, "weeks", store_ids=False)
    assert [path.name for path in tmp_path.iterdir()] == ["selection.tsv"]


# --- from a cohort on disk ------------------------------------------------------------------------------------------


def test_candidates_are_those_before_constraints_and_choice(atlas_cohort, tmp_path):
    data = dataclasses.replace(
        atlas_cohort.config(tmp_path).data,
        exclude=("sub-02",),
        constraints={"scan_age": NumericConstraint(28, 40)},
        subjects=1,
    )
    candidates = read_candidates(data)
    assert candidates.ids == ("sub-01", "sub-03", "sub-04")
    chosen = choose(candidates, data)
    assert len(chosen) == 1
    assert set(chosen.ids) < {"sub-03", "sub-04"}
    assert select_cohort(data) == chosen


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("store_ids", [False, True])
def test_a_run_records_its_selection_once(atlas_cohort, tmp_path, caplog, store_ids):
    constraints = {"ventricles": {"type": "numeric", "min": 0.3, "max": 1.0}}
    given_data = {"table": str(atlas_cohort.table), "constraints": constraints,
                  "conditions": {"sex": {"kind": "categoric"}}}  # fmt: skip

    def run(steps: int) -> Path:
        train(
            atlas_cohort.config(
                tmp_path,
                data=given_data,
                train={"steps": steps},
                optimiser={"points": 90},
                top={"store_ids": store_ids},
            )
        )
        return tmp_path / "selection.tsv"

    with caplog.at_level(logging.INFO, "NeuroGenLib"):
        table = run(1)
    assert "3 of 4 scans are chosen, scan_age 26.5 to 32 weeks." in caplog.text
    columns, rows = read_table(table)
    assert columns == [*(["participant_id"] if store_ids else []), "scan_age", "sex", "ventricles", "chosen"]
    assert [row["chosen"] for row in rows] == ["no", "yes", "yes", "yes"]
    assert [row["ventricles"] for row in rows] == ["0.2", "0.8", "0.4", "0.6"]
    assert ("sub-01" in table.read_text()) == store_ids
    first = (table.stat().st_mtime_ns, (tmp_path / "selection.png").stat().st_mtime_ns)
    run(2)
    assert (table.stat().st_mtime_ns, (tmp_path / "selection.png").stat().st_mtime_ns) == first


def test_a_run_that_is_refused_leaves_no_selection(atlas_cohort, tmp_path):
    config = atlas_cohort.config(tmp_path / "run", train={"device": "cpu", "precision": "bf16-mixed"})
    with raises("value-conflict", "bf16-mixed", "cpu"):
        train(config)
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("one_thread")
def test_a_model_does_not_name_who_was_asked_for(atlas_cohort, tmp_path):
    given_data = {"table": str(atlas_cohort.table), "include": ["sub-01", "sub-02"], "exclude": ["sub-03"]}
    train(atlas_cohort.config(tmp_path, data=given_data, train={"steps": 1}, optimiser={"points": 90}))
    model = tmp_path / "model"
    assert "sub-0" not in (model / "neurogen.json").read_text() + (model / "README.md").read_text()
    assert "sub-0" not in (tmp_path / "selection.tsv").read_text()
