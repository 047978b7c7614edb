"""The picture of an evaluation: subjects beside the atlas and the fit, and Dice by tissue."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from NeuroGenLib.atlas.trained import TrainedAtlas
    from NeuroGenLib.spatial.volume import Volume

MOST_SHOWN = 6
"""Subjects in the picture; the table has all."""

COLUMN, BARS = 2.0, 2.7
"""Inches: width of a section, and height of the bars."""

LOWEST, HIGHEST = 1.6, 3.2
"""Inches of a row: name and score of a flat head need room, a tall one takes not all."""


@dataclass(frozen=True)
class Comparison:
    """One subject's first image and labels beside those of the aligned atlas and of the fit, all on one grid."""

    name: str
    image: Volume
    labels: Volume
    atlas: Volume
    atlas_labels: Volume
    fitted: Volume | None = None
    fitted_labels: Volume | None = None


def evaluation_figure(
    model: TrainedAtlas, comparisons: Sequence[Comparison], rows: Sequence[Mapping[str, float | str]]
) -> Figure:
    """Draw an axial section of each subject, the atlas and the fit, and the mean Dice of every tissue.

    Parameters
    ----------
    model:
        The atlas.
    comparisons:
        The subjects; the first :data:`MOST_SHOWN` are plotted.
    rows:
        The rows of the table, the mean last.
    """
    import matplotlib.pyplot as plt
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    shown = comparisons[:MOST_SHOWN]
    fitted = shown[0].fitted is not None
    columns = ["subject", "atlas, aligned", *(["fitted"] if fitted else [])]
    columns += ["labels", "labels of the atlas", *(["labels of the fit"] if fitted else [])]
    heights = [_row_inches(comparison.labels) for comparison in shown]
    engine = ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.1)  # inches
    figure = plt.figure(figsize=(COLUMN * len(columns), sum(heights) + BARS), layout=engine)
    above, below = figure.subfigures(2, 1, squeeze=False, height_ratios=[sum(heights), BARS]).flat
    axes = above.subplots(len(shown), len(columns), squeeze=False, height_ratios=heights)
    for line, comparison in enumerate(shown):
        _show_subject(axes[line], comparison, model, rows[line])
    for axis, title in zip(axes[0], columns, strict=True):
        axis.set_title(title, fontsize=9)
    _plot_dice(below.subplots(), model, rows[-1], fitted=fitted)
    return figure


def _show_subject(axes: Sequence[Axes], one: Comparison, model: TrainedAtlas, row: Mapping[str, float | str]) -> None:
    labels = one.labels.reorient("RAS")
    window = _axial_window(labels)
    aspect = labels.spacing[1] / labels.spacing[0]
    images = [volume for volume in (one.image, one.atlas, one.fitted) if volume is not None]
    maps = [volume for volume in (one.labels, one.atlas_labels, one.fitted_labels) if volume is not None]
    for axis, volume in zip(axes, images, strict=False):
        section = volume.reorient("RAS").array[window]
        axis.imshow(section[::-1].T, origin="lower", cmap="gray", aspect=aspect, vmin=0)
    for axis, volume in zip(axes[len(images) :], maps, strict=True):
        axis.imshow(painted(volume.reorient("RAS").array[window][::-1].T, model), origin="lower", aspect=aspect)
    for axis in axes:
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
    axes[0].set_ylabel(f"{one.name}\n{row[model.age_name]:g} {model.age_unit}", fontsize=8)
    axes[len(images) + 1].set_xlabel(f"Dice {row['dice']:.3f}", fontsize=8)
    if one.fitted is not None:
        axes[-1].set_xlabel(f"Dice {row['fitted_dice']:.3f}, age {row['fitted_age']:.1f}", fontsize=8)


def _axial_window(labels: Volume) -> tuple[slice, slice, int]:
    """Return the axial section through the middle of what is labelled in a volume stored as RAS, and a margin."""
    found = np.argwhere(labels.array)
    low, high = found.min(0), found.max(0) + 1
    right, front = (slice(max(int(low[axis]) - 3, 0), int(high[axis]) + 3) for axis in (0, 1))
    return right, front, round(float(found[:, 2].mean()))


def _row_inches(labels: Volume) -> float:
    """Return the height of a row whose sections, with title and score, are as wide as a column."""
    labels = labels.reorient("RAS")
    across, along = labels.array[_axial_window(labels)].shape
    tall = COLUMN * along * labels.spacing[1] / (across * labels.spacing[0])
    return float(np.clip(tall + 0.5, LOWEST, HIGHEST))


def painted(section: np.ndarray, model: TrainedAtlas) -> np.ndarray:
    """Return a section of a label map, (a, b), as colours, (a, b, 3) in 0..1, by the model's label table."""
    colours = np.zeros((*section.shape, 3))
    for entry in model.labels:
        if entry.value:
            colours[section == entry.value] = np.array(entry.colour[:3]) / 255
    return colours


def _plot_dice(axis: Axes, model: TrainedAtlas, mean: Mapping[str, float | str], *, fitted: bool) -> None:
    names = [entry.name for entry in model.labels if isinstance(mean.get(f"dice_{entry.name}"), float)]
    places = np.arange(len(names) + 1)
    for index, (prefix, label, colour) in enumerate(
        (("", "atlas, aligned", "#6baed6"), ("fitted_", "fitted", "#31688e"))[: 2 if fitted else 1]
    ):
        values = [mean.get(f"{prefix}dice_{name}", 0.0) for name in names]
        values = [value if isinstance(value, float) else 0.0 for value in [*values, mean[f"{prefix}dice"]]]
        bars = axis.bar(places + 0.38 * index, values, 0.36, color=colour, label=label)
        axis.bar_label(bars, fmt="%.2f", fontsize=7)
    axis.set_xticks(
        places + (0.19 if fitted else 0), [*(name.replace("_", "\n") for name in names), "mean"], fontsize=7
    )
    axis.set_ylabel("Dice", fontsize=9)
    axis.set_ylim(0, 1.12)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(fontsize=8, frameon=False, ncols=2, loc="upper right")
