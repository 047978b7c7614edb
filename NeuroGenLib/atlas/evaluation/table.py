"""Evaluation of an atlas on subjects held out of its training."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from NeuroGenLib.alignment.halfway import aligned
from NeuroGenLib.alignment.prepared_image import PreparedImage
from NeuroGenLib.alignment.rotation_search import rigid_alignment, scan_levels
from NeuroGenLib.atlas.data.dataset import load_subject
from NeuroGenLib.atlas.evaluation.figure import Comparison, evaluation_figure
from NeuroGenLib.atlas.fit.fit import fit_scan
from NeuroGenLib.atlas.fit.output import write_fit
from NeuroGenLib.atlas.fit.scan import require_known_labels
from NeuroGenLib.atlas.output import plain_name
from NeuroGenLib.core.config import to_mapping
from NeuroGenLib.core.errors import InputError
from NeuroGenLib.core.files import staged_outputs, write_json
from NeuroGenLib.core.progress import SILENT, Progress
from NeuroGenLib.core.reports import save_figure, write_table
from NeuroGenLib.spatial.intensity import intensity_range, rescale
from NeuroGenLib.spatial.metrics import bounding_box, dice_by_label, psnr, ssim

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from NeuroGenLib.atlas.config import EvaluateConfig
    from NeuroGenLib.atlas.infer import AtlasModel
    from NeuroGenLib.cohort.subjects import Cohort, Subject
    from NeuroGenLib.spatial.volume import Volume

EvaluationRow = dict[str, float | str]


FILES = ("evaluation.tsv", "evaluation.png")
"""What an evaluation writes beside its record and the folders of subjects."""


def evaluate_to_folder(
    model: AtlasModel,
    cohort: Cohort,
    out: Path,
    settings: EvaluateConfig,
    progress: Progress = SILENT,
) -> list[EvaluationRow]:
    """Compare the atlas with subjects of a cohort; write ``evaluation.tsv``, ``evaluation.png``, ``provenance.json``.

    Returns
    -------
    list
        One row a subject, and their mean (of ``age_error``: of its absolute values). Columns: age and conditions of the
        table; ``psnr_*`` (dB), ``ssim_*``, ``dice`` and ``dice_<tissue>`` of the atlas at that age and condition after
        rigid alignment by the image, ``dice_before_alignment`` with centres of mass matched; and, fitted to the images
        alone with age and conditions unknown, ``fitted_psnr_*``, ``fitted_ssim_*``, ``fitted_dice``,
        ``fitted_dice_<tissue>``, ``fitted_age``, ``age_error`` (fitted minus true) and ``fitted_<condition>``. Words
        (``n/a`` for a tissue that neither label map has, ``inf`` for the PSNR of equal images) do not enter the mean.

    Raises
    ------
    InputError
        When a subject, file, age or condition is missing.
    """
    cohort.require_files()
    cohort.column(model.age_name)
    rows: list[EvaluationRow] = []
    comparisons: list[Comparison] = []
    with staged_outputs(out) as staging:
        for number, subject in enumerate(cohort):
            part = progress.part(number / len(cohort), (number + 1) / len(cohort), subject.key)
            folder = staging / plain_name(subject.key) if settings.volumes else None
            row, comparison = evaluate_subject(model, subject, settings, folder, part)
            rows.append(row)
            comparisons.append(comparison)
        rows.append(mean_row(rows))
        write_table(staging / "evaluation.tsv", rows)
        save_figure(staging / "evaluation", evaluation_figure(model, comparisons, rows), settings.picture)
        record = model.provenance(
            "atlas evaluate",
            {"subjects": list(cohort.ids), **to_mapping(settings), **({} if settings.fitted else {"fit": None})},
            (),
            results=rows,
        )
        write_json(staging / "provenance.json", record)
    return rows


def evaluate_subject(
    model: AtlasModel,
    subject: Subject,
    settings: EvaluateConfig,
    folder: Path | None = None,
    progress: Progress = SILENT,
) -> tuple[EvaluationRow, Comparison]:
    """Compare the atlas with one subject; see :func:`evaluate_to_folder`. The fit is written into ``folder``."""
    images, labels = load_subject(subject, model.modalities, settings.segmentation)
    require_known_labels(labels, model.labels, f"The {settings.segmentation} of {subject.key}")
    conditions = {volume.name: value_of(subject, volume.name) for volume in model.conditions}
    age = float(value_of(subject, model.age_name))
    reference = {name: volume.with_array(volume.array * (labels.array > 0)) for name, volume in images.items()}
    first = model.modalities[0]
    share = 0.3 if settings.fitted else 1.0
    rendering = progress.part(0, share)
    brain = model.generate(
        age,
        conditions,
        min(labels.spacing),
        bandwidth=settings.bandwidth,
        regression=settings.regression,
        progress=rendering.part(0, 0.6),
    )
    centred = np.eye(4)
    centred[:3, 3] = -_brain_centre(labels)
    rendering.update(0.6, 1, "aligning")
    levels = scan_levels(
        PreparedImage.of(reference[first], labels.with_array(labels.array > 0)),
        PreparedImage.of(brain.images[first], brain.labels.with_array(brain.labels.array > 0)),
    )
    transform = rigid_alignment(*levels, centred)
    before = overlaps(model, aligned(brain.labels, centred, labels, order=0), labels)
    atlas_labels = aligned(brain.labels, transform, labels, order=0)
    after = overlaps(model, atlas_labels, labels)
    row: EvaluationRow = {
        "subject": subject.key,
        model.age_name: age,
        **{name: str(value) for name, value in conditions.items()},
    }
    atlas = {name: aligned(brain.images[name], transform, labels) for name in model.modalities}
    for name in model.modalities:
        row |= intensity_metrics(name, atlas[name], reference[name])
    row["dice_before_alignment"] = _rounded(np.mean(list(before.values())))
    row |= dice_columns(model, after)
    comparison = Comparison(subject.key, reference[first], labels, atlas[first], atlas_labels)
    if settings.fitted:
        fitted, comparison = _fitted(model, comparison, reference, age, settings, folder, progress.part(share, 1))
        row |= fitted
    progress.update(1, 1)
    return row, comparison


def overlaps(model: AtlasModel, prediction: Volume, reference: Volume) -> dict[int, float]:
    """Return the Dice of every tissue that one of two label maps on one grid has, by label value."""
    outside = {0, *(model.labels.values[index] for index in model.background)}
    return dice_by_label(prediction.array, reference.array, sorted(outside))


def dice_columns(model: AtlasModel, dice: Mapping[int, float], prefix: str = "") -> EvaluationRow:
    """Return the mean Dice and that of each tissue of the model, by column name: the same columns for all subjects."""
    row: EvaluationRow = {f"{prefix}dice": _rounded(np.mean(list(dice.values())))}
    for index, entry in enumerate(model.labels):
        if index not in model.background:
            row[f"{prefix}dice_{entry.name}"] = _rounded(dice[entry.value]) if entry.value in dice else "n/a"
    return row


def intensity_metrics(name: str, image: Volume, reference: Volume, prefix: str = "") -> EvaluationRow:
    """Return PSNR and SSIM inside the reference's bounding box, both images scaled to 0..1 (as published)."""
    low, high = bounding_box(reference.array)
    window = tuple(slice(int(start), int(stop) + 1) for start, stop in zip(low, high, strict=True))
    image_values, reference_values = _scaled(image.array[window]), _scaled(reference.array[window])
    return {
        f"{prefix}psnr_{name}": _rounded(psnr(image_values, reference_values)),
        f"{prefix}ssim_{name}": _rounded(ssim(image_values, reference_values)),
    }


def mean_row(rows: Sequence[EvaluationRow]) -> EvaluationRow:
    """Return the mean over the rows that hold a number, of every column; of an error, the mean of its size."""
    mean: EvaluationRow = {}
    for name in rows[0]:
        numbers = [value for row in rows if isinstance(value := row.get(name), float)]
        if name == "age_error":
            numbers = [abs(value) for value in numbers]
        mean[name] = _rounded(np.mean(numbers)) if numbers else ""
    return mean | {"subject": "mean"}


def _fitted(
    model: AtlasModel,
    comparison: Comparison,
    reference: dict[str, Volume],
    age: float,
    settings: EvaluateConfig,
    folder: Path | None,
    progress: Progress,
) -> tuple[EvaluationRow, Comparison]:
    """Fit the atlas to the images alone and compare the result with the label map."""
    labels = comparison.labels
    mask = labels.with_array((labels.array > 0).astype(np.uint8))
    try:
        fitted = fit_scan(model, reference, mask=mask, settings=settings.fit, progress=progress)
    except InputError as error:
        raise error.within(f"The atlas cannot be fitted to {comparison.name}") from error
    if folder is not None:
        parameters = {"subject": comparison.name, **to_mapping(settings.fit)}
        write_fit(model, fitted, reference, folder, parameters, settings.picture)
    row = dice_columns(model, overlaps(model, fitted.labels, labels), "fitted_")
    for name, image in fitted.reconstruction.items():
        row |= intensity_metrics(name, image, reference[name], "fitted_")
    row["fitted_age"] = _rounded(fitted.estimate.value)
    row["age_error"] = _rounded(fitted.estimate.value - age)
    for name, value in fitted.conditions.items():
        row[f"fitted_{name}"] = f"{value:.4g}" if isinstance(value, float) else value
    first = model.modalities[0]
    return row, replace(comparison, fitted=fitted.reconstruction[first], fitted_labels=fitted.labels)


def _scaled(array: np.ndarray) -> np.ndarray:
    return rescale(array, *intensity_range(array))


def _brain_centre(labels: Volume) -> np.ndarray:
    return labels.voxel_to_world(np.argwhere(labels.array > 0).mean(axis=0))


def value_of(subject: Subject, name: str) -> float | str:
    """Return a subject's value of a column.

    Raises
    ------
    InputError
        When the cell is empty.
    """
    if name not in subject.values:
        raise InputError(
            f"{subject.key} has no value for '{name}'.", "Fill the cell of the table.", code="value-missing"
        )
    return subject.values[name]


def _rounded(value: object) -> float | str:
    """Return a number for people; infinity as a word, since JSON has no number for it."""
    number = round(float(value), 4)  # type: ignore[arg-type]
    return number if np.isfinite(number) else str(number)
