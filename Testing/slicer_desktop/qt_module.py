"""The module ``qt``, as panels see it in Slicer: all of Qt under one name."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from Testing.slicer_desktop.pythonqt import QT_MODULES
from Testing.slicer_desktop.ui_files import UiLoader

NOT_IN_PYTHONQT = {
    "Signal": "write a plain Python class that keeps its listeners",
    "Slot": "connect any Python function",
    "Property": "keep the value in a Python attribute",
}
GONE_IN_QT6 = {
    "QTextCodec": "decode the bytes in Python",
    "QRegExp": "use QRegularExpression or re",
    "QDesktopWidget": "use QScreen",
    "QSignalMapper": "connect a function with functools.partial",
}


class QtModule(ModuleType):
    """Forwards to PySide6; names that do not exist in PythonQt, or not in both Qt 5 and Qt 6, say so."""

    def __init__(self) -> None:
        super().__init__("qt", __doc__)
        self.QUiLoader = UiLoader

    def __getattr__(self, name: str) -> Any:
        if name in NOT_IN_PYTHONQT:
            raise AttributeError(f"qt.{name} does not exist in Slicer (PythonQt): {NOT_IN_PYTHONQT[name]}.")
        if name in GONE_IN_QT6:
            raise AttributeError(f"qt.{name} is gone in Qt 6: {GONE_IN_QT6[name]}.")
        for module in QT_MODULES:
            if hasattr(module, name):
                return getattr(module, name)
        raise AttributeError(f"qt.{name} is not known here; panels use QtCore, QtGui, QtWidgets and QtUiTools.")
