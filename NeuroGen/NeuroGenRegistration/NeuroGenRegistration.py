"""NeuroGen Registration: one image brought onto another, without folds."""

import sys
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _
from slicer.ScriptedLoadableModule import ScriptedLoadableModule, ScriptedLoadableModuleLogic

try:
    import NeuroGenLib
    import NeuroGenPanels
except ImportError:  # a source checkout: the libraries are not beside this file
    sys.path += [str(Path(__file__).resolve().parents[depth]) for depth in (1, 2)]

from NeuroGenLib.alignment.halfway import KINDS
from NeuroGenLib.registration.evaluation.quality import STAGES
from NeuroGenPanels import dependencies, panel_test
from NeuroGenPanels.capability_widget import CapabilityWidget
from NeuroGenPanels.messages import errors_shown
from NeuroGenPanels.metadata import describe
from NeuroGenPanels.model_store import acknowledge, model_notice
from NeuroGenPanels.quality import quality_cells
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


class NeuroGenRegistrationWidget(CapabilityWidget):
    """Wires choices, button and the scene to the parts in NeuroGenRegistrationLib."""

    parameters_class = RegistrationParameters
    model_kind = "registration"

    def build(self) -> None:
        """Make the parts."""
        from NeuroGenLib.scenes.registration import VIEWS

        self.logic = NeuroGenRegistrationLogic()
        self.make_parts(_("NeuroGen Registration"), _("Registration"))
        self.startChoice = WordCombo(self.ui.startCombo, KINDS, lambda word: self.set_parameter("start", word))
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
                task = task_of(self.parameters)
                if register(self.runBar, task, self._registered):
                    for note in task.notes:
                        self.runBar.log(note)
                    self.ui.stateLabel.setText(" ".join(task.notes))

    def choose_model(self, reference: str) -> None:
        """Work with the model that was chosen."""
        self.parameters.model = reference
        self._say_model()
        self.update_buttons()

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
    """Test inside Slicer."""

    def check(self, widget: Any) -> None:
        """Find the bundled model chosen and nothing to run."""
        self.assertEqual(widget.parameters.model, "bundled:registration")
        self.assertFalse(widget.ui.registerButton.enabled)
