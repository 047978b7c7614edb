"""Base of the panels that run the jobs of one capability with a model of its kind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from NeuroGenLib.core.provenance import RESEARCH_USE
from NeuroGenPanels import dependencies
from NeuroGenPanels.estimates import Estimates
from NeuroGenPanels.model_picker import ModelPicker
from NeuroGenPanels.panel_widget import PanelWidget
from NeuroGenPanels.run_bar import RunBar

if TYPE_CHECKING:
    from collections.abc import Callable

    from NeuroGenPanels.worker_service import WorkerService


class CapabilityWidget(PanelWidget):
    """A panel with model picker, run bar and estimates.

    Its .ui file holds ``modelCombo``, ``modelsButton``, ``runWidget`` and ``researchLabel``; its parameter node has the
    field ``model``. A panel sets :attr:`model_kind`, calls :meth:`make_parts` in :meth:`build`, and overrides
    :meth:`choose_model` and :meth:`update_buttons`.
    """

    model_kind: ClassVar[str]
    """Kind of its models: ``atlas``, ``registration`` ..."""

    jobs: WorkerService
    runBar: RunBar
    picker: ModelPicker
    estimates: Estimates

    def make_parts(self, title: str, jobs: str, estimating: WorkerService | None = None) -> None:
        """Make the run bar, the model picker and the estimates.

        Parameters
        ----------
        title:
            Name of the module, for questions and errors.
        jobs:
            Name of its jobs in the list of running jobs.
        estimating:
            Worker that is asked for estimates; that of the jobs when not given.
        """
        self.jobs = self.new_service(jobs)
        self.runBar = RunBar(self.ui.runWidget.layout(), self.jobs, title)
        self.picker = ModelPicker(self.ui.modelCombo, self.ui.modelsButton, self.model_kind, self.choose_model)
        self.estimates = Estimates(estimating or self.jobs)
        self.ui.researchLabel.setText(RESEARCH_USE)
        self.runBar.when_changed(self.update_buttons)

    def choose_model(self, reference: str) -> None:
        """Work with the model that was chosen in the panel."""
        raise NotImplementedError

    def update_buttons(self) -> None:
        """Enable what can be done now."""
        raise NotImplementedError

    def use_model(self, reference: str) -> None:
        """Work with a model that was chosen in another module."""
        self.picker.refresh(reference)
        self.choose_model(reference)

    def enter(self) -> None:
        """List the models again: the module NeuroGen may have added some."""
        PanelWidget.enter(self)
        self.picker.refresh(self.parameters.model)
        self.update_buttons()

    def scene_closing(self) -> None:
        """End the running job and the estimates: their scene goes."""
        self.estimates.stop()
        if self.runBar.busy:
            self.runBar.abandon()

    def set_parameter(self, name: str, value: Any) -> None:
        """Set a parameter, when a parameter node is bound."""
        if self.parameters is not None:
            setattr(self.parameters, name, value)

    def estimate(self, label: Any, job: str, arguments: Callable[[], dict[str, Any]]) -> None:
        """Write into a label what a job will take, unless one is running or the packages for it are missing."""
        if not self.runBar.busy and not dependencies.missing():
            self.estimates.want(label, job, arguments())
