"""The search for age, conditions and pose at which an atlas looks most like a scan."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from NeuroGenLib.atlas.fit import age_search as search
from NeuroGenLib.atlas.fit.age_search import (
    Candidate,
    _along,
    find_match,
    start_rotations,
    supported,
)
from NeuroGenLib.atlas.fit.scan import read_scan
from NeuroGenLib.models import open_model
from NeuroGenLib.spatial.volume import Volume
from Testing.atlas_fixtures import PEOPLE
from Testing.geometry import oblique, rotation
from Testing.held_out_heads import head, whole

if TYPE_CHECKING:
    from collections.abc import Sequence

    from NeuroGenLib.atlas.trained import Recipe

pytestmark = pytest.mark.usefixtures("one_thread")

KNOWN = {"ventricles": 0.5, "sex": "M"}


@pytest.mark.slow
def test_the_bundled_atlas_finds_age_condition_and_pose_of_its_own_brain():
    age, ventricles = 24.4, 0.2
    bundled = open_model("bundled:fetal-sba", device="cpu")
    brain = bundled.generate(age, {"lv_volume_normed": ventricles}, 4.0)
    place = rotation(17, (0, 0, 0), (3, -1, 2))
    place[:3, 3] = (40, -25, 60)
    image = Volume(brain.image.array, place @ brain.image.affine)
    scan = read_scan(bundled, {"T2w": image}, Volume(whole(brain.labels).array, place @ brain.labels.affine))
    match = find_match(bundled, scan, points=500)
    assert match.age == pytest.approx(age, abs=0.3)
    assert match.conditions["lv_volume_normed"] == pytest.approx(ventricles, abs=0.015)
    assert math.degrees(np.linalg.norm(match.pose[:3])) == pytest.approx(17, abs=1.0)
    assert match.ages[match.losses.argmin()] == pytest.approx(age, abs=0.6)


# --- the search -----------------------------------------------------------------------------------------------------


def test_the_starts_are_the_turns_of_a_cube_and_tilts():
    from scipy.spatial.transform import Rotation

    vectors = start_rotations()
    assert not vectors[0].any(), "as the header says"
    angles = np.rad2deg(np.linalg.norm(vectors, axis=1))
    np.testing.assert_allclose(angles[1:7], 25, atol=1e-4)
    cube = Rotation.from_rotvec(np.concatenate([vectors[:1], vectors[7:]])).as_matrix().round(5)
    assert np.isin(cube, (-1, 0, 1)).all()
    assert len(np.unique(cube.reshape(-1, 9), axis=0)) == 24


def test_typical_conditions_by_hand(atlas):
    ages = np.array([person.age for person in PEOPLE])
    kernel = np.exp(-0.5 * ((ages - 26.0) / atlas.bandwidth) ** 2)
    kernel /= kernel.sum()
    found = atlas.typical_conditions(26.0)
    assert found["ventricles"] == pytest.approx(kernel @ [person.ventricles for person in PEOPLE])
    women = kernel @ [person.sex == "F" for person in PEOPLE]
    assert found["sex"] == ("F" if women > 0.5 else "M")


def test_an_age_between_groups_of_subjects_is_never_chosen(atlas):
    """No subject is between 25 and 40: the parabola's lowest point, there, must not be taken."""

    class Scores:
        def losses(self, recipes: Sequence[Recipe], poses: torch.Tensor) -> np.ndarray:  # noqa: ARG002
            return np.array([(one.age - 31.0) ** 2 for one in recipes])

    groups = atlas.without(0)
    groups.ages, groups.bandwidth = np.array([24.0, 25.0, 40.0]), 0.5
    values = [24.0, 24.5, 25.0, 40.0, 40.5]
    candidates = [Candidate(age, dict(KNOWN)) for age in [*values, 33.0]]
    assert [one.age for one in supported(groups, candidates)] == values
    chosen = _along(
        Scores(),
        groups,
        candidates,
        torch.zeros(6),
        lambda one: one.age,
        lambda age: Candidate(age, dict(KNOWN)),
    )
    assert chosen.age == 25.0


@pytest.mark.slow
def test_a_second_search_starts_from_the_pose_of_the_first(atlas, monkeypatch):
    """The head lies on its side: its pose is not to be had without trying orientations, or a given one."""
    images = {name: oblique(image, 90) for name, image in head().images.items()}
    scan = read_scan(atlas, images)
    known = {"age": 31.0, "conditions": {"sex": "F"}, "points": 1200}
    first, all_over = find_match(atlas, scan, points=1200), find_match(atlas, scan, **known)

    def refused() -> np.ndarray:
        raise AssertionError("orientations are tried again")

    monkeypatch.setattr(search, "start_rotations", refused)
    second = find_match(atlas, scan, start=first, **known)
    assert (second.age, second.conditions["sex"]) == (31.0, "F")
    assert second.loss < 1.05 * all_over.loss
    assert math.degrees(np.linalg.norm(second.pose[:3] - first.pose[:3])) < 15, "the same orientation"
    assert find_match(atlas, scan, start=first, points=1200).age == pytest.approx(first.age, abs=0.5)
