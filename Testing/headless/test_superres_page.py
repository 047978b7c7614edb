"""The example of the page on super-resolution comes nearer to the truth, and the page explains what it writes."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import numpy as np
import pytest

from NeuroGenLib.spatial.metrics import psnr
from NeuroGenLib.spatial.volume import Volume
from NeuroGenLib.superres.head import find_head
from Testing.headless.example_pages import MARKS, SUPERRES, ExamplePage

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = list(MARKS)


@pytest.fixture
def folder(example: Callable[[ExamplePage], Path]) -> Path:
    return example(SUPERRES)


@pytest.fixture
def truth(folder: Path) -> Volume:
    """The head that the slices were simulated of."""
    return Volume.load(folder / "truth" / "image.nii.gz")


def test_the_example_comes_nearer_to_the_truth(folder: Path, truth: Volume) -> None:
    names = ("thick/image_axial_4mm.nii.gz", "result/superres.nii.gz", "fused/superres.nii.gz")
    images = [Volume.load(folder / name).resample(like=truth, order=3) for name in names]
    head = find_head(truth).mask.array
    cubic, one, three = (psnr(image.array, truth.array, mask=head) for image in images)
    assert cubic < one < three


def test_the_result_is_isotropic_and_agrees_with_the_slices(folder: Path) -> None:
    facts = json.loads((folder / "result" / "quality.json").read_text(encoding="utf-8"))
    np.testing.assert_allclose(Volume.load(folder / "result" / "superres.nii.gz").spacing, facts["spacing_mm"])
    assert facts["spacing_mm"] == 1
    assert facts["stacks"][0]["rms"] < facts["stacks"][0]["rms_interpolated"]


def test_quality_json_has_what_the_page_explains(folder: Path) -> None:
    text = SUPERRES.text.split("## How to read quality.json")[1].split("\n## ")[0]
    explained = set(re.findall(r"`(\w+)`", text))
    facts = json.loads((folder / "fused" / "quality.json").read_text(encoding="utf-8"))
    assert facts.keys() - {"research_use"} <= explained
    assert facts["stacks"][0].keys() - {"moved_percent"} <= explained  # explained under several directions
    assert {"scan_2_to_scan", "scan_3_to_scan"} == facts["transforms"].keys()
