"""The tutorial is true: its commands run as they stand, its files appear, and its pictures are what they make.

``NEUROGEN_UPDATE_PICTURES=1`` rewrites the pictures.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from Testing.headless.test_documents import ROOT, blocks

if TYPE_CHECKING:
    from pathlib import Path

PAGE = ROOT / "docs" / "tutorial_atlas.md"
PICTURES = ROOT / "docs" / "images" / "tutorial"
TEXT = PAGE.read_text(encoding="utf-8")
SHOWN = dict(re.findall(r"^!\[[^\]]+\]\(images/tutorial/([\w-]+\.png)\)\n\n\*`([^`]+\.png)`:", TEXT, re.MULTILINE))
"""The file that each picture of the page was made from, which its caption names."""

UPDATING = os.environ.get("NEUROGEN_UPDATE_PICTURES") == "1"
WIDEST = 900
"""Pixels that a wider picture is scaled down to."""
COARSE = 8
"""Pictures are compared in blocks of this many pixels a side: text and edges may move by one."""
MOST_BYTES, MOST_BYTES_IN_ALL = 250_000, 1_200_000

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def commands() -> list[list[str]]:
    """The command lines of the page's bash blocks, in order."""
    lines = "\n".join(blocks(PAGE, "bash")).replace("\\\n", " ").splitlines()
    return [shlex.split(line) for line in lines if line.strip()]


def as_started(words: list[str]) -> list[str]:
    """A command line of the page for this Python, whatever is on the path."""
    if words[0] == "neurogen":
        return [sys.executable, "-m", "NeuroGenLib.cli", *words[1:]]
    assert words[0] == "python", f"the page starts '{words[0]}'"
    return [sys.executable, *words[1:]]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the repository's training scripts and settings, after all commands of the page."""
    folder = tmp_path_factory.mktemp("tutorial")
    shutil.copytree(ROOT / "training", folder / "training", ignore=shutil.ignore_patterns("__pycache__"))
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg"}
    for words in commands():
        done = subprocess.run(
            as_started(words),
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            encoding="utf-8",
            check=False,
        )
        assert done.returncode == 0, f"{shlex.join(words)}\n{done.stdout}\n{done.stderr[-3000:]}"
    return folder


def prepared(path: Path) -> Image.Image:
    """A picture no wider than the page needs."""
    with Image.open(path) as picture:
        small = picture.convert("RGB")
    if small.width <= WIDEST:
        return small
    return small.resize((WIDEST, round(small.height * WIDEST / small.width)), Image.Resampling.LANCZOS)


def difference(one: Image.Image, other: Image.Image) -> float:
    """Mean absolute difference of two pictures of one size, seen coarsely, in grey values from 0 to 1."""
    size = (one.width // COARSE, one.height // COARSE)
    grey = [
        np.asarray(each.convert("L").resize(size, Image.Resampling.BOX), dtype=float) / 255 for each in (one, other)
    ]
    return float(np.abs(grey[0] - grey[1]).mean())


def test_the_page_shows_every_picture_there_is() -> None:
    linked = re.findall(r"\]\(images/tutorial/([\w-]+\.png)\)", TEXT)
    assert sorted(linked) == sorted(SHOWN), "every picture has a caption that begins with its file"
    if not UPDATING:
        assert sorted(path.name for path in PICTURES.iterdir()) == sorted(SHOWN)
    assert len(SHOWN) >= 6


def test_the_pictures_are_small() -> None:
    sizes = {path.name: path.stat().st_size for path in PICTURES.iterdir()}
    assert max(sizes.values(), default=0) <= MOST_BYTES, sizes
    assert sum(sizes.values()) <= MOST_BYTES_IN_ALL, sizes


def allowed_difference(name: str) -> float:
    """Half of what a stored picture differs from the one that is most like it, an empty one among them.

    Training differs in bits between versions of PyTorch and kinds of processor, so a picture is not made twice alike.
    """
    one = prepared(PICTURES / name)
    others = [prepared(path).resize(one.size) for path in PICTURES.iterdir() if path.name != name]
    return min(difference(one, other) for other in [*others, Image.new("RGB", one.size, "white")]) / 2


@pytest.mark.parametrize("name", SHOWN)
def test_pictures_that_differ_are_told_apart(name: str) -> None:
    assert allowed_difference(name) > 0.01


@pytest.mark.parametrize("name", SHOWN)
def test_the_pictures_are_what_the_commands_draw(name: str, checkout: Path) -> None:
    made = prepared(checkout / SHOWN[name])
    if UPDATING:
        PICTURES.mkdir(parents=True, exist_ok=True)
        made.save(PICTURES / name, optimize=True)
    stored = prepared(PICTURES / name)
    assert stored.size == made.size
    apart = difference(stored, made)
    assert apart <= allowed_difference(name), f"{name} differs by {apart:.3f}; NEUROGEN_UPDATE_PICTURES=1 updates it"


def test_the_files_that_the_page_names_are_there(checkout: Path) -> None:
    runs = checkout / "runs" / "tutorial"
    paths = re.findall(r"`(runs/tutorial/[^`\s]+)`", TEXT)
    assert len(paths) > 15
    for path in paths:
        assert (checkout / path).exists(), path
    written = {path.name for path in runs.rglob("*")}
    names = re.findall(r"`([\w-]+\.(?:tsv|csv|json|png|nii\.gz))`", TEXT)
    assert len(names) > 5
    assert set(names) <= written


def test_every_result_says_what_it_is_for(checkout: Path) -> None:
    records = sorted((checkout / "runs").rglob("provenance.json"))
    assert len(records) >= 5
    for record in records:
        assert "research use only" in record.read_text(encoding="utf-8"), record


def test_what_the_page_says_of_the_fit(checkout: Path) -> None:
    """The age is found to about a week, as the text has it, and the corpus callosum too small."""
    import json

    facts = json.loads((checkout / "runs/tutorial/fit/fit.json").read_text(encoding="utf-8"))
    assert re.search(r"`sub-17` is 27\.6 weeks old", TEXT)
    assert abs(facts["age"] - 27.6) < 1.5
    callosum = facts["tissues"]["corpus_callosum"]
    assert callosum["volume_ml"] < callosum["expected_ml"]
