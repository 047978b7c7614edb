"""``slicer.app``: a QApplication with Slicer's additions, its settings in a throw-away folder."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from PySide6.QtCore import QCoreApplication, QObject, QProcessEnvironment, QSettings, Signal
from PySide6.QtWidgets import QApplication

from Testing.slicer_desktop.core_io import CoreIOManager

DOCUMENTATION = "https://slicer.readthedocs.io/en/latest/"


class ModuleManager(QObject):
    """``slicer.app.moduleManager()``: the modules that were loaded from files."""

    moduleAboutToBeUnloaded = Signal(str)
    moduleLoaded = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self.modules: dict[str, Any] = {}

    def module(self, name: str) -> Any:
        """Return the module with this name, or None."""
        return self.modules.get(name)

    def modulesNames(self) -> tuple[str, ...]:
        """Return the names of all modules."""
        return tuple(self.modules)


class SlicerApplication(QApplication):
    """The one application of the process; the scene and the modules of a desktop are given to it in turn."""

    startupCompleted = Signal()

    def __init__(self) -> None:
        super().__init__([sys.argv[0]])
        self.setApplicationName("Slicer")
        self.setOrganizationName("NeuroGenTests")
        self.setQuitOnLastWindowClosed(False)
        self._folder = tempfile.TemporaryDirectory(prefix="slicer-desktop-")
        QSettings.setDefaultFormat(QSettings.Format.IniFormat)
        QSettings.setPath(QSettings.Format.IniFormat, QSettings.Scope.UserScope, self._folder.name)
        self.testing = True
        self.extensions_manager_opened = False
        self.start_session(None, None)

    def start_session(self, scene: Any, logic: Any) -> None:
        """Begin with this scene and application logic, no modules and empty settings."""
        self._scene, self._logic = scene, logic
        self._modules = ModuleManager()
        self._io = CoreIOManager()
        self.testing = True
        self.extensions_manager_opened = False
        QSettings().clear()

    def mrmlScene(self) -> Any:
        """Return the scene."""
        return self._scene

    def applicationLogic(self) -> Any:
        """Return the vtkSlicerApplicationLogic."""
        return self._logic

    def moduleManager(self) -> ModuleManager:
        """Return the manager of modules."""
        return self._modules

    def coreIOManager(self) -> CoreIOManager:
        """Return what ``slicer.util.loadVolume`` and its like go through."""
        return self._io

    def layoutManager(self) -> None:
        """Return None, as Slicer does without main window."""
        return

    def testingEnabled(self) -> bool:
        """Tell whether Slicer was started with ``--testing``."""
        return self.testing

    def settings(self) -> QSettings:
        """Return the settings of this version of Slicer."""
        return QSettings()

    def userSettings(self) -> QSettings:
        """Return the settings of all versions of Slicer."""
        return QSettings()

    def translate(self, context: str, text: str) -> str:
        """Return the text in the person's language; no translations are installed here."""
        return QCoreApplication.translate(context, text)

    def startupEnvironment(self) -> QProcessEnvironment:
        """Return the environment without what Slicer's launcher adds."""
        return QProcessEnvironment.systemEnvironment()

    @property
    def documentationBaseUrl(self) -> str:
        """Where Slicer's documentation is."""
        return DOCUMENTATION

    def moduleDocumentationUrl(self, name: str) -> str:
        """Return where a module's page would be."""
        return f"{DOCUMENTATION}user_guide/modules/{name.lower()}.html"

    @property
    def temporaryPath(self) -> str:
        """A folder for this session's files."""
        return self._folder.name

    @property
    def slicerHome(self) -> str:
        """Slicer's installation folder; here the repository."""
        return str(Path(__file__).resolve().parents[2])

    @property
    def os(self) -> str:
        """Slicer's word for the operating system."""
        return {"nt": "win"}.get(os.name, "macosx" if sys.platform == "darwin" else "linux")

    def openExtensionsManagerDialog(self) -> None:
        """Note that it would be open."""
        self.extensions_manager_opened = True

    def restart(self) -> None:
        """Refuse: a test must not end its own process."""
        raise RuntimeError("The panel asked Slicer to restart; ask the person first and check the answer in the test.")

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(
            f"slicer.app.{name} is not in the stand-in for desktop Slicer; panels use processEvents, settings, "
            "testingEnabled, layoutManager and coreIOManager. Add it to Testing/slicer_desktop with a test."
        )


def the_application() -> SlicerApplication:
    """Return the process's application, made at the first call."""
    running = QApplication.instance()
    if isinstance(running, SlicerApplication):
        return running
    if running is not None:
        raise RuntimeError(
            "Another Qt application runs in this process; run the panel tests in a process of their own."
        )
    return SlicerApplication()
