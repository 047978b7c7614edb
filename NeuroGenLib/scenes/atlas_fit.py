"""What an atlas found in a scan, as a Slicer scene."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from NeuroGenLib.atlas.fit.deviation import TissueDeviation
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

    from NeuroGenLib.atlas.fit.fit import FittedBrain
    from NeuroGenLib.atlas.infer import AtlasModel
    from NeuroGenLib.mrml.core import Node, Scene
    from NeuroGenLib.spatial.labels import LabelTable
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


@dataclass(frozen=True)
class ShownFit:
    """What a scene shows of a fit, wherever it was made; every volume is on the grid of the scan.

    Attributes
    ----------
    atlas_name:
        Of the model.
    labels, table:
        The labels that were found, and what they mean.
    reconstruction, atlas, deviation:
        By the names of the model's images.
    to_atlas:
        (4, 4) scan RAS mm to atlas RAS mm.
    tissues:
        Their volumes against those of the training subjects.
    age, age_name, age_unit:
        The subject's age: the known one, else the one that was found.
    subjects:
        Training subjects, as :attr:`AtlasModel.subjects` lists them.
    """

    atlas_name: str
    labels: Volume
    table: LabelTable
    reconstruction: Mapping[str, Volume]
    atlas: Mapping[str, Volume]
    deviation: Mapping[str, Volume]
    to_atlas: np.ndarray
    tissues: Sequence[TissueDeviation]
    age: float
    age_name: str
    age_unit: str
    subjects: Sequence[Mapping[str, Any]]

    @classmethod
    def of(cls, model: AtlasModel, fit: FittedBrain) -> ShownFit:
        """Return what a scene shows of a fit that was made here."""
        return cls(
            atlas_name=str(model.folder.manifest.get("name", "atlas")),
            labels=fit.labels,
            table=model.labels,
            reconstruction=fit.reconstruction,
            atlas=fit.atlas,
            deviation=fit.deviation,
            to_atlas=fit.to_atlas,
            tissues=fit.tissues,
            age=fit.age.value if fit.known_age is None else fit.known_age,
            age_name=model.age_name,
            age_unit=model.age_unit,
            subjects=model.subjects,
        )

    @classmethod
    def of_job(cls, result: Mapping[str, Any], facts: Mapping[str, Any], table: LabelTable) -> ShownFit:
        """Return what a scene shows of a fit that the worker made.

        Parameters
        ----------
        result:
            Of the worker's job ``atlas.fit``.
        facts:
            Of its job ``model.open``.
        table:
            The model's labels.
        """
        found = result["summary"]
        return cls(
            atlas_name=str(facts["name"] or "atlas"),
            labels=result["labels"],
            table=table,
            reconstruction=result["reconstruction"],
            atlas=result["atlas"],
            deviation=result["deviation"],
            to_atlas=np.array(result["to_atlas"], float),
            tissues=[
                TissueDeviation(name, one["volume_ml"], one["expected_ml"], one["z"], one["n"])
                for name, one in found["tissues"].items()
            ],
            age=found["age"] if found["known_age"] is None else found["known_age"],
            age_name=found["age_name"],
            age_unit=found["age_unit"],
            subjects=facts["atlas"]["subjects"],
        )


def add_fit(scene: Scene, fit: ShownFit, images: Mapping[str, Volume], record: Mapping[str, Any]) -> FitNodes:
    """Add a fit to a scene, in the scan's own space and in a subject-hierarchy folder, every node with its provenance.

    Scan, labels, reconstruction, atlas at the subject's age, deviation, the transform to atlas space, the table of
    the tissues against the training subjects, and their plot with the subject as diamonds.

    Parameters
    ----------
    scene:
        ``vtkMRMLScene``.
    fit:
        What was found.
    images:
        The scan, by the names of the model's images; empty where the scene has it already.
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
    segmentation = add_segmentation(scene, fit.labels, fit.table, "labels")
    to_atlas = add_linear_transform(scene, fit.to_atlas, "scan to atlas", maps="to_parent")
    tissues = _add_tissues(scene, fit)
    row: dict[str, float | str] = {fit.age_name: fit.age, **{f"{one.name}_ml": one.volume_ml for one in fit.tissues}}
    unit = (fit.age_name, fit.age_unit)
    looks: dict[str, Any] = {"style": "diamonds", "subjects": fit.subjects}
    growth = add_growth(scene, [row], fit.table, unit, "tissue volumes", **looks)
    nodes = [*scans.values(), segmentation, *drawn.values(), *norm.values(), *deviation.values(), to_atlas, tissues]
    nodes += growth.nodes
    for node in nodes:
        set_provenance(node, record)
    folder = add_folder(scene, f"{fit.atlas_name} fitted")
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
        nodes = add_fit(headless.scene, ShownFit.of(model, fit), images, record)
        show_in_slices(headless.scene, next(iter(nodes.images.values())))
        save_scene(headless.scene, path)


def _add_tissues(scene: Scene, fit: ShownFit) -> Node:
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
