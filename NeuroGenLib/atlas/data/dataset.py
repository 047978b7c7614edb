"""From a cohort's files to prepared training subjects."""

from __future__ import annotations

import fnmatch
import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from NeuroGenLib.atlas.conditions import Condition, as_word
from NeuroGenLib.atlas.data.points import SubjectPoints, prepare
from NeuroGenLib.atlas.published.rendering import halo_as_published
from NeuroGenLib.cohort.subjects import Cohort, Subject, age_unit, draw, read_splits
from NeuroGenLib.core.errors import InputError, nearest
from NeuroGenLib.core.progress import SILENT, Progress
from NeuroGenLib.simulate.motion import sample_motion, with_motion
from NeuroGenLib.spatial.labels import LabelTable, as_label_map, label_volumes_ml
from NeuroGenLib.spatial.volume import Volume, require_3d, require_finite, require_same_space
from NeuroGenLib.training.random_streams import step_rng

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from NeuroGenLib.atlas.config import ConditionConfig, DataConfig, MotionConfig

log = logging.getLogger(__name__)

MOST_CLASSES = 256
"""Classes are stored in a byte."""

BOX_MARGIN_MM = 6.0
"""Room between the outermost training point and the side of an automatic box."""


@dataclass(frozen=True)
class AtlasDataset:
    """What a training run reads.

    Attributes
    ----------
    cohort:
        The chosen subjects, in the order of the latents.
    subjects:
        Their prepared points.
    labels:
        The label table; a class is a position in it.
    background:
        The class of the margin around the brain.
    ages, age_unit:
        (S,), and their unit.
    conditions, values:
        The conditions, and each subject's values by name.
    volumes_ml:
        Each subject's label volumes by name.
    box:
        (3,) sides of the atlas box in mm.
    candidates:
        Whom the constraints and the choice started from.
    """

    cohort: Cohort
    subjects: tuple[SubjectPoints, ...]
    labels: LabelTable
    background: int
    ages: np.ndarray
    age_unit: str
    conditions: tuple[Condition, ...]
    values: tuple[dict[str, float | str], ...]
    volumes_ml: tuple[dict[str, float], ...]
    box: np.ndarray
    candidates: Cohort

    @property
    def background_names(self) -> list[str]:
        """The label of the margin first, then the label of value 0 where that is another."""
        names = [self.labels.names[self.background]]
        if 0 in self.labels.values:
            names.append(self.labels.names[self.labels.values.index(0)])
        return list(dict.fromkeys(names))

    def subject_entries(self, *, store_ids: bool) -> list[dict[str, Any]]:
        """Return one mapping per subject for the manifest: age, conditions, volumes in ml, pose; ids on request."""
        entries = []
        rows = zip(self.cohort, self.subjects, self.ages, self.values, self.volumes_ml, strict=True)
        for subject, points, age, values, volumes in rows:
            entry: dict[str, Any] = {"id": subject.key} if store_ids else {}
            entry |= {
                "age": float(age),
                "conditions": values,
                "volumes_ml": {name: round(volume, 3) for name, volume in volumes.items()},
                "centre": points.centre.tolist(),
                "scaling": points.scaling.tolist(),
            }
            entries.append(entry)
        return entries


def select_cohort(data: DataConfig, *, reference_compat: bool = False) -> Cohort:
    """Return the subjects to train on: read, kept by id, split and constraint, and chosen.

    Raises
    ------
    InputError
        When the table, a column, an id or a file is missing, or no subject is left.
    """
    return choose(read_candidates(data), data, reference_compat=reference_compat)


def read_candidates(data: DataConfig) -> Cohort:
    """Return the subjects of the table or folder that are in the split and kept by id.

    Raises
    ------
    InputError
        When the table, a column or an id is missing, or no subject is left.
    """
    columns = (*data.modalities, data.segmentation)
    if Path(data.table).is_dir():
        cohort = Cohort.from_folder(data.table, columns)
    else:
        cohort = Cohort.from_table(data.table, columns, root=data.root)
    if data.splits is not None:
        splits = read_splits(data.splits)
        if data.split not in splits:
            raise InputError(
                f"{data.splits} has no split '{data.split}'.", nearest(data.split, splits), code="name-unknown"
            )
        if splits[data.split]:
            cohort = cohort.select(splits[data.split])
    return _by_pattern(cohort, data.include, data.exclude)


def choose(candidates: Cohort, data: DataConfig, *, reference_compat: bool = False) -> Cohort:
    """Return the candidates that pass the constraints; of these, ``data.subjects`` when it is given.

    Raises
    ------
    InputError
        When a column or a file is missing, or no subject is left.
    """
    cohort = candidates.constrain(data.constraints)
    if data.subjects is not None:
        cohort = draw(cohort, data.constraints, data.subjects, reference_compat=reference_compat)
    cohort.require_files()
    return cohort


def build_dataset(
    data: DataConfig,
    progress: Progress = SILENT,
    *,
    reference_compat: bool = False,
    motion: MotionConfig | None = None,
    seed: int = 0,
) -> AtlasDataset:
    """Read and prepare every subject of the cohort.

    Parameters
    ----------
    data:
        Where the subjects are and how they are prepared.
    progress:
        Reports after each subject.
    reference_compat:
        Make the background margin as the published code does.
    motion:
        Adds copies that head motion spoilt, when its probability is above zero.
    seed:
        Decides those motions.

    Raises
    ------
    InputError
        When a table, file, label or condition is missing or unusable.
    """
    candidates = read_candidates(data)
    cohort = choose(candidates, data, reference_compat=reference_compat)
    ages = cohort.column(data.age)
    folder = Path(data.table) if Path(data.table).is_dir() else Path(data.table).parent
    unit = data.age_unit or age_unit(data.age, folder / "participants.json")
    conditions = tuple(condition_of(name, config, cohort) for name, config in data.conditions.items())
    values = tuple(
        {condition.name: condition.parse(_value(subject, condition.name)) for condition in conditions}
        for subject in cohort
    )
    labels = _labels(data, cohort)
    background = _background(data, labels)
    prepared, volumes = [], []
    for row, subject in enumerate(progress.track(cohort.subjects, "reading subjects")):
        images, label_map = load_subject(subject, data.modalities, data.segmentation)
        points = _prepare(subject, images, label_map, data, labels, background, reference_compat=reference_compat)
        if motion is not None and motion.probability > 0:
            spoilt = _corrupted(points, images, label_map, motion, seed, row, mask=data.mask)
            points = replace(points, corrupted=spoilt)
        prepared.append(points)
        volumes.append(label_volumes_ml(label_map, labels))
    box = np.array(data.box or _box(prepared), float)
    trimmed = [_inside_box(subject, points, box) for subject, points in zip(cohort, prepared, strict=True)]
    return AtlasDataset(
        cohort,
        tuple(trimmed),
        labels,
        background,
        ages,
        unit,
        conditions,
        values,
        tuple(volumes),
        box,
        candidates,
    )


def load_subject(subject: Subject, modalities: Sequence[str], segmentation: str) -> tuple[dict[str, Volume], Volume]:
    """Read one subject's images and label map, all on one grid.

    Raises
    ------
    InputError
        When a file is unreadable, has channels, holds NaN or infinity, or lies on another grid than the others.
    """
    images = {}
    for name in modalities:
        images[name] = Volume.load(subject.paths[name])
        where = f"The {name} of {subject.key}"
        require_3d(images[name], where)
        require_finite(images[name], where)
    labels = as_label_map(Volume.load(subject.paths[segmentation]), f"The {segmentation} of {subject.key}")
    require_same_space(
        {f"{name} of {subject.key}": volume for name, volume in {**images, segmentation: labels}.items()}
    )
    return images, labels


def classes_of(labels: Volume, table: LabelTable, name: str) -> np.ndarray:
    """Return the class (position in the table) of every voxel of a label map, (i, j, k) uint8.

    Raises
    ------
    InputError
        When a value is not in the table.
    """
    present = np.unique(labels.array)
    unknown = sorted(set(present.tolist()) - set(table.values))
    if unknown:
        raise InputError(
            f"{name} holds the label values {', '.join(map(str, unknown[:8]))}, which the label table lacks.",
            "Give the table that belongs to these label maps as data.labels.",
            code="labels-invalid",
        )
    lookup = np.zeros(int(max(table.values)) + 1, np.uint8)
    lookup[list(table.values)] = np.arange(len(table))
    classes: np.ndarray = lookup[labels.array]
    return classes


def _prepare(
    subject: Subject,
    images: Mapping[str, Volume],
    labels: Volume,
    data: DataConfig,
    table: LabelTable,
    background: int,
    *,
    reference_compat: bool,
) -> SubjectPoints:
    classes = classes_of(labels, table, f"The {data.segmentation} of {subject.key}")
    stack = np.stack([images[name].array for name in data.modalities]).astype(np.float32)
    try:
        return prepare(
            stack,
            classes,
            labels.affine,
            background=background,
            halo_mm=data.halo,
            normalisation=data.normalisation,
            mask=data.mask,
            halo=halo_as_published if reference_compat else None,
        )
    except InputError as error:
        raise error.within(f"{subject.key} cannot be used") from error


def _corrupted(
    points: SubjectPoints,
    images: Mapping[str, Volume],
    labels: Volume,
    motion: MotionConfig,
    seed: int,
    row: int,
    *,
    mask: bool,
) -> np.ndarray:
    """Return (variants, n, modalities): the points' intensities after head motion, another one in each image."""
    brain = labels.array > 0 if mask else 1
    copies = []
    for variant in range(motion.variants):
        rng = step_rng(seed, row, purpose=f"motion {variant}")
        moved = [
            with_motion(image, sample_motion(rng, motion.moves, motion.rotation, motion.translation)).array
            for image in images.values()
        ]
        copies.append(points.intensities_of(np.stack(moved) * brain))
    return np.stack(copies)


def _by_pattern(cohort: Cohort, include: Sequence[str], exclude: Sequence[str]) -> Cohort:
    """Keep the ids that match an ``include`` pattern (all when there is none) and no ``exclude`` pattern."""
    for pattern in (*include, *exclude):
        if not any(fnmatch.fnmatchcase(name, pattern) for name in cohort.ids):
            raise InputError(f"No subject is named '{pattern}'.", nearest(pattern, cohort.ids), code="name-unknown")
    kept = [
        name
        for name in cohort.ids
        if (not include or any(fnmatch.fnmatchcase(name, pattern) for pattern in include))
        and not any(fnmatch.fnmatchcase(name, pattern) for pattern in exclude)
    ]
    return cohort if len(kept) == len(cohort) else cohort.select(kept)


def _labels(data: DataConfig, cohort: Cohort) -> LabelTable:
    if data.labels is not None:
        table = LabelTable.from_tsv(data.labels)
        if len(table) > MOST_CLASSES:
            raise InputError(
                f"{data.labels} has {len(table)} structures; an atlas can have {MOST_CLASSES}.",
                "Leave out those that the label maps do not have.",
                code="labels-invalid",
            )
        # By value, so that class 0 is what lies outside, wherever the table lists it.
        return LabelTable(tuple(sorted(table, key=lambda entry: entry.value)))
    first = cohort.subjects[0]
    values = np.unique(as_label_map(Volume.load(first.paths[data.segmentation]), f"The labels of {first.key}").array)
    log.warning("No label table was given: the structures are named by the label values of %s.", first.key)
    return LabelTable.from_mapping({str(v): {"name": "background" if v == 0 else f"label_{v}"} for v in values})


def _background(data: DataConfig, labels: LabelTable) -> int:
    if data.background is not None:
        return labels.names.index(labels.lookup(data.background).name)
    if 0 not in labels.values:
        raise InputError(
            "The label table has no value 0.",
            "Add 0 as background, or name it as data.background.",
            code="labels-invalid",
        )
    return labels.values.index(0)


def _value(subject: Subject, name: str) -> float | str:
    if name not in subject.values:
        raise InputError(
            f"{subject.key} has no value for '{name}'.",
            "Fill the cell, or leave the subject out.",
            code="value-missing",
        )
    return subject.values[name]


def condition_of(name: str, config: ConditionConfig, cohort: Cohort) -> Condition:
    """Return a condition; what its settings leave open is taken from the cohort.

    Raises
    ------
    InputError
        When the table has no such column, or all subjects the same value.
    """
    if config.kind == "categoric":
        if name not in cohort.columns:
            raise InputError(f"The table has no column '{name}'.", nearest(name, cohort.columns), code="name-unknown")
        words = config.values or tuple(sorted({as_word(_value(subject, name)) for subject in cohort}))
        if len(words) < 2:
            raise InputError(f"All subjects have the same '{name}'.", "Leave this condition out.", code="value-invalid")
        return Condition(name, "categoric", values=words, scale=config.scale)
    column = cohort.column(name)
    low = float(column.min()) if config.minimum is None else config.minimum
    high = float(column.max()) if config.maximum is None else config.maximum
    if low >= high:
        raise InputError(
            f"All subjects have the same '{name}'.",
            "Leave this condition out, or give its range.",
            code="value-invalid",
        )
    return Condition(name, "numeric", low, high, unit=config.unit, scale=config.scale)


def _box(subjects: Sequence[SubjectPoints]) -> np.ndarray:
    """Return sides (mm, whole) of the box that holds every subject's points, centred, with a margin."""
    reach = np.max([np.abs(subject.world(subject.index)).max(axis=0) for subject in subjects], axis=0)
    size: np.ndarray = np.ceil(2 * (reach + BOX_MARGIN_MM))
    return size


def _inside_box(subject: Subject, points: SubjectPoints, box: np.ndarray) -> SubjectPoints:
    """Leave out the points that lie outside the box, and say so."""
    near = (np.abs(points.world(points.index)) <= box / 2).all(axis=1)
    far = (np.abs(points.world(points.outside)) <= box / 2).all(axis=1)
    if not near.any():
        raise InputError(
            f"All of {subject.key} lies outside the box.",
            "Give a larger data.box, or leave it out.",
            code="value-invalid",
        )
    if not near.all():
        log.warning("%d points of %s lie outside the box and are skipped.", int((~near).sum()), subject.key)
    return points.kept(near, far)
