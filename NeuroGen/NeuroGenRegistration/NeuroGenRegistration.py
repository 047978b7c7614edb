"""NeuroGen Registration: one image brought onto another, without folds."""

import sys
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
)

try:
    import NeuroGenLib
    import NeuroGenPanels
except ImportError:  # a source checkout: the libraries are not beside this file
    sys.path += [str(Path(__file__).resolve().parents[depth]) for depth in (1, 2)]

from NeuroGenLib.alignment.halfway import START_KINDS
from NeuroGenLib.core.provenance import RESEARCH_USE
from NeuroGenLib.registration.evaluation.quality import STAGES
from NeuroGenPanels import dependencies
from NeuroGenPanels.estimates import Estimates
from NeuroGenPanels.messages import errors_shown
from NeuroGenPanels.metadata import describe
from NeuroGenPanels.model_picker import ModelPicker
from NeuroGenPanels.model_store import acknowledge, model_notice
from NeuroGenPanels.panel_widget import PanelWidget
from NeuroGenPanels.quality import quality_cells
from NeuroGenPanels.run_bar import RunBar
from NeuroGenPanels.tables import fill_table
from NeuroGenPanels.word_combo import WordCombo
from NeuroGenRegistrationLib.parameters import RegistrationParameters
from NeuroGenRegistrationLib.registering import (
    estimate_arguments,
    found_text,
    quality_headings,
    register,
    task_of,
)

JOB = "registration.run"


class NeuroGenRegistration(ScriptedLoadableModule):
    """What Slicer's module list says of it."""

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
    """Keeps the parameter node; the work is done in NeuroGenLib."""


class NeuroGenRegistrationWidget(PanelWidget):
    """Wires choices, button and the scene to the parts in NeuroGenRegistrationLib."""

    parameters_class = RegistrationParameters

    def build(self) -> None:
        """Make the parts."""
        from NeuroGenLib.scenes.registration import VIEWS

        self.logic = NeuroGenRegistrationLogic()
        self.jobs = self.new_service(_("Registration"))
        self.runBar = RunBar(self.ui.runWidget.layout(), self.jobs, _("NeuroGen Registration"))
        self.picker = ModelPicker(self.ui.modelCombo, self.ui.modelsButton, "registration", self._choose_model)
        self.startChoice = WordCombo(self.ui.startCombo, START_KINDS, lambda word: self._set("start", word))
        self.viewChoice = WordCombo(self.ui.viewCombo, VIEWS, lambda word: self._set("view", word))
        self.estimates = Estimates(self.jobs)
        self._looked: tuple[str, float, float, float] | None = None
        self._shown: Any = None
        self.ui.researchLabel.setText(RESEARCH_USE)
        self.ui.registerButton.clicked.connect(self._register_clicked)
        self.runBar.when_changed(self._update_buttons)

    def enter(self) -> None:
        """List the models anew: the module NeuroGen may have added some."""
        PanelWidget.enter(self)
        self.picker.refresh(self.parameters.model)
        self._say_model()
        self._update_buttons()

    def use_model(self, reference: str) -> None:
        """Work with a model that was chosen elsewhere."""
        self.picker.refresh(reference)
        self._choose_model(reference)

    def scene_closing(self) -> None:
        """Stop the running job: its scene goes."""
        self.estimates.stop()
        if self.runBar.busy:
            self.runBar.abandon()
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
        self._update_buttons()
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
                task = task_of(self.parameters)
                if register(self.runBar, task, self._registered):
                    for note in task.notes:
                        self.runBar.log(note)
                    self.ui.stateLabel.setText(" ".join(task.notes))

    def _choose_model(self, reference: str) -> None:
        self.parameters.model = reference
        self._say_model()
        self._update_buttons()

    def _set(self, name: str, word: str) -> None:
        if self.parameters is not None:
            setattr(self.parameters, name, word)

    # What comes back

    def _registered(self, forward: Any) -> None:
        self.estimates.forget()
        self._estimate()
        if forward is self._forward():
            self._say_result(forward)
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
        self.ui.stateLabel.setText(found_text(rows, record))
        fill_table(self.ui.qualityTable, quality_headings(), quality_cells(rows, STAGES))

    def _say_model(self) -> None:
        self.ui.noticeLabel.setText(model_notice(self.picker.row)[0])

    def _estimate(self) -> None:
        if not self.runBar.busy and not dependencies.missing():
            self.estimates.want(self.ui.estimateLabel, JOB, estimate_arguments(self.parameters))

    def _update_buttons(self) -> None:
        if self.parameters is None:
            return
        chosen = self.parameters
        ready = chosen.fixed is not None and chosen.moving is not None and self.picker.row is not None
        self.ui.registerButton.setEnabled(ready and not self.runBar.busy)
        self.ui.stepsBox.setEnabled(chosen.adjust)
        self.ui.opacitySlider.setEnabled(chosen.view != "checkerboard")
        self.ui.tileSlider.setEnabled(chosen.view == "checkerboard")
        self.ui.changeSlider.setEnabled(chosen.view == "change")


class NeuroGenRegistrationTest(ScriptedLoadableModuleTest):
    """What can be tested inside Slicer without a download."""

    def runTest(self) -> None:
        """Open the panel and find the bundled model."""
        slicer.mrmlScene.Clear()
        slicer.util.selectModule("NeuroGenRegistration")
        widget = slicer.modules.NeuroGenRegistrationWidget
        self.assertEqual(widget.parameters.model, "bundled:registration")
        self.assertFalse(widget.ui.registerButton.enabled)
        self.delayDisplay("The panel is ready")
