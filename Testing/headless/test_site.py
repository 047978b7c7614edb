"""The site of the documents is built without a warning: no broken link, no object without its page."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import NeuroGenLib

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_the_site_has_the_documents_and_a_page_for_every_public_object(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs", reason="the extra 'docs' is not installed")
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    pages = {path.relative_to(tmp_path / "site").as_posix() for path in (tmp_path / "site").rglob("index.html")}
    for document in (ROOT / "docs").rglob("*.md"):
        assert document.relative_to(ROOT / "docs").with_suffix("").as_posix() + "/index.html" in pages
    objects = {page.split("/")[1].rpartition(".")[2] for page in pages if page.startswith("api/")}
    assert {"AtlasModel", "MaskModel", "RegistrationModel", "SuperresModel", "LabelTable", "SpatialMap"} <= objects
    assert {"Result", "Worker", "SuperresConfig", "Cohort", "thick_slices"} <= objects
    assert {name for name in NeuroGenLib.__all__ if not name.startswith("_")} <= objects
    text = (tmp_path / "site" / "api" / "spatial.volume.Volume" / "index.html").read_text(encoding="utf-8")
    assert "resample" in text
    assert ":meth:" not in text
