"""Photographs the panels and the slices they show into docs/images: ``make screenshots``.

The panels are the real module files, the slices those of Slicer's own slice logic; no window opens.
"""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from Testing.slicer_desktop import Desktop  # noqa: E402 (found through the line above)

if TYPE_CHECKING:
    from Testing.slicer_desktop import Panel

IMAGES = ROOT / "docs" / "images"
PATIENCE = 600.0
PANEL_SIZE = (470, 760)
SLICE_SIZE = (380, 380)
ORIENTATIONS = ("Axial", "Sagittal", "Coronal")


def main() -> None:
    """Take all pictures."""
    with Desktop() as desktop:
        home = desktop.load_module(ROOT / "NeuroGen" / "NeuroGenHome" / "NeuroGenHome.py")
        atlas = desktop.load_module(ROOT / "NeuroGen" / "NeuroGenAtlas" / "NeuroGenAtlas.py")
        draw(desktop, atlas)
        photograph_atlas(desktop, atlas)
        photograph_fit(desktop, atlas)
        registration = desktop.load_module(ROOT / "NeuroGen" / "NeuroGenRegistration" / "NeuroGenRegistration.py")
        photograph_registration(desktop, registration)
        superres = desktop.load_module(ROOT / "NeuroGen" / "NeuroGenSuperResolution" / "NeuroGenSuperResolution.py")
        photograph_superres(desktop, superres)
        photograph_home(desktop, home)
        for panel in (home, atlas, registration, superres):
            panel.widget.cleanup()


def draw(desktop: Desktop, panel: Panel) -> None:
    """Show the bundled atlas at an age with wide ventricles."""
    wait(desktop, lambda: panel.widget.session.facts is not None)
    panel.widget.parameters.age = 27.3
    panel.widget.parameters.spacing = 0.8
    panel.widget.controls.widgets["lv_volume_normed"].setValue(0.18)
    desktop.click(panel.ui.drawButton)
    at_rest(desktop, panel)


def photograph_atlas(desktop: Desktop, panel: Panel) -> None:
    """Keep the panel beside the slices, without and with labels."""
    brain = panel.widget.brain
    views = with_and_without(desktop, brain.node("image"), brain.node("labels"))
    beside(desktop, panel, views, IMAGES / "panel-atlas.png")


def photograph_fit(desktop: Desktop, panel: Panel) -> None:
    """Fit the atlas to a brain that it drew itself at another age, turned and cut into thick slices."""
    from NeuroGenLib.models import open_model
    from NeuroGenLib.mrml.volumes import add_volume
    from NeuroGenLib.spatial.volume import Volume

    model: Any = open_model("bundled:fetal-sba", device="cpu")
    drawn = model.generate(29.4, {"lv_volume_normed": 0.13}, 1.5)
    affine = turned(12.0) @ drawn.image.affine
    values = np.where(drawn.labels.array > 0, 1000 * drawn.image.array, 0)
    scan = add_volume(desktop.scene, Volume(values.astype(np.float32), affine), "my scan")
    for section in ("modelSection", "brainSection", "displaySection"):
        getattr(panel.ui, section).setChecked(False)
    panel.ui.fitSection.setChecked(True)
    panel.ui.scanSelector.setCurrentNode(scan)
    desktop.click(panel.ui.fitButton)
    at_rest(desktop, panel)
    labels = desktop.scene.GetFirstNodeByName("labels")
    beside(desktop, panel, with_and_without(desktop, scan, labels), IMAGES / "panel-fit.png")


def photograph_registration(desktop: Desktop, panel: Panel) -> None:
    """Register the two ages of the sample data; the younger one is tilted and left-handed."""
    from NeuroGenLib.mrml.segmentations import add_segmentation
    from NeuroGenLib.mrml.volumes import add_volume
    from NeuroGenLib.samples import fetch_sample
    from NeuroGenLib.spatial.labels import LabelTable
    from NeuroGenLib.spatial.volume import Volume

    ui, scene = panel.ui, desktop.scene
    nodes, images = {}, {}
    for role, name in (("fixed", "fetal-brain-30w"), ("moving", "fetal-brain-25w-tilted")):
        with TemporaryDirectory() as folder:
            fetch_sample(name, folder)
            table = LabelTable.from_tsv(Path(folder) / "labels.tsv")
            images[role] = Volume.load(Path(folder) / "T2w.nii.gz")
            nodes[role] = add_volume(scene, images[role], name)
            labels = add_segmentation(scene, Volume.load(Path(folder) / "labels.nii.gz"), table, f"{name} labels")
        getattr(ui, f"{role}Selector").setCurrentNode(nodes[role])
        getattr(ui, f"{role}LabelsSelector").setCurrentNode(labels)
    desktop.click(ui.registerButton)
    wait(desktop, lambda: not panel.widget.runBar.busy)
    ui.viewCombo.setCurrentIndex(1)
    desktop.process()
    before = add_volume(scene, images["moving"].resample(like=images["fixed"]), "before")
    registered = scene.GetFirstNodeByName("fetal-brain-25w-tilted registered")
    board = scene.GetFirstNodeByName("fetal-brain-25w-tilted registered checkerboard")
    columns = [slices(desktop, node) for node in (nodes["fixed"], before, registered, board)]
    beside(desktop, panel, np.concatenate(columns, axis=1), IMAGES / "panel-registration.png")


def photograph_superres(desktop: Desktop, panel: Panel) -> None:
    """Super-resolve the sample: slices as measured, interpolation, result, difference over the result; the profile."""
    from NeuroGenLib.mrml.tables import rows_of

    ui, scene = panel.ui, desktop.scene
    desktop.click(ui.sampleButton)
    desktop.click(ui.applyButton)
    wait(desktop, lambda: not panel.widget.runBar.busy)
    ui.viewCombo.setCurrentIndex(1)
    ui.modelSection.setChecked(False)
    desktop.process()
    name = "fetal-brain-4mm T2w"
    scan, interpolated, result, difference = (
        scene.GetFirstNodeByName(name + what)
        for what in ("", " interpolated", " isotropic", " isotropic less interpolated")
    )
    shown = result.GetDisplayNode()
    scan.GetDisplayNode().SetAutoWindowLevel(False)
    scan.GetDisplayNode().SetWindowLevelMinMax(shown.GetWindowLevelMin(), shown.GetWindowLevelMax())
    columns = [slices(desktop, node) for node in (scan, interpolated, result, difference)]
    columns[3] = np.maximum(columns[2] // 2, columns[3])
    views = np.concatenate(columns, axis=1)
    profile = plotted(rows_of(scene.GetFirstNodeByName(f"{name} profile")), views.shape[1])
    beside(desktop, panel, np.concatenate([views, profile], axis=0), IMAGES / "panel-superres.png")


def plotted(rows: list[dict[str, Any]], width: int) -> np.ndarray:
    """Return the lines of a profile as a picture of this many pixels in width."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure((width / 100, 3.2), dpi=100, layout="constrained")
    canvas, axes = FigureCanvasAgg(figure), figure.subplots()
    for column, colour in (("slices", "#969696"), ("interpolated", "#4682c8"), ("result", "#d94801")):
        axes.plot([row["distance_mm"] for row in rows], [row[column] for row in rows], color=colour, label=column)
    axes.set_xlabel("mm across the slices")
    axes.legend(frameon=False)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def photograph_home(desktop: Desktop, panel: Panel) -> None:
    """Keep the panel with the card of the bundled model."""
    import slicer

    slicer.util.selectModule("NeuroGenHome")
    panel.ui.modelsTable.setCurrentCell(0, 0)
    panel.parent.resize(620, 900)
    desktop.process()
    desktop.photograph(panel.parent, IMAGES / "panel-home.png")


def with_and_without(desktop: Desktop, volume: Any, segmentation: Any) -> np.ndarray:
    """Return the slices of a volume, and on their right the same under half-transparent labels."""
    plain, labelled = slices(desktop, volume), slices(desktop, volume, segmentation)
    return np.concatenate([plain, (0.45 * plain + 0.55 * labelled).astype(np.uint8)], axis=1)


def slices(desktop: Desktop, volume: Any, segmentation: Any = None) -> np.ndarray:
    """Return the three slices of a volume, one above the other."""
    views = [
        desktop.slice_picture(volume, orientation, segmentation=segmentation, size=SLICE_SIZE)
        for orientation in ORIENTATIONS
    ]
    return np.concatenate(views, axis=0)


def beside(desktop: Desktop, panel: Panel, views: np.ndarray, path: Path) -> None:
    """Write the panel's photograph with views on its right, scaled to its height."""
    panel.parent.resize(*PANEL_SIZE)
    desktop.process()
    desktop.photograph(panel.parent, path)
    photograph = Image.open(path).convert("RGB")
    scale = photograph.height / views.shape[0]
    shown = Image.fromarray(views).resize((round(views.shape[1] * scale), photograph.height), Image.Resampling.LANCZOS)
    both = Image.new("RGB", (photograph.width + shown.width, photograph.height))
    both.paste(photograph, (0, 0))
    both.paste(shown, (photograph.width, 0))
    both.save(path, optimize=True)


def turned(degrees: float) -> np.ndarray:
    """Return a rotation about the axis from left to right."""
    from scipy.spatial.transform import Rotation

    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("x", degrees, degrees=True).as_matrix()
    return matrix


def at_rest(desktop: Desktop, panel: Panel) -> None:
    """Wait until nothing is drawn, estimated or run."""
    widget = panel.widget
    wait(desktop, lambda: not widget.browser.working and not widget.live.jobs and not widget.runBar.busy)


def wait(desktop: Desktop, condition: Any) -> None:
    """Wait for as long as a picture is worth."""
    desktop.wait_until(condition, timeout=PATIENCE)


if __name__ == "__main__":
    main()
