"""The main window, of which only the module selector counts: ``slicer.util.selectModule`` goes through it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QObject, Signal
from PySide6.QtWidgets import QMainWindow

if TYPE_CHECKING:
    from collections.abc import Callable


class ModuleSelector(QObject):
    """Says which panel is the current one; the one before hears ``exit()``, the new one ``enter()``."""

    moduleSelected = Signal(str)

    def __init__(self, is_known: Callable[[str], bool], widgets: dict[str, Any]) -> None:
        super().__init__()
        self._is_known = is_known
        self._widgets = widgets
        self.selectedModule = ""

    def selectModule(self, name: str) -> None:
        """Go to a module.

        Raises
        ------
        RuntimeError
            When no such module is loaded; Slicer would print that and stay.
        """
        if not self._is_known(name):
            raise RuntimeError(f"There is no module {name} to go to; load its file with Desktop.load_module.")
        if name == self.selectedModule:
            return
        before, self.selectedModule = self._widgets.get(self.selectedModule), name
        for widget, method in ((before, "exit"), (self._widgets.get(name), "enter")):
            if hasattr(widget, method):
                getattr(widget, method)()
        self.moduleSelected.emit(name)


class MainWindow(QMainWindow):
    """What ``slicer.util.mainWindow()`` finds; it is never shown."""

    def __init__(self, selector: ModuleSelector) -> None:
        super().__init__()
        self.setObjectName("qSlicerMainWindow")
        self._selector = selector

    def moduleSelector(self) -> ModuleSelector:
        """Return the selector of the current module."""
        return self._selector
