"""Validation while an atlas is trained: the atlas so far is fitted to subjects it does not train on."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from lightning.pytorch import Callback
from typing_extensions import override

from NeuroGenLib.atlas.conditions import parsed
from NeuroGenLib.atlas.config import EvaluateConfig, FitConfig
from NeuroGenLib.atlas.data.dataset import load_subject, read_candidates
from NeuroGenLib.atlas.evaluation.figure import evaluation_figure
from NeuroGenLib.atlas.evaluation.table import (
    dice_columns,
    evaluate_subject,
    intensity_metrics,
    mean_row,
    overlaps,
    value_of,
)
from NeuroGenLib.atlas.fit.scan import require_known_labels
from NeuroGenLib.atlas.infer import AtlasModel
from NeuroGenLib.atlas.output import plain_name
from NeuroGenLib.atlas.regression import default_bandwidth, subject_weights
from NeuroGenLib.core.errors import Cancelled, InputError
from NeuroGenLib.core.files import staged_outputs
from NeuroGenLib.core.reports import save_figure, write_table
from NeuroGenLib.models import open_model

if TYPE_CHECKING:
    from collections.abc import Callable

    from lightning.pytorch import LightningModule, Trainer

    from NeuroGenLib.atlas.config import AtlasTrainConfig
    from NeuroGenLib.atlas.data.dataset import AtlasDataset
    from NeuroGenLib.atlas.data.points import SubjectPoints
    from NeuroGenLib.atlas.evaluation.table import EvaluationRow
    from NeuroGenLib.cohort.subjects import Cohort
    from NeuroGenLib.core.progress import Progress
    from NeuroGenLib.models.folder import ModelFolder
    from NeuroGenLib.spatial.volume import Volume
    from NeuroGenLib.training.loop import StepModule

WHOLE = ("dice", "dice_before_alignment", "age_error")
"""Scores of the whole brain, besides those of the images."""


def validation_cohort(config: AtlasTrainConfig, trained: Cohort) -> Cohort:
    """Return the subjects to fit: at most ``validation.most``, spread over age.

    Raises
    ------
    InputError
        When none are named, one is unknown, or one is trained on.
    """
    import dataclasses

    settings = config.validation
    if settings.subjects:
        everybody = dataclasses.replace(config.data, splits=None, include=settings.subjects, exclude=())
    elif config.data.splits is not None:
        everybody = dataclasses.replace(config.data, split=settings.split, include=(), exclude=())
    else:
        raise InputError(
            "validation.every is set, but no subject is held out for it.",
            "Give data.splits, or validation.subjects.",
            code="value-missing",
        )
    cohort = read_candidates(everybody)
    shared = sorted({*cohort.ids} & {*trained.ids})
    if shared:
        raise InputError(
            f"{shared[0]} is both trained on and validated with.",
            "Leave it out of one of the two.",
            code="value-conflict",
        )
    cohort.require_files()
    return spread(cohort, config.data.age, settings.most)


def spread(cohort: Cohort, age: str, most: int) -> Cohort:
    """Return at most ``most`` subjects, one or more, evenly chosen by rank of age."""
    order = np.argsort(cohort.column(age), kind="stable")
    places = np.linspace(0, len(order) - 1, min(most, len(order))).round().astype(int)
    return cohort.select([cohort.ids[order[place]] for place in places])


def require_usable(cohort: Cohort, config: AtlasTrainConfig, dataset: AtlasDataset) -> None:
    """Check before the first step everything that the first validation needs.

    Raises
    ------
    InputError
        When a subject lacks a value or has an unusable one, no training subject supports its age, or its volumes are
        unreadable or do not belong together.
    """
    bandwidth = config.bandwidth or default_bandwidth(dataset.ages)
    for subject in cohort:
        try:
            parsed(
                dataset.conditions,
                {condition.name: value_of(subject, condition.name) for condition in dataset.conditions},
            )
            subject_weights(dataset.ages, float(value_of(subject, config.data.age)), bandwidth)
            _, labels = load_subject(subject, config.data.modalities, config.data.segmentation)
            require_known_labels(labels, dataset.labels, f"The {config.data.segmentation}")
        except InputError as error:
            raise error.within(f"{subject.key} cannot be validated with") from error


class Validation(Callback):
    """Fits the atlas to held-out subjects at intervals, and reconstructs some that it trains on.

    Means go into the run's metrics as ``validation/...`` and ``trained/...``; ``validation/step=NNNNNN/`` in the run
    folder holds the table, the picture and, when asked for, the volumes. The model is written to ``model`` in the run
    folder each time, so that a run always has one. A validation that is cancelled is given up; the run then stops with
    a checkpoint, and goes on after this step.

    Parameters
    ----------
    config:
        The job.
    dataset:
        The prepared cohort.
    write:
        Writes the atlas so far and returns its folder.
    progress:
        Of the run's steps; cancels a validation.

    Raises
    ------
    InputError
        As :func:`validation_cohort` and :func:`require_usable`.
    """

    def __init__(
        self,
        config: AtlasTrainConfig,
        dataset: AtlasDataset,
        write: Callable[[Any, Path], ModelFolder],
        progress: Progress,
    ) -> None:
        self._config, self._dataset, self._write, self._progress = config, dataset, write, progress
        self._cohort = validation_cohort(config, dataset.cohort)
        require_usable(self._cohort, config, dataset)
        some = config.validation.trained
        self._trained = spread(dataset.cohort, config.data.age, some) if some else None

    @override
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: int, batch_idx: int
    ) -> None:
        """Validate when it is due, and at the last step."""
        module, done = cast("StepModule", pl_module), batch + 1
        every = self._config.validation.every or self._config.train.steps
        if done % every and done != self._config.train.steps:
            return
        if trainer.is_global_zero:
            with suppress(Cancelled):  # the run's keeper stops the run, with a checkpoint
                for name, value in self._validate(module, done).items():
                    module.log(name, value)
        trainer.strategy.barrier("validation")

    def _validate(self, module: StepModule, step: int) -> dict[str, float]:
        run = Path(self._config.train.out)
        self._write(module, run / "model")
        model = open_model(str(run / "model"), AtlasModel, device=str(module.device))
        settings = self._config.validation
        evaluation = EvaluateConfig(
            segmentation=self._config.data.segmentation,
            fit=FitConfig(steps=settings.steps),
            volumes=settings.volumes,
        )
        reached = step / self._config.train.steps
        with staged_outputs(run / "validation" / f"step={step:06d}") as folder:
            rows, comparisons = [], []
            for subject in self._cohort:
                own = folder / "fitted" / plain_name(subject.key) if settings.volumes else None
                standing = self._progress.part(reached, reached, f"step {step}, validating with {subject.key}")
                row, comparison = evaluate_subject(model, subject, evaluation, own, standing)
                rows.append(row)
                comparisons.append(comparison)
            rows.append(mean_row(rows))
            write_table(folder / "validation.tsv", rows)
            save_figure(folder / "validation", evaluation_figure(model, comparisons, rows))
            metrics = _numbers("validation", rows[-1])
            if self._trained is not None:
                trained = self._reconstructed(model, self._trained, folder if settings.volumes else None)
                write_table(folder / "trained.tsv", trained)
                metrics |= _numbers("trained", trained[-1])
        return metrics

    def _reconstructed(self, model: AtlasModel, cohort: Cohort, folder: Path | None) -> list[EvaluationRow]:
        """Compare training subjects with their own reconstructions."""
        rows: list[EvaluationRow] = []
        order = self._dataset.cohort.ids
        for subject in cohort:
            images, labels = load_subject(subject, model.modalities, self._config.data.segmentation)
            place = order.index(subject.key)
            label_map, reconstruction = rendered_subject(model, place, self._dataset.subjects[place], labels)
            row: EvaluationRow = {"subject": subject.key}
            for name in model.modalities:
                reference = images[name].with_array(images[name].array * (labels.array > 0))
                row |= intensity_metrics(name, reconstruction[name], reference)
            rows.append(row | dice_columns(model, overlaps(model, label_map, labels)))
            if folder is not None:
                own = folder / "trained" / plain_name(subject.key)
                own.mkdir(parents=True)
                label_map.save(own / "labels.nii.gz")
                for name, volume in reconstruction.items():
                    ending = "" if len(model.modalities) == 1 else f"_{plain_name(name)}"
                    volume.save(own / f"reconstruction{ending}.nii.gz")
        rows.append(mean_row(rows))
        return rows


def rendered_subject(
    model: AtlasModel, row: int, points: SubjectPoints, labels: Volume
) -> tuple[Volume, dict[str, Volume]]:
    """Render a training subject from its own latents and pose, at the voxels of its brain, as a fit is rendered.

    Drawing on a grid of the atlas and resampling that would cost Dice that a fit does not lose.

    Parameters
    ----------
    model:
        The atlas.
    row:
        The subject's row in ``model.subjects``.
    points:
        Its training points, which know its centre (RAS mm) and units.
    labels:
        Its label map (i, j, k), of the grid of ``points``; where it is not 0 is brain.

    Returns
    -------
    Volume, dict:
        Label map, and the images by modality in the scan's units; on the grid of ``labels``, 0 outside its brain.
    """
    voxels = np.argwhere(labels.array > 0)
    places = torch.from_numpy((points.world(voxels) / (model.box / 2)).astype(np.float32))
    output = model.decode_points(model.subject_recipe(row), places)

    def volume(values: np.ndarray) -> Volume:
        array = np.zeros(labels.shape, values.dtype)
        array[tuple(voxels.T)] = values
        return labels.with_array(array)

    split = len(model.modalities)
    images = points.scaling[:, 0] + points.scaling[:, 1] * output[:, :split]
    rendered = {name: volume(images[:, channel].astype(np.float32)) for channel, name in enumerate(model.modalities)}
    return volume(model.label_values(output[:, split:].argmax(1))), rendered


def _numbers(prefix: str, row: EvaluationRow) -> dict[str, float]:
    """Return the scores of a row of means: those of the whole brain, not of single tissues."""
    scores = {}
    for name, value in row.items():
        kind = name.removeprefix("fitted_")
        if isinstance(value, float) and (kind in WHOLE or kind.startswith(("psnr_", "ssim_"))):
            scores[f"{prefix}/{name}"] = value
    return scores
