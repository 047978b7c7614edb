"""Drawing of planes: sections with letters and a scale bar, label maps with a legend, maps with a colour bar."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

    from matplotlib.axes import Axes
    from matplotlib.colorbar import Colorbar
    from matplotlib.colors import Colormap, Normalize
    from matplotlib.figure import FigureBase

    from NeuroGenLib.spatial.figures.planes import Plane
    from NeuroGenLib.spatial.labels import LabelTable

DIVERGING = "RdBu_r"
"""Colours of differences and changes, as in Slicer's scenes: red above the middle, blue below."""
WIDEST_CHANGE = 1.25
"""Largest change of volume that has a colour of its own, as a power of two."""

_FOLDED = "#ff00ff"
_BARS_MM = (1, 2, 5, 10, 20, 50, 100)
_MARK_SIZE = 7
_LONGEST_BAR = 0.4
"""Longest scale bar as a share of the width."""


def show_section(axis: Axes, plane: Plane, section: np.ndarray, *, scale_bar: bool = False, **how: Any) -> None:
    """Show a section with the letters of its directions.

    Parameters
    ----------
    axis:
        Where.
    plane, section:
        The plane, and what :meth:`~NeuroGenLib.spatial.figures.planes.Plane.cut` returned: (rows, columns), or (rows,
        columns, 3) colours in 0..1.
    scale_bar:
        Draw one in mm; all sections of one plane in a row have the same scale.
    how:
        For ``imshow``: ``cmap``, ``vmin``, ``vmax``, ``norm``.
    """
    width, height = plane.size_mm
    axis.imshow(section, extent=(0, width, 0, height), interpolation="nearest", **how)
    axis.set(xticks=[], yticks=[])
    axis.spines[:].set_visible(False)
    left, right, top, _ = plane.letters
    for letter, x, y, across, up in (
        (left, 0.02, 0.5, "left", "center"),
        (right, 0.98, 0.5, "right", "center"),
        (top, 0.5, 0.98, "center", "top"),
    ):
        _mark(axis, letter, (x, y), across, up)
    if scale_bar:
        _draw_scale_bar(axis, width, height)


def scale_bar_mm(width_mm: float) -> float:
    """Return the length of the scale bar of a section of this width.

    Examples
    --------
    >>> scale_bar_mm(90), scale_bar_mm(200)
    (20, 50)
    """
    return max((mm for mm in _BARS_MM if mm <= _LONGEST_BAR * width_mm), default=_BARS_MM[0])


def paint(section: np.ndarray, table: LabelTable) -> np.ndarray:
    """Return a section of a label map, (rows, columns), in the colours of a table, (rows, columns, 3) in 0..1."""
    colours = np.zeros((*section.shape, 3))
    for entry in table:
        if entry.value:
            colours[section == entry.value] = _fraction(entry.colour)
    return colours


def draw_outlines(axis: Axes, plane: Plane, section: np.ndarray, table: LabelTable) -> None:
    """Outline the labels of a section, (rows, columns), in the colours of a table."""
    width, height = plane.size_mm
    for entry in table:
        inside = section == entry.value
        if entry.value and inside.any() and not inside.all():
            colours = [_fraction(entry.colour)]
            axis.contour(inside[::-1], [0.5], extent=(0, width, 0, height), colors=colours, linewidths=0.6)


def draw_tissue_legend(figure: FigureBase, table: LabelTable, values: Iterable[int], **how: Any) -> None:
    """Name the labels of these values below a figure, each beside its colour.

    Parameters
    ----------
    figure:
        A figure with constrained layout, or a part of one.
    table, values:
        Names and colours, and the values that the figure shows.
    how:
        For ``legend``, such as ``labelcolor``.
    """
    from matplotlib.patches import Patch

    shown = set(values)
    handles = [
        Patch(facecolor=_fraction(entry.colour), label=entry.name.replace("_", " "))
        for entry in table
        if entry.value and entry.value in shown
    ]
    if handles:
        how = {"ncols": min(len(handles), 5), "fontsize": 8, "frameon": False, "handlelength": 1.2, **how}
        figure.legend(handles=handles, loc="outside lower center", **how)


def draw_edges(axis: Axes, plane: Plane, section: np.ndarray, colour: str) -> None:
    """Draw the edges of a section, (rows, columns) of intensities in 0..1, as lines."""
    curvature = edge_field(section)
    if np.isfinite(curvature).any():
        width, height = plane.size_mm
        axis.contour(curvature[::-1], [0], extent=(0, width, 0, height), colors=[colour], linewidths=0.7)


def edge_field(section: np.ndarray) -> np.ndarray:
    """Return the Laplacian of a smoothed section, which is 0 on its edges; NaN where there are none.

    Parameters
    ----------
    section:
        (rows, columns) intensities in 0..1.
    """
    from scipy import ndimage

    values = section.astype(np.float64)
    slope = ndimage.gaussian_gradient_magnitude(values, 1.0)
    steep = slope > max(0.35 * float(np.percentile(slope, 98)), 1e-3)
    # The zero lies between pixels: those beside a steep one count as well.
    return np.where(ndimage.binary_dilation(steep), ndimage.gaussian_laplace(values, 1.0), np.nan)


def change_colours() -> tuple[Colormap, Normalize]:
    """Return colours and range of :func:`log_change`: red where volume grows, blue where it shrinks, magenta folded."""
    from matplotlib import colormaps
    from matplotlib.colors import Normalize

    colours = colormaps[DIVERGING].with_extremes(under=_FOLDED)
    return colours, Normalize(-WIDEST_CHANGE, WIDEST_CHANGE)


def log_change(determinant: np.ndarray) -> np.ndarray:
    """Return the logarithm to base 2 of a volume's change, cut at :data:`WIDEST_CHANGE`; below all where it is folded.

    Examples
    --------
    >>> log_change(np.array([2.0, 0.5, 100.0, 0.0, -1.0])).tolist()
    [1.0, -1.0, 1.25, -inf, -inf]
    """
    factor = np.asarray(determinant, dtype=np.float64)
    power = np.log2(factor, out=np.full(factor.shape, -np.inf), where=factor > 0)
    return np.where(factor > 0, power.clip(-WIDEST_CHANGE, WIDEST_CHANGE), power)


def draw_change_bar(figure: FigureBase, axes: Iterable[Axes], label: str) -> Colorbar:
    """Draw the colour bar of :func:`log_change` beside these axes."""
    from matplotlib.cm import ScalarMappable

    colours, change = change_colours()
    mappable = ScalarMappable(change, colours)
    bar = figure.colorbar(mappable, ax=list(axes), shrink=0.6, ticks=[-1, 0, 1], extend="min", extendrect=True)
    bar.ax.set_yticklabels(["half", "same", "double"], fontsize=8)
    bar.ax.annotate("folded", (1, -0.03), (8, 0), "axes fraction", "offset points", va="center", fontsize=8)
    bar.set_label(label, fontsize=8)
    return bar


def _fraction(colour: tuple[int, int, int]) -> tuple[float, float, float]:
    """Return a colour in 0..255 as one in 0..1."""
    red, green, blue = colour
    return red / 255, green / 255, blue / 255


def _draw_scale_bar(axis: Axes, width: float, height: float) -> None:
    length = scale_bar_mm(width)
    x, y = 0.04 * width, 0.05 * height
    line = axis.plot([x, x + length], [y, y], color="white", linewidth=2, solid_capstyle="butt")[0]
    line.set_path_effects(_outline(3.5))
    _mark(axis, f"{length} mm", ((x + length / 2) / width, 0.07), "center", "bottom")
    axis.set(xlim=(0, width), ylim=(0, height))


def _mark(axis: Axes, text: str, place: tuple[float, float], across: str, up: str) -> None:
    axis.text(
        *place,
        text,
        transform=axis.transAxes,
        horizontalalignment=across,
        verticalalignment=up,
        color="white",
        fontsize=_MARK_SIZE,
        path_effects=_outline(1.5),
    )


def _outline(width: float) -> list[Any]:
    from matplotlib.patheffects import withStroke

    return [withStroke(linewidth=width, foreground="black")]
