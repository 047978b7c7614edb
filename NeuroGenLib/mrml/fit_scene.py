"""What an atlas found in a scan, as a Slicer scene."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from NeuroGenLib.mrml.colours import diverging_colours
from NeuroGenLib.mrml.folders import add_folder, put_into_folder
from NeuroGenLib.mrml.generated_scene import window_of
from NeuroGenLib.mrml.growth_plot import GrowthNodes, add_growth
from NeuroGenLib.mrml.provenance import set_provenance
from NeuroGenLib.mrml.scene import HeadlessScene, save_scene
from NeuroGenLib.mrml.segmentations import add_segmentation
from NeuroGenLib.mrml.tables import add_table
from NeuroGenLib.mrml.transforms import add_linear_transform
from NeuroGenLib.mrml.views import show_in_slices
from NeuroGenLib.mrml.volumes import add_volume

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from NeuroGenLib.atlas.fit import FittedBrain
    from NeuroGenLib.atlas.infer import AtlasModel
    from NeuroGenLib.mrml.core import Node, Scene
    from NeuroGenLib.volume import Volume

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
    scene: Scene, model: AtlasModel, fit: FittedBrain, images: Mapping[str, Volume], record: Mapping[str, Any]
) -> FitNodes:
    """Add a fit to a scene, in the scan's own space and in a subject-hierarchy folder, every node with its provenance.

    Scan, labels, reconstruction, atlas at the subject's age, deviation, the transform to atlas space, the table of
    the tissues against the training subjects, and their plot with the subject as diamonds.

    Parameters
    ----------
    scene:
        ``vtkMRMLScene``.
    model:
        The atlas that was fitted.
    fit:
        What it found.
    images:
        The scan, by the names of the model's images.
    record:
        Provenance.
    """
    scans, drawn, norm, deviation = {}, {}, {}, {}
    for name, scan in images.items():
        scans[name] = add_volume(scene, scan, name, window=window_of([scan]))
    for name, volume in fit.reconstruction.items():
        window = window_of([images.get(name, volume)])
        drawn[name] = add_volume(scene, volume, f"{name} reconstruction", window=window)
        norm[name] = add_volume(scene, fit.atlas[name], f"{name} atlas", window=window)
    for name, volume in fit.deviation.items():
        colours = diverging_colours(scene).GetID()
        deviation[name] = add_volume(scene, volume, f"{name} deviation", window=DEVIATION_WINDOW, colours=colours)
    segmentation = add_segmentation(scene, fit.labels, model.labels, "labels")
    to_atlas = add_linear_transform(scene, fit.to_atlas, "scan to atlas", maps="to_parent")
    tissues = _add_tissues(scene, fit)
    age = fit.age.value if fit.known_age is None else fit.known_age
    row: dict[str, float | str] = {model.age_name: age, **{f"{one.name}_ml": one.volume_ml for one in fit.tissues}}
    unit = (model.age_name, model.age_unit)
    growth = add_growth(scene, [row], model.labels, unit, "tissue volumes", style="diamonds", model=model)
    nodes = [*scans.values(), segmentation, *drawn.values(), *norm.values(), *deviation.values(), to_atlas, tissues]
    nodes += growth.nodes
    for node in nodes:
        set_provenance(node, record)
    folder = add_folder(scene, f"{model.folder.manifest.get('name', 'atlas')} fitted")
    put_into_folder(scene, folder, nodes)
    return FitNodes(folder, scans, segmentation, drawn, norm, deviation, to_atlas, tissues, growth)


def write_fit_scene(
    model: AtlasModel,
    fit: FittedBrain,
    images: Mapping[str, Volume],
    record: Mapping[str, Any],
    path: str | os.PathLike[str],
) -> None:
    """Write a fit as a scene file; see :func:`add_fit`.

    Raises
    ------
    InputError
        As :func:`NeuroGenLib.mrml.scene.save_scene`.
    """
    with HeadlessScene() as headless:
        nodes = add_fit(headless.scene, model, fit, images, record)
        show_in_slices(headless.scene, next(iter(nodes.images.values())))
        save_scene(headless.scene, path)


def _add_tissues(scene: Scene, fit: FittedBrain) -> Node:
    rows = [
        {
            "tissue": one.name,
            "volume_ml": one.volume_ml,
            "expected_ml": one.expected_ml,
            "z": one.z,
            "training_subjects": one.n,
        }
        for one in fit.tissues
    ]
    return add_table(scene, rows, "deviation from the atlas", units={"volume_ml": "ml", "expected_ml": "ml"})
