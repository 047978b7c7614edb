"""What the panels share: run bar, worker service, controls, estimates, packages, models, parameter fields."""

from __future__ import annotations

import doctest
import importlib
import math
import os
import signal
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from NeuroGenLib.core.config import Config, Range
from NeuroGenLib.core.errors import Cancelled, InputError, NeuroGenError
from NeuroGenLib.worker import JobFailed
from Testing.panels.fake_worker import FakeWorker
from Testing.raising import raises
from Testing.slicer_desktop import missing_parts

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from Testing.slicer_desktop import Desktop

pytestmark = [pytest.mark.skipif(bool(missing_parts()), reason=missing_parts()), pytest.mark.usefixtures("parts")]


@pytest.fixture
def worker() -> FakeWorker:
    return FakeWorker()


@pytest.fixture
def service(parts: None, worker: FakeWorker) -> Any:
    from NeuroGenPanels.worker_service import WorkerService

    service = WorkerService("Fake", lambda: worker)
    yield service
    service.retire()


@pytest.fixture
def real_service(parts: None) -> Any:
    from NeuroGenPanels.worker_service import WorkerService

    service = WorkerService("Real")
    yield service
    service.retire()


@pytest.fixture
def foot(desktop: Desktop) -> Any:
    """A window for widgets."""
    import qt

    window = qt.QWidget()
    qt.QVBoxLayout(window)
    window.show()
    return window


@pytest.fixture
def bar(service: Any, foot: Any) -> Any:
    from NeuroGenPanels.run_bar import RunBar

    return RunBar(foot.layout(), service, "The tests")


def ignore(_result: Any) -> None:
    """Take a result and do nothing."""


@pytest.mark.parametrize("name", ["condition_controls", "estimates", "run_bar"])
def test_the_examples_of_the_docstrings_are_right(name: str) -> None:
    result = doctest.testmod(importlib.import_module(f"NeuroGenPanels.{name}"))
    assert result.attempted > 0
    assert result.failed == 0


# RunBar


def test_a_run_shows_progress_and_then_its_end(bar: Any, worker: FakeWorker) -> None:
    results, changes = [], []
    bar.when_changed(lambda: changes.append(bar.busy))
    assert bar.run("Drawing", "draw", {"age": 30}, results.append)
    assert (worker.handles[0].job, worker.handles[0].arguments) == ("draw", {"age": 30})
    assert bar.busy
    assert bar.cancelButton.enabled
    assert bar.messageLabel.text == "Drawing ..."
    worker.handles[0].options["on_progress"](0.4, "half the brain")
    assert bar.progressBar.value == 40
    assert bar.messageLabel.text == "Drawing: half the brain"
    worker.handles[0].finish("on_result", "brain")
    assert results == ["brain"]
    assert changes == [True, False]
    assert not bar.cancelButton.enabled
    assert bar.messageLabel.text == "Drawing: done in 1 s."
    assert "Drawing: done" in bar.logText.plainText


def test_a_defect_in_what_follows_a_job_is_shown(bar: Any, worker: FakeWorker, desktop: Desktop) -> None:
    def broken(_result: Any) -> None:
        raise KeyError("gone")

    bar.run("Drawing", "draw", {"age": 30}, broken)
    with pytest.raises(KeyError):
        worker.handles[0].finish("on_result", "brain")
    assert "KeyError" in bar.messageLabel.text
    assert not bar.busy
    assert "KeyError" in desktop.messages[0].text
    assert "Traceback" in desktop.messages[0].details


def test_the_remaining_time_is_shown_after_a_while(
    bar: Any, worker: FakeWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr("NeuroGenPanels.run_bar.time.monotonic", lambda: now[0])
    bar.run("Fitting", "fit", {}, ignore)
    progress = worker.handles[0].options["on_progress"]
    now[0] += 2
    progress(0.5, "step 5")
    assert "left" not in bar.messageLabel.text
    now[0] += 58
    progress(0.25, "step 25")
    assert bar.messageLabel.text == "Fitting: step 25, about 3 min left"
    progress(0.01, "again")
    assert "left" not in bar.messageLabel.text


def test_a_second_press_does_nothing(bar: Any, worker: FakeWorker) -> None:
    assert bar.run("One", "one", {}, ignore)
    assert not bar.run("Two", "two", {}, ignore)
    assert [handle.job for handle in worker.handles] == ["one"]
    worker.handles[0].finish("on_result", None)
    assert bar.run("Two", "two", {}, ignore)


def test_cancel_is_quiet(desktop: Desktop, bar: Any, worker: FakeWorker) -> None:
    errors = []
    bar.run("Drawing", "draw", {}, ignore, errors.append)
    desktop.click(bar.cancelButton)
    assert worker.handles[0].cancelled
    assert not bar.cancelButton.enabled
    worker.handles[0].finish("on_error", Cancelled())
    assert bar.messageLabel.text == "Drawing: stopped."
    assert isinstance(errors[0], Cancelled)
    assert not desktop.messages


def test_out_of_memory_is_said_and_logged(desktop: Desktop, bar: Any, worker: FakeWorker) -> None:
    error = JobFailed("The GPU's memory is not enough.", "Choose a coarser spacing.", "memory", code="memory-exhausted")
    error.add_note("Traceback of the worker")
    changes = []
    bar.run("Drawing", "draw", {}, ignore)
    bar.when_changed(lambda: changes.append((bar.busy, len(desktop.messages))))
    worker.handles[0].finish("on_error", error)
    assert bar.messageLabel.text == "The GPU's memory is not enough. Choose a coarser spacing."
    assert "Traceback of the worker" in bar.logText.plainText
    assert (desktop.messages[-1].kind, desktop.messages[-1].text) == ("error", bar.messageLabel.text)
    assert changes == [(False, 0)], "buttons are free before the window waits for the person"


def test_a_result_that_cannot_be_used_is_an_error(desktop: Desktop, bar: Any, worker: FakeWorker) -> None:
    def refuse(_result: Any) -> None:
        raise NeuroGenError("The scene has no room.", "Close it.", code="unexpected")

    bar.run("Drawing", "draw", {}, refuse)
    worker.handles[0].finish("on_result", None)
    assert desktop.messages[-1].text == "The scene has no room. Close it."
    assert bar.messageLabel.text == "The scene has no room. Close it."


def test_a_defect_in_a_callback_leaves_the_panel_usable(bar: Any, worker: FakeWorker) -> None:
    changes = []
    bar.when_changed(lambda: changes.append(bar.busy))
    bar.run("Drawing", "draw", {}, lambda _result: {}["missing"])
    with pytest.raises(KeyError):
        worker.handles[0].finish("on_result", None)
    assert changes == [True, False]


def test_abandon_ends_the_process_and_its_callbacks(bar: Any, worker: FakeWorker) -> None:
    bar.run("Drawing", "draw", {}, ignore)
    bar.abandon()
    assert worker.closed
    assert not bar.busy
    assert not bar.progressBar.visible
    assert bar.messageLabel.text == ""


def test_a_job_that_cannot_be_handed_in_is_said(desktop: Desktop, bar: Any, worker: FakeWorker) -> None:
    worker.refuses = NeuroGenError("The worker is tired.", "Wait.", code="unexpected")
    assert not bar.run("Drawing", "draw", {}, ignore)
    assert desktop.messages[-1].text == "The worker is tired. Wait."
    assert not bar.busy
    worker.refuses = None
    assert bar.run("Drawing", "draw", {}, ignore)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "1 s"), (8.4, "8 s"), (59.4, "59 s"), (59.7, "1 min"), (185, "3 min"), (3599, "1 h"), (7800, "2 h 10 min")],
)
def test_durations(seconds: float, text: str) -> None:
    from NeuroGenPanels.run_bar import duration

    assert duration(seconds) == text


@given(st.floats(1, 1e6))
def test_a_duration_is_near_what_it_stands_for(seconds: float) -> None:
    from NeuroGenPanels.run_bar import duration

    words = duration(seconds).split()
    size = {"s": 1, "min": 60, "h": 3600}
    shown = sum(int(count) * size[unit] for count, unit in zip(words[::2], words[1::2], strict=True))
    assert abs(shown - seconds) <= (0.5 if seconds < 59.5 else 30.01)


@pytest.mark.parametrize(
    ("size", "text"), [(1, "1 MB"), (350e6, "350 MB"), (999.7e6, "1.0 GB"), (2.14e9, "2.1 GB"), (80e9, "80.0 GB")]
)
def test_memory(size: float, text: str) -> None:
    from NeuroGenPanels.run_bar import memory

    assert memory(int(size)) == text


# WorkerService


def test_a_closed_service_starts_again_and_a_retired_one_does_not(service: Any, worker: FakeWorker) -> None:
    from NeuroGenPanels.worker_service import WorkerService

    service.submit("one", {})
    assert service in WorkerService.running
    assert [handle.job for handle in service.jobs] == ["one"]
    service.close()
    assert worker.closed
    assert service.jobs == []
    service.submit("two", {})
    service.retire()
    service.retire()
    assert service not in WorkerService.running
    with raises("process-died", "'Fake'", kind=NeuroGenError):
        service.submit("three", {})


@pytest.mark.slow
@pytest.mark.usefixtures("cold_workers")
def test_a_worker_that_dies_is_said_and_replaced(desktop: Desktop, real_service: Any, foot: Any) -> None:
    from NeuroGenPanels.run_bar import RunBar

    bar, results = RunBar(foot.layout(), real_service, "The tests"), []
    words = {"words": ["--version"]}
    bar.run("Looking", "run", words, results.append)
    desktop.wait_until(lambda: real_service._worker.hello, timeout=30)
    desktop.wait_until(lambda: not bar.busy, timeout=30)
    assert len(results) == 1
    bar.run("Looking", "run", {"words": ["models", "list", "--json"]}, results.append)
    os.kill(real_service._worker.hello["pid"], getattr(signal, "SIGKILL", signal.SIGTERM))
    desktop.wait_until(lambda: not bar.busy, timeout=30)
    assert "ended unexpectedly" in desktop.messages[-1].text
    bar.run("Looking", "run", words, results.append)
    desktop.wait_until(lambda: not bar.busy, timeout=30)
    assert len(results) == 2


def test_python_of_the_child(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import slicer

    from NeuroGenPanels.python_executable import python_executable

    monkeypatch.setenv("PATH", str(tmp_path))
    assert python_executable() == sys.executable
    name = "PythonSlicer.exe" if os.name == "nt" else "PythonSlicer"
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / name).write_text("", encoding="utf-8")
    monkeypatch.setattr(type(slicer.app), "slicerHome", str(tmp_path))
    assert python_executable() == str(tmp_path / "bin" / name)


# ConditionControls


def numeric(name: str, low: float, high: float, middle: float, unit: str = "") -> dict[str, Any]:
    return {"name": name, "kind": "numeric", "unit": unit, "minimum": low, "maximum": high, "middle": middle}


def categoric(name: str, *values: str) -> dict[str, Any]:
    return {"name": name, "kind": "categoric", "unit": "", "values": list(values), "middle": values[-1]}


@pytest.fixture
def changes() -> list[int]:
    return []


@pytest.fixture
def controls(foot: Any, changes: list[int]) -> Any:
    import qt

    from NeuroGenPanels.condition_controls import ConditionControls

    inside = qt.QWidget(foot)
    made = ConditionControls(qt.QFormLayout(inside), lambda: changes.append(1))
    made.build([numeric("birth_age", 23.0, 42.0, 33.5, "weeks"), categoric("sex", "F", "M")])
    return made


def test_controls_begin_in_the_middle(controls: Any, changes: list[int]) -> None:
    assert controls.values() == {"birth_age": 33.5, "sex": "M"}
    controls.widgets["birth_age"].setValue(30.1)
    controls.widgets["sex"].setCurrentIndex(0)
    assert controls.values() == {"birth_age": pytest.approx(30.1), "sex": "F"}
    assert len(changes) == 2


def test_values_are_shown_without_telling_anybody(controls: Any, changes: list[int]) -> None:
    controls.set_values({"birth_age": "25.5", "sex": "F", "moon": 3.0})
    assert controls.values() == {"birth_age": 25.5, "sex": "F"}
    controls.set_values({"birth_age": "F", "sex": "X"})
    assert controls.values() == {"birth_age": 25.5, "sex": "F"}
    assert not changes


def test_a_new_model_has_its_own_controls_only(controls: Any) -> None:
    controls.build([numeric("ventricles", 0.0, 1.0, 0.35)])
    assert controls.values() == {"ventricles": pytest.approx(0.35)}
    assert controls._layout.rowCount() == 1
    controls.build([])
    assert controls.values() == {}
    assert controls._layout.rowCount() == 0


@pytest.mark.parametrize(
    ("low", "high", "decimals"), [(0, 1, 2), (0, 0.05, 4), (21, 37, 1), (0, 50000, -2), (0.35, 0.35, 3), (0, 0, 2)]
)
def test_decimals_follow_the_range(low: float, high: float, decimals: int) -> None:
    from NeuroGenPanels.condition_controls import decimals_of

    assert decimals_of(low, high) == decimals


@given(st.floats(-1e4, 1e4), st.floats(1e-3, 1e4))
def test_ends_of_a_control_are_values_of_the_model(low: float, span: float) -> None:
    from NeuroGenPanels.condition_controls import decimals_of, rounded_inwards

    high = low + span
    decimals = max(decimals_of(low, high), 0)
    first, last = rounded_inwards(low, high, decimals)
    step = 10.0**-decimals
    assert low - 1e-5 * step <= first <= last <= high + 1e-5 * step
    assert first - low < step * 1.001
    assert high - last < step * 1.001
    assert math.isclose(first, round(first, decimals), abs_tol=1e-9 * max(abs(first), 1))


def test_a_condition_of_a_single_value_keeps_it(controls: Any) -> None:
    controls.build([numeric("field", 0.35, 0.35, 0.35)])
    assert controls.values() == {"field": pytest.approx(0.35)}


def test_a_slider_ends_inside_the_range(controls: Any) -> None:
    controls.build([numeric("volume", 0.01234, 0.98765, 0.5)])
    slider = controls.widgets["volume"]
    assert (slider.minimum, slider.maximum) == (pytest.approx(0.013), pytest.approx(0.987))


# Parameter fields


@dataclass(frozen=True)
class Settings(Config):
    steps: Annotated[int, Range(1, 500)] = 40
    count: Annotated[int, Range(0, exclusive_low=True)] = 2
    rate: Annotated[float, Range(0, 1, exclusive_low=True)] = 0.5
    weight: Annotated[float, Range(None, 3.0)] = 1.0
    free: Annotated[float, Range()] = 7.0
    box: Annotated[tuple[float, float], Range(0, 9)] = (1.0, 2.0)
    name: str = "plain"


def test_fields_come_from_the_config() -> None:
    from slicer.parameterNodeWrapper import Maximum, Minimum, WithinRange

    from NeuroGenPanels.parameter_fields import settings_of, with_fields_of

    names = {"steps": "fitSteps", "count": "n", "rate": "rate", "weight": "w", "free": "f", "box": "b", "name": "title"}

    @with_fields_of(Settings, **names)
    class Fields:
        own: bool = False

    found = Fields.__annotations__
    within, count, rate = (get_args(found[name])[1] for name in ("fitSteps", "n", "rate"))
    assert isinstance(within, WithinRange)
    assert (within.minimum, within.maximum) == (1, 500)
    assert isinstance(count, Minimum)
    assert count.minimum == 1
    assert (rate.minimum, rate.maximum) == (0, 1)
    assert isinstance(get_args(found["w"])[1], Maximum)
    assert (found["f"], found["b"], found["title"], found["own"]) == (float, tuple[float, float], str, "bool")
    defaults = {setting: getattr(Settings(), setting) for setting in names}
    assert settings_of(Fields, **names) == defaults


def test_a_parameter_node_holds_the_fields() -> None:
    import slicer
    from slicer.parameterNodeWrapper import parameterNodeWrapper

    from NeuroGenPanels.parameter_fields import settings_of, with_fields_of

    names = {"steps": "fitSteps", "rate": "rate", "name": "title"}

    @parameterNodeWrapper
    @with_fields_of(Settings, **names)
    class Fields:
        pass

    node = Fields(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScriptedModuleNode"))
    assert settings_of(node, **names) == {"steps": 40, "rate": 0.5, "name": "plain"}
    node.fitSteps = 500
    with pytest.raises(ValueError, match="501"):
        node.fitSteps = 501
    assert settings_of(node, steps="fitSteps") == {"steps": 500}


# ModelPicker and the model store


@pytest.fixture
def combo(foot: Any) -> Any:
    import qt

    return qt.QComboBox(foot)


@pytest.fixture
def button(foot: Any) -> Any:
    import qt

    return qt.QPushButton(foot)


def test_a_missing_model_is_marked_and_kept(combo: Any, button: Any, desktop: Desktop) -> None:
    from NeuroGenPanels.model_picker import ModelPicker
    from NeuroGenPanels.model_store import acknowledge

    chosen: list[str] = []
    picker = ModelPicker(combo, button, "atlas", chosen.append)
    assert picker.refresh("bundled:fetal-sba")
    assert picker.row is not None
    assert picker.row["reference"] == "bundled:fetal-sba"
    assert not picker.refresh("hf:lab/gone")
    assert combo.currentText == "hf:lab/gone (not here)"
    assert acknowledge(picker.row), "there is no licence to accept"
    assert not desktop.messages
    assert chosen == []
    combo.setCurrentIndex(0)
    assert chosen == ["bundled:fetal-sba"]
    picker.refresh("")
    assert picker.row is None
    assert ModelPicker(combo, button, "registration", chosen.append).refresh("bundled:fetal-sba") is False


@pytest.mark.parametrize(("stored", "folders"), [(None, []), ("one", ["one"]), (("a", "b"), ["a", "b"]), ([], [])])
def test_settings_come_back_in_every_form(stored: Any, folders: list[str]) -> None:
    import slicer

    from NeuroGenPanels.model_store import SETTING, model_folders

    slicer.app.userSettings().setValue(SETTING, stored)
    assert model_folders() == folders


# Estimates


@pytest.fixture
def estimates(service: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr("NeuroGenPanels.estimates.REST_MS", 1)
    from NeuroGenPanels.estimates import Estimates

    return Estimates(service)


def wait_for_questions(desktop: Desktop, estimates: Any) -> None:
    desktop.wait_until(lambda: not estimates._rest.active, timeout=5)


def test_an_estimate_is_asked_for_once(desktop: Desktop, estimates: Any, worker: FakeWorker, foot: Any) -> None:
    import qt

    label = qt.QLabel(foot)
    found = {"seconds": 200.0, "memory_bytes": 2_100_000_000, "scratch_bytes": None, "measured": True}
    for age in (30, 31, 32):
        estimates.want(label, "atlas.sequence", {"age": age}, "9 brains")
    wait_for_questions(desktop, estimates)
    assert [handle.arguments for handle in worker.handles] == [{"job": "atlas.sequence", "arguments": {"age": 32}}]
    worker.handles[0].finish("on_result", found)
    assert label.text == "9 brains, about 3 min, 2.1 GB of memory."
    estimates.want(label, "atlas.sequence", {"age": 32}, "9 brains")
    wait_for_questions(desktop, estimates)
    assert len(worker.handles) == 1
    estimates.want(label, "atlas.sequence", {"age": 33}, "9 brains")
    wait_for_questions(desktop, estimates)
    assert len(worker.handles) == 2
    worker.handles[1].finish("on_error", InputError("No.", "", code="value-invalid"))
    assert label.text == "9 brains"
    estimates.want(label, "atlas.sequence", {"age": 33}, "9 brains")
    wait_for_questions(desktop, estimates)
    assert len(worker.handles) == 3, "what failed is asked again"
    worker.handles[2].finish("on_result", found)
    estimates.forget()
    estimates.want(label, "atlas.sequence", {"age": 33}, "9 brains")
    wait_for_questions(desktop, estimates)
    assert len(worker.handles) == 4, "the worker knows more now"


def test_an_overtaken_estimate_changes_nothing(desktop: Desktop, estimates: Any, worker: FakeWorker, foot: Any) -> None:
    import qt

    label = qt.QLabel("as before", foot)
    for age in (30, 31):
        estimates.want(label, "atlas.generate", {"age": age})
        wait_for_questions(desktop, estimates)
    worker.handles[0].finish("on_error", Cancelled())
    assert label.text == "as before"
    worker.handles[1].finish("on_result", {"seconds": 5.0, "memory_bytes": None, "measured": False})
    assert label.text == "roughly 5 s."
    estimates.stop()


# Tables and messages


def test_a_table_selects_the_given_row(foot: Any) -> None:
    import qt

    from NeuroGenPanels.tables import fill_table

    table = qt.QTableWidget(foot)
    fill_table(table, ("a", "b"), [("1", "2"), ("3", "4")], 1)
    assert table.currentRow() == 1
    assert table.item(1, 0).text() == "3"
    assert table.item(1, 0).toolTip() == "3"
    fill_table(table, ("a", "b"), [("5", "6")])
    assert (table.rowCount, table.currentRow()) == (1, -1)
    fill_table(table, (), ())
    assert (table.rowCount, table.columnCount) == (0, 0)


@pytest.mark.parametrize(
    ("error", "shown"), [(NeuroGenError("Broken.", "Mend it.", code="unexpected"), 1), (Cancelled(), 0)]
)
def test_errors_are_shown_but_not_a_cancel(desktop: Desktop, error: NeuroGenError, shown: int) -> None:
    from NeuroGenPanels.messages import errors_shown

    with errors_shown("Testing"):
        raise error
    assert len(desktop.messages) == shown


def test_a_defect_is_shown_and_not_hidden(desktop: Desktop) -> None:
    from NeuroGenPanels.messages import errors_shown

    def broken(doing: Callable[[str], Any]) -> None:
        with doing("Testing"):
            raise KeyError("gone")

    with pytest.raises(KeyError):
        broken(errors_shown)
    assert [message.kind for message in desktop.messages] == ["error"]
    assert "KeyError" in desktop.messages[0].text
    assert "Traceback" in desktop.messages[0].details
