"""Parameters that all trainings share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from NeuroGenLib.core.config import Config, Help, Location, Range, Unit, shareable
from NeuroGenLib.core.errors import InputError


@dataclass(frozen=True)
class TrainerConfig(Config):
    """How long, where and on what a training run computes; every training job holds one as its field ``train``.

    :func:`~NeuroGenLib.training.run.fit` reads all of it but ``init_from``, which the capability's ``train.py`` opens
    and hands to :func:`~NeuroGenLib.training.initial_weights.load_initial`.
    """

    out: Annotated[Path, Help("Run folder: model, checkpoints, metrics.csv, TensorBoard events, settings, records")]
    steps: Annotated[int, Range(1), Unit("steps"), Help("Length of the whole run; may grow when a run goes on")]
    seed: Annotated[int, Range(0, 2**32 - 1), Help("Seed of all random numbers")] = 0
    device: Annotated[str, Help("auto, cpu, cuda, cuda:N or mps")] = "auto"
    devices: Annotated[int, Range(1), Help("Processes per node, one GPU (or share of the CPU) each")] = 1
    nodes: Annotated[int, Range(1), Help("Machines that train together")] = 1
    precision: Annotated[Literal["32", "16-mixed", "bf16-mixed"], Help("Number format; mixed needs CUDA")] = "32"
    checkpoint_minutes: Annotated[
        float, Range(0, exclusive_low=True), Unit("minutes"), Help("Longest time between two checkpoints")
    ] = 15.0
    checkpoint_steps: Annotated[int | None, Range(1), Unit("steps"), Help("Steps between two checkpoints")] = None
    log_every: Annotated[int, Range(1), Unit("steps"), Help("Steps between two rows in metrics.csv")] = 50
    max_minutes: Annotated[
        float | None, Range(0, exclusive_low=True), Unit("minutes"), Help("Stop with a checkpoint after this time")
    ] = None
    resume: Annotated[bool, Help("Go on from the newest checkpoint in the run folder")] = True
    init_from: Annotated[str | None, Location(), Help("Model whose weights the run starts from")] = None
    threads: Annotated[int | None, Range(1), Help("CPU threads of one process; none leaves PyTorch's choice")] = None
    wandb: Annotated[str | None, Help("Also log to this Weights & Biases project (pip install neurogen[wandb])")] = None

    def check(self) -> None:
        """Refuse a project without a name."""
        if self.wandb is not None and not self.wandb.strip():
            raise InputError(
                "wandb names no project.", "Give the project's name, or leave it out.", code="value-invalid"
            )


@dataclass(frozen=True, kw_only=True)
class TrainJobConfig(Config):
    """Everything that a training needs; each capability adds its data, its network and its losses.

    Examples
    --------
    >>> job = TrainJobConfig(train=TrainerConfig(out=Path("/data/ann/run"), steps=100), name="tiny")
    >>> job.shareable()["train"]["out"]
    'run'
    """

    train: TrainerConfig
    name: Annotated[str, Help("Name of the model")] = ""
    description: Annotated[str, Help("One sentence on what the model does")] = ""
    notice: Annotated[str, Help("What every output must say of what the model was trained on")] = ""
    license: Annotated[str, Help("SPDX licence of the weights, which follows from the data's")] = "unknown"
    attribution: Annotated[tuple[str, ...], Help("Papers and data sets to cite")] = ()
    store_ids: Annotated[bool, Help("Write ids of subjects into the model; they may identify people")] = False

    unshared: ClassVar[tuple[str, ...]] = ()
    """Fields that :meth:`shareable` leaves out, besides those that the manifest has entries of its own for."""

    def shareable(self) -> dict[str, Any]:
        """Return the parameters that a model's manifest lists: without folders, with ids only if they are stored."""
        own = ("name", "description", "notice", "license", "attribution", "store_ids", *self.unshared)
        settings = shareable(self, identities=self.store_ids)
        return {name: value for name, value in settings.items() if name not in own}
