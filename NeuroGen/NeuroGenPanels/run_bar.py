"""Run bar at the foot of every panel: Cancel, progress with the remaining time, and the log."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import ctk
import qt

from NeuroGenLib.core.errors import Cancelled, NeuroGenError
from NeuroGenPanels import dependencies
from NeuroGenPanels.messages import show_error, unexpected

if TYPE_CHECKING:
    from collections.abc import Callable

    from NeuroGenLib.worker import JobHandle
    from NeuroGenPanels.worker_service import WorkerService

PERCENT = 100
SOON = 3.0
"""Seconds after which the remaining time is shown: before, it jumps with the first steps."""


class RunBar:
    """Run bar: runs one job at a time for a panel, and shows its progress.

    Parameters
    ----------
    layout:
        Where its widgets go.
    service:
        Runs the jobs.
    requester:
        The module's name, for questions and errors.
    """

    def __init__(self, layout: Any, service: WorkerService, requester: str) -> None:
        self._service = service
        self._requester = requester
        self._handle: JobHandle | None = None
        self._title = ""
        self._started = 0.0
        self._clean_up: Callable[[NeuroGenError], object] | None = None
        self._on_idle: list[Callable[[], object]] = []
        self.cancelButton = qt.QPushButton("Cancel")
        self.cancelButton.setObjectName("cancelButton")
        self.cancelButton.setToolTip("Stop within a second; nothing incomplete is kept")
        self.progressBar = qt.QProgressBar()
        self.progressBar.setObjectName("progressBar")
        self.progressBar.setRange(0, PERCENT)
        self.messageLabel = qt.QLabel("")
        self.messageLabel.setObjectName("messageLabel")
        self.messageLabel.setWordWrap(True)
        self.logSection = ctk.ctkCollapsibleButton()
        self.logSection.setText("Log")
        self.logSection.setObjectName("logSection")
        self.logText = qt.QPlainTextEdit()
        self.logText.setObjectName("logText")
        self.logText.setReadOnly(True)
        self.logText.setMaximumBlockCount(2000)
        inside = qt.QVBoxLayout(self.logSection)
        inside.addWidget(self.logText)
        row = qt.QHBoxLayout()
        row.addWidget(self.progressBar, 1)
        row.addWidget(self.cancelButton)
        layout.addLayout(row)
        layout.addWidget(self.messageLabel)
        layout.addWidget(self.logSection)
        self.logSection.setChecked(False)
        self.cancelButton.clicked.connect(self.cancel)
        self._show_idle("")

    @property
    def busy(self) -> bool:
        """Whether a job is running."""
        return self._handle is not None and not self._handle.done

    def when_changed(self, callback: Callable[[], object]) -> None:
        """Call back whenever a job begins or ends."""
        self._on_idle.append(callback)

    def run(
        self,
        title: str,
        job: str,
        arguments: dict[str, Any],
        on_result: Callable[[Any], object],
        on_error: Callable[[NeuroGenError], object] | None = None,
    ) -> bool:
        """Begin a job, after asking for packages that are missing; return whether it began.

        While one runs another is not begun: a second press of a button does nothing.
        """
        if self.busy:
            return False
        try:
            dependencies.ensure(self._requester)
            self._handle = self._service.submit(
                job,
                arguments,
                on_progress=self._progressed,
                on_result=lambda result: self._ended(result, on_result),
                on_error=lambda error: self._failed(error, on_error),
            )
        except NeuroGenError as error:
            self.say(str(error))
            show_error(error, title)
            return False
        self._title, self._started, self._clean_up = title, time.monotonic(), on_error
        self.log(f"{title} ...")
        self.cancelButton.setEnabled(True)
        self.progressBar.setVisible(True)
        self._progressed(0.0, title)
        self._notify()
        return True

    def cancel(self, *_clicked: bool) -> None:
        """Stop the job, if one runs."""
        if self.busy and self._handle is not None:
            self.say("Stopping ...")
            self.cancelButton.setEnabled(False)
            self._handle.cancel()

    def abandon(self) -> None:
        """End the job's process at once and forget the job; its ``on_error`` is called, so that it can clean up."""
        clean_up, self._clean_up = self._clean_up, None
        was_busy, self._handle = self.busy, None
        self._service.close()
        if was_busy and clean_up is not None:
            clean_up(Cancelled())
        self._show_idle("")
        self._notify()

    def say(self, text: str) -> None:
        """Show a sentence."""
        self.messageLabel.setText(text)

    def log(self, text: str) -> None:
        """Add a line to the log."""
        self.logText.appendPlainText(f"{time.strftime('%H:%M:%S')}  {text}")

    def _progressed(self, fraction: float, message: str) -> None:
        self.progressBar.setValue(round(PERCENT * fraction))
        passed = time.monotonic() - self._started
        left = ""
        if fraction > 0.02 and passed > SOON:
            left = f", about {duration(passed / fraction - passed)} left"
        self.say(f"{self._title}: {message or 'working'}{left}" if message != self._title else f"{self._title} ...")

    def _ended(self, result: Any, on_result: Callable[[Any], object]) -> None:
        passed = duration(time.monotonic() - self._started)
        self._show_idle(f"{self._title}: done in {passed}.")
        self.log(f"{self._title}: done in {passed}")
        try:
            on_result(result)
        except NeuroGenError as error:
            self._failed(error, None)
        except Exception as error:  # would reach the Python console alone, after the bar has said "done"
            self._failed(unexpected(error), None)
            raise
        else:
            self._notify()

    def _failed(self, error: NeuroGenError, on_error: Callable[[NeuroGenError], object] | None) -> None:
        stopped = isinstance(error, Cancelled)
        self._show_idle(f"{self._title}: stopped." if stopped else str(error))
        self.log(f"{self._title}: {error}")
        for line in getattr(error, "__notes__", []):
            self.log(line)
        if on_error is not None:
            on_error(error)
        self._notify()
        show_error(error, self._title)  # last: the window waits for the person

    def _show_idle(self, message: str) -> None:
        self.cancelButton.setEnabled(False)
        self.progressBar.setValue(0)
        self.progressBar.setVisible(False)
        self.say(message)

    def _notify(self) -> None:
        for callback in self._on_idle:
            callback()


def duration(seconds: float) -> str:
    """Return a duration in words: ``8 s``, ``3 min``, ``2 h 10 min``.

    An estimate is not given to the second.

    Examples
    --------
    >>> duration(8.2), duration(7800)
    ('8 s', '2 h 10 min')
    """
    if round(seconds) < 60:
        return f"{max(round(seconds), 1)} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return " ".join(f"{count} {unit}" for count, unit in ((hours, "h"), (minutes, "min")) if count)


def memory(size: int) -> str:
    """Return a size in megabytes or gigabytes.

    Examples
    --------
    >>> memory(350_000_000)
    '350 MB'
    """
    megabytes = max(round(size / 1e6), 1)
    return f"{size / 1e9:.1f} GB" if megabytes >= 1000 else f"{megabytes} MB"
