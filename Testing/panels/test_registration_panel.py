"""The panel NeuroGen Registration: a pair registered, registered again, looked at, cancelled, saved and broken."""

from __future__ import annotations

import re
import time
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from NeuroGenLib.alignment.prepared_image import first_channel
from NeuroGenLib.models import open_model
from NeuroGenLib.mrml.provenance import provenance_of
from NeuroGenLib.mrml.segmentations import add_segmentation, label_map_of
from NeuroGenLib.mrml.volumes import add_volume, volume_of
from NeuroGenLib.registration.config import RegisterConfig
from NeuroGenLib.scenes.registration import forward_of, unregistered
from NeuroGenLib.spatial.labels import LabelTable
from Testing.geometry import reoriented, rotated_copy, same_in_world
from Testing.mrml.nodes import folder_of
from Testing.raising import raises
from Testing.registration_pairs import a_bent_pair, a_tiny_model
from Testing.slicer_desktop import missing_parts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from NeuroGenLib.registration.infer import Registration
    from Testing.registration_pairs import Pair
    from Testing.slicer_desktop import Desktop, Panel

pytestmark = [
    pytest.mark.skipif(bool(missing_parts()), reason=missing_parts()),
    pytest.mark.usefixtures("one_thread"),
]

MODULE = Path(__file__).parents[2] / "NeuroGen" / "NeuroGenRegistration" / "NeuroGenRegistration.py"
PATIENCE = 60.0
TABLE = LabelTable.from_names(
    ["background", "cortex", "white", "grey", "csf", "ventricles", "cerebellum", "brainstem", "hippocampus"]
)
POINTS = np.random.default_rng(6).uniform(-30, 30, (100, 3))
CLOSE_MM = 0.05


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    a_tiny_model(folder)
    return str(folder)


@pytest.fixture(scope="module")
def pair() -> Pair:
    """Two heads in one place; the moving one is stored left-handed on an oblique grid."""
    drawn = a_bent_pair(2.5)
    moving, labels = (
        reoriented(rotated_copy(one, order=order), "LAS")
        for one, order in ((drawn.moving, 1), (drawn.moving_labels, 0))
    )
    assert np.linalg.det(moving.affine[:3, :3]) < 0
    return drawn._replace(moving=moving, moving_labels=labels)


@pytest.fixture(scope="module")
def expected(model_folder: str, pair: Pair) -> Registration:
    """What the library finds, with the settings of the panel's tests."""
    return open_model(model_folder, device="cpu").register(
        pair.fixed,
        pair.moving,
        settings=RegisterConfig(start="none", refine=0),
        fixed_labels=pair.fixed_labels,
        moving_labels=pair.moving_labels,
    )


@pytest.fixture
def panel(desktop: Desktop, model_folder: str) -> Iterator[Panel]:
    """The panel with the tiny model, fast settings and nothing chosen."""
    loaded = desktop.load_module(MODULE)
    from NeuroGenPanels.model_store import add_model_folder

    add_model_folder(model_folder)
    loaded.widget.use_model(model_folder)
    loaded.ui.advancedSection.setChecked(True)
    loaded.ui.labelsSection.setChecked(True)
    loaded.ui.startCombo.setCurrentIndex(2)
    loaded.ui.adjustBox.setChecked(False)
    yield loaded
    loaded.widget.cleanup()


@pytest.fixture
def chosen(desktop: Desktop, panel: Panel, pair: Pair) -> SimpleNamespace:
    """The pair in the scene and in the panel."""
    scene = desktop.scene
    nodes = SimpleNamespace(
        fixed=add_volume(scene, pair.fixed, "older"),
        moving=add_volume(scene, pair.moving, "younger"),
        fixed_labels=add_segmentation(scene, pair.fixed_labels, TABLE, "older tissues"),
        moving_labels=add_segmentation(scene, pair.moving_labels, TABLE, "younger tissues"),
    )
    panel.ui.fixedSelector.setCurrentNode(nodes.fixed)
    panel.ui.movingSelector.setCurrentNode(nodes.moving)
    return nodes


def at_rest(desktop: Desktop, panel: Panel, timeout: float = PATIENCE) -> None:
    desktop.wait_until(lambda: not panel.widget.runBar.busy, timeout=timeout)
    desktop.process()


def register(desktop: Desktop, panel: Panel) -> Any:
    """Click Register, wait, and return the forward transform."""
    desktop.click(panel.ui.registerButton)
    assert panel.widget.runBar.busy, desktop.messages
    at_rest(desktop, panel)
    assert not [message for message in desktop.messages if message.kind == "error"], desktop.messages
    return forward_of(desktop.scene, panel.widget.parameters.fixed, panel.widget.parameters.moving)


def moved_by(transform: Any, points: np.ndarray) -> np.ndarray:
    return np.array([transform.TransformPoint(point) for point in points])


def cells(panel: Panel) -> dict[str, list[str]]:
    """The quality table by measure."""
    table = panel.ui.qualityTable
    rows = [[table.item(row, column).text() for column in range(table.columnCount)] for row in range(table.rowCount)]
    return {row[0]: row[1:] for row in rows}


def red(desktop: Desktop) -> Any:
    return desktop.scene.GetSingletonNode("Red", "vtkMRMLSliceCompositeNode")


def test_from_two_volumes_to_a_registration(
    desktop: Desktop, panel: Panel, chosen: SimpleNamespace, pair: Pair, expected: Registration
) -> None:
    panel.ui.fixedLabelsSelector.setCurrentNode(chosen.fixed_labels)
    panel.ui.movingLabelsSelector.setCurrentNode(chosen.moving_labels)
    forward = register(desktop, panel)
    assert chosen.moving.GetTransformNodeID() == forward.GetID()
    away = moved_by(forward.GetTransformFromParent(), POINTS) - expected.forward.points(POINTS)
    assert np.linalg.norm(away, axis=1).max() < CLOSE_MM
    inverse = desktop.scene.GetFirstNodeByName("older to younger")
    away = moved_by(inverse.GetTransformFromParent(), POINTS) - expected.inverse.points(POINTS)
    assert np.linalg.norm(away, axis=1).max() < CLOSE_MM
    warped = desktop.scene.GetFirstNodeByName("younger registered")
    np.testing.assert_allclose(volume_of(warped).affine, pair.fixed.affine)
    assert np.abs(volume_of(warped).array - expected.warped.array).mean() < 1
    change = volume_of(desktop.scene.GetFirstNodeByName("younger volume change"))
    np.testing.assert_allclose(change.array, expected.jacobian.array, atol=0.01)
    labels = desktop.scene.GetFirstNodeByName("younger labels registered")
    assert expected.warped_labels is not None
    found = label_map_of(labels, TABLE, pair.fixed).array
    assert np.mean(found == expected.warped_labels.array) > 0.99
    assert cells(panel)["Dice, ventricles"][-2] == f"{expected.quality.dice['registered'][5]:.4g}"
    assert "Mean overlap of the labels" in panel.ui.stateLabel.text
    record = provenance_of(labels)
    assert (record["parameters"]["fixed"], record["parameters"]["moving"]) == ("older", "younger")
    assert record["parameters"]["settings"] == {"start": "none", "refine": 0}
    assert folder_of(desktop.scene, forward) == "younger to older"
    assert (red(desktop).GetBackgroundVolumeID(), red(desktop).GetForegroundVolumeID()) == (
        chosen.fixed.GetID(), warped.GetID(),
    )  # fmt: skip


def test_a_pair_is_registered_from_the_console(
    desktop: Desktop, panel: Panel, chosen: SimpleNamespace, model_folder: str, expected: Registration
) -> None:
    """Without the panel: ``slicer.util.getModuleLogic`` and one call that returns the nodes."""
    import slicer.util

    logic = slicer.util.getModuleLogic("NeuroGenRegistration")
    notes: list[str] = []
    nodes = logic.register(
        chosen.fixed,
        chosen.moving,
        fixed_labels=chosen.fixed_labels,
        moving_labels=chosen.moving_labels,
        model=model_folder,
        device="cpu",
        start="none",
        refine=0,
        on_note=notes.append,
    )
    assert notes == []
    assert chosen.moving.GetTransformNodeID() == nodes.forward.GetID()
    away = moved_by(nodes.forward.GetTransformFromParent(), POINTS) - expected.forward.points(POINTS)
    assert np.linalg.norm(away, axis=1).max() < CLOSE_MM
    np.testing.assert_allclose(volume_of(nodes.warped).array, first_channel(expected.warped).array, atol=1)
    assert nodes.labels is not None
    assert provenance_of(nodes.quality)["parameters"]["settings"] == {"start": "none", "refine": 0}


class RefusingRunner:
    """A runner that keeps what it is asked and begins nothing."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []

    def run(self, title: str, job: str, arguments: dict[str, Any], *callbacks: Any) -> bool:
        del title, callbacks
        self.asked.append((job, arguments))
        return False


def test_the_logic_hands_the_job_to_its_runner(desktop: Desktop, panel: Panel, chosen: SimpleNamespace) -> None:
    runner = RefusingRunner()
    notes: list[str] = []
    arguments = {"fixed_labels": chosen.fixed_labels, "on_note": notes.append, "runner": runner}
    assert panel.logic.register(chosen.fixed, chosen.moving, refine=7, **arguments) is None
    ((job, sent),) = runner.asked
    assert (job, sent["model"], sent["settings"]) == (
        "registration.run", "bundled:registration", {"start": "affine", "refine": 7},
    )  # fmt: skip
    assert same_in_world(sent["moving"], volume_of(chosen.moving), 0)
    assert notes == [], "nothing began"
    with raises("name-unknown", "refin"):
        panel.logic.register(chosen.fixed, chosen.moving, refin=7, runner=runner)
    with raises("value-conflict", "older"):
        panel.logic.register(chosen.fixed, chosen.fixed, runner=runner)
    with raises("value-missing"):
        panel.logic.register(chosen.fixed, None, runner=runner)
    assert len(runner.asked) == 1


def test_registering_again_starts_from_the_scan_and_takes_the_same_nodes(
    desktop: Desktop, panel: Panel, chosen: SimpleNamespace, pair: Pair
) -> None:
    forward = register(desktop, panel)
    before = moved_by(forward.GetTransformFromParent(), POINTS)
    count = desktop.scene.GetNumberOfNodes()
    assert register(desktop, panel) is forward
    assert desktop.scene.GetNumberOfNodes() == count
    np.testing.assert_array_equal(moved_by(forward.GetTransformFromParent(), POINTS), before)
    with unregistered(chosen.moving):
        assert same_in_world(volume_of(chosen.moving), pair.moving)


def test_fine_adjustment_takes_the_steps_that_were_set(desktop: Desktop, panel: Panel, chosen: SimpleNamespace) -> None:
    assert not panel.ui.stepsBox.enabled
    panel.ui.adjustBox.setChecked(True)
    assert panel.ui.stepsBox.enabled
    assert panel.ui.stepsBox.value == RegisterConfig.refine
    panel.ui.stepsBox.setValue(2)
    forward = register(desktop, panel)
    assert provenance_of(forward)["parameters"]["settings"] == {"start": "none", "refine": 2}


def test_ways_to_look_at_the_result(desktop: Desktop, panel: Panel, chosen: SimpleNamespace) -> None:
    ui = panel.ui
    register(desktop, panel)
    ui.opacitySlider.setValue(0.8)
    assert red(desktop).GetForegroundOpacity() == pytest.approx(0.8)
    ui.viewCombo.setCurrentIndex(1)
    board = desktop.scene.GetFirstNodeByName("younger registered checkerboard")
    assert (red(desktop).GetBackgroundVolumeID(), red(desktop).GetForegroundVolumeID()) == (board.GetID(), None)
    before = volume_of(board).array
    assert ui.tileSlider.enabled
    assert not ui.opacitySlider.enabled
    ui.tileSlider.setValue(30)
    assert not np.array_equal(volume_of(board).array, before)
    ui.viewCombo.setCurrentIndex(2)
    change = desktop.scene.GetFirstNodeByName("younger volume change")
    assert red(desktop).GetForegroundVolumeID() == change.GetID()
    colours = change.GetDisplayNode().GetColorNode()
    ui.changeSlider.setValue(0.5)
    seen = [colours.GetLookupTable().GetTableValue(step)[3] > 0 for step in range(colours.GetNumberOfColors())]
    assert np.mean(seen) == pytest.approx(0.5, abs=0.02)


def test_the_views_of_a_person_are_left_alone(desktop: Desktop, panel: Panel, chosen: SimpleNamespace) -> None:
    """Before there is a result, and when something else than the view is chosen."""
    panel.ui.viewCombo.setCurrentIndex(1)
    assert red(desktop) is None
    register(desktop, panel)
    red(desktop).SetBackgroundVolumeID(chosen.moving.GetID())
    panel.ui.adjustBox.setChecked(True)
    assert red(desktop).GetBackgroundVolumeID() == chosen.moving.GetID()


def test_the_button_waits_for_both_images(desktop: Desktop, panel: Panel, pair: Pair) -> None:
    assert not panel.ui.registerButton.enabled
    one = add_volume(desktop.scene, pair.fixed, "one")
    panel.ui.fixedSelector.setCurrentNode(one)
    assert not panel.ui.registerButton.enabled
    panel.ui.movingSelector.setCurrentNode(one)
    desktop.click(panel.ui.registerButton)
    assert "'one' is chosen as fixed and as moving" in desktop.messages[-1].text
    assert not panel.widget.runBar.busy


def test_errors_are_sentences(desktop: Desktop, panel: Panel, chosen: SimpleNamespace, pair: Pair) -> None:
    flat = add_volume(desktop.scene, pair.moving.with_array(np.ones(pair.moving.shape, np.float32)), "flat")
    panel.ui.movingSelector.setCurrentNode(flat)
    desktop.click(panel.ui.registerButton)
    at_rest(desktop, panel)
    assert desktop.messages[-1].kind == "error"
    assert "moving" in desktop.messages[-1].text
    assert "Traceback" not in desktop.messages[-1].text
    assert panel.ui.registerButton.enabled
    assert flat.GetTransformNodeID() is None
    assert desktop.scene.GetFirstNodeByName("flat registered") is None


def test_an_empty_mask_is_named(desktop: Desktop, panel: Panel, chosen: SimpleNamespace) -> None:
    mask = desktop.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "my mask")
    panel.ui.movingMaskSelector.setCurrentNode(mask)
    desktop.click(panel.ui.registerButton)
    at_rest(desktop, panel)
    assert "mask" in desktop.messages[-1].text


def test_labels_without_a_common_name_are_said_to_be_so(
    desktop: Desktop, panel: Panel, chosen: SimpleNamespace, pair: Pair
) -> None:
    other = LabelTable.from_names([f"region {value}" for value in range(9)])
    strange = add_segmentation(desktop.scene, pair.fixed_labels, other, "regions")
    panel.ui.fixedLabelsSelector.setCurrentNode(strange)
    panel.ui.movingLabelsSelector.setCurrentNode(chosen.moving_labels)
    register(desktop, panel)
    assert "no name in common" in panel.widget.runBar.logText.toPlainText()
    assert not [name for name in cells(panel) if name.startswith("Dice")]
    assert desktop.scene.GetFirstNodeByName("younger labels registered") is not None


def test_cancel_leaves_the_scene_as_it_was(desktop: Desktop, panel: Panel, chosen: SimpleNamespace) -> None:
    panel.ui.adjustBox.setChecked(True)
    panel.ui.stepsBox.setValue(9000)
    count = desktop.scene.GetNumberOfNodes()
    desktop.click(panel.ui.registerButton)
    bar = panel.widget.runBar
    desktop.wait_until(lambda: bar._handle.progress > 0.2, timeout=PATIENCE)
    began = time.monotonic()
    desktop.click(bar.cancelButton)
    desktop.wait_until(lambda: not bar.busy, timeout=5)
    assert time.monotonic() - began < 1.5
    assert "stopped" in bar.messageLabel.text
    assert desktop.scene.GetNumberOfNodes() == count
    assert chosen.moving.GetTransformNodeID() is None


def test_the_scene_is_closed_in_mid_run(desktop: Desktop, panel: Panel, chosen: SimpleNamespace) -> None:
    del chosen
    desktop.click(panel.ui.registerButton)
    desktop.close_scene()
    assert not panel.widget.runBar.busy
    for _step in range(20):
        desktop.process()
        time.sleep(0.02)
    assert desktop.scene.GetNumberOfNodesByClass("vtkMRMLTransformNode") == 0
    assert not panel.ui.registerButton.enabled


def test_a_saved_scene_opens_as_it_was(desktop: Desktop, panel: Panel, chosen: SimpleNamespace, tmp_path: Path) -> None:
    panel.ui.viewCombo.setCurrentIndex(2)
    forward = register(desktop, panel)
    shown, table = panel.ui.stateLabel.text, cells(panel)
    points = moved_by(forward.GetTransformFromParent(), POINTS)
    assert table
    desktop.save_scene(tmp_path / "saved.mrb")
    desktop.close_scene()
    assert panel.ui.stateLabel.text == ""
    assert cells(panel) == {}
    desktop.load_scene(tmp_path / "saved.mrb")
    assert panel.ui.viewCombo.currentIndex == 2
    assert panel.ui.startCombo.currentIndex == 2
    assert panel.ui.movingSelector.currentNode().GetName() == "younger"
    assert panel.ui.stateLabel.text == shown
    assert cells(panel) == table
    count = desktop.scene.GetNumberOfNodes()
    again = register(desktop, panel)
    assert desktop.scene.GetNumberOfNodes() == count
    assert np.linalg.norm(moved_by(again.GetTransformFromParent(), POINTS) - points, axis=1).max() < CLOSE_MM


def test_missing_torch_is_asked_for_and_may_be_declined(
    desktop: Desktop, panel: Panel, chosen: SimpleNamespace
) -> None:
    desktop.missing_packages.add("torch")
    desktop.answer(True, False)  # the licence, the packages
    desktop.click(panel.ui.registerButton)
    assert "cannot compute without torch" in desktop.messages[-1].text
    assert not desktop.installed_packages
    assert not panel.widget.runBar.busy


@pytest.mark.usefixtures("cold_workers")
def test_time_is_estimated_before_register(desktop: Desktop, panel: Panel) -> None:
    desktop.wait_until(lambda: bool(panel.ui.estimateLabel.text), timeout=PATIENCE)
    before = panel.ui.estimateLabel.text
    panel.ui.adjustBox.setChecked(True)
    panel.ui.stepsBox.setValue(5000)
    desktop.wait_until(lambda: panel.ui.estimateLabel.text != before, timeout=PATIENCE)
    assert re.search(r"\d h", panel.ui.estimateLabel.text)


def test_a_model_that_is_not_here_is_named(desktop: Desktop, panel: Panel) -> None:
    panel.widget.use_model("hf:nobody/nothing")
    assert "hf:nobody/nothing is not on this computer" in panel.ui.noticeLabel.text
    assert panel.ui.modelCombo.currentText == "hf:nobody/nothing (not here)"


def test_use_in_the_list_of_models_opens_this_panel(
    desktop: Desktop, panel: Panel, home_panel: Panel, model_folder: str
) -> None:
    panel.widget.parameters.model = "bundled:registration"
    table = home_panel.ui.modelsTable
    home_panel.widget.enter()
    row = [home_panel.widget.models._rows[index]["reference"] for index in range(table.rowCount)].index(model_folder)
    table.setCurrentCell(row, 0)
    desktop.click(home_panel.ui.useButton)
    assert desktop.selected_module == "NeuroGenRegistration"
    assert panel.widget.parameters.model == model_folder


@pytest.mark.slow
def test_from_sample_data_to_a_registration(
    desktop: Desktop, panel: Panel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two ages from Sample Data, one of them tilted and left-handed, with the bundled model, all by clicks."""
    from NeuroGenPanels.sample_data import bring

    monkeypatch.setenv("NEUROGEN_MODELS", str(tmp_path))
    nodes = {name: bring(SimpleNamespace(sampleName=name)) for name in ("fetal-brain-30w", "fetal-brain-25w-tilted")}
    (fixed, fixed_labels), (moving, moving_labels) = nodes.values()
    ui = panel.ui
    panel.widget.use_model("bundled:registration")
    ui.startCombo.setCurrentIndex(0)
    for selector, node in (
        (ui.fixedSelector, fixed),
        (ui.movingSelector, moving),
        (ui.fixedLabelsSelector, fixed_labels),
        (ui.movingLabelsSelector, moving_labels),
    ):
        selector.setCurrentNode(node)
    desktop.click(ui.registerButton)
    at_rest(desktop, panel, 5 * PATIENCE)
    assert not [message for message in desktop.messages if message.kind == "error"], desktop.messages
    before, _start, after, _unit = (cell or "0" for cell in cells(panel)["Dice, mean"])
    assert float(after) > float(before) + 0.1
    assert cells(panel)["folded voxels"][2] == "0"
