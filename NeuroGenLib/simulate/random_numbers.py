"""Random numbers from a torch generator, one at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def uniform(generator: torch.Generator, low: float, high: float) -> float:
    """Sample a number uniformly between ``low`` and ``high``.

    Examples
    --------
    >>> import torch
    >>> 2 <= uniform(torch.Generator().manual_seed(0), 2, 3) <= 3
    True
    """
    import torch

    return low + (high - low) * float(torch.rand(1, generator=generator, device=generator.device))


def random_index(generator: torch.Generator, count: int) -> int:
    """Sample a whole number from 0 to ``count`` - 1, each equally probable.

    Examples
    --------
    >>> import torch
    >>> random_index(torch.Generator().manual_seed(0), 1)
    0
    """
    import torch

    return int(torch.randint(count, (1,), generator=generator, device=generator.device))


def chance(generator: torch.Generator, probability: float) -> bool:
    """Return true with this probability; the generator advances in any case.

    Examples
    --------
    >>> import torch
    >>> chance(torch.Generator().manual_seed(0), 1.0)
    True
    """
    return uniform(generator, 0.0, 1.0) < probability
