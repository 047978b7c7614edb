"""Desktop Slicer for panel tests, and the panels themselves with the small atlas of the tests."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from NeuroGenLib.worker import Worker
from Testing.panels.warm_workers import WarmWorkers
from Testing.slicer_desktop import Desktop, missing_parts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from Testing.slicer_desktop import Panel

MODULES = Path(__file__).parents[2] / "NeuroGen"


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


@pytest.fixture
def atlas_panel(desktop: Desktop, atlas_run: Path) -> Iterator[Panel]:
    """The panel NeuroGen Atlas with the small atlas open and its licence accepted; nothing is rendered yet."""
    panel = desktop.load_module(MODULES / "NeuroGenAtlas" / "NeuroGenAtlas.py")
    add_model(atlas_run)
    panel.widget.use_model(str(atlas_run / "model"))
    desktop.wait_until(lambda: panel.widget.session.reference == str(atlas_run / "model"), timeout=60)
    panel.widget.parameters.spacing = 5.0
    desktop.process()
    yield panel
    panel.widget.cleanup()


def add_model(atlas_run: Path) -> None:
    """Add the small atlas to the list of models, as a person does in the panel NeuroGen."""
    from NeuroGenPanels.model_store import add_model_folder

    add_model_folder(str(atlas_run / "model"))
