"""The panel NeuroGen Super-Resolution: a scan super-resolved, again, looked at, refused, cancelled, saved."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from NeuroGenLib.models import open_model
from NeuroGenLib.mrml.provenance import provenance_of
from NeuroGenLib.mrml.tables import rows_of
from NeuroGenLib.mrml.volumes import add_volume, volume_of
from NeuroGenLib.scenes.superres import quality_of, result_of
from NeuroGenLib.spatial.volume import Volume
from NeuroGenLib.superres.run_config import SuperresConfig
from Testing.geometry import oblique, reoriented, same_in_world
from Testing.mrml.nodes import folder_of
from Testing.raising import raises
from Testing.slicer_desktop import missing_parts
from Testing.superres_models import MM, THICKNESS, a_head, in_thick_slices, write_residual_model

if TYPE_CHECKING:
    from collections.abc import Iterator

    from NeuroGenLib.superres.infer import SuperResolution
    from Testing.slicer_desktop import Desktop, Panel

pytestmark = [
    pytest.mark.skipif(bool(missing_parts()), reason=missing_parts()),
    pytest.mark.usefixtures("one_thread"),
]

MODULE = Path(__file__).parents[2] / "NeuroGen" / "NeuroGenSuperResolution" / "NeuroGenSuperResolution.py"
PATIENCE = 120.0


def stored_oblique(volume: Volume) -> Volume:
    """Turned in the world, and stored left-handed."""
    turned = oblique(reoriented(volume, "LAS"))
    assert np.linalg.det(turned.affine[:3, :3]) < 0
    return turned


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_residual_model(tmp_path_factory.mktemp("models") / "tiny"))


@pytest.fixture(scope="module")
def thick() -> Volume:
    """A head in axial slices of 6 mm, oblique and left-handed, away from the origin, in units of hundreds."""
    head = a_head()
    head = head.with_array(300 * head.array / head.array.max())
    scan = stored_oblique(in_thick_slices(head))
    shifted = scan.affine.copy()
    shifted[:3, 3] += (25, -14, 31)
    return Volume(scan.array, shifted)


@pytest.fixture(scope="module")
def expected(model_folder: str, thick: Volume) -> SuperResolution:
    """What the library finds, with the settings of the panel's tests."""
    return open_model(model_folder, device="cpu").super_resolve(thick, settings=SuperresConfig(spacing=MM))


@pytest.fixture
def panel(desktop: Desktop, model_folder: str) -> Iterator[Panel]:
    """The panel with the tiny model, large voxels and nothing chosen."""
    loaded = desktop.load_module(MODULE)
    from NeuroGenPanels.model_store import add_model_folder

    add_model_folder(model_folder)
    loaded.widget.use_model(model_folder)
    loaded.ui.advancedSection.setChecked(True)
    loaded.ui.spacingBox.setValue(MM)
    yield loaded
    loaded.widget.cleanup()


@pytest.fixture
def scan(desktop: Desktop, panel: Panel, thick: Volume) -> Any:
    """The scan in the scene and in the panel."""
    node = add_volume(desktop.scene, thick, "axial")
    panel.ui.scanSelector.setCurrentNode(node)
    return node


def at_rest(desktop: Desktop, panel: Panel, timeout: float = PATIENCE) -> None:
    desktop.wait_until(lambda: not panel.widget.runBar.busy, timeout=timeout)
    desktop.process()


def apply(desktop: Desktop, panel: Panel) -> Any:
    """Click Apply, wait, and return the isotropic volume."""
    desktop.click(panel.ui.applyButton)
    assert panel.widget.runBar.busy, desktop.messages
    at_rest(desktop, panel)
    assert not [message for message in desktop.messages if message.kind == "error"], desktop.messages
    return result_of(desktop.scene, panel.widget.parameters.scan)


def refused(desktop: Desktop, panel: Panel) -> str:
    """Click Apply, wait, and return the sentence of the error."""
    count = desktop.scene.GetNumberOfNodes()
    desktop.click(panel.ui.applyButton)
    at_rest(desktop, panel)
    assert desktop.messages[-1].kind == "error", desktop.messages
    assert "Traceback" not in desktop.messages[-1].text
    assert desktop.scene.GetNumberOfNodes() == count
    assert panel.ui.applyButton.enabled
    return str(desktop.messages[-1].text)


def cells(panel: Panel) -> dict[str, list[str]]:
    """The quality table by measure."""
    table = panel.ui.qualityTable
    rows = [[table.item(row, column).text() for column in range(table.columnCount)] for row in range(table.rowCount)]
    return {row[0]: row[1:] for row in rows}


def view(desktop: Desktop, name: str) -> Any:
    return desktop.scene.GetSingletonNode(name, "vtkMRMLSliceCompositeNode")


def named(desktop: Desktop, name: str) -> Any:
    node = desktop.scene.GetFirstNodeByName(name)
    assert node is not None, name
    return node


def brightest_place(volume: Volume) -> np.ndarray:
    """Where the middle of the brightest 2 % lies in the world."""
    bright = np.argwhere(volume.array > np.percentile(volume.array, 98))
    return volume.voxel_to_world(bright.mean(axis=0))


def test_the_thickness_that_lies_beside_a_file_is_shown_and_used(
    desktop: Desktop, panel: Panel, thick: Volume, tmp_path: Path
) -> None:
    thick.save(tmp_path / "sub-1_T2w.nii.gz")
    (tmp_path / "sub-1_T2w.json").write_text('{"SliceThickness": 5}', encoding="utf-8")
    node = desktop.scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "axial")
    node.AddDefaultStorageNode()
    node.GetStorageNode().SetFileName(str(tmp_path / "sub-1_T2w.nii.gz"))
    assert node.GetStorageNode().ReadData(node)
    panel.ui.scanSelector.setCurrentNode(node)
    desktop.process()
    assert "5 mm" in panel.ui.slicesLabel.text
    apply(desktop, panel)
    assert cells(panel)["slice thickness, axial"][1] == "5"
    assert cells(panel)["gap between slices, axial"][1] == "1"


def test_from_a_thick_scan_to_an_isotropic_one(
    desktop: Desktop, panel: Panel, scan: Any, thick: Volume, expected: SuperResolution
) -> None:
    image = apply(desktop, panel)
    found = volume_of(image)
    np.testing.assert_allclose(found.spacing, MM, rtol=1e-5)
    assert same_in_world(found, expected.image, 0.5)
    assert np.linalg.norm(brightest_place(found) - brightest_place(thick)) < MM
    cubic = volume_of(named(desktop, "axial interpolated"))
    difference = volume_of(named(desktop, "axial isotropic less interpolated"))
    assert same_in_world(cubic, expected.interpolated, 0.5)
    np.testing.assert_allclose(difference.array, found.array - cubic.array, atol=1e-3)
    assert np.abs(difference.array).max() > 0
    assert same_in_world(volume_of(named(desktop, "axial not reproduced")), expected.residual, 0.5)
    percent = f"{expected.quality.stacks[0].percent:.4g}"
    assert cells(panel)["slices not reproduced, axial"][1] == percent
    assert cells(panel)["slice thickness, axial"][1:] == [f"{THICKNESS:g}", "mm"]
    assert percent in panel.ui.stateLabel.text
    assert "untrained" in panel.ui.stateLabel.text
    for name in ("axial isotropic", "axial super-resolution quality", "axial profile", "axial across its slices"):
        record = provenance_of(named(desktop, name))
        assert record["parameters"]["scans"] == ["axial"]
        assert record["parameters"]["settings"]["spacing"] == MM
        assert folder_of(desktop.scene, named(desktop, name)) == "axial super-resolved"


def test_the_profile_crosses_the_slices_in_the_units_of_the_scan(desktop: Desktop, panel: Panel, scan: Any) -> None:
    image = apply(desktop, panel)
    rows = rows_of(named(desktop, "axial profile"))
    chart = named(desktop, "axial across its slices")
    assert chart.GetNumberOfPlotSeriesNodes() == 3
    measured = np.array([row["slices"] for row in rows])
    measured = measured[np.isfinite(measured)]
    steps = np.flatnonzero(np.diff(measured))
    assert np.median(np.diff(steps)) == THICKNESS / MM, "a slice shows as a step"
    result = np.array([row["result"] for row in rows])
    assert 100 < result.max() <= volume_of(image).array.max()
    assert np.abs(result - [row["interpolated"] for row in rows]).max() < 0.2 * result.max()
    # The crosshair, where there is one.
    desktop.click(panel.ui.profileButton)
    assert "no crosshair" in desktop.messages[-1].text
    crosshair = desktop.scene.AddNewNodeByClass("vtkMRMLCrosshairNode")
    head = volume_of(image)
    place = head.voxel_to_world(np.array(head.shape) // 2 + (4, 0, 0))
    crosshair.SetCrosshairRAS(*place)
    count = desktop.scene.GetNumberOfNodes()
    desktop.click(panel.ui.profileButton)
    again = {round(row["distance_mm"], 6): row["result"] for row in rows_of(named(desktop, "axial profile"))}
    assert again[0.0] == pytest.approx(head.array[tuple(np.array(head.shape) // 2 + (4, 0, 0))], rel=1e-4)
    assert desktop.scene.GetNumberOfNodes() == count
    crosshair.SetCrosshairRAS(900, 0, 0)
    desktop.click(panel.ui.profileButton)
    assert "outside the result" in desktop.messages[-1].text


def test_a_scan_is_super_resolved_from_the_console(
    desktop: Desktop, panel: Panel, scan: Any, model_folder: str, expected: SuperResolution
) -> None:
    """Without the panel: ``slicer.util.getModuleLogic`` and one call that returns the nodes."""
    import slicer.util

    logic = slicer.util.getModuleLogic("NeuroGenSuperResolution")
    nodes = logic.superResolve(scan, model=model_folder, device="cpu", residual=False, spacing=MM)
    assert result_of(desktop.scene, scan) is nodes.image
    assert nodes.residual is None
    assert same_in_world(volume_of(nodes.image), expected.image, 1e-3)
    parameters = provenance_of(nodes.quality)["parameters"]
    assert (parameters["scans"], parameters["settings"]["spacing"]) == (["axial"], MM)
    remarks: list[str] = []
    fine = add_volume(desktop.scene, a_head(), "fine")
    assert logic.superResolve(fine, model=model_folder, device="cpu", on_nothing=remarks.append) is None
    assert len(remarks) == 1


class RefusingRunner:
    """A runner that keeps the jobs it gets and begins none."""

    def __init__(self) -> None:
        self.jobs: list[tuple[str, dict[str, Any]]] = []

    def run(self, title: str, job: str, arguments: dict[str, Any], *callbacks: Any) -> bool:
        del title, callbacks
        self.jobs.append((job, arguments))
        return False


def test_the_logic_hands_the_job_to_its_runner(desktop: Desktop, panel: Panel, scan: Any, thick: Volume) -> None:
    runner = RefusingRunner()
    guide = add_volume(desktop.scene, a_head(-0.4), "T1w")
    logic = panel.logic
    assert logic.superResolve(scan, guide=guide, thickness=5.0, align=False, runner=runner) is None
    ((job, arguments),) = runner.jobs
    settings = arguments["settings"]
    assert (job, arguments["model"]) == ("superres.run", "bundled:superres")
    assert (settings["thickness"], settings["align"], settings["recorded"]) == (5.0, False, [0.0])
    assert same_in_world(arguments["scans"][0], thick, 0)
    assert same_in_world(arguments["guide"], volume_of(guide), 0)
    with raises("name-unknown", "thicknes"):
        logic.superResolve(scan, thicknes=5.0, runner=runner)
    with raises("value-invalid", "'thickness' is -1"):
        logic.superResolve(scan, thickness=-1, runner=runner)
    with raises("value-duplicate", "axial"):
        logic.superResolve(scan, further_scans=[scan], runner=runner)
    with raises("value-missing"):
        logic.superResolve(None, runner=runner)
    assert len(runner.jobs) == 1


def test_ways_to_look_at_the_result(desktop: Desktop, panel: Panel, scan: Any) -> None:
    ui, scene = panel.ui, desktop.scene
    image = apply(desktop, panel)
    cubic, difference = named(desktop, "axial interpolated"), named(desktop, "axial isotropic less interpolated")
    for name in ("Red", "NeuroGenAfter"):
        shown = view(desktop, name)
        assert (shown.GetBackgroundVolumeID(), shown.GetForegroundVolumeID()) == (cubic.GetID(), image.GetID())
        assert shown.GetForegroundOpacity() == 1
    before = view(desktop, "NeuroGenBefore")
    assert (before.GetBackgroundVolumeID(), before.GetForegroundVolumeID()) == (cubic.GetID(), None)
    assert before.GetLinkedControl()
    assert view(desktop, "NeuroGenAfter").GetLinkedControl()
    ui.opacitySlider.setValue(0.4)
    assert view(desktop, "NeuroGenAfter").GetForegroundOpacity() == pytest.approx(0.4)
    ui.beforeCombo.setCurrentIndex(1)
    assert before.GetBackgroundVolumeID() == scan.GetID()
    assert not ui.leastSlider.enabled
    ui.viewCombo.setCurrentIndex(1)
    shown = view(desktop, "NeuroGenAfter")
    assert (shown.GetBackgroundVolumeID(), shown.GetForegroundVolumeID()) == (image.GetID(), difference.GetID())
    colours = difference.GetDisplayNode().GetColorNode()
    assert ui.leastSlider.enabled
    ui.leastSlider.setValue(0.1)
    seen = [colours.GetLookupTable().GetTableValue(step)[3] > 0 for step in range(colours.GetNumberOfColors())]
    assert np.mean(seen) == pytest.approx(0.6, abs=0.02)
    ui.viewCombo.setCurrentIndex(2)
    assert shown.GetForegroundVolumeID() == named(desktop, "axial not reproduced").GetID()
    layout = scene.AddNewNodeByClass("vtkMRMLLayoutNode")
    desktop.click(ui.arrangeButton)
    assert "NeuroGenBefore" in layout.GetCurrentLayoutDescription()


def test_another_run_takes_the_same_nodes(desktop: Desktop, panel: Panel, scan: Any) -> None:
    image = apply(desktop, panel)
    count, shape = desktop.scene.GetNumberOfNodes(), volume_of(image).shape
    panel.ui.spacingBox.setValue(2.5)
    assert apply(desktop, panel) is image
    assert volume_of(image).shape < shape
    assert desktop.scene.GetNumberOfNodes() == count
    panel.ui.residualBox.setChecked(False)
    apply(desktop, panel)
    assert desktop.scene.GetFirstNodeByName("axial not reproduced") is None


def test_slices_are_said_before_anything_runs(desktop: Desktop, panel: Panel, scan: Any) -> None:
    ui = panel.ui
    label = ui.slicesLabel
    assert "axial slices, 6 mm thick, touching each other; 2 x 2 mm within" in label.text
    ui.thicknessBox.setValue(4)
    assert "4 mm thick, 2 mm between them" in label.text
    assert not ui.gapBox.enabled
    ui.gapKnownBox.setChecked(True)
    assert ui.gapBox.enabled
    ui.gapBox.setValue(-1)
    assert "overlapping by 1 mm" in label.text
    assert "6 mm apart; 3 mm are used" in label.text
    ui.gapBox.setValue(-4)
    assert "cannot overlap" in label.text
    ui.gapBox.setValue(2)
    image = apply(desktop, panel)
    assert cells(panel)["gap between slices, axial"][1] == "2"
    assert provenance_of(image)["parameters"]["settings"]["thickness"] == 4


def test_stacks_and_a_guide_are_used(desktop: Desktop, panel: Panel, scan: Any, thick: Volume) -> None:
    head = a_head()
    across = Volume(in_thick_slices(head, "coronal").array, in_thick_slices(head, "coronal").affine)
    second = add_volume(desktop.scene, stored_oblique(across), "coronal")
    first = add_volume(desktop.scene, stored_oblique(in_thick_slices(head)), "axial in place")
    guide = add_volume(desktop.scene, stored_oblique(a_head(-0.4)), "T1w")
    ui = panel.ui
    ui.scanSelector.setCurrentNode(first)
    ui.secondSelector.setCurrentNode(second)
    ui.guideSelector.setCurrentNode(guide)
    ui.directionCombo.setCurrentIndex(2)
    assert not ui.directionCombo.enabled
    assert "coronal: " in ui.slicesLabel.text
    ui.alignBox.setChecked(False)
    image = apply(desktop, panel)
    record = provenance_of(image)["parameters"]
    assert (record["scans"], record["guide"]) == (["axial in place", "coronal"], "T1w")
    assert "slice thickness, scan 2, coronal" in cells(panel)
    assert cells(panel)["similarity to the guide"][0]
    ui.thirdSelector.setCurrentNode(second)
    assert "'coronal' is chosen twice" in refused(desktop, panel)


def test_a_model_that_needs_a_guide_says_so_first(
    desktop: Desktop, panel: Panel, scan: Any, thick: Volume, tmp_path: Path
) -> None:
    from NeuroGenPanels.model_store import add_model_folder

    folder = str(write_residual_model(tmp_path / "guided", guide="needed"))
    add_model_folder(folder)
    panel.widget.use_model(folder)
    assert "needs a T1w of the same head" in panel.ui.noticeLabel.text
    assert "needs a T1w" in refused(desktop, panel)
    assert "--guide" not in desktop.messages[-1].text
    panel.ui.guideSelector.setCurrentNode(add_volume(desktop.scene, thick, "T1w"))
    assert "needs a T1w" not in panel.ui.noticeLabel.text


def test_an_isotropic_scan_is_left_alone(desktop: Desktop, panel: Panel) -> None:
    node = add_volume(desktop.scene, stored_oblique(a_head()), "fine")
    panel.ui.scanSelector.setCurrentNode(node)
    assert "Isotropic already" in panel.ui.slicesLabel.text
    assert apply(desktop, panel) is None
    assert "isotropic already" in panel.ui.stateLabel.text
    assert "there is nothing to do" in panel.ui.stateLabel.text


def test_broken_input_is_refused_in_sentences(desktop: Desktop, panel: Panel, thick: Volume) -> None:
    ui, scene = panel.ui, desktop.scene
    assert not ui.applyButton.enabled
    assert ui.slicesLabel.text == ""
    flat = Volume(thick.array[:, :, 5:6], thick.affine)
    holed = thick.array.copy()
    holed[3, 4, 2] = np.nan
    bad = {
        "one slice": (flat, "too little of a head"),
        "constant": (thick.with_array(np.ones(thick.shape, np.float32)), "same value everywhere"),
        "holed": (thick.with_array(holed), "NaN"),
    }
    for name, (volume, said) in bad.items():
        ui.scanSelector.setCurrentNode(add_volume(scene, volume, name))
        assert said in refused(desktop, panel), name
    ui.scanSelector.setCurrentNode(scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty"))
    assert "holds no voxels" in ui.slicesLabel.text
    assert "'empty' holds no voxels" in refused(desktop, panel)


def test_cancel_leaves_the_scene_as_it_was(desktop: Desktop, panel: Panel, scan: Any) -> None:
    panel.ui.spacingBox.setValue(0.7)
    count = desktop.scene.GetNumberOfNodes()
    desktop.click(panel.ui.applyButton)
    bar = panel.widget.runBar
    desktop.wait_until(lambda: bar._handle.progress > 0.05, timeout=PATIENCE)
    began = time.monotonic()
    desktop.click(bar.cancelButton)
    desktop.wait_until(lambda: not bar.busy, timeout=5)
    assert time.monotonic() - began < 2
    assert "stopped" in bar.messageLabel.text
    assert desktop.scene.GetNumberOfNodes() == count


def test_the_scene_is_closed_in_mid_run(desktop: Desktop, panel: Panel, scan: Any) -> None:
    del scan
    desktop.click(panel.ui.applyButton)
    desktop.close_scene()
    assert not panel.widget.runBar.busy
    for _step in range(10):
        desktop.process()
        time.sleep(0.02)
    assert desktop.scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 0
    assert not panel.ui.applyButton.enabled


def test_a_saved_scene_opens_as_it_was(desktop: Desktop, panel: Panel, scan: Any, tmp_path: Path) -> None:
    panel.ui.viewCombo.setCurrentIndex(1)
    apply(desktop, panel)
    said, table = panel.ui.stateLabel.text, cells(panel)
    desktop.save_scene(tmp_path / "saved.mrb")
    desktop.close_scene()
    assert panel.ui.stateLabel.text == ""
    assert cells(panel) == {}
    desktop.load_scene(tmp_path / "saved.mrb")
    assert panel.ui.viewCombo.currentIndex == 1
    assert panel.ui.spacingBox.value == MM
    assert panel.ui.stateLabel.text == said
    assert cells(panel) == table
    count = desktop.scene.GetNumberOfNodes()
    again = apply(desktop, panel)
    assert desktop.scene.GetNumberOfNodes() == count
    assert quality_of(again)


def test_a_result_whose_scan_went_meanwhile_is_still_shown(desktop: Desktop, panel: Panel, scan: Any) -> None:
    desktop.click(panel.ui.applyButton)
    desktop.scene.RemoveNode(scan)
    at_rest(desktop, panel)
    assert not [message for message in desktop.messages if message.kind == "error"], desktop.messages
    assert named(desktop, "axial isotropic")


@pytest.mark.usefixtures("cold_workers")
def test_time_is_estimated_before_apply(desktop: Desktop, panel: Panel, scan: Any) -> None:
    desktop.wait_until(lambda: bool(panel.ui.estimateLabel.text), timeout=PATIENCE)
    before = panel.ui.estimateLabel.text
    panel.ui.spacingBox.setValue(0.3)
    desktop.wait_until(lambda: panel.ui.estimateLabel.text != before, timeout=PATIENCE)
    assert " min" in panel.ui.estimateLabel.text


def test_a_model_that_is_not_here_is_named(desktop: Desktop, panel: Panel) -> None:
    panel.widget.use_model("hf:nobody/nothing")
    assert "hf:nobody/nothing is not on this computer" in panel.ui.noticeLabel.text


def test_use_in_the_list_of_models_opens_this_panel(
    desktop: Desktop, panel: Panel, home_panel: Panel, model_folder: str
) -> None:
    panel.widget.parameters.model = "hf:nobody/nothing"
    table = home_panel.ui.modelsTable
    home_panel.widget.enter()
    row = [home_panel.widget.models._rows[index]["reference"] for index in range(table.rowCount)].index(model_folder)
    table.setCurrentCell(row, 0)
    desktop.click(home_panel.ui.useButton)
    assert desktop.selected_module == "NeuroGenSuperResolution"
    assert panel.widget.parameters.model == model_folder


@pytest.mark.slow
def test_from_the_sample_to_a_result(
    desktop: Desktop, panel: Panel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both images of the sample by one click, then Apply; the model is the tiny one."""
    monkeypatch.setenv("NEUROGEN_MODELS", str(tmp_path))
    ui = panel.ui
    desktop.click(ui.sampleButton)
    assert not desktop.messages
    assert ui.scanSelector.currentNode().GetName() == "fetal-brain-4mm T2w"
    assert ui.guideSelector.currentNode().GetName() == "fetal-brain-4mm guide"
    assert "4 mm thick, touching each other; 1 x 1 mm within" in ui.slicesLabel.text
    measured = volume_of(ui.scanSelector.currentNode())
    assert measured.is_oblique
    ui.alignBox.setChecked(False)
    found = volume_of(apply(desktop, panel))
    np.testing.assert_allclose(found.spacing, MM, rtol=1e-5)
    assert np.linalg.norm(brightest_place(found) - brightest_place(measured)) < MM
