"""One object that long work reports to and asks whether to go on.

A long call takes ``progress: Progress = SILENT``, and calls :meth:`Progress.update` at every step. The
command line draws a bar from it, a panel a QProgressBar, a worker a line of JSON.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sized
from typing import Protocol, TextIO, TypeVar

from NeuroGenLib.core.errors import Cancelled

Item = TypeVar("Item")


class Progress:
    """Receives the steps of a long call; the base class shows nothing.

    Subclasses override :meth:`show`. Whoever wants to stop the work calls :meth:`cancel`, from any thread;
    the next :meth:`update` then raises :class:`~NeuroGenLib.core.errors.Cancelled`.
    """

    def __init__(self) -> None:
        self._cancelled = threading.Event()

    def cancel(self) -> None:
        """Ask the work to stop at its next step."""
        self._cancelled.set()

    @property
    def cancelled(self) -> bool:
        """Whether a stop was requested."""
        return self._cancelled.is_set()

    def update(self, step: float, total: float, message: str = "") -> None:
        """Say that ``step`` of ``total`` is reached.

        Raises
        ------
        Cancelled
            When :meth:`cancel` was called.
        """
        if self.cancelled:
            raise Cancelled()
        self.show(step, total, message)

    def show(self, step: float, total: float, message: str) -> None:
        """Display one step; nothing here."""

    def close(self) -> None:
        """End what is shown, so that what is printed next begins its own line; nothing here."""

    def part(self, start: float, end: float, message: str = "") -> Progress:
        """Return a progress whose 0..total fills ``start``..``end`` (fractions) of this one."""
        return _Part(self, start, end, message)

    def track(self, items: Iterable[Item], message: str = "", total: int | None = None) -> Iterator[Item]:
        """Yield ``items`` one by one and report after each."""
        if total is None:
            total = len(items) if isinstance(items, Sized) else 0
        self.update(0, total, message)
        for index, item in enumerate(items):
            yield item
            self.update(index + 1, total, message)


class _Part(Progress):
    def __init__(self, whole: Progress, start: float, end: float, message: str) -> None:
        super().__init__()
        self._whole, self._start, self._end, self._message = whole, start, end, message

    def cancel(self) -> None:
        self._whole.cancel()

    @property
    def cancelled(self) -> bool:
        return self._whole.cancelled

    def show(self, step: float, total: float, message: str) -> None:
        fraction = step / total if total else 1.0
        text = ", ".join(part for part in (self._message, message) if part)
        self._whole.show(self._start + (self._end - self._start) * fraction, 1.0, text)


class TerminalProgress(Progress):
    """A bar on a terminal; where the output is a log file, a line at the start, every 5 % or ten minutes, and the end.

    Parameters
    ----------
    stream:
        Where it is shown; stderr when not given.
    quiet_seconds:
        Least seconds between two lines of a log file, but for the last.
    """

    width = 28
    percent_of_a_line = 5.0
    seconds_of_a_line = 600.0

    def __init__(self, stream: TextIO | None = None, quiet_seconds: float = 10.0) -> None:
        super().__init__()
        self._stream = stream or sys.stderr
        self._is_terminal = self._stream.isatty()
        self._quiet_seconds = quiet_seconds
        self._started = time.monotonic()
        self._shown = -1e9
        self._percent = -1e9
        self._length = 0

    def show(self, step: float, total: float, message: str) -> None:
        """Draw the bar again, or write a line when it is time."""
        now = time.monotonic()
        fraction = min(max(step / total, 0.0), 1.0) if total else 0.0
        if not self._is_due(now - self._shown, 100 * fraction):
            return
        self._shown, self._percent = now, 100 * fraction
        elapsed = now - self._started
        left = f", {_clock(elapsed / fraction - elapsed)} left" if 0.02 < fraction < 1 else ""
        percent = int(100 * fraction + 1e-6)  # rounded down: 100 % is the end
        if not self._is_terminal:
            self._stream.write(f"{percent:3d} %  {message}{left}\n")
        else:
            filled = round(self.width * fraction)
            bar = "█" * filled + "░" * (self.width - filled)
            line = f"{bar} {percent:3d} %  {message}{left}"
            self._stream.write("\r" + line.ljust(self._length))
            self._length = len(line)
        self._stream.flush()

    def _is_due(self, pause: float, percent: float) -> bool:
        if self._is_terminal:
            return pause >= 0.1 or percent == 100
        if percent == 100:
            return self._percent < 100
        advance = abs(percent - self._percent)  # a second part of the work begins at 0 again
        return pause >= self.seconds_of_a_line or (pause >= self._quiet_seconds and advance >= self.percent_of_a_line)

    def close(self) -> None:
        """End the bar's line."""
        if self._is_terminal and self._length:
            self._stream.write("\n")
            self._length = 0


class LineStream(Protocol):
    """What lines are written to: a text file, or a pipe that several threads share."""

    def write(self, text: str, /) -> object:
        """Take whole lines."""

    def flush(self) -> object:
        """Pass them on."""


class JsonLinesProgress(Progress):
    """One JSON object a line, for a program that reads this one: ``{"progress": 0.4, "message": "..."}``.

    Parameters
    ----------
    stream:
        Where the lines go; stdout when not given.
    pause:
        Least seconds between two lines; the last step is always written.
    fields:
        What else every line holds, such as the number of a job.
    """

    def __init__(self, stream: LineStream | None = None, *, pause: float = 0.0, **fields: object) -> None:
        super().__init__()
        self._stream: LineStream = stream or sys.stdout
        self._pause = pause
        self._fields = fields
        self._shown = -1e9

    def show(self, step: float, total: float, message: str) -> None:
        """Write one line, unless the last one was written just now."""
        now = time.monotonic()
        finished = bool(total) and step >= total
        if now - self._shown < self._pause and not finished:
            return
        self._shown = now
        fraction = min(max(step / total, 0.0), 1.0) if total else 0.0
        line = json.dumps({**self._fields, "progress": round(fraction, 4), "message": message})
        self._stream.write(line + "\n")
        self._stream.flush()


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds + 0.5), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


SILENT = Progress()
"""The progress that shows nothing and is never cancelled."""
