"""Single random numbers from a torch generator."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def uniform(generator: torch.Generator, low: float, high: float) -> float:
    """Return a number between ``low`` and ``high``."""
    import torch

    return low + (high - low) * float(torch.rand(1, generator=generator, device=generator.device))


def random_index(generator: torch.Generator, count: int) -> int:
    """Return a whole number from 0 to ``count`` - 1."""
    import torch

    return int(torch.randint(count, (1,), generator=generator, device=generator.device))


def chance(generator: torch.Generator, probability: float) -> bool:
    """Return true with the probability; a number is drawn in any case."""
    return uniform(generator, 0.0, 1.0) < probability
