"""Base of the tests that Slicer runs of each module file."""

from __future__ import annotations

from typing import Any

import slicer
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleTest

from NeuroGenPanels import dependencies


class PanelTest(ScriptedLoadableModuleTest):
    """Opens the module that its class is named after, and checks its panel, without a download.

    A module overrides :meth:`check`. It imports this file, not the class: Slicer runs every test case that it finds in
    a module file.
    """

    def runTest(self) -> None:
        """Open the panel in an empty scene and check it; skipped where the packages are missing.

        A build machine has none of them, and Slicer's testing mode answers the question for them with no.
        """
        missing = ", ".join(package.name for package in dependencies.missing())
        if missing:
            self.skipTest(f"NeuroGen's packages are not installed here: {missing}")
        module = type(self).__name__.removesuffix("Test")
        slicer.mrmlScene.Clear()
        slicer.util.selectModule(module)
        self.check(getattr(slicer.modules, f"{module}Widget"))
        self.delayDisplay(f"{module} passed its test")

    def check(self, widget: Any) -> None:
        """Check the open panel.

        Parameters
        ----------
        widget:
            The module's widget.
        """
        raise NotImplementedError
