"""The demo: an atlas over age and one condition, and one figure of its growth."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np

from NeuroGenLib.atlas.config import SeriesConfig
from NeuroGenLib.atlas.output import Written, folder_name, generate_to_folder
from NeuroGenLib.core.files import staged_outputs
from NeuroGenLib.core.progress import SILENT, Progress
from NeuroGenLib.core.reports import save_figure
from NeuroGenLib.mrml import SlicerMissing

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.figure import Figure

    from NeuroGenLib.atlas.brain import AtlasBrain
    from NeuroGenLib.atlas.infer import AtlasModel

PICTURE = "atlas.png"
PICTURE_SPACING = 1.0
SCENE = "atlas.mrb"


def run_demo(
    model: AtlasModel,
    spacing: float | tuple[float, float, float],
    condition: str,
    values: Sequence[float],
    out: Path,
    progress: Progress = SILENT,
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
        written = generate_to_folder(model, config, staging, progress.part(0, 0.8))
        save_figure(staging / PICTURE, growing_figure(model, shown, condition, values, progress.part(0.8, 0.95)))
        middle = {condition: values[len(values) // 2]}
        brains = staging if len(values) == 1 else staging / folder_name(middle)
        missing = _write_scene(model, brains, staging / SCENE, progress.part(0.95, 1))
        own = [PICTURE] if missing else [PICTURE, SCENE]
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
    import matplotlib.pyplot as plt

    rows = len(values)
    figure, axes = plt.subplots(
        rows,
        len(ages),
        figsize=(1.9 * len(ages), 2.35 * rows + 0.6),
        squeeze=False,
        facecolor="black",
        layout="constrained",
    )
    cells = [(row, column) for row in range(rows) for column in range(len(ages))]
    for row, column in progress.track(cells, "plotting the figure"):
        brain = model.slices((0, 0, 0), ages[column], {condition: values[row]}, PICTURE_SPACING)["axial"]
        axis = axes[row, column]
        _show_section(model, brain, axis)
        if row == 0:
            axis.set_title(f"{ages[column]:g} {model.age_unit}", color="white", fontsize=11)
        if column == 0:
            axis.set_ylabel(f"{condition} = {values[row]:g}", color="white", fontsize=9)
    figure.suptitle(f"{model.folder.manifest['name']}: {model.notice}", color="0.75", fontsize=7, wrap=True)
    return figure


def _show_section(model: AtlasModel, brain: AtlasBrain, axis: object) -> None:
    """Show one axial section, anterior up, the patient's right on the left, with the labels' outlines."""
    image = brain.image.array[::-1, :, 0].T
    labels = brain.labels.array[::-1, :, 0].T
    axis.imshow(image, cmap="gray", origin="lower", vmin=0, vmax=1, interpolation="bilinear")  # type: ignore[attr-defined]
    for entry in model.labels:
        if entry.value and (labels == entry.value).any():
            colour = [part / 255 for part in entry.colour]
            axis.contour(labels == entry.value, levels=[0.5], colors=[colour], linewidths=0.6)  # type: ignore[attr-defined]
    axis.set(xticks=[], yticks=[])  # type: ignore[attr-defined]
    axis.spines[:].set_visible(False)  # type: ignore[attr-defined]
