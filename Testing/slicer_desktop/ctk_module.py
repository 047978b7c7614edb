"""The module ``ctk``: the widgets that NeuroGen's panels use, and no other."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from Testing.slicer_desktop.ctk_paths import ctkDirectoryButton, ctkPathLineEdit
from Testing.slicer_desktop.ctk_widgets import ctkCollapsibleButton, ctkRangeWidget, ctkSliderWidget
from Testing.slicer_desktop.names_only import NAMES_ONLY

WIDGETS = (ctkCollapsibleButton, ctkDirectoryButton, ctkPathLineEdit, ctkRangeWidget, ctkSliderWidget)


class CtkModule(ModuleType):
    """Holds the widgets; asking for another one says what there is."""

    def __init__(self) -> None:
        super().__init__("ctk", __doc__)
        for widget in WIDGETS:
            setattr(self, widget.__name__, widget)
        for name, widget in NAMES_ONLY.items():
            if name.startswith("ctk"):
                setattr(self, name, widget)

    def __getattr__(self, name: str) -> Any:
        known = ", ".join(widget.__name__ for widget in WIDGETS)
        raise AttributeError(
            f"ctk.{name} is not in the stand-in for desktop Slicer, which has {known}. "
            "Use one of these or add it to Testing/slicer_desktop with a test."
        )
