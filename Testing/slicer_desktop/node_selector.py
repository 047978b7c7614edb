"""``qMRMLNodeComboBox``: the list of the scene's nodes of some types, kept up to date by the scene's events."""

from __future__ import annotations

import weakref
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import shiboken6
from PySide6.QtCore import Property, Signal
from PySide6.QtWidgets import QComboBox, QHBoxLayout, QWidget

from Testing.slicer_desktop.mrml_widgets import SceneWidget
from Testing.slicer_desktop.ui_files import custom_widget

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@custom_widget
class qMRMLNodeComboBox(SceneWidget):
    """Chooses one node of the scene.

    As in Slicer: without ``noneEnabled`` the first suitable node is chosen by itself; a node that leaves the scene
    is given up; nodes hidden from editors are listed only with ``showHidden``; while the scene loads or closes,
    the list waits for the end.
    """

    currentNodeChanged = Signal(object)
    currentNodeIDChanged = Signal(str)
    nodeAddedByUser = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._values: dict[str, Any] = {}
        self._attributes: list[tuple[str, str, str | None]] = []
        self._nodes: list[Any] = []
        self._current: Any = None
        self._requested: Any = None
        self._observers: list[tuple[Any, int]] = []
        self._name_observers: list[tuple[Any, int]] = []
        self._box = QComboBox(self)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._box)
        self.setFocusProxy(self._box)
        self._box.activated.connect(self._chosen_by_person)

    def _option(name: str, kind: Any, default: Any) -> Property:
        def write(self: Any, value: Any) -> None:
            self._values[name] = value
            self._refresh()

        return Property(kind, lambda self: self._values.get(name, default), write)

    noneEnabled = _option("noneEnabled", bool, False)
    noneDisplay = _option("noneDisplay", str, "None")
    addEnabled = _option("addEnabled", bool, True)
    removeEnabled = _option("removeEnabled", bool, True)
    renameEnabled = _option("renameEnabled", bool, False)
    editEnabled = _option("editEnabled", bool, False)
    showHidden = _option("showHidden", bool, False)
    showChildNodeTypes = _option("showChildNodeTypes", bool, True)
    hideChildNodeTypes = _option("hideChildNodeTypes", "QStringList", [])
    selectNodeUponCreation = _option("selectNodeUponCreation", bool, True)
    baseName = _option("baseName", str, "")
    del _option

    def _set_node_types(self, types: Any) -> None:
        self._values["nodeTypes"] = [str(name) for name in types]
        self._refresh()

    # Slicer's own connectors compare with a tuple, as PythonQt gives it.
    nodeTypes = Property("QStringList", lambda self: tuple(self._values.get("nodeTypes", ())), _set_node_types)

    def addAttribute(self, node_type: str, name: str, value: Any = None) -> None:
        """List nodes of this class only when they carry the attribute (with this value, when one is given)."""
        self._attributes.append((node_type, name, None if value is None else str(value)))
        self._refresh()

    def nodeCount(self) -> int:
        """Return how many nodes are listed."""
        return len(self._nodes)

    def nodeFromIndex(self, index: int) -> Any:
        """Return the listed node at ``index``, or None."""
        return self._nodes[index] if 0 <= index < len(self._nodes) else None

    def currentNode(self) -> Any:
        """Return the chosen node, or None."""
        return self._current

    def setCurrentNode(self, node: Any) -> None:
        """Choose a node, or give one up with None; a node that is not listed counts as None.

        While the scene loads or closes, the choice waits for the end, when the list is up to date.
        """
        if self.mrmlScene() is not None and self.mrmlScene().IsBatchProcessing():
            self._requested = node
        else:
            self._choose(node if any(node is listed for listed in self._nodes) else None)

    def setCurrentNodeID(self, node_id: str | None) -> None:
        """Choose the listed node with this ID."""
        self.setCurrentNode(next((node for node in self._nodes if node.GetID() == node_id), None))

    currentNodeID = Property(
        str, lambda self: self._current.GetID() if self._current is not None else "", setCurrentNodeID
    )

    def addNode(self, node_type: str = "") -> Any:
        """Make a node, as the list's entry "Create new ..." does."""
        node_type = node_type or self.nodeTypes[0]
        node = self.mrmlScene().AddNewNodeByClass(
            node_type, self.mrmlScene().GenerateUniqueName(self._base_name(node_type))
        )
        if self.selectNodeUponCreation:
            self.setCurrentNode(node)
        self.nodeAddedByUser.emit(node)
        return node

    def mrmlScene(self) -> Any:
        """Return the scene, or None."""
        return self._scene

    def setMRMLScene(self, scene: Any) -> None:
        """Watch this scene, or none."""
        if scene is self.mrmlScene():
            return
        for subject, tag in self._observers:
            subject.RemoveObserver(tag)
        self._observers = self._watch(scene) if scene is not None else []
        super().setMRMLScene(scene)
        self._refresh()

    def _watch(self, scene: Any) -> list[tuple[Any, int]]:
        import slicer

        refresh = _weak_callback(self, qMRMLNodeComboBox._refresh)
        events = ("NodeAddedEvent", "NodeRemovedEvent", "EndCloseEvent", "EndBatchProcessEvent")
        return [(scene, scene.AddObserver(getattr(slicer.vtkMRMLScene, event), refresh)) for event in events]

    def _watch_names(self) -> None:
        import vtk

        for node, tag in self._name_observers:
            node.RemoveObserver(tag)
        rename = _weak_callback(self, qMRMLNodeComboBox._show_names)
        self._name_observers = [(node, node.AddObserver(vtk.vtkCommand.ModifiedEvent, rename)) for node in self._nodes]

    def _show_names(self) -> None:
        for index, node in enumerate(self._nodes, start=1 if self.noneEnabled else 0):
            self._box.setItemText(index, node.GetName())

    def _base_name(self, node_type: str) -> str:
        return self.baseName or self.mrmlScene().GetTagByClassName(node_type) or node_type

    def _suits(self, node: Any) -> bool:
        types = self._values.get("nodeTypes", ())
        suits = any(node.IsA(name) for name in types) if self.showChildNodeTypes else node.GetClassName() in types
        hidden = node.GetHideFromEditors() and not self.showHidden
        return (
            suits
            and not hidden
            and not any(node.IsA(name) for name in self.hideChildNodeTypes)
            and all(_has_attribute(node, *wanted) for wanted in self._attributes)
        )

    def _refresh(self) -> None:
        scene = self.mrmlScene()
        if scene is not None and scene.IsBatchProcessing():
            return
        everything = [scene.GetNthNode(index) for index in range(scene.GetNumberOfNodes())] if scene is not None else []
        self._nodes = [node for node in everything if self._suits(node)]
        with _silent(self._box):
            self._box.clear()
            if self.noneEnabled:
                self._box.addItem(self.noneDisplay)
            for node in self._nodes:
                self._box.addItem(node.GetName())
        self._watch_names()
        wanted, self._requested = self._requested or self._current, None
        self._choose(wanted if any(wanted is node for node in self._nodes) else None)

    def _choose(self, node: Any) -> None:
        if node is None and not self.noneEnabled and self._nodes:
            node = self._nodes[0]
        with _silent(self._box):
            offset = 1 if self.noneEnabled else 0
            position = next((index for index, listed in enumerate(self._nodes) if listed is node), None)
            self._box.setCurrentIndex(offset - 1 if position is None else position + offset)
        if node is not self._current:
            self._current = node
            self.currentNodeChanged.emit(node)
            self.currentNodeIDChanged.emit(node.GetID() if node is not None else "")

    def _chosen_by_person(self, index: int) -> None:
        self._choose(self.nodeFromIndex(index - 1 if self.noneEnabled else index))


def _weak_callback(widget: Any, method: Callable[[Any], None]) -> Callable[[Any, str], None]:
    """Return an observer that neither keeps the widget alive nor calls a deleted one."""
    weak = weakref.ref(widget)

    def call(_caller: Any, _event: str) -> None:
        selector = weak()
        if selector is not None and shiboken6.isValid(selector):
            method(selector)

    return call


def _has_attribute(node: Any, node_type: str, name: str, value: str | None) -> bool:
    if not node.IsA(node_type):
        return True
    found = node.GetAttribute(name)
    return found is not None and value in {None, found}


@contextmanager
def _silent(widget: Any) -> Iterator[None]:
    blocked = widget.blockSignals(True)
    try:
        yield
    finally:
        widget.blockSignals(blocked)
