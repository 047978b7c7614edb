"""``@parameterNodeWrapper``: typed access to a vtkMRMLScriptedModuleNode, and its bond with widgets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from PySide6.QtWidgets import QWidget

from Testing.slicer_desktop.parameters.connectors import GuiConnector, createGuiConnector
from Testing.slicer_desktop.parameters.containers import write_at_once
from Testing.slicer_desktop.parameters.fields import Field, fields_of
from Testing.slicer_desktop.parameters.packs import data_type, known_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from Testing.slicer_desktop.parameters.annotations import Default

PROPERTY = "SlicerParameterName"
"""Dynamic property of a widget: the parameter that it shows; ``pack.member`` reaches into packs."""


class _Parameter:
    """One field: read from the node at every access, so that it is never out of date."""

    def __init__(self, field: Field) -> None:
        self._field = field

    def __get__(self, wrapper: Any, owner: type) -> Any:
        if wrapper is None:
            return self
        node, name = wrapper.parameterNode, wrapper._prefix + self._field.basename
        if not self._field.codec.is_in(node, name):  # the node was emptied by closing a scene
            self.__set__(wrapper, self._field.default.value)
        return self._field.codec.read(node, name)

    def __set__(self, wrapper: Any, value: Any) -> None:
        try:
            self._field.codec.accept(value)
        except (TypeError, ValueError) as error:
            raise type(error)(f"{type(wrapper).__name__}.{self._field.basename}: {error}") from error
        write_at_once(self._field.codec, wrapper.parameterNode, wrapper._prefix + self._field.basename, value)


class _ParameterNode:
    """What a decorated class can do; the names are Slicer's."""

    allParameters: dict[str, Field]

    def __init__(self, parameterNode: Any, prefix: str | None = None) -> None:
        self.parameterNode = parameterNode
        self._prefix = prefix or ""
        self._guis: dict[int, tuple[dict[str, GuiConnector], int]] = {}
        self._next_gui = 0
        self._showing = False
        for name, field in self.allParameters.items():
            if not field.codec.is_in(parameterNode, self._prefix + name):
                setattr(self, name, field.default.value)

    def default(self, name: str) -> Default:
        """Return the default of a field."""
        return self.allParameters[known_name(self, name)[0]].default

    def getValue(self, name: str) -> Any:
        """Return a value by its name."""
        first, _, rest = known_name(self, name)
        value = getattr(self, first)
        return value.getValue(rest) if rest else value

    def setValue(self, name: str, value: Any) -> None:
        """Set a value by its name."""
        first, _, rest = known_name(self, name)
        if rest:
            getattr(self, first).setValue(rest, value)
        else:
            setattr(self, first, value)

    def connectGui(self, gui: Any) -> int:
        """Bind every widget that carries the property ``SlicerParameterName``; returns a tag to unbind.

        ``gui`` is a widget, or what ``slicer.util.childWidgetVariables`` gives.
        """
        widgets = gui.findChildren(QWidget) if isinstance(gui, QWidget) else vars(gui).values()
        named = {widget.property(PROPERTY): widget for widget in widgets}
        return self.connectParametersToGui({name: widget for name, widget in named.items() if name})

    def connectParametersToGui(self, mapping: dict[str, Any]) -> int:
        """Bind parameters to widgets or connectors; the widgets show the parameters' values first."""
        import vtk

        connectors = {
            name: widget if isinstance(widget, GuiConnector) else createGuiConnector(widget, self.dataType(name))
            for name, widget in mapping.items()
        }
        for name, connector in connectors.items():
            connector.write(self.getValue(name))
            connector.onChanged(self._taker(name, connector))
        observer = self.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda _caller, _event: self._show())
        tag, self._next_gui = self._next_gui, self._next_gui + 1
        self._guis[tag] = connectors, observer
        return tag

    def disconnectGui(self, tag: int) -> None:
        """Unbind what a call of ``connectGui`` bound."""
        connectors, observer = self._guis.pop(tag, ({}, None))
        for connector in connectors.values():
            connector.onChanged(None)
        if observer is not None:
            self.RemoveObserver(observer)

    def StartModify(self) -> int:
        """Hold events back."""
        return self.parameterNode.StartModify()

    def EndModify(self, was_modifying: int) -> int:
        """Let events go."""
        return self.parameterNode.EndModify(was_modifying)

    def AddObserver(self, event: Any, callback: Callable[..., None], priority: float = 0.0) -> int:
        """Observe the node."""
        return self.parameterNode.AddObserver(event, callback, priority)

    def RemoveObserver(self, tag: int) -> None:
        """End an observation."""
        self.parameterNode.RemoveObserver(tag)

    def Modified(self) -> None:
        """Tell the observers."""
        self.parameterNode.Modified()

    def _taker(self, name: str, connector: GuiConnector) -> Callable[[], None]:
        def take() -> None:
            if not self._showing:
                self.setValue(name, connector.read())

        return take

    def _show(self) -> None:
        if self._showing:
            return
        self._showing = True
        try:
            for connectors, _observer in self._guis.values():
                for name, connector in connectors.items():
                    connector.write(self.getValue(name))
        finally:
            self._showing = False


def parameterNodeWrapper(node_class: Any = None) -> Any:
    """Class decorator: make the annotated fields typed parameters of a node.

    The result is called with a parameter node, and a prefix when one node carries several groups.

    Raises
    ------
    TypeError
        When a field's type cannot be kept in a node.
    ValueError
        When a field has the name of a method.
    """
    return _make_wrapper(node_class) if node_class is not None else _make_wrapper


def isParameterNodeWrapper(thing: Any) -> bool:
    """Tell whether a class or an instance is a wrapper."""
    return bool(getattr(thing, "isParameterNodeWrapper", False))


def _make_wrapper(node_class: Any) -> Any:
    fields = fields_of(node_class)
    methods = {name: member for name, member in vars(_ParameterNode).items() if not name.startswith("__")}
    taken = sorted(methods.keys() & vars(node_class).keys() | methods.keys() & fields.keys())
    if taken:
        raise ValueError(f"{node_class.__name__} cannot have {', '.join(taken)}: the names are those of methods.")
    for name, member in methods.items():
        setattr(node_class, name, member)
    node_class.__init__ = _ParameterNode.__init__
    node_class.dataType = classmethod(data_type)
    node_class.allParameters = fields
    node_class.isParameterNodeWrapper = True
    for name, field in fields.items():
        setattr(node_class, name, _Parameter(field))
    return node_class
