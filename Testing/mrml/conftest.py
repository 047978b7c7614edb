"""Scenes on the real slicer-core; a test fails when VTK, MRML or ITK report an error or a warning."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from NeuroGenLib.mrml.scene import HeadlessScene

REPORTS = ("ErrorEvent", "WarningEvent")


@pytest.fixture(autouse=True)
def vtk_reports() -> Iterator[list[str]]:
    """What VTK reported so far; a test that expects a report clears it."""
    if find_spec("vtk") is None:
        yield []
        return
    import vtk

    reports: list[str] = []

    @vtk.calldata_type(vtk.VTK_STRING)
    def report(window: Any, event: str, text: str) -> None:
        reports.append(f"{event}: {text}")

    window = vtk.vtkOutputWindow.GetInstance()
    observers = [window.AddObserver(event, report) for event in REPORTS]
    yield reports
    for observer in observers:
        window.RemoveObserver(observer)
    assert not reports, "\n".join(reports)


@pytest.fixture
def headless() -> Iterator[HeadlessScene]:
    """An empty scene as Slicer would have it, closed at the end."""
    from NeuroGenLib.mrml.scene import HeadlessScene

    with HeadlessScene() as opened:
        yield opened


@pytest.fixture
def scene(headless: HeadlessScene) -> Any:
    """Its ``vtkMRMLScene``."""
    return headless.scene
