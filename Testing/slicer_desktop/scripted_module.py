"""``slicer.ScriptedLoadableModule``: the base classes of a module file."""

from __future__ import annotations

import logging
import unittest
from pathlib import Path
from typing import Any

import slicer.util
from PySide6.QtGui import QIcon
from PySide6.QtWidgets import QVBoxLayout

__all__ = [
    "ScriptedLoadableModule",
    "ScriptedLoadableModuleLogic",
    "ScriptedLoadableModuleTest",
    "ScriptedLoadableModuleWidget",
]

NODE_CLASS = "vtkMRMLScriptedModuleNode"


class ScriptedLoadableModule:
    """What a module says about itself; ``parent`` holds title, categories, dependencies, texts and icon."""

    def __init__(self, parent: Any) -> None:
        super().__init__()
        self.parent = parent
        self.moduleName = type(self).__name__
        parent.title, parent.helpText, parent.acknowledgementText = "", "", ""
        parent.categories, parent.dependencies, parent.contributors = [], [], []
        for ending in (".svg", ".png"):
            icon = Path(self.resourcePath(f"Icons/{self.moduleName}{ending}"))
            if icon.is_file():
                parent.icon = QIcon(str(icon))
                break

    def resourcePath(self, name: str) -> str:
        """Return the path of a file in the module's Resources folder."""
        return str(Path(self.parent.path).parent / "Resources" / name)

    def getDefaultModuleDocumentationLink(self, docPage: str | None = None) -> str:
        """Return a link to the module's page, as HTML."""
        base = slicer.app.documentationBaseUrl
        url = base + docPage if docPage else slicer.app.moduleDocumentationUrl(self.moduleName)
        return f'<p>For more information see the <a href="{url}">online documentation</a>.</p>'


class ScriptedLoadableModuleWidget:
    """The panel: ``parent`` is the Qt widget it is built into, ``layout`` that widget's layout."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__()
        self.moduleName = type(self).__name__.removesuffix("Widget")
        self.developerMode = False
        self.parent = parent if parent is not None else self._window()
        self.layout = self.parent.layout()
        if parent is None:
            self.setup()
            self.parent.show()
        slicer.app.moduleManager().moduleAboutToBeUnloaded.connect(self._unload)

    def _window(self) -> Any:
        window = slicer.qMRMLWidget()
        window.setLayout(QVBoxLayout())
        window.setMRMLScene(slicer.mrmlScene)
        return window

    def resourcePath(self, name: str) -> str:
        """Return the path of a file in the module's Resources folder."""
        return str(Path(slicer.util.modulePath(self.moduleName)).parent / "Resources" / name)

    def setup(self) -> None:
        """Build the panel; overridden by every module."""

    def cleanup(self) -> None:
        """Let go of observers; called before the module is unloaded."""

    def _unload(self, name: str) -> None:
        if name == self.moduleName:
            self.cleanup()
            slicer.app.moduleManager().moduleAboutToBeUnloaded.disconnect(self._unload)


class ScriptedLoadableModuleLogic:
    """The work behind a panel, and its parameter node."""

    def __init__(self, parent: Any = None) -> None:  # noqa: ARG002 (Slicer gives one)
        super().__init__()
        self.moduleName = type(self).__name__.removesuffix("Logic")
        self.isSingletonParameterNode = True

    def getParameterNode(self) -> Any:
        """Return the module's node in the scene, made at first need."""
        scene = slicer.mrmlScene
        if self.isSingletonParameterNode:
            node = scene.GetSingletonNode(self.moduleName, NODE_CLASS)
            if node is not None:
                node.SetAttribute("ModuleName", self.moduleName)  # closing a scene takes attributes away
        else:
            node = next(iter(self.getAllParameterNodes()), None)
        return node if node is not None else scene.AddNode(self.createParameterNode())

    def getAllParameterNodes(self) -> list[Any]:
        """Return every node of this module in the scene."""
        nodes = slicer.util.getNodesByClass(NODE_CLASS)
        return [node for node in nodes if node.GetAttribute("ModuleName") == self.moduleName]

    def createParameterNode(self) -> Any:
        """Return a new node that is not in the scene yet."""
        node = slicer.vtkMRMLScriptedModuleNode()
        if self.isSingletonParameterNode:
            node.SetSingletonTag(self.moduleName)
        node.SetAttribute("ModuleName", self.moduleName)
        node.SetName(slicer.mrmlScene.GenerateUniqueName(self.moduleName))
        return node


class ScriptedLoadableModuleTest(unittest.TestCase):
    """Base of the test class that a module file may hold."""

    messageDelay = 0

    def delayDisplay(self, message: str, requestedDelay: int | None = None, msec: int | None = None) -> None:
        """Show a message and let the panel draw; here without delay."""
        del requestedDelay, msec
        slicer.util.delayDisplay(message, self.messageDelay)

    def runTest(self) -> None:
        """Run the module's own tests; overridden by every module."""
        logging.warning("%s has no test.", type(self).__name__)
