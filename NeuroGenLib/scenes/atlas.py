"""Brains of an atlas, from results or from the folders that commands wrote, as a Slicer scene."""

from __future__ import annotations

import csv
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from NeuroGenLib.atlas.output import CERTAINTY, GROWTH, ONLY_IMAGE, PROBABILITIES
from NeuroGenLib.core.errors import InputError
from NeuroGenLib.core.files import read_json
from NeuroGenLib.core.progress import SILENT, Progress
from NeuroGenLib.mrml.colours import diverging_colours
from NeuroGenLib.mrml.folders import add_folder, put_into_folder
from NeuroGenLib.mrml.provenance import set_provenance
from NeuroGenLib.mrml.scene import HeadlessScene, save_scene
from NeuroGenLib.mrml.segmentations import add_segmentation
from NeuroGenLib.mrml.sequences import Index, NodeSequence, add_browser, add_segmentation_sequence, add_volume_sequence
from NeuroGenLib.mrml.views import show_in_slices
from NeuroGenLib.mrml.volumes import GREY, add_volume, window_of
from NeuroGenLib.scenes.atlas_growth_plot import GrowthNodes, add_growth
from NeuroGenLib.spatial.labels import LabelTable
from NeuroGenLib.spatial.volume import Volume

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    from NeuroGenLib.mrml.core import Node, Scene
    from NeuroGenLib.mrml.tables import Style
    from NeuroGenLib.spatial.result import Result

_SUFFIX = ".nii.gz"
_GROWTH = f"{GROWTH}_"
_NOT_IMAGES = ("labels", PROBABILITIES, CERTAINTY)


class ShownAtlas(Protocol):
    """What a scene shows of an atlas beside its brains: names of its images, and its training subjects."""

    @property
    def modalities(self) -> Sequence[str]:
        """Names of the images."""

    @property
    def subjects(self) -> Sequence[Mapping[str, Any]]:
        """Training subjects, as :attr:`AtlasModel.subjects` lists them."""


@dataclass(frozen=True)
class Generated:
    """Brains of one set of conditions, in the order of their ages.

    Attributes
    ----------
    name:
        Of the model, or of the published file; with the conditions.
    index:
        The ages.
    images, growth:
        One volume for each age, by the name of the file.
    labels:
        One label map for each age; none where the folder has none.
    table:
        What they mean; None where there are none.
    rows:
        Of the growth table.
    record:
        Provenance.
    """

    name: str
    index: Index
    images: dict[str, list[Volume]]
    growth: dict[str, list[Volume]]
    labels: list[Volume]
    table: LabelTable | None
    rows: list[dict[str, float | str]]
    record: dict[str, Any]

    @classmethod
    def of(cls, results: Sequence[Result], table: LabelTable) -> Generated:
        """Return brains as :func:`NeuroGenLib.atlas.output.brain_result` makes them, one for each age.

        Parameters
        ----------
        results:
            Brains of one atlas on one grid.
        table:
            The model's labels.
        """
        brains = sorted(results, key=lambda result: float(result.facts["brain"]["age"]))
        facts = [brain.facts["brain"] for brain in brains]
        images: dict[str, list[Volume]] = {}
        growth: dict[str, list[Volume]] = {}
        for file in brains[0].volumes:
            name = file.removeprefix(_GROWTH)
            if name not in _NOT_IMAGES:
                (images if name == file else growth)[name] = [brain.volumes[file] for brain in brains]
        record = dict(brains[0].record)
        return cls(
            name=_name(record),
            index=Index(facts[0]["age_name"], facts[0]["age_unit"], tuple(brain["age"] for brain in facts)),
            images=images,
            growth=growth,
            labels=[brain.labels["labels"] for brain in brains],
            table=table,
            rows=[
                {name: _cell(str(value)) for name, value in row.items()}
                for brain in brains
                for row in brain.tables[GROWTH]
            ],
            record=record,
        )

    @classmethod
    def read(cls, folder: str | os.PathLike[str]) -> Generated:
        """Read a folder that :func:`NeuroGenLib.atlas.output.generate_to_folder` wrote for one set of conditions.

        Folders of :func:`NeuroGenLib.atlas.precomputed.export` are alike.

        Raises
        ------
        InputError
            When it is another folder, or its files do not belong together.
        """
        folder = Path(folder)
        record = _record(folder)
        ages = np.array(record["parameters"]["ages"], float)
        age = record["parameters"]["age"]
        index = Index(str(age["name"]), str(age["unit"]), tuple(ages[_order(ages)].tolist()))
        images: dict[str, list[Volume]] = {}
        growth: dict[str, list[Volume]] = {}
        for path in sorted(folder.glob(f"*{_SUFFIX}")):
            file = path.name.removesuffix(_SUFFIX)
            name = file.removeprefix(_GROWTH)
            if name not in _NOT_IMAGES:
                (images if name == file else growth)[name] = _frames(path, ages)
        if not images:
            raise InputError(f"{folder} holds no images.", "Generate the brains again.", code="file-missing")
        labelled = (folder / f"labels{_SUFFIX}").is_file()
        return cls(
            name=_name(record),
            index=index,
            images=images,
            growth=growth,
            labels=_frames(folder / f"labels{_SUFFIX}", ages) if labelled else [],
            table=LabelTable.from_tsv(folder / "labels.tsv") if labelled else None,
            rows=_rows(folder / "growth.tsv", ages) if labelled else [],
            record=record,
        )


@dataclass(frozen=True)
class GeneratedNodes:
    """What :func:`add_generated` made; volumes and segmentation are proxies where there is a browser (several ages)."""

    folder: int
    images: dict[str, Node]
    growth_maps: dict[str, Node] = field(default_factory=dict)
    segmentation: Node | None = None
    browser: Node | None = None
    growth: GrowthNodes | None = None


def add_generated(
    scene: Scene, generated: Generated, model: ShownAtlas | None = None, progress: Progress = SILENT
) -> GeneratedNodes:
    """Add generated brains to a scene, in a subject-hierarchy folder, every node with its provenance.

    Several ages become sequences of images, growth maps and segmentation in one browser, at the first age; a growth
    table and its plot come with them.

    Parameters
    ----------
    scene:
        ``vtkMRMLScene``.
    generated:
        What to show.
    model:
        The atlas, whose training subjects are then dots in the plot.
    progress:
        Progress callback; cancels between the sequences.
    """
    adder = _Adder(scene, generated)
    # A model with one modality writes it as image.nii.gz; in Slicer its name says more.
    titles = {ONLY_IMAGE: model.modalities[0]} if model is not None and list(generated.images) == [ONLY_IMAGE] else {}
    steps = len(generated.images) + len(generated.growth) + 1
    images: dict[str, Node] = {}
    growth_maps: dict[str, Node] = {}
    segmentation = None
    for name, volumes in generated.images.items():
        progress.update(len(images), steps, "making the scene")
        images[name] = adder.image(titles.get(name, name), volumes)
    for name, volumes in generated.growth.items():
        progress.update(len(images) + len(growth_maps), steps, "making the scene")
        growth_maps[name] = adder.growth_map(titles.get(name, name), volumes)
    progress.update(steps - 1, steps, "making the scene")
    if generated.table is not None:
        segmentation = adder.segmentation(generated.labels, generated.table)
    browser = add_browser(scene, adder.played, generated.name) if adder.played else None
    growth = None
    if generated.table is not None and generated.rows:
        age = (generated.index.name, generated.index.unit)
        style: Style = "line" if len(generated.rows) > 1 else "diamonds"
        subjects = [] if model is None else model.subjects
        growth = add_growth(scene, generated.rows, generated.table, age, "growth", style=style, subjects=subjects)
    nodes = [*([browser] if browser else []), *(growth.nodes if growth else [])]
    for node in nodes:
        set_provenance(node, generated.record)
    folder = add_folder(scene, generated.name)
    put_into_folder(scene, folder, [*adder.nodes, *nodes])
    progress.update(steps, steps)
    return GeneratedNodes(folder, images, growth_maps, segmentation, browser, growth)


def write_generated_scene(
    folders: Sequence[str | os.PathLike[str]],
    path: str | os.PathLike[str],
    model: ShownAtlas | None = None,
    progress: Progress = SILENT,
) -> None:
    """Write the brains of folders, one for each set of conditions, as one scene file.

    See :meth:`Generated.read` and :func:`add_generated`.

    Raises
    ------
    InputError
        As :meth:`Generated.read` and :func:`NeuroGenLib.mrml.scene.save_scene`.
    """
    with HeadlessScene() as headless:
        for number, folder in enumerate(folders):
            part = progress.part(0.7 * number / len(folders), 0.7 * (number + 1) / len(folders))
            nodes = add_generated(headless.scene, Generated.read(folder), model, part)
            if number == 0:
                show_in_slices(headless.scene, next(iter(nodes.images.values())))
        save_scene(headless.scene, path)
    progress.update(1, 1)


class _Adder:
    """Adds one thing of all ages: a sequence, or with one age the node itself; collects what it made."""

    def __init__(self, scene: Scene, generated: Generated) -> None:
        self.scene, self.index, self.record = scene, generated.index, generated.record
        self.played: list[NodeSequence] = []
        self.nodes: list[Node] = []

    def image(self, name: str, volumes: list[Volume]) -> Node:
        return self._volume(volumes, name, window_of(volumes), GREY)

    def growth_map(self, name: str, volumes: list[Volume]) -> Node:
        most = max(abs(bound) for bound in window_of(volumes)) or 1.0
        title = f"{name} growth {self.record.get('growth_unit') or 'with age'}"
        return self._volume(volumes, title, (-most, most), diverging_colours(self.scene).GetID())

    def segmentation(self, maps: list[Volume], table: LabelTable) -> Node:
        if len(maps) == 1:
            return self._alone(add_segmentation(self.scene, maps[0], table, "labels"))
        return self._collect(
            add_segmentation_sequence(self.scene, maps, table, self.index, "labels", record=self.record)
        )

    def _volume(self, volumes: list[Volume], name: str, window: tuple[float, float], colours: str) -> Node:
        looks: dict[str, Any] = {"window": window, "colours": colours}
        if len(volumes) == 1:
            return self._alone(add_volume(self.scene, volumes[0], name, **looks))
        return self._collect(add_volume_sequence(self.scene, volumes, self.index, name, record=self.record, **looks))

    def _collect(self, played: NodeSequence) -> Node:
        self.played.append(played)
        self.nodes += [played.proxy, played.sequence]
        return played.proxy

    def _alone(self, node: Node) -> Node:
        set_provenance(node, self.record)
        self.nodes.append(node)
        return node


def _record(folder: Path) -> dict[str, Any]:
    record = read_json(folder / "provenance.json")
    try:
        age = record["parameters"]["age"]
        complete = bool(record["parameters"]["ages"] and age["name"] and age["unit"])
    except (KeyError, TypeError):
        complete = False
    if not complete:
        raise InputError(
            f"{folder} does not hold brains over ages that NeuroGen wrote.",
            "Choose a folder that `neurogen atlas generate` or `neurogen atlas open` made, for one set of conditions.",
            code="file-type",
        )
    return dict(record)


def _name(record: dict[str, Any]) -> str:
    source = (record.get("model") or {}).get("name") or record.get("image") or "atlas"
    conditions = record["parameters"].get("conditions") or {}
    shown = [
        f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}" for name, value in conditions.items()
    ]
    return ", ".join([str(source), *shown])


def _order(ages: np.ndarray) -> np.ndarray:
    """Return the positions of the ages, youngest first; one that was asked for twice is shown once."""
    return np.unique(ages, return_index=True)[1]


def _frames(path: Path, ages: np.ndarray) -> list[Volume]:
    """Return the 3-D volumes of a file with one for each age, youngest first."""
    volume = Volume.load(path)
    arrays = volume.array if volume.channels is not None else volume.array[None]
    if len(arrays) != len(ages):
        raise InputError(
            f"{path} holds {len(arrays)} volume(s), but provenance.json lists {len(ages)} age(s).",
            "Generate the brains again.",
            code="file-damaged",
        )
    return [Volume(arrays[frame], volume.affine) for frame in _order(ages)]


def _rows(path: Path, ages: np.ndarray) -> list[dict[str, float | str]]:
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    if len(rows) != len(ages):
        raise InputError(
            f"{path} has {len(rows)} row(s) for {len(ages)} age(s).", "Generate the brains again.", code="file-damaged"
        )
    return [{name: _cell(text) for name, text in rows[row].items()} for row in _order(ages)]


def _cell(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text
