"""Learning-rate schedules."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from NeuroGenLib.core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch


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
        raise InputError(
            f"A warm-up of {warmup} steps does not fit into {total} steps.",
            "Shorten it or train longer.",
            code="value-conflict",
        )
    if not 0 <= floor <= 1:
        raise InputError(
            f"The learning rate cannot end at {floor:g} of its start.", "Choose between 0 and 1.", code="value-invalid"
        )
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
        raise InputError(
            f"There are {len(each)} floors for {groups} parameter groups.",
            "Give one for each group.",
            code="value-conflict",
        )

    def factor(floor: float) -> Any:
        return lambda step: cosine_factor(step, total, warmup, floor)

    return {"scheduler": LambdaLR(optimizer, [factor(floor) for floor in each]), "interval": "step", "frequency": 1}
