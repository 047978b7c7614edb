"""Random streams of a training: every sample is a function of seed, step, rank and purpose."""

from __future__ import annotations

import hashlib
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    import torch


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
        What is sampled (``"subjects"``, ``"noise"``): each purpose has its own stream.
    device:
        Device of the sampled tensors; the numbers differ between kinds of device.
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


def _hashed(seed: int, step: int, rank: int, purpose: str) -> int:
    """Return 256 bits in which neighbouring seeds, steps and ranks have nothing in common."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{step}/{rank}/{purpose}".encode()).digest(), "big")
