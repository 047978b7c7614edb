"""Desktop Slicer for panel tests, and the panels themselves with the small atlas of the tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from NeuroGenLib.worker import Worker
from Testing.panels.panel_cases import ATLAS, MODULES
from Testing.panels.warm_workers import WarmWorkers
from Testing.slicer_desktop import Desktop, missing_parts

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import SimpleNamespace

    from Testing.panels.panel_cases import PanelCase
    from Testing.slicer_desktop import Panel


@pytest.fixture(scope="session")
def warm_workers() -> Iterator[WarmWorkers]:
    """The worker processes of all panel tests."""
    workers = WarmWorkers()
    yield workers
    workers.close()


@pytest.fixture
def desktop(warm_workers: WarmWorkers, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desktop]:
    """A fresh desktop with an empty scene; an exception that a slot swallowed fails the test at its end.

    Panels are lent warm workers.
    """
    reason = missing_parts()
    if reason:
        pytest.skip(reason)
    monkeypatch.setattr("NeuroGenLib.worker.Worker", warm_workers.lend)
    with Desktop() as started:
        yield started


@pytest.fixture
def cold_workers(desktop: Desktop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Panels start worker processes of their own, which know nothing yet and may be killed."""
    monkeypatch.setattr("NeuroGenLib.worker.Worker", Worker)


@pytest.fixture
def parts(desktop: Desktop, monkeypatch: pytest.MonkeyPatch) -> None:
    """NeuroGenPanels can be imported, as beside a module file."""
    monkeypatch.syspath_prepend(str(MODULES))


@pytest.fixture
def home_panel(desktop: Desktop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Panel]:
    """The panel NeuroGen, with an empty cache of models."""
    monkeypatch.setenv("NEUROGEN_MODELS", str(tmp_path / "cache"))
    panel = desktop.load_module(MODULES / "NeuroGenHome" / "NeuroGenHome.py")
    yield panel
    panel.widget.cleanup()


@pytest.fixture(scope="module")
def model_folder(
    panel_case: PanelCase, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> str:
    """The folder of a tiny model for the panel of the test file's ``panel_case``."""
    return str(panel_case.make_model(request, tmp_path_factory.mktemp("models") / "tiny"))


@pytest.fixture
def panel(desktop: Desktop, panel_case: PanelCase, model_folder: str) -> Iterator[Panel]:
    """The panel with the tiny model, quick settings and nothing chosen."""
    with panel_case.opened(desktop, model_folder) as opened:
        yield opened


@pytest.fixture
def inputs(desktop: Desktop, panel_case: PanelCase, panel: Panel) -> SimpleNamespace:
    """The inputs in the scene and in the panel."""
    return panel_case.add_inputs(desktop, panel)


@pytest.fixture
def atlas_panel(desktop: Desktop, atlas_run: Path) -> Iterator[Panel]:
    """The panel NeuroGen Atlas with the small atlas open and its licence accepted; nothing is rendered yet."""
    with ATLAS.opened(desktop, str(atlas_run / "model")) as opened:
        yield opened
