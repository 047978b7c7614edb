"""The limit of the quick tier: a case that takes more than two CPU seconds fails unless it is marked slow.

CPU time is what the process and the children it waited for used during the call, so that a busy machine changes little.
Set-up is left out: what a fixture prepares belongs to all the cases that use it. ``NEUROGEN_CASE_SECONDS`` sets another
limit; 0 switches it off.
"""

from __future__ import annotations

import os
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

LIMIT_SECONDS = 2.0

FREE_MARKERS = ("slow", "online")

IMPORT_SECONDS = {
    "torch": 2.0,
    "lightning": 3.0,
    "matplotlib": 1.0,
    "scipy": 1.0,
    "SimpleITK": 1.0,
    "pandas": 1.0,
    "vtk": 2.0,
    "monai": 3.0,
}
"""What importing a library for the first time may take; the case that happens to come first is not charged for it."""

REFERENCE_SECONDS = 0.0203
"""CPU seconds of :func:`slowness`'s sum on the machine on which the limit was chosen (two cores, Python 3.11)."""


_shared = [0.0]
"""CPU seconds that belong to no case."""


def cpu_seconds() -> float:
    """Return the CPU seconds of this process and of the children it waited for, without what is shared."""
    return sum(os.times()[:4]) - _shared[0]


@contextmanager
def shared_time() -> Iterator[None]:
    """Charge what happens meanwhile to no case, such as the end of a child that worked for many."""
    before = sum(os.times()[:4])
    yield
    _shared[0] += sum(os.times()[:4]) - before


def slowness() -> float:
    """Return how many times slower than the reference this machine is at present; at least 1.

    Shared caches and sibling threads make a busy machine's CPU seconds longer.
    """
    fastest = float("inf")
    for _ in range(5):
        start = time.process_time()
        sum(number * number for number in range(500_000))
        fastest = min(fastest, time.process_time() - start)
    return max(1.0, fastest / REFERENCE_SECONDS)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Fail a case that takes longer than the limit."""
    limit = float(os.environ.get("NEUROGEN_CASE_SECONDS", LIMIT_SECONDS))
    missing = [name for name in IMPORT_SECONDS if name not in sys.modules]
    before = cpu_seconds()
    result = yield
    spent = cpu_seconds() - before
    spent -= sum(IMPORT_SECONDS[name] for name in missing if name in sys.modules)
    if limit and spent > limit and not any(item.get_closest_marker(name) for name in FREE_MARKERS):
        limit *= slowness()
        if spent > limit:
            pytest.fail(
                f"{spent:.1f} CPU seconds, of {limit:.1f} for a case of the quick tier: make it smaller, "
                "or mark it with pytest.mark.slow.",
                pytrace=False,
            )
    return result
