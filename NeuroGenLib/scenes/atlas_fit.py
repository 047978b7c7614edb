"""An atlas fitted to a scan, as a Slicer scene."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from NeuroGenLib.mrml.colours import diverging_colours
from NeuroGenLib.mrml.folders import add_folder, put_into_folder
from NeuroGenLib.mrml.provenance import set_provenance
from NeuroGenLib.mrml.scene import HeadlessScene, save_scene
from NeuroGenLib.mrml.segmentations import add_segmentation
from NeuroGenLib.mrml.tables import add_table
from NeuroGenLib.mrml.transforms import add_linear_transform
from NeuroGenLib.mrml.views import show_in_slices
from NeuroGenLib.mrml.volumes import add_volume, window_of
from NeuroGenLib.scenes.atlas_growth_plot import GrowthNodes, add_growth

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    from NeuroGenLib.mrml.core import Node, Scene
    from NeuroGenLib.spatial.labels import LabelTable
    from NeuroGenLib.spatial.result import Result
    from NeuroGenLib.spatial.volume import Volume

DEVIATION_WINDOW = (-0.5, 0.5)


@dataclass(frozen=True)
class FitNodes:
    """What :func:`add_fit` made; volumes by the name of the image, ``to_atlas`` moves the scan into atlas space."""

    folder: int
    images: dict[str, Node]
    segmentation: Node
    reconstruction: dict[str, Node]
    atlas: dict[str, Node]
    deviation: dict[str, Node]
    to_atlas: Node
    tissues: Node
    growth: GrowthNodes


def add_fit(
    scene: Scene,
    result: Result,
    table: LabelTable,
    images: Mapping[str, Volume] | None = None,
    subjects: Sequence[Mapping[str, Any]] = (),
) -> FitNodes:
    """Add a fit to a scene, in the scan's own space and in a subject-hierarchy folder, every node with its provenance.

    Scan, labels, reconstruction, atlas at the subject's age, deviation, the transform to atlas space, the table of
    the tissues against the training subjects, and their plot with the subject as diamonds.

    Parameters
    ----------
    scene:
        ``vtkMRMLScene``.
    result:
        The fit, as :func:`NeuroGenLib.atlas.fit.output.fit_result` returns it.
    table:
        The model's labels.
    images:
        The scan, by the names of the model's images; none where the scene has it already.
    subjects:
        Training subjects, as :attr:`AtlasModel.subjects` lists them.
    """
    facts, rows = result.facts["fit"], result.tables["deviation"]
    scans, reconstruction, atlas, deviation = {}, {}, {}, {}
    for name, scan in (images or {}).items():
        scans[name] = add_volume(scene, scan, name, window=window_of([scan]))
    expected = _by_image(result, "atlas")
    for name, volume in _by_image(result, "reconstruction").items():
        window = window_of([(images or {}).get(name, volume)])
        reconstruction[name] = add_volume(scene, volume, f"{name} reconstruction", window=window)
        atlas[name] = add_volume(scene, expected[name], f"{name} atlas", window=window)
    for name, volume in _by_image(result, "deviation").items():
        colours = diverging_colours(scene).GetID()
        deviation[name] = add_volume(scene, volume, f"{name} deviation", window=DEVIATION_WINDOW, colours=colours)
    segmentation = add_segmentation(scene, result.labels["labels"], table, "labels")
    to_atlas = add_linear_transform(scene, result.maps["to_atlas"].before, "scan to atlas", maps="to_parent")
    tissues = _add_tissues(scene, rows)
    row: dict[str, float | str] = {facts["age_name"]: facts["age"]}
    row |= {f"{tissue['tissue']}_ml": float(str(tissue["volume_ml"])) for tissue in rows}
    unit = (facts["age_name"], facts["age_unit"])
    growth = add_growth(scene, [row], table, unit, "tissue volumes", style="diamonds", subjects=subjects)
    nodes = [*scans.values(), segmentation, *reconstruction.values(), *atlas.values(), *deviation.values(), to_atlas]
    nodes += [tissues, *growth.nodes]
    for node in nodes:
        set_provenance(node, result.record)
    name = (result.record.get("model") or {}).get("name") or "atlas"
    folder = add_folder(scene, f"{name} fitted")
    put_into_folder(scene, folder, nodes)
    return FitNodes(folder, scans, segmentation, reconstruction, atlas, deviation, to_atlas, tissues, growth)


def write_fit_scene(
    result: Result,
    table: LabelTable,
    images: Mapping[str, Volume],
    path: str | os.PathLike[str],
    subjects: Sequence[Mapping[str, Any]] = (),
) -> None:
    """Write a fit as a scene file; see :func:`add_fit`.

    Raises
    ------
    InputError
        As :func:`NeuroGenLib.mrml.scene.save_scene`.
    """
    with HeadlessScene() as headless:
        nodes = add_fit(headless.scene, result, table, images, subjects)
        show_in_slices(headless.scene, next(iter(nodes.images.values())))
        save_scene(headless.scene, path)


def _by_image(result: Result, part: str) -> dict[str, Volume]:
    """Return the volumes of a part by image; that of a model with one image has the name of the part alone."""
    only = next(iter(result.facts["fit"]["intensity"]))
    names = {
        name: name.removeprefix(part).removeprefix("_") or only for name in result.volumes if name.startswith(part)
    }
    return {image: result.volumes[name] for name, image in names.items()}


def _add_tissues(scene: Scene, rows: Sequence[Mapping[str, object]]) -> Node:
    shown = [
        {
            **{name: None if row[name] == "n/a" else row[name] for name in ("tissue", "volume_ml", "expected_ml", "z")},
            "training_subjects": row["n"],
        }
        for row in rows
    ]
    return add_table(scene, shown, "deviation from the atlas", units={"volume_ml": "ml", "expected_ml": "ml"})
