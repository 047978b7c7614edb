"""Server of the child process: runs the requests one by one while another thread reads them."""

from __future__ import annotations

import gc
import json
import os
import sys
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from NeuroGenLib.core.errors import Cancelled, InputError
from NeuroGenLib.core.job import running_job
from NeuroGenLib.core.progress import JsonLinesProgress
from NeuroGenLib.core.provenance import software_versions
from NeuroGenLib.spatial.files.reading import ReadingConfig, reading_session
from NeuroGenLib.worker.context import Context, Models, Rates
from NeuroGenLib.worker.process_tree import end_tree
from NeuroGenLib.worker.protocol import PROTOCOL, Request, error_to_message
from NeuroGenLib.worker.scratch import Scratch, array_names

if TYPE_CHECKING:
    from collections.abc import Mapping

    from NeuroGenLib.worker.context import Job

GRACE_SECONDS: Final = 0.5
"""How long a cancelled job may take to end when the worker is to end; less than the parent's own patience."""

LONGEST_REQUEST: Final = 2**24
"""Bytes of one line, 16 MiB: longer ones are not settings, and arrays travel as files."""

PROGRESS_PAUSE: Final = 0.05
"""Least seconds between two progress lines of a job: about how often a panel polls."""


class Answers:
    """Pipe to the parent: whole lines, from any thread. Once it is closed at the other end they are dropped."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    def write(self, text: str, /) -> None:
        """Write whole lines."""
        with self._lock, suppress(OSError):
            self._stream.write(text.encode("ascii"))
            self._stream.flush()

    def flush(self) -> None:
        """Do nothing: :meth:`write` flushes."""

    def send(self, message: dict[str, Any]) -> None:
        """Write one message."""
        self.write(json.dumps(message) + "\n")


class Server:
    """Runs the requests of a stream one by one in the calling thread, while another thread reads them.

    Parameters
    ----------
    requests:
        Where they are read from.
    answers:
        Where the answers go.
    scratch:
        The folder of the arrays.
    jobs:
        Jobs by name.
    """

    def __init__(self, requests: BinaryIO, answers: Answers, scratch: Scratch, jobs: Mapping[str, Job]) -> None:
        self._requests, self._answers, self._scratch, self._jobs = requests, answers, scratch, jobs
        self._models, self._rates = Models(), Rates()
        self._changed = threading.Condition()
        self._waiting: list[Request] = []
        self._running: tuple[Request, JsonLinesProgress] | None = None
        self._closing = False
        self._abandoned = False
        self._idle = threading.Event()

    def serve(self) -> None:
        """Answer until ``quit`` or the end of the stream."""
        hello = {"protocol": PROTOCOL, "pid": os.getpid(), "versions": software_versions(), "jobs": sorted(self._jobs)}
        self._answers.send({"hello": hello})
        threading.Thread(target=self._read, name="requests", daemon=True).start()
        while (work := self._next()) is not None:
            self._work(*work)
        if self._abandoned:
            self._scratch.clear()
        self._idle.set()

    def _next(self) -> tuple[Request, JsonLinesProgress] | None:
        with self._changed:
            self._running = None
            self._changed.wait_for(lambda: self._waiting or self._closing)
            if self._closing:
                return None
            request = self._waiting.pop(0)
            self._running = request, JsonLinesProgress(self._answers, pause=PROGRESS_PAUSE, id=request.id)
            return self._running

    def _work(self, request: Request, progress: JsonLinesProgress) -> None:
        kept: list[str] = []

        def keep(value: Any) -> Any:
            plain = self._scratch.put(value)
            kept.extend(array_names(plain))
            return plain

        answer: dict[str, Any] = {"id": request.id}
        try:
            progress.update(0, 1)
            context = Context(progress, self._models, self._rates, keep)
            # Warnings of readers belong into the job's record; a panel shows images of any size.
            with running_job(["neurogen-worker", request.job]) as job, reading_session(ReadingConfig(any_size=True)):
                job.show = lambda text: sys.stderr.write(f"{text}\n")
                answer["result"] = keep(self._jobs[request.job](self._scratch.take(request.arguments), context))
        except Cancelled:
            answer["cancelled"] = True
        except (Exception, SystemExit) as error:
            answer["error"] = error_to_message(error)
        if "result" not in answer:
            self._scratch.remove(kept)
        if answer.get("error", {}).get("kind") == "memory":
            self._make_room()
        self._answers.send(answer)

    def _make_room(self) -> None:
        """Close the models, so that the next job finds the memory that this one did not."""
        self._models.clear()
        gc.collect()
        torch = sys.modules.get("torch")
        if torch is not None and torch.cuda.is_initialized():
            torch.cuda.empty_cache()

    def _read(self) -> None:
        """Take requests until the stream ends; then make the process end, even when a job does not."""
        more = True
        while more:
            line = self._requests.readline(LONGEST_REQUEST)
            if not line:
                break
            more = self._receive(line)
        self._close(abandoned=more)

    def stop(self) -> None:
        """Cancel the running job, remove the arrays and end, as when the parent is gone; a signal handler may call it.

        A thread does it: a handler interrupts code that may hold the lock.
        """
        threading.Thread(target=self._close, kwargs={"abandoned": True}, name="stop", daemon=True).start()

    def _close(self, *, abandoned: bool) -> None:
        """Make the process end, even when a job does not.

        Parameters
        ----------
        abandoned:
            Whether no parent will remove the arrays.
        """
        with self._changed:
            self._closing, self._abandoned = True, self._abandoned or abandoned
            self._waiting.clear()
            if self._running is not None:
                self._running[1].cancel()
            self._changed.notify()
        if not self._idle.wait(GRACE_SECONDS):
            if self._abandoned:
                self._scratch.clear()
            _end_this_process()

    def _receive(self, line: bytes) -> bool:
        """Handle one line; return whether more may come."""
        message: Any = None
        try:
            message = self._parsed(line)
            if message.get("quit") is True:
                return False
            if "cancel" in message:
                self._cancel(message["cancel"])
            else:
                self._enqueue(Request.read(message, self._jobs))
        except InputError as error:
            number = message.get("id") if isinstance(message, dict) else None
            self._answers.send({"id": number, "error": error_to_message(error)})
        return True

    def _parsed(self, line: bytes) -> dict[str, Any]:
        if len(line) == LONGEST_REQUEST and not line.endswith(b"\n"):
            while line and not line.endswith(b"\n"):
                line = self._requests.readline(LONGEST_REQUEST)
            raise InputError(
                f"A request is longer than {LONGEST_REQUEST} bytes.",
                "Send large arrays as files of the scratch folder.",
                code="value-invalid",
            )
        try:
            message = json.loads(line)
        except (ValueError, RecursionError):
            message = None
        if not isinstance(message, dict):
            raise InputError(
                f"This is not a request: {line[:80]!r}.", "Send one JSON object a line.", code="value-invalid"
            )
        return message

    def _enqueue(self, request: Request) -> None:
        with self._changed:
            stale = [old for old in self._waiting if request.slot is not None and old.slot == request.slot]
            self._waiting = [old for old in self._waiting if old not in stale] + [request]
            if request.replaces and self._running is not None and self._running[0].slot == request.slot:
                self._running[1].cancel()
            self._changed.notify()
        for old in stale:
            self._answers.send({"id": old.id, "cancelled": True})

    def _cancel(self, number: object) -> None:
        with self._changed:
            waiting = [request for request in self._waiting if request.id == number]
            self._waiting = [request for request in self._waiting if request.id != number]
            if self._running is not None and self._running[0].id == number:
                self._running[1].cancel()
        for request in waiting:
            self._answers.send({"id": request.id, "cancelled": True})


def _end_this_process() -> None:
    """End this process although a job is running, with the processes that the job started."""
    if sys.platform == "win32" or os.getpgrp() == os.getpid():
        end_tree(os.getpid())
    os._exit(1)
