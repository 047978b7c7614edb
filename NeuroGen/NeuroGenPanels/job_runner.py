"""Runners of jobs: a panel's run bar in the background, or the Python console, which waits for the result."""

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
    """Interface of what runs a job and passes its result on, such as :class:`~NeuroGenPanels.run_bar.RunBar`."""

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
    """Runner that returns when the job is done, while Slicer's window stays responsive: for the console and scripts.

    Parameters
    ----------
    service:
        Runs the jobs; a service of its own when not given.

    Examples
    --------
    >>> runner = WaitingRunner()  # doctest: +SKIP
    >>> runner.run("Open a model", "model.open", {"model": "bundled:fetal-sba"}, print)  # doctest: +SKIP
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
            When the job fails or is cancelled, or a package is missing and its installation was declined.
        """
        dependencies.ensure(title)
        handle = self._service.submit(job, arguments)
        while not handle.done:
            slicer.app.processEvents()
            self._service.poll(POLL_SECONDS)
        if handle.error is not None:
            if on_error is not None:
                on_error(handle.error)
            raise handle.error
        on_result(handle.result)
        return True
