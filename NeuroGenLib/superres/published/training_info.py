"""The table of a training in the columns of the published program, so that logs of both line up."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from NeuroGenLib.core.errors import InputError
from NeuroGenLib.core.files import write_text

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from typing import Any

    from NeuroGenLib.superres.config import SuperresTrainConfig

COLUMNS = (
    "note", "weights", "start time", "end time", "train_size", "val_size", "test_size", "patch_size", "stride",
    "target_shape", "normalization", "model", "net spatial_dims", "net in_channels", "net out_channels",
    "net channels", "net strides", "net num_res_units", "loss function", "net norm", "max num of epochs",
    "best_epoch", "batch_size", "optimizer", "learning_rate", "loss_list", "val_loss_list",
)  # fmt: skip

WEIGHTS = "model/model.safetensors"


def settings_of_row(row: Mapping[str, str]) -> dict[str, Any]:
    """Return what a row of the published program's table says of a training, as sections of NeuroGen's settings.

    Parameters
    ----------
    row:
        Text by the names of :data:`COLUMNS`.

    Returns
    -------
    dict
        ``published``, ``network``, ``optimiser`` and ``note`` of
        :class:`~NeuroGenLib.superres.config.SuperresTrainConfig`.

    Raises
    ------
    InputError
        When a column is missing or its text is not what the program writes.
    """
    try:
        (patch, *_), (stride, *_) = _listed(row["patch_size"]), _listed(row["stride"])
        return {
            "published": {"target_shape": _listed(row["target_shape"]), "patch": patch, "stride": stride},
            "network": {
                "kind": "published",
                "features": _listed(row["net channels"]),
                "residual_units": int(row["net num_res_units"]),
            },
            "optimiser": {
                "kind": row["optimizer"].lower(),
                "loss": {"MSE Loss": "mse"}[row["loss function"]],
                "rate": float(row["learning_rate"]),
                "schedule": "constant",
                "clip": None,
                "batch": int(row["batch_size"]),
            },
            "note": row["note"],
        }
    except (KeyError, ValueError, TypeError) as error:
        raise InputError(
            f"The row is not one of the published training ({type(error).__name__}: {error}).",
            "Give training_info.csv of the published program.",
            code="table-invalid",
        ) from error


def _listed(text: str) -> list[int]:
    """Whole numbers of a tuple or list as Python prints it."""
    return [int(number) for number in text.strip(" ()[]").split(",") if number.strip()]


@dataclass
class History:
    """How the losses of a run went; an epoch is what lies between two validations.

    Attributes
    ----------
    started:
        When the run began, ISO 8601.
    losses, validation:
        Mean training loss and validation loss of each epoch.
    best_epoch:
        The epoch of the lowest validation loss, from 1; 0 before the first.
    """

    started: str
    losses: list[float] = field(default_factory=list)
    validation: list[float] = field(default_factory=list)
    best_epoch: int = 0

    def add(self, loss: float, validation: float, least: float = 0.0) -> bool:
        """Add an epoch, and return whether its validation loss is better than the best by more than ``least``."""
        better = self.best_epoch == 0 or validation < self.validation[self.best_epoch - 1] - least
        self.losses.append(loss)
        self.validation.append(validation)
        if better:
            self.best_epoch = len(self.validation)
        return better

    @property
    def since_best(self) -> int:
        """How many epochs the best one lies behind."""
        return len(self.validation) - self.best_epoch


def write_training_info(
    path: Path,
    config: SuperresTrainConfig,
    history: History,
    sizes: tuple[int, int, int],
    epochs: int,
    ended: str,
) -> None:
    """Write the run's row.

    Parameters
    ----------
    path:
        ``training_info.csv`` in the run folder.
    config, history:
        The run.
    sizes:
        Scans that are trained on, validated and tested with.
    epochs:
        At most.
    ended:
        Time of the last epoch, ISO 8601.

    Raises
    ------
    NeuroGenError
        When it cannot be written.
    """
    published = config.network.kind == "published"
    side = (config.published.patch if published else config.window,) * 3
    levels = len(config.network.features)
    values = (
        config.note,
        WEIGHTS,
        history.started,
        ended,
        *sizes,
        side,
        (config.published.stride,) * 3 if published else "random",
        config.published.target_shape if published else "",
        "min-max, percentile clipping" if published else "percentiles 1 and 99 of the head",
        "MONAI 3D U-Net" if published else "residual U-Net",
        3,
        2,
        1,
        config.network.features,
        (2,) * (levels - 1),
        config.network.residual_units if published else config.network.convolutions,
        "MSE Loss" if config.optimiser.loss == "mse" else "Charbonnier",
        "",
        epochs,
        history.best_epoch,
        config.optimiser.batch,
        "Adam" if config.optimiser.kind == "adam" else "AdamW",
        config.optimiser.rate,
        history.losses,
        history.validation,
    )
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([COLUMNS, values])
    write_text(path, text.getvalue())
