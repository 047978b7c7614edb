"""Client of the warm worker: heavy work in a child process, results on the caller's own thread.

A panel calls :meth:`Worker.poll` from a timer (30 to 60 ms) and gets its callbacks there; no other thread calls them.
One worker does one job at a time: a panel whose slider must move while a fit is running takes two.
"""

from __future__ import annotations

import atexit
import queue
import time
from typing import TYPE_CHECKING, Any, Final

from NeuroGenLib.core.errors import Cancelled, NeuroGenError
from NeuroGenLib.worker.child import PATIENCE_SECONDS, Launcher
from NeuroGenLib.worker.process_tree import how_it_ended
from NeuroGenLib.worker.protocol import JobFailed, error_from_message
from NeuroGenLib.worker.scratch import array_names

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType

    from NeuroGenLib.worker.child import ChildProcess

STARTUP_SECONDS: Final = 120.0
"""A process that has not said hello by then is ended; torch on a cold network drive takes tens of seconds."""


class JobHandle:
    """Job that was submitted.

    Attributes
    ----------
    id, job, slot:
        Its number, its name, and its slot if it has one.
    done:
        Whether it has a result or an error; its callbacks have been or are being called then.
    result, error:
        Its outcome.
    progress, message:
        Fraction done (0 to 1), and its last message.
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
        """Cancel it: it ends with :class:`~NeuroGenLib.core.errors.Cancelled` within a second of polling."""
        self._worker._cancel(self)

    def call(self, what: str, *values: object) -> None:
        """Call the callback for ``progress``, ``result`` or ``error``, if there is one."""
        callback = self._callbacks.get(what)
        if callback is not None:
            callback(*values)


class Worker:
    """Child process that runs one job after another and keeps models open between them.

    It is started at the first job, and again after it ended. Use it from one thread.

    Parameters
    ----------
    executable:
        The Python to run: a path, or the words of a command; this Python when not given. In Slicer: PythonSlicer.
    jobs:
        ``module:TABLE`` of more jobs by name; see :data:`NeuroGenLib.worker.jobs.JOBS`.
    environment:
        Its environment variables; those of this process when not given. NeuroGenLib itself is always found.

    Examples
    --------
    >>> with Worker() as worker:  # doctest: +SKIP
    ...     brain = worker.wait(worker.submit("atlas.generate", {"model": "bundled:fetal-sba", "age": 30.2}))
    """

    def __init__(
        self,
        executable: str | os.PathLike[str] | Sequence[str] | None = None,
        *,
        jobs: str | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._launcher = Launcher(executable, jobs, environment)
        self._inbox = self._launcher.inbox
        self._process: ChildProcess | None = None
        self._jobs: dict[int, JobHandle] = {}
        self._last_id = 0
        self._closed = False
        self.hello: dict[str, Any] | None = None
        """Greeting of the process: protocol, pid, versions, jobs."""

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def busy(self) -> list[JobHandle]:
        """The jobs that are running or waiting."""
        return [handle for handle in self._jobs.values() if not handle.done]

    @property
    def log(self) -> list[str]:
        """The last lines that the process wrote to stderr."""
        return list(self._launcher.log)

    def submit(
        self,
        job: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        slot: str | None = None,
        replaces: bool = False,
        on_progress: Callable[[float, str], object] | None = None,
        on_result: Callable[[Any], object] | None = None,
        on_error: Callable[[NeuroGenError], object] | None = None,
    ) -> JobHandle:
        """Hand a job to the process, which is started when there is none.

        Parameters
        ----------
        job, arguments:
            Name and arguments as in :mod:`NeuroGenLib.worker.jobs`; volumes and arrays travel as files.
        slot:
            Jobs of one slot that are still waiting give way to this one; they end with
            :class:`~NeuroGenLib.core.errors.Cancelled`.
        replaces:
            The running job of the slot is asked to stop as well.
        on_progress, on_result, on_error:
            Called by :meth:`poll`: with the fraction done and a message; with the result; with the error, also with
            :class:`~NeuroGenLib.core.errors.Cancelled`.

        Raises
        ------
        NeuroGenError
            When the worker was closed. All other failures go to ``on_error``, also that the process cannot be started.
        TypeError
            When an argument is of a type that cannot travel.
        """
        if self._closed:
            raise NeuroGenError("The worker was closed.", "Make a new one.", code="process-died")
        self._last_id += 1
        handle = JobHandle(self, self._last_id, job, dict(arguments or {}), slot)
        handle._replaces = replaces
        handle._callbacks = {"progress": on_progress, "result": on_result, "error": on_error}
        self._send(handle)
        self._jobs[handle.id] = handle
        return handle

    def poll(self, timeout: float = 0.0) -> None:
        """Call the callbacks of all messages that have arrived, and end jobs that did not stop when cancelled.

        Parameters
        ----------
        timeout:
            Seconds to wait for a first message; none by default.

        Notes
        -----
        What a callback raises is raised here; the messages behind it are delivered by the next call.
        """
        if self._process is not None:
            self._process.sweep()
        self._drain(timeout)
        self._end_stuck()
        self._drain()

    def wait(self, handle: JobHandle, timeout: float | None = None) -> Any:
        """Poll until a job is done and return its result; for scripts.

        Raises
        ------
        NeuroGenError
            The job's error; also when it takes longer than ``timeout`` seconds (it goes on then).
        """
        end = None if timeout is None else time.monotonic() + timeout
        while not handle.done:
            if end is not None and time.monotonic() > end:
                raise NeuroGenError(
                    f"The job '{handle.job}' did not end within {timeout:g} s.",
                    "Give it more time, or cancel it.",
                    code="process-busy",
                )
            self.poll(0.02)
        if handle.error is not None:
            raise handle.error
        return handle.result

    def close(self) -> None:
        """End the process and what it started, and remove the scratch folder; jobs end as cancelled, without callbacks.

        A running job has as long to clean up as after a cancel.
        """
        if self._closed:
            return
        self._closed = True
        atexit.unregister(self.close)
        for handle in self._jobs.values():
            if not handle.done:
                handle.done, handle.error = True, Cancelled()
        self._jobs.clear()
        if self._process is not None:
            self._process.quit()
        self._launcher.remove_files()

    def _send(self, handle: JobHandle) -> None:
        handle._process, handle._files, handle._started = None, [], False
        try:
            process = self._running_process()
            plain = process.scratch.put(handle._arguments)
        except NeuroGenError as error:
            self._inbox.put((None, {"id": handle.id, "failed": error}))
            return
        handle._process, handle._files = process, list(array_names(plain))
        message = {"id": handle.id, "job": handle.job, "arguments": plain}
        if handle.slot is not None:
            message |= {"slot": handle.slot, "replaces": handle._replaces}
        process.send(message)

    def _running_process(self) -> ChildProcess:
        """Return the process, a new one when there is none or it has ended.

        Raises
        ------
        JobFailed
            When it cannot be started, or ended too often.
        """
        if self._process is not None and self._process.usable:
            return self._process
        if self._process is None:
            atexit.register(self.close)
        self._process = self._launcher.start()
        self.hello = None
        return self._process

    def _cancel(self, handle: JobHandle) -> None:
        if handle.done or handle._cancelling:
            return
        handle._cancelling = True
        if handle._process is not None:
            handle._process.send({"cancel": handle.id})
        if handle._started:
            handle._deadline = time.monotonic() + PATIENCE_SECONDS
        else:
            self._inbox.put((handle._process, {"id": handle.id, "withdrawn": True}))

    def _drain(self, timeout: float = 0.0) -> None:
        """Handle the messages that have arrived; of each, what is known is changed before its callback is called."""
        while not self._closed:
            try:
                process, message = self._inbox.get(block=timeout > 0, timeout=timeout or None)
            except queue.Empty:
                break
            timeout = 0.0
            self._receive(process, message)

    def _receive(self, process: ChildProcess | None, message: dict[str, Any]) -> None:
        if process is not None and "ended" in message:
            self._handle_death(process, message["ended"])
        elif process is not None and "hello" in message:
            process.greeted = True
            self.hello = message["hello"] if process is self._process else self.hello
        else:
            handle = self._jobs.get(message.get("id", 0))
            if handle is not None and handle._process is process:
                self._answered(handle, message)
            elif process is not None:  # of a job that was given up
                process.release(*array_names(message.get("result")))

    def _answered(self, handle: JobHandle, message: dict[str, Any]) -> None:
        if "progress" in message:
            if not handle._started and handle._cancelling:  # it had started when it was cancelled
                handle._deadline = time.monotonic() + PATIENCE_SECONDS
            handle._started = True
            if not handle._cancelling:
                handle.progress, handle.message = message["progress"], message["message"]
                handle.call("progress", handle.progress, handle.message)
        elif "withdrawn" in message:
            self._finish(handle, Cancelled())  # the worker's own answer is still to come
        else:
            self._jobs.pop(handle.id)
            if handle._process is not None:
                handle._process.release(*handle._files)
            self._settle(handle, message)

    def _settle(self, handle: JobHandle, message: dict[str, Any]) -> None:
        process = handle._process
        if handle._cancelling or "cancelled" in message:
            if process is not None:
                process.release(*array_names(message.get("result")))
            self._finish(handle, Cancelled())
        elif "failed" in message:
            self._finish(handle, message["failed"])
        elif "error" in message:
            self._finish(handle, error_from_message(message["error"]))
        elif process is not None:
            try:
                handle.result = process.scratch.take(message["result"], process.release)
            except NeuroGenError as error:
                self._finish(handle, error)
            else:
                handle.done, handle.progress = True, 1.0
                handle.call("result", handle.result)

    def _finish(self, handle: JobHandle, error: NeuroGenError) -> None:
        if not handle.done:
            handle.done, handle.error = True, error
            handle.call("error", error)

    def _end_stuck(self) -> None:
        """End the process of a job that would not be cancelled, or that never said hello."""
        now = time.monotonic()
        for handle in list(self._jobs.values()):
            process = handle._process
            if process is None or process.dismissed:
                continue
            if handle._deadline is not None and now > handle._deadline:
                process.dismiss()
                self._move_on(process)
            elif not process.greeted and now - process.started > STARTUP_SECONDS:
                process.dismiss()
                self._fail(process, f"The worker process did not answer within {STARTUP_SECONDS:g} s")

    def _move_on(self, process: ChildProcess) -> None:
        """Finish what was cancelled of a process that was ended for it; what waited behind goes to a new one."""
        for handle in [handle for handle in self._jobs.values() if handle._process is process]:
            if handle._cancelling:
                self._inbox.put((process, {"id": handle.id, "cancelled": True}))
            else:
                self._send(handle)

    def _handle_death(self, process: ChildProcess, code: int) -> None:
        """Fail the jobs of a process that ended by itself, and remove its arrays."""
        if not process.dismissed:
            process.dismissed = True
            self._launcher.count_death()
            self._fail(process, f"The worker process ended unexpectedly ({how_it_ended(code)})")
        process.remove_files()

    def _fail(self, process: ChildProcess, problem: str) -> None:
        remedy = "Start the job again, with a coarser spacing if memory ran out; a new process is started for it."
        words = self._launcher.last_words()
        for handle in [handle for handle in self._jobs.values() if handle._process is process]:
            error = JobFailed(f"{problem} during '{handle.job}'.{words}", remedy, "died", code="process-died")
            self._inbox.put((process, {"id": handle.id, "failed": error}))
