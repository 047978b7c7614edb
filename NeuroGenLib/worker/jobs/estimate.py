"""Estimates of the time, memory and disk space that a job will take."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypedDict

from NeuroGenLib.core.errors import InputError, nearest
from NeuroGenLib.worker.jobs.arguments import group

if TYPE_CHECKING:
    from collections.abc import Mapping

    from NeuroGenLib.worker.context import Context, Job


class Estimate(TypedDict):
    """Resource usage of a job before it is run; the answer of the job ``estimate``."""

    seconds: float
    """On this machine."""
    memory_bytes: int | None
    """Beside the model's own; None where it is unknown."""
    scratch_bytes: int | None
    """On disk, for the result; None where it is unknown."""
    measured: bool
    """Whether such a job has run in this process: otherwise the time is a rough one."""


def estimate_of_rate(context: Context, key: tuple[str, ...], units: float, seconds_at_first: float) -> Estimate:
    """Return the estimate of work that takes time by the unit, in memory that is not known.

    Parameters
    ----------
    context:
        Of the worker.
    key:
        Under which the speed is measured.
    units:
        Amount of work.
    seconds_at_first:
        Time of a unit as long as none has been measured.

    Examples
    --------
    >>> from NeuroGenLib.core.progress import Progress
    >>> from NeuroGenLib.worker.context import Context, Models, Rates
    >>> context = Context(Progress(), Models(), Rates(), keep=lambda value: value)
    >>> estimate_of_rate(context, ("registration.run",), units=40, seconds_at_first=0.5)["seconds"]
    20.0
    """
    rate = context.rates.seconds_per_unit(key)
    return {
        "seconds": units * (seconds_at_first if rate is None else rate),
        "memory_bytes": None,
        "scratch_bytes": None,
        "measured": rate is not None,
    }


def estimate_of(arguments: dict[str, Any], context: Context, estimates: Mapping[str, Job]) -> Estimate:
    """Estimate a job by its name.

    Parameters
    ----------
    arguments:
        ``job`` and its ``arguments``, without its volumes.
    context:
        Of the worker.
    estimates:
        The estimating function of each job.

    Raises
    ------
    InputError
        When the job has no estimate, or its arguments are invalid.
    """
    unknown = arguments.keys() - {"job", "arguments"}
    if unknown:
        raise InputError(
            f"An estimate has no setting '{min(unknown)}'.", "Give 'job' and its 'arguments'.", code="name-unknown"
        )
    job = str(arguments.get("job"))
    if job not in estimates:
        raise InputError(f"There is no estimate of the job '{job}'.", nearest(job, estimates), code="name-unknown")
    estimate: Estimate = estimates[job](group(arguments.get("arguments", {})), context)
    return estimate
