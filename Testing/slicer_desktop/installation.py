"""Puts the modules that desktop Slicer has, and plain slicer-core lacks, where panels import them from."""

from __future__ import annotations

import functools
import importlib
import os
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

from Testing.slicer_desktop.pythonqt import apply_pythonqt_habits

apply_pythonqt_habits()  # before any widget of the stand-in is made

import slicer  # noqa: E402
import slicer.util  # noqa: E402

from Testing.slicer_desktop.ctk_module import CtkModule  # noqa: E402
from Testing.slicer_desktop.mrml_widgets import (  # noqa: E402
    qMRMLSliderWidget,
    qMRMLWidget,
    qSlicerScriptedLoadableModuleWidget,
    qSlicerWidget,
)
from Testing.slicer_desktop.names_only import NAMES_ONLY  # noqa: E402
from Testing.slicer_desktop.node_selector import qMRMLNodeComboBox  # noqa: E402
from Testing.slicer_desktop.qt_module import QtModule  # noqa: E402

OURS = {
    "slicer.i18n": "Testing.slicer_desktop.translation",
    "slicer.packaging": "Testing.slicer_desktop.packages",
    "slicer.parameterNodeWrapper": "Testing.slicer_desktop.parameters",
    "slicer.ScriptedLoadableModule": "Testing.slicer_desktop.scripted_module",
    "PyTorchUtils": "Testing.slicer_desktop.pytorch_extension",
}
"""Module of Slicer or of an extension -> its stand-in."""

ALWAYS_OURS = {"slicer.packaging", "PyTorchUtils"}
"""Not even Slicer's own files may install packages in a test."""


class LoadedModule(SimpleNamespace):
    """What Slicer's C++ side holds for a scripted module: path, title, categories, ...; a module's ``parent``."""

    def __init__(self, name: str, path: Path) -> None:
        super().__init__(name=name, path=str(path), title=name, icon=None)
        self.widget: Any = None

    def widgetRepresentation(self) -> Any:
        """Return the Qt widget of the module's panel."""
        return self.widget


WIDGETS = {
    "qMRMLNodeComboBox": qMRMLNodeComboBox,
    "qMRMLSliderWidget": qMRMLSliderWidget,
    "qMRMLWidget": qMRMLWidget,
    "qSlicerScriptedLoadableModule": LoadedModule,
    "qSlicerScriptedLoadableModuleWidget": qSlicerScriptedLoadableModuleWidget,
    "qSlicerWidget": qSlicerWidget,
    **{name: widget for name, widget in NAMES_ONLY.items() if name.startswith("qMRML")},
}
"""Names that ``slicer`` has in the desktop application."""


def slicers_python_folder() -> Path | None:
    """Return the folder with Slicer's own Python files that SLICER_PYTHON_DIR names, or None.

    Raises
    ------
    FileNotFoundError
        When the variable names a folder without them.
    """
    named = os.environ.get("SLICER_PYTHON_DIR")
    if not named:
        return None
    for folder in (Path(named) / "slicer", Path(named)):
        if (folder / "ScriptedLoadableModule.py").is_file():
            return folder
    raise FileNotFoundError(
        f"SLICER_PYTHON_DIR names {named}, where no slicer/ScriptedLoadableModule.py is. "
        "Give the Base/Python folder of a Slicer checkout, or unset the variable."
    )


@functools.cache
def the_installation() -> Installation:
    """Return the process's one installation."""
    return Installation()


class Installation:
    """The modules, made once a process; in place only while a desktop runs."""

    def __init__(self) -> None:
        self._folder = slicers_python_folder()
        self._modules: dict[str, ModuleType] = {"qt": QtModule(), "ctk": CtkModule()}

    def install(self) -> None:
        """Put everything in place; the application must run and ``slicer.app`` be set."""
        sys.modules.update(self._modules)
        for name, widget in WIDGETS.items():
            setattr(slicer, name, widget)
        if self._folder is not None and str(self._folder) not in slicer.__path__:
            slicer.__path__.append(str(self._folder))
        for name, ours in OURS.items():
            if name not in sys.modules:
                slicers = self._folder is not None and name not in ALWAYS_OURS
                sys.modules[name] = importlib.import_module(name if slicers else ours)
            if name.startswith("slicer."):
                setattr(slicer, name.removeprefix("slicer."), sys.modules[name])
        own = tuple(f"{name}." for name in OURS)
        self._modules.update(
            {name: module for name, module in sys.modules.items() if name in OURS or name.startswith(own)}
        )

    def forget_connectors(self, modules: list[str]) -> None:
        """Unregister the widget connectors that these module files brought."""
        if self._folder is None:
            from Testing.slicer_desktop.parameters.connectors import registered_connectors as registered
        else:
            from slicer.parameterNodeWrapper.guiConnectors import _registeredGuiConnectors as registered
        registered[:] = [connector for connector in registered if connector.__module__ not in modules]

    def remove(self) -> None:
        """Take everything away, so that code that asks whether it runs in Slicer hears no."""
        for name in self._modules:
            sys.modules.pop(name, None)
        for name in (*WIDGETS, *(name.removeprefix("slicer.") for name in OURS)):
            if hasattr(slicer, name):
                delattr(slicer, name)
