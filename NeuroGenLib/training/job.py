"""The course of every training: open the run folder, build, fit, write the model."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from NeuroGenLib.core.files import read_json, require_folder_place, write_json
from NeuroGenLib.core.folder_lock import locked_folder
from NeuroGenLib.core.progress import SILENT, Progress
from NeuroGenLib.core.provenance import RECORD, checkout_commit, record, software_versions
from NeuroGenLib.training.loop import StepModule, is_first_process
from NeuroGenLib.training.run import fit
from NeuroGenLib.training.run_folder import run_parameters

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lightning.pytorch import Callback

    from NeuroGenLib.training.settings import TrainJobConfig

MODEL: Final = "model"
"""Name of the model's folder in a run folder."""

_PASSING: Final = ("checkpoints", "tensorboard")
"""Folders of a run that the record of its result does not list."""

Module = TypeVar("Module", bound=StepModule)


def run_job(
    config: TrainJobConfig,
    build: Callable[[Progress, Progress], tuple[Module, Sequence[Callback]]],
    write: Callable[[Module, Path], object],
    progress: Progress = SILENT,
) -> Path | None:
    """Train, write the model to ``<out>/model``, and return that path (None in all processes but the first).

    ``<out>/provenance.json`` then records how the model was made.

    A run that was stopped continues when this is called again with the same config.

    Parameters
    ----------
    config:
        The job.
    build:
        Called with the progress of reading the data and that of the training; returns the module with its initial
        weights, and Lightning callbacks. Every process calls it; the progress of all but the first is silent.
    write:
        Writes the trained module as a model folder at a path; the first process calls it.
    progress:
        Progress callback.

    Raises
    ------
    InputError
        When the data or a setting is unusable, or another process trains in the run folder.
    NeuroGenError
        When the run folder may not be written into, or the training fails; see :func:`NeuroGenLib.training.run.fit`.
    Cancelled
        When it was stopped; the run folder holds a checkpoint.
    """
    require_folder_place(config.train.out)
    first = is_first_process()
    shown = progress if first else SILENT
    training = shown.part(0.05, 0.99, "training")
    with locked_folder(config.train.out) if first else nullcontext():
        module, callbacks = build(shown.part(0.0, 0.05), training)
        fit(module, config.train, training, callbacks, job=config)
        if not first:
            return None
        path = model_folder(config)
        write(module, path)
        _write_record(config)
    progress.update(1, 1, f"model written to {path}")
    return path


def model_folder(config: TrainJobConfig) -> Path:
    """Return where a training writes its model."""
    return Path(config.train.out) / MODEL


def _write_record(config: TrainJobConfig) -> None:
    """Record how the model was made: what ``run.json`` says of each start, and what lies in the folder for good."""
    out = Path(config.train.out)
    files = (file.relative_to(out) for file in out.rglob("*") if file.is_file())
    kept = {
        file.as_posix()
        for file in files
        if file.parts[0] not in _PASSING and not any(part.startswith(".") for part in file.parts)
    }
    write_json(
        out / RECORD,
        record(
            "train",
            model={"name": config.name, "reference": MODEL, "license": config.license},
            parameters=run_parameters(config.train, config),
            citation=list(config.attribution),
            starts=read_json(out / "run.json")["starts"],
            outputs=sorted(kept | {RECORD}),
        ),
    )


def common_manifest(config: TrainJobConfig, steps: int) -> dict[str, Any]:
    """Return the entries of a manifest that models of all kinds have, for a model trained for ``steps`` steps."""
    return {
        "name": config.name,
        "description": config.description,
        "notice": config.notice,
        "license": config.license,
        "citation": list(config.attribution),
        "training": {"config": config.shareable(), "steps": steps, "commit": checkout_commit()},
        "versions": software_versions(),
    }
