"""NeuroGen Super-Resolution: thick slices in, an isotropic volume out, in the scan's own place."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import slicer
from slicer.i18n import tr as _
from slicer.ScriptedLoadableModule import ScriptedLoadableModule, ScriptedLoadableModuleLogic

try:
    import NeuroGenLib
    import NeuroGenPanels
except ImportError:  # a source checkout: the libraries are not beside this file
    sys.path += [str(Path(__file__).resolve().parents[depth]) for depth in (1, 2)]

from NeuroGenLib.core.config import from_mapping, to_mapping
from NeuroGenLib.superres.evaluation.quality_table import STAGES
from NeuroGenLib.superres.run_config import BUNDLED, SuperresConfig
from NeuroGenPanels import dependencies, panel_test, sample_data
from NeuroGenPanels.capability_widget import CapabilityWidget
from NeuroGenPanels.job_runner import WaitingRunner
from NeuroGenPanels.messages import errors_shown
from NeuroGenPanels.metadata import describe
from NeuroGenPanels.model_store import acknowledge, model_notice
from NeuroGenPanels.quality import quality_cells
from NeuroGenPanels.tables import fill_table
from NeuroGenPanels.word_combo import WordCombo
from NeuroGenSuperResolutionLib.parameters import SuperResolutionParameters
from NeuroGenSuperResolutionLib.resolving import (
    DIRECTION_CHOICES,
    JOB,
    chosen_scans,
    chosen_settings,
    estimate_arguments,
    guide_text,
    quality_headings,
    result_text,
    run_task,
    superres_task,
    understood_text,
    with_recorded,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from NeuroGenLib.scenes.superres import SuperresNodes
    from NeuroGenPanels.job_runner import JobRunner
    from NeuroGenPanels.worker_service import WorkerService

log = logging.getLogger("NeuroGenSuperResolution")

SAMPLE = "fetal-brain-4mm"


class NeuroGenSuperResolution(ScriptedLoadableModule):
    """Metadata of the module."""

    def __init__(self, parent: Any) -> None:
        ScriptedLoadableModule.__init__(self, parent)
        describe(
            parent,
            title=_("NeuroGen Super-Resolution"),
            help_text=_(
                "Turns T2w scans in thick slices into one isotropic volume, in the scan's own place and units. Further"
                " stacks of the same head are registered and fused, a T1w may guide. What lies between slices was not"
                " measured: it is plausible, not known."
            ),
        )


class NeuroGenSuperResolutionLogic(ScriptedLoadableModuleLogic):
    """Super-resolution of volumes of the scene, for the panel, Slicer's Python console and scripts.

    Parameters
    ----------
    service:
        Runs the jobs of the console; a service of its own when not given.

    Examples
    --------
    In Slicer's Python console, with a scan in thick slices in the scene::

        logic = slicer.util.getModuleLogic("NeuroGenSuperResolution")
        nodes = logic.superResolve(slicer.util.getNode("T2w"), guide=slicer.util.getNode("T1w"), spacing=0.8)
        slicer.util.setSliceViewerLayers(background=nodes.interpolated, foreground=nodes.image)
    """

    def __init__(self, service: WorkerService | None = None) -> None:
        ScriptedLoadableModuleLogic.__init__(self)
        self._console = WaitingRunner(service)

    def superResolve(
        self,
        volumeNode: Any,
        *,
        guide: Any = None,
        further_scans: Sequence[Any] = (),
        model: str = BUNDLED,
        device: str = "auto",
        residual: bool = True,
        runner: JobRunner | None = None,
        on_nodes: Callable[[SuperresNodes], object] | None = None,
        on_nothing: Callable[[str], object] = log.warning,
        **settings: Any,
    ) -> SuperresNodes | None:
        """Turn scans in thick slices into an isotropic volume and put it into the scene.

        Parameters
        ----------
        volumeNode, further_scans:
            ``vtkMRMLScalarVolumeNode``: the scan, and scans of the same head along other directions.
        guide:
            Volume node of another contrast of the same head, such as T1w.
        model, device:
            A model reference (``bundled:NAME``, a folder, ``hf:org/repo@revision``), and where it computes.
        residual:
            Whether the residual gets a node.
        runner:
            Runs the job; when not given, this method returns when the job is done.
        on_nodes:
            Called with the nodes.
        on_nothing:
            Called with a sentence where the scan is isotropic already.
        settings:
            As :class:`NeuroGenLib.superres.run_config.SuperresConfig`: ``spacing``, ``thickness``, ``gap`` ...

        Returns
        -------
        SuperresNodes
            ``image``, ``interpolated``, ``difference``, ``residual``, ``quality``, ``profile``, ``chart``; None as long
            as the runner works, where it did not begin, or where there is nothing to do.

        Raises
        ------
        NeuroGenError
            When a volume, a setting or the model cannot be used.
        """
        scans = [volumeNode, *further_scans]
        task = superres_task(scans, guide)
        config = from_mapping(SuperresConfig, with_recorded(settings, scans))
        arguments = {"model": model, "device": device, "settings": to_mapping(config)}
        made: list[SuperresNodes] = []

        def keep(nodes: SuperresNodes) -> None:
            made.append(nodes)
            if on_nodes is not None:
                on_nodes(nodes)

        run_task(runner or self._console, task, arguments, keep, on_nothing, residual=residual)
        return made[0] if made else None


class NeuroGenSuperResolutionWidget(CapabilityWidget):
    """Wires choices, buttons and the scene to the parts in NeuroGenSuperResolutionLib."""

    parameters_class = SuperResolutionParameters
    model_kind = "superres"

    def build(self) -> None:
        """Make the parts."""
        from NeuroGenLib.scenes.superres import BEFORE, VIEWS

        self.make_parts(_("NeuroGen Super-Resolution"), _("Super-resolution"))
        self.logic = NeuroGenSuperResolutionLogic(self.jobs)
        self.choices = {
            "direction": WordCombo(
                self.ui.directionCombo, DIRECTION_CHOICES, lambda word: self.set_parameter("direction", word)
            ),
            "view": WordCombo(self.ui.viewCombo, VIEWS, lambda word: self.set_parameter("view", word)),
            "before": WordCombo(self.ui.beforeCombo, BEFORE, lambda word: self.set_parameter("before", word)),
        }
        self._notice = ""
        self._manifest: dict[str, Any] = {}
        self._looked: tuple[str, str, float, float] | None = None
        self._shown: Any = None
        self.ui.applyButton.clicked.connect(self._apply_clicked)
        self.ui.sampleButton.clicked.connect(self._sample_clicked)
        self.ui.arrangeButton.clicked.connect(self._arrange_clicked)
        self.ui.profileButton.clicked.connect(self._profile_clicked)

    def enter(self) -> None:
        """Read the model again: it may have changed."""
        CapabilityWidget.enter(self)
        self._read_model()

    def scene_closing(self) -> None:
        """Stop the running job: its scene goes."""
        CapabilityWidget.scene_closing(self)
        self._looked = self._shown = None
        self._say_result(None)

    def parameters_bound(self) -> None:
        """Show the choices of this scene; the views stay as they were saved."""
        self.picker.refresh(self.parameters.model)
        self._read_model()
        self._looked = self._look()

    def parameters_changed(self) -> None:
        """Follow a choice: buttons, slices, estimate, the result of this scan, the views once there is one."""
        for name, choice in self.choices.items():
            choice.show(getattr(self.parameters, name))
        self._say_model()
        self.update_buttons()
        self.ui.slicesLabel.setText(understood_text(self.parameters))
        self._estimate()
        image = self._image()
        if image is not self._shown:
            self._say_result(image)
        look = self._look()
        if look != self._looked:
            self._looked = look
            self._show_views()

    # What the person does

    def _apply_clicked(self, *_clicked: bool) -> None:
        with errors_shown(_("Super-resolution")):
            if acknowledge(self.picker.row):
                self.logic.superResolve(
                    self.parameters.scan,
                    further_scans=chosen_scans(self.parameters)[1:],
                    guide=self.parameters.guide,
                    model=self.parameters.model,
                    device=self.parameters.device,
                    residual=self.parameters.keepResidual,
                    runner=self.runBar,
                    on_nodes=self._super_resolved,
                    on_nothing=self._nothing_to_do,
                    **chosen_settings(self.parameters),
                )

    def _sample_clicked(self, *_clicked: bool) -> None:
        nodes = {node.GetName(): node for node in sample_data.bring(SimpleNamespace(sampleName=SAMPLE))}
        if nodes and self.parameters is not None:
            self.parameters.scan = nodes[f"{SAMPLE} T2w"]
            self.parameters.guide = nodes[f"{SAMPLE} guide"]
            self.parameters.secondScan = self.parameters.thirdScan = None

    def _arrange_clicked(self, *_clicked: bool) -> None:
        from NeuroGenLib.scenes.superres import arrange_superres

        image = self._image()
        if image is not None:
            arrange_superres(slicer.mrmlScene, image)
            self._show_views()

    def _profile_clicked(self, *_clicked: bool) -> None:
        from NeuroGenLib.scenes.superres import crosshair_of, profile_through

        image = self._image()
        with errors_shown(_("Profile")):
            if image is not None:
                profile_through(slicer.mrmlScene, image, crosshair_of(slicer.mrmlScene))

    def choose_model(self, reference: str) -> None:
        """Work with the model that was chosen."""
        self.parameters.model = reference
        self._read_model()
        self.update_buttons()

    # What comes back

    def _super_resolved(self, nodes: SuperresNodes) -> None:
        self.estimates.forget()
        self._estimate()
        if nodes.image is self._image():
            self._say_result(nodes.image)
            self._looked = self._look()
            self._arrange_clicked()

    def _nothing_to_do(self, sentence: str) -> None:
        self.ui.stateLabel.setText(sentence)
        self.runBar.log(sentence)

    # What follows from it

    def _image(self) -> Any:
        """Return the isotropic volume of the chosen scan, None where there is none."""
        from NeuroGenLib.scenes.superres import result_of

        scan = self.parameters.scan
        return None if scan is None else result_of(slicer.mrmlScene, scan)

    def _look(self) -> tuple[str, str, float, float]:
        chosen = self.parameters
        return chosen.view, chosen.before, chosen.opacity, chosen.least

    def _show_views(self) -> None:
        from NeuroGenLib.scenes.superres import show_superres

        image, chosen = self._image(), self.parameters
        if image is None:
            return
        show_superres(
            slicer.mrmlScene, image, chosen.view, before=chosen.before, opacity=chosen.opacity, least=chosen.least
        )

    def _say_result(self, image: Any) -> None:
        from NeuroGenLib.mrml.provenance import provenance_of
        from NeuroGenLib.scenes.superres import quality_of

        self._shown = image
        rows = [] if image is None else quality_of(image)
        record = {} if image is None else provenance_of(image)
        self.ui.stateLabel.setText(result_text(rows, record))
        fill_table(self.ui.qualityTable, quality_headings(), quality_cells(rows, STAGES))

    def _read_model(self) -> None:
        self._notice, self._manifest = model_notice(self.picker.row)
        self._say_model()

    def _say_model(self) -> None:
        self.ui.noticeLabel.setText(" ".join(part for part in (self._notice, self._guide_text()) if part))

    def _guide_text(self) -> str:
        """Return what is to be said of the guide, by what the model needs and what is chosen."""
        from NeuroGenLib.superres.guide import guide_need

        chosen = self.parameters is not None and self.parameters.guide is not None
        return guide_text(guide_need(self._manifest), chosen=chosen) if self._manifest else ""

    def _estimate(self) -> None:
        self.estimate(self.ui.estimateLabel, JOB, lambda: estimate_arguments(self.parameters))

    def update_buttons(self) -> None:
        """Enable what can be done now."""
        if self.parameters is None:
            return
        chosen = self.parameters
        ready = chosen.scan is not None and self.picker.row is not None
        self.ui.applyButton.setEnabled(ready and not self.runBar.busy)
        self.ui.gapBox.setEnabled(chosen.gapIsKnown)
        self.ui.directionCombo.setEnabled(len(chosen_scans(chosen)) < 2)
        self.ui.leastSlider.setEnabled(chosen.view != "result")
        has_result = self._image() is not None
        self.ui.arrangeButton.setEnabled(has_result)
        self.ui.profileButton.setEnabled(has_result)


class NeuroGenSuperResolutionTest(panel_test.PanelTest):
    """Test inside Slicer."""

    def check(self, widget: Any) -> None:
        """Find the bundled model chosen and nothing to run."""
        self.assertEqual(widget.parameters.model, "bundled:superres")
        self.assertFalse(widget.ui.applyButton.enabled)
