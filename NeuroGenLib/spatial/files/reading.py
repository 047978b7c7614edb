"""How image files are read, for a whole command or job: which geometry counts, which series, which sizes."""

from __future__ import annotations

import logging
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from NeuroGenLib.core.config import Config, Help, Option, to_mapping
from NeuroGenLib.core.job import current_job, running_job

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from NeuroGenLib.core.job import Job


@dataclass(frozen=True)
class ReadingConfig(Config):
    """How image files are read.

    Examples
    --------
    >>> ReadingConfig(geometry="qform").geometry
    'qform'
    """

    geometry: Annotated[
        Literal["auto", "sform", "qform"],
        Help("Which affine of a NIfTI file counts where it has two; auto takes the sform"),
    ] = "auto"
    series: Annotated[
        str | None,
        Option(metavar="UID"),
        Help("DICOM series to read from a folder with several: its number, its UID, or how its UID begins"),
    ] = None
    any_size: Annotated[
        bool, Help("Read images whose size in mm or in voxels is implausible for a head or a brain")
    ] = False


_DEFAULTS = ReadingConfig(any_size=True)
"""Outside of a session: a program of one's own reads images of any size."""
_WARNING = ("NeuroGenLib.spatial", "NeuroGenLib.cohort.sidecars")
"""Loggers whose warnings reach the person and the record: of images, and of what is written beside them."""
_READING: ContextVar[ReadingConfig] = ContextVar("reading", default=_DEFAULTS)


def reading() -> ReadingConfig:
    """Return the options by which files are read here: those of the session; outside of one, any size is read.

    Examples
    --------
    >>> with reading_session(ReadingConfig(geometry="qform")):
    ...     reading().geometry
    'qform'
    >>> reading().geometry
    'auto'
    """
    return _READING.get()


@contextmanager
def reading_session(config: ReadingConfig | None = None) -> Iterator[Job]:
    """Read files by ``config`` in this block; warnings of readers become those of the running job, or of a new one.

    A command sets its options and how warnings are shown when it has parsed them: :func:`use_reading`.

    Parameters
    ----------
    config:
        The options; their defaults when not given.
    """
    running = current_job()
    token = _READING.set(config or ReadingConfig())
    handler = _Warnings(logging.WARNING)
    loggers = [logging.getLogger(name) for name in _WARNING]
    for logger in loggers:
        logger.addHandler(handler)
    try:
        with running_job(()) if running is None else nullcontext(running) as job:
            yield job
    finally:
        for logger in loggers:
            logger.removeHandler(handler)
        _READING.reset(token)


def use_reading(config: ReadingConfig, show: Callable[[str], object]) -> None:
    """Read by these options until the session ends, and show each warning of a reader by ``show``."""
    _READING.set(config)
    job = current_job()
    if job is not None:
        job.entries["reading"] = to_mapping(config)
        job.show = show


class _Warnings(logging.Handler):
    """Passes each warning on to the running job."""

    def emit(self, record: logging.LogRecord) -> None:
        job = current_job()
        if job is not None:
            job.warn(record.getMessage())
