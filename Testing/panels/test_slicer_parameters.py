"""Typed parameters over a real vtkMRMLScriptedModuleNode: what is kept, what is refused, and the bond with widgets."""

from __future__ import annotations

import os
import pathlib
import sys
from typing import TYPE_CHECKING, Annotated, Any, Optional, Union

import pytest
from hypothesis import given
from hypothesis import strategies as st

from Testing.panels.tiny_module import write_tiny_module
from Testing.slicer_desktop import missing_parts

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from Testing.slicer_desktop import Desktop, Panel

pytestmark = pytest.mark.skipif(bool(missing_parts()), reason=missing_parts())


@pytest.fixture
def panel(desktop: Desktop, tmp_path: Path) -> Panel:
    """The small module's panel."""
    return desktop.load_module(write_tiny_module(tmp_path))


@pytest.fixture
def tiny(panel: Panel) -> Any:
    """The small module's file, with its classes."""
    return sys.modules[panel.module.moduleName]


def parameter_class(**types: Any) -> Any:
    """Return a wrapper class with these fields."""
    from slicer.parameterNodeWrapper import parameterNodeWrapper

    return parameterNodeWrapper(type("Parameters", (), {"__annotations__": types}))


def parameters(**types: Any) -> Any:
    """Return such a wrapper over a new node in the scene."""
    import slicer

    return parameter_class(**types)(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScriptedModuleNode"))


def read_again(wrapper: Any) -> Any:
    """Return a second wrapper over the same node, which holds only what the node keeps."""
    return type(wrapper)(wrapper.parameterNode)


# Both ways between widgets and parameters

NUMBERS = [
    ("ageSlider", "value", "age", 26.4),
    ("weightBox", "value", "weight", 2.25),
    ("stepsBox", "value", "steps", 7),
    ("levelSlider", "value", "level", 9),
    ("smoothBox", "checked", "smooth", False),
    ("noteEdit", "text", "note", "second scan, 31+2"),
    ("opacitySlider", "value", "view.overlay.opacity", 0.75),
    ("inputsButton", "collapsed", "unfolded", False),
    ("folderEdit", "currentPath", "folder", "results"),
    ("sexBox", "currentText", "sex", "female"),
    ("shownBox", "currentText", "shown", "certainty"),
]


def parameter_for(tiny: Any, name: str, shown: Any) -> Any:
    """Return the parameter's value when a widget shows this."""
    special: dict[str, Callable[[Any], Any]] = {
        "unfolded": lambda collapsed: not collapsed,
        "folder": pathlib.Path,
        "shown": lambda text: {"T2w": tiny.Shown.image, "certainty": tiny.Shown.certainty}[text],
    }
    return special.get(name, lambda value: value)(shown)


@pytest.mark.parametrize(("widget", "attribute", "name", "shown"), NUMBERS)
def test_widget_changes_the_parameter(
    panel: Panel, tiny: Any, widget: str, attribute: str, name: str, shown: Any
) -> None:
    if name == "unfolded":
        shown = True
    setattr(getattr(panel.ui, widget), attribute, shown)
    assert panel.logic.getParameterNode().getValue(name) == parameter_for(tiny, name, shown)


@pytest.mark.parametrize(("widget", "attribute", "name", "shown"), NUMBERS)
def test_parameter_changes_the_widget(
    panel: Panel, tiny: Any, widget: str, attribute: str, name: str, shown: Any
) -> None:
    if name == "unfolded":
        shown = True
    panel.logic.getParameterNode().setValue(name, parameter_for(tiny, name, shown))
    assert getattr(getattr(panel.ui, widget), attribute) == shown


def test_node_and_range_go_both_ways(desktop: Desktop, panel: Panel) -> None:
    from slicer.parameterNodeWrapper import FloatRange

    first, second = (desktop.scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name) for name in "ab")
    node = panel.logic.getParameterNode()
    panel.ui.volumeSelector.setCurrentNode(first)
    assert node.volume is first
    node.volume = second
    assert panel.ui.volumeSelector.currentNode() is second
    node.volume = None
    assert panel.ui.volumeSelector.currentNode() is None

    panel.ui.agesRange.setValues(25.0, 29.0)
    assert (node.ages.minimum, node.ages.maximum) == (25.0, 29.0)
    node.ages = FloatRange(22.0, 36.0)
    assert (panel.ui.agesRange.minimumValue, panel.ui.agesRange.maximumValue) == (22.0, 36.0)


def test_annotations_set_the_widgets_limits(panel: Panel) -> None:
    ui = panel.ui
    assert (ui.ageSlider.minimum, ui.ageSlider.maximum, ui.ageSlider.decimals) == (21.0, 37.0, 1)
    assert (ui.stepsBox.minimum, ui.stepsBox.maximum) == (1, 9)
    assert ui.weightBox.minimum == 0.0
    assert [ui.shownBox.itemText(index) for index in range(ui.shownBox.count)] == ["T2w", "tissues", "certainty"]
    ui.ageSlider.value = 99.0
    assert panel.logic.getParameterNode().age == 37.0


def test_unbound_widgets_stay_as_they_are(panel: Panel) -> None:
    node = panel.logic.getParameterNode()
    tag = node.connectGui(panel.ui)
    node.disconnectGui(tag)
    panel.widget.setParameterNode(None)
    node.note = "elsewhere"
    assert panel.ui.noteEdit.text == "a note"
    panel.ui.noteEdit.text = "here"
    assert node.note == "elsewhere"


def test_two_panels_show_one_parameter(panel: Panel) -> None:
    import qt
    import slicer

    box = qt.QDoubleSpinBox()
    node = panel.logic.getParameterNode()
    node.connectParametersToGui({"weight": box})
    box.setValue(4.5)
    assert panel.ui.weightBox.value == 4.5
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLScriptedModuleNode") == 1


@pytest.mark.usefixtures("desktop")
def test_widget_that_slicer_cannot_bind() -> None:
    import ctk
    import qt

    wrapper = parameters(age=float, shown=bool)
    with pytest.raises(RuntimeError, match=r"(?i)unbounded|without ends"):
        wrapper.connectParametersToGui({"age": ctk.ctkSliderWidget()})
    with pytest.raises(RuntimeError, match=r"(?i)connector"):
        wrapper.connectParametersToGui({"shown": qt.QPlainTextEdit()})


# What a node keeps

SIMPLE = {
    bool: st.booleans(),
    int: st.integers(),
    float: st.floats(allow_nan=False),
    str: st.text(st.characters(min_codepoint=32, max_codepoint=0x2FF)),
    pathlib.Path: st.from_regex(r"[a-z]{1,5}(/[a-z]{1,5}){0,2}", fullmatch=True).map(pathlib.Path),
}


@pytest.mark.parametrize("kind", SIMPLE)
@pytest.mark.usefixtures("desktop")
@given(data=st.data())
def test_values_come_back_as_they_were(kind: Any, data: st.DataObject) -> None:
    value = data.draw(SIMPLE[kind])
    values = data.draw(st.lists(SIMPLE[kind], max_size=4))
    table = data.draw(st.dictionaries(st.integers(), SIMPLE[kind], max_size=4))
    wrapper = parameters(
        one=kind,
        pair=tuple[kind, int],
        several=list[kind],
        table=dict[int, kind],
        option=Optional[kind],  # noqa: UP045 (older Slicers read no other)
    )
    wrapper.one, wrapper.pair, wrapper.several, wrapper.table = value, (value, 3), values, table
    assert wrapper.option is None
    wrapper.option = value
    kept = read_again(wrapper)
    assert (kept.one, kept.pair, kept.option) == (value, (value, 3), value)
    assert type(kept.one) is type(value)
    assert (list(kept.several), dict(kept.table)) == (values, table)
    assert list(kept.table) == list(table)  # in order
    wrapper.option = None
    assert kept.option is None


@pytest.mark.usefixtures("desktop")
def test_changes_inside_a_list_a_dict_and_a_pack_are_kept(tiny: Any) -> None:
    wrapper = parameters(ages=list[float], tissues=dict[str, int], view=tiny.View)
    wrapper.ages = [21.0, 24.0]
    wrapper.ages.append(30.0)
    wrapper.ages[0] = 22.0
    del wrapper.ages[1]
    wrapper.tissues["cortex"] = 3
    wrapper.view.overlay.opacity = 0.1
    kept = read_again(wrapper)
    assert list(kept.ages) == [22.0, 30.0]
    assert dict(kept.tissues) == {"cortex": 3}
    assert kept.view == tiny.View(tiny.Overlay(0.1, False), "slices")
    assert kept.getValue("view.overlay.opacity") == 0.1
    wrapper.ages = [5.0]
    assert list(kept.ages) == [5.0]


@pytest.mark.usefixtures("desktop")
def test_union_keeps_the_kind() -> None:
    wrapper = parameters(age=Union[int, str])  # noqa: UP007 (as above)
    for value in (29, "29", 0, ""):
        wrapper.age = value
        assert read_again(wrapper).age == value


@pytest.mark.usefixtures("desktop")
def test_defaults_come_first_and_stay_with_one_node() -> None:
    import slicer
    from slicer.parameterNodeWrapper import Default

    kinds = {"age": Annotated[float, Default(30.0)], "names": Annotated[list[str], Default(["a"])], "plain": int}
    first, second = parameters(**kinds), parameters(**kinds)
    first.names.append("b")
    first.age = 21.5
    assert (second.age, list(second.names), second.plain) == (30.0, ["a"], 0)
    assert first.default("age").value == 30.0
    assert first.parameterNode.GetScene() is slicer.mrmlScene


@pytest.mark.usefixtures("desktop")
def test_prefix_separates_two_groups_on_one_node() -> None:
    kind = parameter_class(age=float)
    first = parameters(age=float)
    second = kind(first.parameterNode, prefix="second")
    first.age, second.age = 24.0, 36.0
    assert (first.age, second.age) == (24.0, 36.0)


def test_node_reference_ends_with_its_node(desktop: Desktop) -> None:
    import slicer

    wrapper = parameters(volume=slicer.vtkMRMLScalarVolumeNode, several=list[slicer.vtkMRMLVolumeNode])
    volume = desktop.scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    other = desktop.scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode")
    wrapper.volume, wrapper.several = volume, [volume, other]
    assert read_again(wrapper).several == [volume, other]
    desktop.scene.RemoveNode(volume)
    assert wrapper.volume is None


def test_union_of_nodes_needs_none(desktop: Desktop) -> None:
    import slicer

    classes = (slicer.vtkMRMLSegmentationNode, slicer.vtkMRMLLabelMapVolumeNode)
    with pytest.raises(TypeError, match="None"):
        parameters(labels=Union[classes])  # empty at first, which it cannot hold  # noqa: UP007 (as above)
    wrapper = parameters(labels=Union[(*classes, None)])
    selector = slicer.qMRMLNodeComboBox()
    selector.noneEnabled = True
    selector.setMRMLScene(desktop.scene)
    wrapper.connectParametersToGui({"labels": selector})
    assert wrapper.labels is None
    assert list(selector.nodeTypes) == ["vtkMRMLSegmentationNode", "vtkMRMLLabelMapVolumeNode"]
    node = desktop.scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode")
    selector.setCurrentNode(node)
    assert read_again(wrapper).labels is node
    selector.setCurrentNode(None)
    assert read_again(wrapper).labels is None


@pytest.mark.usefixtures("desktop")
def test_one_change_is_one_event() -> None:
    import vtk

    wrapper = parameters(age=float, ages=list[int])
    events: list[str] = []
    wrapper.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda _caller, event: events.append(event))
    wrapper.ages = [1, 2, 3]
    assert len(events) == 1
    was_modifying = wrapper.StartModify()
    wrapper.age, wrapper.ages = 3.0, [4]
    assert len(events) == 1
    wrapper.EndModify(was_modifying)
    assert len(events) == 2


# What is refused


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("age", 20.9),
        ("age", 37.1),
        ("age", "30"),
        ("weight", -0.1),
        ("steps", 2.5),
        ("sex", "unknown"),
        ("smooth", 1),
        ("note", None),
        ("shown", "tissues"),
        ("volume", "vtkMRMLScalarVolumeNode1"),
        ("names", [1]),
        ("tissues", {"cortex": (1, "a")}),
        ("tissues", {"cortex": (1, 2.0, 3)}),
        ("limit", "none"),
        ("view.overlay.opacity", 1.5),
    ],
)
def test_wrong_values_are_refused_and_change_nothing(panel: Panel, name: str, value: Any) -> None:
    node = panel.logic.getParameterNode()
    before = node.getValue(name)
    with pytest.raises((TypeError, ValueError)):
        node.setValue(name, value)
    assert node.getValue(name) == before


def test_wrong_node_class_is_refused(desktop: Desktop, panel: Panel) -> None:
    table = desktop.scene.AddNewNodeByClass("vtkMRMLTableNode")
    with pytest.raises(TypeError, match="vtkMRMLScalarVolumeNode"):
        panel.logic.getParameterNode().volume = table


def test_unknown_names_are_refused(panel: Panel) -> None:
    node = panel.logic.getParameterNode()
    with pytest.raises(ValueError, match="height"):
        node.getValue("height")
    with pytest.raises((AttributeError, ValueError)):
        node.view.overlay.colour = "red"


@pytest.mark.parametrize("kind", [set[int], complex])
@pytest.mark.usefixtures("desktop")
def test_types_that_slicer_cannot_keep(kind: Any) -> None:
    with pytest.raises(Exception, match=r"(?i)cannot be kept|unable|unsupported|serializer"):
        parameter_class(field=kind)


@pytest.mark.skipif(bool(os.environ.get("SLICER_PYTHON_DIR")), reason="the newest Slicer reads it, others do not")
@pytest.mark.usefixtures("desktop")
def test_union_in_the_spelling_that_not_every_slicer_reads() -> None:
    with pytest.raises(TypeError, match=r"Parameters\.limit: Not every Slicer reads .*Optional"):
        parameter_class(limit=float | None)


@pytest.mark.usefixtures("desktop")
def test_refused_default_of_a_pack_shows_where_it_is_written() -> None:
    from slicer.parameterNodeWrapper import Default, WithinRange, parameterPack

    annotations = {"opacity": Annotated[float, WithinRange(0.0, 1.0), Default(2.0)]}
    with pytest.raises(ValueError, match=r"(?i)opacity|range|outside"):
        parameterPack(type("Overlay", (), {"__annotations__": annotations}))()
