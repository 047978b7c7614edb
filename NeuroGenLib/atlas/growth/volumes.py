"""Growth: tissue volumes against age, as a table and as a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from NeuroGenLib.spatial.labels import label_volumes_ml

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.figure import Figure

    from NeuroGenLib.atlas.brain import AtlasBrain
    from NeuroGenLib.atlas.growth.maps import AtlasGrowth
    from NeuroGenLib.atlas.trained import TrainedAtlas
    from NeuroGenLib.spatial.volume import Volume


def tissue_volumes(model: TrainedAtlas, labels: Volume) -> dict[str, float]:
    """Return the volume in ml of every tissue of a label map, and of all together as ``total``."""
    names = [name for index, name in enumerate(model.labels.names) if index not in model.background]
    measured = label_volumes_ml(labels, model.labels)
    volumes = {name: measured[name] for name in names}
    return volumes | {"total": sum(volumes.values())}


def tissue_rates(model: TrainedAtlas, growth: AtlasGrowth) -> dict[str, float]:
    """Return how fast every tissue grows, in ml per unit of age, and all together as ``total``.

    A tissue's volume is here the sum of its probability; that of its labels changes by whole voxels.
    """
    voxel = growth.probabilities.voxel_volume_ml
    sums = growth.probabilities.array.sum(axis=(1, 2, 3), dtype=float) * voxel
    rates = {name: float(sums[index]) for index, name in enumerate(model.labels.names) if index not in model.background}
    return rates | {"total": sum(rates.values())}


def growth_row(model: TrainedAtlas, brain: AtlasBrain) -> dict[str, float | str]:
    """Return age, conditions, volumes in ml, their growth in ml per unit of age where rendered, and effective n."""
    volumes = {f"{name}_ml": round(value, 3) for name, value in tissue_volumes(model, brain.labels).items()}
    growth = brain.growth
    if growth is not None:
        ending = f"ml_{growth.unit.replace(' ', '_')}"
        volumes |= {f"{name}_{ending}": round(value, 4) for name, value in tissue_rates(model, growth).items()}
    support = {"effective_n": round(brain.weights.effective_n, 2)}
    return {model.age_name: brain.age, **brain.conditions, **volumes, **support}


def growth_figure(model: TrainedAtlas, series: Mapping[str, Sequence[Mapping[str, float | str]]]) -> Figure:
    """Plot tissue volumes against age, one panel a tissue, one line a series; dots are the training subjects.

    Parameters
    ----------
    model:
        The atlas the rows come from.
    series:
        Rows of :func:`growth_row` by name of the series, such as ``"lv_volume_normed = 0.12"``.
    """
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    first = next(iter(series.values()))
    names = [name[:-3] for name in first[0] if name.endswith("_ml")]
    columns = 3
    rows = -(-len(names) // columns)
    figure = Figure(figsize=(11, 2.6 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    colours = colormaps["viridis"](np.linspace(0.1, 0.8, len(series)))
    for axis, name in zip(axes.flat, names, strict=False):
        dots = [(subject["age"], subject_volume(subject, name)) for subject in model.subjects]
        known = [(age, volume) for age, volume in dots if volume is not None]
        if known:
            axis.plot(*zip(*known, strict=True), "o", color="0.6", markersize=4, label="training subjects")
        for colour, (label, brains) in zip(colours, series.items(), strict=True):
            axis.plot(
                [row[model.age_name] for row in brains],
                [row[f"{name}_ml"] for row in brains],
                color=colour,
                label=label,
            )
        axis.set_title(name.replace("_", " "), fontsize=10)
        axis.spines[["top", "right"]].set_visible(False)
        axis.set_ylim(bottom=0)
    for axis in axes.flat[len(names) :]:
        axis.set_axis_off()
    figure.supxlabel(f"{model.age_name.replace('_', ' ')} ({model.age_unit})", fontsize=10)
    figure.supylabel("volume (ml)", fontsize=10)
    axes.flat[0].legend(fontsize=7, frameon=False)
    return figure


def subject_volume(subject: Mapping[str, object], name: str) -> float | None:
    """Return the volume in ml of a training subject's tissue, or of all (``total``), where the model knows it."""
    volumes = subject.get("volumes_ml")
    if not isinstance(volumes, dict):
        return None
    return float(sum(volumes.values())) if name == "total" else volumes.get(name)
