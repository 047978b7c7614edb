"""The table of models, and what can be done with one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import slicer

from NeuroGenLib.errors import InputError
from NeuroGenPanels import model_store
from NeuroGenPanels.messages import errors_shown
from NeuroGenPanels.run_bar import memory
from NeuroGenPanels.tables import fill_table

if TYPE_CHECKING:
    from NeuroGenPanels.run_bar import RunBar

HEADINGS = ("model", "kind", "where", "licence", "size")
PANELS = {"atlas": "NeuroGenAtlas"}
"""Kind of model to the module that uses it."""


class ModelList:
    """Shows the models and their cards; adds, downloads and opens them.

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

    def refresh(self) -> None:
        """List the models anew."""
        self._rows = model_store.model_rows()
        rows = [
            (
                str(row["name"] or row["reference"]),
                str(row["kind"] or "?"),
                str(row["where"]),
                str(row["license"] or "?"),
                memory(row["size"]) if row["size"] else "",
            )
            for row in self._rows
        ]
        fill_table(self._ui.modelsTable, HEADINGS, rows)
        self.update_buttons()

    def update_buttons(self, *_anything: object) -> None:
        """Enable what can be done with the chosen model."""
        row = self.chosen
        ours = row is not None and not row["problem"] and row["where"] != "published" and row["kind"] in PANELS
        free = not self._run_bar.busy
        self._ui.useButton.setEnabled(bool(ours))
        self._ui.removeButton.setEnabled(row is not None and row["where"] == "folder")
        self._ui.downloadButton.setEnabled(free and bool(self._to_download()))

    def _selected(self) -> None:
        row = self.chosen
        self.update_buttons()
        if row is None:
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
        reference = self._to_download()
        with errors_shown("Download a model"):
            if not reference.startswith("hf:"):
                raise InputError(f"'{reference}' is not on the hub.", "Write hf:organisation/repository.")
            self._run_bar.run(
                f"Downloading {reference}",
                "run",
                {"words": ["models", "download", reference, "--progress", "json"]},
                lambda _result: self._downloaded(),
            )

    def _downloaded(self) -> None:
        self._ui.hubEdit.setText("")
        self.refresh()

    def _add_folder(self, *_clicked: bool) -> None:
        path = self._ui.modelFolder.currentPath
        with errors_shown("Add a model folder"):
            if not path:
                raise InputError("No folder is chosen.", "Choose a model folder: it holds neurogen.json.")
            model_store.add_model_folder(path)
        self.refresh()

    def _remove(self, *_clicked: bool) -> None:
        row = self.chosen
        if row is not None:
            model_store.remove_model_folder(row["reference"])
            self.refresh()

    def _use(self, *_clicked: bool) -> None:
        row = self.chosen
        if row is None or not model_store.acknowledge(row):
            return
        module = PANELS[row["kind"]]
        slicer.util.selectModule(module)
        getattr(slicer.modules, f"{module}Widget").use_model(row["reference"])
