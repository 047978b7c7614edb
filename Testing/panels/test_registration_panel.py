"""The panel NeuroGen Registration: a pair registered, registered again and looked at, and labels that do not fit."""

from __future__ import annotations

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
from NeuroGenLib.scenes.registration import unregistered
from NeuroGenLib.spatial.labels import LabelTable
from Testing.geometry import same_in_world
from Testing.mrml.nodes import folder_of
from Testing.panels.panel_cases import (
    CLOSE_MM,
    POINTS,
    REGISTRATION,
    TABLE,
    RefusingRunner,
    errors,
    moved_by,
    oblique_pair,
    quality_rows,
)
from Testing.raising import raises
from Testing.slicer_desktop import missing_parts

if TYPE_CHECKING:
    from pathlib import Path

    from NeuroGenLib.registration.infer import Registration
    from Testing.panels.panel_cases import PanelCase
    from Testing.registration_pairs import Pair
    from Testing.slicer_desktop import Desktop, Panel

pytestmark = [
    pytest.mark.skipif(bool(missing_parts()), reason=missing_parts()),
    pytest.mark.usefixtures("one_thread"),
]


@pytest.fixture(scope="module")
def panel_case() -> PanelCase:
    """The panel of this file."""
    return REGISTRATION


@pytest.fixture(scope="module")
def pair() -> Pair:
    """Two heads in one place; the moving one is stored left-handed on an oblique grid."""
    return oblique_pair()


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


def register(desktop: Desktop, panel: Panel) -> Any:
    """Click Register, wait, and return the forward transform."""
    return REGISTRATION.run(desktop, panel)


def red(desktop: Desktop) -> Any:
    return desktop.scene.GetSingletonNode("Red", "vtkMRMLSliceCompositeNode")


def test_from_two_volumes_to_a_registration(
    desktop: Desktop, panel: Panel, inputs: SimpleNamespace, pair: Pair, expected: Registration
) -> None:
    panel.ui.fixedLabelsSelector.setCurrentNode(inputs.fixed_labels)
    panel.ui.movingLabelsSelector.setCurrentNode(inputs.moving_labels)
    forward = register(desktop, panel)
    assert inputs.moving.GetTransformNodeID() == forward.GetID()
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
    assert quality_rows(panel)["Dice, ventricles"][-2] == f"{expected.quality.dice['registered'][5]:.4g}"
    assert "Mean overlap of the labels" in panel.ui.stateLabel.text
    record = provenance_of(labels)
    assert (record["parameters"]["fixed"], record["parameters"]["moving"]) == ("older", "younger")
    assert record["parameters"]["settings"] == {"start": "none", "refine": 0}
    assert folder_of(desktop.scene, forward) == "younger to older"
    assert (red(desktop).GetBackgroundVolumeID(), red(desktop).GetForegroundVolumeID()) == (
        inputs.fixed.GetID(), warped.GetID(),
    )  # fmt: skip


def test_a_pair_is_registered_from_the_console(
    desktop: Desktop, panel: Panel, inputs: SimpleNamespace, model_folder: str, expected: Registration
) -> None:
    """Without the panel: ``slicer.util.getModuleLogic`` and one call that returns the nodes."""
    import slicer.util

    logic = slicer.util.getModuleLogic("NeuroGenRegistration")
    notes: list[str] = []
    nodes = logic.register(
        inputs.fixed,
        inputs.moving,
        fixed_labels=inputs.fixed_labels,
        moving_labels=inputs.moving_labels,
        model=model_folder,
        device="cpu",
        start="none",
        refine=0,
        on_note=notes.append,
    )
    assert notes == []
    assert inputs.moving.GetTransformNodeID() == nodes.forward.GetID()
    away = moved_by(nodes.forward.GetTransformFromParent(), POINTS) - expected.forward.points(POINTS)
    assert np.linalg.norm(away, axis=1).max() < CLOSE_MM
    np.testing.assert_allclose(volume_of(nodes.warped).array, first_channel(expected.warped).array, atol=1)
    assert nodes.labels is not None
    assert provenance_of(nodes.quality)["parameters"]["settings"] == {"start": "none", "refine": 0}


def test_the_logic_hands_the_job_to_its_runner(desktop: Desktop, panel: Panel, inputs: SimpleNamespace) -> None:
    runner = RefusingRunner()
    notes: list[str] = []
    arguments = {"fixed_labels": inputs.fixed_labels, "on_note": notes.append, "runner": runner}
    assert panel.logic.register(inputs.fixed, inputs.moving, refine=7, **arguments) is None
    ((job, sent),) = runner.jobs
    assert (job, sent["model"], sent["settings"]) == (
        "registration.run", "bundled:registration", {"start": "affine", "refine": 7},
    )  # fmt: skip
    assert same_in_world(sent["moving"], volume_of(inputs.moving), 0)
    assert notes == [], "nothing began"
    with raises("name-unknown", "refin"):
        panel.logic.register(inputs.fixed, inputs.moving, refin=7, runner=runner)
    with raises("value-conflict", "older"):
        panel.logic.register(inputs.fixed, inputs.fixed, runner=runner)
    with raises("value-missing"):
        panel.logic.register(inputs.fixed, None, runner=runner)
    assert len(runner.jobs) == 1


def test_registering_again_starts_from_the_scan_and_takes_the_same_nodes(
    desktop: Desktop, panel: Panel, inputs: SimpleNamespace, pair: Pair
) -> None:
    forward = register(desktop, panel)
    before = moved_by(forward.GetTransformFromParent(), POINTS)
    count = desktop.scene.GetNumberOfNodes()
    assert register(desktop, panel) is forward
    assert desktop.scene.GetNumberOfNodes() == count
    np.testing.assert_array_equal(moved_by(forward.GetTransformFromParent(), POINTS), before)
    with unregistered(inputs.moving):
        assert same_in_world(volume_of(inputs.moving), pair.moving)


def test_fine_adjustment_takes_the_steps_that_were_set(desktop: Desktop, panel: Panel, inputs: SimpleNamespace) -> None:
    assert not panel.ui.stepsBox.enabled
    panel.ui.adjustBox.setChecked(True)
    assert panel.ui.stepsBox.enabled
    assert panel.ui.stepsBox.value == RegisterConfig.refine
    panel.ui.stepsBox.setValue(2)
    forward = register(desktop, panel)
    assert provenance_of(forward)["parameters"]["settings"] == {"start": "none", "refine": 2}


def test_ways_to_look_at_the_result(desktop: Desktop, panel: Panel, inputs: SimpleNamespace) -> None:
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


def test_the_views_of_a_person_are_left_alone(desktop: Desktop, panel: Panel, inputs: SimpleNamespace) -> None:
    """Before there is a result, and when something else than the view is chosen."""
    panel.ui.viewCombo.setCurrentIndex(1)
    assert red(desktop) is None
    register(desktop, panel)
    red(desktop).SetBackgroundVolumeID(inputs.moving.GetID())
    panel.ui.adjustBox.setChecked(True)
    assert red(desktop).GetBackgroundVolumeID() == inputs.moving.GetID()


def test_the_button_waits_for_both_images(desktop: Desktop, panel: Panel, pair: Pair) -> None:
    assert not panel.ui.registerButton.enabled
    one = add_volume(desktop.scene, pair.fixed, "one")
    panel.ui.fixedSelector.setCurrentNode(one)
    assert not panel.ui.registerButton.enabled
    panel.ui.movingSelector.setCurrentNode(one)
    desktop.click(panel.ui.registerButton)
    assert "'one' is chosen as fixed and as moving" in desktop.messages[-1].text
    assert not panel.widget.runBar.busy


def test_an_empty_mask_is_named(desktop: Desktop, panel: Panel, inputs: SimpleNamespace) -> None:
    mask = desktop.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "my mask")
    panel.ui.movingMaskSelector.setCurrentNode(mask)
    desktop.click(panel.ui.registerButton)
    REGISTRATION.wait(desktop, panel)
    assert "mask" in desktop.messages[-1].text


def test_labels_without_a_common_name_are_said_to_be_so(
    desktop: Desktop, panel: Panel, inputs: SimpleNamespace, pair: Pair
) -> None:
    other = LabelTable.from_names([f"region {value}" for value in range(9)])
    strange = add_segmentation(desktop.scene, pair.fixed_labels, other, "regions")
    panel.ui.fixedLabelsSelector.setCurrentNode(strange)
    panel.ui.movingLabelsSelector.setCurrentNode(inputs.moving_labels)
    register(desktop, panel)
    assert "no name in common" in panel.widget.runBar.logText.toPlainText()
    assert not [name for name in quality_rows(panel) if name.startswith("Dice")]
    assert desktop.scene.GetFirstNodeByName("younger labels registered") is not None


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
    REGISTRATION.wait(desktop, panel, 300)
    assert not errors(desktop), desktop.messages
    before, _start, after, _unit = (cell or "0" for cell in quality_rows(panel)["Dice, mean"])
    assert float(after) > float(before) + 0.1
    assert quality_rows(panel)["folded voxels"][2] == "0"
