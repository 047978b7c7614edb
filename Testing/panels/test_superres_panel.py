"""The panel NeuroGen Super-Resolution: a scan super-resolved, again, looked at and refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from NeuroGenLib.models import open_model
from NeuroGenLib.mrml.provenance import provenance_of
from NeuroGenLib.mrml.tables import rows_of
from NeuroGenLib.mrml.volumes import add_volume, volume_of
from NeuroGenLib.scenes.superres import result_of
from NeuroGenLib.spatial.volume import Volume
from NeuroGenLib.superres.run_config import SuperresConfig
from Testing.geometry import same_in_world
from Testing.mrml.nodes import folder_of
from Testing.panels.panel_cases import (
    SUPERRES,
    RefusingRunner,
    errors,
    quality_rows,
    stored_oblique,
    thick_head,
)
from Testing.raising import raises
from Testing.slicer_desktop import missing_parts
from Testing.superres_models import MM, THICKNESS, a_head, in_thick_slices, write_residual_model

if TYPE_CHECKING:
    from pathlib import Path
    from types import SimpleNamespace

    from NeuroGenLib.superres.infer import SuperResolution
    from Testing.panels.panel_cases import PanelCase
    from Testing.slicer_desktop import Desktop, Panel

pytestmark = [
    pytest.mark.skipif(bool(missing_parts()), reason=missing_parts()),
    pytest.mark.usefixtures("one_thread"),
]


@pytest.fixture(scope="module")
def panel_case() -> PanelCase:
    """The panel of this file."""
    return SUPERRES


@pytest.fixture(scope="module")
def thick() -> Volume:
    """A head in axial slices of 6 mm, oblique and left-handed, away from the origin, in units of hundreds."""
    return thick_head()


@pytest.fixture(scope="module")
def expected(model_folder: str, thick: Volume) -> SuperResolution:
    """What the library finds, with the settings of the panel's tests."""
    return open_model(model_folder, device="cpu").super_resolve(thick, settings=SuperresConfig(spacing=MM))


@pytest.fixture
def scan(inputs: SimpleNamespace) -> Any:
    """The scan in the scene and in the panel."""
    return inputs.scan


def apply(desktop: Desktop, panel: Panel) -> Any:
    """Click Apply, wait, and return the isotropic volume."""
    return SUPERRES.run(desktop, panel)


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
    assert quality_rows(panel)["slice thickness, axial"][1] == "5"
    assert quality_rows(panel)["gap between slices, axial"][1] == "1"


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
    assert quality_rows(panel)["slices not reproduced, axial"][1] == percent
    assert quality_rows(panel)["slice thickness, axial"][1:] == [f"{THICKNESS:g}", "mm"]
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
    assert quality_rows(panel)["gap between slices, axial"][1] == "2"
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
    assert "slice thickness, scan 2, coronal" in quality_rows(panel)
    assert quality_rows(panel)["similarity to the guide"][0]
    ui.thirdSelector.setCurrentNode(second)
    assert "'coronal' is chosen twice" in SUPERRES.refused(desktop, panel)


def test_a_model_that_needs_a_guide_says_so_first(
    desktop: Desktop, panel: Panel, scan: Any, thick: Volume, tmp_path: Path
) -> None:
    from NeuroGenPanels.model_store import add_model_folder

    folder = str(write_residual_model(tmp_path / "guided", guide="needed"))
    add_model_folder(folder)
    panel.widget.use_model(folder)
    assert "needs a T1w of the same head" in panel.ui.noticeLabel.text
    assert "needs a T1w" in SUPERRES.refused(desktop, panel)
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
        "holed": (thick.with_array(holed), "NaN"),
    }
    for name, (volume, said) in bad.items():
        ui.scanSelector.setCurrentNode(add_volume(scene, volume, name))
        assert said in SUPERRES.refused(desktop, panel), name
    ui.scanSelector.setCurrentNode(scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty"))
    assert "holds no voxels" in ui.slicesLabel.text
    assert "'empty' holds no voxels" in SUPERRES.refused(desktop, panel)


def test_a_result_whose_scan_went_meanwhile_is_still_shown(desktop: Desktop, panel: Panel, scan: Any) -> None:
    desktop.click(panel.ui.applyButton)
    desktop.scene.RemoveNode(scan)
    SUPERRES.wait(desktop, panel)
    assert not errors(desktop), desktop.messages
    assert named(desktop, "axial isotropic")


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
