"""NeuroGen Registration: one image registered to another, without folds."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import slicer
from slicer.i18n import tr as _
from slicer.ScriptedLoadableModule import ScriptedLoadableModule, ScriptedLoadableModuleLogic

try:
    import NeuroGenLib
    import NeuroGenPanels
except ImportError:  # a source checkout: the libraries are not beside this file
    sys.path += [str(Path(__file__).resolve().parents[depth]) for depth in (1, 2)]

from NeuroGenLib.alignment.halfway import START_KINDS
from NeuroGenLib.core.config import from_mapping, to_mapping
from NeuroGenLib.core.provenance import RESEARCH_USE
from NeuroGenLib.registration.config import BUNDLED, RegisterConfig
from NeuroGenLib.registration.evaluation.quality import STAGES
from NeuroGenPanels import dependencies, panel_test
from NeuroGenPanels.capability_widget import CapabilityWidget
from NeuroGenPanels.estimates import Estimates
from NeuroGenPanels.job_runner import WaitingRunner
from NeuroGenPanels.messages import errors_shown
from NeuroGenPanels.metadata import describe
from NeuroGenPanels.model_store import acknowledge, model_notice
from NeuroGenPanels.quality import quality_cells
from NeuroGenPanels.tables import fill_table
from NeuroGenPanels.word_combo import WordCombo
from NeuroGenRegistrationLib.parameters import RegistrationParameters
from NeuroGenRegistrationLib.registering import (
    JOB,
    InputNodes,
    chosen_nodes,
    chosen_settings,
    estimate_arguments,
    quality_headings,
    registration_task,
    result_text,
    run_task,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from NeuroGenLib.scenes.registration import RegistrationNodes
    from NeuroGenPanels.job_runner import JobRunner
    from NeuroGenPanels.worker_service import WorkerService

log = logging.getLogger("NeuroGenRegistration")


class NeuroGenRegistration(ScriptedLoadableModule):
    """Metadata of the module."""

    def __init__(self, parent: Any) -> None:
        ScriptedLoadableModule.__init__(self, parent)
        describe(
            parent,
            title=_("NeuroGen Registration"),
            help_text=_(
                "Registers a moving to a fixed image: an affine start, a network whose transform has an exact inverse,"
                " and a fine adjustment to the very pair. Transforms, resampled image and labels, change of volume and"
                " a table of the quality come into the scene."
            ),
        )


class NeuroGenRegistrationLogic(ScriptedLoadableModuleLogic):
    """Registration of volumes of the scene, for the panel, Slicer's Python console and scripts.

    Parameters
    ----------
    service:
        Runs the jobs of the console; a service of its own when not given.

    Examples
    --------
    In Slicer's Python console, with two volumes in the scene::

        logic = slicer.util.getModuleLogic("NeuroGenRegistration")
        fixed, moving = slicer.util.getNode("fixed"), slicer.util.getNode("moving")
        nodes = logic.register(fixed, moving, start="rigid", refine=60)
        slicer.util.setSliceViewerLayers(background=fixed, foreground=nodes.warped)
    """

    def __init__(self, service: WorkerService | None = None) -> None:
        ScriptedLoadableModuleLogic.__init__(self)
        self._console = WaitingRunner(service)

    def register(
        self,
        fixedNode: Any,
        movingNode: Any,
        *,
        fixed_labels: Any = None,
        moving_labels: Any = None,
        fixed_mask: Any = None,
        moving_mask: Any = None,
        model: str = BUNDLED,
        device: str = "auto",
        runner: JobRunner | None = None,
        on_registered: Callable[[RegistrationNodes], object] | None = None,
        on_note: Callable[[str], object] = log.warning,
        **settings: Any,
    ) -> RegistrationNodes | None:
        """Register a volume to another and put the result into the scene.

        Parameters
        ----------
        fixedNode, movingNode:
            ``vtkMRMLScalarVolumeNode``; the moving one comes under the forward transform.
        fixed_labels, moving_labels, fixed_mask, moving_mask:
            Segmentation or label map nodes; see :meth:`NeuroGenLib.registration.infer.RegistrationModel.register`.
        model, device:
            A model reference (``bundled:NAME``, a folder, ``hf:org/repo@revision``), and where it computes.
        runner:
            Runs the job; when not given, this method returns when the job is done.
        on_registered:
            Called with the nodes.
        on_note:
            Called with each note about the inputs.
        settings:
            As :class:`NeuroGenLib.registration.config.RegisterConfig`: ``start``, ``refine``.

        Returns
        -------
        RegistrationNodes
            ``forward``, ``inverse``, ``warped``, ``labels``, ``jacobian``, ``quality``; None as long as the runner
            works, or where it did not begin.

        Raises
        ------
        NeuroGenError
            When an input, a setting or the model cannot be used.
        """
        task = registration_task(
            InputNodes(
                fixed=fixedNode,
                moving=movingNode,
                fixed_labels=fixed_labels,
                moving_labels=moving_labels,
                fixed_mask=fixed_mask,
                moving_mask=moving_mask,
            )
        )
        arguments = {
            "model": model,
            "device": device,
            "settings": to_mapping(from_mapping(RegisterConfig, settings)),
        }
        registered: list[RegistrationNodes] = []

        def keep(nodes: RegistrationNodes) -> None:
            registered.append(nodes)
            if on_registered is not None:
                on_registered(nodes)

        if run_task(runner or self._console, task, arguments, keep):
            for note in task.notes:
                on_note(note)
        return registered[0] if registered else None


class NeuroGenRegistrationWidget(CapabilityWidget):
    """Wires choices, button and the scene to the parts in NeuroGenRegistrationLib."""

    parameters_class = RegistrationParameters
    model_kind = "registration"

    def build(self) -> None:
        """Make the parts."""
        from NeuroGenLib.scenes.registration import VIEWS

        self.make_parts(_("NeuroGen Registration"), _("Registration"))
        self.logic = NeuroGenRegistrationLogic(self.jobs)
        self.startChoice = WordCombo(self.ui.startCombo, START_KINDS, lambda word: self.set_parameter("start", word))
        self.viewChoice = WordCombo(self.ui.viewCombo, VIEWS, lambda word: self.set_parameter("view", word))
        self._looked: tuple[str, float, float, float] | None = None
        self._shown: Any = None
        self.ui.registerButton.clicked.connect(self._register_clicked)

    def enter(self) -> None:
        """Describe the model again: it may have changed."""
        CapabilityWidget.enter(self)
        self._say_model()

    def scene_closing(self) -> None:
        """Stop the running job: its scene goes."""
        CapabilityWidget.scene_closing(self)
        self._looked = self._shown = None
        self._say_result(None)

    def parameters_bound(self) -> None:
        """Show the choices of this scene; the views stay as they were saved."""
        self.picker.refresh(self.parameters.model)
        self._say_model()
        self._looked = self._look()

    def parameters_changed(self) -> None:
        """Follow a choice: buttons, estimate, the result of this pair, the views once there is one."""
        self.startChoice.show(self.parameters.start)
        self.viewChoice.show(self.parameters.view)
        self.update_buttons()
        self._estimate()
        forward = self._forward()
        if forward is not self._shown:
            self._say_result(forward)
        look = self._look()
        if look != self._looked:
            self._looked = look
            self._show_views()

    # What the person does

    def _register_clicked(self, *_clicked: bool) -> None:
        with errors_shown(_("Register")):
            if acknowledge(self.picker.row):
                notes: list[str] = []
                self.logic.register(
                    **chosen_nodes(self.parameters),
                    model=self.parameters.model,
                    device=self.parameters.device,
                    runner=self.runBar,
                    on_registered=self._registered,
                    on_note=notes.append,
                    **chosen_settings(self.parameters),
                )
                if self.runBar.busy:
                    for note in notes:
                        self.runBar.log(note)
                    self.ui.stateLabel.setText(" ".join(notes))

    def choose_model(self, reference: str) -> None:
        """Work with the model that was chosen."""
        self.parameters.model = reference
        self._say_model()
        self.update_buttons()

    # What comes back

    def _registered(self, nodes: RegistrationNodes) -> None:
        self.estimates.forget()
        self._estimate()
        if nodes.forward is self._forward():
            self._say_result(nodes.forward)
            self._looked = self._look()
            self._show_views()

    # What follows from it

    def _forward(self) -> Any:
        """Return the forward transform of the chosen pair's registration, None where there is none."""
        from NeuroGenLib.scenes.registration import forward_of

        fixed, moving = self.parameters.fixed, self.parameters.moving
        return None if fixed is None or moving is None else forward_of(slicer.mrmlScene, fixed, moving)

    def _look(self) -> tuple[str, float, float, float]:
        chosen = self.parameters
        return chosen.view, chosen.opacity, chosen.tile, chosen.leastChange

    def _show_views(self) -> None:
        from NeuroGenLib.scenes.registration import show_registration

        forward, chosen = self._forward(), self.parameters
        if forward is None:
            return
        with errors_shown(_("Show the result")):
            show_registration(
                slicer.mrmlScene,
                forward,
                chosen.view,
                opacity=chosen.opacity,
                tile_mm=chosen.tile,
                least_change=chosen.leastChange,
            )

    def _say_result(self, forward: Any) -> None:
        from NeuroGenLib.mrml.provenance import provenance_of
        from NeuroGenLib.scenes.registration import quality_of

        self._shown = forward
        rows = [] if forward is None else quality_of(forward)
        record = {} if forward is None else provenance_of(forward)
        self.ui.stateLabel.setText(result_text(rows, record))
        fill_table(self.ui.qualityTable, quality_headings(), quality_cells(rows, STAGES))

    def _say_model(self) -> None:
        self.ui.noticeLabel.setText(model_notice(self.picker.row)[0])

    def _estimate(self) -> None:
        self.estimate(self.ui.estimateLabel, JOB, lambda: estimate_arguments(self.parameters))

    def update_buttons(self) -> None:
        """Enable what can be done now."""
        if self.parameters is None:
            return
        chosen = self.parameters
        ready = chosen.fixed is not None and chosen.moving is not None and self.picker.row is not None
        self.ui.registerButton.setEnabled(ready and not self.runBar.busy)
        self.ui.stepsBox.setEnabled(chosen.adjust)
        self.ui.opacitySlider.setEnabled(chosen.view != "checkerboard")
        self.ui.tileSlider.setEnabled(chosen.view == "checkerboard")
        self.ui.changeSlider.setEnabled(chosen.view == "change")


class NeuroGenRegistrationTest(panel_test.PanelTest):
    """Self-test inside Slicer, without a download."""

    def check(self, widget: Any) -> None:
        """Find the bundled model chosen and nothing to run."""
        self.assertEqual(widget.parameters.model, "bundled:registration")
        self.assertFalse(widget.ui.registerButton.enabled)
