"""Validation while super-resolution is trained: how close held-out subjects come, beside plain interpolation."""

from __future__ import annotations

import datetime as dt
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np
import torch
from lightning.pytorch import Callback
from torch.nn import functional
from typing_extensions import override

from NeuroGenLib.core.errors import Cancelled
from NeuroGenLib.spatial.metrics import nrmse, psnr, ssim
from NeuroGenLib.superres.data.windows import validation_window
from NeuroGenLib.superres.losses import superres_loss
from NeuroGenLib.superres.published.training_info import History, write_training_info

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lightning.pytorch import LightningModule, Trainer
    from torch import nn

    from NeuroGenLib.core.progress import Progress
    from NeuroGenLib.superres.config import SuperresTrainConfig
    from NeuroGenLib.superres.data.subjects import Example
    from NeuroGenLib.superres.data.windows import WindowBatch
    from NeuroGenLib.superres.published.patches import PublishedPatches
    from NeuroGenLib.training.loop import StepModule

TRAINING_INFO = "training_info.csv"


class Judge(Protocol):
    """Measures a network; the measures hold ``Loss/Validation``."""

    def __call__(self, network: nn.Module, device: torch.device, progress: Callable[[str], None]) -> dict[str, float]:
        """Return measures by name."""
        ...


class HeldOutWindows:
    """Measures on windows in the middle of held-out heads, along each axis; cut again from a fixed seed.

    Parameters
    ----------
    config:
        The job.
    examples:
        The held-out subjects.
    """

    def __init__(self, config: SuperresTrainConfig, examples: Sequence[Example]) -> None:
        self._config = config
        self._cases = [
            (example, thickness, axis, number)
            for number, example in enumerate(examples)
            for thickness in config.validation.thicknesses
            for axis in range(3)
        ]

    def __call__(self, network: nn.Module, device: torch.device, progress: Callable[[str], None]) -> dict[str, float]:
        """Return means of loss, PSNR (dB), SSIM and NRMSE in the head, of the network and of what it was given."""
        rows = []
        for example, thickness, axis, seed in self._cases:
            progress(f"validating with {example.id}")
            batch = validation_window(example, self._config, thickness, axis, seed)
            with torch.no_grad():
                prediction = (
                    network(batch.low.to(device), batch.guide.to(device), batch.slices.to(device)).float().cpu()
                )
            prediction = batch.consistent(prediction)
            parts = superres_loss(prediction, batch, self._config.optimiser)
            rows.append({"Loss/Validation": float(parts["loss"])} | window_measures(prediction, batch))
        return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


class PublishedValidation:
    """The published validation: the mean squared error over the patches of the validation subjects.

    Parameters
    ----------
    patches:
        Where they come from.
    """

    def __init__(self, patches: PublishedPatches) -> None:
        self._patches = patches

    def __call__(self, network: nn.Module, device: torch.device, progress: Callable[[str], None]) -> dict[str, float]:
        """Return the loss."""
        total, count = 0.0, 0
        for number in range(self._patches.batches("validation")):
            progress(f"validating, batch {number + 1}")
            images, target = self._patches.batch("validation", number)
            with torch.no_grad():
                prediction = network(images.to(device)).float()
            total += len(images) * float(functional.mse_loss(prediction, target.to(device)))
            count += len(images)
        return {"Loss/Validation": total / count}


def window_measures(prediction: torch.Tensor, batch: WindowBatch) -> dict[str, float]:
    """Return PSNR, SSIM and NRMSE inside the head, of a network's window and (``input_...``) of what it saw."""
    target, inside = batch.target[0, 0].numpy(), batch.head[0, 0].numpy() > 0.5
    row = {}
    for prefix, image in (("", prediction), ("input_", batch.low)):
        values = image[0, 0].numpy()
        row[f"validation/{prefix}psnr"] = psnr(values, target, mask=inside)
        row[f"validation/{prefix}ssim"] = ssim(values, target, mask=inside)
        row[f"validation/{prefix}nrmse"] = nrmse(values, target, mask=inside)
    return row


class Validation(Callback):
    """Validate at intervals, keep the history and the model, and end a run that does not get better.

    Measures go into the run's metrics, the losses also as ``Loss/Train`` and ``Loss/Validation``; ``training_info.csv``
    in the run folder holds the row of the run so far, ``model`` the network so far (or the best so far).

    Parameters
    ----------
    config:
        The job.
    judge:
        Measures the network.
    every:
        Steps from one validation to the next; there is one at the end as well.
    sizes:
        Subjects that are trained on, validated and tested with.
    write:
        Writes the module's network, after that number of steps, as the run's model.
    progress:
        Of the run's steps; cancels a validation.
    """

    def __init__(
        self,
        config: SuperresTrainConfig,
        judge: Judge,
        every: int,
        sizes: tuple[int, int, int],
        write: Callable[[Any, int], None],
        progress: Progress,
    ) -> None:
        self._config, self._judge, self._every, self._sizes = config, judge, every, sizes
        self._write, self._progress = write, progress
        self._history = History(_now())
        self._sum, self._count = 0.0, 0

    @override
    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        history = self._history
        entries = {
            "started": history.started,
            "losses": history.losses,
            "validation": history.validation,
            "best": history.best_epoch,
        }
        return {"history": entries, "sum": self._sum, "count": self._count}

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        kept = state_dict["history"]
        self._history = History(kept["started"], list(kept["losses"]), list(kept["validation"]), kept["best"])
        self._sum, self._count = state_dict["sum"], state_dict["count"]

    @override
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: int, batch_idx: int
    ) -> None:
        """Add up the losses; validate when that is due, and at the last step."""
        done, last = batch + 1, self._config.train.steps
        self._sum += float(outputs["loss"])
        self._count += 1
        if done % self._every and done != last:
            return
        if trainer.is_global_zero:
            with suppress(Cancelled):  # the run's keeper stops the run, with a checkpoint
                trainer.should_stop |= self._validate(cast("StepModule", pl_module), done)
        trainer.strategy.barrier("validation")

    def _validate(self, module: StepModule, done: int) -> bool:
        """Measure, record, and return whether the run has had enough."""
        settings, steps = self._config.validation, self._config.train.steps

        def standing(message: str) -> None:
            self._progress.update(done, steps, f"step {done}, {message}")

        if settings.keep == "last":
            self._write(module, done)
        measures = self._judge(module.get_submodule("network"), module.device, standing)
        mean = self._sum / self._count
        self._sum, self._count = 0.0, 0
        better = self._history.add(mean, measures["Loss/Validation"], settings.min_delta)
        for name, value in {"Loss/Train": mean, **measures}.items():
            module.log(name, value)
        out = Path(self._config.train.out)
        epochs = -(-steps // self._every)
        write_training_info(out / TRAINING_INFO, self._config, self._history, self._sizes, epochs, _now())
        if better and settings.keep == "best":
            self._write(module, done)
        return settings.patience is not None and self._history.since_best >= settings.patience


def _now() -> str:
    return dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
