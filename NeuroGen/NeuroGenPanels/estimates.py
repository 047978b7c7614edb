"""Estimates of time and memory of a job before it starts, from the worker's own measurements."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import qt

from NeuroGenPanels.run_bar import duration, memory

if TYPE_CHECKING:
    from NeuroGenPanels.worker_service import WorkerService

REST_MS = 700
"""Pause after the last change before the worker is asked: a moving slider comes first."""


class Estimates:
    """Labels that show what jobs will take.

    Parameters
    ----------
    service:
        Its worker makes the estimates.
    """

    def __init__(self, service: WorkerService) -> None:
        self._service = service
        self._requests: dict[str, tuple[Any, dict[str, Any], str]] = {}
        self._asked: dict[str, dict[str, Any]] = {}
        self._rest = qt.QTimer()
        self._rest.setSingleShot(True)
        self._rest.setInterval(REST_MS)
        self._rest.timeout.connect(self._ask)

    def want(self, label: Any, job: str, arguments: dict[str, Any], note: str = "") -> None:
        """Ask soon what a job will take, and write it into a label after the note."""
        self._requests[job] = (label, arguments, note)
        self._rest.start()

    def forget(self) -> None:
        """Forget all answers: the worker has measured more since."""
        self._asked.clear()

    def stop(self) -> None:
        """Drop all questions that wait."""
        self._rest.stop()
        self._requests.clear()
        self._asked.clear()

    def _ask(self) -> None:
        for job, (label, arguments, note) in self._requests.items():
            if self._asked.get(job) == arguments:
                continue
            self._asked[job] = arguments

            def answered(estimate: dict[str, Any], label: Any = label, note: str = note) -> None:
                label.setText(estimate_text(estimate, note))

            def failed(
                _error: Exception, label: Any = label, note: str = note, job: str = job, asked: Any = arguments
            ) -> None:
                if self._asked.get(job) is asked:  # else it gave way to a newer question
                    del self._asked[job]
                    label.setText(note)  # the job itself will say what is wrong

            self._service.submit(
                "estimate",
                {"job": job, "arguments": arguments},
                slot=f"estimate {job}",
                on_result=answered,
                on_error=failed,
            )
        self._requests.clear()


def estimate_text(estimate: dict[str, Any], note: str = "") -> str:
    """Return an estimate as a sentence: time and memory; ``roughly`` where nothing was measured yet.

    Examples
    --------
    >>> estimate_text({"seconds": 190, "memory_bytes": 2_100_000_000, "measured": True})
    'about 3 min, 2.1 GB of memory.'
    """
    parts = [note] if note else []
    parts.append(f"{'about' if estimate['measured'] else 'roughly'} {duration(estimate['seconds'])}")
    if estimate["memory_bytes"]:
        parts.append(f"{memory(estimate['memory_bytes'])} of memory")
    return ", ".join(parts) + "."
