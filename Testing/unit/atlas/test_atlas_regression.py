"""How much each subject counts at an age."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from NeuroGenLib.atlas.regression import (
    PUBLISHED_REACH,
    REACH,
    default_bandwidth,
    gaussian_weights,
    subject_weights,
)
from NeuroGenLib.core.errors import InputError
from Testing.raising import raises

AGES = np.array([21, 22, 23.5, 25, 25.2, 26, 27, 28.4, 30, 31, 33, 34])
WITHIN = st.floats(21, 34)
BANDWIDTHS = st.floats(1.0, 6)
COHORTS = st.lists(st.floats(20, 40).map(lambda age: round(age, 1)), min_size=2, max_size=12)


@given(WITHIN, BANDWIDTHS, st.sampled_from(["local-linear", "gaussian"]))
def test_weights_sum_to_one(age, bandwidth, method):
    result = subject_weights(AGES, age, bandwidth, method)
    assert result.weights.sum() == pytest.approx(1)
    assert result.realised_age == pytest.approx(float(AGES @ result.weights))
    assert result.effective_n == pytest.approx(1 / (result.weights**2).sum())


@given(WITHIN, BANDWIDTHS)
def test_local_linear_gives_the_age_asked_for(age, bandwidth):
    assert subject_weights(AGES, age, bandwidth).realised_age == pytest.approx(age, abs=1e-6)


@given(COHORTS, st.floats(0, 1), BANDWIDTHS)
def test_local_linear_gives_the_age_in_every_cohort(ages, place, bandwidth):
    ages = np.array(ages)
    assume(np.ptp(ages) > 0.5)
    age = ages.min() + place * np.ptp(ages)
    kernel = np.exp(-0.5 * np.square((ages - age) / bandwidth))
    mean = kernel @ ages / max(kernel.sum(), 1e-300)
    assume(kernel @ np.square(ages - mean) > 1e-6 * kernel.sum())  # else one age alone counts, and a warning says so
    try:
        result = subject_weights(ages, age, bandwidth)
    except InputError:  # a wide gap in the cohort
        assert np.abs(ages - age).min() > 0.3
        return
    assert result.realised_age == pytest.approx(age, abs=1e-3)


def speed(age: float, method: str) -> float:
    """Return how fast the realised age changes with the age asked for."""
    step = 1e-3
    before, after = (subject_weights(AGES, t, 2, method).realised_age for t in (age, age + step))
    return (after - before) / step


@given(WITHIN)
def test_the_atlas_ages_as_fast_as_asked(age):
    assert speed(age, "local-linear") == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("age", [21, 34])
def test_the_published_atlas_ages_too_slowly_at_the_ends(age):
    assert speed(age, "gaussian") < 0.8


def test_gaussian_weights_are_biased_at_the_end():
    assert subject_weights(AGES, 21, 2, "gaussian").realised_age > 21.5


def test_gaussian_weights_by_hand():
    weights = gaussian_weights(np.array([20, 22, 23]), 22, 2)
    raw = np.array([np.exp(-0.5), 1, np.exp(-0.125)])
    np.testing.assert_allclose(weights, raw / raw.sum())


def test_the_most_distant_do_not_count():
    weights = gaussian_weights(AGES, 25.1, 4, most=3)
    assert AGES[weights > 0].tolist() == [25, 25.2, 26]
    assert weights.sum() == pytest.approx(1)


def test_gaussian_weights_far_away_are_those_of_the_nearest():
    np.testing.assert_allclose(gaussian_weights(AGES, 500, 1), np.eye(12)[-1], atol=1e-12)


def test_subjects_of_one_age_count_alike():
    result = subject_weights(np.full(5, 30.0), 30, 1)
    np.testing.assert_allclose(result.weights, 0.2)
    assert result.effective_n == pytest.approx(5)


@pytest.fixture(scope="module")
def condition() -> np.ndarray:
    """A condition of the subjects that has nothing to do with age."""
    return np.random.default_rng(0).uniform(-1, 1, len(AGES))


@given(st.floats(24, 31), st.floats(-0.6, 0.6))
def test_the_plane_through_age_and_condition_is_recovered(condition, age, asked):
    truth = 3 + 0.4 * AGES - 2 * condition
    weights = subject_weights(AGES, age, 4, conditions=(condition - asked)[:, None]).weights
    assert weights @ truth == pytest.approx(3 + 0.4 * age - 2 * asked, abs=0.1)  # the ridge leaves little of 4


@given(WITHIN, st.floats(-3, 3), BANDWIDTHS)
def test_the_correction_helps_and_keeps_half_of_the_effective_n(condition, age, asked, bandwidth):
    plain = subject_weights(AGES, age, bandwidth)
    corrected = subject_weights(AGES, age, bandwidth, conditions=(condition - asked)[:, None])
    assert abs(corrected.weights @ condition - asked) <= abs(plain.weights @ condition - asked) + 1e-6
    assert corrected.effective_n >= 0.5 * plain.effective_n * (1 - 1e-6)
    assert corrected.realised_age == pytest.approx(age, abs=1e-5)


def test_conditions_keep_the_age():
    offsets = np.random.default_rng(1).uniform(-1, 1, (len(AGES), 2))
    assert subject_weights(AGES, 26.3, 3, conditions=offsets).realised_age == pytest.approx(26.3)


@pytest.mark.parametrize(("method", "reach"), [("local-linear", REACH), ("gaussian", PUBLISHED_REACH)])
@pytest.mark.parametrize("beyond", [0.1, 300, np.nan, np.inf])
@pytest.mark.parametrize("end", [-1, 1])
def test_an_age_that_no_subject_supports_is_refused(method, reach, beyond, end):
    age = (21 - reach - beyond) if end < 0 else (34 + reach + beyond)
    with raises("model-range", f"{age:g}", 21, 34):
        subject_weights(AGES, age, 1.0, method)


def test_a_line_stretched_too_far_is_refused():
    ages = np.array([30.0, 30.2])
    assert subject_weights(ages, 30.3, 2).effective_n >= 0.3
    with raises("model-range", "30", "30.2"):
        subject_weights(ages, 31, 2)


def test_default_bandwidth_is_the_narrowest_that_is_wide_enough():
    def median_n(bandwidth: float) -> float:
        return float(np.median([subject_weights(AGES, age, bandwidth).effective_n for age in AGES]))

    bandwidth = default_bandwidth(AGES)
    assert median_n(bandwidth * 1.001) >= 4
    assert median_n(bandwidth * 0.9) < 4


@pytest.mark.parametrize("factor", [1e-3, 1 / 52, 7.0])
def test_default_bandwidth_goes_with_the_unit_of_age(factor):
    assert default_bandwidth(factor * (AGES - 20)) == pytest.approx(factor * default_bandwidth(AGES), rel=1e-3)


def test_two_subjects_support_the_ages_between_them():
    ages = np.array([24.0, 30.0])
    assert default_bandwidth(ages) == 6
    assert subject_weights(ages, 27.5, 6).realised_age == pytest.approx(27.5)


@pytest.mark.parametrize("ages", [[30.0], [30.0, 30.0], [30.0, 31.0]])
def test_default_bandwidth_of_hardly_anybody(ages):
    bandwidth = default_bandwidth(np.array(ages))
    assert bandwidth > 0
    assert subject_weights(np.array(ages), 30, bandwidth).realised_age == pytest.approx(30)
