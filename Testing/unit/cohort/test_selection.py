"""Constraints on a cohort and the even choice of subjects over a column."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from NeuroGenLib.cohort.subjects import (
    BinaryConstraint,
    CategoricConstraint,
    Cohort,
    Distribution,
    NumericConstraint,
    Subject,
    draw,
    uniform_fillup,
)
from NeuroGenLib.core.config import from_mapping
from Testing.raising import raises


def cohort_of(**columns):
    count = len(next(iter(columns.values())))
    subjects = tuple(
        Subject(
            f"s{index:03d}",
            {},
            values={name: cells[index] for name, cells in columns.items() if cells[index] is not None},
        )
        for index in range(count)
    )
    return Cohort(subjects, (), columns=tuple(columns))


ages = st.lists(st.floats(20, 36), min_size=1, max_size=60)


# ---- constraints ----


def test_both_ends_of_a_numeric_constraint_belong_to_it():
    cohort = cohort_of(age=[19.99, 20.0, 30.0, 36.0, 36.01, None])
    assert cohort.constrain({"age": NumericConstraint(20, 36)}).column("age").tolist() == [20.0, 30.0, 36.0]
    assert cohort.constrain({"age": NumericConstraint(min=36)}).column("age").tolist() == [36.0, 36.01]
    assert len(cohort.constrain({"age": NumericConstraint()})) == 5


def test_a_categoric_constraint_keeps_words_and_numbers():
    cohort = cohort_of(group=["ctrl", "vm", 3.0, None, "003"])
    assert cohort.constrain({"group": CategoricConstraint(("ctrl", "3"))}).ids == ("s000", "s002")
    assert cohort.constrain({"group": CategoricConstraint((3, "003"))}).ids == ("s002", "s004")


def test_a_binary_constraint_reads_every_spelling():
    cohort = cohort_of(term=[1.0, 0.0, "true", "False", "YES", "no", None])
    assert cohort.constrain({"term": BinaryConstraint(value=True)}).ids == ("s000", "s002", "s004")
    assert cohort.constrain({"term": BinaryConstraint(value=False)}).ids == ("s001", "s003", "s005")
    with raises("table-invalid", "2.0", "s000"):
        cohort_of(x=[2.0]).constrain({"x": BinaryConstraint(value=True)})


@pytest.mark.parametrize(
    "constraint", [NumericConstraint(0, 1), CategoricConstraint(("a",)), BinaryConstraint(value=True)]
)
def test_a_missing_column_is_always_an_error(constraint):
    with raises("name-unknown", "scan_aeg", "scan_age"):
        cohort_of(scan_age=[30.0]).constrain({"scan_aeg": constraint})


def test_the_step_that_leaves_no_subject_is_named():
    cohort = cohort_of(age=[30.0, 31.0], score=[9.0, 9.0])
    with raises("table-empty", "s000"):
        cohort.constrain({"age": NumericConstraint(20, 36), "score": NumericConstraint(0, 3)})
    with raises("table-invalid", "old", "s000"):
        cohort_of(age=["old"]).constrain({"age": NumericConstraint(0, 3)})


@pytest.mark.parametrize(
    ("kind", "mapping", "code", "named"),
    [
        (NumericConstraint, {"min": 3, "max": 2}, "value-invalid", ("min 3", "max 2")),
        (NumericConstraint, {"min": 3, "distribution": {}}, "value-missing", ("min", "max")),
        (NumericConstraint, {"type": "categoric"}, "value-invalid", ("'type'",)),
        (NumericConstraint, {"distribution": {"bins": 0}}, "value-invalid", ("'distribution.bins'",)),
        (NumericConstraint, {"distribution": {"type": "normal"}}, "value-invalid", ("'distribution.type'",)),
        (CategoricConstraint, {"values": "ctrl"}, "value-invalid", ("'values'",)),
        (CategoricConstraint, {"values": [True]}, "value-invalid", ("'values[0]'",)),
        (BinaryConstraint, {"value": 1}, "value-invalid", ("'value'",)),
    ],
)
def test_a_wrong_constraint_is_refused(kind, mapping, code, named):
    with raises(code, *named):
        from_mapping(kind, mapping)


# ---- the even choice ----


def reference_choice(values, wanted, low, high, bins):
    """Choose as the published program is described to, step by step, and return row numbers."""
    frame = pd.DataFrame({"row": range(len(values)), "value": values})
    edges = np.linspace(low, high, bins + 1)
    edges[-1] += 1e-6
    groups = [frame[(frame["value"] >= start) & (frame["value"] < end)] for start, end in itertools.pairwise(edges)]
    left = [len(group) for group in groups]
    taken = [0] * bins
    drained = [False] * bins
    wanted = min(wanted, sum(left))
    while sum(taken) < wanted:
        need = -(-(wanted - sum(taken)) // drained.count(False))
        for number in range(bins):
            if not drained[number]:
                give = min(need, left[number])
                taken[number] += give
                left[number] -= give
                drained[number] = left[number] == 0
    parts = [group.sample(count, random_state=42) for group, count in zip(groups, taken, strict=True)]
    chosen = pd.concat(parts, ignore_index=True)
    if len(chosen) > wanted:
        chosen = chosen.sample(wanted, random_state=42)
    return chosen["row"].tolist()


@settings(max_examples=60, deadline=None)
@given(ages, st.integers(1, 70), st.integers(1, 16))
def test_the_choice_follows_the_published_procedure(values, wanted, bins):
    cohort = cohort_of(age=values)
    chosen = uniform_fillup(cohort, "age", wanted, low=20, high=36, bins=bins)
    expected = reference_choice(values, wanted, 20, 36, bins)
    assert chosen.ids == tuple(cohort.ids[row] for row in expected)


def test_without_bins_there_is_one_per_unit():
    values = np.random.default_rng(0).uniform(20, 36, 50).tolist()
    cohort = cohort_of(age=values)
    expected = reference_choice(values, 20, 20, 36, 16)
    assert uniform_fillup(cohort, "age", 20, low=20, high=36).ids == tuple(cohort.ids[row] for row in expected)


@settings(max_examples=40, deadline=None)
@given(ages, st.integers(1, 70), st.integers(1, 9))
def test_the_bins_are_as_even_as_they_can_be(values, wanted, bins):
    chosen = uniform_fillup(cohort_of(age=values), "age", wanted, low=20, high=36, bins=bins)
    assert len(chosen) == min(wanted, len(values))
    assert len(set(chosen.ids)) == len(chosen)
    edges = [*np.linspace(20, 36, bins + 1)[1:-1]]
    there = np.bincount(np.digitize(values, edges), minlength=bins)
    taken = np.bincount(np.digitize(chosen.column("age"), edges), minlength=bins)
    assert (taken <= there).all()
    assert np.minimum(there, taken.max() - 1).sum() < wanted  # the fullest bin could not do with less


def test_fractional_ranges_and_bin_counts_work():
    cohort = cohort_of(volume=[0.01 * index for index in range(20)])
    assert len(uniform_fillup(cohort, "volume", 7, low=0.0, high=0.19, bins=3.5)) == 7
    chosen = uniform_fillup(cohort, "volume", 4, low=0.0, high=0.19, bins=4)
    assert np.histogram(chosen.column("volume"), bins=4, range=(0, 0.19))[0].tolist() == [1, 1, 1, 1]
    assert len(uniform_fillup(cohort_of(age=[1.0, 2.0, 3.4]), "age", 3, low=0.5, high=3.4)) == 3
    assert len(uniform_fillup(cohort_of(age=[5.0, 5.0]), "age", 2, low=5, high=5)) == 2


def test_the_seed_changes_who_is_chosen():
    cohort = cohort_of(age=[20.5] * 40)
    one, other = (uniform_fillup(cohort, "age", 10, low=20, high=36, seed=seed).ids for seed in (42, 43))
    assert one != other
    assert uniform_fillup(cohort, "age", 10, low=20, high=36).ids == one


def test_who_lies_outside_is_not_chosen():
    cohort = cohort_of(age=[19.0, 20.0, 36.0, 37.0])
    assert sorted(uniform_fillup(cohort, "age", 9, low=20, high=36).ids) == ["s001", "s002"]
    with raises("table-empty"):
        uniform_fillup(cohort, "age", 9, low=40, high=50)


@pytest.mark.parametrize(
    ("column", "number", "low", "high", "code", "named"),
    [
        ("age", 0, 20, 36, "value-invalid", "0 subjects"),
        ("age", 3, 36, 20, "value-invalid", "min 36"),
        ("ages", 3, 20, 36, "name-unknown", "'ages'"),
        ("lack", 3, 20, 36, "value-missing", "lack of s001"),
    ],
)
def test_an_impossible_choice_is_refused(column, number, low, high, code, named):
    cohort = cohort_of(age=[30.0, 31.0], lack=[30.0, None])
    with raises(code, named):
        uniform_fillup(cohort, column, number, low=low, high=high)


# ---- several columns ----


@pytest.fixture
def crossed():
    """Forty scans: scan age 0 or 1, and within each a birth age that is mostly 0."""
    scan = [index % 2 + 0.5 for index in range(40)]
    birth = [1.5 if index % 20 < 4 else 0.5 for index in range(40)]
    return cohort_of(scan=scan, birth=birth)


def over(priority):
    return NumericConstraint(0, 2, Distribution(priority=priority))


def test_the_highest_priority_decides_first(crossed):
    constraints = {"birth": over(1), "scan": over(5)}
    first_only = draw(crossed, constraints, 8, reference_compat=True)
    assert first_only.ids == uniform_fillup(crossed, "scan", 8, low=0, high=2).ids
    assert uniform_fillup(crossed, "birth", 8, low=0, high=2).ids != first_only.ids


def test_inside_a_bin_the_next_priority_decides(crossed):
    chosen = draw(crossed, {"birth": over(1), "scan": over(5)}, 8)
    table = pd.crosstab(chosen.column("scan"), chosen.column("birth")).to_numpy()
    assert table.tolist() == [[2, 2], [2, 2]]


def test_equal_priorities_count_in_the_order_given(crossed):
    as_given = draw(crossed, {"scan": over(1), "birth": over(1)}, 5)
    assert as_given.ids == draw(crossed, {"scan": over(2), "birth": over(1)}, 5).ids
    assert as_given.ids != draw(crossed, {"birth": over(2), "scan": over(1)}, 5).ids


def test_without_a_distribution_the_choice_is_random_but_repeatable(crossed):
    constraints = {"scan": NumericConstraint(0, 2)}
    assert len(draw(crossed, constraints, 10)) == 10
    assert draw(crossed, constraints, 10).ids == draw(crossed, {}, 10).ids
    assert draw(crossed, constraints, 10, seed=1).ids != draw(crossed, constraints, 10).ids


def test_fewer_than_wanted_is_said(crossed, caplog):
    assert len(draw(crossed, {"scan": over(1)}, 50)) == 40
    assert "40 subjects to choose from, not 50" in caplog.text
