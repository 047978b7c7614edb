"""How well an atlas shows subjects that were left out of its training."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from NeuroGenLib import provenance
from NeuroGenLib.alignment import aligned, rigid_alignment
from NeuroGenLib.atlas.dataset import load_subject
from NeuroGenLib.atlas.growth import write_table
from NeuroGenLib.cohort import Cohort
from NeuroGenLib.errors import InputError
from NeuroGenLib.files import staged_outputs, write_json
from NeuroGenLib.metrics import bounding_box, dice_by_label, psnr, ssim
from NeuroGenLib.progress import SILENT, Progress

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from NeuroGenLib.atlas.infer import AtlasModel
    from NeuroGenLib.cohort import Subject
    from NeuroGenLib.volume import Volume

Row = dict[str, float | str]


def evaluate_to_folder(
    model: AtlasModel,
    table: Path,
    ids: Sequence[str],
    segmentation: str,
    out: Path,
    progress: Progress = SILENT,
) -> list[Row]:
    """Compare the atlas with subjects of a cohort and write ``evaluation.tsv`` and ``provenance.json``.

    Returns
    -------
    list
        One row a subject, and their mean: age, conditions, PSNR (dB), SSIM and Dice after rigid alignment, mean and by
        tissue; and the mean Dice before alignment, centres of mass matched.

    Raises
    ------
    InputError
        When a subject, file, age or condition is missing.
    """
    cohort = Cohort.from_table(table, (*model.modalities, segmentation)).select(ids)
    cohort.require_files()
    cohort.column(model.age_name)
    rows = []
    with staged_outputs(out) as staging:
        for number, subject in enumerate(cohort):
            part = progress.part(number / len(cohort), (number + 1) / len(cohort), subject.key)
            rows.append(evaluate_subject(model, subject, segmentation, part))
        rows.append(_mean(rows))
        write_table(staging / "evaluation.tsv", rows)
        record = provenance.record(
            "atlas evaluate",
            model={"reference": model.folder.reference, "weights": model.folder.manifest["files"]},
            parameters={"table": str(table), "subjects": list(ids), "segmentation": segmentation},
            results=rows,
        )
        write_json(staging / "provenance.json", record)
    return rows


def evaluate_subject(model: AtlasModel, subject: Subject, segmentation: str, progress: Progress = SILENT) -> Row:
    """Compare the atlas at a subject's age and conditions with the subject; see :func:`evaluate_to_folder`."""
    images, labels = load_subject(subject, model.modalities, segmentation)
    _require_known_labels(model, labels, f"The {segmentation} of {subject.key}")
    conditions = {one.name: _value(subject, one.name) for one in model.conditions}
    age = float(_value(subject, model.age_name))
    brain = model.generate(age, conditions, min(labels.spacing), progress=progress.part(0, 0.6))
    reference = {name: one.with_array(one.array * (labels.array > 0)) for name, one in images.items()}
    first = model.modalities[0]
    centred = np.eye(4)
    centred[:3, 3] = -_brain_centre(labels)
    progress.update(0.6, 1, "aligning")
    transform = rigid_alignment(reference[first], brain.images[first], centred)
    before = dice_by_label(aligned(brain.labels, centred, labels, order=0).array, labels.array)
    after = dice_by_label(aligned(brain.labels, transform, labels, order=0).array, labels.array)
    row: Row = {"subject": subject.key, model.age_name: age, **{name: str(value) for name, value in conditions.items()}}
    for name in model.modalities:
        image = aligned(brain.images[name], transform, labels)
        row |= _intensity_metrics(name, image, reference[name])
    row |= {
        "dice_before_alignment": _rounded(np.mean(list(before.values()))),
        "dice": _rounded(np.mean(list(after.values()))),
    }
    for entry in model.labels:
        if entry.value in after:
            row[f"dice_{entry.name}"] = _rounded(after[entry.value])
    progress.update(1, 1)
    return row


def markdown_table(rows: Sequence[Row]) -> str:
    """Return rows as a Markdown table, for cards and documents."""
    names = list(rows[0])
    lines = [f"| {' | '.join(names)} |", f"|{'---|' * len(names)}"]
    lines += [f"| {' | '.join(str(row.get(name, '')) for name in names)} |" for row in rows]
    return "\n".join(lines)


def _intensity_metrics(name: str, image: Volume, reference: Volume) -> Row:
    """Return PSNR and SSIM inside the reference's bounding box, both images stretched to 0..1 (as published)."""
    low, high = bounding_box(reference.array)
    window = tuple(slice(int(start), int(stop) + 1) for start, stop in zip(low, high, strict=True))
    one, other = _stretched(image.array[window]), _stretched(reference.array[window])
    return {f"psnr_{name}": _rounded(psnr(one, other)), f"ssim_{name}": _rounded(ssim(one, other))}


def _stretched(array: np.ndarray) -> np.ndarray:
    low, high = float(array.min()), float(array.max())
    return (array - low) / (high - low) if high > low else np.zeros(array.shape)


def _require_known_labels(model: AtlasModel, labels: Volume, name: str) -> None:
    """Refuse a label map that is empty, or that follows another table than the model's."""
    found = set(np.unique(labels.array).tolist()) - {0}
    if not found:
        raise InputError(f"{name} is empty.", "Every voxel is 0; give a segmentation of the brain.")
    unknown = sorted(found - set(model.labels.values))
    if unknown:
        raise InputError(
            f"{name} holds the label values {', '.join(map(str, unknown[:8]))}, which the model lacks.",
            "Give label maps that follow the model's table; 'neurogen atlas info' names its labels.",
        )


def _brain_centre(labels: Volume) -> np.ndarray:
    return labels.voxel_to_world(np.argwhere(labels.array > 0).mean(axis=0))


def _value(subject: Subject, name: str) -> float | str:
    if name not in subject.values:
        raise InputError(f"{subject.key} has no value for '{name}'.", "Fill the cell of the table.")
    return subject.values[name]


def _mean(rows: Sequence[Row]) -> Row:
    """Return the mean of every column in which all rows hold a number."""
    mean: Row = {}
    for name in rows[0]:
        numbers = [value for row in rows if isinstance(value := row.get(name), float)]
        mean[name] = _rounded(np.mean(numbers)) if len(numbers) == len(rows) else ""
    return mean | {"subject": "mean"}


def _rounded(value: object) -> float:
    return round(float(value), 4)  # type: ignore[arg-type]
