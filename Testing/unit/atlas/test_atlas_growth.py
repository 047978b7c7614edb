"""Growth maps and certainty maps: right by finite differences and by their sum over age, and written as promised."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import nibabel
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from NeuroGenLib.atlas.config import SeriesConfig
from NeuroGenLib.atlas.growth.volumes import tissue_rates
from NeuroGenLib.atlas.output import generate_to_folder
from NeuroGenLib.atlas.regression import PUBLISHED_REACH, REACH, subject_weights, weight_rates
from NeuroGenLib.core.errors import Cancelled, InputError
from NeuroGenLib.core.progress import Progress
from NeuroGenLib.spatial.labels import LabelTable
from Testing.atlas_fixtures import MODALITIES
from Testing.raising import raises

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from NeuroGenLib.atlas.brain import AtlasBrain
    from NeuroGenLib.atlas.growth.maps import AtlasGrowth
    from NeuroGenLib.atlas.infer import AtlasModel

pytestmark = pytest.mark.usefixtures("one_thread")

AGE = 27.3
VALUES = {"ventricles": 0.5, "sex": "F"}
AGES = np.array([21, 22, 23.5, 25, 25.2, 26, 27, 28.4, 30, 31, 33, 34])
CONDITION = np.random.default_rng(0).uniform(-1, 1, len(AGES))


def maps(drawn: AtlasBrain | AtlasGrowth) -> np.ndarray:
    """Return the volumes of all modalities, then of all classes."""
    images = np.stack([volume.array for volume in drawn.images.values()])
    return np.concatenate([images, drawn.probabilities.array]).astype(float)


def error(found: np.ndarray, expected: np.ndarray) -> float:
    """Return the summed difference, relative to what is expected."""
    return float(np.abs(found - expected).sum() / np.abs(expected).sum())


def millilitres(volumes: np.ndarray, spacing: float) -> np.ndarray:
    """Return the tissues' volumes: of all channels but the images and the background."""
    return volumes[len(MODALITIES) + 1 :].sum(axis=(1, 2, 3)) * spacing**3 / 1000


# --- how fast the weights change ------------------------------------------------------------------------------------


@given(st.floats(21, 34), st.floats(1.0, 6), st.floats(-0.8, 0.8))
def test_rates_sum_to_zero_and_age_as_fast_as_asked(age, bandwidth, asked):
    rates = weight_rates(AGES, age, bandwidth, conditions=(CONDITION - asked)[:, None])
    assert rates.sum() == pytest.approx(0, abs=1e-7)
    assert rates @ AGES == pytest.approx(1, abs=1e-5)


@given(st.floats(21, 33), st.floats(1.0, 4), st.floats(-0.8, 0.8), st.sampled_from(["local-linear", "gaussian"]))
def test_rates_add_up_to_the_change_of_the_weights(age, bandwidth, asked, method):
    """Also where the correction for the conditions begins to be held back and the rates jump."""
    offsets = (CONDITION - asked)[:, None]
    first, last = (subject_weights(AGES, at, bandwidth, method, offsets).weights for at in (age, age + 1))
    steps = np.linspace(age, age + 1, 81)
    added = np.trapezoid([weight_rates(AGES, at, bandwidth, method, offsets) for at in steps], steps, axis=0)
    np.testing.assert_allclose(added, last - first, atol=0.02)


@pytest.mark.parametrize("age", [31 + PUBLISHED_REACH * 5, 30 - PUBLISHED_REACH * 5, 30.2])
def test_gaussian_rates_by_formula_within_and_at_both_ends(age):
    ages, bandwidth = np.array([30.0, 31.0]), 5.0
    raw = np.exp(-0.5 * ((ages - age) ** 2 - ((ages - age) ** 2).min()) / bandwidth**2)
    weights = raw / raw.sum()
    pull = (ages - age) / bandwidth**2
    expected = weights * (pull - weights @ pull)
    assert abs(expected[0]) > 1e-3
    np.testing.assert_allclose(weight_rates(ages, age, bandwidth, "gaussian"), expected, rtol=1e-4)


@pytest.mark.parametrize("share", [-0.6902, -0.3, 0.5, 1.6902])
def test_two_subjects_change_places_at_a_constant_rate(share):
    """Up to both ends, where one step further is not supported: an effective n of 0.3 lies at a share of 1.69022."""
    ages = np.array([30.0, 34.0])
    with pytest.raises(InputError):
        subject_weights(ages, 30 + 4 * (1.6905 if share > 0 else -0.6905), 2.5)
    np.testing.assert_allclose(weight_rates(ages, 30 + 4 * share, 2.5), [-0.25, 0.25], rtol=1e-6)


def test_who_is_not_among_the_nearest_has_no_rate():
    ages = np.linspace(20, 40, 301)
    rates = weight_rates(ages, 30.01, 2.0)
    assert np.count_nonzero(rates) == 100
    assert np.abs(rates).max() < 0.02, "no jump of a weight is taken for a rate"
    assert rates @ ages == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("age", [21 - REACH - 0.1, np.nan])
def test_an_age_without_support_has_no_rate(age):
    with raises("model-range"):
        weight_rates(AGES, age, 1.0)


def test_subjects_of_one_age_do_not_change():
    np.testing.assert_allclose(weight_rates(np.full(5, 30.0), 30.4, 1), 0, atol=1e-9)


# --- how fast the brain changes -------------------------------------------------------------------------------------


@pytest.mark.parametrize("regression", ["local-linear", "gaussian"])
def test_growth_is_the_finite_difference_of_the_brain(atlas: AtlasModel, regression):
    step, options = 0.02, {"masked": False, "regression": regression}
    growth = atlas.growth(AGE, VALUES, 5.0, **options)
    before, after = (maps(atlas.generate(AGE + way * step, VALUES, 5.0, **options)) for way in (-1, 1))
    expected = (after - before) / (2 * step)
    for channel in range(len(expected)):
        assert error(maps(growth)[channel], expected[channel]) < 0.02
    assert growth.unit == "per week"


def test_growth_lies_on_the_grid_of_the_brain(atlas: AtlasModel):
    box = (-30, 25, -40, 31, -20, 22)
    for options in ({}, {"box": box}):
        growth, brain = (draw(AGE, VALUES, (3.0, 4.0, 5.0), **options) for draw in (atlas.growth, atlas.generate))
        for one, other in zip(growth.images.values(), brain.images.values(), strict=True):
            assert one.same_space(other)
        assert growth.probabilities.same_space(brain.probabilities)
        assert growth.probabilities.array.dtype == np.float32
        assert tuple(growth.images) == MODALITIES
        np.testing.assert_allclose(growth.probabilities.array.sum(0), 0, atol=1e-5)
        labelled = brain.labels.array > 0
        assert (np.abs(growth.probabilities.array).sum(0) > 0)[labelled].all()
    assert growth.conditions == VALUES
    assert growth.age == AGE


def test_a_box_shows_a_part_of_the_growth(atlas: AtlasModel):
    whole = atlas.growth(AGE, VALUES, 4.0)
    low, _ = whole.probabilities.world_bounds
    first, stop = np.array([4, 5, 3]), np.array(whole.probabilities.shape[-3:]) - [3, 6, 5]
    part = atlas.growth(AGE, VALUES, 4.0, box=np.ravel([low + 4 * first, low + 4 * stop], order="F"))
    window = (slice(None), *(slice(one, end) for one, end in zip(first, stop, strict=True)))
    np.testing.assert_allclose(maps(part), maps(whole)[window], atol=1e-4)


@pytest.mark.parametrize(("spacing", "masked", "within"), [(5.0, False, 0.01), (2.5, True, 0.05)])
def test_growth_summed_over_weeks_is_the_difference_of_the_brains(atlas: AtlasModel, spacing, masked, within):
    """Also when both brains are cut out with a rim that moves: the support of the growth is right."""
    first, last, modalities = 26.0, 30.0, len(MODALITIES)
    ages = np.linspace(first, last, 17)
    grown = np.trapezoid([maps(atlas.growth(age, VALUES, spacing, masked=masked)) for age in ages], ages, axis=0)
    before, after = (maps(atlas.generate(age, VALUES, spacing, masked=masked)) for age in (first, last))
    difference = after - before
    assert error(grown[:modalities], difference[:modalities]) < within
    assert error(grown[modalities:], difference[modalities:]) < within
    found, expected = millilitres(grown, spacing), millilitres(difference, spacing)
    assert found.sum() == pytest.approx(expected.sum(), rel=within)
    np.testing.assert_allclose(found, expected, rtol=within, atol=0.04 if masked else 0)  # ml; two tissues grow by 0.3


def test_tissue_rates_are_the_sums_of_the_maps(atlas: AtlasModel):
    growth = atlas.growth(AGE, VALUES, 4.0)
    rates = tissue_rates(atlas, growth)
    assert list(rates) == [*atlas.labels.names[1:], "total"]
    np.testing.assert_allclose(list(rates.values())[:-1], millilitres(maps(growth), 4.0), rtol=1e-4)
    assert rates["total"] == pytest.approx(sum(rates[name] for name in atlas.labels.names[1:]))
    assert rates["total"] > 1, "heads grow"


def test_an_atlas_that_ages_too_slowly_says_so(atlas: AtlasModel):
    slow = atlas.growth(24.5, VALUES, 8.0, regression="gaussian").warnings
    assert any("weighted mean age moves by 0." in warning for warning in slow)
    assert not any("moves by" in warning for warning in atlas.growth(24.5, VALUES, 8.0).warnings)


def test_an_age_without_support_does_not_grow(atlas: AtlasModel):
    with raises("model-range", "90", "24", "32"):
        atlas.growth(90, VALUES, 8.0)


def test_memory_that_runs_out_gives_the_same_growth_and_says_so(atlas: AtlasModel, monkeypatch):
    expected = atlas.growth(AGE, VALUES, 5.0)
    derivative = torch.func.jvp
    failures = iter([torch.OutOfMemoryError("CUDA out of memory")])

    def short_of_memory(*arguments: object) -> object:
        for failure in failures:
            raise failure
        return derivative(*arguments)

    monkeypatch.setattr(torch.func, "jvp", short_of_memory)
    again = atlas.growth(AGE, VALUES, 5.0)
    np.testing.assert_allclose(maps(again), maps(expected), atol=1e-4)
    assert any("Memory ran out" in warning for warning in again.warnings)


def test_growth_reports_and_can_be_stopped(atlas: AtlasModel):
    class Bar(Progress):
        shown: list[float] = []  # noqa: RUF012  # one bar only

        def show(self, step: float, total: float, message: str) -> None:  # noqa: ARG002
            self.shown.append(step / total)

    bar = Bar()
    atlas.growth(AGE, VALUES, 2.5, progress=bar)
    assert bar.shown == sorted(bar.shown)
    assert bar.shown[-1] == 1
    bar.cancel()
    with pytest.raises(Cancelled):
        atlas.growth(AGE, VALUES, 2.5, progress=bar)


# --- what is written ------------------------------------------------------------------------------------------------


@pytest.fixture
def written(atlas: AtlasModel, tmp_path: Path) -> Callable[..., Path]:
    """Generates to a folder, at 6 mm, and returns it."""

    def write(ages: tuple[float, ...], **what: object) -> Path:
        conditions = {name: (value,) for name, value in VALUES.items()}
        config = SeriesConfig(ages=ages, conditions=conditions, spacing=6.0, **what)
        generate_to_folder(atlas, config, tmp_path / "out")
        return tmp_path / "out"

    return write


def table_of(path: Path) -> list[dict[str, str]]:
    header, *lines = path.read_text(encoding="utf-8").splitlines()
    return [dict(zip(header.split("\t"), line.split("\t"), strict=True)) for line in lines]


def test_growth_is_written_beside_the_brains(atlas: AtlasModel, written):
    ages = (26.0, 28.0)
    out = written(ages, growth=True)
    expected = [atlas.growth(age, VALUES, 6.0) for age in ages]
    for name in MODALITIES:
        image = nibabel.load(out / f"growth_{name}.nii.gz")
        assert image.get_data_dtype() == np.float32
        assert image.header.get_zooms() == (6, 6, 6, 2)
        np.testing.assert_allclose(image.affine, expected[0].images[name].affine)
        for frame, growth in enumerate(expected):
            np.testing.assert_array_equal(image.dataobj[..., frame], growth.images[name].array)
    classes = nibabel.load(out / "growth_probabilities.nii.gz")
    assert classes.shape == nibabel.load(out / "probabilities.nii.gz").shape
    np.testing.assert_array_equal(classes.dataobj[:, :, :, 1, 2], expected[1].probabilities.array[2])
    rows = table_of(out / "growth.tsv")
    for row, growth in zip(rows, expected, strict=True):
        for name, rate in tissue_rates(atlas, growth).items():
            assert float(row[f"{name}_ml_per_week"]) == pytest.approx(rate, abs=1e-3)
    record = json.loads((out / "provenance.json").read_text(encoding="utf-8"))
    assert record["growth_unit"] == "per week"
    assert record["parameters"]["growth"] is True
    assert (out / "growth.png").is_file()


def test_one_age_is_written_without_an_axis_for_it(atlas: AtlasModel, written):
    out = written((26.0,), growth=True)
    assert nibabel.load(out / "growth_T2w.nii.gz").ndim == 3
    assert nibabel.load(out / "growth_probabilities.nii.gz").shape[3] == len(atlas.labels)


def test_growth_is_left_out_unless_asked_for(written):
    out = written((26.0, 28.0))
    assert sorted(path.name for path in out.glob("growth*")) == ["growth.png", "growth.tsv"]
    assert not (out / "certainty").exists()
    assert "per_week" not in (out / "growth.tsv").read_text(encoding="utf-8")


def test_the_published_form_has_no_growth(written, tmp_path: Path):
    with raises("value-conflict", "--growth", "--reference-compat"):
        written((26.0,), growth=True, reference_compat=True)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("ages", [(26.0,), (26.0, 27.0, 29.0)])
def test_certainty_maps_are_the_probabilities_one_file_a_class(atlas: AtlasModel, written, ages):
    out = written(ages, certainty=True)
    assert {path.name for path in (out / "certainty").iterdir()} == {f"{name}.nii.gz" for name in atlas.labels.names}
    together = nibabel.load(out / "probabilities.nii.gz")
    for index, name in enumerate(atlas.labels.names):
        alone = nibabel.load(out / "certainty" / f"{name}.nii.gz")
        assert alone.ndim == (3 if len(ages) == 1 else 4)
        assert alone.get_data_dtype() == np.uint8
        np.testing.assert_array_equal(alone.get_fdata(), together.get_fdata()[..., index])
        np.testing.assert_allclose(alone.affine, together.affine)


def test_certainty_maps_of_odd_names_are_plain_files(atlas: AtlasModel, written):
    odd = ["background", "../up", "left/right", "left:right", "Left_Right", "a b", "ü", "c", "d"]
    atlas.labels = LabelTable.from_names(odd)
    out = written((26.0,), certainty=True)
    names = {path.name.removesuffix(".nii.gz") for path in (out / "certainty").iterdir()}
    assert names == {"background", ".._up", "left_right-2", "left_right-3", "Left_Right-4", "a_b", "ü", "c", "d"}
