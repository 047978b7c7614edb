"""The example of the page on registration registers; what all pages must do is in test_example_pages."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import nibabel
import numpy as np
import pytest

from Testing.headless.example_pages import MARKS, REGISTRATION, ExamplePage

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = list(MARKS)


@pytest.fixture
def folder(example: Callable[[ExamplePage], Path]) -> Path:
    return example(REGISTRATION)


def test_the_example_registers_the_brains(folder: Path) -> None:
    facts = json.loads((folder / "registered" / "quality.json").read_text(encoding="utf-8"))
    dice = {stage: facts["dice"][stage]["mean"] for stage in ("headers", "start", "registered")}
    assert dice["registered"] > dice["start"] > dice["headers"]
    assert facts["folded_voxels"] == 0


def test_labels_carried_later_are_those_of_the_run(folder: Path) -> None:
    one, other = (
        np.asarray(nibabel.load(folder / name).dataobj)
        for name in ("labels_at_30.nii.gz", "registered/warped_labels.nii.gz")
    )
    assert (one != other).mean() < 1e-3
