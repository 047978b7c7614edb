"""The page on super-resolution is true: its example runs as it stands, and its picture is what it makes.

``NEUROGEN_UPDATE_PICTURES=1`` rewrites the picture.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from NeuroGenLib.spatial.metrics import psnr
from NeuroGenLib.spatial.volume import Volume
from NeuroGenLib.superres.head import find_head
from Testing.headless.test_documents import ROOT, blocks
from Testing.headless.test_tutorial import MOST_BYTES, UPDATING, as_started, difference, prepared

if TYPE_CHECKING:
    from pathlib import Path

PAGE = ROOT / "docs" / "superres.md"
PICTURE = ROOT / "docs" / "images" / "superres.png"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder after all commands of the page's example."""
    place = tmp_path_factory.mktemp("page")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg"}
    lines = "\n".join(blocks(PAGE, "bash")).replace("\\\n", " ").splitlines()
    for line in filter(str.strip, lines):
        words = as_started(shlex.split(line))
        done = subprocess.run(
            words, cwd=place, env=environment, capture_output=True, text=True, encoding="utf-8", check=False
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr[-3000:]}"
    return place


@pytest.fixture(scope="module")
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
    text = PAGE.read_text(encoding="utf-8").split("## How to read quality.json")[1].split("\n## ")[0]
    explained = set(re.findall(r"`(\w+)`", text))
    facts = json.loads((folder / "fused" / "quality.json").read_text(encoding="utf-8"))
    assert facts.keys() - {"research_use"} <= explained
    assert facts["stacks"][0].keys() - {"moved_percent"} <= explained  # explained under several directions
    assert {"scan_2_to_scan", "scan_3_to_scan"} == facts["transforms"].keys()


def test_the_files_that_the_page_lists_are_written(folder: Path) -> None:
    listing = PAGE.read_text(encoding="utf-8").split("## What it writes")[1].split("## One scan")[0]
    listed = set(re.findall(r"^\| `([\w.]+)` \|", listing, re.MULTILINE))
    assert listed == {path.name for path in (folder / "result").iterdir()}


def test_the_picture_is_what_the_example_draws(folder: Path) -> None:
    made = prepared(folder / "result" / "superres.png")
    if UPDATING:
        made.quantize(256).save(PICTURE, optimize=True)
    stored = prepared(PICTURE)
    assert stored.size == made.size
    assert difference(stored, made) < difference(stored, Image.new("RGB", stored.size, "white")) / 8
    assert PICTURE.stat().st_size <= MOST_BYTES
