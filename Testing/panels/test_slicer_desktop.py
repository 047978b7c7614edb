"""The stand-in for desktop Slicer: a small module is loaded, bound to the scene, clicked, saved and photographed."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from Testing.panels.tiny_module import SOURCE, ui_text, write_tiny_module
from Testing.slicer_desktop import Desktop, availability, missing_parts

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from Testing.slicer_desktop import Panel

pytestmark = pytest.mark.skipif(bool(missing_parts()), reason=missing_parts())

SMALL = """
import slicer
from slicer.ScriptedLoadableModule import *

class Other(ScriptedLoadableModule):
    pass

class OtherWidget(ScriptedLoadableModuleWidget):
    def setup(self):
        self.events = []
        {setup}

    def enter(self):
        self.events.append("enter")

    def exit(self):
        self.events.append("exit")

    def cleanup(self):
        self.events.append("cleanup")
"""


def write_small_module(folder: Path, setup: str = "pass") -> Path:
    """Write a module without .ui file, with one statement in its ``setup``."""
    path = folder / "Other" / "Other.py"
    path.parent.mkdir()
    path.write_text(SMALL.format(setup=setup), encoding="utf-8")
    return path


@pytest.fixture
def panel(desktop: Desktop, tmp_path: Path) -> Panel:
    """The small module's panel."""
    return desktop.load_module(write_tiny_module(tmp_path))


@pytest.fixture
def corner_volume(desktop: Desktop) -> Any:
    """8 x 8 x 8 voxels of 10 mm, bright where left, anterior and superior meet."""
    import slicer.util

    array = np.zeros((8, 8, 8), dtype=np.float32)
    array[4:, 4:, :4] = 100.0  # k: superior, j: anterior, i: left
    matrix = np.diag([10.0, 10.0, 10.0, 1.0])
    matrix[:3, 3] = -35.0
    node = slicer.util.addVolumeFromArray(array, ijkToRAS=matrix, name="corner")
    node.CreateDefaultDisplayNodes()
    node.GetDisplayNode().SetAutoWindowLevel(False)
    node.GetDisplayNode().SetWindowLevelMinMax(0.0, 100.0)
    return node


def add_volume(name: str = "brain", value: float = 0.0) -> Any:
    """Add a volume of one value to the scene."""
    import slicer.util

    return slicer.util.addVolumeFromArray(np.full((2, 3, 4), value, dtype=np.float32), name=name)


# Loading


def test_module_is_where_slicer_puts_it(desktop: Desktop, panel: Panel) -> None:
    import slicer.util

    assert panel.module.parent.title == "Tiny atlas"
    assert panel.module.was_started
    assert slicer.modules.tinyatlas.path.endswith("TinyAtlas.py")
    assert slicer.modules.TinyAtlasWidget is panel.widget
    assert slicer.util.getModuleWidget("TinyAtlas") is panel.widget
    assert slicer.modules.tinyatlas.widgetRepresentation() is panel.parent
    assert panel.widget.resourcePath("UI/TinyAtlas.ui").endswith("TinyAtlas.ui")
    assert desktop.selected_module == "TinyAtlas"


def test_modules_enter_and_exit_in_turn(desktop: Desktop, panel: Panel, tmp_path: Path) -> None:
    import slicer.util

    other = desktop.load_module(write_small_module(tmp_path))
    slicer.util.selectModule("TinyAtlas")
    assert slicer.util.selectedModule() == "TinyAtlas"
    slicer.util.selectModule(slicer.modules.other)
    assert other.widget.events == ["enter", "exit", "enter"]
    assert panel.module is slicer.modules.TinyAtlasInstance
    with pytest.raises(RuntimeError, match="no module Elsewhere"):
        slicer.util.selectModule("Elsewhere")


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    import slicer

    path = list(sys.path)
    with Desktop() as desktop:
        other = desktop.load_module(write_small_module(tmp_path))
    assert other.widget.events == ["enter", "exit", "cleanup"]
    assert sys.path == path
    assert not {"qt", "ctk", "Other", "slicer.i18n", "slicer.parameterNodeWrapper"} & set(sys.modules)
    assert not [name for name in ("app", "mrmlScene", "modules", "qMRMLNodeComboBox") if hasattr(slicer, name)]


def test_connectors_go_with_their_module(tmp_path: Path) -> None:
    for turn in "ab":
        with Desktop() as desktop:
            desktop.load_module(write_tiny_module(tmp_path / turn))
    with Desktop():
        import ctk
        from slicer.parameterNodeWrapper import createGuiConnector

        with pytest.raises(RuntimeError, match="connector"):
            createGuiConnector(ctk.ctkCollapsibleButton(), bool)


def test_settings_and_packages_are_new_each_time() -> None:
    for _ in range(2):
        with Desktop() as desktop:
            assert desktop.app.settings().value("NeuroGen/folder") is None
            assert not desktop.missing_packages
            desktop.app.settings().setValue("NeuroGen/folder", "here")
            desktop.missing_packages.add("torch")


def test_wrong_folder_for_slicers_python(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from Testing.slicer_desktop.installation import slicers_python_folder

    monkeypatch.setenv("SLICER_PYTHON_DIR", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="Base/Python folder of a Slicer checkout"):
        slicers_python_folder()


def test_reason_for_skipping_names_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_library(_name: str) -> None:
        raise ImportError("libEGL.so.1: cannot open shared object file")

    reason = missing_parts.__wrapped__  # the answer is kept
    monkeypatch.setattr(availability, "import_module", no_library)
    assert (
        reason() == "panels need Qt, which lacks a library of the system: libEGL.so.1: cannot open shared object file"
    )
    monkeypatch.setattr(availability, "find_spec", lambda name: None if name == "PySide6" else object())
    assert reason() == "panels need PySide6_Essentials: pip install PySide6_Essentials"


# The scene and the node selector


def test_selector_follows_the_scene(desktop: Desktop, panel: Panel) -> None:
    selector = panel.ui.volumeSelector
    assert selector.currentNode() is None
    brain = add_volume()
    desktop.scene.AddNewNodeByClass("vtkMRMLTableNode", "table")
    hidden = add_volume("hidden")
    hidden.SetHideFromEditors(True)
    other = add_volume("other")
    assert [selector.nodeFromIndex(index).GetName() for index in range(selector.nodeCount())] == ["brain", "other"]
    selector.setCurrentNode(brain)
    desktop.scene.RemoveNode(brain)
    assert selector.currentNode() is None
    selector.setCurrentNodeID(other.GetID())
    assert selector.currentNode() is other


def test_selector_without_none_takes_the_first(desktop: Desktop, panel: Panel) -> None:
    selector = panel.ui.volumeSelector
    selector.noneEnabled = False
    brain = add_volume()
    assert selector.currentNode() is brain
    assert panel.logic.getParameterNode().volume is brain
    other = selector.addNode()
    assert selector.currentNode() is other
    desktop.scene.RemoveNode(other)
    assert selector.currentNode() is brain


def test_selector_lists_by_attribute(desktop: Desktop, panel: Panel) -> None:
    add_volume("plain")
    atlas = add_volume("atlas")
    atlas.SetAttribute("NeuroGen.role", "atlas")
    panel.ui.volumeSelector.addAttribute("vtkMRMLScalarVolumeNode", "NeuroGen.role", "atlas")
    assert panel.ui.volumeSelector.nodeCount() == 1
    assert panel.ui.volumeSelector.nodeFromIndex(0) is atlas


def test_closed_scene_leaves_a_working_panel(desktop: Desktop, panel: Panel) -> None:
    panel.ui.volumeSelector.setCurrentNode(add_volume())
    panel.ui.noteEdit.text = "gone"
    desktop.close_scene()
    assert panel.ui.volumeSelector.currentNode() is None
    assert panel.ui.noteEdit.text == "a note"
    panel.ui.noteEdit.text = "new"
    assert panel.logic.getParameterNode().note == "new"


@pytest.mark.parametrize("suffix", [".mrb", ".mrml"])
def test_saved_scene_reopens_as_it_was(desktop: Desktop, panel: Panel, tmp_path: Path, suffix: str) -> None:
    import slicer.util

    volume = add_volume("brain", 7.0)
    slicer.util.saveNode(volume, str(tmp_path / "brain.nrrd"), {})
    panel.ui.volumeSelector.setCurrentNode(volume)
    panel.ui.ageSlider.value = 26.4
    panel.ui.opacitySlider.value = 0.25
    panel.ui.shownBox.setCurrentIndex(2)
    path = desktop.save_scene(tmp_path / f"scene{suffix}")
    desktop.close_scene()
    assert panel.ui.ageSlider.value == 30.0

    desktop.load_scene(path)
    assert panel.ui.ageSlider.value == 26.4
    assert panel.ui.opacitySlider.value == 0.25
    assert panel.ui.shownBox.currentText == "certainty"
    assert panel.ui.volumeSelector.currentNode().GetName() == "brain"
    assert np.all(slicer.util.arrayFromVolume(panel.logic.getParameterNode().volume) == 7.0)


def test_volume_file_is_loaded_at_its_place(desktop: Desktop, tmp_path: Path) -> None:
    import slicer.util

    matrix = np.array([[2.0, 0, 0, -5], [0, 3.0, 0, 7], [0, 0, 4.0, 11], [0, 0, 0, 1]])
    array = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    node = slicer.util.addVolumeFromArray(array, ijkToRAS=matrix)
    assert slicer.util.saveNode(node, str(tmp_path / "brain.nii.gz"), {})
    loaded = slicer.util.loadVolume(str(tmp_path / "brain.nii.gz"))
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(loaded), array)
    np.testing.assert_allclose(slicer.util.arrayFromVTKMatrix(_ijk_to_ras(loaded)), matrix, atol=1e-5)
    with pytest.raises(RuntimeError, match="nothing"):
        slicer.util.loadVolume(str(tmp_path / "nothing.nii.gz"))
    assert desktop.scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 2


def _ijk_to_ras(node: Any) -> Any:
    import vtk

    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    return matrix


# Hands


def test_click_runs_the_logic_on_the_volume(desktop: Desktop, panel: Panel) -> None:
    import slicer.util

    volume = add_volume(value=4.0)
    panel.ui.volumeSelector.setCurrentNode(volume)
    desktop.click(panel.ui.applyButton)
    desktop.click(panel.ui.applyButton)
    assert panel.widget.clicks == [5.0, 6.0]
    assert np.all(slicer.util.arrayFromVolume(volume) == 6.0)


def test_click_on_what_a_person_cannot_click(desktop: Desktop, panel: Panel) -> None:
    panel.ui.applyButton.enabled = False
    with pytest.raises(RuntimeError, match="applyButton is disabled"):
        desktop.click(panel.ui.applyButton)
    panel.ui.inputsButton.collapsed = True
    with pytest.raises(RuntimeError, match="smoothBox is hidden: unfold"):
        desktop.click(panel.ui.smoothBox)
    assert panel.widget.clicks == []


def test_click_folds_a_section(desktop: Desktop, panel: Panel) -> None:
    from Testing.slicer_desktop.ctk_widgets import HEADER_HEIGHT

    assert panel.ui.smoothBox.isVisible()
    inside = panel.ui.inputsButton.layout().sizeHint().height()
    assert panel.ui.inputsButton.sizeHint().height() >= inside + HEADER_HEIGHT
    desktop.click(panel.ui.inputsButton)
    assert panel.ui.inputsButton.height == HEADER_HEIGHT
    assert panel.ui.inputsButton.collapsed
    assert not panel.ui.smoothBox.isVisible()
    desktop.click(panel.ui.inputsButton)
    assert panel.ui.smoothBox.isVisible()
    desktop.click(panel.ui.smoothBox)
    assert not panel.ui.smoothBox.checked


@pytest.mark.parametrize("tracking", [True, False])
def test_slider_tells_while_dragged_only_with_tracking(desktop: Desktop, panel: Panel, tracking: bool) -> None:
    slider = panel.ui.ageSlider
    slider.tracking = tracking
    heard: list[tuple[str, float]] = []
    slider.connect("valueChanged(double)", lambda value: heard.append(("changed", value)))
    slider.connect("valueIsChanging(double)", lambda value: heard.append(("changing", value)))
    desktop.drag(slider, [24.5, 33.0])
    while_dragged = "changed" if tracking else "changing"
    last = [] if tracking else [("changed", 33.0)]
    assert heard == [(while_dragged, 24.5), (while_dragged, 33.0), *last]
    assert panel.logic.getParameterNode().age == 33.0


# What goes wrong


def fail_in_timer() -> None:
    import qt

    qt.QTimer.singleShot(0, fail)


def fail_in_observer() -> None:
    import slicer

    slicer.mrmlScene.AddObserver(slicer.vtkMRMLScene.NodeAddedEvent, fail)
    slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode")


def fail_in_thread() -> None:
    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()


def fail(*_arguments: Any) -> None:
    raise ZeroDivisionError("the atlas has no voxels")


def test_exception_in_a_slot_is_raised_by_the_click(desktop: Desktop, panel: Panel) -> None:
    with pytest.raises(ZeroDivisionError, match="no voxels"):
        desktop.click(panel.ui.breakButton)
    desktop.process()  # raised once


@pytest.mark.parametrize("somewhere", [fail_in_timer, fail_in_observer, fail_in_thread])
def test_swallowed_exception_fails_at_the_end(somewhere: Callable[[], None]) -> None:
    hook = sys.excepthook
    with pytest.raises(ZeroDivisionError, match="no voxels"), Desktop():
        somewhere()
    assert sys.excepthook is hook


def test_several_swallowed_exceptions_are_all_told(desktop: Desktop) -> None:
    fail_in_observer()
    fail_in_thread()
    fail_in_timer()
    with pytest.raises(ExceptionGroup) as caught:
        desktop.process()
    assert len(caught.value.exceptions) == 3


def test_broken_setup_leaves_a_usable_desktop(desktop: Desktop, tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        desktop.load_module(write_small_module(tmp_path, "1 / 0"))
    assert desktop.load_module(write_tiny_module(tmp_path)).ui.applyButton.text == "Apply"


def test_waiting_ends(desktop: Desktop) -> None:
    import qt

    arrived: list[bool] = []
    qt.QTimer.singleShot(20, lambda: arrived.append(True))
    desktop.wait_until(lambda: arrived)
    with pytest.raises(TimeoutError, match=r"within 0\.05 s"):
        desktop.wait_until(lambda: False, timeout=0.05)


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("import PySide6", "Slicer has no PySide6: import qt"),
        ("from PySide6.QtWidgets import QLabel", "Slicer has no PySide6: import qt"),
        ("button.clicked.emit()", "no emit"),
        ("side = qt.Qt.Orientation.Horizontal", "write qt.Qt.Horizontal"),
        ("class Big(qt.QPushButton): pass", "hold a widget"),
    ],
)
def test_source_that_slicer_cannot_run(desktop: Desktop, tmp_path: Path, line: str, complaint: str) -> None:
    path = write_tiny_module(tmp_path, f"{SOURCE}\n\ndef helper(button):\n    {line}\n")
    number = SOURCE.count("\n") + 4
    with pytest.raises(RuntimeError, match=complaint) as caught:
        desktop.load_module(path)
    assert f"TinyAtlas.py:{number}: " in str(caught.value)


@pytest.mark.parametrize(
    ("statement", "complaint"),
    [
        ("import ctk; ctk.ctkThumbnailLabel", "which has .*ctkSliderWidget"),
        ("import ctk; ctk.ctkDoubleSlider()", "use a ctkSliderWidget"),
        ("import qt; qt.Signal", "does not exist in Slicer"),
        ("import qt; qt.QTextCodec", "decode the bytes in Python"),
        ("import qt; qt.QNothing", "qt.QNothing is not known"),
        ("import qt; qt.QLabel().connect('pressed()', print)", "has no signal pressed.*linkActivated"),
        ("import qt; qt.QLabel().width = 3", "can only be read"),
        ("import qt; qt.QDialog().exec_()", "waits for a person"),
        ("import qt; qt.QMessageBox.question(None, 'a', 'b')", "waits for a person"),
        ("import qt; qt.QFileDialog.getOpenFileName()", "waits for a person.*ctkPathLineEdit"),
        ("slicer.app.fastForward()", "slicer.app.fastForward is not in the stand-in"),
        ("slicer.app.restart()", "asked Slicer to restart"),
    ],
)
@pytest.mark.usefixtures("desktop")
def test_what_the_stand_in_lacks_says_so(statement: str, complaint: str) -> None:
    import slicer

    with pytest.raises((AttributeError, NotImplementedError, RuntimeError, ValueError), match=complaint):
        exec(statement, {"slicer": slicer})  # noqa: S102


@pytest.mark.parametrize(
    ("extra", "complaint"),
    [
        ('<item><widget class="ctkThumbnailLabel" name="x"/></item>', "uses ctkThumbnailLabel"),
        (
            '<item><widget class="ctkPathLineEdit" name="x"><property name="curentPath"><string/></property></widget>'
            "</item>",
            "ctkPathLineEdit x the property curentPath",
        ),
        ("</layout>", "cannot be read"),
    ],
)
def test_broken_ui_file_names_the_culprit(desktop: Desktop, tmp_path: Path, extra: str, complaint: str) -> None:
    with pytest.raises(RuntimeError, match=complaint):
        desktop.load_module(write_tiny_module(tmp_path, ui=ui_text(extra)))


def test_ui_connection_to_nothing(desktop: Desktop, tmp_path: Path) -> None:
    ui = ui_text().replace("<slot>setMRMLScene", "<slot>setScene")
    with pytest.raises(RuntimeError, match=r"volumeSelector\.setScene.* does not exist"):
        desktop.load_module(write_tiny_module(tmp_path, ui=ui))


# PythonQt's habits


@pytest.mark.usefixtures("desktop")
def test_properties_are_read_without_call() -> None:
    import qt

    button = qt.QPushButton("Apply")
    button.name = "applyButton"
    button.text = "Go"
    button.checkable = True
    assert (button.text, button.name, button.objectName, button.checked) == ("Go", "applyButton", "applyButton", False)
    assert button.className() == "QPushButton"
    assert isinstance(qt.QDoubleSpinBox().maximum, float)


@pytest.mark.usefixtures("desktop")
def test_signals_connect_by_their_signature() -> None:
    import qt

    heard: list[Any] = []
    box = qt.QComboBox()
    box.addItems(["T1w", "T2w", "labels"])
    box.connect("currentIndexChanged(int)", heard.append)
    box.currentTextChanged.connect(heard.append)
    box.setCurrentIndex(1)
    box.disconnect("currentIndexChanged(int)", heard.append)
    box.setCurrentIndex(2)
    assert sorted(map(str, heard)) == ["1", "T2w", "labels"]


# Messages, questions, packages


def test_messages_are_kept_and_questions_answered(desktop: Desktop) -> None:
    import slicer.util

    slicer.util.errorDisplay("No model.", "Atlas", detailedText="folder is empty")
    desktop.answer(False)
    assert not slicer.util.confirmYesNoDisplay("Download?")
    assert slicer.util.confirmOkCancelDisplay("Overwrite?")
    desktop.app.testing = False  # when testing, Slicer raises without showing
    with pytest.raises(ValueError, match="age"), slicer.util.tryWithErrorDisplay("Atlas failed.", waitCursor=True):
        raise ValueError("age is missing")
    assert [message.kind for message in desktop.messages] == ["error", "question", "question", "error"]
    assert desktop.messages[0][1:] == ("No model.", "Atlas", "folder is empty")
    assert "age is missing" in desktop.messages[3].text


def test_packages_are_asked_for_and_not_installed(desktop: Desktop, tmp_path: Path) -> None:
    import slicer.packaging

    (tmp_path / "requirements.txt").write_text("# for the atlas\nnumpy>=1\n\nneurogen-absent>=2\n", encoding="utf-8")
    wanted = slicer.packaging.load_requirements(tmp_path / "requirements.txt")
    assert not slicer.packaging.pip_check(wanted)
    desktop.answer(False, True)
    with pytest.raises(RuntimeError, match="declined"):
        slicer.packaging.pip_ensure(wanted, requester="NeuroGen")
    assert desktop.installed_packages == []
    slicer.packaging.pip_ensure(wanted, requester="NeuroGen")
    assert desktop.installed_packages == ["neurogen-absent>=2"]
    assert "neurogen-absent" in desktop.messages[-1].details
    assert slicer.packaging.pip_check(wanted)
    desktop.missing_packages.add("numpy")
    assert not slicer.packaging.pip_check("numpy")


# Eyes


def test_photograph_shows_the_panel(desktop: Desktop, panel: Panel, tmp_path: Path) -> None:
    from PIL import Image

    def pixels() -> np.ndarray:
        return np.asarray(
            Image.open(desktop.photograph(panel.parent, tmp_path / "images" / "panel.png")).convert("RGB")
        )

    before = pixels()
    assert before.shape[1] >= 500
    assert before.shape[0] > 200
    assert len(np.unique(before.reshape(-1, 3), axis=0)) > 20
    desktop.drag(panel.ui.ageSlider, [36.0])
    assert (pixels() != before).any()
    panel.ui.inputsButton.collapsed = True
    assert pixels().shape[0] < before.shape[0] / 2


def test_photograph_without_fonts_warns(
    desktop: Desktop, panel: Panel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from PySide6.QtGui import QFontDatabase

    monkeypatch.setattr(QFontDatabase, "families", staticmethod(list))
    with pytest.warns(UserWarning, match="No font is installed"):
        desktop.photograph(panel.parent, tmp_path / "panel.png")


@pytest.mark.parametrize(
    ("orientation", "columns"),
    [  # as a slice view shows it: left on the right hand, in a sagittal slice anterior on the left hand
        ("Axial", slice(100, 140)),
        ("Coronal", slice(100, 140)),
        ("Sagittal", slice(60, 100)),
    ],
)
def test_slice_picture_has_the_bright_corner_where_it_lies(
    desktop: Desktop, corner_volume: Any, orientation: str, columns: slice
) -> None:
    picture = desktop.slice_picture(corner_volume, orientation, size=(200, 80))
    assert picture.shape == (80, 200, 3)
    assert picture.dtype == np.uint8
    expected = np.zeros((80, 200), dtype=bool)
    expected[:40, columns] = True  # superior, and in an axial slice anterior, is up
    assert ((picture[..., 0] > 128) == expected).mean() > 0.97


def test_slice_picture_follows_voxels_and_shows_segments(desktop: Desktop, corner_volume: Any) -> None:
    import slicer.util

    before = desktop.slice_picture(corner_volume)
    slicer.util.updateVolumeFromArray(corner_volume, np.full((8, 8, 8), 100.0, dtype=np.float32))
    corner_volume.GetDisplayNode().SetWindowLevelMinMax(0.0, 100.0)
    full = desktop.slice_picture(corner_volume)
    assert before.mean() < full.mean()

    segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "tissues")
    segmentation.SetReferenceImageGeometryParameterFromVolumeNode(corner_volume)
    segment = segmentation.GetSegmentation().AddEmptySegment("", "Cortex", [1.0, 0.0, 0.0])
    array = np.zeros((8, 8, 8), dtype=np.uint8)
    array[:, :4] = 1  # posterior half
    slicer.util.updateSegmentBinaryLabelmapFromArray(array, segmentation, segment, corner_volume)
    drawn = desktop.slice_picture(corner_volume, segmentation=segmentation).astype(int)
    red = drawn[..., 0] - drawn[..., 1] > 40
    assert red[200:].any()
    assert not red[:140].any()
    with pytest.raises(ValueError, match="no orientation Frontal"):
        desktop.slice_picture(corner_volume, "Frontal")
