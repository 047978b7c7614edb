"""Running job: its command line, the files that it reads, and the names that it writes.

The command line, the worker and the training scripts run each job inside :func:`running_job`. Readers then call
:func:`note_input`, and whoever puts a file in its place calls :func:`require_no_inputs`: no input is overwritten.
Outside a job, as in a notebook, both do nothing.
"""

from __future__ import annotations

import fnmatch
import glob
import os
import stat
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from NeuroGenLib.core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence


@dataclass(frozen=True)
class Input:
    """File, or folder with a DICOM series, that a job reads.

    Attributes
    ----------
    path:
        As the person named it.
    files:
        The file itself, or those of the series.
    recorded:
        Whether the record of a result lists it. Files of a model are not: the record names the model.
    """

    path: Path
    files: tuple[Path, ...]
    recorded: bool = True


@dataclass(eq=False)
class OutputFolder:
    """Folder that a job writes its results into.

    Attributes
    ----------
    folder:
        As the person named it.
    earlier:
        Files of an earlier result, which are removed when the new one is complete.
    continues:
        Whether the job adds to an earlier result.
    written:
        Files of the job until now, relative to the folder.
    recorded:
        Whether its record is among them.
    """

    folder: Path
    earlier: tuple[Path, ...] = ()
    continues: bool = False
    written: set[PurePosixPath] = field(default_factory=set)
    recorded: bool = False

    def place_of(self, folder: Path) -> PurePosixPath | None:
        """Return where another folder is inside of this one, None when it is elsewhere."""
        root, place = _key(self.folder), _key(folder)
        if place != root and not place.startswith(root + os.sep):
            return None
        return PurePosixPath(Path(os.path.realpath(folder)).relative_to(os.path.realpath(self.folder)).as_posix())


@dataclass(eq=False)
class Job:
    """Job that is running.

    Attributes
    ----------
    command:
        The words of the command line.
    parent:
        The job that this is a part of, such as one case of a cohort.
    inputs:
        What was read until now, by resolved path.
    out:
        The folder of its results, where it has one.
    entries:
        Further entries of all its records, by name; JSON values.
    warnings:
        Sentences about the inputs, which precede those of the result in its records.
    show:
        Called with each such warning, for the person.
    until_end:
        What is released when the job ends, however it ends, such as the lock of its folder.
    """

    command: tuple[str, ...]
    parent: Job | None = None
    inputs: dict[str, Input] = field(default_factory=dict)
    out: OutputFolder | None = None
    entries: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    show: Callable[[str], object] = lambda _: None
    until_end: ExitStack = field(default_factory=ExitStack)
    _keys: set[str] = field(default_factory=set)
    _identities: set[tuple[int, int]] = field(default_factory=set)
    _planned: list[tuple[str, str]] = field(default_factory=list)
    _made: set[str] = field(default_factory=set)

    def warn(self, text: str) -> None:
        """Add a warning and show it, once.

        Examples
        --------
        >>> job = Job(("neurogen", "mask"), show=print)
        >>> job.warn("scan.nii has no orientation.")
        scan.nii has no orientation.
        >>> job.warn("scan.nii has no orientation.")
        """
        if text not in self.warnings:
            self.warnings.append(text)
            self.show(text)

    def plan(self, folder: Path, names: Iterable[str]) -> None:
        """Announce files that will be written: ``names`` in ``folder``, with ``*`` for any letters."""
        self._planned += [(_key(folder), name) for name in names]

    def write_into(self, out: OutputFolder, names: Iterable[str]) -> None:
        """Set the folder of the results, and announce ``names`` in it; the files of an earlier result go as well."""
        self.out = out
        self.plan(out.folder, names)
        for file in out.earlier:
            self.plan(file.parent, [glob.escape(file.name)])

    def note(self, entry: Input) -> None:
        """Note an input; files that this job itself has made are none, such as a training's model before the last.

        Raises
        ------
        InputError
            When its name is one of the planned files.
        """
        if all(self._has_made(_key(file)) for file in entry.files):
            return
        self.remember(entry)
        for file in entry.files:
            if self._is_planned(_key(file)):
                raise _overwritten(file, file)

    def remember(self, entry: Input) -> None:
        """Add an input to those that no result may replace."""
        place = _key(entry.path)
        if place not in self.inputs or entry.recorded:
            self.inputs[place] = entry
        for file in entry.files:
            self._keys.add(_key(file))
            identity = _identity(file)
            if identity is not None:
                self._identities.add(identity)

    def make(self, path: Path) -> None:
        """Note that this job has put a file or folder in its place."""
        self._made.add(_key(path))

    def take_over(self, part: Job) -> None:
        """Add the inputs and the made files of a part that has ended."""
        for entry in part.inputs.values():
            self.remember(entry)
        self._made |= part._made

    def _has_made(self, key: str) -> bool:
        parents = {key, *(str(parent) for parent in Path(key).parents)}
        return not parents.isdisjoint(self._made) or (self.parent is not None and self.parent._has_made(key))

    def release(self, path: Path) -> None:
        """Let an input be replaced."""
        self._keys.discard(_key(path))
        identity = _identity(path)
        if identity is not None:
            self._identities.discard(identity)

    def holds(self, path: Path) -> bool:
        """Whether a file is an input, by whatever name, link or spelling."""
        here = _key(path) in self._keys or _identity(path) in self._identities
        return here or (self.parent is not None and self.parent.holds(path))

    def input_below(self, folder: Path) -> Path | None:
        """Return an input inside ``folder``, None when there is none."""
        prefix = _key(folder) + os.sep
        inside = (file for entry in self.inputs.values() for file in entry.files if _key(file).startswith(prefix))
        return next(inside, None) or (None if self.parent is None else self.parent.input_below(folder))

    def _is_planned(self, key: str) -> bool:
        folder, name = os.path.split(key)
        here = any(folder == place and fnmatch.fnmatch(name, os.path.normcase(form)) for place, form in self._planned)
        return here or (self.parent is not None and self.parent._is_planned(key))


_RUNNING: ContextVar[Job | None] = ContextVar("neurogen_job", default=None)


@contextmanager
def running_job(command: Sequence[str]) -> Iterator[Job]:
    """Run a job in the block; one inside another has its own inputs.

    Examples
    --------
    >>> with running_job(["neurogen", "doctor"]) as job:
    ...     current_job() is job
    True
    >>> current_job() is None
    True
    """
    job = Job(tuple(command))
    token = _RUNNING.set(job)
    try:
        with job.until_end:
            yield job
    finally:
        _RUNNING.reset(token)


@contextmanager
def part_of_job() -> Iterator[None]:
    """Run a part of the running job in the block, such as one case of a cohort: the part's record lists its own inputs.

    Examples
    --------
    >>> with running_job(["neurogen", "mask"]) as job:
    ...     with part_of_job():
    ...         note_input("scan.nii.gz")
    ...     [entry.path.name for entry in job.inputs.values()]
    ['scan.nii.gz']
    """
    whole = current_job()
    if whole is None:
        yield
        return
    part = Job(
        whole.command, whole, out=whole.out, entries=dict(whole.entries), show=whole.show, until_end=whole.until_end
    )
    token = _RUNNING.set(part)
    try:
        yield
    finally:
        _RUNNING.reset(token)
        whole.take_over(part)


def current_job() -> Job | None:
    """Return the job that is running, None outside one."""
    return _RUNNING.get()


def note_input(path: str | os.PathLike[str], files: Sequence[Path] = (), *, recorded: bool = True) -> None:
    """Note that the running job reads a file.

    Parameters
    ----------
    path:
        The file, or the folder of a DICOM series.
    files:
        The files of the series.
    recorded:
        Whether the record of the result lists it.

    Raises
    ------
    InputError
        When the job will write a file of this name.
    """
    job = current_job()
    if job is not None:
        job.note(Input(Path(path), tuple(files) or (Path(path),), recorded))


def release_input(path: Path) -> None:
    """Let a file that the job has read be replaced: an earlier job of this program wrote it, to be updated."""
    job = current_job()
    if job is not None:
        job.release(path)


def note_made(path: Path) -> None:
    """Note that the running job has put a file or folder in its place, which it may read and replace from now on."""
    job = current_job()
    if job is not None:
        job.make(path)


def require_no_inputs(places: Iterable[Path]) -> None:
    """Demand that no file, and no folder with all in it, that is about to be replaced is an input of the running job.

    Raises
    ------
    InputError
        When one is, also by a link or in another spelling.
    """
    job = current_job()
    if job is None:
        return
    for place in places:
        inside = job.input_below(place) if place.is_dir() else None
        if inside is not None or job.holds(place):
            raise _overwritten(place, inside or place)


def require_apart(results: Iterable[Path], inputs: Iterable[Path]) -> None:
    """Demand that no result is one of the inputs; ask this before long work, where all of them are known.

    Raises
    ------
    InputError
        When one is, also by a link or in another spelling.
    """
    sources: dict[object, Path] = {value: path for path in inputs for value in (_key(path), _identity(path))}
    for place in results:
        source = sources.get(_key(place)) or (_identity(place) and sources.get(_identity(place)))
        if source:
            raise _overwritten(place, source)


def _overwritten(place: Path, source: Path) -> InputError:
    what = f"The input {source} would be overwritten" + ("." if place == source else f" by the result {place}.")
    return InputError(what, "Choose another folder or name for the result.", code="file-occupied")


def _key(path: Path) -> str:
    """Return a path as it is compared: without links, and in one case where the system has one."""
    try:
        return os.path.normcase(os.path.realpath(path))
    except (OSError, ValueError):  # a name that no system takes; reading it says so
        return os.path.normcase(path)


def _identity(path: Path) -> tuple[int, int] | None:
    """Return device and number of a file, the same for all its hard links; None where it has none."""
    try:
        facts = path.stat()
    except (OSError, ValueError):
        return None
    return (facts.st_dev, facts.st_ino) if facts.st_ino and not stat.S_ISDIR(facts.st_mode) else None
