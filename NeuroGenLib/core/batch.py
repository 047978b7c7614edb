"""Work on many items one after the other: one that fails does not stop the others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from NeuroGenLib.core.errors import Cancelled, NeuroGenError
from NeuroGenLib.core.job import part_of_job
from NeuroGenLib.core.progress import SILENT, Progress
from NeuroGenLib.core.reports import reason_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Item = TypeVar("Item")
Output = TypeVar("Output")


@dataclass(frozen=True)
class Outcome(Generic[Item, Output]):
    """What became of one item.

    Attributes
    ----------
    item, name:
        What was worked on, and how messages call it.
    output:
        What the work returned, None where it failed.
    reason:
        Why it failed, in one line, else empty.
    """

    item: Item
    name: str
    output: Output | None = None
    reason: str = ""


def work_on_each(
    items: Sequence[Item],
    work: Callable[[Item, Progress], Output],
    name: Callable[[Item], str],
    done: str,
    progress: Progress = SILENT,
) -> list[Outcome[Item, Output]]:
    """Work on every item; return what became of each, in their order.

    Parameters
    ----------
    items, work:
        What to do with what; the work gets an item and its part of the progress.
    name:
        How messages and the progress call an item.
    done:
        Participle for messages, such as ``"masked"``.
    progress:
        Progress callback of the whole.

    Raises
    ------
    NeuroGenError
        When every item failed: the first one's reason.
    Cancelled
        When ``progress`` was cancelled.

    Examples
    --------
    >>> outcomes = work_on_each([4, 0], lambda number, _progress: 8 // number if number else int("?"), str, "divided")
    >>> [outcome.output for outcome in outcomes], outcomes[1].reason
    ([2, None], "invalid literal for int() with base 10: '?'")
    """
    outcomes: list[Outcome[Item, Output]] = []
    first: Exception | None = None
    for number, item in enumerate(items):
        part = progress.part(number / len(items), (number + 1) / len(items), name(item))
        part.update(0, 1)
        try:
            with part_of_job():  # the record of an item has its own files and their warnings
                outcomes.append(Outcome(item, name(item), work(item, part)))
        except Cancelled:
            raise
        except (NeuroGenError, RuntimeError, MemoryError, OSError, ValueError) as error:
            first = first or error
            outcomes.append(Outcome(item, name(item), reason=reason_of(error)))
        part.update(1, 1)
    if first is not None and all(outcome.reason for outcome in outcomes):
        raise _nothing_done(outcomes, first, done) from first
    return outcomes


def _nothing_done(outcomes: Sequence[Outcome[Item, Output]], error: Exception, done: str) -> NeuroGenError:
    what = outcomes[0].name
    if isinstance(error, NeuroGenError):
        return error if what in error.problem else error.within(f"{what} cannot be {done}")
    return NeuroGenError(
        f"{what} could not be {done} ({outcomes[0].reason}).",
        "Close other programs, or try a smaller image.",
        code="memory-exhausted" if isinstance(error, MemoryError) else "unexpected",
    )
