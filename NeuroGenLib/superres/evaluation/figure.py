"""Overview figure of a super-resolution, for visual inspection."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from NeuroGenLib.simulate.thick_slices import slice_axis
from NeuroGenLib.spatial.figures.drawing import DIVERGING, show_section
from NeuroGenLib.spatial.figures.planes import PLANES, HeadWindow
from NeuroGenLib.superres.evaluation.profile import DISTANCE, INTERPOLATED, RESULT, SLICES, profile_rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from NeuroGenLib.spatial.result import Result
    from NeuroGenLib.spatial.volume import Volume

_PROFILES = {SLICES: "#969696", INTERPOLATED: "#6baed6", RESULT: "#d94801"}
"""Colours of the profiles."""


def superres_figure(result: Result, scan: Volume) -> Figure:
    """Plot three planes of scan, result, correction and residual, and an intensity profile across the slices.

    Parameters
    ----------
    result, scan:
        Of :func:`NeuroGenLib.superres.output.superres_result`, and the (first) scan as it was measured.
    """
    from matplotlib.figure import Figure

    image, interpolated = result.volumes["superres"], result.volumes["interpolated"]
    volumes = {
        "slices": scan,
        "result": image,
        "added to the interpolation": image.with_array(image.array - interpolated.array),
        "not reproduced": result.volumes["residual"],
    }
    quality = result.facts["quality"]
    window = HeadWindow.of(image, result.labels["head"])
    dark, bright = quality["dark"], quality["bright"]
    extent = 0.25 * (bright - dark)
    figure = Figure(figsize=(2.6 * len(volumes) + 0.7, 10.2), layout="constrained")
    above, below = figure.subfigures(2, 1, squeeze=False, height_ratios=[3.4, 1]).flat
    axes = above.subplots(len(PLANES), len(volumes), squeeze=False)
    for row, name in enumerate(PLANES):
        plane = window.plane(name)
        for column, volume in enumerate(volumes.values()):
            grey = column < 2
            limits = (dark, bright) if grey else (-extent, extent)
            show_section(
                axes[row, column],
                plane,
                plane.cut(volume, order=0 if column == 0 else 1),
                scale_bar=column == 0,
                cmap="gray" if grey else DIVERGING,
                vmin=limits[0],
                vmax=limits[1],
            )
        axes[row, 0].set_ylabel(name, fontsize=9)
    for axis, title in zip(axes[0], volumes, strict=True):
        axis.set_title(title, fontsize=9)
    bar = above.colorbar(axes[0, -1].images[0], ax=axes[:, -1], shrink=0.6)
    bar.set_label("difference, in units of the scan", fontsize=8)
    bar.ax.tick_params(labelsize=7)
    profiles = {SLICES: scan, INTERPOLATED: interpolated, RESULT: image}
    across = scan.affine[:3, slice_axis(scan, quality["stacks"][0]["direction"])]
    towards = 1 if across[np.abs(across).argmax()] > 0 else -1  # right, anterior or superior
    _plot_profiles(below.subplots(), profiles, image, window.centre, towards * across)
    figure.suptitle(str(result.record.get("shows") or ""), fontsize=8, color="0.4", wrap=True)
    return figure


def _plot_profiles(
    axes: Axes, images: dict[str, Volume], result: Volume, point: np.ndarray, across: np.ndarray
) -> None:
    """Plot intensities along a line through the middle of the head, across the slices of the first scan."""
    rows = profile_rows(images, result, point, across)
    columns = {name: np.array([row[name] for row in rows], float) for name in (DISTANCE, *_PROFILES)}  # None is NaN
    for name, colour in _PROFILES.items():
        style = "steps-mid" if name == SLICES else "default"
        axes.plot(columns[DISTANCE], columns[name], color=colour, label=name, linewidth=1.2, drawstyle=style)
    axes.set_xlabel("distance from the middle of the head, across the slices (mm)", fontsize=9)
    axes.set_ylabel("intensity", fontsize=9)
    axes.tick_params(labelsize=7)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=8, frameon=False)
