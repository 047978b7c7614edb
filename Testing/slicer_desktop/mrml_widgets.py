"""Slicer's widgets that know the scene: containers and the module's own widget."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QWidget

from Testing.slicer_desktop.ctk_widgets import ctkSliderWidget
from Testing.slicer_desktop.ui_files import custom_widget


class SceneWidget(QWidget):
    """A widget that holds the scene."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._scene: Any = None

    def setMRMLScene(self, scene: Any) -> None:
        """Take a scene, or None."""
        self._scene = scene


@custom_widget
class qSlicerWidget(SceneWidget):
    """The usual top widget of a ``.ui`` file."""


@custom_widget
class qMRMLWidget(SceneWidget):
    """The widget that a module's panel is put into; tells when its scene changes."""

    mrmlSceneChanged = Signal(object)

    def mrmlScene(self) -> Any:
        """Return the scene, or None."""
        return self._scene

    def setMRMLScene(self, scene: Any) -> None:
        """Take a scene, or None."""
        if scene is not self._scene:
            super().setMRMLScene(scene)
            self.mrmlSceneChanged.emit(scene)


class qSlicerScriptedLoadableModuleWidget(qMRMLWidget):
    """What Slicer's C++ side holds for a module's widget; ``self()`` is the Python object."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.python_widget: Any = None

    def self(self) -> Any:
        """Return the module's ``...Widget`` object."""
        return self.python_widget


@custom_widget
class qMRMLSliderWidget(ctkSliderWidget):
    """A ctkSliderWidget that takes the scene, for the units that Slicer's has and this one leaves out."""

    def setMRMLScene(self, _scene: Any) -> None:
        """Do nothing."""
