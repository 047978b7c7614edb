"""A worker whose jobs the test ends, for the wiring of panels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from NeuroGenLib.core.errors import NeuroGenError


class FakeHandle:
    """One job of a :class:`FakeWorker`."""

    def __init__(self, job: str, arguments: dict[str, Any], options: dict[str, Any]) -> None:
        self.job, self.arguments, self.options = job, arguments, options
        self.done, self.cancelled = False, False

    def finish(self, what: str, value: Any) -> None:
        self.done = True
        self.options[what](value)

    def cancel(self) -> None:
        self.cancelled = True


class FakeWorker:
    """Takes jobs; the test ends them."""

    def __init__(self) -> None:
        self.handles: list[FakeHandle] = []
        self.log: list[str] = []
        self.closed = False
        self.refuses: NeuroGenError | None = None

    @property
    def busy(self) -> list[FakeHandle]:
        return [handle for handle in self.handles if not handle.done]

    def submit(self, job: str, arguments: dict[str, Any], **options: Any) -> FakeHandle:
        if self.refuses:
            raise self.refuses
        self.handles.append(FakeHandle(job, arguments, options))
        return self.handles[-1]

    def poll(self, seconds: float = 0.0) -> None:
        """Nothing comes by itself."""

    def close(self) -> None:
        self.closed = True
