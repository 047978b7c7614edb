"""ctk's editors of a file path and of a folder: they hold text; nothing here opens a file dialog."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import Property, Signal
from PySide6.QtWidgets import QHBoxLayout, QLineEdit, QPushButton, QWidget

from Testing.slicer_desktop.ui_files import custom_widget


@custom_widget
class ctkPathLineEdit(QWidget):
    """A line with a path and a browse button; ``currentPathChanged`` at every change of the text."""

    currentPathChanged = Signal(str)

    # What may be chosen; ctk's values, only handed through.
    Dirs, Files, Readable, Writable, Executable = 0x001, 0x002, 0x010, 0x020, 0x040

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.filters: Any = self.Files
        self._values: dict[str, Any] = {}
        self._edit = QLineEdit(self)
        self._browse = QPushButton("…", self)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._edit)
        layout.addWidget(self._browse)
        self.setFocusProxy(self._edit)
        self._edit.textChanged.connect(self.currentPathChanged)

    def setCurrentPath(self, path: str) -> None:
        """Set the path."""
        self._edit.setText(path)

    def addCurrentPathToHistory(self) -> None:
        """Do nothing: no history is kept here."""

    def _keep(name: str, kind: Any, default: Any) -> Property:
        return Property(
            kind,
            lambda self: self._values.get(name, default),
            lambda self, value: self._values.__setitem__(name, value),
        )

    currentPath = Property(str, lambda self: self._edit.text, setCurrentPath)
    nameFilters = _keep("nameFilters", "QStringList", [])
    settingKey = _keep("settingKey", str, "")
    label = _keep("label", str, "")
    showHistoryButton = _keep("showHistoryButton", bool, True)
    showBrowseButton = Property(
        bool, lambda self: not self._browse.isHidden(), lambda self, shown: self._browse.setVisible(shown)
    )
    del _keep


@custom_widget
class ctkDirectoryButton(QPushButton):
    """A button that shows a folder."""

    directoryChanged = Signal(str)

    def _set_directory(self, directory: str) -> None:
        if directory != self.text:
            self.setText(directory)
            self.directoryChanged.emit(directory)

    directory = Property(str, lambda self: self.text, _set_directory)
