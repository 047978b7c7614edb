"""Files that appear whole or not at all: write beside, flush, rename."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from NeuroGenLib.errors import InputError, NeuroGenError

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def atomic_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary path beside ``path``; move it to ``path`` when the block ends well.

    The temporary name keeps every suffix of ``path`` (``.nii.gz``), so that writers that choose a format
    by name work. When the block raises, the temporary file is removed and ``path`` is as it was.

    Raises
    ------
    NeuroGenError
        When the file cannot be written (disk full, no permission).
    """
    path = Path(path)
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=".writing-", suffix="-" + path.name, dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        _flush(temporary)
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary folder beside ``path``; it takes the place of ``path`` when the block ends well.

    An existing folder at ``path`` is replaced, and is as it was when the block raises.
    """
    path = Path(path)
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=".writing-", suffix="-" + path.name, dir=path.parent))
        yield temporary
        temporary.chmod(0o777 & ~_umask())
        retired = temporary.with_name(temporary.name + ".old")
        if path.exists():
            path.replace(retired)
        temporary.replace(path)
        shutil.rmtree(retired, ignore_errors=True)
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def staged_outputs(folder: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary folder inside ``folder``; all its files move up when the block ends well.

    For jobs with several outputs: when one fails or the job is cancelled, none appears, and a ``folder`` that was
    not there before is removed again. Files of the same names are replaced, others in ``folder`` stay.
    """
    folder = Path(folder)
    existed = folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=".writing-", dir=folder))
    except OSError as error:
        raise _unwritable(folder, error) from error
    finished = False
    try:
        yield staging
        for item in sorted(staging.rglob("*")):
            target = folder / item.relative_to(staging)
            if item.is_dir():
                target.mkdir(exist_ok=True)
            else:
                item.replace(target)
        finished = True
    except OSError as error:
        raise _unwritable(folder, error) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        if not finished and not existed:
            with suppress(OSError):
                folder.rmdir()


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write ``text`` as UTF-8, whole or not at all."""
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | os.PathLike[str], content: Any) -> None:
    """Write ``content`` as indented JSON, whole or not at all; not-a-number is refused."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: str | os.PathLike[str]) -> Any:
    """Read a JSON file.

    Raises
    ------
    InputError
        When it is missing or not JSON.
    """
    path = existing_file(path)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise InputError(f"{path} is not readable as JSON ({error}).", "Restore the file or make it again.") from error


def existing_file(path: str | os.PathLike[str]) -> Path:
    """Return ``path`` when it is a file.

    Raises
    ------
    InputError
        When there is no such file.
    """
    path = Path(path)
    if not path.is_file():
        what = "is a folder, not a file" if path.is_dir() else "does not exist"
        raise InputError(f"The file {path} {what}.", "Check the name and the folder you started from.")
    return path


def _flush(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current


def _unwritable(path: Path, error: OSError) -> NeuroGenError:
    reason = error.strerror or str(error)
    return NeuroGenError(
        f"{path} could not be written: {reason}.",
        "Free some space or choose another folder; what was there before is untouched.",
    )
