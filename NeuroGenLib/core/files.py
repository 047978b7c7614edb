"""Files that appear whole or not at all: write beside, flush, rename."""

from __future__ import annotations

import codecs
import errno
import json
import logging
import os
import shutil
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from NeuroGenLib.core.errors import InputError, NeuroGenError
from NeuroGenLib.core.job import OutputFolder, current_job, note_input, note_made, require_no_inputs
from NeuroGenLib.core.leftovers import RETIRED, WRITING, is_half_written, meant_name, remove_leftovers, writing_prefix
from NeuroGenLib.core.provenance import RECORD, recorded_outputs

if TYPE_CHECKING:
    from collections.abc import Iterator

log = logging.getLogger(__name__)


@contextmanager
def atomic_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary path beside ``path``; move it to ``path`` when the block ends well.

    The temporary name keeps every suffix of ``path`` (``.nii.gz``), so that writers that choose a format
    by name work. When the block raises, the temporary file is removed and ``path`` is as it was.

    Raises
    ------
    InputError
        When a file stands where a folder is needed, or ``path`` is an input of the running job.
    NeuroGenError
        When the file cannot be written (disk full, no permission).
    """
    path = Path(path)
    require_folder_place(path.parent)
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers_once(path.parent)
        handle, name = tempfile.mkstemp(prefix=writing_prefix(), suffix="-" + path.name, dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        _flush(temporary)
        temporary.chmod(0o666 & ~_umask())
        require_no_inputs([path])
        temporary.replace(path)
        note_made(path)
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary folder beside ``path``; it takes the place of ``path`` when the block ends well.

    An existing folder at ``path`` is replaced, and is as it was when the block raises.

    Raises
    ------
    InputError
        When a file stands where a folder is needed, or an input of the running job would be replaced.
    NeuroGenError
        When the folder cannot be written.
    """
    path = Path(path)
    require_folder_place(path)
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(path.parent)
        temporary = Path(tempfile.mkdtemp(prefix=writing_prefix(), suffix="-" + path.name, dir=path.parent))
        yield temporary
        temporary.chmod(0o777 & ~_umask())
        retired = temporary.with_name(temporary.name.replace(WRITING, RETIRED, 1))
        require_no_inputs([path])
        if path.exists():
            path.replace(retired)
        temporary.replace(path)
        note_made(path)
        shutil.rmtree(retired, ignore_errors=True)
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def staged_outputs(folder: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary folder inside ``folder``; all its files move up when the block ends well.

    For jobs with several outputs: when one fails or the job is cancelled, none appears, and a ``folder`` that was
    not there before is removed again. Files of the same names are replaced, others in ``folder`` stay, but for those
    of an earlier result that the running job replaces. Records list the files of their result as ``outputs``.

    Raises
    ------
    InputError
        When a file stands where a folder is needed, a folder where a file is, or an input of the running job would be
        replaced.
    NeuroGenError
        When the folder cannot be written.
    """
    folder = Path(folder)
    require_folder_place(folder)
    absent = [place for place in (folder, *folder.parents) if not place.exists()]
    staging: Path | None = None
    finished = False
    try:
        folder.mkdir(parents=True, exist_ok=True)
        remove_leftovers(folder)
        staging = Path(tempfile.mkdtemp(prefix=writing_prefix(), dir=folder))
        yield staging
        names = [PurePosixPath(file.relative_to(staging).as_posix()) for file in _files_below(staging)]
        _list_outputs(staging, folder)
        _move_up(staging, folder)
        finished = True
        _settle(folder, names)
    except OSError as error:
        raise unwritable(folder, error) from error
    finally:
        if staging is not None:
            shutil.rmtree(staging, ignore_errors=True)
        if not finished:
            with suppress(OSError):  # another program may have put something there
                for place in absent:
                    place.rmdir()


def require_folder_place(path: str | os.PathLike[str]) -> None:
    """Demand that a folder can be written into, there already or to be made; ask this before long work.

    Nothing is written, so a full disk is met only later.

    Raises
    ------
    InputError
        When the path is, or leads through, a file, or its name is not UTF-8, which not every format can be written to.
    NeuroGenError
        When the folder, or the nearest one above it that exists, may not be written into.
    """
    path = Path(path)
    utf8_name(path)
    try:
        for place in (path, *path.parents):
            if place.is_dir():
                if not os.access(place, os.W_OK | os.X_OK):
                    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
                return
            if place.exists():
                raise InputError(
                    f"{place} is a file, not a folder.", "Choose another folder to write into.", code="file-unwritable"
                )
    except OSError as error:  # also a name that no system takes
        raise unwritable(path, error) from error


def utf8_name(path: str | os.PathLike[str]) -> str:
    """Return the name of a file for a library that takes names as UTF-8.

    Raises
    ------
    InputError
        When the name on the disk is not UTF-8.

    Examples
    --------
    >>> utf8_name(Path("scans") / "t2.nrrd").replace(os.sep, "/")
    'scans/t2.nrrd'
    """
    try:
        return os.fsencode(path).decode("utf-8")
    except UnicodeError as error:
        shown = str(_meant(Path(path))).encode("utf-8", "backslashreplace").decode("utf-8")
        raise InputError(
            f"The name {shown} is not valid UTF-8.", "Rename the file or folder, and try again.", code="path-unsafe"
        ) from error


def write_text(path: str | os.PathLike[str], text: str) -> None:
    r"""Write ``text`` as UTF-8, whole or not at all.

    Bytes of file names that are not UTF-8, which Python holds as lone surrogates, are written as ``\udc80`` to
    ``\udcff``: JSON reads them back.
    """
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_json(path: str | os.PathLike[str], content: Any) -> None:
    """Write ``content`` as indented JSON, whole or not at all; not-a-number is refused."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: str | os.PathLike[str]) -> Any:
    """Read a JSON file; a job may update one that it keeps for itself, so that only :func:`existing_file` notes inputs.

    Raises
    ------
    InputError
        When it is missing, not text or not JSON.
    """
    text = _decoded(require_file(path))
    try:
        return json.loads(text)
    except RecursionError:
        raise InputError(
            f"{path} is nested too deeply.", "Correct the file, or make it again.", code="file-type"
        ) from None
    except ValueError as error:
        raise InputError(
            f"{path} is not readable as JSON ({error}).", "Correct the file, or make it again.", code="file-type"
        ) from error


def read_text(path: str | os.PathLike[str]) -> str:
    """Read a text file that is an input: UTF-8 with or without a byte order mark, or UTF-16 with one.

    Raises
    ------
    InputError
        When it is missing, may not be read, or is not such text; or the running job would write one of its name.
    """
    return _decoded(existing_file(path))


def _decoded(path: Path) -> str:
    try:
        with path.open("rb") as file:
            is_utf16 = file.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
        return path.read_text(encoding="utf-16" if is_utf16 else "utf-8-sig")
    except UnicodeError as error:
        raise InputError(f"{path} is not a UTF-8 text file.", "Save it as UTF-8 text.", code="file-type") from error
    except OSError as error:
        raise InputError(
            f"{path} cannot be read: {error.strerror}.", "Check the permissions of the file.", code="file-missing"
        ) from error


def files_in(folder: Path, suffixes: tuple[str, ...] = ("",)) -> list[Path]:
    """Files of a folder whose lower-case names end in one of these, in the order of their names.

    Hidden files are left out, and so are links to files that are not there, with a warning: data sets of DataLad hold
    many of those.

    Raises
    ------
    InputError
        When the folder may not be read.
    """
    try:
        entries = sorted(entry for entry in folder.iterdir() if entry.name.lower().endswith(suffixes))
        files = [entry for entry in entries if entry.is_file() and not entry.name.startswith(".")]
    except OSError as error:
        raise InputError(
            f"The folder {folder} cannot be read: {error.strerror}.", "Check its permissions.", code="file-missing"
        ) from error
    dangling = [entry.name for entry in entries if entry.is_symlink() and not entry.exists()]
    if dangling:
        shown = ", ".join(dangling[:5]) + (f" and {len(dangling) - 5} more" if len(dangling) > 5 else "")
        log.warning("%s: passing over links to files that are not there: %s.", folder, shown)
    return files


def existing_file(path: str | os.PathLike[str]) -> Path:
    """Return the path of an input when it is a file; no result of the running job may then replace it.

    Raises
    ------
    InputError
        When there is no such file, or the job would write one of its name.
    """
    path = require_file(path)
    note_input(path)
    return path


def require_content(path: Path) -> None:
    """Demand that a library, whose writer does not say whether it succeeded, has written something.

    Raises
    ------
    OSError
        When the file is empty or gone; :func:`atomic_file` turns it into a sentence.
    """
    if not path.is_file() or path.stat().st_size == 0:
        raise OSError("nothing was written")


def require_file(path: str | os.PathLike[str]) -> Path:
    """Return ``path`` when it is a file.

    Raises
    ------
    InputError
        When there is no such file.
    """
    path = Path(path)
    if not path.is_file():
        if path.is_dir():
            raise InputError(f"{path} is a folder, not a file.", "Give the file itself.", code="file-missing")
        raise InputError(
            f"The file {path} does not exist.", "Check the name and the folder you started from.", code="file-missing"
        )
    return path


def _files_below(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _list_outputs(staging: Path, folder: Path) -> None:
    """Let each record in a finished staging folder list the files of its result, relative to itself."""
    for path in sorted(staging.rglob(f"*{RECORD}")):
        content = read_json(path)
        if isinstance(content, dict) and "action" in content:
            outputs = {PurePosixPath(file.relative_to(path.parent).as_posix()) for file in _files_below(path.parent)}
            job = current_job()
            if job is not None and job.out is not None and path == staging / RECORD:
                outputs |= _outputs_until_now(job.out, folder)
            write_json(path, {**content, "outputs": sorted(map(str, outputs))})


def _outputs_until_now(out: OutputFolder, folder: Path) -> set[PurePosixPath]:
    """Return what else the record of a job's folder lists: of the job itself, and of those that it continues."""
    if out.place_of(folder) != PurePosixPath():
        return set()
    earlier = recorded_outputs(folder) if out.continues and (folder / RECORD).is_file() else []
    return out.written | {PurePosixPath(file.relative_to(folder).as_posix()) for file in earlier}


def _settle(folder: Path, names: list[PurePosixPath]) -> None:
    """Note what was written into the folder of the running job; remove what is left there of an earlier result."""
    job = current_job()
    out = None if job is None else job.out
    place = None if out is None else out.place_of(folder)
    if job is None or out is None or place is None or any(map(is_half_written, place.parts)):
        return  # elsewhere, or a part of what another call moves to its place
    out.written |= {place / name for name in names}
    if PurePosixPath(RECORD) in out.written and not out.recorded:
        out.recorded = True
        for file in out.earlier:
            if PurePosixPath(file.relative_to(out.folder).as_posix()) not in out.written and not job.holds(file):
                file.unlink(missing_ok=True)
                with suppress(OSError):  # other files are in its folder
                    file.parent.rmdir()
    elif out.recorded:
        content = read_json(out.folder / RECORD)
        outputs = {*content["outputs"], *map(str, out.written)}
        write_json(out.folder / RECORD, {**content, "outputs": sorted(outputs)})


def _move_up(staging: Path, folder: Path) -> None:
    """Move everything in ``staging`` into ``folder``, after making sure that all of it can."""
    moves = [(item, folder / item.relative_to(staging)) for item in sorted(staging.rglob("*"))]
    for item, target in moves:
        if target.exists() and target.is_dir() != item.is_dir():
            what = "a folder where a file is" if target.is_dir() else "a file where a folder is"
            raise InputError(
                f"{target} is {what} to be written.", "Choose another folder to write into.", code="file-unwritable"
            )
    require_no_inputs(target for item, target in moves if not item.is_dir())
    for item, target in moves:
        if item.is_dir():
            target.mkdir(exist_ok=True)
        else:
            item.replace(target)
            note_made(target)


def _remove_leftovers_once(folder: Path) -> None:
    """Look for leftovers at the first file that this process writes into a folder: it may write thousands."""
    if folder not in _TIDIED and not any(map(is_half_written, folder.parts)):
        _TIDIED.add(folder)
        remove_leftovers(folder)


_TIDIED: set[Path] = set()
"""Folders in which :func:`atomic_file` has looked for leftovers."""


def _flush(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current


def _meant(path: Path) -> Path:
    """Return the path that a person asked for: temporary folders have the names they will get."""
    return Path(*filter(None, map(meant_name, path.parts)))


def unwritable(path: Path, error: OSError) -> NeuroGenError:
    """Return the error that says why a file or folder could not be written, by the name that the person gave."""
    reason = error.strerror or str(error)
    return NeuroGenError(
        f"{_meant(path)} could not be written: {reason}.",
        "Free some space or choose another folder; what was there before is untouched.",
        code="file-unwritable",
    )
