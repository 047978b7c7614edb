"""The bundled brain mask on a drawn head: no scan is needed to see that the weights are the right ones."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest

from NeuroGenLib.core.errors import InputError
from NeuroGenLib.mask.infer import BUNDLED, MaskModel
from NeuroGenLib.models import open_model
from NeuroGenLib.spatial.volume import Volume
from Testing.drawn_head import head_brain, head_labels, head_scan
from Testing.geometry import anisotropic, dice, orientations, rotated_copy, same_in_world


@pytest.fixture(scope="module")
def labels() -> Volume:
    return head_labels()


@pytest.fixture(scope="module")
def truth(labels: Volume) -> Volume:
    return head_brain(labels)


@pytest.fixture(scope="module")
def model() -> MaskModel:
    return open_model(BUNDLED, MaskModel, device="cpu")


@pytest.mark.parametrize(("kind", "least"), [("t1w", 0.92), ("t2w", 0.93), ("random", 0.9)])
def test_brain_of_a_drawn_head(
    model: MaskModel, labels: Volume, truth: Volume, kind: Literal["t1w", "t2w", "random"], least: float
) -> None:
    """Ellipsoids, which no training saw."""
    assert dice(model.find(head_scan(labels, kind)).mask, truth) > least


@pytest.mark.slow
def test_storage_and_grid_of_the_scan_hardly_matter(model: MaskModel, labels: Volume, truth: Volume) -> None:
    scan = head_scan(labels, "t2w", 2)
    mask = model.find(scan).mask
    for codes, stored in orientations(scan, ["LPS", "PIR"]):
        assert same_in_world(model.find(stored).mask, mask), codes
    copy = rotated_copy(scan, 20)
    assert dice(model.find(copy).mask, mask.resample(like=copy, order=0)) > 0.95
    thick = anisotropic(scan, (1.5, 1.5, 6.0))
    assert dice(model.find(thick).mask, truth.resample(like=thick, order=0)) > 0.93


def test_noise_is_not_a_head(model: MaskModel) -> None:
    """Whatever is found in noise, the person is warned."""
    noise = np.random.default_rng(1).normal(100, 20, (80, 80, 80))
    try:
        warnings = model.find(Volume(noise, np.diag([2.5, 2.5, 2.5, 1]))).warnings
    except InputError as error:
        warnings = [error.problem]
    assert warnings


def test_weights_are_small(model: MaskModel) -> None:
    assert model.folder.size < 2e6
