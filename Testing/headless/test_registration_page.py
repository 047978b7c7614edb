"""The page on registration is true: its example runs as it stands, and its picture is what it makes.

``NEUROGEN_UPDATE_PICTURES=1`` rewrites the picture.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from typing import TYPE_CHECKING

import nibabel
import numpy as np
import pytest
from PIL import Image

from NeuroGenLib.commands.registration.shared import BUNDLED
from NeuroGenLib.models.opening import bundled_models
from Testing.headless.test_documents import ROOT, blocks
from Testing.headless.test_tutorial import MOST_BYTES, UPDATING, as_started, difference, prepared

if TYPE_CHECKING:
    from pathlib import Path

PAGE = ROOT / "docs" / "registration.md"
PICTURE = ROOT / "docs" / "images" / "registration.png"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(
        BUNDLED.removeprefix("bundled:") not in bundled_models(), reason="no registration model is bundled"
    ),
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


def test_the_example_registers_the_brains(folder: Path) -> None:
    facts = json.loads((folder / "registered" / "quality.json").read_text(encoding="utf-8"))
    dice = {stage: facts["dice"][stage]["mean"] for stage in ("headers", "start", "registered")}
    assert dice["registered"] > dice["start"] > dice["headers"]
    assert facts["folded_voxels"] == 0


def test_the_files_that_the_page_lists_are_written(folder: Path) -> None:
    written = {path.name for path in (folder / "registered").iterdir()}
    listed = set(re.findall(r"`([\w.]+)`(?=[^|]*\|)", PAGE.read_text(encoding="utf-8").split("## Which way")[0]))
    optional = {"points.tsv", "fixed_mask.nii.gz", "moving_mask.nii.gz"}
    assert written <= listed
    assert {name for name in listed if "." in name} - optional <= written


def test_labels_carried_later_are_those_of_the_run(folder: Path) -> None:
    one, other = (
        np.asarray(nibabel.load(folder / name).dataobj)
        for name in ("labels_at_30.nii.gz", "registered/warped_labels.nii.gz")
    )
    assert (one != other).mean() < 1e-3


def test_the_picture_is_what_the_example_draws(folder: Path) -> None:
    made = prepared(folder / "registered" / "registration.png")
    if UPDATING:
        made.quantize(256).save(PICTURE, optimize=True)
    stored = prepared(PICTURE)
    assert stored.size == made.size
    assert difference(stored, made) < difference(stored, Image.new("RGB", stored.size, "white")) / 8
    assert PICTURE.stat().st_size <= MOST_BYTES
