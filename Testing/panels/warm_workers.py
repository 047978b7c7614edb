"""Worker processes that stay warm from one panel test to the next: starting Python and torch takes seconds."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from NeuroGenLib.core.errors import NeuroGenError
from NeuroGenLib.worker import Worker
from Testing.case_time import shared_time

if TYPE_CHECKING:
    from NeuroGenLib.worker import JobHandle


class WarmWorkers:
    """Lends workers; one that comes back idle and unharmed is lent again to who asks for the same.

    The same are the arguments of the worker, and what a process inherits when it starts: environment and folder.
    """

    def __init__(self) -> None:
        self._idle: list[tuple[Any, Worker]] = []

    def lend(self, *arguments: Any, **options: Any) -> LentWorker:
        """Return a worker, in the place of ``Worker(...)``."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
        key = (arguments, options, environment, Path.cwd())
        for place, (known, worker) in enumerate(self._idle):
            if known == key:
                del self._idle[place]
                return LentWorker(self, key, worker)
        return LentWorker(self, key, Worker(*arguments, **options))

    def take_back(self, key: Any, worker: Worker) -> None:
        """Keep an idle worker for the next."""
        self._idle.append((key, worker))

    def close(self) -> None:
        """End all that are idle."""
        while self._idle:
            self._idle.pop()[1].close()


class LentWorker:
    """A worker whose process outlives :meth:`close`, unless it is busy or has ended meanwhile."""

    def __init__(self, pool: WarmWorkers, key: Any, worker: Worker) -> None:
        self._pool, self._key, self._worker = pool, key, worker
        self._processes: set[int] = set()
        self._closed = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._worker, name)

    def submit(self, job: str, *arguments: Any, **options: Any) -> JobHandle:
        """Hand in a job, as :meth:`Worker.submit`."""
        if self._closed:
            raise NeuroGenError("The worker was closed.", "Make a new one.", code="unexpected")
        return self._worker.submit(job, *arguments, **options)

    def poll(self, timeout: float = 0.0) -> None:
        """Call the callbacks of what has arrived."""
        self._worker.poll(timeout)
        if self._worker.hello:
            self._processes.add(self._worker.hello["pid"])

    def close(self) -> None:
        """Give the worker back; it is ended when it is at work, or when its first process is not the last."""
        if self._closed:
            return
        self._closed = True
        if self._worker.busy or len(self._processes) != 1:
            with shared_time():
                self._worker.close()
        else:
            self._pool.take_back(self._key, self._worker)
