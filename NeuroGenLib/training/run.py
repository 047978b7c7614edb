"""A training run that may stop at any moment and goes on as if it had not.

A capability's ``train.py`` writes a :class:`~NeuroGenLib.training.loop.StepModule` and hands it to :func:`fit`.
"""

from __future__ import annotations

import importlib.util
import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from NeuroGenLib.core.device import choose_device, out_of_memory
from NeuroGenLib.core.errors import Cancelled, InputError, NeuroGenError
from NeuroGenLib.core.progress import SILENT, Progress
from NeuroGenLib.training import run_folder as training_folder
from NeuroGenLib.training.initial_weights import require_same_weights
from NeuroGenLib.training.stop import StopSignals

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from lightning.pytorch import Callback, Trainer

    from NeuroGenLib.core.config import Config
    from NeuroGenLib.training.loop import RunKeeper, StepModule
    from NeuroGenLib.training.settings import TrainerConfig


def fit(
    module: StepModule,
    config: TrainerConfig,
    progress: Progress = SILENT,
    callbacks: Sequence[Callback] = (),
    job: Config | None = None,
) -> Path:
    """Train ``module`` for ``config.steps`` steps, or go on with a run that was stopped, and return the run folder.

    A run that was interrupted (time budget, cancel, Ctrl-C, SIGTERM, power cut) and started again gives the numbers of
    the uninterrupted one: bit for bit on a CPU with the same number of threads. At the end ``module`` holds the final
    weights, on the CPU. The folder holds ``checkpoints/step=NNNNNN.ckpt`` (the newest two), ``metrics.csv``,
    ``tensorboard/``, ``config.yaml`` and ``run.json``, and the id of the run in ``config.wandb`` in ``wandb.json``.

    With more than one device or node the calling script is started once per process, as Lightning does it; rank 0
    alone writes and raises, the other processes end quietly with it.

    Parameters
    ----------
    module:
        The module, with its initial weights;
        :func:`~NeuroGenLib.training.random_streams.seeded_weights` makes those repeatable.
    config:
        The run's settings.
    progress:
        Progress callback, after each step; its cancel stops after the step in progress and keeps a checkpoint.
    callbacks:
        Lightning callbacks, such as one that validates every so often; they run before the checkpoint of a step.
        Lightning's own validation loop is off. ``trainer.should_stop = True`` ends the run with a checkpoint.
    job:
        All parameters of the job (``config`` being its field ``train``): recorded, and the same when a run goes on.

    Raises
    ------
    Cancelled
        When it was cancelled or interrupted; the same call goes on from there.
    InputError
        When the folder belongs to another run (other seed, settings or network), or the device cannot do it.
    NeuroGenError
        When the loss is not finite, memory runs out, a checkpoint cannot be written, or none can be read.
    """
    _require_packages(config)
    from NeuroGenLib.training.loop import RunKeeper, StepLoader, quiet_lightning

    start = training_folder.find_start(config, job)
    if start.state is not None:
        _require_same_network(module, start.state, config.out)
        if start.step == config.steps:
            module.load_state_dict(start.state["state_dict"])
            progress.update(config.steps, config.steps, "already trained")
            return config.out
        start = replace(start, state=None)  # Lightning reads it again; do not hold the memory meanwhile
    _hardware(config)  # before a folder is made for a run that cannot start
    _make_folder(config.out)
    module.seed = config.seed
    signals = StopSignals()
    keeper = RunKeeper(config, job, start.step, progress, signals)
    with quiet_lightning():
        trainer = _trainer(config, keeper, callbacks)
        try:
            checkpoint = None if start.path is None else str(start.path)
            trainer.fit(module, train_dataloaders=StepLoader(start.step), ckpt_path=checkpoint)
        except (KeyboardInterrupt, SystemExit):
            # Lightning turns Ctrl-C into the end of the program; a panel or a notebook wants to live on.
            if isinstance(keeper.exception, KeyboardInterrupt):
                raise Cancelled("Stopped at once.", "Run the same command again to continue.") from None
            raise
        except (RuntimeError, MemoryError) as error:
            if not (isinstance(error, MemoryError) or out_of_memory(error)):
                raise
            raise NeuroGenError(
                "Memory ran out while training.",
                "Use smaller batches or patches, or a device with more memory.",
                code="memory-exhausted",
            ) from error
        finally:
            signals.restore()
    if keeper.failure is not None:
        if trainer.is_global_zero:
            raise keeper.failure
        raise SystemExit(0)  # rank 0 speaks for all; another code would make Lightning kill it
    return config.out


def _trainer(config: TrainerConfig, keeper: RunKeeper, callbacks: Sequence[Callback]) -> Trainer:
    from lightning.pytorch import Trainer

    accelerator, devices = _hardware(config)
    return Trainer(
        accelerator=accelerator,
        devices=devices,
        num_nodes=config.nodes,
        strategy="ddp" if config.devices * config.nodes > 1 else "auto",
        precision=config.precision,
        # The keeper ends the run; for Lightning it is one epoch without end.
        max_steps=-1,
        max_epochs=-1,
        default_root_dir=config.out,
        callbacks=[*callbacks, keeper],
        logger=keeper.loggers,
        plugins=[keeper.files],
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        limit_val_batches=0,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"The run folder {folder} cannot be made: {error.strerror}.",
            "Choose another folder.",
            code="file-unwritable",
        ) from error
    if not os.access(folder, os.W_OK):
        raise InputError(
            f"Nothing can be written to the run folder {folder}.", "Choose another folder.", code="file-unwritable"
        )


def _hardware(config: TrainerConfig) -> tuple[str, int | list[int]]:
    """Return Lightning's accelerator and devices, or say why this machine does not have them."""
    import torch

    device = choose_device(config.device)
    if device.type != "cuda" and config.precision != "32":
        raise InputError(
            f"Precision {config.precision} needs CUDA, and this run uses {device}.",
            "Choose precision 32.",
            code="value-conflict",
        )
    if device.type == "mps" and config.devices > 1:
        raise InputError("An Apple GPU trains with one process.", "Choose devices 1.", code="value-conflict")
    if device.type != "cuda":
        return device.type, config.devices
    if device.index is not None:
        if config.devices > 1:
            raise InputError(
                f"{device} is one card, not {config.devices}.",
                "Choose device cuda, or devices 1.",
                code="value-conflict",
            )
        return "gpu", [device.index]
    if config.devices > torch.cuda.device_count():
        raise InputError(
            f"There are {torch.cuda.device_count()} GPUs, not {config.devices}.",
            "Choose fewer devices.",
            code="device-unavailable",
        )
    return "gpu", config.devices


def _require_same_network(module: StepModule, state: Mapping[str, Any], folder: Path) -> None:
    require_same_weights(
        {name: value.shape for name, value in module.state_dict().items()},
        state["state_dict"],
        f"The run in {folder} trains another network",
        "Give the settings it was started with, or choose another folder.",
    )


def _require_packages(config: TrainerConfig) -> None:
    needed = {"lightning": "train", "tensorboard": "train"} | ({} if config.wandb is None else {"wandb": "wandb"})
    for name, extra in needed.items():
        if importlib.util.find_spec(name) is None:
            raise NeuroGenError(
                f"This training needs the package '{name}'.",
                f"Install it with: pip install neurogen[{extra}]",
                code="package-missing",
            )
