"""Tissue volumes against age as table and plot nodes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from NeuroGenLib.atlas.growth.volumes import subject_volume
from NeuroGenLib.mrml.tables import add_plot, add_plot_series, add_table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from NeuroGenLib.mrml.core import Node, Scene
    from NeuroGenLib.mrml.tables import Style
    from NeuroGenLib.spatial.labels import Colour, LabelTable

_VOLUME = "_ml"
_GREY: Colour = (110, 110, 110)


@dataclass(frozen=True)
class GrowthNodes:
    """Table of the rows; table of the training subjects where they are known; plot, and its series."""

    table: Node
    subjects: Node | None
    plot: Node
    series: tuple[Node, ...]

    @property
    def nodes(self) -> list[Node]:
        """All of them."""
        return [self.table, *([self.subjects] if self.subjects else []), *self.series, self.plot]


def add_growth(
    scene: Scene,
    rows: Sequence[Mapping[str, float | str]],
    table: LabelTable,
    age: tuple[str, str],
    name: str,
    *,
    style: Style = "line",
    subjects: Sequence[Mapping[str, Any]] = (),
) -> GrowthNodes:
    """Add a table of tissue volumes, and a plot with a series for each tissue in the colour of its label.

    Parameters
    ----------
    scene:
        ``vtkMRMLScene``.
    rows:
        As :func:`NeuroGenLib.atlas.growth.volumes.growth_row` makes them: age, and volumes in ml as ``<tissue>_ml``.
    table:
        The labels.
    age:
        Name of the column with the age, and its unit.
    name:
        Of table and plot.
    style:
        Plot style of the rows.
    subjects:
        Training subjects as :attr:`AtlasModel.subjects` lists them: plotted as dots where their volumes are known.
    """
    column, unit = age
    tissues = [key.removesuffix(_VOLUME) for key in rows[0] if key.endswith(_VOLUME)]
    units = {column: unit} | {f"{tissue}{_VOLUME}": "ml" for tissue in tissues}
    node = add_table(scene, rows, name, units=units)
    colours = {label.name: label.colour for label in table}
    known = _subject_rows(subjects, column, tissues)
    trained = add_table(scene, known, f"{name} of training subjects", units=units) if known else None
    series = []
    for tissue in tissues:
        title, colour, y = tissue.replace("_", " "), colours.get(tissue, _GREY), f"{tissue}{_VOLUME}"
        if trained is not None:
            dots = f"{title}, training subjects"
            series.append(add_plot_series(scene, trained, column, y, dots, colour, "dots"))
        series.append(add_plot_series(scene, node, column, y, title, colour, style))
    x_title = f"{column.replace('_', ' ')} ({unit})"
    plot = add_plot(scene, series, f"{name} plot", x_title=x_title, y_title="volume (ml)")
    return GrowthNodes(node, trained, plot, tuple(series))


def _subject_rows(
    subjects: Sequence[Mapping[str, Any]], column: str, tissues: Sequence[str]
) -> list[dict[str, float | None]]:
    rows = []
    for subject in subjects:
        volumes = {f"{tissue}{_VOLUME}": subject_volume(subject, tissue) for tissue in tissues}
        if any(volume is not None for volume in volumes.values()):
            rows.append({column: float(subject["age"]), **volumes})
    return rows
