"""What a rendered brain has of the conditions that are a tissue's share of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from NeuroGenLib.atlas.drawn_conditions import drawn_conditions, drawn_warnings, tissue_shares
from NeuroGenLib.atlas.infer import AtlasModel
from NeuroGenLib.atlas.output import brain_result
from NeuroGenLib.models import open_model

SHARE = "lv_volume_normed"


@pytest.fixture(scope="module")
def bundled() -> AtlasModel:
    return open_model("bundled:fetal-sba", AtlasModel, device="cpu")


def test_the_tissue_is_found_in_the_training_subjects(bundled: AtlasModel) -> None:
    assert tissue_shares(bundled) == {SHARE: "ventricles"}
    unlike = bundled.without(0)
    unlike.subjects = [{**subject, "conditions": {SHARE: 0.2}} for subject in unlike.subjects]
    assert tissue_shares(unlike) == {}
    unmeasured = bundled.without(0)
    unmeasured.subjects = [{**subject, "volumes_ml": None} for subject in unmeasured.subjects]
    assert tissue_shares(unmeasured) == {}


def test_a_brain_that_does_not_have_what_was_asked_for_says_so(bundled: AtlasModel) -> None:
    brain = bundled.generate(28, {SHARE: 0.17}, spacing=3.0)
    voxels = brain.labels.array
    share = np.count_nonzero(voxels == bundled.labels.lookup("ventricles").value) / np.count_nonzero(voxels)
    assert brain.drawn == {SHARE: pytest.approx(share)}
    assert share == pytest.approx(0.14, abs=0.005)
    said = [text for text in brain.warnings if "0.14" in text]
    assert len(said) == 1
    assert "0.17" in said[0]
    assert brain_result(bundled, brain).facts["brain"]["drawn_conditions"] == {SHARE: pytest.approx(share, abs=1e-4)}


def test_a_brain_that_has_it_says_nothing(bundled: AtlasModel) -> None:
    brain = bundled.generate(28, {SHARE: 0.13}, spacing=3.0)
    assert brain.warnings == []
    assert drawn_warnings(bundled, replace(brain, conditions={SHARE: 0.17}), brain.drawn) != []


def test_coarse_voxels_and_parts_of_a_brain_are_not_judged(bundled: AtlasModel) -> None:
    coarse = bundled.generate(28, {SHARE: 0.17}, spacing=8.0)
    assert drawn_conditions(bundled, coarse) == {}
    part = bundled.generate(28, {SHARE: 0.17}, spacing=3.0, box=(-10, 10, -10, 10, -10, 10))
    assert part.drawn == {}


def test_without_a_condition_the_population_of_the_age_is_rendered(bundled: AtlasModel) -> None:
    brain = bundled.generate(28, spacing=8.0)
    assert brain.conditions == bundled.typical_conditions(28.0)
    assert brain.conditions[SHARE] == pytest.approx(0.1207, abs=1e-3)
    assert any(f"'{SHARE}' was not given: 0.1207" in text for text in brain.warnings)
