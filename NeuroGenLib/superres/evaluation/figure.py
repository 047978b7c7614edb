"""Overview figure of a super-resolution, for visual inspection."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from NeuroGenLib.spatial.result import Result
    from NeuroGenLib.spatial.volume import Volume

_PLANES = (("axial", 2), ("coronal", 1), ("sagittal", 0))
_MOST_PIXELS = 400
"""Of a side of a section; more would not be seen at this size."""
_PROFILES = {"slices": "#bdbdbd", "interpolated": "#6baed6", "result": "#d94801"}
"""Colours of the profiles."""


def superres_figure(result: Result, scan: Volume) -> Figure:
    """Plot three planes of scan, result, correction and residual, and an intensity profile across the slices.

    Parameters
    ----------
    result, scan:
        Of :func:`NeuroGenLib.superres.output.superres_result`, and the (first) scan as it was measured.
    """
    import matplotlib.pyplot as plt

    image, interpolated = (result.volumes[name].reorient("RAS") for name in ("superres", "interpolated"))
    volumes = {
        "slices": scan.resample(like=image, order=0),
        "result": image,
        "added to the interpolation": image.with_array(image.array - interpolated.array),
        "not reproduced": result.volumes["residual"].reorient("RAS"),
    }
    head, quality = result.labels["head"].reorient("RAS").array, result.facts["quality"]
    centre = [int(place) for place in np.argwhere(head).mean(axis=0).round()]
    dark, bright = quality["dark"], quality["bright"]
    extent = 0.25 * (bright - dark)
    figure, axes = plt.subplots(4, len(volumes), figsize=(2.6 * len(volumes), 10), layout="constrained")
    for row, (name, axis) in enumerate(_PLANES):
        for column, (title, volume) in enumerate(volumes.items()):
            grey = column < 2
            section = np.take(volume.array, centre[axis], axis).T[::-1]
            step = max(1, -(-max(section.shape) // _MOST_PIXELS))
            limits = (dark, bright) if grey else (-extent, extent)
            axes[row, column].imshow(
                section[::step, ::step], cmap="gray" if grey else "RdBu_r", vmin=limits[0], vmax=limits[1]
            )
            axes[row, column].set_axis_off()
            if row == 0:
                axes[row, column].set_title(title, fontsize=9)
        axes[row, 0].text(-0.06, 0.5, name, rotation=90, va="center", fontsize=8, transform=axes[row, 0].transAxes)
    for axis in axes[3, 1:]:
        axis.remove()
    line = figure.add_subplot(axes[3, 0].get_gridspec()[3, :])
    axes[3, 0].remove()
    profiles = {name: volumes.get(name, interpolated) for name in _PROFILES}
    _plot_profiles(line, profiles, quality["stacks"][0]["direction"], centre)
    figure.suptitle(str(result.record.get("shows") or ""), fontsize=7, wrap=True)
    return figure


def _plot_profiles(axes: Axes, profiles: dict[str, Volume], direction: str, centre: list[int]) -> None:
    """Plot intensities along a line through the middle of the head, across the slices of the first scan."""
    along = dict(_PLANES)[direction]
    line = tuple(slice(None) if axis == along else centre[axis] for axis in range(3))
    for name, volume in profiles.items():
        style = "steps-mid" if name == "slices" else "default"
        millimetres = np.arange(volume.shape[along]) * volume.spacing[along]
        axes.plot(millimetres, volume.array[line], color=_PROFILES[name], label=name, linewidth=1, drawstyle=style)
    axes.set_xlabel("mm across the slices", fontsize=8)
    axes.tick_params(labelsize=7)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=7, frameon=False)
