"""The picture of a super-resolution: what a person looks at before believing it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from NeuroGenLib.spatial.volume import Volume
    from NeuroGenLib.superres.infer import SuperResolution

_PLANES = (("axial", 2), ("coronal", 1), ("sagittal", 0))
_MOST_PIXELS = 400


def superres_figure(found: SuperResolution, scan: Volume, notice: str = "") -> Figure:
    """Draw three planes of the scan, of the result, of what was added and of the residual, and a line across slices.

    Parameters
    ----------
    found, scan:
        The result, and the (first) scan as it was measured.
    notice:
        What the model demands to be said.
    """
    import matplotlib.pyplot as plt

    volumes = {
        "slices": scan.resample(like=found.image, order=0).reorient("RAS"),
        "result": found.image.reorient("RAS"),
        "added to the interpolation": found.image.with_array(found.image.array - found.interpolated.array).reorient(
            "RAS"
        ),
        "not reproduced": found.residual.reorient("RAS"),
    }
    head = found.head.reorient("RAS").array
    centre = [int(place) for place in np.argwhere(head).mean(axis=0).round()]
    dark, bright = found.quality.dark, found.quality.bright
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
    _profile(line, found, volumes["slices"], centre)
    figure.suptitle(notice, fontsize=7, wrap=True)
    return figure


def _profile(axes: Axes, found: SuperResolution, slices: Volume, centre: list[int]) -> None:
    """Draw intensities along a line through the middle of the head, across the slices of the first scan."""
    along = {"axial": 2, "coronal": 1, "sagittal": 0}[found.quality.stacks[0].direction]
    line = tuple(slice(None) if axis == along else centre[axis] for axis in range(3))
    millimetres = np.arange(slices.shape[along]) * slices.spacing[along]
    shown = {
        "slices": (slices, "#bdbdbd"),
        "interpolated": (found.interpolated.reorient("RAS"), "#6baed6"),
        "result": (found.image.reorient("RAS"), "#d94801"),
    }
    for name, (volume, colour) in shown.items():
        style = "steps-mid" if name == "slices" else "default"
        axes.plot(millimetres, volume.array[line], color=colour, label=name, linewidth=1, drawstyle=style)
    axes.set_xlabel("mm across the slices", fontsize=8)
    axes.tick_params(labelsize=7)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=7, frameon=False)
