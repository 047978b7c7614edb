"""Validation while an atlas is trained: the atlas so far is fitted to subjects it does not train on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from lightning.pytorch import Callback
from typing_extensions import override

from NeuroGenLib.atlas.config import FitConfig
from NeuroGenLib.atlas.dataset import load_subject, read_candidates
from NeuroGenLib.atlas.evaluate import EvaluationSettings, dice_columns, evaluate_subject, intensity_metrics, mean_row
from NeuroGenLib.atlas.growth import save_figure, write_table
from NeuroGenLib.errors import InputError
from NeuroGenLib.files import staged_outputs
from NeuroGenLib.metrics import dice_by_label
from NeuroGenLib.models import open_model

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lightning.pytorch import Trainer

    from NeuroGenLib.atlas.config import AtlasTrainConfig
    from NeuroGenLib.atlas.dataset import AtlasDataset
    from NeuroGenLib.atlas.evaluate import Row
    from NeuroGenLib.atlas.infer import AtlasModel
    from NeuroGenLib.cohort import Cohort, Subject
    from NeuroGenLib.models.folder import ModelFolder
    from NeuroGenLib.progress import Progress
    from NeuroGenLib.training_loop import StepModule


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
            "validation.every is set, but nobody is left out for it.", "Give data.splits, or validation.subjects."
        )
    cohort = read_candidates(everybody)
    shared = sorted({*cohort.ids} & {*trained.ids})
    if shared:
        raise InputError(f"{shared[0]} is both trained on and validated with.", "Leave it out of one of the two.")
    cohort.require_files()
    return spread(cohort, config.data.age, settings.most)


def spread(cohort: Cohort, age: str, most: int) -> Cohort:
    """Return at most ``most`` subjects, evenly chosen by rank of age."""
    order = np.argsort(cohort.column(age), kind="stable")
    places = np.linspace(0, len(order) - 1, min(most, len(order))).round().astype(int)
    return cohort.select([cohort.ids[order[place]] for place in places])


class Validation(Callback):
    """Every so many steps, fits the atlas so far to left-out subjects and reconstructs some that it trains on.

    Means go into the run's metrics as ``validation/...`` and ``trained/...``; ``validation/step=NNNNNN/`` in the run
    folder holds the table, the picture and, when asked for, the volumes. The model is written to ``model`` in the run
    folder each time, so that a run always has one.

    Parameters
    ----------
    config:
        The job.
    dataset:
        The prepared cohort.
    write:
        Writes the atlas so far and returns its folder.
    progress:
        Cancels a validation.
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
        self._trained = spread(dataset.cohort, config.data.age, config.validation.trained)
        if config.validation.trained == 0:
            self._trained = dataset.cohort.select([])

    @override
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: StepModule, outputs: Any, batch: int, batch_idx: int
    ) -> None:
        """Validate when it is due, and at the last step."""
        done = batch + 1
        every = self._config.validation.every or self._config.train.steps
        if done % every and done != self._config.train.steps:
            return
        if trainer.is_global_zero:
            for name, value in self._validate(pl_module, done).items():
                pl_module.log(name, value)
        trainer.strategy.barrier("validation")

    def _validate(self, module: StepModule, step: int) -> dict[str, float]:
        run = Path(self._config.train.out)
        self._write(module, run / "model")
        model: AtlasModel = open_model(str(run / "model"), device=str(module.device))
        settings = self._config.validation
        wanted = EvaluationSettings(
            self._config.data.segmentation, FitConfig(steps=settings.steps), {}, volumes=settings.volumes
        )
        from NeuroGenLib.atlas.evaluate_figure import evaluation_figure

        with staged_outputs(run / "validation" / f"step={step:06d}") as folder:
            rows, comparisons = [], []
            for subject in self._cohort:
                own = folder / "fitted" / subject.key if settings.volumes else None
                row, comparison = evaluate_subject(model, subject, wanted, own, self._progress.part(1, 1))
                rows.append(row)
                comparisons.append(comparison)
            rows.append(mean_row(rows))
            write_table(folder / "validation.tsv", rows)
            save_figure(folder / "validation.png", evaluation_figure(model, comparisons, rows))
            metrics = _numbers("validation", rows[-1])
            if len(self._trained):
                trained = self._reconstructed(model, self._trained, folder if settings.volumes else None)
                write_table(folder / "trained.tsv", trained)
                metrics |= _numbers("trained", trained[-1])
        return metrics

    def _reconstructed(self, model: AtlasModel, cohort: Sequence[Subject] | Cohort, folder: Path | None) -> list[Row]:
        """Compare training subjects with their own reconstructions."""
        rows: list[Row] = []
        order = self._dataset.cohort.ids
        for subject in cohort:
            images, labels = load_subject(subject, model.modalities, self._config.data.segmentation)
            brain = model.reconstruct(order.index(subject.key), min(labels.spacing))
            drawn = brain.labels.resample(like=labels, order=0)
            row: Row = {"subject": subject.key}
            for name in model.modalities:
                reference = images[name].with_array(images[name].array * (labels.array > 0))
                row |= intensity_metrics(name, brain.images[name].resample(like=labels), reference)
            rows.append(row | dice_columns(model, dice_by_label(drawn.array, labels.array)))
            if folder is not None:
                own = folder / "trained" / subject.key
                own.mkdir(parents=True)
                drawn.save(own / "labels.nii.gz")
                for index, name in enumerate(model.modalities):
                    ending = "" if len(model.modalities) == 1 else f"_{index}"
                    brain.images[name].resample(like=labels).save(own / f"reconstruction{ending}.nii.gz")
        rows.append(mean_row(rows))
        return rows


def _numbers(prefix: str, row: Row) -> dict[str, float]:
    """Return the mean scores of a row of means: not those of single tissues."""
    return {
        f"{prefix}/{name}": value
        for name, value in row.items()
        if isinstance(value, float) and "dice_" not in name.replace("dice_before", "") and name != "fitted_age"
    }
