"""The first brain needs no more packages than the panel asks for before it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from NeuroGenLib.worker import Worker
from Testing.slicer_desktop import missing_parts

if TYPE_CHECKING:
    from pathlib import Path

    from Testing.slicer_desktop import Desktop

IMPORTED_AS = {"PyYAML": "yaml"}


@pytest.mark.slow
@pytest.mark.skipif(bool(missing_parts()), reason=missing_parts())
def test_a_brain_is_drawn_with_the_packages_for_drawing_alone(
    desktop: Desktop, parts: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from NeuroGenPanels import dependencies

    for package in dependencies.dependencies():
        if package.name not in dependencies.DRAWING:
            name = IMPORTED_AS.get(package.name, package.name)
            (tmp_path / f"{name}.py").write_text(f"raise ImportError('{name} is not installed')\n", encoding="utf-8")
    assert (tmp_path / "nibabel.py").is_file()
    paths = [str(tmp_path), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))
    worker = Worker()
    try:
        model = {"model": "bundled:fetal-sba", "device": "cpu"}
        worker.wait(worker.submit("model.open", model), 120)
        brain = worker.wait(worker.submit("atlas.generate", {**model, "age": 30.0, "spacing": 4.0}), 120)
        assert brain.volumes
        slices = {**model, "age": 30.0, "spacing": 4.0, "point": [0.0, 0.0, 0.0]}
        assert worker.wait(worker.submit("atlas.slices", slices), 120)
    finally:
        worker.close()
