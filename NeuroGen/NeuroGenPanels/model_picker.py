"""Picker of a model of one kind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import qt
import slicer

from NeuroGenPanels.model_store import ABSENT, usable_models

if TYPE_CHECKING:
    from collections.abc import Callable


class ModelPicker:
    """List of models, and a button to the module where others are added.

    Parameters
    ----------
    combo:
        ``QComboBox`` to fill.
    button:
        ``QPushButton`` or ``QToolButton`` that opens the module NeuroGen.
    kind:
        Of the models: ``atlas`` ...
    on_chosen:
        Called with the reference of the model that the person chose.
    """

    def __init__(self, combo: Any, button: Any, kind: str, on_chosen: Callable[[str], object]) -> None:
        self._combo = combo
        self._kind = kind
        self._on_chosen = on_chosen
        self._rows: list[dict[str, Any]] = []
        self._filling = False
        button.clicked.connect(lambda *_clicked: slicer.util.selectModule("NeuroGenHome"))
        combo.connect("currentIndexChanged(int)", self._chosen)

    @property
    def row(self) -> dict[str, Any] | None:
        """The row of the model that is shown, as :func:`NeuroGenPanels.model_store.model_rows` has it."""
        index = self._combo.currentIndex
        return self._rows[index] if 0 <= index < len(self._rows) else None

    def refresh(self, reference: str) -> bool:
        """List the models again and show one of them; return whether it is available.

        A model that is not available is listed as missing, so that a scene keeps what it was made with.
        """
        self._filling = True
        try:
            self._rows = usable_models(self._kind)
            known = [row["reference"] for row in self._rows]
            here = reference in known
            if reference and not here:
                absent = {"reference": reference, "where": ABSENT, "name": f"{reference} (not here)", "license": None}
                self._rows.append(absent)
                known.append(reference)
            self._combo.clear()
            for row in self._rows:
                self._combo.addItem(str(row["name"]))
                self._combo.setItemData(self._combo.count - 1, str(row["reference"]), qt.Qt.ToolTipRole)
            self._combo.setCurrentIndex(known.index(reference) if reference else -1)
        finally:
            self._filling = False
        return here

    def _chosen(self, *_index: int) -> None:
        index = self._combo.currentIndex
        if self._filling or not 0 <= index < len(self._rows):
            return
        self._on_chosen(str(self._rows[index]["reference"]))
