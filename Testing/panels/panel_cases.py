"""What each capability's panel is asked to do, for the contract that all of them keep.

The next capability joins by one entry in :data:`PANELS`.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

from NeuroGenLib.mrml.segmentations import add_segmentation
from NeuroGenLib.mrml.volumes import add_volume, volume_of
from NeuroGenLib.scenes.registration import forward_of
from NeuroGenLib.scenes.superres import result_of
from NeuroGenLib.spatial.labels import LabelTable
from NeuroGenLib.spatial.volume import Volume
from Testing.geometry import oblique, reoriented, rotated_copy
from Testing.registration_pairs import a_bent_pair, a_tiny_model
from Testing.superres_models import MM, a_head, in_thick_slices, write_residual_model

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pytest

    from Testing.registration_pairs import Pair
    from Testing.slicer_desktop import Desktop, Panel

MODULES = Path(__file__).parents[2] / "NeuroGen"
PATIENCE = 120.0
"""Seconds that a job may take on a busy machine."""


@dataclass(frozen=True)
class PanelCase:
    """One capability's panel.

    Attributes
    ----------
    module:
        Name of the module and of its folder.
    bundled:
        Reference of the model with which the panel opens.
    make_model:
        Returns the folder of a tiny model, which it may write below a folder.
    set_up:
        Makes what is set in the panel quick, with the tiny model chosen.
    add_inputs:
        Adds inputs to the scene, chooses them in the panel and returns their nodes by name.
    button, slot:
        Names of the button that begins the job, and of the widget's method behind it.
    ready_without_inputs:
        Whether the button can be pressed in an empty scene.
    result:
        Returns the main node of the job's result, or None.
    made:
        A class of nodes of which a scene has none without a result, and how many one result brings.
    licence_is_asked:
        Whether the button asks first for the licence of the tiny model.
    endless:
        Sets what takes far longer than a test waits.
    under_way:
        Progress that an endless job reaches after it has begun to compute.
    stops_within:
        Seconds from Cancel to rest.
    longer, long_time:
        Sets what takes long, and a pattern of its estimate, which is in the label ``estimate``.
    break_input:
        Chooses an input that cannot be used; returns the button that finds out, and what the error must name.
    choose, chosen:
        Sets choices unlike those of a fresh panel, and reads them.
    numbers, tolerance:
        Numbers of a result, and what two runs of one job may differ by; None where the panel shows no quality.
    idle:
        Whether nothing is being computed.
    """

    module: str
    bundled: str
    make_model: Callable[[pytest.FixtureRequest, Path], Path]
    set_up: Callable[[Desktop, Panel, str], None]
    add_inputs: Callable[[Desktop, Panel], SimpleNamespace]
    button: str
    slot: str
    ready_without_inputs: bool
    result: Callable[[Desktop, Panel], Any]
    made: tuple[str, int]
    licence_is_asked: bool
    endless: Callable[[Panel], None]
    under_way: float
    longer: Callable[[Panel], None]
    long_time: str
    break_input: Callable[[Desktop, Panel], tuple[str, str]]
    choose: Callable[[Panel], None]
    chosen: Callable[[Panel], tuple[Any, ...]]
    estimate: str = "estimateLabel"
    numbers: Callable[[Any], np.ndarray] | None = None
    tolerance: float = 0.0
    stops_within: float = 1.5
    idle: Callable[[Panel], bool] = lambda panel: not panel.widget.runBar.busy

    @property
    def path(self) -> Path:
        """The module file."""
        return MODULES / self.module / f"{self.module}.py"

    def button_of(self, panel: Panel) -> Any:
        """Return the button that begins the job."""
        return getattr(panel.ui, self.button)

    @contextmanager
    def opened(self, desktop: Desktop, model: str) -> Iterator[Panel]:
        """Open the panel with the tiny model, quick settings and no inputs."""
        panel = desktop.load_module(self.path)
        add_model(model)
        panel.widget.use_model(model)
        self.set_up(desktop, panel, model)
        yield panel
        panel.widget.cleanup()

    def wait(self, desktop: Desktop, panel: Panel, timeout: float = PATIENCE) -> None:
        """Wait until nothing is being computed."""
        desktop.wait_until(lambda: self.idle(panel), timeout=timeout)
        desktop.process()

    def run(self, desktop: Desktop, panel: Panel) -> Any:
        """Click the button, wait, and return the main node of the result."""
        desktop.click(self.button_of(panel))
        assert panel.widget.runBar.busy, desktop.messages
        self.wait(desktop, panel)
        assert not errors(desktop), desktop.messages
        return self.result(desktop, panel)

    def refused(self, desktop: Desktop, panel: Panel, button: str = "") -> str:
        """Click the button, wait, and return the sentence of the error; the scene is as it was."""
        count = desktop.scene.GetNumberOfNodes()
        pressed = getattr(panel.ui, button or self.button)
        desktop.click(pressed)
        self.wait(desktop, panel)
        assert desktop.messages[-1].kind == "error", desktop.messages
        assert "Traceback" not in desktop.messages[-1].text
        assert desktop.scene.GetNumberOfNodes() == count
        assert pressed.enabled
        return str(desktop.messages[-1].text)

    def made_in(self, desktop: Desktop) -> int:
        """Return how many of the nodes that only a result brings are in the scene."""
        return int(desktop.scene.GetNumberOfNodesByClass(self.made[0]))


class RefusingRunner:
    """A runner that keeps the jobs it gets and begins none."""

    def __init__(self) -> None:
        self.jobs: list[tuple[str, dict[str, Any]]] = []

    def run(self, title: str, job: str, arguments: dict[str, Any], *callbacks: Any) -> bool:
        """Keep a job."""
        del title, callbacks
        self.jobs.append((job, arguments))
        return False


def add_model(folder: str) -> None:
    """Add a model to the list of models, as a person does in the panel NeuroGen."""
    from NeuroGenPanels.model_store import add_model_folder

    add_model_folder(folder)


def errors(desktop: Desktop) -> list[Any]:
    """Return the errors that panels have shown."""
    return [message for message in desktop.messages if message.kind == "error"]


def quality_rows(panel: Panel) -> dict[str, list[str]]:
    """Return the quality table by measure."""
    table = panel.ui.qualityTable
    rows = [[table.item(row, column).text() for column in range(table.columnCount)] for row in range(table.rowCount)]
    return {row[0]: row[1:] for row in rows}


# Registration

TABLE = LabelTable.from_names(
    ["background", "cortex", "white", "grey", "csf", "ventricles", "cerebellum", "brainstem", "hippocampus"]
)
POINTS = np.random.default_rng(6).uniform(-30, 30, (100, 3))
CLOSE_MM = 0.05


@cache
def oblique_pair() -> Pair:
    """Two heads in one place; the moving one is stored left-handed on an oblique grid."""
    drawn = a_bent_pair(2.5)
    moving, labels = (
        reoriented(rotated_copy(volume, order=order), "LAS")
        for volume, order in ((drawn.moving, 1), (drawn.moving_labels, 0))
    )
    assert np.linalg.det(moving.affine[:3, :3]) < 0
    return drawn._replace(moving=moving, moving_labels=labels)


def moved_by(transform: Any, points: np.ndarray) -> np.ndarray:
    """Return points (N, 3), RAS mm, where a transform takes them."""
    return np.array([transform.TransformPoint(point) for point in points])


def registration_model(_request: pytest.FixtureRequest, folder: Path) -> Path:
    a_tiny_model(folder)
    return folder


def set_up_registration(_desktop: Desktop, panel: Panel, _model: str) -> None:
    panel.ui.advancedSection.setChecked(True)
    panel.ui.labelsSection.setChecked(True)
    panel.ui.startCombo.setCurrentIndex(2)
    panel.ui.adjustBox.setChecked(False)


def add_pair(desktop: Desktop, panel: Panel) -> SimpleNamespace:
    scene, pair = desktop.scene, oblique_pair()
    nodes = SimpleNamespace(
        fixed=add_volume(scene, pair.fixed, "older"),
        moving=add_volume(scene, pair.moving, "younger"),
        fixed_labels=add_segmentation(scene, pair.fixed_labels, TABLE, "older tissues"),
        moving_labels=add_segmentation(scene, pair.moving_labels, TABLE, "younger tissues"),
    )
    panel.ui.fixedSelector.setCurrentNode(nodes.fixed)
    panel.ui.movingSelector.setCurrentNode(nodes.moving)
    return nodes


def many_steps(panel: Panel) -> None:
    panel.ui.adjustBox.setChecked(True)
    panel.ui.stepsBox.setValue(9000)


def choose_constant_moving(desktop: Desktop, panel: Panel) -> tuple[str, str]:
    moving = oblique_pair().moving
    flat = add_volume(desktop.scene, moving.with_array(np.ones(moving.shape, np.float32)), "flat")
    panel.ui.movingSelector.setCurrentNode(flat)
    return "registerButton", "moving"


REGISTRATION = PanelCase(
    module="NeuroGenRegistration",
    bundled="bundled:registration",
    make_model=registration_model,
    set_up=set_up_registration,
    add_inputs=add_pair,
    button="registerButton",
    slot="_register_clicked",
    ready_without_inputs=False,
    result=lambda desktop, panel: forward_of(
        desktop.scene, panel.widget.parameters.fixed, panel.widget.parameters.moving
    ),
    made=("vtkMRMLTransformNode", 2),
    licence_is_asked=True,
    endless=many_steps,
    under_way=0.2,
    longer=many_steps,
    long_time=" min",
    break_input=choose_constant_moving,
    choose=lambda panel: panel.ui.viewCombo.setCurrentIndex(2),
    chosen=lambda panel: (
        panel.ui.viewCombo.currentIndex,
        panel.ui.startCombo.currentIndex,
        panel.ui.movingSelector.currentNode().GetName(),
    ),
    numbers=lambda forward: moved_by(forward.GetTransformFromParent(), POINTS),
    tolerance=CLOSE_MM / 2,
)


# Super-resolution


def stored_oblique(volume: Volume) -> Volume:
    """Turn a volume in the world, and store it left-handed."""
    turned = oblique(reoriented(volume, "LAS"))
    assert np.linalg.det(turned.affine[:3, :3]) < 0
    return turned


@cache
def thick_head() -> Volume:
    """A head in axial slices of 6 mm, oblique and left-handed, away from the origin, in units of hundreds."""
    head = a_head()
    head = head.with_array(300 * head.array / head.array.max())
    scan = stored_oblique(in_thick_slices(head))
    shifted = scan.affine.copy()
    shifted[:3, 3] += (25, -14, 31)
    return Volume(scan.array, shifted)


def set_up_superres(_desktop: Desktop, panel: Panel, _model: str) -> None:
    panel.ui.advancedSection.setChecked(True)
    panel.ui.spacingBox.setValue(MM)


def add_thick_scan(desktop: Desktop, panel: Panel) -> SimpleNamespace:
    nodes = SimpleNamespace(scan=add_volume(desktop.scene, thick_head(), "axial"))
    panel.ui.scanSelector.setCurrentNode(nodes.scan)
    return nodes


def choose_constant_scan(desktop: Desktop, panel: Panel) -> tuple[str, str]:
    thick = thick_head()
    constant = thick.with_array(np.ones(thick.shape, np.float32))
    panel.ui.scanSelector.setCurrentNode(add_volume(desktop.scene, constant, "constant"))
    return "applyButton", "same value everywhere"


SUPERRES = PanelCase(
    module="NeuroGenSuperResolution",
    bundled="bundled:superres",
    make_model=lambda _request, folder: write_residual_model(folder),
    set_up=set_up_superres,
    add_inputs=add_thick_scan,
    button="applyButton",
    slot="_apply_clicked",
    ready_without_inputs=False,
    result=lambda desktop, panel: (
        panel.widget.parameters.scan and result_of(desktop.scene, panel.widget.parameters.scan)
    ),
    made=("vtkMRMLPlotChartNode", 1),
    licence_is_asked=True,
    endless=lambda panel: panel.ui.spacingBox.setValue(0.7),
    under_way=0.05,
    stops_within=2.0,
    longer=lambda panel: panel.ui.spacingBox.setValue(0.3),
    long_time=" min",
    break_input=choose_constant_scan,
    choose=lambda panel: panel.ui.viewCombo.setCurrentIndex(1),
    chosen=lambda panel: (
        panel.ui.viewCombo.currentIndex,
        panel.ui.spacingBox.value,
        panel.ui.scanSelector.currentNode().GetName(),
    ),
    numbers=lambda image: volume_of(image).array,
    tolerance=0.5,
)


# Atlas


def atlas_is_idle(panel: Panel) -> bool:
    """Whether nothing is rendered, estimated or run."""
    widget = panel.widget
    return not widget.browser.working and not widget.live.jobs and not widget.runBar.busy


def set_up_atlas(desktop: Desktop, panel: Panel, model: str) -> None:
    desktop.wait_until(lambda: panel.widget.session.reference == model, timeout=PATIENCE)
    panel.widget.parameters.spacing = 5.0
    desktop.process()


def choose_ages(_desktop: Desktop, panel: Panel) -> SimpleNamespace:
    panel.ui.sequenceSection.setChecked(True)
    panel.ui.fromBox.setValue(25.0)
    panel.ui.toBox.setValue(27.0)
    panel.ui.stepBox.setValue(2.0)
    return SimpleNamespace()


def many_brains(panel: Panel) -> None:
    panel.widget.parameters.spacing = 0.5
    panel.widget.parameters.sequenceStep = 0.1


def fit_without_mask(desktop: Desktop, panel: Panel) -> tuple[str, str]:
    everywhere = Volume(np.full((8, 8, 8), 3.0, np.float32), np.diag([5.0, 5.0, 5.0, 1.0]))
    assert not panel.ui.fitButton.enabled
    panel.ui.fitSection.setChecked(True)
    panel.ui.scanSelector.setCurrentNode(add_volume(desktop.scene, everywhere, "no brain"))
    return "fitButton", "mask"


def choose_a_brain(panel: Panel) -> None:
    panel.ui.ageSlider.setValue(27.4)
    panel.widget.controls.widgets["ventricles"].setValue(0.61)
    panel.ui.certaintyCombo.setCurrentIndex(1)


ATLAS = PanelCase(
    module="NeuroGenAtlas",
    bundled="bundled:fetal-sba",
    make_model=lambda request, _folder: request.getfixturevalue("atlas_run") / "model",
    set_up=set_up_atlas,
    add_inputs=choose_ages,
    button="sequenceButton",
    slot="_sequence_clicked",
    ready_without_inputs=True,
    result=lambda desktop, _panel: desktop.scene.GetFirstNodeByClass("vtkMRMLSequenceBrowserNode"),
    made=("vtkMRMLSequenceBrowserNode", 1),
    licence_is_asked=False,
    endless=many_brains,
    under_way=0.0,
    longer=many_brains,
    long_time=r"\d (min|h)",
    break_input=fit_without_mask,
    choose=choose_a_brain,
    chosen=lambda panel: (
        round(panel.ui.ageSlider.value, 1),
        round(panel.widget.controls.values()["ventricles"], 2),
        panel.ui.certaintyCombo.currentIndex,
    ),
    estimate="sequenceEstimateLabel",
    idle=atlas_is_idle,
)

PANELS = (REGISTRATION, SUPERRES, ATLAS)
"""The capabilities that have a panel: the contract is tested for each."""
