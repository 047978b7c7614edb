"""The tests that Slicer itself runs of each module file."""

from __future__ import annotations

import sys
import unittest
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from Testing.slicer_desktop import missing_parts

if TYPE_CHECKING:
    from Testing.slicer_desktop import Desktop

PANELS = Path(__file__).parents[2] / "NeuroGen"
MODULES = sorted(path.stem for path in PANELS.glob("*/*.py") if path.stem == path.parent.name)
SLOW = {"NeuroGenAtlas"}

pytestmark = pytest.mark.skipif(bool(missing_parts()), reason=missing_parts())


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else []) for name in MODULES]
)
def test_slicer_finds_one_test_in_the_module_and_it_passes(name: str, desktop: Desktop) -> None:
    panel = desktop.load_module(PANELS / name / f"{name}.py")
    cases = unittest.TestLoader().loadTestsFromModule(sys.modules[name])
    result = unittest.TestResult()
    cases.run(result)
    panel.widget.cleanup()
    assert result.testsRun == 1
    assert result.errors + result.failures == []
