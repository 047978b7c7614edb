"""Which widget shows which type, both ways. What Slicer cannot bind is refused here as well."""

from __future__ import annotations

import enum
import typing
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from PySide6.QtWidgets import QCheckBox, QComboBox, QDoubleSpinBox, QLineEdit, QPushButton, QSlider, QSpinBox, QTextEdit

from Testing.slicer_desktop.ctk_paths import ctkDirectoryButton, ctkPathLineEdit
from Testing.slicer_desktop.ctk_widgets import ctkRangeWidget, ctkSliderWidget
from Testing.slicer_desktop.mrml_widgets import qMRMLSliderWidget
from Testing.slicer_desktop.node_selector import qMRMLNodeComboBox
from Testing.slicer_desktop.parameters.annotations import (
    Choice,
    Decimals,
    Default,
    Maximum,
    Minimum,
    RangeBounds,
    SingleStep,
    WithinRange,
    findFirstAnnotation,
    splitAnnotations,
    unannotatedType,
)
from Testing.slicer_desktop.parameters.codecs import PATHS
from Testing.slicer_desktop.parameters.packs import FloatRange

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

INT_RANGE = (-(2**31), 2**31 - 1)
FLOAT_RANGE = (float("-inf"), float("inf"))


class GuiConnector(ABC):
    """Base of all connectors, also of those that a module registers with ``@parameterNodeGuiConnector``.

    The names are Slicer's, so that a module's own connector runs in both.
    """

    def __init__(self) -> None:
        super().__init__()
        self._callback: Callable[[], None] | None = None

    @staticmethod
    @abstractmethod
    def canRepresent(widget: Any, datatype: Any) -> bool:
        """Tell whether the widget can show the (possibly annotated) type."""

    @staticmethod
    @abstractmethod
    def create(widget: Any, datatype: Any) -> GuiConnector:
        """Return a connector for this widget."""

    def onChanged(self, callback: Callable[[], None] | None) -> None:
        """Call back at every change of the widget; None ends that."""
        self._callback = callback
        if callback is None:
            self._disconnect()
        else:
            self._connect()

    def changed(self, *_values: Any) -> None:
        """Tell that the widget changed."""
        if self._callback is not None:
            self._callback()

    @abstractmethod
    def _connect(self) -> None:
        """Connect the widget's signal to :meth:`changed`."""

    @abstractmethod
    def _disconnect(self) -> None:
        """Undo that."""

    @abstractmethod
    def widget(self) -> Any:
        """Return the widget."""

    @abstractmethod
    def read(self) -> Any:
        """Return the widget's value."""

    @abstractmethod
    def write(self, value: Any) -> None:
        """Show a value."""


class SignalConnector(GuiConnector):
    """A widget with one signal, one way to read and one to write: all that is built in."""

    def __init__(self, widget: Any, signal: Any, read: Callable[[], Any], write: Callable[[Any], Any]) -> None:
        super().__init__()
        self._widget, self._signal, self._read, self._write = widget, signal, read, write

    @staticmethod
    def canRepresent(widget: Any, datatype: Any) -> bool:
        """Tell whether a built-in connector exists."""
        return type(widget) in BUILT_IN and BUILT_IN[type(widget)][0](unannotatedType(datatype))

    @staticmethod
    def create(widget: Any, datatype: Any) -> GuiConnector:
        """Return the connector, the widget's range and choices set from the annotations."""
        plain, annotations = splitAnnotations(datatype)
        return BUILT_IN[type(widget)][1](widget, plain, annotations)

    def _connect(self) -> None:
        self._signal.connect(self.changed)

    def _disconnect(self) -> None:
        self._signal.disconnect(self.changed)

    def widget(self) -> Any:
        """Return the widget."""
        return self._widget

    def read(self) -> Any:
        """Return the widget's value."""
        return self._read()

    def write(self, value: Any) -> None:
        """Show a value."""
        self._write(value)


def createGuiConnector(widget: Any, datatype: Any) -> GuiConnector:
    """Return a connector for the widget and the (possibly annotated) type.

    Raises
    ------
    RuntimeError
        When Slicer has none for this pair, or an annotation that it needs is missing.
    """
    for connector in registered_connectors:
        if connector.canRepresent(widget, datatype):
            return connector.create(widget, datatype)
    known = ", ".join(kind.__name__ for kind in BUILT_IN)
    raise RuntimeError(
        f"Slicer has no connector between {type(widget).__name__} {widget.objectName} and {datatype}. "
        f"It has some for {known}; others are made with @parameterNodeGuiConnector."
    )


def parameterNodeGuiConnector(connector: Any = None) -> Any:
    """Class decorator: add a connector."""

    def register(connector_class: type[GuiConnector]) -> type[GuiConnector]:
        if not issubclass(connector_class, GuiConnector):
            raise TypeError(f"{connector_class.__name__} is not a GuiConnector.")
        registered_connectors.append(connector_class)
        return connector_class

    return register(connector) if connector is not None else register


registered_connectors: list[type[GuiConnector]] = [SignalConnector]


def _for_check_box(widget: Any, _plain: Any, _annotations: Any) -> GuiConnector:
    return SignalConnector(widget, widget.toggled, widget.isChecked, widget.setChecked)


def _for_button(widget: Any, _plain: Any, _annotations: Any) -> GuiConnector:
    widget.setCheckable(True)
    return SignalConnector(widget, widget.toggled, widget.isChecked, widget.setChecked)


def _for_number(widget: Any, plain: Any, annotations: Sequence[Any]) -> GuiConnector:
    low, high, bounded = _range(annotations, INT_RANGE if plain is int else FLOAT_RANGE)
    if not bounded and isinstance(widget, (QSlider, ctkSliderWidget)):
        raise RuntimeError(
            f"{type(widget).__name__} {widget.objectName} shows a number without ends: "
            "annotate its parameter with WithinRange, or with Minimum and Maximum."
        )
    _set_digits(widget, annotations)
    if plain is int and not isinstance(widget, (QSlider, QSpinBox)):
        widget.setDecimals(0)
    widget.minimum, widget.maximum = low, high
    return SignalConnector(widget, widget.valueChanged, lambda: plain(widget.value), widget.setValue)


def _for_range(widget: Any, _plain: Any, annotations: Sequence[Any]) -> GuiConnector:
    bounds = findFirstAnnotation(annotations, RangeBounds)
    if bounds is None:
        raise RuntimeError(f"ctkRangeWidget {widget.objectName} needs RangeBounds beside its parameter's type.")
    if findFirstAnnotation(annotations, Default) is None:
        raise RuntimeError(f"ctkRangeWidget {widget.objectName} needs Default(...) beside its parameter's RangeBounds.")
    _set_digits(widget, annotations)
    widget.setRange(bounds.minimum, bounds.maximum)
    return SignalConnector(
        widget,
        widget.valuesChanged,
        lambda: FloatRange(widget.minimumValue, widget.maximumValue),
        lambda value: widget.setValues(value.minimum, value.maximum),
    )


def _for_combo_box(widget: Any, plain: Any, annotations: Sequence[Any]) -> GuiConnector:
    if isinstance(plain, type) and issubclass(plain, enum.Enum):
        values = list(plain)
        label = getattr(plain, "label", lambda member: member.name)
    else:
        choice = findFirstAnnotation(annotations, Choice)
        if choice is None:
            raise RuntimeError(f"QComboBox {widget.objectName} needs Choice beside its parameter's type.")
        values, label = list(choice.choices), str
    widget.clear()
    for value in values:
        widget.addItem(label(value))
    return SignalConnector(
        widget,
        widget.currentIndexChanged,
        lambda: values[widget.currentIndex],
        lambda value: widget.setCurrentIndex(values.index(value)),
    )


def _for_line(widget: Any, _plain: Any, _annotations: Any) -> GuiConnector:
    return SignalConnector(widget, widget.textChanged, lambda: widget.text, widget.setText)


def _for_text(widget: Any, _plain: Any, _annotations: Any) -> GuiConnector:
    return SignalConnector(widget, widget.textChanged, widget.toPlainText, widget.setPlainText)


def _for_path(widget: Any, plain: Any, _annotations: Any) -> GuiConnector:
    return SignalConnector(
        widget,
        widget.currentPathChanged,
        lambda: plain(widget.currentPath),
        lambda value: widget.setCurrentPath(str(value)),
    )


def _for_folder(widget: Any, plain: Any, _annotations: Any) -> GuiConnector:
    return SignalConnector(
        widget,
        widget.directoryChanged,
        lambda: plain(widget.directory),
        lambda value: setattr(widget, "directory", str(value)),
    )


def _for_node(widget: Any, plain: Any, _annotations: Any) -> GuiConnector:
    widget.nodeTypes = [node_class().GetClassName() for node_class in _node_classes(plain)]
    return SignalConnector(widget, widget.currentNodeChanged, widget.currentNode, widget.setCurrentNode)


def _node_classes(plain: Any) -> list[Any]:
    """Return the node classes of a type that holds nothing but nodes and None; empty for others."""
    import slicer

    union = typing.get_origin(plain) is typing.Union
    members = [unannotatedType(member) for member in typing.get_args(plain)] if union else [plain]
    classes = [member for member in members if member is not type(None)]
    nodes = all(isinstance(member, type) and issubclass(member, slicer.vtkMRMLNode) for member in classes)
    return classes if nodes else []


def _set_digits(widget: Any, annotations: Sequence[Any]) -> None:
    decimals, step = findFirstAnnotation(annotations, Decimals), findFirstAnnotation(annotations, SingleStep)
    if decimals is not None:
        widget.setDecimals(decimals.value)
    if step is not None:
        widget.singleStep = step.value


def _range(annotations: Sequence[Any], widest: tuple[float, float]) -> tuple[float, float, bool]:
    within = findFirstAnnotation(annotations, WithinRange)
    if within is not None:
        return within.minimum, within.maximum, True
    low, high = findFirstAnnotation(annotations, Minimum), findFirstAnnotation(annotations, Maximum)
    bounded = low is not None and high is not None
    return low.minimum if low else widest[0], high.maximum if high else widest[1], bounded


def _is(*kinds: Any) -> Callable[[Any], bool]:
    return lambda plain: plain in kinds


def _is_choice(plain: Any) -> bool:
    return plain in {bool, int, float, str} or (isinstance(plain, type) and issubclass(plain, enum.Enum))


BUILT_IN: dict[type, tuple[Callable[[Any], bool], Callable[[Any, Any, Any], GuiConnector]]] = {
    QCheckBox: (_is(bool), _for_check_box),
    QPushButton: (_is(bool), _for_button),
    QSlider: (_is(int), _for_number),
    QSpinBox: (_is(int), _for_number),
    QDoubleSpinBox: (_is(float, int), _for_number),
    ctkSliderWidget: (_is(float, int), _for_number),
    qMRMLSliderWidget: (_is(float, int), _for_number),
    ctkRangeWidget: (_is(FloatRange), _for_range),
    QComboBox: (_is_choice, _for_combo_box),
    QLineEdit: (_is(str), _for_line),
    QTextEdit: (_is(str), _for_text),
    ctkPathLineEdit: (_is(*PATHS), _for_path),
    ctkDirectoryButton: (_is(*PATHS), _for_folder),
    qMRMLNodeComboBox: (lambda plain: bool(_node_classes(plain)), _for_node),
}
"""Widget (not its subclasses, as in Slicer) -> which types it shows, and how."""
