"""A job that was handed to a worker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from NeuroGenLib.core.errors import NeuroGenError
    from NeuroGenLib.worker.child import ChildProcess
    from NeuroGenLib.worker.client import Worker


class JobHandle:
    """One job that was submitted.

    Attributes
    ----------
    id, job, slot:
        Its number, its name, and its slot if it has one.
    done:
        Whether it has a result or an error; its callbacks have been or are being called then.
    result, error:
        What came of it.
    progress, message:
        How far it is (0 to 1), and what it says.
    """

    def __init__(self, worker: Worker, number: int, job: str, arguments: dict[str, Any], slot: str | None) -> None:
        self.id, self.job, self.slot = number, job, slot
        self.done = False
        self.result: Any = None
        self.error: NeuroGenError | None = None
        self.progress, self.message = 0.0, ""
        self._worker = worker
        self._arguments, self._files = arguments, list[str]()
        self._replaces = False
        self._callbacks: dict[str, Callable[..., object] | None] = {}
        self._process: ChildProcess | None = None
        self._started = self._cancelling = False
        self._deadline: float | None = None

    def __repr__(self) -> str:
        return (
            f"JobHandle({self.id}, {self.job!r}, {'done' if self.done else 'running' if self._started else 'waiting'})"
        )

    def cancel(self) -> None:
        """Stop it: it ends with :class:`~NeuroGenLib.core.errors.Cancelled` within a second of polling."""
        self._worker._cancel(self)

    def call(self, what: str, *values: object) -> None:
        """Call the callback for ``progress``, ``result`` or ``error``, if there is one."""
        callback = self._callbacks.get(what)
        if callback is not None:
            callback(*values)
