"""Training that may stop at any moment and goes on as if it had not: settings, draws, schedule, and the run itself.

A capability's ``train.py`` writes a :class:`~NeuroGenLib.training.loop.StepModule` and hands it to :func:`fit`.
"""

from __future__ import annotations

import fnmatch
import hashlib
import importlib.util
import math
import os
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np

from NeuroGenLib.core.config import Config, Help, Range, Unit
from NeuroGenLib.core.device import choose_device, out_of_memory
from NeuroGenLib.core.errors import Cancelled, InputError, NeuroGenError
from NeuroGenLib.core.progress import SILENT, Progress

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import torch
    from lightning.pytorch import Callback, Trainer

    from NeuroGenLib.training.loop import RunKeeper, StepModule


@dataclass(frozen=True)
class TrainerConfig(Config):
    """How long, where and on what a training run computes; every training job holds one as its field ``train``.

    :func:`fit` reads all of it but ``init_from``, which the capability's ``train.py`` opens and hands to
    :func:`load_initial`.
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


def step_seed(seed: int, step: int, rank: int = 0, purpose: str = "") -> int:
    """Return 63 bits that are a function of the arguments alone; see :func:`step_generator`."""
    return _hashed(seed, step, rank, purpose) >> 193


def step_generator(
    seed: int, step: int, rank: int = 0, purpose: str = "", device: str | torch.device = "cpu"
) -> torch.Generator:
    """Return the random generator of one training step, a function of its arguments alone.

    Parameters
    ----------
    seed:
        The run's seed.
    step:
        Number of the step, from 0.
    rank:
        Number of the process among those that train together.
    purpose:
        What is drawn (``"subjects"``, ``"noise"``): each purpose has its own stream.
    device:
        Where tensors are drawn; the numbers differ between kinds of device.
    """
    import torch

    return torch.Generator(device).manual_seed(step_seed(seed, step, rank, purpose))


def step_rng(seed: int, step: int, rank: int = 0, purpose: str = "") -> np.random.Generator:
    """Return NumPy's random generator of one training step; see :func:`step_generator`."""
    return np.random.default_rng(_hashed(seed, step, rank, purpose))


@contextmanager
def seeded_weights(seed: int) -> Iterator[None]:
    """Build a network on the CPU inside this block: its initial weights depend on ``seed`` alone.

    PyTorch's global generator is as it was when the block ends.
    """
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(step_seed(seed, 0, purpose="initial weights"))
        yield


def cosine_factor(step: int, total: int, warmup: int = 0, floor: float = 0.0) -> float:
    """Return what the learning rate is multiplied by: a linear rise, then half a cosine from 1 to ``floor``.

    Parameters
    ----------
    step:
        Number of the step, from 0; from ``total`` on the factor is ``floor``.
    total:
        Steps of the whole run.
    warmup:
        The factor is ``(step + 1) / (warmup + 1)`` in the first ``warmup`` steps.
    floor:
        Where it ends, as a fraction of the full rate.

    Raises
    ------
    InputError
        When the warm-up leaves no step, or ``floor`` is not between 0 and 1.
    """
    if not 0 <= warmup < total:
        raise InputError(f"A warm-up of {warmup} steps does not fit into {total} steps.", "Shorten it or train longer.")
    if not 0 <= floor <= 1:
        raise InputError(f"The learning rate cannot end at {floor:g} of its start.", "Choose between 0 and 1.")
    if step < warmup:
        return (step + 1) / (warmup + 1)
    done = min((step - warmup) / (total - warmup), 1.0)
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * done))


def cosine_schedule(
    optimizer: torch.optim.Optimizer, total: int, warmup: int = 0, floors: float | Sequence[float] = 0.0
) -> dict[str, Any]:
    """Return the ``lr_scheduler`` entry of ``configure_optimizers``: :func:`cosine_factor` at every step.

    Parameters
    ----------
    optimizer:
        Its learning rates are the full ones.
    total, warmup:
        In steps.
    floors:
        Where the rate ends, as a fraction; one for all parameter groups or one for each.

    Raises
    ------
    InputError
        When there are not as many floors as parameter groups, or :func:`cosine_factor` refuses the numbers.
    """
    from torch.optim.lr_scheduler import LambdaLR

    groups = len(optimizer.param_groups)
    each = [float(floors)] * groups if isinstance(floors, int | float) else [float(floor) for floor in floors]
    if len(each) != groups:
        raise InputError(f"There are {len(each)} floors for {groups} parameter groups.", "Give one for each group.")

    def factor(floor: float) -> Any:
        return lambda step: cosine_factor(step, total, warmup, floor)

    return {"scheduler": LambdaLR(optimizer, [factor(floor) for floor in each]), "interval": "step", "frequency": 1}


@dataclass(frozen=True)
class InitialReport:
    """Which tensors :func:`load_initial` took from the other model and which it left alone."""

    loaded: tuple[str, ...]
    skipped: tuple[str, ...]


def load_initial(
    module_state: Mapping[str, torch.Tensor], tensors: Mapping[str, torch.Tensor], skip: Sequence[str] = ()
) -> InitialReport:
    """Copy a model's tensors into a module, strictly by name and shape, or change nothing.

    Parameters
    ----------
    module_state:
        The module's ``state_dict()``; its tensors are overwritten in place.
    tensors:
        The model's tensors by name.
    skip:
        Names, or patterns such as ``"codes.*"``, that stay as they are: tables that differ in subjects.

    Raises
    ------
    InputError
        When a tensor is missing on either side or has another shape (all are listed), or a ``skip`` fits no name.
    """
    import torch

    names = sorted({*module_state, *tensors})
    unused = [pattern for pattern in skip if not fnmatch.filter(names, pattern)]
    if unused:
        raise InputError(f"Nothing is named '{unused[0]}' in either model.", f"Names: {_some(names)}.")
    wanted = [name for name in names if not any(fnmatch.fnmatchcase(name, pattern) for pattern in skip)]
    mismatches = state_mismatches({name: module_state[name] for name in wanted if name in module_state},
                                  {name: tensors[name] for name in wanted if name in tensors})  # fmt: skip
    if mismatches:
        raise InputError(
            f"The weights do not fit this network: {_some(mismatches, '; ')}.",
            "Use the same network settings as that model, or skip the tables that are meant to differ.",
        )
    with torch.no_grad():
        for name in wanted:
            module_state[name].copy_(tensors[name])
    return InitialReport(tuple(wanted), tuple(name for name in names if name not in wanted))


def state_mismatches(expected: Mapping[str, torch.Tensor], given: Mapping[str, torch.Tensor]) -> list[str]:
    """Return one phrase for each tensor that is missing, unexpected or of another shape."""
    phrases = [f"'{name}' is missing" for name in expected if name not in given]
    phrases += [f"'{name}' is not expected" for name in given if name not in expected]
    phrases += [
        f"'{name}' has shape {tuple(given[name].shape)} instead of {tuple(expected[name].shape)}"
        for name in expected
        if name in given and given[name].shape != expected[name].shape
    ]
    return phrases


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
        The module, with its initial weights; :func:`seeded_weights` makes those repeatable.
    config:
        The run's settings.
    progress:
        Told after each step; its cancel stops after the step in progress and keeps a checkpoint.
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
    from NeuroGenLib.training import run_folder as training_folder
    from NeuroGenLib.training.loop import RunKeeper, StepLoader, quiet_lightning
    from NeuroGenLib.training.stop import StopSignals

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
                "Memory ran out while training.", "Use smaller batches or patches, or a device with more memory."
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
            f"The run folder {folder} cannot be made: {error.strerror}.", "Choose another folder."
        ) from error
    if not os.access(folder, os.W_OK):
        raise InputError(f"Nothing can be written to the run folder {folder}.", "Choose another folder.")


def _hardware(config: TrainerConfig) -> tuple[str, int | list[int]]:
    """Return Lightning's accelerator and devices, or say why this machine does not have them."""
    import torch

    device = choose_device(config.device)
    if device.type != "cuda" and config.precision != "32":
        raise InputError(
            f"Precision {config.precision} needs CUDA, and this run uses {device}.", "Choose precision 32."
        )
    if device.type == "mps" and config.devices > 1:
        raise InputError("An Apple GPU trains with one process.", "Choose devices 1.")
    if device.type != "cuda":
        return device.type, config.devices
    if device.index is not None:
        if config.devices > 1:
            raise InputError(f"{device} is one card, not {config.devices}.", "Choose device cuda, or devices 1.")
        return "gpu", [device.index]
    if config.devices > torch.cuda.device_count():
        raise InputError(f"There are {torch.cuda.device_count()} GPUs, not {config.devices}.", "Choose fewer devices.")
    return "gpu", config.devices


def _require_same_network(module: StepModule, state: Mapping[str, Any], folder: Path) -> None:
    mismatches = state_mismatches(module.state_dict(), state["state_dict"])
    if mismatches:
        raise InputError(
            f"The run in {folder} trains another network: {_some(mismatches, '; ')}.",
            "Give the settings it was started with, or choose another folder.",
        )


def _require_packages(config: TrainerConfig) -> None:
    needed = {"lightning": "train", "tensorboard": "train"} | ({} if config.wandb is None else {"wandb": "wandb"})
    for name, extra in needed.items():
        if importlib.util.find_spec(name) is None:
            raise NeuroGenError(
                f"This training needs the package '{name}'.", f"Install it with: pip install neurogen[{extra}]"
            )


def _hashed(seed: int, step: int, rank: int, purpose: str) -> int:
    """Return 256 bits in which neighbouring seeds, steps and ranks have nothing in common."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{step}/{rank}/{purpose}".encode()).digest(), "big")


def _some(phrases: Sequence[str], separator: str = ", ", most: int = 8) -> str:
    more = f"{separator}and {len(phrases) - most} more" if len(phrases) > most else ""
    return separator.join(phrases[:most]) + more
