"""Widgets of which only the name is here: Slicer's own connectors ask whether a widget is one of them."""

from __future__ import annotations

from typing import Any

INSTEAD = {
    "ctkCheckBox": "QCheckBox",
    "ctkCheckablePushButton": "QPushButton",
    "ctkColorPickerButton": "QPushButton",
    "ctkComboBox": "QComboBox",
    "ctkDoubleRangeSlider": "ctkRangeWidget",
    "ctkDoubleSlider": "ctkSliderWidget",
    "ctkDoubleSpinBox": "QDoubleSpinBox",
    "qMRMLRangeWidget": "ctkRangeWidget",
    "qMRMLSpinBox": "QDoubleSpinBox",
}
"""Name -> what a panel uses in its place."""


def name_only(name: str) -> type:
    """Return a class that no object can be made of."""

    def refuse(*_arguments: Any) -> None:
        raise NotImplementedError(f"{name} is not in the stand-in for desktop Slicer; use a {INSTEAD[name]}.")

    return type(name, (), {"__init__": refuse})


NAMES_ONLY = {name: name_only(name) for name in INSTEAD}
"""Name -> class."""
