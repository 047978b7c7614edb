"""The demo: an atlas over age and one condition, and one figure of its growth."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np

from NeuroGenLib.atlas.config import SeriesConfig
from NeuroGenLib.atlas.manifest import AtlasManifest
from NeuroGenLib.atlas.output import Written, folder_name, generate_to_folder
from NeuroGenLib.core.files import staged_outputs
from NeuroGenLib.core.progress import SILENT, Progress
from NeuroGenLib.core.reports import PICTURE, PictureConfig, save_figure
from NeuroGenLib.mrml import SlicerMissing
from NeuroGenLib.spatial.figures.drawing import draw_outlines, draw_tissue_legend, show_section
from NeuroGenLib.spatial.figures.planes import HeadWindow

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.figure import Figure

    from NeuroGenLib.atlas.infer import AtlasModel

SECTION_SPACING = 1.0
"""Spacing of the sections in the demo's figure, mm."""
SCENE = "atlas.mrb"


def run_demo(
    model: AtlasModel,
    spacing: float | tuple[float, float, float],
    condition: str,
    values: Sequence[float],
    out: Path,
    progress: Progress = SILENT,
    picture: PictureConfig = PICTURE,
) -> Written:
    """Generate whole weeks (or years) of the trained range for each value, and plot the figure, all or nothing.

    The middle value becomes a Slicer scene as well, where Slicer's libraries are installed; else a warning says so.

    Raises
    ------
    InputError
        When the condition or spacing cannot be used.
    Cancelled
        When it was cancelled.
    """
    started = time.monotonic()
    low, high = model.age_range
    ages = tuple(float(age) for age in np.arange(np.ceil(low), np.floor(high) + 0.5))
    config = SeriesConfig(ages=ages, conditions={condition: tuple(values)}, spacing=spacing)
    shown = ages[:: max(len(ages) // 5, 1)]
    with staged_outputs(out) as staging:
        written = generate_to_folder(model, config, staging, progress.part(0, 0.8), picture)
        figure = growing_figure(model, shown, condition, values, progress.part(0.8, 0.95))
        drawn = save_figure(staging / "atlas", figure, picture).name
        middle = {condition: values[len(values) // 2]}
        brains = staging if len(values) == 1 else staging / folder_name(middle)
        missing = _write_scene(model, brains, staging / SCENE, progress.part(0.95, 1))
        own = [drawn] if missing else [drawn, SCENE]
        files = [*(out / name for name in own), *(out / file.relative_to(staging) for file in written.files)]
    return Written(out, files, missing + written.warnings, time.monotonic() - started)


def _write_scene(model: AtlasModel, brains: Path, path: Path, progress: Progress) -> list[str]:
    """Write the brains of a folder as a Slicer scene, or return why there is none."""
    try:
        from NeuroGenLib.scenes.atlas import write_generated_scene
    except SlicerMissing as error:
        return [f"{path.name} was not written. {error}"]
    write_generated_scene([brains], path, model, progress)
    return []


def growing_figure(
    model: AtlasModel, ages: Sequence[float], condition: str, values: Sequence[float], progress: Progress = SILENT
) -> Figure:
    """Plot axial sections: ages from left to right, values of a condition from top to bottom, labels as outlines."""
    from matplotlib.figure import Figure

    rows = len(values)
    cells = [(row, column) for row in range(rows) for column in range(len(ages))]
    brains = {
        (row, column): model.slices((0, 0, 0), ages[column], {condition: values[row]}, SECTION_SPACING)["axial"]
        for row, column in progress.track(cells, "rendering the figure")
    }
    labels = [brain.labels for brain in brains.values()]
    largest = max(labels, key=lambda volume: np.count_nonzero(volume.array))
    plane = HeadWindow.of(largest, largest).plane("axial")
    width, height = plane.size_mm
    figure = Figure(figsize=(1.9 * len(ages) + 0.4, (1.9 * height / width + 0.1) * rows + 1.1), layout="constrained")
    axes = figure.subplots(rows, len(ages), squeeze=False)
    for (row, column), brain in brains.items():
        axis, section = axes[row, column], plane.cut(brain.labels, order=0)
        show_section(axis, plane, plane.cut(brain.image), scale_bar=column == 0, cmap="gray", vmin=0, vmax=1)
        draw_outlines(axis, plane, section, model.labels)
        if row == 0:
            axis.set_title(f"{ages[column]:g} {model.age_unit}", fontsize=10)
        if column == 0:
            axis.set_ylabel(f"{condition} = {values[row]:g}", fontsize=9)
    draw_tissue_legend(figure, model.labels, {int(value) for volume in labels for value in np.unique(volume.array)})
    figure.suptitle(f"{model.folder.read_as(AtlasManifest).name}: {model.notice}", color="0.4", fontsize=8, wrap=True)
    return figure
