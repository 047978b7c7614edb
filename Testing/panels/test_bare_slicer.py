"""A Slicer in which nothing was installed yet: the panels open, and ask before they install."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from Testing.slicer_desktop import missing_parts

ROOT = Path(__file__).parents[2]

SCRIPT = """
import sys

for name in {missing!r}:
    sys.modules[name] = None  # as if it were not installed

from Testing.slicer_desktop import Desktop

with Desktop() as desktop:
    desktop.missing_packages.update({packages!r})
    home = desktop.load_module("NeuroGen/NeuroGenHome/NeuroGenHome.py")
    atlas = desktop.load_module("NeuroGen/NeuroGenAtlas/NeuroGenAtlas.py")
    registration = desktop.load_module("NeuroGen/NeuroGenRegistration/NeuroGenRegistration.py")
    superres = desktop.load_module("NeuroGen/NeuroGenSuperResolution/NeuroGenSuperResolution.py")
    listed = [home.ui.modelsTable.item(row, 0).text() for row in range(home.ui.modelsTable.rowCount)]
    assert "fetal-sba" in listed, listed
    assert atlas.ui.modelCombo.currentText == "fetal-sba"
    assert "packages are missing" in atlas.ui.noticeLabel.text
    assert not desktop.messages, desktop.messages
    desktop.answer(False)
    desktop.click(atlas.ui.drawButton)
    assert desktop.messages[0].kind == "question"
    assert "torch" in desktop.messages[0].text
    assert not desktop.installed_packages
    assert desktop.scene.GetFirstNodeByClass("vtkMRMLScalarVolumeNode") is None
    assert registration.ui.modelCombo.currentText.startswith(("registration", "bundled:registration"))
    assert not registration.ui.registerButton.enabled
    assert not superres.ui.applyButton.enabled
    for panel in (home, atlas, registration, superres):
        panel.widget.cleanup()
"""


@pytest.mark.slow
@pytest.mark.skipif(bool(missing_parts()), reason=missing_parts())
def test_panels_open_where_nothing_is_installed() -> None:
    lines = (ROOT / "Resources" / "requirements.txt").read_text(encoding="utf-8").splitlines()
    packages = {re.split(r"\W", line)[0].lower() for line in lines if line and not line.startswith("#")}
    missing = {"pyyaml": "yaml"}.items() | {(name, name) for name in packages - {"pyyaml"}}
    assert {"torch", "yaml"} <= {name for _package, name in missing}
    script = SCRIPT.format(missing=sorted(name for _package, name in missing), packages=sorted(packages))
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, encoding="utf-8", check=False
    )
    assert done.returncode == 0, done.stderr
