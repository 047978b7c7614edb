"""What Lightning needs to run a training whose every draw is a function of seed, step and rank.

Imports Lightning; for ``train.py`` files alone.
"""

from __future__ import annotations

import itertools
import logging
import os
import time
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import lightning.pytorch as lightning
import torch
from lightning.fabric.plugins import CheckpointIO
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger
from lightning.pytorch.utilities import rank_zero_only
from typing_extensions import override

from NeuroGenLib.core.errors import Cancelled, NeuroGenError
from NeuroGenLib.training.checkpoint import checkpoint_path, keep_newest, read_checkpoint, write_checkpoint
from NeuroGenLib.training.metrics_log import MetricsTable, wandb_run_id
from NeuroGenLib.training.random_streams import step_generator, step_rng, step_seed
from NeuroGenLib.training.run_folder import checkpoints_folder, open_run
from NeuroGenLib.training.stop import Stop, StopSignals, requeue

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy as np
    from lightning.pytorch.loggers import Logger

    from NeuroGenLib.core.config import Config
    from NeuroGenLib.core.progress import Progress
    from NeuroGenLib.training.settings import TrainerConfig

log = logging.getLogger(__name__)

_AGAIN = "Run the same command again to continue."


def is_first_process() -> bool:
    """Return whether this process is the one of rank 0, also before Lightning has started the others."""
    rank: int = rank_zero_only.rank  # type: ignore[attr-defined]  # Lightning sets it on the function
    return rank == 0


class StepLoader:
    """Counts ``start``, ``start`` + 1, ... without end: what Lightning takes for the training data.

    The module draws the batch itself, so nothing has to be fast-forwarded when a run goes on, and there are no
    workers. :class:`RunKeeper` ends the run.
    """

    def __init__(self, start: int = 0) -> None:
        self.start = start

    def __iter__(self) -> Iterator[int]:
        return itertools.count(self.start)


class StepModule(lightning.LightningModule):
    """A module whose every training step is a function of its weights and the number of the step.

    A subclass writes :meth:`step_loss` and ``configure_optimizers``. It takes all random numbers from
    :meth:`generator` and :meth:`rng`; PyTorch's global generator (dropout) is seeded before each step as well, those
    of NumPy and Python are not. One with several optimizers sets ``automatic_optimization`` to false and does its
    optimizer steps inside :meth:`step_loss`.

    Attributes
    ----------
    seed:
        The run's seed; :func:`NeuroGenLib.training.run.fit` sets it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.seed = 0
        self._recorded: dict[str, float] = {}

    def step_loss(self, step: int) -> torch.Tensor | dict[str, torch.Tensor]:
        """Draw the batch of ``step`` (from 0), compute, and return the loss.

        Returns
        -------
        A scalar, or scalars by name with one named ``loss``; all of them are recorded in ``metrics.csv`` (every
        ``log_every`` steps, averaged over the processes).
        """
        raise NotImplementedError

    def generator(self, step: int, purpose: str = "", device: str | torch.device = "cpu") -> torch.Generator:
        """Return this process's generator; see :func:`~NeuroGenLib.training.random_streams.step_generator`."""
        return step_generator(self.seed, step, self.global_rank, purpose, device)

    def rng(self, step: int, purpose: str = "") -> np.random.Generator:
        """Return this process's NumPy generator; see :func:`~NeuroGenLib.training.random_streams.step_rng`."""
        return step_rng(self.seed, step, self.global_rank, purpose)

    @override
    def log(self, name: str, value: float | torch.Tensor) -> None:  # type: ignore[override]  # fewer options, see below
        """Record a number in the row of the step in progress, whether or not ``log_every`` is due.

        For what is computed now and then, as a validation in a callback. Rank 0's number counts. Lightning's options
        (averages over an epoch, synchronisation) do not exist here.
        """
        self._recorded[name] = float(value)

    @override
    def training_step(self, batch: int, batch_idx: int) -> torch.Tensor | dict[str, torch.Tensor]:
        """Hand the number of the step, which :class:`StepLoader` counts, to :meth:`step_loss`."""
        return self.step_loss(batch)

    def take_recorded(self) -> dict[str, float]:
        """Return what :meth:`log` collected, and forget it."""
        recorded, self._recorded = self._recorded, {}
        return recorded


class AtomicCheckpointIO(CheckpointIO):
    """Lets Lightning write checkpoints whole or not at all, and read them without running code.

    A failed write is kept in :attr:`error` instead of raised, because only rank 0 writes and the others wait for it.
    """

    def __init__(self) -> None:
        self.error: NeuroGenError | None = None

    @override
    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write ``checkpoint``."""
        try:
            write_checkpoint(checkpoint, Path(path))
        except NeuroGenError as error:
            self.error = error

    @override
    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        """Read a checkpoint to the CPU; Lightning moves the tensors."""
        return read_checkpoint(Path(path))

    @override
    def remove_checkpoint(self, path: Any) -> None:
        """Remove a checkpoint."""
        Path(path).unlink(missing_ok=True)


class RunKeeper(Checkpoint):
    """Records, reports, saves and stops a run, at the end of its steps.

    Being a ``Checkpoint`` it runs after all other callbacks. Processes that train together agree on what to do, so
    that all save and stop at the same step.

    Parameters
    ----------
    config, job:
        The run's settings, as in :func:`NeuroGenLib.training.run.fit`.
    start:
        How many steps were done before.
    progress, signals:
        Who may ask to stop.

    Attributes
    ----------
    failure:
        Why the run ended before its steps or its budget, once Lightning has returned.
    exception:
        What interrupted a step, if anything did.
    files, loggers:
        What Lightning's trainer writes with.
    """

    def __init__(
        self, config: TrainerConfig, job: Config | None, start: int, progress: Progress, signals: StopSignals
    ) -> None:
        self.failure: NeuroGenError | None = None
        self.exception: BaseException | None = None
        self.files = AtomicCheckpointIO()
        # Events after the checkpoint belong to steps that are done again.
        self.loggers: list[Logger] = [_Events(config.out, name="", version="tensorboard", purge_step=start + 1)]
        if config.wandb is not None and is_first_process():
            self.loggers.append(_WandbRun(config.wandb, config.out))
        self._config, self._job, self._start = config, job, start
        self._progress, self._signals = progress, signals
        self._table = MetricsTable(config.out / "metrics.csv")
        self._begun = self._saved = time.monotonic()
        self._done = start
        self._rates: dict[str, float] = {}
        self._loss = ""
        self._first_bad: torch.Tensor | None = None

    @override
    def setup(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, stage: str) -> None:
        """Check that all processes start from the same step; rank 0 opens the run folder."""
        if _greatest(trainer, [self._start, -self._start]) != [self._start, -self._start]:
            raise NeuroGenError(
                f"The processes do not see the same checkpoints in {self._config.out}.",
                "Choose a run folder that all nodes share.",
                code="run-conflict",
            )
        if self._config.threads is not None:
            torch.set_num_threads(self._config.threads)
        if trainer.is_global_zero:
            open_run(self._config, self._job, self._start, trainer.world_size, str(trainer.strategy.root_device))
            self._table.open(self._start)

    @override
    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Take the signals over from Lightning, which would act on them in the middle of a step."""
        self._signals.install()
        self._saved = time.monotonic()

    @override
    def on_train_batch_start(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, batch: int, batch_idx: int
    ) -> None:
        """Seed PyTorch's global generator for this step."""
        module = cast("StepModule", pl_module)
        _seed_global(step_seed(module.seed, batch, trainer.global_rank, "global generator"), module.device)
        if self._is_listed(batch + 1):
            self._rates = _learning_rates(trainer.optimizers)

    @override
    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, outputs: Any, batch: int, batch_idx: int
    ) -> None:
        """Record and report the step; save and stop when that is due."""
        self._done = batch + 1
        values = {} if outputs is None else {name: torch.as_tensor(value).detach() for name, value in outputs.items()}
        self._watch(values.get("loss"))
        self._record(trainer, values, cast("StepModule", pl_module).take_recorded())
        stop, save = _greatest(trainer, [self._stop_wish(trainer), self._save_due()])
        save = bool(save or stop)
        if save or self._is_listed(self._done):
            self._require_finite(trainer, pl_module if save else None)
        if save and self.failure is None:
            self._save(trainer)
        if self.failure is None:
            self._conclude(trainer, Stop(stop))
        trainer.should_stop = self.failure is not None or bool(stop) or self._done == self._config.steps

    @override
    def on_save_checkpoint(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add the run's own count of steps, and its seed."""
        checkpoint["neurogen"] = {"step": self._done, "seed": cast("StepModule", pl_module).seed}

    @override
    def on_exception(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, exception: BaseException
    ) -> None:
        """Remember what interrupted a step."""
        self.exception = exception

    def _is_listed(self, done: int) -> bool:
        return done in (1, self._config.steps) or done % self._config.log_every == 0

    def _record(self, trainer: lightning.Trainer, values: Mapping[str, torch.Tensor], extra: dict[str, float]) -> None:
        row = dict(extra)
        if self._is_listed(self._done):
            averages = _averaged(trainer, values)
            self._loss = f", loss {averages['loss']:.4g}" if "loss" in averages else ""
            row = averages | self._rates | row
        if row and trainer.is_global_zero:
            self._table.add(self._done, row)
            for logger in self.loggers:
                logger.log_metrics(row, self._done)

    def _stop_wish(self, trainer: lightning.Trainer) -> Stop:
        wish = self._signals.wish
        limit = self._config.max_minutes
        if trainer.should_stop:
            wish = max(wish, Stop.ENOUGH)
        if limit is not None and time.monotonic() - self._begun >= 60 * limit:
            wish = max(wish, Stop.BUDGET)
        if trainer.is_global_zero:
            try:
                self._progress.update(self._done, self._config.steps, f"step {self._done}{self._loss}")
            except Cancelled:
                wish = max(wish, Stop.CANCELLED)
        return Stop.NONE if self._done == self._config.steps else wish

    def _save_due(self) -> bool:
        every = self._config.checkpoint_steps
        return (
            self._done == self._config.steps
            or (every is not None and self._done % every == 0)
            or time.monotonic() - self._saved >= 60 * self._config.checkpoint_minutes
        )

    def _watch(self, loss: torch.Tensor | None) -> None:
        """Note the first step with a loss that is not finite, without waiting for the GPU."""
        if loss is None:
            return
        if self._first_bad is None:
            self._first_bad = torch.zeros((), dtype=torch.int64, device=loss.device)
        fresh = (self._first_bad == 0) & ~torch.isfinite(loss).all()
        self._first_bad = torch.where(fresh, self._done, self._first_bad)

    def _require_finite(self, trainer: lightning.Trainer, weights_of: lightning.LightningModule | None) -> None:
        """Set :attr:`failure` when a loss was, or the weights to be saved are, not finite in any process."""
        bad = 0 if self._first_bad is None else int(self._first_bad)
        if bad == 0 and weights_of is not None and not _weights_finite(weights_of):
            bad = self._done
        none = self._config.steps + 1
        (first,) = _greatest(trainer, [none - bad if bad else 0])
        if first:
            folder = checkpoints_folder(self._config.out)
            self.failure = NeuroGenError(
                f"The loss or the weights are not finite numbers any more at step {none - first}.",
                "Lower the learning rate (or use precision 32), look for empty or infinite voxels in the input,"
                f" and start again in another folder; the last good checkpoint stays in {folder}.",
                code="training-diverged",
            )

    def _save(self, trainer: lightning.Trainer) -> None:
        folder = checkpoints_folder(self._config.out)
        if trainer.is_global_zero:
            self._table.flush()
        trainer.save_checkpoint(checkpoint_path(folder, self._done))
        self._saved = time.monotonic()
        (failed,) = _greatest(trainer, [self.files.error is not None])
        if failed:
            self.failure = self.files.error or NeuroGenError(
                "Rank 0 could not write the checkpoint.", code="file-unwritable"
            )
        elif trainer.is_global_zero:
            keep_newest(folder)

    def _conclude(self, trainer: lightning.Trainer, stop: Stop) -> None:
        """Say why the run stops here, if it does."""
        where = f"at step {self._done} of {self._config.steps}"
        if stop is Stop.ENOUGH:
            log.info("A callback ended the run %s.", where)
        elif stop is Stop.BUDGET:
            log.warning("The time budget ended %s. %s", where, _AGAIN)
        elif stop is Stop.TERMINATED:
            self.failure = Cancelled(f"The system asked to stop (SIGTERM): stopped {where}.", _AGAIN)
        elif stop is Stop.REQUEUED:
            if trainer.is_global_zero:
                requeue(os.environ)
            self.failure = Cancelled(
                f"The job's time ended: stopped {where}.", "SLURM starts the job again to continue."
            )
        elif stop is not Stop.NONE:
            self.failure = Cancelled(f"Stopped {where}.", _AGAIN)


class _WandbRun(WandbLogger):
    """One run of a Weights & Biases project, which goes on when the training does; it is handed the metrics alone.

    It is opened when it is made, so that a missing login stops the training before its first step. Steps that are done
    again after a restart are logged again, with the same numbers.
    """

    def __init__(self, project: str, out: Path) -> None:
        super().__init__(project=project, name=out.name, save_dir=out, id=wandb_run_id(out, project))
        self._warned = False
        try:
            _ = self.experiment
        except Exception as error:  # wandb raises errors of its own, of its service and of the network
            raise NeuroGenError(
                f"The Weights & Biases project '{project}' cannot be opened: {error}.",
                "Log in with 'wandb login', set WANDB_MODE=offline, or leave train.wandb out.",
                code="network-failed",
            ) from error

    @override
    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Send one row; a service that went away does not stop the training, which has its own table."""
        try:
            super().log_metrics(metrics, step)
        except Exception as error:
            if not self._warned:
                log.warning("Weights & Biases does not take the metrics any more: %s.", error)
                self._warned = True

    @override
    @rank_zero_only
    def finalize(self, status: str) -> None:
        """End the run, so that the next training of this program gets its own."""
        super().finalize(status)
        self.experiment.finish(exit_code=int(status != "success"))


class _Events(TensorBoardLogger):
    @override
    def save(self) -> None:
        """Bring the events to the disk; the settings have files of their own."""
        self.experiment.flush()


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Hold back Lightning's banners, tips and warnings that do not apply here, unless debug messages are shown."""
    if log.isEnabledFor(logging.DEBUG):
        yield
        return
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"lightning\.")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _greatest(trainer: lightning.Trainer, values: Sequence[int]) -> list[int]:
    """Return the greatest of each value over all processes."""
    if trainer.world_size == 1:
        return [int(value) for value in values]
    numbers = torch.tensor([int(value) for value in values], device=trainer.strategy.root_device)
    torch.distributed.all_reduce(numbers, op=torch.distributed.ReduceOp.MAX)
    return [int(number) for number in numbers.tolist()]


def _averaged(trainer: lightning.Trainer, values: Mapping[str, torch.Tensor]) -> dict[str, float]:
    """Return the mean of each scalar over all processes."""
    names = sorted(values)
    numbers = [float(values[name]) for name in names]
    if trainer.world_size > 1:
        total = torch.tensor(numbers, dtype=torch.float64, device=trainer.strategy.root_device)
        torch.distributed.all_reduce(total)
        numbers = (total / trainer.world_size).tolist()
    return dict(zip(names, numbers, strict=True))


def _learning_rates(optimizers: Sequence[torch.optim.Optimizer]) -> dict[str, float]:
    groups = [group for optimizer in optimizers for group in optimizer.param_groups]
    if len(groups) == 1:
        return {"lr": float(groups[0]["lr"])}
    return {f"lr/{group.get('name', index)}": float(group["lr"]) for index, group in enumerate(groups)}


def _weights_finite(module: torch.nn.Module) -> bool:
    checks = [torch.isfinite(parameter.detach()).all() for parameter in module.parameters()]
    return not checks or bool(torch.stack(checks).all())


def _seed_global(seed: int, device: torch.device) -> None:
    # torch.manual_seed would, while CUDA is not in use, store a stack trace at every step.
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)
    elif device.type == "mps":
        torch.mps.manual_seed(seed)
