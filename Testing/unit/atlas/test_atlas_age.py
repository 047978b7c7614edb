"""How the best age is read off a profile, and how far it can be off."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from NeuroGenLib.atlas.fit.age_interval import LEAST_SUBJECTS, MOST_SUBJECTS, AgeEstimate, compare_left_out
from NeuroGenLib.atlas.fit.age_search import lowest
from NeuroGenLib.core.errors import Cancelled
from NeuroGenLib.core.progress import Progress

if TYPE_CHECKING:
    from NeuroGenLib.atlas.infer import AtlasModel

pytestmark = pytest.mark.usefixtures("one_thread")

VALUES = np.array([21.0, 22.0, 24.5, 25.0, 28.0, 30.0])
"""Ages that are unevenly spread, as supported ones are."""

RANGE = SimpleNamespace(age_range=(20.0, 40.0))


# --- the lowest point of a profile ----------------------------------------------------------------------------------


@given(st.floats(22.0, 28.0), st.floats(0.01, 100), st.floats(-10, 10))
def test_the_lowest_point_of_a_parabola_is_exact(bottom, steepness, level):
    losses = level + steepness * (VALUES - bottom) ** 2
    near = int(np.argmin(losses))
    assert lowest(VALUES, losses) == pytest.approx(
        np.clip(bottom, VALUES[near - 1], VALUES[near + 1]), abs=1e-4 * max(1.0, 1 / steepness)
    )


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_the_lowest_point_lies_beside_the_lowest_loss(losses):
    values = np.arange(len(losses), dtype=float)
    found = lowest(values, np.array(losses))
    index = int(np.argmin(losses))
    assert max(index - 1, 0) <= found <= min(index + 1, len(losses) - 1)
    if index in (0, len(losses) - 1):
        assert found == values[index], "an end stays an end"


@given(st.lists(st.floats(0, 1), min_size=3, max_size=12), st.floats(0.5, 3), st.floats(-50, 50))
def test_the_lowest_point_moves_with_the_values(losses, stretch, shift):
    values = np.arange(len(losses), dtype=float)
    found = lowest(values, np.array(losses))
    assert lowest(stretch * values + shift, np.array(losses)) == pytest.approx(stretch * found + shift, abs=1e-3)


def test_equal_losses_give_the_first_of_them():
    assert lowest(VALUES, np.ones(6)) == 21.0
    assert lowest(VALUES, np.array([2.0, 1, 1, 1, 2, 2])) < 25


# --- the interval ---------------------------------------------------------------------------------------------------


def test_the_interval_is_students():
    """Errors of root mean square 2 from five subjects: t(0.975, 4) = 2.776445."""
    errors = np.array([2.0, -2.0, 2.0, -2.0, 2.0])
    estimate = AgeEstimate.of(RANGE, 30.0, errors)
    half = 2.776445 * 2 * np.sqrt(1.2)
    assert (estimate.value, estimate.n, estimate.at_end) == (30.0, 5, False)
    assert estimate.low == pytest.approx(30 - half, abs=1e-5)
    assert estimate.high == pytest.approx(30 + half, abs=1e-5)


def test_a_bias_widens_the_interval():
    """Errors that all go one way are no smaller for being alike."""
    biased = AgeEstimate.of(RANGE, 30.0, np.full(10, 3.0))
    assert biased.high - biased.value > 3


def test_too_few_errors_give_no_interval():
    estimate = AgeEstimate.of(RANGE, 30.0, np.ones(LEAST_SUBJECTS - 1))
    assert (estimate.low, estimate.high, estimate.n) == (None, None, LEAST_SUBJECTS - 1)


@pytest.mark.parametrize(("age", "at_end"), [(20.0, True), (40.0, True), (20.01, True), (20.5, False), (39.0, False)])
def test_an_end_of_the_range_is_said(age, at_end):
    assert AgeEstimate.of(RANGE, age, np.ones(8)).at_end == at_end


# --- measured on the atlas's own subjects ---------------------------------------------------------------------------


def test_errors_of_the_subjects_themselves_are_smaller_than_their_range(atlas):
    errors = compare_left_out(atlas).errors
    assert 1 <= len(errors) <= len(atlas.subjects)
    assert np.isfinite(errors).all()
    low, high = atlas.age_range
    assert np.sqrt(np.mean(errors**2)) < (high - low) / 2
    inner = errors[1:-1]
    assert np.abs(inner).max() < (high - low) / 3, "those that others surround"


def test_errors_are_found_once_and_cannot_be_spoilt(atlas):
    first = compare_left_out(atlas).errors
    expected = first.copy()
    with pytest.raises(ValueError, match="read-only"):
        first += 1

    stopped = Progress()
    stopped.cancel()  # work would raise
    np.testing.assert_array_equal(compare_left_out(atlas, progress=stopped).errors, expected)


def test_known_conditions_are_used(atlas):
    unknown, known = compare_left_out(atlas).errors, compare_left_out(atlas, ["ventricles", "sex"]).errors
    assert unknown.shape == known.shape
    assert not np.array_equal(unknown, known)


def test_a_cohort_of_a_few_gives_no_errors(atlas):
    assert compare_left_out(atlas.without(0)).errors.size == 0


def test_of_a_large_cohort_some_subjects_are_enough(atlas, monkeypatch):
    """Spread over age, the youngest and the oldest among them."""
    tried: list[int] = []
    monkeypatch.setattr("NeuroGenLib.atlas.fit.age_interval._compared", lambda _model, row, _known: tried.append(row))
    large: AtlasModel = atlas.without(0)
    ages = np.random.default_rng(0).permutation(100) / 2 + 20
    large.ages = ages
    assert compare_left_out(large).errors.size == 0, "subjects that the others do not reach are left out"
    assert len(set(tried)) == len(tried) == MOST_SUBJECTS
    chosen = ages[tried]
    assert (chosen[0], chosen[-1]) == (ages.min(), ages.max())
    assert np.diff(chosen).max() <= 2 * 49.5 / (MOST_SUBJECTS - 1)


def test_a_look_at_the_errors_can_be_cancelled_and_done_again(atlas):
    progress = Progress()
    progress.cancel()
    with pytest.raises(Cancelled):
        compare_left_out(atlas, progress=progress)
    assert compare_left_out(atlas).errors.size
