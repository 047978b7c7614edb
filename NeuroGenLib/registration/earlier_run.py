"""Continuation of an earlier registration training: its newest weights and its optimiser state."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from NeuroGenLib.core.errors import InputError
from NeuroGenLib.training.checkpoint import newest_checkpoint
from NeuroGenLib.training.run_folder import checkpoints_folder

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch
    from torch import Tensor

    from NeuroGenLib.registration.config import OptimiserConfig


@dataclass(frozen=True)
class EarlierRun:
    """State of an earlier run at its newest checkpoint: weights by name, Adam's state, number of steps."""

    weights: Mapping[str, Tensor]
    adam: Mapping[str, Any]
    step: int


def continue_adam(optimiser: torch.optim.Adam, earlier: EarlierRun, settings: OptimiserConfig) -> str:
    """Give Adam the running means of an earlier run, and return a sentence on which learning rate applies.

    Raises
    ------
    InputError
        When that run optimises other parameters.
    """
    try:
        optimiser.load_state_dict(dict(earlier.adam))
    except (ValueError, KeyError) as error:
        raise InputError(
            f"The optimiser's state in {settings.continue_from} is of other parameters ({error}).",
            "Use the same network and losses as that run, or give its model as train.init_from.",
            code="weights-mismatch",
        ) from error
    (group,) = optimiser.param_groups
    before = group["lr"]
    if settings.rate_on_resume == "config":
        group["lr"], group["betas"] = settings.rate, settings.betas
    group.pop("initial_lr", None)  # of that run's schedule
    counted = "the settings" if settings.rate_on_resume == "config" else "that run"
    return (
        f"Adam goes on from step {earlier.step} of {settings.continue_from} with the learning rate {group['lr']:g} of"
        f" {counted}; that run had {before:g}, the settings say {settings.rate:g}."
    )


def read_earlier_run(folder: Path) -> EarlierRun:
    """Read the newest checkpoint of a run.

    Raises
    ------
    InputError
        When the folder holds no run of a registration network.
    NeuroGenError
        When no checkpoint can be read.
    """
    newest = newest_checkpoint(checkpoints_folder(Path(folder)))
    if newest is None:
        raise InputError(
            f"There is no checkpoint of a run in {folder}.",
            "Give the run folder, train.out of that run.",
            code="file-missing",
        )
    step, _, state = newest
    weights = {
        name.removeprefix("network."): value
        for name, value in state.get("state_dict", {}).items()
        if name.startswith("network.")
    }
    optimisers = state.get("optimizer_states", [])
    if not weights or len(optimisers) != 1:
        raise InputError(
            f"The run in {folder} does not train a registration network.",
            "Give the folder of one that does.",
            code="model-kind",
        )
    return EarlierRun(weights, optimisers[0], step)
