"""Who runs a job of the worker: a panel's run bar in the background, or the Python console, which waits for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import slicer

from NeuroGenPanels import dependencies
from NeuroGenPanels.worker_service import WorkerService

if TYPE_CHECKING:
    from collections.abc import Callable

    from NeuroGenLib.core.errors import NeuroGenError


POLL_SECONDS = 0.02


class JobRunner(Protocol):
    """Runs a job and hands its result on; :class:`~NeuroGenPanels.run_bar.RunBar` is one."""

    def run(
        self,
        title: str,
        job: str,
        arguments: dict[str, Any],
        on_result: Callable[[Any], object],
        on_error: Callable[[NeuroGenError], object] | None = None,
    ) -> bool:
        """Begin a job and return whether it began; ``on_result`` is called with its result on the GUI thread."""


class WaitingRunner:
    """Runs a job and returns when it is done, while Slicer's window stays alive: for the console and for scripts.

    Parameters
    ----------
    service:
        Runs the jobs; a service of its own when not given.
    """

    def __init__(self, service: WorkerService | None = None) -> None:
        self._service = service or WorkerService("Python console")

    def run(
        self,
        title: str,
        job: str,
        arguments: dict[str, Any],
        on_result: Callable[[Any], object],
        on_error: Callable[[NeuroGenError], object] | None = None,
    ) -> bool:
        """Run a job to its end.

        Raises
        ------
        NeuroGenError
            When the job fails, a package is missing, or it was cancelled.
        """
        dependencies.ensure(title)
        ended: list[Any] = []
        failed: list[NeuroGenError] = []
        handle = self._service.submit(job, arguments, on_result=ended.append, on_error=failed.append)
        while not handle.done:
            slicer.app.processEvents()
            self._service.poll(POLL_SECONDS)
        if failed:
            if on_error is not None:
                on_error(failed[0])
            raise failed[0]
        on_result(ended[0])
        return True
