"""NeuroGen Atlas: a brain atlas browsed by age and condition, and fitted to volumes."""

from __future__ import annotations

import sys
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

from NeuroGenAtlasLib.browser import Browser, View
from NeuroGenAtlasLib.fitting import fit, generate, result_text, scan_arguments, tissue_rows
from NeuroGenAtlasLib.model_session import ModelSession
from NeuroGenAtlasLib.parameters import FIT_FIELDS, GENERATE_FIELDS, AtlasParameters
from NeuroGenAtlasLib.sequence import export, make_sequence, open_published
from NeuroGenLib.atlas.config import BUNDLED, FitConfig, GenerateConfig, SubjectConfig
from NeuroGenLib.atlas.output import CERTAINTY, GROWTH, image_name
from NeuroGenLib.core.config import from_mapping, to_mapping
from NeuroGenPanels import dependencies, panel_test
from NeuroGenPanels.capability_widget import CapabilityWidget
from NeuroGenPanels.condition_controls import ConditionControls
from NeuroGenPanels.job_runner import WaitingRunner
from NeuroGenPanels.messages import errors_shown, show_error
from NeuroGenPanels.metadata import describe
from NeuroGenPanels.model_store import acknowledge, is_acknowledged
from NeuroGenPanels.parameter_fields import settings_of
from NeuroGenPanels.tables import fill_table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from NeuroGenLib.core.errors import NeuroGenError
    from NeuroGenLib.scenes.atlas import GeneratedNodes
    from NeuroGenLib.scenes.atlas_fit import FitNodes
    from NeuroGenLib.spatial.result import Result
    from NeuroGenPanels.job_runner import JobRunner
    from NeuroGenPanels.worker_service import WorkerService

NO_LABEL = "nothing"


class NeuroGenAtlas(ScriptedLoadableModule):
    """Metadata of the module."""

    def __init__(self, parent: Any) -> None:
        ScriptedLoadableModule.__init__(self, parent)
        describe(
            parent,
            title=_("NeuroGen Atlas"),
            help_text=_(
                "A brain atlas for every age and condition: move the sliders, make sequences over age, fit the atlas to"
                " a scan, open published atlases."
            ),
        )


class NeuroGenAtlasLogic(ScriptedLoadableModuleLogic):
    """Brains of an atlas, and fits to volumes of the scene, for the panel, Slicer's Python console and scripts.

    Parameters
    ----------
    service:
        Runs the jobs of the console; a service of its own when not given.

    Examples
    --------
    In Slicer's Python console::

        logic = slicer.util.getModuleLogic("NeuroGenAtlas")
        brain = logic.generate(age=30.2, conditions={"lv_volume_normed": 0.12}, spacing=0.8)
        slicer.util.setSliceViewerLayers(background=brain.images["T2w"])
        fit = logic.fit(brain.images["T2w"], mask=brain.segmentation, steps=100)
    """

    def __init__(self, service: WorkerService | None = None) -> None:
        ScriptedLoadableModuleLogic.__init__(self)
        self._console = WaitingRunner(service)

    def generate(
        self,
        age: float,
        conditions: dict[str, float | str] | None = None,
        spacing: float | tuple[float, float, float] = 1.0,
        *,
        model: str = BUNDLED,
        device: str = "auto",
        runner: JobRunner | None = None,
        on_generated: Callable[[GeneratedNodes], object] | None = None,
        **options: Any,
    ) -> GeneratedNodes | None:
        """Render the brain of an age and condition and put it into the scene.

        Parameters
        ----------
        age, conditions, spacing, options:
            The fields of :class:`NeuroGenLib.atlas.config.GenerateConfig`.
        model, device:
            A model reference (``bundled:NAME``, a folder, ``hf:org/repo@revision``), and where it computes.
        runner:
            Runs the jobs; when not given, this method returns when they are done.
        on_generated:
            Called with the nodes.

        Returns
        -------
        GeneratedNodes
            ``images``, ``segmentation``, ``growth_maps``, ``growth``; None as long as the runner works, or where it did
            not begin.
        """
        settings = {**options, "age": age, "conditions": conditions or {}, "spacing": spacing}
        brain = to_mapping(from_mapping(GenerateConfig, settings))
        runner = runner or self._console
        made: list[GeneratedNodes] = []

        def keep(nodes: GeneratedNodes) -> None:
            made.append(nodes)
            if on_generated is not None:
                on_generated(nodes)

        opened = {"model": model, "device": device}
        runner.run(
            _("Opening the model"),
            "model.open",
            opened,
            lambda facts: generate(runner, facts, {**opened, **brain}, keep),
        )
        return made[0] if made else None

    def fit(
        self,
        volumeNode: Any,
        *,
        image: str | None = None,
        mask: Any = None,
        labels: Any = None,
        age: float | None = None,
        conditions: dict[str, float | str] | None = None,
        model: str = BUNDLED,
        device: str = "auto",
        facts: dict[str, Any] | None = None,
        runner: JobRunner | None = None,
        on_fitted: Callable[[FitNodes, Result], object] | None = None,
        **settings: Any,
    ) -> FitNodes | None:
        """Fit the atlas to a volume and put labels, reconstruction and deviation into the scene.

        Parameters
        ----------
        volumeNode:
            ``vtkMRMLScalarVolumeNode`` of a brain.
        image:
            The one of the model's images that it is; the first when not given.
        mask, labels:
            Segmentation or label map nodes; see :func:`NeuroGenLib.atlas.fit.scan.read_scan`.
        age, conditions:
            Where they are known; see :class:`NeuroGenLib.atlas.config.SubjectConfig`.
        model, device, runner:
            As for :meth:`generate`.
        facts:
            Result of the job ``model.open``, where the model is open; it is opened when not given.
        on_fitted:
            Called with the nodes and the result.
        settings:
            As :class:`NeuroGenLib.atlas.config.FitConfig`: ``steps``, ``seed`` ...

        Returns
        -------
        FitNodes
            ``segmentation``, ``reconstruction``, ``atlas``, ``deviation``, ``to_atlas``, ``tissues``, ``growth``; None
            as long as the runner works, or where it did not begin.
        """
        opened = {"model": model, "device": device}
        known = to_mapping(from_mapping(SubjectConfig, {"age": age, "conditions": conditions or {}}))
        asked = {**opened, **known, "settings": to_mapping(from_mapping(FitConfig, settings))}
        runner = runner or self._console
        made: list[FitNodes] = []

        def keep(nodes: FitNodes, result: Result) -> None:
            made.append(nodes)
            if on_fitted is not None:
                on_fitted(nodes, result)

        def begin(facts: dict[str, Any]) -> bool:
            volumes = scan_arguments(volumeNode, facts, image=image, mask=mask, labels=labels)
            return fit(runner, facts, {**asked, **volumes}, volumeNode, keep)

        if facts is None:
            runner.run(_("Opening the model"), "model.open", opened, begin)
        else:
            begin(facts)
        return made[0] if made else None


class NeuroGenAtlasWidget(CapabilityWidget):
    """Wires sliders, buttons and the scene to the parts in NeuroGenAtlasLib."""

    parameters_class = AtlasParameters
    path_fields = ("openFile", "openSegmentation", "openLabels", "exportFolder")
    model_kind = "atlas"

    def build(self) -> None:
        """Make the parts."""
        from NeuroGenLib.scenes.atlas_live import LiveBrain

        self.live = self.new_service(_("Atlas: sliders"))
        self.make_parts(_("NeuroGen Atlas"), _("Atlas: long jobs"), estimating=self.live)
        self.logic = NeuroGenAtlasLogic(self.jobs)
        self.session = ModelSession(
            self.live, self._model_opened, lambda error: self._failed(error, _("Open the model"))
        )
        self.browser = Browser(self.live, self._show_brain, lambda error: self._failed(error, _("Show the brain")))
        self.controls = ConditionControls(self.ui.conditionsWidget.layout(), self._conditions_changed)
        self.brain = LiveBrain(slicer.mrmlScene)
        self._seen: View | None = None
        self._filling = self._draw_when_open = self._aside = False
        self.ui.drawButton.clicked.connect(self._draw_clicked)
        self.ui.certaintyCombo.connect("currentIndexChanged(int)", self._display_chosen)
        self.ui.imageCombo.connect("currentIndexChanged(int)", self._display_chosen)
        self.ui.sequenceButton.clicked.connect(self._sequence_clicked)
        self.ui.fitButton.clicked.connect(self._fit_clicked)
        self.ui.openButton.clicked.connect(self._open_clicked)
        self.ui.exportButton.clicked.connect(self._export_clicked)

    def scene_closing(self) -> None:
        """Stop the sliders' brain and the running job: their scene goes."""
        self.browser.stop()
        CapabilityWidget.scene_closing(self)
        self._seen = None
        self.ui.stateLabel.setText("")
        self.ui.fitLabel.setText("")
        fill_table(self.ui.fitTable, (), ())

    def parameters_bound(self) -> None:
        """Show the model of this scene; a model that is not here leaves everything as it was saved."""
        here = self.picker.refresh(self.parameters.model)
        reference = self.parameters.model
        if self.session.reference == reference and self.session.facts is not None:
            self._model_opened()
        elif not here and reference:
            self.session.forget()
            self.ui.noticeLabel.setText(
                _("The model {name} of this scene is not on this computer. Its brain is as it was saved; add the"
                  " model with More ... to render others.").format(name=reference)
            )  # fmt: skip
        else:
            self._open_quietly()
        self._seen = self._view() if self.brain.node("image") is not None and self.session.facts else None

    def parameters_changed(self) -> None:
        """Render the brain of the sliders, once there has been a first one."""
        self.update_buttons()
        self.brain.set_label_opacity(self.parameters.labelOpacity)
        self.brain.set_overlay_opacity(self.parameters.overlayOpacity)
        if not self.browser.working:
            self.brain.set_surfaces(shown=self.parameters.surfaces)
        if self.session.facts is None:
            return
        view = self._view()
        if self._seen is not None and view != self._seen:
            self._seen = view
            self.browser.show(view)
        self._estimate(view)

    # What the person does

    def _draw_clicked(self, *_clicked: bool) -> None:
        with errors_shown(_("Show the brain")):
            dependencies.ensure(_("NeuroGen Atlas"), dependencies.DRAWING)
            if self.session.facts is None:
                if acknowledge(self.picker.row):
                    self._draw_when_open = True
                    self.session.open(self.parameters.model, self.parameters.device)
                return
            self._seen = self._view()
            self.brain.bring_to_front()
            self.browser.show(self._seen)

    def choose_model(self, reference: str) -> None:
        """Work with the model that was chosen."""
        self.browser.stop()
        self.session.forget()
        self._draw_when_open, self._seen = self._seen is not None, None
        self.parameters.model = reference
        if acknowledge(self.picker.row):
            self._open_quietly()
        self.update_buttons()

    def _open_quietly(self) -> None:
        """Open the model where no question needs to be asked first."""
        row = self.picker.row
        if row is None:
            self.ui.noticeLabel.setText(_("Choose a model."))
        elif not is_acknowledged(row):
            self.ui.noticeLabel.setText(_("The licence of this model has not been accepted; Show asks for it."))
        elif dependencies.missing(dependencies.DRAWING):
            self.ui.noticeLabel.setText(_("Python packages are missing; Show asks before it installs them."))
        else:
            self.session.open(row["reference"], self.parameters.device)

    def _conditions_changed(self) -> None:
        self.parameters.conditions = {name: str(value) for name, value in self.controls.values().items()}

    def _display_chosen(self, *_index: int) -> None:
        if not self._filling and self.parameters is not None:
            name = self.ui.certaintyCombo.currentText
            self.parameters.certainty = "" if name == NO_LABEL else name
            self.parameters.image = self.ui.imageCombo.currentText

    def _sequence_clicked(self, *_clicked: bool) -> None:
        chosen = self.parameters
        with errors_shown(_("Make a sequence")):
            ages = (chosen.sequenceFrom, chosen.sequenceTo, chosen.sequenceStep)
            make_sequence(self.runBar, self._view(), ages, growth=chosen.sequenceGrowth, on_shown=self._put_aside)

    def _fit_clicked(self, *_clicked: bool) -> None:
        with errors_shown(_("Fit to my volume")):
            kind = self.ui.scanKindCombo.currentText
            chosen, view = self.parameters, self._view()
            self.logic.fit(
                chosen.scan,
                image=kind,
                mask=chosen.mask,
                labels=chosen.labels,
                age=chosen.scanAge if chosen.ageKnown else None,
                conditions=view.brain.conditions if chosen.conditionsKnown else None,
                model=view.model,
                device=view.device,
                facts=self.session.model,
                runner=self.runBar,
                on_fitted=self._fitted,
                **settings_of(chosen, **FIT_FIELDS),
            )

    def _open_clicked(self, *_clicked: bool) -> None:
        chosen = self.parameters
        with errors_shown(_("Open a published atlas")):
            open_published(
                self.runBar,
                chosen.openFile,
                ages=chosen.openAges,
                segmentation=chosen.openSegmentation,
                labels=chosen.openLabels,
                fix_origin=chosen.openFixOrigin,
                on_shown=self._put_aside,
            )

    def _export_clicked(self, *_clicked: bool) -> None:
        chosen = self.parameters
        with errors_shown(_("Export")):
            export(
                self.runBar,
                self._view(),
                chosen.exportFolder,
                certainty=chosen.exportCertainty,
                growth=chosen.exportGrowth,
                scene=chosen.exportScene,
            )

    # What comes back

    def _model_opened(self) -> None:
        facts, atlas = self.session.model, self.session.atlas
        low, high = atlas["age"]["minimum"], atlas["age"]["maximum"]
        unit = atlas["age"]["unit"]
        self.ui.noticeLabel.setText(f"{facts['description'] or ''} {facts['notice'] or ''}".strip())
        saved = dict(self.parameters.conditions)
        self.controls.build(atlas["conditions"])
        self.controls.set_values(saved)
        self._conditions_changed()
        for widget in (self.ui.ageSlider, self.ui.fromBox, self.ui.toBox, self.ui.scanAgeBox):
            # ctkSliderWidget's setRange and setSuffix are plain C++ methods, which Python does not see.
            widget.minimum, widget.maximum = low, high
            widget.suffix = f" {unit}"
        labels = [label["name"] for label in atlas["labels"] if not label["background"]]
        self._filling = True
        _fill(self.ui.certaintyCombo, [NO_LABEL, *labels], self.parameters.certainty)
        _fill(self.ui.imageCombo, atlas["modalities"], self.parameters.image)
        _fill(self.ui.scanKindCombo, atlas["modalities"], self.ui.scanKindCombo.currentText)
        self._filling = False
        self._display_chosen()
        self.update_buttons()
        view = self._view()
        if self._draw_when_open:
            self._draw_when_open = False
            self._seen = view
            self.browser.show(view)
        elif self.brain.node("image") is not None:
            self._seen = view
        self._estimate(view)

    def _show_brain(self, view: View, result: Result, coarse: bool) -> None:  # noqa: FBT001 (as the browser calls it)
        name = image_name(view.image, self.session.atlas["modalities"])
        image = result.volumes[name]
        self.brain.show(
            image,
            result.labels["labels"],
            self.session.table,
            certainty=result.volumes.get(CERTAINTY),
            growth=result.volumes.get(f"{GROWTH}_{name}"),
            opacity=self.parameters.overlayOpacity,
            record=None if coarse else result.record,
        )
        if self._aside:
            self._aside = False
            self.brain.bring_to_front()
        self.brain.set_label_opacity(self.parameters.labelOpacity)
        self.brain.set_surfaces(shown=self.parameters.surfaces and not coarse)
        if not coarse:
            self.estimates.forget()
            self._estimate(view)
        age = self.session.atlas["age"]
        sentences = [f"{view.brain.age:.1f} {age['unit']}, {image.spacing[0]:.1f} mm", *result.warnings]
        self.ui.stateLabel.setText(". ".join(text.rstrip(".") for text in sentences) + ".")

    def _put_aside(self) -> None:
        """Hide the sliders' brain behind what was just made, until it is asked for again."""
        self._aside = True
        self.brain.put_aside()

    def _fitted(self, _nodes: FitNodes, result: Result) -> None:
        summary = result.facts["fit"]
        self._put_aside()
        self.ui.fitLabel.setText(result_text(summary))
        fill_table(self.ui.fitTable, ("tissue", "ml", "expected ml", "z"), tissue_rows(summary))

    def _failed(self, error: NeuroGenError, doing: str) -> None:
        self.ui.stateLabel.setText(str(error))
        self.runBar.log(f"{doing}: {error}")
        show_error(error, doing)
        self.update_buttons()

    # What follows from it

    def _view(self) -> View:
        chosen = self.parameters
        return View(
            model=chosen.model,
            device=chosen.device,
            brain=GenerateConfig(
                age=round(chosen.age, 3),
                conditions=self.controls.values(),
                spacing=chosen.spacing,
                **settings_of(chosen, **GENERATE_FIELDS),
            ),
            image=chosen.image or self.session.atlas["modalities"][0],
            certainty=chosen.certainty or None,
        )

    def _estimate(self, view: View) -> None:
        chosen = self.parameters
        ages = self.session.atlas["age"]["unit"]
        count = max(int((chosen.sequenceTo - chosen.sequenceFrom) / chosen.sequenceStep + 1.001), 1)
        rendered = view.arguments()
        steps = [chosen.sequenceFrom + index * chosen.sequenceStep for index in range(count)]
        series = {**rendered, "certainty": None, "growth": chosen.sequenceGrowth, "ages": steps}
        series.pop("age")
        fitted = {"model": view.model, "device": view.device, "settings": {"steps": chosen.fitSteps}}
        self.estimates.want(self.ui.estimateLabel, "atlas.generate", rendered)
        note = _("{count} brains over {unit}").format(count=count, unit=ages)
        self.estimates.want(self.ui.sequenceEstimateLabel, "atlas.sequence", series, note)
        self.estimates.want(self.ui.fitEstimateLabel, "atlas.fit", fitted)

    def update_buttons(self) -> None:
        """Enable what can be done now."""
        if self.parameters is None:
            return
        opened, free = self.session.facts is not None, not self.runBar.busy
        self.ui.drawButton.setEnabled(self.picker.row is not None)
        for widget in (self.ui.ageSlider, self.ui.conditionsWidget):
            widget.setEnabled(opened)
        for button in (self.ui.sequenceButton, self.ui.exportButton):
            button.setEnabled(opened and free)
        self.ui.openButton.setEnabled(free)
        self.ui.fitButton.setEnabled(opened and free and self.parameters.scan is not None)


def _fill(combo: Any, texts: Iterable[str], chosen: str) -> None:
    """List texts, with one of them chosen: the first where the chosen one is missing."""
    combo.clear()
    for text in texts:
        combo.addItem(text)
    combo.setCurrentIndex(max(combo.findText(chosen), 0))


class NeuroGenAtlasTest(panel_test.PanelTest):
    """Test inside Slicer."""

    def check(self, widget: Any) -> None:
        """Render a brain."""
        widget.parameters.spacing = 3.0
        widget._draw_clicked()
        for _step in range(600):
            slicer.app.processEvents()
            qt.QThread.msleep(50)
            if widget.brain.node("image") is not None and not widget.browser.working:
                break
        volume = slicer.util.arrayFromVolume(widget.brain.node("image"))
        self.assertGreater(volume.max(), 0)
