"""Unpacking of untrusted zip archives."""

from __future__ import annotations

import lzma
import zipfile
import zlib
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from NeuroGenLib.core.errors import InputError
from NeuroGenLib.core.progress import SILENT, Progress
from NeuroGenLib.models.folder import require_relative_name

if TYPE_CHECKING:
    from pathlib import Path

MOST_BYTES = 64 * 2**30
"""What an archive may unpack to."""

_BLOCK = 2**20
_BROKEN = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError, RuntimeError)


def unpack(archive: Path, folder: Path, progress: Progress = SILENT, most_bytes: int = MOST_BYTES) -> list[Path]:
    """Unpack a zip archive into a new folder; links in it become small text files, nothing reaches outside.

    Parameters
    ----------
    archive:
        The zip file.
    folder:
        Where its files go; does not exist yet. The caller makes sure that it vanishes when this fails.
    progress:
        In bytes.
    most_bytes:
        What all files together may hold.

    Returns
    -------
    list of Path
        The files.

    Raises
    ------
    InputError
        When it is damaged or encrypted, has names that are absolute, climb with ``..``, do not exist on every system
        or are there twice, or is too large unpacked.
    Cancelled
        When it was cancelled.
    """
    files = []
    try:
        with zipfile.ZipFile(archive) as opened:
            entries = [entry for entry in opened.infolist() if not entry.is_dir()]
            names = require_safe_names([entry.filename for entry in entries], archive.name)
            total = sum(entry.file_size for entry in entries)
            if total > most_bytes:  # zipfile never gives more of an entry than it says
                raise InputError(
                    f"The archive {archive.name} unpacks to more than {most_bytes / 2**30:.3g} GiB.",
                    "Such an archive is not unpacked; do not use these data unless you trust their source.",
                    code="file-damaged",
                )
            written = 0
            for entry, name in zip(entries, names, strict=True):
                path = folder / PurePosixPath(name)
                path.parent.mkdir(parents=True, exist_ok=True)
                with opened.open(entry) as source, path.open("xb") as target:
                    while block := source.read(_BLOCK):
                        target.write(block)
                        written += len(block)
                        progress.update(written, total, f"unpacking {archive.name}")
                files.append(path)
    except _BROKEN as error:
        raise InputError(
            f"The archive {archive.name} cannot be unpacked ({error}).",
            "It is damaged or of an unknown kind; tell those who published it.",
            code="file-damaged",
        ) from error
    return files


def require_safe_names(names: list[str], where: str) -> list[str]:
    """Return names of files when each stays inside its folder on every system, and no two are one file on some.

    Raises
    ------
    InputError
        Naming the first that does not, and ``where`` it stands.
    """
    folded: set[str] = set()
    for name in names:
        try:
            require_relative_name(name, where)
        except InputError as error:
            raise error.with_remedy("This may be an attempt to reach other files; do not use these data.") from None
        if name.casefold() in folded:
            raise InputError(
                f"'{name}' is twice in {where}.",
                "Such data cannot be kept on every system; tell their authors.",
                code="value-duplicate",
            )
        folded.add(name.casefold())
    return names
