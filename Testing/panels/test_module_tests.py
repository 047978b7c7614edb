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
    result = _run_as_slicer(name, desktop)
    assert result.testsRun == 1
    assert result.errors + result.failures + result.skipped == []


@pytest.mark.parametrize("name", MODULES)
def test_a_machine_without_the_packages_skips_the_test(name: str, desktop: Desktop) -> None:
    desktop.missing_packages.add("torch")
    result = _run_as_slicer(name, desktop)
    assert result.errors + result.failures == []
    assert [reason for _, reason in result.skipped if "torch" in reason]
    assert desktop.messages == []


def _run_as_slicer(name: str, desktop: Desktop) -> unittest.TestResult:
    """Result of the one test case in a module file, with Slicer in its testing mode."""
    desktop.answer_as_in_testing_mode()
    panel = desktop.load_module(PANELS / name / f"{name}.py")
    cases = unittest.TestLoader().loadTestsFromModule(sys.modules[name])
    result = unittest.TestResult()
    cases.run(result)
    panel.widget.cleanup()
    return result
