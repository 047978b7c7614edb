"""Settings that every training job shares."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from NeuroGenLib.core.config import Config, Help, Range, Unit
from NeuroGenLib.core.errors import InputError


@dataclass(frozen=True)
class TrainerConfig(Config):
    """How long, where and on what a training run computes; every training job holds one as its field ``train``.

    :func:`~NeuroGenLib.training.run.fit` reads all of it but ``init_from``, which the capability's ``train.py`` opens
    and hands to :func:`~NeuroGenLib.training.initial_weights.load_initial`.
    """

    out: Annotated[Path, Help("Run folder: checkpoints, metrics.csv, TensorBoard events, config.yaml, run.json")]
    steps: Annotated[int, Range(1), Unit("steps"), Help("Length of the whole run; may grow when a run goes on")]
    seed: Annotated[int, Range(0, 2**32 - 1), Help("Start of every random draw")] = 0
    device: Annotated[str, Help("auto, cpu, cuda, cuda:N or mps")] = "auto"
    devices: Annotated[int, Range(1), Help("Processes per node, one GPU (or share of the CPU) each")] = 1
    nodes: Annotated[int, Range(1), Help("Machines that train together")] = 1
    precision: Annotated[Literal["32", "16-mixed", "bf16-mixed"], Help("Number format; mixed needs CUDA")] = "32"
    checkpoint_minutes: Annotated[
        float, Range(0, exclusive_low=True), Unit("minutes"), Help("Longest time between two checkpoints")
    ] = 15.0
    checkpoint_steps: Annotated[int | None, Range(1), Unit("steps"), Help("A checkpoint every so many steps")] = None
    log_every: Annotated[int, Range(1), Unit("steps"), Help("A row in metrics.csv every so many steps")] = 50
    max_minutes: Annotated[
        float | None, Range(0, exclusive_low=True), Unit("minutes"), Help("Stop with a checkpoint after this time")
    ] = None
    resume: Annotated[bool, Help("Go on from the newest checkpoint in the run folder")] = True
    init_from: Annotated[str | None, Help("Model whose weights the run starts from")] = None
    threads: Annotated[int | None, Range(1), Help("CPU threads of one process; none leaves PyTorch's choice")] = None
    wandb: Annotated[str | None, Help("Also log to this Weights & Biases project (pip install neurogen[wandb])")] = None

    def check(self) -> None:
        """Refuse a project without a name."""
        if self.wandb is not None and not self.wandb.strip():
            raise InputError("wandb names no project.", "Give the project's name, or leave it out.")
