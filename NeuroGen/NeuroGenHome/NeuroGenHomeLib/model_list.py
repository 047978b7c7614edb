"""Table of models: adds, downloads and opens them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ctk
import slicer
from slicer.i18n import tr as _

from NeuroGenLib.core.errors import InputError
from NeuroGenPanels import model_store
from NeuroGenPanels.messages import errors_shown
from NeuroGenPanels.run_bar import memory
from NeuroGenPanels.tables import fill_table

if TYPE_CHECKING:
    from NeuroGenPanels.run_bar import RunBar

HEADINGS = ("model", "kind", "where", "licence", "size")
PANELS = {
    "atlas": ("NeuroGenAtlas", _("Open in Atlas")),
    "registration": ("NeuroGenRegistration", _("Open in Registration")),
    "superres": ("NeuroGenSuperResolution", _("Open in Super-Resolution")),
}
"""Kind of model to the module that uses it, and the text of the button that opens it there."""


class ModelList:
    """List of the models and their cards; adds, downloads and opens them.

    Parameters
    ----------
    ui:
        The panel's widgets.
    run_bar:
        Downloads.
    """

    def __init__(self, ui: Any, run_bar: RunBar) -> None:
        self._ui = ui
        self._run_bar = run_bar
        self._rows: list[dict[str, Any]] = []
        ui.modelFolder.filters = ctk.ctkPathLineEdit.Dirs
        ui.modelsTable.itemSelectionChanged.connect(self._selected)
        ui.downloadButton.clicked.connect(self._download)
        ui.removeButton.clicked.connect(self._remove)
        ui.useButton.clicked.connect(self._use)
        ui.addFolderButton.clicked.connect(self._add_folder)
        ui.hubEdit.textChanged.connect(self.update_buttons)
        run_bar.when_changed(self.update_buttons)

    @property
    def chosen(self) -> dict[str, Any] | None:
        """The row that is chosen."""
        row = self._ui.modelsTable.currentRow()
        return self._rows[row] if 0 <= row < len(self._rows) else None

    def refresh(self, choose: str = "") -> None:
        """List the models again; the chosen one stays chosen, unless another is to be."""
        chosen = choose or (self.chosen["reference"] if self.chosen else "")
        self._rows = model_store.model_rows()
        references = [row["reference"] for row in self._rows]
        selected = references.index(chosen) if chosen in references else -1
        fill_table(self._ui.modelsTable, HEADINGS, [_texts(row) for row in self._rows], selected)
        self._selected()

    def update_buttons(self, *_anything: object) -> None:
        """Enable what can be done with the chosen model."""
        row = self.chosen
        usable = row is not None and not row["problem"] and row["where"] != "published" and row["kind"] in PANELS
        free = not self._run_bar.busy
        self._ui.useButton.setEnabled(bool(usable))
        self._ui.useButton.setText(PANELS[row["kind"]][1] if row is not None and row["kind"] in PANELS else _("Open"))
        self._ui.removeButton.setEnabled(row is not None and row["where"] == "folder")
        self._ui.downloadButton.setEnabled(free and bool(self._to_download()))

    def _selected(self) -> None:
        row = self.chosen
        self.update_buttons()
        if row is None:
            self._ui.cardBrowser.setPlainText("")
            return
        with errors_shown("Read the model's card"):
            self._ui.cardBrowser.setMarkdown(self._card(row))

    def _card(self, row: dict[str, Any]) -> str:
        from NeuroGenLib.models import resolve

        if row["problem"]:
            return f"**{row['reference']}**\n\n{row['problem']}"
        if row["where"] == "published":
            return f"**{row['name']}**\n\nPublished by others, licence {row['license']}. Download brings it here."
        return resolve(row["reference"], offline=True).card or f"**{row['name']}** has no card."

    def _to_download(self) -> str:
        named = self._ui.hubEdit.text.strip()
        row = self.chosen
        if named:
            return named
        return str(row["reference"]) if row and str(row["reference"]).startswith("hf:") and not row["problem"] else ""

    def _download(self, *_clicked: bool) -> None:
        from NeuroGenLib.models.reference import HubReference

        with errors_shown("Download a model"):
            reference = HubReference.parse(self._to_download())
            words = ["models", "download", str(reference), "--json", "--progress", "json"]
            self._run_bar.run(
                f"Downloading {reference}",
                "run",
                {"words": words},
                lambda result: self._downloaded(str(reference.at(result["json"]["revision"]))),
            )

    def _downloaded(self, reference: str) -> None:
        self._ui.hubEdit.setText("")
        self.refresh(choose=reference)

    def _add_folder(self, *_clicked: bool) -> None:
        path = self._ui.modelFolder.currentPath.strip()
        with errors_shown("Add a model folder"):
            if not path:
                raise InputError(
                    "No folder is chosen.", "Choose a model folder: it holds neurogen.json.", code="value-missing"
                )
            self.refresh(choose=model_store.add_model_folder(path))

    def _remove(self, *_clicked: bool) -> None:
        row = self.chosen
        if row is not None:
            model_store.remove_model_folder(row["reference"])
            self.refresh()

    def _use(self, *_clicked: bool) -> None:
        row = self.chosen
        if row is None or not model_store.acknowledge(row):
            return
        module, _text = PANELS[row["kind"]]
        slicer.util.selectModule(module)
        getattr(slicer.modules, f"{module}Widget").use_model(row["reference"])


def _texts(row: dict[str, Any]) -> tuple[str, ...]:
    damaged = row["problem"] and row["where"] != "published"
    return (
        str(row["name"] or row["reference"]),
        str(row["kind"] or "?"),
        f"{row['where']}, damaged" if damaged else str(row["where"]),
        str(row["license"] or "?"),
        memory(row["size"]) if row["size"] else "",
    )
