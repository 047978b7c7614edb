"""PySide6 with PythonQt's habits: properties without call, ``connect`` with a string, ``className()``, no waiting.

Applied once to the whole process, because PySide6's classes are shared.
"""

from __future__ import annotations

import ctypes
import functools
import inspect
import sys
from typing import TYPE_CHECKING, Any

from PySide6 import QtCore, QtGui, QtUiTools, QtWidgets

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

QT_MODULES = (QtCore, QtGui, QtWidgets, QtUiTools)

# Qt itself calls the first two on every layout, as methods; the third is a static function in PythonQt as well.
NOT_PROPERTIES = {"sizeHint", "minimumSizeHint", "singleShot"}

# These wait for a person: a test would never end.
WAITING = {
    "QDialog": ("exec", "exec_"),
    "QMenu": ("exec", "exec_"),
    "QMessageBox": ("about", "critical", "information", "question", "warning"),
    "QFileDialog": ("getExistingDirectory", "getOpenFileName", "getOpenFileNames", "getSaveFileName"),
    "QInputDialog": ("getDouble", "getInt", "getItem", "getMultiLineText", "getText"),
}


@functools.cache
def apply_pythonqt_habits() -> None:
    """Change PySide6's classes; a second call does nothing."""
    _hold_true_and_false()
    for qt_class in qobject_classes():
        _give_properties(qt_class)
    QtCore.QObject.name = property(lambda self: self.objectName, lambda self, name: self.setObjectName(name))
    QtCore.QObject.className = lambda self: self.metaObject().className()
    _connect_by_string()
    for class_name, methods in WAITING.items():
        for method in methods:
            setattr(getattr(QtWidgets, class_name), method, _refuse_to_wait(f"{class_name}.{method}"))


def qobject_classes() -> Iterator[type]:
    """Every class of Qt with a meta object of its own, base classes first."""
    # By name: PySide6 makes its classes when they are first asked for.
    members = [getattr(module, name) for module in QT_MODULES for name in dir(module)]
    classes = {member for member in members if isinstance(member, type) and issubclass(member, QtCore.QObject)}
    yield from sorted(classes, key=lambda qt_class: (len(qt_class.__mro__), qt_class.__name__))


class QtProperty:
    """Reads a Qt property without call, and writes it by assignment.

    On the class it is still the method, so that ``QSlider.value(slider)`` and ``super()`` work.
    """

    def __init__(self, name: str, getter: Callable[..., Any] | None, writable: bool) -> None:
        self._name = name
        self._getter = getter
        self._writable = writable
        self._setter_name = f"set{name[0].upper()}{name[1:]}"

    def __get__(self, instance: Any, owner: type) -> Any:
        if instance is None:
            return self._getter
        value = self._getter(instance) if self._getter else instance.property(self._name)
        return tuple(value) if isinstance(value, list) else value

    def __set__(self, instance: Any, value: Any) -> None:
        if not self._writable:
            raise AttributeError(f"{instance.className()}.{self._name} can only be read.")
        setter = getattr(instance, self._setter_name, None)
        if setter is not None:
            setter(value)
        elif not instance.setProperty(self._name, value):
            raise TypeError(f"{instance.className()}.{self._name} does not take {value!r}.")


def _give_properties(qt_class: Any) -> None:
    meta = getattr(qt_class, "staticMetaObject", None)
    if meta is None:
        return
    for index in range(meta.propertyOffset(), meta.propertyCount()):
        property_ = meta.property(index)
        name = property_.name()
        if name not in NOT_PROPERTIES:
            getter = inspect.getattr_static(qt_class, name, None)
            getter = getter if callable(getter) else None
            setattr(qt_class, name, QtProperty(name, getter, property_.isWritable()))


def _connect_by_string() -> None:
    # PySide6 resolves `connect` in C before it looks at class attributes: only __getattribute__ comes before that.
    plain = QtCore.QObject.__getattribute__

    def getattribute(self: Any, name: str) -> Any:
        found = plain(self, name)
        return functools.partial(_by_string, self, name, found) if name in {"connect", "disconnect"} else found

    QtCore.QObject.__getattribute__ = getattribute


def _by_string(sender: Any, verb: str, plain: Callable[..., Any], *arguments: Any) -> Any:
    if len(arguments) != 2 or not isinstance(arguments[0], str) or not callable(arguments[1]):
        return plain(*arguments)  # PySide6's own calls
    signature, slot = arguments
    if signature[:1] in {"1", "2"}:
        return plain(*arguments)
    meta = sender.metaObject()
    normalized = bytes(QtCore.QMetaObject.normalizedSignature(signature).data()).decode()
    if meta.indexOfSignal(normalized) >= 0:
        return plain(f"2{normalized}", slot)
    # Signals of the stand-in's own widgets carry Python objects where Slicer's name a C++ class.
    name, count = normalized.partition("(")[0], _argument_count(normalized)
    if (name, count) in _signals_with_objects(meta):
        return getattr(getattr(sender, name), verb)(slot)
    raise ValueError(f"{sender.className()} has no signal {signature}; it has: {', '.join(_own_signals(meta))}.")


def _signals(meta: Any) -> Iterator[str]:
    for index in range(meta.methodCount()):
        method = meta.method(index)
        if method.methodType() == QtCore.QMetaMethod.MethodType.Signal:
            yield bytes(method.methodSignature().data()).decode()


def _own_signals(meta: Any) -> list[str]:
    inherited = set(_signals(QtWidgets.QWidget.staticMetaObject))
    return sorted(signature for signature in _signals(meta) if signature not in inherited)


def _signals_with_objects(meta: Any) -> set[tuple[str, int]]:
    return {(text.partition("(")[0], _argument_count(text)) for text in _signals(meta) if "PyObject" in text}


def _argument_count(signature: str) -> int:
    arguments = signature.partition("(")[2].rstrip(")")
    return len(arguments.split(",")) if arguments else 0


def _refuse_to_wait(what: str) -> Callable[..., Any]:
    def refuse(*_arguments: Any, **_keywords: Any) -> Any:
        raise RuntimeError(
            f"{what} waits for a person, and no test can answer it. "
            "Write slicer.util.infoDisplay, confirmYesNoDisplay ... or a ctkPathLineEdit."
        )

    return refuse


def _hold_true_and_false() -> None:
    # Python 3.11: PySide6 loses references to True and False when many classes are touched, and the process aborts
    # at exit ("deallocating True or False"). Python 3.12 made them immortal; here the count is raised once.
    if sys.version_info < (3, 12):
        for constant in (True, False, None):
            ctypes.c_ssize_t.from_address(id(constant)).value += 1 << 40
