"""Tissue volumes against the training subjects': by explicit refits, and where there is too little to say."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from NeuroGenLib.atlas.fit.deviation import (
    QUADRATIC_FROM,
    SPARE,
    TissueDeviation,
    VolumeNorm,
    deviation_figure,
    tissue_deviations,
    volume_norm,
)
from NeuroGenLib.core.reports import save_figure

if TYPE_CHECKING:
    from pathlib import Path

    from NeuroGenLib.atlas.infer import AtlasModel

TISSUES = ("white_matter", "ventricles", "brainstem")


def design(ages: np.ndarray, conditions: np.ndarray, degree: int) -> np.ndarray:
    """Return the regression's columns, in another basis than the code's: the fit does not depend on it."""
    return np.column_stack([*(((ages - 30) / 7) ** power for power in range(degree + 1)), conditions])


def people(seed: int, count: int, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return ages, conditions and volumes of a random cohort that grows."""
    rng = np.random.default_rng(seed)
    ages = rng.uniform(20, 40, count)
    conditions = rng.uniform(-1, 1, (count, width))
    volumes = np.exp(2 + 0.1 * ages + conditions.sum(1) * 0.2 + rng.normal(0, 0.1, count))
    return ages, conditions, volumes


@pytest.fixture
def crowd(atlas: AtlasModel) -> AtlasModel:
    """The tiny atlas, as if it had been trained on fourteen people with known volumes."""
    rng = np.random.default_rng(4)
    larger = copy.copy(atlas)
    larger.subjects = []
    for row, age in enumerate(np.linspace(24, 32, 14)):
        values = {"ventricles": float(rng.uniform(0, 1)), "sex": "FM"[row % 2]}
        volumes = {name: float(np.exp(0.1 * age + index + rng.normal(0, 0.05))) for index, name in enumerate(TISSUES)}
        larger.subjects.append({"age": float(age), "conditions": values, "volumes_ml": volumes})
    larger.ages = np.array([subject["age"] for subject in larger.subjects])
    return larger


# --- the regression -------------------------------------------------------------------------------------------------


@given(st.integers(0, 1000), st.integers(5, 25), st.integers(0, 2))
def test_the_norm_by_explicit_refits(seed, count, width):
    ages, conditions, volumes = people(seed, count, width)
    norm = VolumeNorm.fit(ages, conditions, volumes)
    if count < 2 + width + SPARE:
        assert norm is None
        return
    degree = 2 if count >= QUADRATIC_FROM + width else 1
    columns, log = design(ages, conditions, degree), np.log(volumes)
    age, values = 28.5, np.full(width, 0.3)
    here = design(np.array([age]), values[None], degree)
    expected = np.exp(here @ np.linalg.lstsq(columns, log, rcond=None)[0])[0]
    assert norm.expected(age, values) == pytest.approx(expected, rel=1e-6)
    residuals = []
    for row in range(count):
        others = np.arange(count) != row
        fitted = np.linalg.lstsq(columns[others], log[others], rcond=None)[0]
        residuals.append(log[row] - columns[row] @ fitted)
    spread = np.sqrt(np.mean(np.square(residuals)))
    assert norm.spread == pytest.approx(spread, rel=1e-5)
    assert norm.z(1.2 * expected, age, values) == pytest.approx(np.log(1.2) / spread, rel=1e-4)
    assert norm.n == count
    assert norm.squared == (degree == 2)


@given(st.integers(0, 1000), st.floats(1e-3, 1e3), st.floats(20, 40))
def test_a_subject_on_the_curve_has_z_zero_whatever_the_unit(seed, factor, age):
    ages, conditions, volumes = people(seed, 16, 1)
    norm, other = VolumeNorm.fit(ages, conditions, volumes), VolumeNorm.fit(ages, conditions, factor * volumes)
    values = np.array([0.1])
    assert norm.z(norm.expected(age, values), age, values) == pytest.approx(0, abs=1e-9)
    assert other.expected(age, values) == pytest.approx(factor * norm.expected(age, values), rel=1e-6)
    assert other.z(factor * 50, age, values) == pytest.approx(norm.z(50, age, values), rel=1e-5, abs=1e-6)


def test_years_and_weeks_give_the_same_z():
    ages, conditions, volumes = people(1, 16, 1)
    weeks, years = VolumeNorm.fit(ages, conditions, volumes), VolumeNorm.fit(ages / 52, conditions, volumes)
    values = np.array([0.1])
    assert weeks.z(100, 31.0, values) == pytest.approx(years.z(100, 31.0 / 52, values), rel=1e-6)


def test_a_larger_volume_is_a_positive_z():
    ages, conditions, volumes = people(2, 16, 0)
    norm = VolumeNorm.fit(ages, conditions, volumes)
    middle = norm.expected(30, np.zeros(0))
    assert norm.z(0.9 * middle, 30, np.zeros(0)) < 0 < norm.z(1.1 * middle, 30, np.zeros(0))


def test_subjects_without_the_tissue_do_not_count():
    ages, conditions, volumes = people(3, 14, 1)
    volumes[[2, 5]] = 0
    kept = volumes > 0
    norm, expected = (
        VolumeNorm.fit(ages, conditions, volumes),
        VolumeNorm.fit(ages[kept], conditions[kept], volumes[kept]),
    )
    assert norm.n == 12
    np.testing.assert_array_equal(norm.coefficients, expected.coefficients)
    assert VolumeNorm.fit(ages, conditions, np.zeros(14)) is None
    assert norm.z(0.0, 30, np.zeros(1)) is None, "no logarithm of nothing"


def test_subjects_of_one_age_have_a_norm():
    """Their geometric mean; a slope over age is not to be had, and not to be divided by."""
    volumes = np.array([90.0, 100, 110, 95, 105, 100])
    norm = VolumeNorm.fit(np.full(6, 30.0), np.zeros((6, 0)), volumes)
    assert norm.expected(30, np.zeros(0)) == pytest.approx(np.exp(np.log(volumes).mean()))
    assert np.isfinite(norm.spread)


def test_equal_volumes_have_no_spread_to_compare_with():
    norm = VolumeNorm.fit(np.arange(20.0, 30), np.zeros((10, 0)), np.full(10, 64.0))
    assert norm.expected(25, np.zeros(0)) == pytest.approx(64)
    assert norm.z(65, 25, np.zeros(0)) is None


# --- a subject's tissues --------------------------------------------------------------------------------------------


def test_the_table_by_hand(crowd):
    """Sex is one column of -1 and 1, ventricles run from -1 to 1."""
    ages = crowd.ages
    numbers = np.array(
        [
            [2 * subject["conditions"]["ventricles"] - 1, 1 if subject["conditions"]["sex"] == "M" else -1]
            for subject in crowd.subjects
        ]
    )
    here = design(np.array([27.0]), np.array([[-0.5, 1.0]]), 2)
    volumes = {"white_matter": 20.0, "brainstem": 100.0, "total": 130.0}
    found = tissue_deviations(crowd, volumes, 27.0, {"ventricles": 0.25, "sex": "M"})
    assert [one.name for one in found] == list(volumes)
    for one in found:
        known = [
            sum(subject["volumes_ml"].values()) if one.name == "total" else subject["volumes_ml"][one.name]
            for subject in crowd.subjects
        ]
        coefficients = np.linalg.lstsq(design(ages, numbers, 2), np.log(known), rcond=None)[0]
        assert one.expected_ml == pytest.approx(np.exp(here @ coefficients)[0], rel=1e-6)
        assert (one.volume_ml, one.n) == (volumes[one.name], 14)
        assert one.z * np.log(volumes[one.name] / one.expected_ml) > 0


def test_too_few_subjects_say_nothing(atlas):
    (found,) = tissue_deviations(atlas, {"white_matter": 30.0}, 27.0, {"ventricles": 0.25, "sex": "M"})
    assert found == TissueDeviation("white_matter", 30.0, None, None, 0)


def test_a_model_without_volumes_says_nothing(crowd):
    for subject in crowd.subjects:
        del subject["volumes_ml"]
    assert volume_norm(crowd, "total") is None
    assert volume_norm(crowd, "white_matter") is None


def test_a_tissue_that_few_subjects_know_is_not_judged(crowd):
    for subject in crowd.subjects[:12]:
        del subject["volumes_ml"]["ventricles"]
    assert volume_norm(crowd, "ventricles") is None
    assert volume_norm(crowd, "white_matter").n == 14


def test_a_tissue_that_the_scan_lacks_has_no_z(crowd):
    (found,) = tissue_deviations(crowd, {"ventricles": 0.0}, 27.0, {"ventricles": 0.25, "sex": "F"})
    assert found.z is None
    assert found.expected_ml > 0


# --- the picture ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("age", [27.0, 45.0])
def test_the_picture_shows_each_tissue_with_its_z(crowd: AtlasModel, tmp_path: Path, age: float):
    conditions = {"ventricles": 0.25, "sex": "M"}
    tissues = tissue_deviations(crowd, {"white_matter": 20.0, "brainstem": 0.0, "total": 130.0}, age, conditions)
    figure = deviation_figure(crowd, tissues, age, conditions)
    shown = [axis.get_title() for axis in figure.axes if axis.axison]
    assert shown == [f"white matter  (z = {tissues[0].z:+.1f})", "brainstem", f"total  (z = {tissues[2].z:+.1f})"]
    for axis, tissue in zip(figure.axes, tissues, strict=False):
        dot = axis.lines[-1]
        assert (dot.get_xdata()[0], dot.get_ydata()[0]) == (age, tissue.volume_ml)
        assert len(axis.lines[0].get_xdata()) == 14
    save_figure(tmp_path / "growth", figure)
    assert (tmp_path / "growth.png").read_bytes().startswith(b"\x89PNG")


def test_the_picture_of_an_atlas_of_a_few_has_dots_alone(atlas, tmp_path):
    conditions = {"ventricles": 0.25, "sex": "M"}
    tissues = tissue_deviations(atlas, {"white_matter": 20.0}, 27.0, conditions)
    figure = deviation_figure(atlas, tissues, 27.0, conditions)
    assert [len(line.get_xdata()) for line in figure.axes[0].lines] == [4, 1]
    save_figure(tmp_path / "growth", figure)
