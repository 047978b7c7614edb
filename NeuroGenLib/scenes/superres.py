"""Super-resolution as a Slicer scene: isotropic volume, interpolation, differences, intensity profile, quality.

Of one scan a scene holds one result: another one goes into the same nodes. They find each other by node references of
the isotropic volume, which stay in a saved scene.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from NeuroGenLib.core.errors import InputError
from NeuroGenLib.mrml.arrays import node_name
from NeuroGenLib.mrml.colours import thresholded_colours
from NeuroGenLib.mrml.folders import folder_named, put_into_folder
from NeuroGenLib.mrml.layouts import arrange_before_after, show_before_after, show_plot
from NeuroGenLib.mrml.provenance import set_provenance
from NeuroGenLib.mrml.tables import add_plot, add_plot_series, add_table, rows_of, update_table
from NeuroGenLib.mrml.views import overlay_in_slices, show_in_slices
from NeuroGenLib.mrml.volumes import GREY, add_volume, update_volume, volume_of
from NeuroGenLib.simulate.thick_slices import slice_axis
from NeuroGenLib.superres.evaluation.profile import DISTANCE, INTERPOLATED, RESULT, SLICES, profile_rows

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from NeuroGenLib.mrml.core import Node, Scene
    from NeuroGenLib.spatial.labels import Colour
    from NeuroGenLib.spatial.result import Result
    from NeuroGenLib.spatial.volume import Volume

PREFIX: Final = "NeuroGenSuperResolution."
"""Of node references (roles of the results; ``scan``) and attributes (``across``, ``result``) of the result."""

VIEWS: Final = ("result", "difference", "residual")
"""Foreground: the result over the interpolation; or over the result its difference to it, or the residual."""

BEFORE: Final = ("interpolated", "scan")
"""Beside it: the interpolation, or the scan as it was measured."""

LEAST: Final = 0.03
"""Differences below this part of the intensity range are transparent at first."""

DIFFERENCE_COLOURS: Final = "NeuroGen difference of intensity"
_EXTENT = 0.25
"""Part of the intensity range at the ends of the colours."""
_ACROSS = f"{PREFIX}across"
_SERIES: Final[tuple[tuple[str, Colour], ...]] = (
    (SLICES, (150, 150, 150)),
    (INTERPOLATED, (70, 130, 200)),
    (RESULT, (217, 72, 1)),
)
_PLANES = {"axial": "Coronal", "sagittal": "Coronal", "coronal": "Sagittal"}
"""A plane in which the slices appear as lines."""


@dataclass(frozen=True)
class SuperresNodes:
    """Nodes of :func:`add_superres`; ``image`` is the isotropic volume, ``residual`` None where it was not wanted."""

    image: Node
    interpolated: Node
    difference: Node
    residual: Node | None
    quality: Node
    profile: Node
    chart: Node


def add_superres(scene: Scene, result: Result, scan: Node, *, residual: bool = True) -> SuperresNodes:
    """Put a super-resolution into a scene; nodes of an earlier one of the same scan are filled again.

    Parameters
    ----------
    scene:
        ``vtkMRMLScene``.
    result:
        Of :func:`NeuroGenLib.superres.output.superres_result`; its record is written to every node.
    scan:
        The (first) scan, ``vtkMRMLScalarVolumeNode``; one that has left the scene meanwhile is passed over.
    residual:
        Whether the residual gets a node.
    """
    name = node_name(scan)
    present = scene.IsNodePresent(scan)
    earlier = result_of(scene, scan) if present else None
    measures = result.facts["quality"]
    window, extent = (measures["dark"], measures["bright"]), _EXTENT * (measures["bright"] - measures["dark"])
    colours = difference_colours(scene, LEAST).GetID()
    super_resolved, interpolated = result.volumes["superres"], result.volumes["interpolated"]
    image = _volume(scene, earlier, super_resolved, f"{name} isotropic", window)
    grey = _volume(scene, _role(image, "interpolated"), interpolated, f"{name} interpolated", window)
    change = super_resolved.with_array(super_resolved.array - interpolated.array)
    signed = (-extent, extent), colours
    difference = _volume(scene, _role(image, "difference"), change, f"{name} isotropic less interpolated", *signed)
    unexplained = _role(image, "residual")
    if residual:
        unexplained = _volume(scene, unexplained, result.volumes["residual"], f"{name} not reproduced", *signed)
    elif unexplained is not None:
        scene.RemoveNode(unexplained)
        unexplained = None
    quality = _table(scene, _role(image, "quality"), result.tables["quality"], f"{name} super-resolution quality")
    image.SetAttribute(f"{PREFIX}result", "1")
    image.SetAttribute(_ACROSS, measures["stacks"][0]["direction"])
    roles = {"interpolated": grey, "difference": difference, "residual": unexplained, "quality": quality}
    roles["scan"] = scan if present else None
    for role, node in roles.items():
        image.SetNodeReferenceID(PREFIX + role, None if node is None else node.GetID())
    profile, chart, series = _profile(scene, image, _centre(result.labels["head"]), name)
    made = [image, grey, difference, unexplained, quality, profile, *series, chart]
    for node in made:
        if node is not None:
            set_provenance(node, result.record)
    put_into_folder(scene, folder_named(scene, f"{name} super-resolved"), [node for node in made if node is not None])
    return SuperresNodes(image, grey, difference, unexplained, quality, profile, chart)


def result_of(scene: Scene, scan: Node) -> Node | None:
    """Return the isotropic volume of a scan, None where there is none."""
    for index in range(scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode")):
        node = scene.GetNthNodeByClass(index, "vtkMRMLScalarVolumeNode")
        if node.GetAttribute(f"{PREFIX}result") and node.GetNodeReferenceID(f"{PREFIX}scan") == scan.GetID():
            return node
    return None


def quality_of(image: Node) -> list[dict[str, float | int | str]]:
    """Return the rows of the quality table of a result; none where the table is gone."""
    table = _role(image, "quality")
    return [] if table is None else rows_of(table)


def difference_colours(scene: Scene, least: float) -> Node:
    """Return the colours of differences, transparent below ``least``, a part of the intensity range of the head."""
    return thresholded_colours(scene, DIFFERENCE_COLOURS, (-_EXTENT, _EXTENT), least)


def show_superres(
    scene: Scene, image: Node, view: str, *, before: str = "interpolated", opacity: float = 1.0, least: float = LEAST
) -> None:
    """Show a result in the slice views and, where that is arranged, beside its interpolation.

    Parameters
    ----------
    scene:
        ``vtkMRMLScene``.
    image:
        The isotropic volume.
    view, before:
        The foreground, one of :data:`VIEWS`; beside it, one of :data:`BEFORE`.
    opacity:
        Of the foreground, 0 to 1.
    least:
        Differences below this part of the intensity range are transparent.
    """
    difference_colours(scene, least)
    interpolated = _role(image, "interpolated") or image
    below, over = (interpolated, image) if view == "result" else (image, _role(image, view))
    show_in_slices(scene, below)
    ours = [_role(image, role) for role in ("difference", "residual")]
    overlay_in_slices(scene, over, opacity, [image, *(node for node in ours if node is not None)])
    show_before_after(scene, _role(image, before) or interpolated, below, over, opacity)


def arrange_superres(scene: Scene, image: Node) -> None:
    """Arrange result and interpolation side by side, in a plane across the slices, above the profile."""
    arrange_before_after(scene, _PLANES.get(image.GetAttribute(_ACROSS), "Coronal"))
    chart = _role(image, "chart")
    if chart is not None:
        show_plot(scene, chart)


def profile_through(scene: Scene, image: Node, point: np.ndarray) -> None:
    """Plot the profile of a result through another point, (3,) RAS mm.

    Raises
    ------
    InputError
        When the point lies outside the result, or the result was changed so that there is none.
    """
    _profile(scene, image, np.asarray(point, float), "")


def crosshair_of(scene: Scene) -> np.ndarray:
    """Return where the crosshair is, (3,) RAS mm.

    Raises
    ------
    InputError
        When the scene has none.
    """
    node = scene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
    if node is None:
        raise InputError(
            "There is no crosshair in this scene.",
            "Switch it on in Slicer's toolbar, and place it.",
            code="value-missing",
        )
    return np.array(node.GetCrosshairRAS(), float)


def _profile(scene: Scene, image: Node, point: np.ndarray, name: str) -> tuple[Node, Node, list[Node]]:
    """Fill table and chart of a result's profile, made with the name where there are none."""
    rows = _profile_rows(image, point)
    table, chart = _role(image, "profile"), _role(image, "chart")
    if table is not None and chart is not None:
        update_table(table, rows)
        return table, chart, [chart.GetNthPlotSeriesNode(index) for index in range(chart.GetNumberOfPlotSeriesNodes())]
    table = add_table(scene, rows, f"{name} profile", units={DISTANCE: "mm"})
    series = [
        add_plot_series(scene, table, DISTANCE, column, f"{name} {column}", colour, "line")
        for column, colour in _SERIES
    ]
    titles = {"x_title": "mm across the slices", "y_title": "intensity"}
    chart = add_plot(scene, series, f"{name} across its slices", **titles)
    image.SetNodeReferenceID(f"{PREFIX}profile", table.GetID())
    image.SetNodeReferenceID(f"{PREFIX}chart", chart.GetID())
    return table, chart, series


def _profile_rows(image: Node, point: np.ndarray) -> list[dict[str, float | None]]:
    result = volume_of(image)
    nodes = {SLICES: _role(image, "scan"), INTERPOLATED: _role(image, "interpolated")}
    images = {name: volume_of(node) for name, node in nodes.items() if node is not None}
    measured = images.get(SLICES, result)
    axis = slice_axis(measured, image.GetAttribute(_ACROSS))
    rows = profile_rows({**images, RESULT: result}, result, point, measured.affine[:3, axis])
    return [{**dict.fromkeys((DISTANCE, SLICES, INTERPOLATED)), **row} for row in rows]


def _centre(head: Volume) -> np.ndarray:
    inside = np.argwhere(head.array)
    return head.voxel_to_world(inside.mean(axis=0)) if len(inside) else head.centre


def _role(image: Node, role: str) -> Node | None:
    return image.GetNodeReference(PREFIX + role)


def _volume(
    scene: Scene, node: Node | None, volume: Volume, name: str, window: tuple[float, float], colours: str = GREY
) -> Node:
    if node is None:
        return add_volume(scene, volume, name, window=window, colours=colours)
    update_volume(node, volume)
    if node.GetDisplayNode() is not None and colours != GREY:
        node.GetDisplayNode().SetWindowLevelMinMax(*window)
    return node


def _table(scene: Scene, node: Node | None, rows: Sequence[Mapping[str, object]], name: str) -> Node:
    if node is None:
        return add_table(scene, rows, name)
    update_table(node, rows)
    return node
