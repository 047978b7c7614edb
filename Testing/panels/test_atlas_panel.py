"""The panel NeuroGen Atlas: browsed, fitted, saved, broken and photographed."""

from __future__ import annotations

import os
import re
import signal
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from NeuroGenLib.models import open_model
from NeuroGenLib.mrml.provenance import provenance_of
from NeuroGenLib.mrml.segmentations import add_segmentation, label_map_of
from NeuroGenLib.mrml.tables import rows_of
from NeuroGenLib.mrml.volumes import add_volume, volume_of
from NeuroGenLib.spatial.metrics import mean_dice
from Testing.atlas_fixtures import PEOPLE
from Testing.panels.panel_cases import ATLAS, RefusingRunner, errors
from Testing.raising import raises
from Testing.slicer_desktop import missing_parts

if TYPE_CHECKING:
    from pathlib import Path

    from NeuroGenLib.atlas.brain import AtlasBrain
    from NeuroGenLib.atlas.infer import AtlasModel
    from NeuroGenLib.spatial.volume import Volume
    from Testing.slicer_desktop import Desktop, Panel

pytestmark = pytest.mark.skipif(bool(missing_parts()), reason=missing_parts())

PATIENCE = 60.0


@pytest.fixture
def drawn_panel(desktop: Desktop, atlas_panel: Panel) -> Panel:
    """The panel after Show, at rest."""
    desktop.click(atlas_panel.ui.drawButton)
    ATLAS.wait(desktop, atlas_panel)
    assert atlas_panel.widget.brain.node("image") is not None, (desktop.messages, atlas_panel.ui.stateLabel.text)
    return atlas_panel


def library_brain(panel: Panel) -> AtlasBrain:
    """The brain that the library draws for what the panel shows."""
    view = panel.widget._view()
    model: AtlasModel = open_model(view.model, device="cpu")
    return model.generate(view.brain.age, view.brain.conditions, view.brain.spacing)


def seen_image(panel: Panel) -> Volume:
    return volume_of(panel.widget.brain.node("image"))


def same_brain(panel: Panel) -> bool:
    """Whether image and labels of the scene are those of the library."""
    brain = library_brain(panel)
    name = panel.widget._view().image
    image = seen_image(panel)
    labels = label_map_of(panel.widget.brain.node("labels"), panel.widget.session.table, image)
    return (
        np.array_equal(image.affine, brain.images[name].affine)
        and np.allclose(image.array, brain.images[name].array, atol=1e-6)
        and np.array_equal(labels.array, brain.labels.array)
    )


def test_controls_come_from_the_model(atlas_panel: Panel) -> None:
    ui, atlas = atlas_panel.ui, atlas_panel.widget.session.atlas
    assert (ui.ageSlider.minimum, ui.ageSlider.maximum) == (atlas["age"]["minimum"], atlas["age"]["maximum"])
    controls = atlas_panel.widget.controls.widgets
    assert list(controls) == [one["name"] for one in atlas["conditions"]]
    assert [controls["sex"].itemText(index) for index in range(controls["sex"].count)] == ["F", "M"]
    assert (controls["ventricles"].minimum, controls["ventricles"].maximum) == (0.0, 1.0)
    assert ui.imageCombo.currentText == "T2w"


def test_show_draws_what_the_library_draws(drawn_panel: Panel) -> None:
    assert seen_image(drawn_panel).array.max() > 0
    assert same_brain(drawn_panel)


def test_a_slider_changes_the_voxels_to_those_of_its_age(desktop: Desktop, drawn_panel: Panel) -> None:
    before = seen_image(drawn_panel).array.copy()
    desktop.drag(drawn_panel.ui.ageSlider, [25.0, 26.5, 28.0, 30.3])
    ATLAS.wait(desktop, drawn_panel)
    assert drawn_panel.widget.parameters.age == pytest.approx(30.3, abs=0.06)
    assert not np.array_equal(seen_image(drawn_panel).array, before)
    assert same_brain(drawn_panel)
    assert "30.3 weeks" in drawn_panel.ui.stateLabel.text


@pytest.mark.parametrize(("name", "value"), [("ventricles", 0.7), ("sex", "M")])
def test_every_condition_changes_the_brain(desktop: Desktop, drawn_panel: Panel, name: str, value: Any) -> None:
    before = seen_image(drawn_panel).array.copy()
    control = drawn_panel.widget.controls.widgets[name]
    if name == "sex":
        other = 1 - control.currentIndex
        control.setCurrentIndex(other)
    else:
        control.setValue(value)
    ATLAS.wait(desktop, drawn_panel)
    assert not np.array_equal(seen_image(drawn_panel).array, before)
    assert same_brain(drawn_panel)


def test_no_frame_shows_two_ages(desktop: Desktop, drawn_panel: Panel) -> None:
    """While the slider is dragged image and labels are always of one brain."""
    widget = drawn_panel.widget
    shown: list[tuple[float, bool]] = []
    show = widget.brain.show

    def watched(image: Volume, labels: Volume, table: Any, **others: Any) -> None:
        show(image, labels, table, **others)
        in_scene = seen_image(drawn_panel)
        on_grid = label_map_of(widget.brain.node("labels"), table, in_scene)
        shown.append((in_scene.spacing[0], np.array_equal(on_grid.array > 0, labels.array > 0)))

    widget.brain.show = watched
    for age in np.linspace(25, 31, 12):
        widget.parameters.age = float(age)
        desktop.process()
        time.sleep(0.02)
    ATLAS.wait(desktop, drawn_panel)
    assert len(shown) >= 2
    assert all(together for _spacing, together in shown)
    assert shown[-1][0] == pytest.approx(5.0)
    assert same_brain(drawn_panel)


def test_the_newest_wins(desktop: Desktop, drawn_panel: Panel) -> None:
    """Of many changes at once few are drawn, and the last one is what is seen."""
    widget = drawn_panel.widget
    drawn = []
    submit = widget.live.submit
    widget.live.submit = lambda job, *rest, **options: drawn.append(job) or submit(job, *rest, **options)
    for age in np.linspace(24.5, 31.5, 40):
        widget.parameters.age = float(age)
    ATLAS.wait(desktop, drawn_panel)
    assert drawn.count("atlas.generate") <= 5
    assert widget._seen.brain.age == pytest.approx(31.5)
    assert same_brain(drawn_panel)


def test_overlays_come_and_go(desktop: Desktop, drawn_panel: Panel) -> None:
    composite = desktop.scene.GetSingletonNode("Red", "vtkMRMLSliceCompositeNode")
    drawn_panel.ui.certaintyCombo.setCurrentIndex(2)
    ATLAS.wait(desktop, drawn_panel)
    certainty = drawn_panel.widget.brain.node("certainty")
    assert composite.GetForegroundVolumeID() == certainty.GetID()
    name = drawn_panel.ui.certaintyCombo.currentText
    model: AtlasModel = open_model(drawn_panel.widget.parameters.model, device="cpu")
    expected = library_brain(drawn_panel).probabilities.array[model.labels.names.index(name)]
    np.testing.assert_allclose(volume_of(certainty).array, expected, atol=1e-6)
    drawn_panel.ui.certaintyCombo.setCurrentIndex(0)
    drawn_panel.ui.growthBox.setChecked(True)
    ATLAS.wait(desktop, drawn_panel)
    growth = drawn_panel.widget.brain.node("growth")
    assert composite.GetForegroundVolumeID() == growth.GetID()
    view = drawn_panel.widget._view()
    expected = model.growth(view.brain.age, view.brain.conditions, view.brain.spacing).images[view.image].array
    np.testing.assert_allclose(volume_of(growth).array, expected, atol=1e-5)
    drawn_panel.ui.growthBox.setChecked(False)
    ATLAS.wait(desktop, drawn_panel)
    assert composite.GetForegroundVolumeID() is None


def test_label_opacity_and_surfaces(desktop: Desktop, drawn_panel: Panel) -> None:
    node = drawn_panel.widget.brain.node("labels")
    drawn_panel.ui.labelOpacitySlider.setValue(0.8)
    assert node.GetDisplayNode().GetOpacity2DFill() == pytest.approx(0.8)
    drawn_panel.ui.surfacesBox.setChecked(True)
    desktop.process()
    assert node.GetSegmentation().ContainsRepresentation("Closed surface")
    drawn_panel.ui.surfacesBox.setChecked(False)
    desktop.process()
    assert not node.GetSegmentation().ContainsRepresentation("Closed surface")


@pytest.mark.slow
def test_a_sequence_over_age(desktop: Desktop, drawn_panel: Panel) -> None:
    ui = drawn_panel.ui
    ui.sequenceSection.setChecked(True)
    ui.fromBox.setValue(25.0)
    ui.toBox.setValue(29.0)
    ui.stepBox.setValue(2.0)
    desktop.click(ui.sequenceButton)
    assert drawn_panel.widget.runBar.busy
    ATLAS.wait(desktop, drawn_panel)
    browser = desktop.scene.GetFirstNodeByClass("vtkMRMLSequenceBrowserNode")
    assert browser.GetNumberOfItems() == 3
    master = browser.GetMasterSequenceNode()
    assert (master.GetIndexName(), master.GetIndexUnit()) == ("scan_age", "weeks")
    assert [master.GetNthIndexValue(item) for item in range(3)] == ["25", "27", "29"]
    assert desktop.scene.GetFirstNodeByClass("vtkMRMLPlotChartNode") is not None


def test_fit_to_a_volume_of_the_scene(desktop: Desktop, drawn_panel: Panel) -> None:
    """From a volume to labels and age, in the volume's own space."""
    image, labels = PEOPLE[1].head()
    scan = add_volume(desktop.scene, image["T2w"], "scan")
    mask = add_segmentation(desktop.scene, labels, drawn_panel.widget.session.table, "brain")
    ui = drawn_panel.ui
    ui.fitSection.setChecked(True)
    ui.scanSelector.setCurrentNode(scan)
    ui.maskSelector.setCurrentNode(mask)
    ui.fitStepsBox.setValue(20)
    desktop.click(ui.fitButton)
    ATLAS.wait(desktop, drawn_panel)
    assert not errors(desktop), desktop.messages
    assert "Predicted age" in ui.fitLabel.text
    tissues = [one["name"] for one in drawn_panel.widget.session.atlas["labels"] if not one["background"]]
    listed = [ui.fitTable.item(row, 0).text() for row in range(ui.fitTable.rowCount)]
    assert {*listed} == {name.replace("_", " ") for name in (*tissues, "total")}
    reconstruction = desktop.scene.GetFirstNodeByName("T2w reconstruction")
    np.testing.assert_allclose(volume_of(reconstruction).affine, volume_of(scan).affine)
    assert volume_of(reconstruction).shape == volume_of(scan).shape
    composite = desktop.scene.GetSingletonNode("Red", "vtkMRMLSliceCompositeNode")
    atlas_labels = drawn_panel.widget.brain.node("labels").GetDisplayNode()
    assert composite.GetBackgroundVolumeID() == scan.GetID(), "the result is looked at on the scan"
    assert not atlas_labels.GetVisibility()
    desktop.drag(ui.ageSlider, [25.5])
    ATLAS.wait(desktop, drawn_panel)
    assert composite.GetBackgroundVolumeID() == drawn_panel.widget.brain.node("image").GetID()
    assert atlas_labels.GetVisibility()


def test_the_logic_generates_without_the_panel(desktop: Desktop, atlas_panel: Panel) -> None:
    """``slicer.util.getModuleLogic`` and one call that returns the nodes."""
    import slicer.util

    reference = atlas_panel.widget.parameters.model
    logic = slicer.util.getModuleLogic("NeuroGenAtlas")
    options = {"age": 27.3, "conditions": {"ventricles": 0.4, "sex": "F"}, "spacing": 6.0}
    nodes = logic.generate(**options, model=reference, device="cpu", growth=True)
    model: AtlasModel = open_model(reference, device="cpu")
    brain = model.generate(**options, growth=True)
    assert list(nodes.images) == ["T2w", "T1w"]
    for name, image in brain.images.items():
        np.testing.assert_allclose(volume_of(nodes.images[name]).array, image.array, atol=1e-6)
        np.testing.assert_allclose(volume_of(nodes.images[name]).affine, image.affine)
    labels = label_map_of(nodes.segmentation, model.labels, brain.image)
    np.testing.assert_array_equal(labels.array, brain.labels.array)
    assert nodes.growth_maps["T2w"].GetName() == "T2w growth per week"
    assert provenance_of(nodes.segmentation)["parameters"]["age"] == 27.3
    assert len(rows_of(nodes.growth.subjects)) == len(PEOPLE)
    with raises("name-unknown", "maskd"):
        logic.generate(27.3, maskd=False)
    with raises("model-range", 300):
        logic.generate(300, model=reference, device="cpu")


@pytest.mark.slow
def test_the_logic_fits_without_the_panel(desktop: Desktop, atlas_panel: Panel) -> None:
    import slicer.util

    image, labels = PEOPLE[1].head()
    reference, table = atlas_panel.widget.parameters.model, atlas_panel.widget.session.table
    scan = add_volume(desktop.scene, image["T1w"], "scan")
    mask = add_segmentation(desktop.scene, labels, table, "brain")
    logic = slicer.util.getModuleLogic("NeuroGenAtlas")
    nodes = logic.fit(scan, image="T1w", mask=mask, age=27.0, model=reference, device="cpu", steps=3, points=300)
    for volumes in (nodes.reconstruction, nodes.atlas, nodes.deviation):
        np.testing.assert_allclose(volume_of(volumes["T1w"]).affine, volume_of(scan).affine)
    parameters = provenance_of(nodes.segmentation)["parameters"]
    assert (parameters["age"], parameters["settings"]["steps"], parameters["settings"]["points"]) == (27.0, 3, 300)
    found = label_map_of(nodes.segmentation, table, volume_of(scan))
    assert mean_dice(found.array > 0, labels.array > 0) > 0.95
    with raises("value-missing"):
        logic.fit(None, model=reference, device="cpu")


def test_the_logic_hands_its_jobs_to_the_runner(desktop: Desktop, drawn_panel: Panel) -> None:
    runner = RefusingRunner()
    widget = drawn_panel.widget
    assert widget.logic.generate(28.0, runner=runner, model="m") is None
    scan = widget.brain.node("image")
    facts = widget.session.model
    assert widget.logic.fit(scan, facts=facts, conditions={"sex": "M"}, seed=4, runner=runner) is None
    (opened, arguments), (job, sent) = runner.jobs
    assert (opened, arguments["model"]) == ("model.open", "m")
    assert (job, sent["model"], sent["conditions"], sent["age"]) == (
        "atlas.fit", "bundled:fetal-sba", {"sex": "M"}, None,
    )  # fmt: skip
    assert sent["settings"]["seed"] == 4
    np.testing.assert_array_equal(sent["images"]["T2w"].array, seen_image(drawn_panel).array)


def test_paths_are_empty_until_one_is_chosen_and_come_back_with_the_scene(
    desktop: Desktop, atlas_panel: Panel, tmp_path: Path
) -> None:
    ui, fields = atlas_panel.ui, atlas_panel.widget.path_fields
    assert {getattr(ui, name).currentPath for name in fields} == {""}
    for name in fields:
        getattr(ui, name).currentPath = str(tmp_path / name)
    assert {getattr(atlas_panel.widget.parameters, name) for name in fields} == {
        str(tmp_path / name) for name in fields
    }
    assert desktop.scene.Commit(str(tmp_path / "saved.mrml"))
    desktop.scene.Clear(0)
    desktop.process()
    assert {getattr(ui, name).currentPath for name in fields} == {""}
    desktop.scene.SetURL(str(tmp_path / "saved.mrml"))
    desktop.scene.Import()
    desktop.process()
    assert [getattr(ui, name).currentPath for name in fields] == [str(tmp_path / name) for name in fields]


def test_export_writes_files(desktop: Desktop, drawn_panel: Panel, tmp_path: Path) -> None:
    ui = drawn_panel.ui
    ui.exportSection.setChecked(True)
    desktop.click(ui.exportButton)
    assert "No folder is chosen" in desktop.messages[-1].text
    ui.exportFolder.setCurrentPath(str(tmp_path / "my brain"))
    ui.exportSceneBox.setChecked(True)
    desktop.click(ui.exportButton)
    ATLAS.wait(desktop, drawn_panel)
    assert {"labels.nii.gz", "provenance.json", "atlas.mrb"} <= {
        path.name for path in (tmp_path / "my brain").iterdir()
    }
    assert "my brain" in drawn_panel.widget.runBar.messageLabel.text
    desktop.answer(False)
    desktop.click(ui.exportButton)
    assert not drawn_panel.widget.runBar.busy
    ui.exportSceneBox.setChecked(False)
    desktop.answer(True)
    desktop.click(ui.exportButton)
    ATLAS.wait(desktop, drawn_panel)
    exported = {path.name for path in (tmp_path / "my brain").iterdir()}
    assert "labels.nii.gz" in exported
    assert "atlas.mrb" not in exported


def test_a_published_atlas_opens(desktop: Desktop, atlas_panel: Panel, tmp_path: Path) -> None:
    import nibabel

    frames = np.random.default_rng(1).uniform(0, 1, (6, 7, 5, 3)).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(frames, np.diag([2.0, 2.0, 2.0, 1.0])), tmp_path / "t2w.nii.gz")
    ui = atlas_panel.ui
    ui.openSection.setChecked(True)
    ui.openFile.setCurrentPath(str(tmp_path / "t2w.nii.gz"))
    ui.openAges.setText("21:23:1")
    ui.openOriginBox.setChecked(True)
    desktop.click(ui.openButton)
    ATLAS.wait(desktop, atlas_panel)
    browser = desktop.scene.GetFirstNodeByClass("vtkMRMLSequenceBrowserNode")
    assert browser.GetNumberOfItems() == 3
    proxy = browser.GetProxyNode(browser.GetMasterSequenceNode())
    np.testing.assert_allclose(volume_of(proxy).array, frames[..., 0], atol=1e-6)
    centre = volume_of(proxy).voxel_to_world((np.array(frames.shape[:3]) - 1) / 2)
    np.testing.assert_allclose(centre, 0, atol=1.01)


def test_show_renders_again_after_the_scene_is_closed(desktop: Desktop, drawn_panel: Panel) -> None:
    widget = drawn_panel.widget
    widget.parameters.age = 30.0
    desktop.process()
    desktop.close_scene()
    for _step in range(20):
        desktop.process()
        time.sleep(0.02)
    assert desktop.scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 0
    desktop.click(drawn_panel.ui.drawButton)
    desktop.wait_until(lambda: widget.brain.node("image") is not None, timeout=PATIENCE)


@pytest.mark.slow
@pytest.mark.usefixtures("cold_workers")
def test_the_worker_dies_and_the_next_brain_comes(desktop: Desktop, drawn_panel: Panel) -> None:
    widget = drawn_panel.widget
    os.kill(widget.live._worker.hello["pid"], signal.SIGKILL)
    widget.parameters.age = 31.0
    desktop.wait_until(lambda: not widget.browser.working, timeout=PATIENCE)
    widget.parameters.age = 29.0
    ATLAS.wait(desktop, drawn_panel)
    assert same_brain(drawn_panel)


def test_a_saved_scene_opens_as_it_was(desktop: Desktop, drawn_panel: Panel, tmp_path: Path) -> None:
    desktop.drag(drawn_panel.ui.ageSlider, [27.4])
    drawn_panel.widget.controls.widgets["ventricles"].setValue(0.61)
    drawn_panel.ui.certaintyCombo.setCurrentIndex(1)
    ATLAS.wait(desktop, drawn_panel)
    before = seen_image(drawn_panel).array.copy()
    chosen = drawn_panel.widget._view()
    desktop.save_scene(tmp_path / "saved.mrb")
    desktop.close_scene()
    drawn_panel.widget.parameters.age = 31.0
    desktop.load_scene(tmp_path / "saved.mrb")
    ATLAS.wait(desktop, drawn_panel)
    assert drawn_panel.widget._view() == chosen
    assert drawn_panel.ui.ageSlider.value == pytest.approx(27.4, abs=0.06)
    assert drawn_panel.widget.controls.values()["ventricles"] == pytest.approx(0.61)
    np.testing.assert_array_equal(seen_image(drawn_panel).array, before)
    drawn_panel.widget.parameters.age = 29.5
    ATLAS.wait(desktop, drawn_panel)
    assert same_brain(drawn_panel)
    assert desktop.scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 1


def test_a_scene_whose_model_is_absent(desktop: Desktop, drawn_panel: Panel, tmp_path: Path) -> None:
    from NeuroGenPanels.model_store import remove_model_folder

    before = seen_image(drawn_panel).array.copy()
    reference = drawn_panel.widget.parameters.model
    desktop.save_scene(tmp_path / "saved.mrb")
    desktop.close_scene()
    remove_model_folder(reference)
    desktop.load_scene(tmp_path / "saved.mrb")
    desktop.process()
    assert drawn_panel.widget.parameters.model == reference
    np.testing.assert_array_equal(seen_image(drawn_panel).array, before)


def test_show_asks_for_missing_torch(desktop: Desktop, atlas_panel: Panel) -> None:
    desktop.missing_packages.add("torch")
    desktop.answer(False)
    desktop.click(atlas_panel.ui.drawButton)
    assert any("torch" in message.text for message in desktop.messages if message.kind == "question")
    assert "cannot compute without torch" in desktop.messages[-1].text
    assert not desktop.installed_packages
    assert atlas_panel.widget.brain.node("image") is None
    desktop.answer(True)
    desktop.click(atlas_panel.ui.drawButton)
    assert any(name.startswith("torch") for name in desktop.installed_packages)
    ATLAS.wait(desktop, atlas_panel)
    assert atlas_panel.widget.brain.node("image") is not None


def test_label_maps_cannot_be_chosen_as_scan(desktop: Desktop, drawn_panel: Panel) -> None:
    node = desktop.scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "labels only")
    drawn_panel.ui.scanSelector.setCurrentNode(node)
    assert drawn_panel.ui.scanSelector.currentNode() is None


def test_estimates_are_shown_before_apply(desktop: Desktop, drawn_panel: Panel) -> None:
    for label in (drawn_panel.ui.estimateLabel, drawn_panel.ui.sequenceEstimateLabel, drawn_panel.ui.fitEstimateLabel):
        desktop.wait_until(lambda label=label: bool(label.text), timeout=PATIENCE)
    assert "of memory" in drawn_panel.ui.estimateLabel.text
    assert "brains over weeks" in drawn_panel.ui.sequenceEstimateLabel.text


def test_the_panel_is_photographed(desktop: Desktop, drawn_panel: Panel, tmp_path: Path) -> None:
    from PIL import Image

    drawn_panel.parent.resize(470, 760)
    desktop.process()
    picture = np.asarray(Image.open(desktop.photograph(drawn_panel.parent, tmp_path / "panel.png")).convert("L"))
    assert min(picture.shape) > 400
    assert len(np.unique(picture)) > 50


@pytest.mark.slow
def test_from_sample_data_to_a_segmentation(
    desktop: Desktop, atlas_panel: Panel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thick, tilted, left-handed scan from Sample Data, fitted with the bundled atlas, all by clicks."""
    from NeuroGenPanels.sample_data import bring

    monkeypatch.setenv("NEUROGEN_MODELS", str(tmp_path))
    nodes = bring(SimpleNamespace(sampleName="fetal-brain-thick"))
    scan = next(node for node in nodes if node.IsA("vtkMRMLScalarVolumeNode"))
    truth = next(node for node in nodes if node.IsA("vtkMRMLSegmentationNode"))
    widget, ui = atlas_panel.widget, atlas_panel.ui
    widget.use_model("bundled:fetal-sba")
    desktop.wait_until(lambda: widget.session.reference == "bundled:fetal-sba", timeout=PATIENCE)
    ui.fitSection.setChecked(True)
    ui.scanSelector.setCurrentNode(scan)
    ui.fitStepsBox.setValue(10)
    desktop.click(ui.fitButton)
    desktop.wait_until(lambda: not widget.runBar.busy, timeout=10 * PATIENCE)
    found = desktop.scene.GetFirstNodeByName("labels")
    image = volume_of(scan)
    table = widget.session.table
    found_labels, true_labels = (label_map_of(node, table, image).array for node in (found, truth))
    assert mean_dice(found_labels, true_labels) > 0.85
    age = re.search(r"Predicted age: ([\d.]+) weeks", ui.fitLabel.text)
    assert age is not None
    assert abs(float(age[1]) - 30.2) < 1
