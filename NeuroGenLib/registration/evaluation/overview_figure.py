"""Overview figure of a registration."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from NeuroGenLib.registration.evaluation.quality import RegistrationMaps
from NeuroGenLib.spatial.figures.drawing import (
    change_colours,
    draw_change_bar,
    draw_edges,
    log_change,
    show_section,
)
from NeuroGenLib.spatial.figures.planes import PLANES, HeadWindow
from NeuroGenLib.spatial.intensity import intensity_range, rescale

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from NeuroGenLib.registration.infer import Registration
    from NeuroGenLib.spatial.volume import Volume

_TITLES = ("moving, by its header", "moving, after the start", "registered")
"""Of the sections of the moving image, by stage."""
_EDGES = "#ffb000"


def registration_figure(registration: Registration, fixed: Volume, moving: Volume, notice: str = "") -> Figure:
    """Plot three planes of the fixed image, of the moving one before, after the start and registered, and of both.

    Both are the fixed image under the edges of the registered one, which show their agreement whatever the contrasts.

    Parameters
    ----------
    registration, fixed, moving:
        The result and its images, 3-D.
    notice:
        Of the model.
    """
    from matplotlib.figure import Figure

    maps = RegistrationMaps(registration.forward, registration.inverse, registration.start).by_stage()
    stages = dict(zip(_TITLES, maps.values(), strict=True))
    whole = abs(float(np.linalg.det(registration.start.fixed_to_moving[:3, :3])))
    window = HeadWindow.of(fixed, registration.foreground)
    ranges = {"fixed": _range(fixed), "moving": _range(moving)}
    titles = ("fixed", *stages, "fixed, edges of registered", "local change of volume")
    figure = Figure(figsize=(2.2 * len(titles), 7.1), layout="constrained")
    axes = figure.subplots(3, len(titles), squeeze=False)
    colours, change = change_colours()
    for row, name in enumerate(PLANES):
        plane = window.plane(name)
        sections = {"fixed": rescale(plane.cut(fixed), *ranges["fixed"])}
        for stage, stage_map in stages.items():
            sections[stage] = rescale(plane.cut(moving, through=stage_map), *ranges["moving"])
        sections["fixed, edges of registered"] = sections["fixed"]
        for column, section in enumerate(sections.values()):
            show_section(axes[row, column], plane, section, scale_bar=column == 0, cmap="gray", vmin=0, vmax=1)
        draw_edges(axes[row, -2], plane, sections["registered"], _EDGES)
        factor = plane.cut(registration.jacobian, fill=whole)
        show_section(axes[row, -1], plane, log_change(factor / whole), cmap=colours, norm=change)
        axes[row, 0].set_ylabel(name, fontsize=9)
    for axis, title in zip(axes[0], titles, strict=True):
        axis.set_title(title, fontsize=9)
    draw_change_bar(
        figure, axes[:, -1], "volume in the moving image / in the fixed one,\nbeyond that of the affine start"
    )
    figure.suptitle(" ".join(filter(None, [_sentence(registration), notice])), fontsize=8, color="0.4", wrap=True)
    return figure


def _range(image: Volume) -> tuple[float, float]:
    low, high = intensity_range(image.array, (1, 99.5), mask=image.array > image.array.min())
    return min(low, 0.0) if image.array.min() >= 0 else low, high


def _sentence(registration: Registration) -> str:
    quality = registration.quality
    dice = quality.mean_dice()
    overlap = "" if dice is None else f"Mean Dice {quality.mean_dice('headers'):.3f} by the headers, {dice:.3f} now. "
    return f"{overlap}{quality.folded_voxels} folded voxels."
