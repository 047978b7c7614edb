"""Child process of the worker: pipes, threads, log, and a limit on how often it is started."""

from __future__ import annotations

import json
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from NeuroGenLib.worker.process_tree import end_tree, own_group
from NeuroGenLib.worker.protocol import JobFailed
from NeuroGenLib.worker.scratch import Scratch

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import IO

PATIENCE_SECONDS: Final = 0.7
"""A job that was cancelled and has not stopped by then is ended with its process: cancelling takes under a second."""

MOST_DEATHS: Final = 3
DEATHS_SECONDS: Final = 60.0
"""After this many unexpected ends within this time no new process is started for a while."""

LOG_LINES: Final = 500

Inbox: TypeAlias = "queue.SimpleQueue[tuple[ChildProcess | None, dict[str, Any]]]"

_PACKAGE_PARENT = Path(__file__).resolve().parents[2]


class Launcher:
    """Launcher of child processes, one after another, unless they end too often.

    Parameters
    ----------
    executable, jobs, environment:
        As for :class:`NeuroGenLib.worker.Worker`.
    """

    def __init__(
        self,
        executable: str | os.PathLike[str] | Sequence[str] | None,
        jobs: str | None,
        environment: Mapping[str, str] | None,
    ) -> None:
        program = executable or sys.executable
        words = [os.fspath(program)] if isinstance(program, str | os.PathLike) else list(program)
        # -P: a file in the current folder must not stand for a library
        self._command = [*words, "-P", "-m", "NeuroGenLib.worker", *(["--jobs", jobs] if jobs else [])]
        self._environment = dict(os.environ if environment is None else environment)
        search_path = self._environment.get("PYTHONPATH")
        self._environment["PYTHONPATH"] = os.pathsep.join(filter(None, (str(_PACKAGE_PARENT), search_path)))
        self._environment["PYTHONIOENCODING"] = "utf-8"
        self._deaths: deque[float] = deque(maxlen=MOST_DEATHS)
        self._started: list[ChildProcess] = []
        self.inbox: Inbox = queue.SimpleQueue()
        self.log: deque[str] = deque(maxlen=LOG_LINES)

    def start(self) -> ChildProcess:
        """Start a process.

        Raises
        ------
        JobFailed
            When it cannot be started, or ended too often.
        """
        recent = [when for when in self._deaths if time.monotonic() - when < DEATHS_SECONDS]
        if len(recent) >= MOST_DEATHS:
            raise JobFailed(
                f"The worker process ended {MOST_DEATHS} times within {DEATHS_SECONDS:g} s.{self.last_words()}",
                "Wait a minute and try again; if it happens again, restart and read the log.",
                "died",
                code="process-died",
            )
        child = ChildProcess(self._command, self._environment, self.inbox, self.log)
        self._started.append(child)
        return child

    def count_death(self) -> None:
        """Note that a process has ended by itself."""
        self._deaths.append(time.monotonic())

    def last_words(self) -> str:
        """Return a sentence with the last line of the log; empty when there is none."""
        words = next((line.strip() for line in reversed(self.log.copy()) if line.strip()), "")
        return f" It said last: {words[:300]}" if words else ""

    def remove_files(self) -> None:
        """Remove what the processes left in their scratch folders."""
        for child in self._started:
            child.remove_files()


class ChildProcess:
    """Child process with three threads on its pipes, and its scratch folder.

    Its messages go to ``inbox`` as pairs of itself and a message; the last is ``{"ended": exit code}``.

    Attributes
    ----------
    scratch:
        Where its arrays lie.
    started:
        When, in seconds of :func:`time.monotonic`.
    greeted:
        Whether it has said hello.
    dismissed:
        Whether its end is wanted.
    """

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        inbox: Inbox,
        log: deque[str],
    ) -> None:
        folder = Path(tempfile.mkdtemp(prefix="neurogen-"))
        self.scratch = Scratch(folder)
        self.started = time.monotonic()
        self.greeted = self.dismissed = False
        self._inbox, self._log = inbox, log
        self._outbox: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._released: deque[str] = deque()
        try:
            self._popen = subprocess.Popen(
                [*command, "--scratch", str(folder)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=environment,
                **own_group(),
            )
        except OSError as error:
            self.scratch.clear()
            raise JobFailed(
                f"The worker process could not be started with {command[0]}: {error.strerror or error}.",
                "Check that this Python exists and may be run.",
                "died",
                code="process-died",
            ) from error
        pipes = self._popen.stdin, self._popen.stderr, self._popen.stdout
        work = (
            self._write,
            self._collect_log,
            self._read,
        )  # the last waits for the one before, which must have been started
        self._threads = [
            threading.Thread(target=function, args=(pipe,), name=f"worker-{function.__name__}", daemon=True)
            for function, pipe in zip(work, pipes, strict=True)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def usable(self) -> bool:
        """Whether it can take another job."""
        return not self.dismissed and self._popen.poll() is None

    def send(self, message: dict[str, Any]) -> None:
        """Hand a message to the thread that writes: the pipe may be full."""
        self._outbox.put(message)

    def release(self, *names: str) -> None:
        """Note that files of the scratch folder are not needed any more; from any thread."""
        self._released.extend(names)

    def sweep(self) -> None:
        """Remove the files that were released."""
        names = [self._released.popleft() for _ in range(len(self._released))]
        self._released.extend(self.scratch.remove(names))

    def dismiss(self) -> None:
        """End it and its children at once."""
        self.dismissed = True
        end_tree(self._popen.pid)

    def quit(self) -> None:
        """Ask it to end, and see to it that it has."""
        self.dismissed = True
        self.send({"quit": True})
        try:
            self._popen.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            end_tree(self._popen.pid)
            with suppress(subprocess.TimeoutExpired):
                self._popen.wait(PATIENCE_SECONDS)

    def remove_files(self) -> None:
        """Remove its scratch folder; on Windows arrays that are still in use stay behind."""
        shutil.rmtree(self.scratch.folder, ignore_errors=True)

    def _write(self, pipe: IO[bytes]) -> None:
        with suppress(OSError), pipe:
            while (message := self._outbox.get()) is not None:
                pipe.write(json.dumps(message).encode("ascii") + b"\n")
                pipe.flush()

    def _read(self, pipe: IO[bytes]) -> None:
        with pipe:
            for line in pipe:
                try:
                    message = json.loads(line)
                except ValueError:
                    message = None
                if isinstance(message, dict):
                    self._inbox.put((self, message))
                else:
                    self._log.append(line.decode("utf-8", "replace").rstrip())
        self._outbox.put(None)
        code = self._popen.wait()
        self._threads[1].join(0.5)  # its last words explain its end
        self._inbox.put((self, {"ended": code}))

    def _collect_log(self, pipe: IO[bytes]) -> None:
        with pipe:
            for line in pipe:
                self._log.append(line.decode("utf-8", "replace").rstrip())
