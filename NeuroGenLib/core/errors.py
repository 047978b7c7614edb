"""Errors that are written for the person who meets them."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class NeuroGenError(Exception):
    """Something failed: one sentence on what is wrong, one on the way out.

    Parameters
    ----------
    problem:
        What is wrong, as one sentence.
    remedy:
        What the person can do about it, as one sentence; may be empty.

    The command line prints both and ends with :attr:`exit_code`; a panel shows them. A traceback is
    for ``--debug`` alone.
    """

    exit_code = 1

    def __init__(self, problem: str, remedy: str = "") -> None:
        super().__init__(problem, remedy)
        self.problem = problem
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.problem} {self.remedy}".strip()


class InputError(NeuroGenError):
    """What the person gave cannot be used: a file, a table, a value, an option."""

    exit_code = 2


class Cancelled(NeuroGenError):
    """The person stopped the work; nothing half-written is left behind."""

    exit_code = 130

    def __init__(self, problem: str = "Stopped before the end.", remedy: str = "") -> None:
        super().__init__(problem, remedy)


def nearest(word: str, known: Iterable[str]) -> str:
    """Return ``"Did you mean 'x'?"`` for the known word closest to ``word``, else list what is known."""
    choices = [str(name) for name in known]
    lowered = {name.lower(): name for name in choices}
    close = difflib.get_close_matches(word.lower(), lowered, n=1, cutoff=0.5)
    if close:
        return f"Did you mean '{lowered[close[0]]}'?"
    return f"Known: {', '.join(sorted(choices)) or 'none'}."
