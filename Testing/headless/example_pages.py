"""Pages of docs whose example is run command by command; the next one joins by one entry in :data:`PAGES`."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from Testing.headless.test_documents import ROOT, blocks
from Testing.headless.test_tutorial import as_started

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class ExamplePage:
    """A page whose example is run.

    Attributes
    ----------
    name:
        Of the page and of its picture in ``docs/images``.
    result:
        The folder that the example writes and the page lists the files of.
    drawn:
        The picture's name in it.
    listing:
        Heading under which the files are listed, and the heading that ends it; from the top of the page when empty.
    optional:
        Listed files that the example does not write.
    """

    name: str
    result: str
    drawn: str
    listing: tuple[str, str]
    optional: frozenset[str] = frozenset()

    @property
    def text(self) -> str:
        """What the page says."""
        return (ROOT / "docs" / f"{self.name}.md").read_text(encoding="utf-8")

    @property
    def picture(self) -> Path:
        """The picture that is stored."""
        return ROOT / "docs" / "images" / f"{self.name}.png"

    @property
    def listed(self) -> set[str]:
        """The names of the files in the first column of the page's table."""
        start, end = self.listing
        listing = self.text.split(start)[1] if start else self.text
        return {
            name
            for row in re.findall(r"^\|([^|]*)\|", listing.split(end)[0], re.MULTILINE)
            for name in re.findall(r"`([\w.]+)`", row)
            if "." in name
        }

    def run(self, folder: Path) -> Path:
        """Run all commands of the page in a folder, and return it."""
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg"}
        lines = "\n".join(blocks(ROOT / "docs" / f"{self.name}.md", "bash")).replace("\\\n", " ").splitlines()
        for line in filter(str.strip, lines):
            words = as_started(shlex.split(line))
            done = subprocess.run(
                words, cwd=folder, env=environment, capture_output=True, text=True, encoding="utf-8", check=False
            )
            assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr[-3000:]}"
        return folder


REGISTRATION = ExamplePage(
    "registration",
    "registered",
    "registration.png",
    ("", "## Which way"),
    frozenset({"points.tsv", "fixed_mask.nii.gz", "moving_mask.nii.gz"}),
)
SUPERRES = ExamplePage("superres", "result", "superres.png", ("## What it writes", "## One scan"))

PAGES = (REGISTRATION, SUPERRES)

MARKS = (pytest.mark.slow, pytest.mark.timeout(900))
"""Of every test that needs the folder of an example."""
