"""The picture of an evaluation: subjects beside the atlas and the fit, and Dice by tissue."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from NeuroGenLib.spatial.figures.drawing import draw_tissue_legend, paint, show_section
from NeuroGenLib.spatial.figures.planes import HeadWindow

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from NeuroGenLib.atlas.trained import TrainedAtlas
    from NeuroGenLib.spatial.figures.planes import Plane
    from NeuroGenLib.spatial.volume import Volume

MOST_SHOWN = 6
"""Subjects in the picture; the table has all."""

COLUMN, BARS, LEGEND = 2.0, 2.7, 0.5
"""Inches: width of a section, height of the bars, and of the legend above them."""

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
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    shown = comparisons[:MOST_SHOWN]
    fitted = shown[0].fitted is not None
    columns = ["subject", "atlas, aligned", *(["fitted"] if fitted else [])]
    columns += ["labels", "labels of the atlas", *(["labels of the fit"] if fitted else [])]
    planes = [HeadWindow.of(comparison.labels, comparison.labels).plane("axial") for comparison in shown]
    heights = [_row_inches(plane) for plane in planes]
    engine = ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.1)  # inches
    figure = Figure(figsize=(COLUMN * len(columns), sum(heights) + LEGEND + BARS), layout=engine)
    above, below = figure.subfigures(2, 1, squeeze=False, height_ratios=[sum(heights) + LEGEND, BARS]).flat
    axes = above.subplots(len(shown), len(columns), squeeze=False, height_ratios=heights)
    values: set[int] = set()
    for line, comparison in enumerate(shown):
        values |= _show_subject(axes[line], comparison, planes[line], model, rows[line])
    draw_tissue_legend(above, model.labels, values)
    for axis, title in zip(axes[0], columns, strict=True):
        axis.set_title(title, fontsize=9)
    _plot_dice(below.subplots(), model, rows[-1], fitted=fitted)
    return figure


def _show_subject(
    axes: Sequence[Axes], subject: Comparison, plane: Plane, model: TrainedAtlas, row: Mapping[str, float | str]
) -> set[int]:
    """Show a subject's images and label maps, and return the label values on them."""
    images = [volume for volume in (subject.image, subject.atlas, subject.fitted) if volume is not None]
    maps = [volume for volume in (subject.labels, subject.atlas_labels, subject.fitted_labels) if volume is not None]
    for number, (axis, volume) in enumerate(zip(axes, images, strict=False)):
        show_section(axis, plane, plane.cut(volume), scale_bar=number == 0, cmap="gray", vmin=0)
    values: set[int] = set()
    for axis, volume in zip(axes[len(images) :], maps, strict=True):
        section = plane.cut(volume, order=0)
        values |= set(np.unique(section).tolist())
        show_section(axis, plane, paint(section, model.labels))
    axes[0].set_ylabel(f"{subject.name}\n{row[model.age_name]:g} {model.age_unit}", fontsize=8)
    axes[len(images) + 1].set_xlabel(f"Dice {row['dice']:.3f}", fontsize=8)
    if subject.fitted is not None:
        axes[-1].set_xlabel(f"Dice {row['fitted_dice']:.3f}, age {row['fitted_age']:.1f}", fontsize=8)
    return values


def _row_inches(plane: Plane) -> float:
    """Return the height of a row whose sections, with title and score, are as wide as a column."""
    width, height = plane.size_mm
    return float(np.clip(COLUMN * height / width + 0.5, LOWEST, HIGHEST))


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
