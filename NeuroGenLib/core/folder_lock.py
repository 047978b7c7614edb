"""Lock on the folder that a command writes into: a second command there names the process that holds it."""

from __future__ import annotations

import datetime as dt
import json
import os
import platform
import secrets
import shlex
import time
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from NeuroGenLib.core.errors import InputError
from NeuroGenLib.core.files import require_folder_place, unwritable
from NeuroGenLib.core.job import current_job
from NeuroGenLib.core.processes import is_alive, machine
from NeuroGenLib.core.provenance import without_secrets

if TYPE_CHECKING:
    from collections.abc import Iterator

LOCK: Final = ".neurogen-lock"
"""Name of the lock in a folder; no result lists it."""

_READING_SECONDS: Final = 0.5
"""Within this time a process that has made a lock has written who it is."""


@dataclass(frozen=True)
class Owner:
    """Process that writes into a folder, as its lock says.

    Attributes
    ----------
    pid, machine, host:
        Its number, the machine whose numbers those are, and the name of that for people.
    since:
        When it began, in UTC.
    command:
        Its command line, without secrets.
    batch_job:
        The job of the batch system SLURM that it belongs to; empty outside one.
    """

    pid: int
    machine: str
    host: str
    since: str
    command: str
    batch_job: str = ""

    @classmethod
    def this_process(cls) -> Owner:
        """Return what a lock of this process says."""
        job = current_job()
        return cls(
            os.getpid(),
            machine(),
            platform.node(),
            dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
            "" if job is None else shlex.join(without_secrets(job.command)),
            os.environ.get("SLURM_JOB_ID", ""),
        )

    def is_gone(self) -> bool:
        """Return whether the process has certainly ended.

        Of another machine this is known when SLURM has started the same job again here.
        """
        if self.machine == machine():
            return self.pid == os.getpid() or not is_alive(self.pid)
        return self.batch_job != "" and self.batch_job == os.environ.get("SLURM_JOB_ID")

    def __str__(self) -> str:
        command = f" ({self.command})" if self.command else ""
        return f"process {self.pid} on {self.host}{command} since {self.since}"


@contextmanager
def locked_folder(folder: Path) -> Iterator[None]:
    """Let no other process that asks for this lock write into a folder during the block.

    The folder is made when it is not there, and removed again if it is empty at the end. A process may lock a folder
    again that it has locked, or a folder inside that. The lock of a process that was killed is taken over.

    Raises
    ------
    InputError
        When another process writes there; the sentence says which, and since when.
    NeuroGenError
        When the folder cannot be written.
    """
    key = Path(os.path.normcase(os.path.realpath(folder)))
    if any(place in _HELD for place in (key, *key.parents)):
        yield
        return
    require_folder_place(folder)
    absent = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            _acquire(folder / LOCK)
        except OSError as error:
            raise unwritable(folder, error) from error
        _HELD.add(key)
        try:
            yield
        finally:
            _HELD.discard(key)
            with suppress(OSError):  # the folder may have been replaced or removed
                (folder / LOCK).unlink(missing_ok=True)
    finally:
        with suppress(OSError):  # the result is in it
            for place in absent:
                place.rmdir()


_HELD: set[Path] = set()
"""The folders that this process has locked."""


def _acquire(lock: Path) -> None:
    while not _create(lock):
        owner = _owner(lock)
        if owner is None:
            continue  # it was released
        if not owner.is_gone():
            raise _conflict(lock, str(owner))
        _discard(lock, owner)


def _create(lock: Path) -> bool:
    """Make the lock; return whether there was none."""
    try:
        handle = os.open(lock, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    except FileExistsError:
        return False
    try:
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
            json.dump(asdict(Owner.this_process()), file)
    except OSError:
        lock.unlink(missing_ok=True)
        raise
    return True


def _owner(lock: Path) -> Owner | None:
    """Return whose lock this is, None when it is there no more."""
    end = time.monotonic() + _READING_SECONDS
    while True:
        try:
            return Owner(**json.loads(lock.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError):  # it is being written
            if time.monotonic() > end:
                raise _conflict(lock, "a process that its lock does not name") from None
        time.sleep(0.02)


def _discard(lock: Path, owner: Owner) -> None:
    """Remove the lock of a process that has ended, unless another process has put its own there meanwhile."""
    aside = lock.with_name(f"{lock.name}-{secrets.token_hex(4)}")
    try:
        lock.replace(aside)
    except FileNotFoundError:
        return
    if _owner(aside) == owner:
        aside.unlink(missing_ok=True)
    else:
        aside.replace(lock)


def _conflict(lock: Path, owner: str) -> InputError:
    return InputError(
        f"{lock.parent} is being written by {owner}.",
        f"Wait until it has ended, or choose another folder; if it is not running any more, remove {lock}.",
        code="run-conflict",
    )
