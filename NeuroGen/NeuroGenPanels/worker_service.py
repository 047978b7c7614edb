"""Warm child process behind a panel: jobs run there, their results come back on the GUI thread."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import qt

from NeuroGenLib.core.errors import NeuroGenError
from NeuroGenPanels.python_executable import python_executable

if TYPE_CHECKING:
    from collections.abc import Callable

    from NeuroGenLib.worker import JobHandle, Worker

POLL_MS = 40


class WorkerService:
    """Worker that a timer polls while it is busy.

    A panel that must answer a slider while something long runs has two.

    Parameters
    ----------
    title:
        Its name in the list of running jobs.
    worker:
        Makes the worker at the first job; a :class:`~NeuroGenLib.worker.Worker` of PythonSlicer when not given.
    """

    running: ClassVar[list[WorkerService]] = []
    """Services that are open, for the list of running jobs."""

    def __init__(self, title: str, worker: Callable[[], Worker] | None = None) -> None:
        self.title = title
        self._make = worker or _new_worker
        self._worker: Worker | None = None
        self._retired = False
        self._timer = qt.QTimer()
        self._timer.setInterval(POLL_MS)
        self._timer.timeout.connect(self.poll)
        WorkerService.running.append(self)

    @property
    def jobs(self) -> list[JobHandle]:
        """The jobs that run or wait."""
        return self._worker.busy if self._worker else []

    @property
    def log(self) -> list[str]:
        """The last lines that the process wrote."""
        return self._worker.log if self._worker else []

    def submit(self, job: str, arguments: dict[str, Any], **options: Any) -> JobHandle:
        """Submit a job; arguments and options are those of :meth:`NeuroGenLib.worker.Worker.submit`.

        Raises
        ------
        NeuroGenError
            When the service was retired.
        """
        if self._retired:
            raise NeuroGenError(f"'{self.title}' was closed.", "Open the module again.", code="process-died")
        if self._worker is None:
            self._worker = self._make()
        handle = self._worker.submit(job, arguments, **options)
        if not self._timer.active:
            self._timer.start()
        return handle

    def close(self) -> None:
        """End the process at once; no callback is called any more. The next job starts a new one."""
        self._timer.stop()
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.close()

    def retire(self) -> None:
        """Close it for good; it takes no more jobs."""
        self._retired = True
        self.close()
        if self in WorkerService.running:
            WorkerService.running.remove(self)

    def poll(self, seconds: float = 0.0) -> None:
        """Wait up to ``seconds`` for what the worker sends, and call back; a timer does it as well."""
        if self._worker is not None:
            self._worker.poll(seconds)
        if not self.jobs:
            self._timer.stop()


def _new_worker() -> Worker:
    from NeuroGenLib.worker import Worker

    return Worker(python_executable())
