"""What the panels of all capabilities have in common: a job run, run again, cancelled, refused, estimated and saved.

What one of them alone does stands in the file of its panel.
"""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest

from Testing.panels.panel_cases import ATLAS, MODULES, PANELS, add_model, quality_rows
from Testing.slicer_desktop import missing_parts

if TYPE_CHECKING:
    from pathlib import Path
    from types import SimpleNamespace

    from Testing.panels.panel_cases import PanelCase
    from Testing.slicer_desktop import Desktop, Panel

pytestmark = [
    pytest.mark.skipif(bool(missing_parts()), reason=missing_parts()),
    pytest.mark.usefixtures("one_thread"),
]


slow_sequences = pytest.mark.parametrize(
    "panel_case",
    [pytest.param(case, marks=pytest.mark.slow if case is ATLAS else (), id=case.module) for case in PANELS],
    indirect=True,
)
"""For cases that wait for a result: a sequence of the atlas takes more than two CPU seconds."""


@pytest.fixture(scope="module", params=PANELS, ids=lambda case: case.module)
def panel_case(request: pytest.FixtureRequest) -> PanelCase:
    """Each capability in turn."""
    case: PanelCase = request.param
    return case


def test_every_panel_of_a_capability_is_tested() -> None:
    modules = {path.stem for path in MODULES.glob("*/*.py") if path.stem == path.parent.name}
    assert {case.module for case in PANELS} == modules - {"NeuroGenHome"}


def test_it_opens_with_the_bundled_model_and_lists_no_model_of_another_kind(
    desktop: Desktop, panel_case: PanelCase, model_folder: str
) -> None:
    panel = desktop.load_module(panel_case.path)
    add_model(model_folder)
    panel.widget.enter()
    assert panel.widget.parameters.model == panel_case.bundled
    listed = [row["reference"] for row in panel.widget.picker._rows]
    assert {panel_case.bundled, model_folder} <= {*listed}
    assert panel.ui.modelCombo.count == len(listed)
    assert not {case.bundled for case in PANELS if case is not panel_case} & {*listed}
    panel.widget.cleanup()


@slow_sequences
def test_the_button_follows_the_choices_and_the_run(desktop: Desktop, panel_case: PanelCase, panel: Panel) -> None:
    button = panel_case.button_of(panel)
    assert button.enabled == panel_case.ready_without_inputs
    panel_case.add_inputs(desktop, panel)
    assert button.enabled
    desktop.click(button)
    assert panel.widget.runBar.busy
    assert not button.enabled
    panel_case.wait(desktop, panel)
    assert button.enabled


@slow_sequences
def test_pressing_twice_runs_once(
    desktop: Desktop, panel_case: PanelCase, panel: Panel, inputs: SimpleNamespace
) -> None:
    del inputs
    press = getattr(panel.widget, panel_case.slot)
    press()
    first = panel.widget.runBar._handle
    assert panel.widget.runBar.busy
    press()
    assert panel.widget.runBar._handle is first
    assert not panel_case.button_of(panel).enabled
    panel_case.wait(desktop, panel)
    assert panel_case.result(desktop, panel) is not None
    assert panel_case.made_in(desktop) == panel_case.made[1]


def test_an_input_that_cannot_be_used_is_refused_in_a_sentence(
    desktop: Desktop, panel_case: PanelCase, panel: Panel, inputs: SimpleNamespace
) -> None:
    button, named = panel_case.break_input(desktop, panel)
    assert named in panel_case.refused(desktop, panel, button)
    assert panel_case.result(desktop, panel) is None
    assert panel_case.made_in(desktop) == 0
    assert_not_moved(inputs)


def test_cancel_leaves_the_scene_as_it_was(
    desktop: Desktop, panel_case: PanelCase, panel: Panel, inputs: SimpleNamespace
) -> None:
    panel_case.endless(panel)
    count = desktop.scene.GetNumberOfNodes()
    desktop.click(panel_case.button_of(panel))
    bar = panel.widget.runBar
    desktop.wait_until(lambda: bar._handle.progress > panel_case.under_way, timeout=60)
    began = time.monotonic()
    desktop.click(bar.cancelButton)
    desktop.wait_until(lambda: not bar.busy, timeout=5)
    assert time.monotonic() - began < panel_case.stops_within
    assert "stopped" in bar.messageLabel.text
    assert desktop.scene.GetNumberOfNodes() == count
    assert panel_case.made_in(desktop) == 0
    assert_not_moved(inputs)


def test_the_scene_is_closed_in_mid_run(
    desktop: Desktop, panel_case: PanelCase, panel: Panel, inputs: SimpleNamespace
) -> None:
    del inputs
    desktop.click(panel_case.button_of(panel))
    assert panel.widget.runBar.busy
    desktop.close_scene()
    assert not panel.widget.runBar.busy
    for _step in range(20):
        desktop.process()
        time.sleep(0.02)
    assert desktop.scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 0
    assert panel_case.made_in(desktop) == 0
    assert panel_case.button_of(panel).enabled == panel_case.ready_without_inputs


@slow_sequences
def test_a_saved_scene_opens_with_its_choices(
    desktop: Desktop, panel_case: PanelCase, panel: Panel, inputs: SimpleNamespace, tmp_path: Path
) -> None:
    del inputs
    fresh = panel_case.chosen(panel)
    panel_case.choose(panel)
    panel_case.run(desktop, panel)
    chosen = panel_case.chosen(panel)
    assert chosen != fresh
    desktop.save_scene(tmp_path / "saved.mrb")
    desktop.close_scene()
    assert panel.ui.stateLabel.text == ""
    desktop.load_scene(tmp_path / "saved.mrb")
    panel_case.wait(desktop, panel)
    assert panel_case.chosen(panel) == chosen


@pytest.mark.parametrize(
    "panel_case",
    [pytest.param(case, id=case.module) for case in PANELS if case.numbers is not None],
    scope="module",
)
def test_a_saved_result_is_shown_and_replaced(
    desktop: Desktop, panel_case: PanelCase, panel: Panel, inputs: SimpleNamespace, tmp_path: Path
) -> None:
    del inputs
    assert panel_case.numbers is not None
    before = panel_case.numbers(panel_case.run(desktop, panel))
    state, rows = panel.ui.stateLabel.text, quality_rows(panel)
    assert state
    assert rows
    desktop.save_scene(tmp_path / "saved.mrb")
    desktop.close_scene()
    assert panel.ui.stateLabel.text == ""
    assert quality_rows(panel) == {}
    desktop.load_scene(tmp_path / "saved.mrb")
    assert panel.ui.stateLabel.text == state
    assert quality_rows(panel) == rows
    count = desktop.scene.GetNumberOfNodes()
    again = panel_case.run(desktop, panel)
    assert desktop.scene.GetNumberOfNodes() == count
    assert quality_rows(panel).keys() == rows.keys()
    np.testing.assert_allclose(panel_case.numbers(again), before, rtol=0, atol=panel_case.tolerance)


@slow_sequences
def test_missing_torch_is_asked_for_and_may_be_declined(
    desktop: Desktop, panel_case: PanelCase, panel: Panel, inputs: SimpleNamespace
) -> None:
    del inputs
    desktop.missing_packages.add("torch")
    licence = [True] if panel_case.licence_is_asked else []
    desktop.answer(*licence, False)
    desktop.click(panel_case.button_of(panel))
    assert any("torch" in message.text for message in desktop.messages if message.kind == "question")
    assert "cannot compute without torch" in desktop.messages[-1].text
    assert not desktop.installed_packages
    assert not panel.widget.runBar.busy
    assert panel_case.made_in(desktop) == 0
    desktop.answer(True)
    desktop.click(panel_case.button_of(panel))
    assert any(name.startswith("torch") for name in desktop.installed_packages)
    assert panel.widget.runBar.busy
    panel_case.wait(desktop, panel)
    assert panel_case.made_in(desktop) == panel_case.made[1]


@pytest.mark.usefixtures("cold_workers")
def test_time_is_estimated_before_the_run(desktop: Desktop, panel_case: PanelCase, panel: Panel) -> None:
    panel_case.add_inputs(desktop, panel)
    label = getattr(panel.ui, panel_case.estimate)
    desktop.wait_until(lambda: bool(label.text), timeout=60)
    before = label.text
    assert not re.search(panel_case.long_time, before)
    panel_case.longer(panel)
    desktop.wait_until(lambda: label.text != before, timeout=60)
    assert re.search(panel_case.long_time, label.text)


def test_a_model_that_is_not_here_is_named(panel: Panel) -> None:
    panel.widget.parameters.model = "hf:author/model"
    panel.widget.parameters_bound()
    assert re.search("hf:author/model (of this scene )?is not on this computer", panel.ui.noticeLabel.text)
    assert panel.ui.modelCombo.currentText == "hf:author/model (not here)"


def test_use_in_the_list_of_models_opens_this_panel(
    desktop: Desktop, panel_case: PanelCase, panel: Panel, home_panel: Panel, model_folder: str
) -> None:
    panel.widget.parameters.model = panel_case.bundled
    table = home_panel.ui.modelsTable
    home_panel.widget.enter()
    row = [home_panel.widget.models._rows[index]["reference"] for index in range(table.rowCount)].index(model_folder)
    table.setCurrentCell(row, 0)
    title = panel.module.parent.title.removeprefix("NeuroGen ")
    assert home_panel.ui.useButton.text == f"Open in {title}"
    desktop.click(home_panel.ui.useButton)
    assert desktop.selected_module == panel_case.module
    assert panel.widget.parameters.model == model_folder


def assert_not_moved(inputs: SimpleNamespace) -> None:
    """No input is under a transform."""
    for name, node in vars(inputs).items():
        assert node.GetTransformNodeID() is None, name
