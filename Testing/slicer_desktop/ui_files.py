"""Reading ``.ui`` files with ctk and qMRML widgets in them, as ``slicer.util.loadUI`` does."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import Any

from PySide6 import QtCore, QtUiTools

CUSTOM_WIDGETS: dict[str, type] = {}
"""Class name in the file -> widget of the stand-in."""

STRUCTURE = {"Line", "QLayoutWidget"}
"""Designer's names for things that are not a widget class."""


def custom_widget(widget_class: type) -> type:
    """Class decorator: ``.ui`` files may name this widget."""
    CUSTOM_WIDGETS[widget_class.__name__] = widget_class
    return widget_class


class UiLoader(QtUiTools.QUiLoader):
    """``qt.QUiLoader``: knows the widgets of the stand-in and makes the file's connections in Python."""

    def createWidget(self, class_name: str, parent: Any = None, name: str = "") -> Any:
        """Make one widget of the file; called by Qt."""
        if class_name not in CUSTOM_WIDGETS:
            return super().createWidget(class_name, parent, name)
        widget = CUSTOM_WIDGETS[class_name](parent)
        widget.setObjectName(name)
        return widget

    def load(self, device: QtCore.QIODevice, parent: Any = None) -> Any:
        """Return the top widget of the file.

        Raises
        ------
        RuntimeError
            When the file is not XML, or names a widget, a property or a connection that is not known here.
        """
        try:
            root = ET.fromstring(bytes(device.readAll().data()))  # noqa: S314 (a file of this repository)
        except ET.ParseError as error:
            raise RuntimeError(f"The .ui file cannot be read: {error}.") from error
        self._require_known_classes(root)
        connections = _take_out(root, "connections")
        _take_out(root, "customwidgets")
        choices = _take_out_choices(root)
        buffer = QtCore.QBuffer()
        buffer.setData(QtCore.QByteArray(ET.tostring(root)))
        buffer.open(QtCore.QIODevice.OpenModeFlag.ReadOnly)
        widget = super().load(buffer, parent)
        if widget is None:
            raise RuntimeError(f"The .ui file cannot be loaded: {self.errorString()}")
        for name, property_, value in choices:
            setattr(_child(widget, name), property_, value)
        _require_known_properties(root, widget)
        for connection in connections.iter("connection") if connections is not None else ():
            _connect(widget, connection)
        return widget

    def _require_known_classes(self, root: ET.Element) -> None:
        known = set(self.availableWidgets()) | set(CUSTOM_WIDGETS) | STRUCTURE
        unknown = sorted({node.get("class", "") for node in root.iter("widget")} - known)
        if unknown:
            raise RuntimeError(
                f"The .ui file uses {', '.join(unknown)}, which the stand-in for desktop Slicer does not have. "
                f"Use one of {', '.join(sorted(CUSTOM_WIDGETS))} or add it to Testing/slicer_desktop with a test."
            )


def _take_out(root: ET.Element, tag: str) -> ET.Element | None:
    found = root.find(tag)
    if found is not None:
        root.remove(found)
    return found


def _take_out_choices(root: ET.Element) -> list[tuple[str, str, str]]:
    """Enumerations of custom widgets (``ctkPathLineEdit::Files``): Qt cannot look them up in Python classes."""
    choices = []
    for node in root.iter("widget"):
        if node.get("class") in CUSTOM_WIDGETS:
            for property_ in list(node.findall("property")):
                value = property_.find("set") if property_.find("set") is not None else property_.find("enum")
                # sizePolicy, layoutDirection ... are QWidget's own and stay.
                if value is not None and node.get("class", "") in (value.text or ""):
                    node.remove(property_)
                    choices.append((node.get("name", ""), property_.get("name", ""), value.text or ""))
    return choices


def _require_known_properties(root: ET.Element, widget: Any) -> None:
    """A misspelled property would become a dynamic one in silence."""
    for node in root.iter("widget"):
        if node.get("class") not in CUSTOM_WIDGETS:
            continue
        meta = _child(widget, node.get("name", "")).metaObject()
        for property_ in node.findall("property"):
            if property_.get("stdset") != "0" and meta.indexOfProperty(property_.get("name", "")) < 0:
                raise RuntimeError(
                    f"The .ui file gives {node.get('class')} {node.get('name')} the property "
                    f"{property_.get('name')}, which the stand-in's widget does not have."
                )


def _connect(widget: Any, connection: ET.Element) -> None:
    sender, signal = connection.findtext("sender", ""), connection.findtext("signal", "")
    receiver, slot = connection.findtext("receiver", ""), connection.findtext("slot", "")
    target = getattr(_child(widget, receiver), slot.partition("(")[0], None)
    if not callable(target):
        raise RuntimeError(f"The .ui file connects {sender}.{signal} to {receiver}.{slot}, which does not exist.")  # noqa: TRY004
    _child(widget, sender).connect(signal, target)


def _child(widget: Any, name: str) -> Any:
    if widget.objectName == name:
        return widget
    found = widget.findChild(QtCore.QObject, name)
    if found is None:
        raise RuntimeError(f"The .ui file speaks of {name}, which is not in it.")
    return found
