"""Time and memory of a job before it is begun, from the worker's own measurements."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import qt

from NeuroGenPanels.run_bar import duration, memory

if TYPE_CHECKING:
    from NeuroGenPanels.worker_service import WorkerService

REST_MS = 700
"""Asked once nothing has changed for so long: a moving slider comes first."""


class Estimates:
    """Writes into labels what jobs will take.

    Parameters
    ----------
    service:
        The worker that is asked.
    """

    def __init__(self, service: WorkerService) -> None:
        self._service = service
        self._wanted: dict[str, tuple[Any, dict[str, Any], str]] = {}
        self._asked: dict[str, dict[str, Any]] = {}
        self._rest = qt.QTimer()
        self._rest.setSingleShot(True)
        self._rest.setInterval(REST_MS)
        self._rest.timeout.connect(self._ask)

    def want(self, label: Any, job: str, arguments: dict[str, Any], note: str = "") -> None:
        """Ask soon what a job will take, and write it into a label after the note."""
        self._wanted[job] = (label, arguments, note)
        self._rest.start()

    def forget(self) -> None:
        """Ask anew what was answered: the worker has measured more since."""
        self._asked.clear()

    def stop(self) -> None:
        """Ask no more."""
        self._rest.stop()
        self._wanted.clear()
        self._asked.clear()

    def _ask(self) -> None:
        for job, (label, arguments, note) in self._wanted.items():
            if self._asked.get(job) == arguments:
                continue
            self._asked[job] = arguments

            def answered(found: dict[str, Any], label: Any = label, note: str = note) -> None:
                label.setText(estimate_text(found, note))

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
        self._wanted.clear()


def estimate_text(found: dict[str, Any], note: str = "") -> str:
    """Return an estimate as a sentence: time and memory; ``roughly`` where nothing was measured yet."""
    parts = [note] if note else []
    parts.append(f"{'about' if found['measured'] else 'roughly'} {duration(found['seconds'])}")
    if found["memory_bytes"]:
        parts.append(f"{memory(found['memory_bytes'])} of memory")
    return ", ".join(parts) + "."
