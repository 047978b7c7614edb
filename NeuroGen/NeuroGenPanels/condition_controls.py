"""Controls of the conditions of a model, built from its description."""

from __future__ import annotations

import math
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import ctk
import qt

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

STEPS = 100
"""Least number of steps of a slider: fine enough to choose any value that a reader could tell apart."""


class ConditionControls:
    """Rows of a form with a slider for each numeric condition and a list for each categoric one.

    Parameters
    ----------
    layout:
        ``QFormLayout`` that the rows go into; it is emptied with every model.
    on_changed:
        Called when the person changes a value.
    """

    def __init__(self, layout: Any, on_changed: Callable[[], object]) -> None:
        self._layout = layout
        self._on_changed = on_changed
        self._widgets: dict[str, tuple[str, Any]] = {}
        self._setting = False

    @property
    def widgets(self) -> dict[str, Any]:
        """The controls by the condition's name."""
        return {name: widget for name, (_kind, widget) in self._widgets.items()}

    def build(self, conditions: Sequence[Mapping[str, Any]]) -> None:
        """Make the controls of a model: its conditions as the worker's ``model.open`` lists them."""
        while self._layout.rowCount():
            self._layout.removeRow(0)
        self._widgets = {}
        for condition in conditions:
            kind, name = condition["kind"], condition["name"]
            widget = self._slider(condition) if kind == "numeric" else self._list(condition)
            widget.setObjectName(f"condition_{name}")
            unit = f" ({condition['unit']})" if condition.get("unit") else ""
            self._layout.addRow(f"{name.replace('_', ' ')}{unit}:", widget)
            self._widgets[name] = (kind, widget)

    def values(self) -> dict[str, float | str]:
        """Return the values as they are now, in table units."""
        return {
            name: float(widget.value) if kind == "numeric" else str(widget.currentText)
            for name, (kind, widget) in self._widgets.items()
        }

    def set_values(self, values: Mapping[str, float | str]) -> None:
        """Show values, without a call of ``on_changed``; names and words that the model does not have are ignored."""
        self._setting = True
        try:
            for name, (kind, widget) in self._widgets.items():
                if name not in values:
                    continue
                if kind == "numeric":
                    with suppress(ValueError):  # a word: another model's condition has this name
                        widget.setValue(float(values[name]))
                else:
                    index = widget.findText(str(values[name]))
                    if index >= 0:
                        widget.setCurrentIndex(index)
        finally:
            self._setting = False

    def _slider(self, condition: Mapping[str, Any]) -> Any:
        widget = ctk.ctkSliderWidget()
        low, high = float(condition["minimum"]), float(condition["maximum"])
        decimals = decimals_of(low, high)
        widget.setDecimals(max(decimals, 0))
        widget.singleStep = 10.0**-decimals
        widget.minimum, widget.maximum = rounded_inwards(low, high, max(decimals, 0))
        widget.setValue(float(condition["middle"]))
        widget.valueChanged.connect(self._changed)
        return widget

    def _list(self, condition: Mapping[str, Any]) -> Any:
        widget = qt.QComboBox()
        for word in condition["values"]:
            widget.addItem(str(word))
        widget.setCurrentIndex(max(widget.findText(str(condition["middle"])), 0))
        widget.connect("currentIndexChanged(int)", self._changed)
        return widget

    def _changed(self, *_value: object) -> None:
        if not self._setting:
            self._on_changed()


def decimals_of(low: float, high: float) -> int:
    """Return the decimals that give a range at least :data:`STEPS` steps of a power of ten; negative above 1.

    Parameters
    ----------
    low, high:
        Ends of the range; where they are equal, the size of the value counts.

    Examples
    --------
    >>> decimals_of(21, 34)
    1
    """
    span = (high - low) or abs(high) or 1.0
    return -math.floor(round(math.log10(span / STEPS), 9))


def rounded_inwards(low: float, high: float, decimals: int) -> tuple[float, float]:
    """Return the ends of a range as a control shows them, none outside the range where that can be.

    A control rounds to its decimals; rounded outwards, its ends would be values outside the model's range.

    Examples
    --------
    >>> rounded_inwards(0.0871, 0.2349, 2)
    (0.09, 0.23)
    """
    scale = 10.0**decimals
    inner = math.ceil(round(low * scale, 6)) / scale, math.floor(round(high * scale, 6)) / scale
    return inner if inner[0] <= inner[1] else (low, high)
