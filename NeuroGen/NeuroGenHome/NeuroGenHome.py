"""NeuroGen: models, this computer, Python packages, sample data and running jobs."""

from __future__ import annotations

import sys
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import qt
import slicer
from slicer.i18n import tr as _
from slicer.ScriptedLoadableModule import ScriptedLoadableModule, ScriptedLoadableModuleLogic

try:
    import NeuroGenLib
    import NeuroGenPanels
except ImportError:  # a source checkout: the libraries are not beside this file
    sys.path += [str(Path(__file__).resolve().parents[depth]) for depth in (1, 2)]

from NeuroGenHomeLib.model_list import ModelList
from NeuroGenHomeLib.parameters import HomeParameters
from NeuroGenPanels import dependencies, panel_test, sample_data
from NeuroGenPanels.messages import errors_shown
from NeuroGenPanels.metadata import describe
from NeuroGenPanels.panel_widget import PanelWidget
from NeuroGenPanels.run_bar import PERCENT, RunBar
from NeuroGenPanels.tables import fill_table
from NeuroGenPanels.worker_service import WorkerService

if TYPE_CHECKING:
    from NeuroGenLib.worker import JobHandle

JOBS_MS = 500


class NeuroGenHome(ScriptedLoadableModule):
    """Entry of Slicer's module list; registers the sample data."""

    def __init__(self, parent: Any) -> None:
        ScriptedLoadableModule.__init__(self, parent)
        describe(
            parent,
            title=_("NeuroGen"),
            help_text=_(
                "Models of NeuroGen and their cards, what they compute on, Python packages, sample data, running jobs."
            ),
        )
        slicer.app.connect("startupCompleted()", sample_data.register)


class NeuroGenHomeLogic(ScriptedLoadableModuleLogic):
    """Parameter node of the panel; the work is done in NeuroGenLib."""


class NeuroGenHomeWidget(PanelWidget):
    """Wiring of lists and buttons to NeuroGenPanels."""

    parameters_class = HomeParameters

    def build(self) -> None:
        """Make the parts."""
        self.logic = NeuroGenHomeLogic()
        self.jobs = self.new_service(_("Models"))
        self.runBar = RunBar(self.ui.runWidget.layout(), self.jobs, _("NeuroGen"))
        self.models = ModelList(self.ui, self.runBar)
        self._listed: list[JobHandle] = []
        self._timer = qt.QTimer()
        self._timer.setInterval(JOBS_MS)
        self._timer.timeout.connect(self._show_jobs)
        self.ui.deviceButton.clicked.connect(self._device_clicked)
        self.ui.installButton.clicked.connect(self._install_clicked)
        self.ui.samplesButton.clicked.connect(lambda *_clicked: slicer.util.selectModule("SampleData"))
        self.ui.stopButton.clicked.connect(self._stop_clicked)
        self.ui.jobsTable.itemSelectionChanged.connect(self._job_chosen)
        self.runBar.when_changed(self._show_jobs)

    def enter(self) -> None:
        """Update all lists."""
        PanelWidget.enter(self)
        self.models.refresh()
        self._show_packages()
        self._show_jobs()
        self._timer.start()

    def exit(self) -> None:
        """Stop updating."""
        self._timer.stop()

    def cleanup(self) -> None:
        """End everything."""
        self._timer.stop()
        PanelWidget.cleanup(self)

    def _device_clicked(self, *_clicked: bool) -> None:
        self.runBar.run(_("Inspecting this computer"), "run", {"words": ["doctor", "--json"]}, self._show_device)

    def _show_device(self, result: dict[str, Any]) -> None:
        lines = []
        for group, facts in result["json"].items():
            texts = ", ".join(f"{name} {value}" for name, value in facts.items())
            lines.append(f"<b>{escape(group)}</b>: {escape(texts)}")
        self.ui.deviceLabel.setText("<br>".join(lines))

    def _show_packages(self) -> None:
        packages = dependencies.dependencies()
        rows = [(package.requirement, package.installed or _("missing")) for package in packages]
        fill_table(self.ui.packagesTable, ("needed", "here"), rows)
        self.ui.installButton.setEnabled(bool(dependencies.missing()))

    def _install_clicked(self, *_clicked: bool) -> None:
        with errors_shown(_("Install packages")):
            dependencies.ensure(_("NeuroGen"))
        self._show_packages()

    def _show_jobs(self) -> None:
        chosen = self._chosen_job()
        jobs = [(service.title, handle) for service in WorkerService.running for handle in service.jobs]
        self._listed = [handle for _title, handle in jobs]
        rows = [(title, handle.job, f"{PERCENT * handle.progress:.0f} %", handle.message) for title, handle in jobs]
        selected = self._listed.index(chosen) if chosen in self._listed else -1
        fill_table(self.ui.jobsTable, (_("panel"), _("job"), _("done"), _("message")), rows, selected)
        self._job_chosen()

    def _chosen_job(self) -> JobHandle | None:
        row = self.ui.jobsTable.currentRow()
        return self._listed[row] if 0 <= row < len(self._listed) else None

    def _job_chosen(self) -> None:
        self.ui.stopButton.setEnabled(self._chosen_job() is not None)

    def _stop_clicked(self, *_clicked: bool) -> None:
        job = self._chosen_job()
        if job is not None:
            job.cancel()


class NeuroGenHomeTest(panel_test.PanelTest):
    """Test inside Slicer."""

    def check(self, widget: Any) -> None:
        """Find the bundled model in the list."""
        table = widget.ui.modelsTable
        self.assertIn("fetal-sba", [table.item(row, 0).text() for row in range(table.rowCount)])
