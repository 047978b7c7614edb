"""The panel NeuroGen: models listed, added, downloaded and used; this computer, packages, jobs."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from NeuroGenLib.core.errors import NeuroGenError
from NeuroGenLib.models.folder import write_model
from Testing.hub_server import HubServer, Repository
from Testing.raising import raises
from Testing.slicer_desktop import missing_parts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from Testing.slicer_desktop import Desktop, Panel

pytestmark = [pytest.mark.skipif(bool(missing_parts()), reason=missing_parts()), pytest.mark.usefixtures("parts")]

PATIENCE = 60.0
REFERENCE = "hf:lab/fetal"
BLOCK = 64 * 1024
WRITTEN_AT_ONCE = 10_000_000
"""Bytes that huggingface_hub hands over together; what is less is lost with the process."""


def a_model(folder: Path, licence: str | None = "apache-2.0", size: int = 256) -> Path:
    """Write a model folder that can be listed; it has no network."""
    noise = torch.rand(size, generator=torch.Generator().manual_seed(1))
    manifest = {"name": folder.name} | ({"license": licence} if licence else {})
    write_model(folder, "atlas", {"noise": noise}, manifest, f"# The card of {folder.name}")
    return folder


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    for name in ("NEUROGEN_OFFLINE", "HF_HUB_OFFLINE", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("HF_HUB_DOWNLOAD_TIMEOUT", "10")
    with HubServer() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.endpoint)
        yield server


@pytest.fixture
def repository(hub: HubServer, tmp_path: Path) -> str:
    """A model of 16 blocks on the hub; the commit."""
    return publish(hub, a_model(tmp_path / "fetal of the lab", size=16 * BLOCK // 4))


def publish(hub: HubServer, folder: Path) -> str:
    hub.repositories[REFERENCE.removeprefix("hf:")] = repository = Repository()
    return repository.commit({path.name: path.read_bytes() for path in folder.iterdir()})


def column(table: Any, number: int) -> list[str]:
    return [table.item(row, number).text() for row in range(table.rowCount)]


def add(desktop: Desktop, panel: Panel, path: Path | str) -> None:
    panel.ui.modelFolder.setCurrentPath(str(path))
    desktop.click(panel.ui.addFolderButton)


def choose(panel: Panel, name: str) -> int:
    row = column(panel.ui.modelsTable, 0).index(name)
    panel.ui.modelsTable.setCurrentCell(row, 0)
    return row


def chosen(panel: Panel) -> str:
    table = panel.ui.modelsTable
    return table.item(table.currentRow(), 0).text() if table.currentRow() >= 0 else ""


def wait_for_run(desktop: Desktop, panel: Panel) -> None:
    desktop.wait_until(lambda: not panel.widget.runBar.busy, timeout=PATIENCE)


def card(panel: Panel) -> str:
    return panel.ui.cardBrowser.toPlainText()


def test_bundled_and_published_models_are_listed(home_panel: Panel) -> None:
    table = home_panel.ui.modelsTable
    listed = dict(zip(column(table, 0), column(table, 2), strict=True))
    assert listed["fetal-sba"] == "bundled"
    assert "published" in listed.values()
    row = column(table, 0).index("fetal-sba")
    assert (column(table, 1)[row], column(table, 3)[row], column(table, 4)[row]) == ("atlas", "CC0-1.0", "1 MB")
    assert not home_panel.ui.useButton.enabled
    assert not home_panel.ui.downloadButton.enabled


def test_a_chosen_model_shows_its_card_and_what_can_be_done(home_panel: Panel) -> None:
    choose(home_panel, "fetal-sba")
    assert "spina bifida" in card(home_panel)
    assert "library_name" not in card(home_panel)
    assert home_panel.ui.useButton.enabled
    assert not home_panel.ui.removeButton.enabled
    published = column(home_panel.ui.modelsTable, 2).index("published")
    home_panel.ui.modelsTable.setCurrentCell(published, 0)
    assert not home_panel.ui.useButton.enabled
    assert card(home_panel)


def test_a_folder_is_added_kept_and_removed(desktop: Desktop, home_panel: Panel, tmp_path: Path) -> None:
    from NeuroGenPanels.model_store import model_folders

    first, second = a_model(tmp_path / "my first"), a_model(tmp_path / "my second")
    add(desktop, home_panel, first)
    assert model_folders() == [str(first)]
    assert chosen(home_panel) == "my first"
    assert "The card of my first" in card(home_panel)
    add(desktop, home_panel, f" {second}/ ")
    add(desktop, home_panel, second)
    assert model_folders() == [str(first), str(second)]
    choose(home_panel, "my second")
    home_panel.widget.enter()
    assert chosen(home_panel) == "my second"
    choose(home_panel, "my first")
    desktop.click(home_panel.ui.removeButton)
    assert model_folders() == [str(second)]
    assert "my first" not in column(home_panel.ui.modelsTable, 0)
    assert (chosen(home_panel), card(home_panel)) == ("", "")
    assert (first / "neurogen.json").is_file()


def test_a_folder_that_is_not_a_model_is_not_added(desktop: Desktop, home_panel: Panel, tmp_path: Path) -> None:
    from NeuroGenPanels.model_store import model_folders

    desktop.click(home_panel.ui.addFolderButton)
    assert "No folder is chosen" in desktop.messages[-1].text
    (tmp_path / "holiday").mkdir()
    for path in (tmp_path / "holiday", tmp_path / "nowhere", "bundled:fetal-sba"):
        add(desktop, home_panel, path)
        assert desktop.messages[-1].kind == "error"
        assert Path(path).name in desktop.messages[-1].text
    assert model_folders() == []


def test_a_damaged_folder_is_listed_with_its_problem(desktop: Desktop, home_panel: Panel, tmp_path: Path) -> None:
    folder = a_model(tmp_path / "fragile")
    add(desktop, home_panel, folder)
    (folder / "model.safetensors").unlink()
    home_panel.widget.enter()
    row = choose(home_panel, "fragile")
    assert column(home_panel.ui.modelsTable, 2)[row] == "folder, damaged"
    assert "model.safetensors" in card(home_panel)
    assert not home_panel.ui.useButton.enabled
    shutil.rmtree(folder)
    home_panel.widget.enter()
    assert str(folder) in card(home_panel)
    desktop.click(home_panel.ui.removeButton)
    assert "fragile" not in column(home_panel.ui.modelsTable, 0)


@pytest.mark.parametrize("typed", [REFERENCE, f"  {REFERENCE} ", "lab/fetal"])
def test_a_model_of_the_hub_is_downloaded(
    desktop: Desktop, hub: HubServer, repository: str, home_panel: Panel, typed: str
) -> None:
    hub.faults.seconds_per_block = 0.02
    fractions = []
    progressed = home_panel.widget.runBar._progressed
    home_panel.widget.runBar._progressed = lambda *news: fractions.append(news[0]) or progressed(*news)
    home_panel.ui.hubEdit.setText(typed)
    desktop.click(home_panel.ui.downloadButton)
    assert not home_panel.ui.downloadButton.enabled
    wait_for_run(desktop, home_panel)
    assert not desktop.messages
    assert (chosen(home_panel), home_panel.ui.hubEdit.text) == ("fetal of the lab", "")
    assert home_panel.widget.models.chosen["reference"] == f"{REFERENCE}@{repository}"
    assert "The card of fetal of the lab" in card(home_panel)
    assert fractions == sorted(fractions)
    assert fractions[-1] > 0
    assert "done in" in home_panel.widget.runBar.messageLabel.text


def test_a_download_goes_on_where_it_was_broken_off(
    desktop: Desktop, hub: HubServer, home_panel: Panel, tmp_path: Path
) -> None:
    publish(hub, a_model(tmp_path / "fetal of the lab", size=WRITTEN_AT_ONCE))  # four times that in bytes
    hub.faults.seconds_per_block = 0.005
    home_panel.ui.hubEdit.setText(REFERENCE)
    desktop.click(home_panel.ui.downloadButton)
    bar = home_panel.widget.runBar
    desktop.wait_until(lambda: hub.bytes_sent["model.safetensors"] > 2 * WRITTEN_AT_ONCE, timeout=PATIENCE)
    desktop.click(bar.cancelButton)
    wait_for_run(desktop, home_panel)
    assert "stopped" in bar.messageLabel.text
    assert "fetal of the lab" not in column(home_panel.ui.modelsTable, 0)
    hub.faults.seconds_per_block = 0
    desktop.click(home_panel.ui.downloadButton)
    wait_for_run(desktop, home_panel)
    assert chosen(home_panel) == "fetal of the lab"
    starts = [request.start for request in hub.file_requests("model.safetensors") if request.method == "GET"]
    assert starts[0] == 0 < starts[-1]


def test_without_network_the_panel_says_what_to_do(
    desktop: Desktop, home_panel: Panel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NEUROGEN_OFFLINE", "1")
    home_panel.ui.hubEdit.setText(REFERENCE)
    desktop.click(home_panel.ui.downloadButton)
    wait_for_run(desktop, home_panel)
    assert desktop.messages[-1].kind == "error"
    assert "offline" in desktop.messages[-1].text.lower()
    assert home_panel.ui.downloadButton.enabled
    assert home_panel.ui.hubEdit.text == REFERENCE


@pytest.mark.parametrize("typed", ["hf:lab / fetal", "https://somewhere.org/lab/fetal", "fetal"])
def test_a_wrong_hub_reference_is_named_at_once(desktop: Desktop, home_panel: Panel, typed: str) -> None:
    home_panel.ui.hubEdit.setText(typed)
    desktop.click(home_panel.ui.downloadButton)
    assert typed in desktop.messages[-1].text
    assert "hf:org/repo" in desktop.messages[-1].text
    assert not home_panel.widget.jobs.jobs


def test_a_permissive_licence_asks_nothing(desktop: Desktop, home_panel: Panel, tmp_path: Path) -> None:
    from NeuroGenPanels.model_store import acknowledge

    add(desktop, home_panel, a_model(tmp_path / "free", "MIT"))
    assert acknowledge(home_panel.widget.models.chosen)
    assert not desktop.messages


@pytest.mark.parametrize("licence", [None, "cc-by-nc-4.0"])
def test_another_licence_is_asked_for_once(
    desktop: Desktop, home_panel: Panel, tmp_path: Path, licence: str | None
) -> None:
    from NeuroGenPanels.model_store import acknowledge, is_acknowledged

    add(desktop, home_panel, a_model(tmp_path / "strict", licence))
    desktop.answer(False)
    desktop.click(home_panel.ui.useButton)
    assert desktop.selected_module == "NeuroGenHome"
    assert f"'{licence or 'unknown'}'" in desktop.messages[-1].text
    row = home_panel.widget.models.chosen
    assert not is_acknowledged(row)
    desktop.answer(True)
    assert acknowledge(row)
    asked = len(desktop.messages)
    assert acknowledge(row)
    assert len(desktop.messages) == asked
    assert not is_acknowledged(row | {"license": "another"})


def test_a_running_job_of_another_panel_is_listed_and_stopped(
    desktop: Desktop, atlas_panel: Panel, home_panel: Panel
) -> None:
    table, bar = home_panel.ui.jobsTable, atlas_panel.widget.runBar
    home_panel.ui.jobsSection.setChecked(True)
    atlas_panel.widget.parameters.spacing = 0.5
    atlas_panel.widget.parameters.sequenceStep = 0.1
    atlas_panel.widget._sequence_clicked()
    jobs = atlas_panel.widget.jobs.title
    desktop.wait_until(lambda: jobs in column(table, 0), timeout=PATIENCE)
    assert not home_panel.ui.stopButton.enabled
    table.setCurrentCell(column(table, 0).index(jobs), 0)
    desktop.click(home_panel.ui.stopButton)
    desktop.wait_until(lambda: not bar.busy, timeout=5)
    assert "stopped" in bar.messageLabel.text
    desktop.wait_until(lambda: jobs not in column(table, 0), timeout=5)


def test_the_chosen_job_stays_chosen_when_one_before_it_ends(home_panel: Panel) -> None:
    from NeuroGenPanels.worker_service import WorkerService

    class Job:
        job, progress, message = "fake", 0.25, "halfway to half"

    jobs = [Job(), Job()]

    class Service:
        title = "Fakes"

    Service.jobs = jobs
    WorkerService.running.append(Service)
    try:
        home_panel.widget._show_jobs()
        assert column(home_panel.ui.jobsTable, 2) == ["25 %", "25 %"]
        home_panel.ui.jobsTable.setCurrentCell(1, 0)
        last = jobs[1]
        del jobs[0]
        home_panel.widget._show_jobs()
        assert home_panel.widget._chosen_job() is last
        jobs.clear()
        home_panel.widget._show_jobs()
        assert not home_panel.ui.stopButton.enabled
    finally:
        WorkerService.running.remove(Service)


def test_look_shows_what_doctor_says(desktop: Desktop, home_panel: Panel) -> None:
    desktop.click(home_panel.ui.deviceButton)
    wait_for_run(desktop, home_panel)
    text = home_panel.ui.deviceLabel.text
    assert f"torch {torch.__version__}" in text
    assert ("cuda:0" if torch.cuda.is_available() else "no CUDA device") in text
    assert "cores" in text
    home_panel.widget._show_device({"json": {"Devices": {"cuda:0": "<img src=x>"}}})
    assert "&lt;img" in home_panel.ui.deviceLabel.text


def test_missing_packages_are_installed_when_the_person_agrees(desktop: Desktop, home_panel: Panel) -> None:
    ui = home_panel.ui
    ui.dependenciesSection.setChecked(True)
    assert not ui.installButton.enabled
    desktop.missing_packages.update(("scipy", "nibabel"))
    home_panel.widget.enter()
    assert any(text.startswith("torch>=") for text in column(ui.packagesTable, 0))
    desktop.answer(False)
    desktop.click(ui.installButton)
    assert "cannot compute without scipy, nibabel" in desktop.messages[-1].text
    assert not desktop.installed_packages
    desktop.click(ui.installButton)
    assert [text.split(">")[0] for text in desktop.installed_packages] == ["scipy", "nibabel"]
    assert not ui.installButton.enabled


def test_jobs_go_with_the_panel(desktop: Desktop, home_panel: Panel) -> None:
    from NeuroGenPanels.worker_service import WorkerService

    desktop.click(home_panel.ui.deviceButton)
    home_panel.widget.cleanup()
    assert home_panel.widget.jobs not in WorkerService.running
    assert not home_panel.widget.jobs.jobs


def test_the_panel_can_be_photographed(desktop: Desktop, home_panel: Panel, tmp_path: Path) -> None:
    from PIL import Image

    choose(home_panel, "fetal-sba")
    home_panel.parent.resize(520, 900)
    desktop.process()
    picture = np.asarray(Image.open(desktop.photograph(home_panel.parent, tmp_path / "home.png")).convert("L"))
    assert picture.shape[0] >= 600
    assert picture.std() > 10
    table = home_panel.ui.modelsTable
    widths = sum(table.columnWidth(number) for number in range(table.columnCount))
    assert widths <= table.viewport().width, "every column is seen without scrolling"


# Packages


@pytest.fixture
def old_slicer(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Slicer without ``slicer.packaging``; what pip was asked for."""
    import slicer

    asked: list[Any] = []
    monkeypatch.delattr(slicer, "packaging", raising=False)
    monkeypatch.setitem(sys.modules, "slicer.packaging", None)

    def pip_install(arguments: list[str]) -> None:
        place = arguments.index("--constraint")
        held = Path(arguments[place + 1]).read_text(encoding="utf-8").split()
        asked.append((arguments[:place] + arguments[place + 2 :], held))

    monkeypatch.setattr(slicer.util, "pip_install", pip_install)
    return asked


def without(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    from NeuroGenPanels import dependencies

    known = dependencies._installed
    monkeypatch.setattr(dependencies, "_installed", lambda name: "" if name in names else known(name))


def test_an_old_slicer_keeps_its_numpy(
    desktop: Desktop, old_slicer: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    import numpy as np

    from NeuroGenPanels import dependencies

    without(monkeypatch, "scipy", "SimpleITK")
    assert [one.name for one in dependencies.missing()] == ["scipy"]
    desktop.answer(False)
    with raises("package-missing", "scipy", kind=dependencies.InstallationDeclined):
        dependencies.ensure("The tests")
    assert old_slicer == []
    assert "scipy" in desktop.messages[-1].text
    dependencies.ensure("The tests")
    assert len(old_slicer) == 1
    requirements, held = old_slicer[0]
    assert [text.partition(">")[0] for text in requirements] == ["scipy"]
    assert held[0] == f"numpy=={np.__version__}"
    assert [line.partition("=")[0] for line in held] == ["numpy", "pydicom"]


def test_nothing_is_asked_when_nothing_is_missing(desktop: Desktop, old_slicer: list[Any]) -> None:
    from NeuroGenPanels import dependencies

    dependencies.ensure("The tests")
    assert not desktop.messages
    assert old_slicer == []


def test_a_failed_installation_is_said(desktop: Desktop, monkeypatch: pytest.MonkeyPatch) -> None:
    import slicer

    from NeuroGenPanels import dependencies

    def fail(*_requirements: Any, **_options: Any) -> None:
        raise RuntimeError("no route to host")

    desktop.missing_packages.add("scipy")
    monkeypatch.setattr(slicer.packaging, "pip_ensure", fail)
    with raises("package-missing", "scipy", "no route to host", kind=NeuroGenError):
        dependencies.ensure("The tests")


def test_torch_comes_through_the_extension_and_the_rest_by_pip(desktop: Desktop) -> None:
    from NeuroGenPanels import dependencies

    desktop.missing_packages.update(("torch", "nibabel"))
    dependencies.ensure("The tests")
    assert [text.partition(">")[0] for text in desktop.installed_packages] == ["torch", "nibabel"]
    assert [line.partition("=")[0] for line in desktop.package_constraints] == list(dependencies.SLICERS_OWN)


def test_an_extension_that_cannot_install_torch_is_an_error(desktop: Desktop, monkeypatch: pytest.MonkeyPatch) -> None:
    import PyTorchUtils

    from NeuroGenPanels import dependencies

    monkeypatch.setattr(PyTorchUtils.PyTorchUtilsLogic, "installTorch", lambda *_self, **_options: None)
    desktop.missing_packages.add("torch")
    with raises("package-missing", "torch", kind=NeuroGenError):
        dependencies.ensure("The tests")
    assert desktop.installed_packages == []


@pytest.mark.parametrize("agrees", [True, False])
def test_without_the_extension_torch_is_not_installed(
    desktop: Desktop, monkeypatch: pytest.MonkeyPatch, agrees: bool
) -> None:
    from NeuroGenPanels import dependencies

    monkeypatch.setitem(sys.modules, "PyTorchUtils", None)
    desktop.missing_packages.update(("torch", "nibabel"))
    desktop.answer(agrees)
    with raises("package-missing", "PyTorch", kind=dependencies.InstallationDeclined):
        dependencies.ensure("The tests")
    assert desktop.installed_packages == []
    assert desktop.app.extensions_manager_opened == agrees


def test_a_second_click_does_not_install_again(desktop: Desktop, monkeypatch: pytest.MonkeyPatch) -> None:
    import slicer

    from NeuroGenPanels import dependencies

    def click_again(*_requirements: Any, **_options: Any) -> None:
        with raises("package-missing", "First panel", kind=NeuroGenError):
            dependencies.ensure("Second panel")
        desktop.missing_packages.clear()

    desktop.missing_packages.add("nibabel")
    monkeypatch.setattr(slicer.packaging, "pip_ensure", click_again)
    dependencies.ensure("First panel")
    assert dependencies.missing() == []


def test_drawing_asks_for_what_drawing_needs(desktop: Desktop) -> None:
    from NeuroGenPanels import dependencies

    desktop.missing_packages.update(("torch", "matplotlib", "monai"))
    assert [package.name for package in dependencies.missing(dependencies.DRAWING)] == ["torch"]
    dependencies.ensure("The tests", dependencies.DRAWING)
    assert {package.name for package in dependencies.missing()} == {"matplotlib", "monai"}
