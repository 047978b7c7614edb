"""Asks Zenodo what a record holds, and downloads its files: resumable and checked."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import http.client
import json
import re
import shutil
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from NeuroGenLib.core.errors import InputError, NeuroGenError
from NeuroGenLib.core.progress import SILENT, Progress
from NeuroGenLib.models.connection import connection_failure, disk_failure
from NeuroGenLib.models.reference import models_folder
from NeuroGenLib.samples.archive import require_safe_names
from NeuroGenLib.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

ZENODO_API = "https://zenodo.org/api/records"
UNSTATED = "not-stated"
"""Stands for the licence of a record that names none."""

_SECONDS = 30.0
_BLOCK = 2**18
_MOST_ANSWER = 2**24
_MD5 = re.compile(r"md5:([0-9a-f]{32})")
_TRY_AGAIN = "Check the network and try again; a download goes on where it stopped."


@dataclass(frozen=True)
class RecordFile:
    """One file: its name, size in bytes, MD5 as 32 hexadecimal digits, and address."""

    name: str
    size: int
    md5: str
    url: str


@dataclass(frozen=True)
class Record:
    """What a record says: its number, title, licence (:data:`UNSTATED` for none), authors and files."""

    number: str
    title: str
    licence: str
    creators: tuple[str, ...]
    files: tuple[RecordFile, ...]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)

    @property
    def page(self) -> str:
        """Where people read about it."""
        return f"https://zenodo.org/records/{self.number}"


def read_record(number: str, api: str = ZENODO_API) -> Record:
    """Ask what a record holds.

    Parameters
    ----------
    number, api:
        The record, and the address of the service that answers with JSON about ``<api>/<number>``.

    Raises
    ------
    InputError
        When there is no such record, or a file in it has a name that leads elsewhere.
    NeuroGenError
        When the service cannot be reached, or its answer lacks something.
    """
    what = f"Zenodo's record {number}"
    with _explained(what, models_folder()), _open(f"{api}/{number}") as response:
        answer = json.loads(response.read(_MOST_ANSWER))
    try:
        return _record(number, answer)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise NeuroGenError(
            f"The answer about {what} cannot be used: {type(error).__name__} {error}.",
            f"Look at https://zenodo.org/records/{number}; a proxy may answer in Zenodo's place.",
            code="network-failed",
        ) from error


def download(record: Record, folder: Path, progress: Progress = SILENT) -> list[Path]:
    """Download the files of a record into a folder; what is there already, whole or in part, is not fetched again.

    A file that is not whole has ``.part`` after its name.

    Parameters
    ----------
    record, folder:
        What to download, and where to (made when it does not exist).
    progress:
        In bytes.

    Returns
    -------
    list of Path
        The files, in the record's order, every one with the size and MD5 that the record says.

    Raises
    ------
    NeuroGenError
        When the network fails (what has arrived stays), a file arrives damaged (it is removed), or the disk is full.
    Cancelled
        When it was cancelled; what has arrived stays.
    """
    what = f"Zenodo's record {record.number}"
    before = 0
    paths = []
    with _explained(what, folder):
        folder.mkdir(parents=True, exist_ok=True)
        arrived = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        if shutil.disk_usage(folder).free < record.size - arrived:
            raise OSError(errno.ENOSPC, "No space left on device", str(folder))
        for file in record.files:

            def report(received: int, name: str = file.name, before: int = before) -> None:
                progress.update(before + received, max(record.size, 1), f"downloading {name}")

            paths.append(_download_file(file, folder / file.name, report))
            before += file.size
    return paths


def _record(number: str, answer: dict[str, Any]) -> Record:
    facts = answer["metadata"]
    files = []
    for entry in answer["files"]:
        checksum = _MD5.fullmatch(entry["checksum"])
        url = entry["links"]["self"]
        if checksum is None or not isinstance(entry["size"], int) or entry["size"] < 0:
            raise ValueError(f"size or checksum of '{entry['key']}'")
        if urllib.parse.urlsplit(url).scheme not in ("https", "http"):
            raise ValueError(f"address of '{entry['key']}'")
        files.append(RecordFile(str(entry["key"]), entry["size"], checksum[1], url))
    if not files:
        raise ValueError("it lists no files")
    require_safe_names(["provenance.json", *(file.name for file in files)], f"Zenodo's record {number}")
    licence = (facts.get("license") or {}).get("id") or UNSTATED
    creators = tuple(str(creator["name"]) for creator in facts.get("creators") or ())
    return Record(number, str(facts["title"]), str(licence), creators, tuple(files))


def _download_file(file: RecordFile, path: Path, report: Callable[[int], None]) -> Path:
    if path.is_file() and path.stat().st_size == file.size and _md5_of(path) == file.md5:
        report(file.size)
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.part")
    start = partial.stat().st_size if partial.is_file() else 0
    if start > file.size:
        partial.unlink()
        start = 0
    report(start)
    if start < file.size or not partial.is_file():
        _receive(file, partial, start, report)
    size = partial.stat().st_size
    if size < file.size:
        raise NeuroGenError(
            f"'{file.name}' did not arrive whole: {size} of {file.size} bytes.", _TRY_AGAIN, code="network-failed"
        )
    if size > file.size or _md5_of(partial) != file.md5:
        partial.unlink()
        raise NeuroGenError(
            f"'{file.name}' arrived damaged: its size or checksum is not the one that the record says.",
            "Try again; when it happens again, a proxy or firewall may be changing downloads.",
            code="network-failed",
        )
    partial.replace(path)
    return path


def _receive(file: RecordFile, partial: Path, start: int, report: Callable[[int], None]) -> None:
    """Add to ``partial`` what comes, from byte ``start`` on, or from the first where the server does not go on."""
    with _open(file.url, start) as response:
        if start and response.status != http.client.PARTIAL_CONTENT:
            start = 0
        # Unbuffered: what has arrived is kept even when the process is killed.
        with partial.open("ab" if start else "wb", buffering=0) as target:
            received = start
            while received <= file.size and (block := response.read1(_BLOCK)):
                target.write(block)
                received += len(block)
                report(min(received, file.size))


def _open(url: str, start: int = 0) -> http.client.HTTPResponse:
    headers = {"User-Agent": f"neurogen/{__version__}", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    request = urllib.request.Request(url, headers=headers)  # noqa: S310 (the scheme was checked, or is ours)
    response: http.client.HTTPResponse = urllib.request.urlopen(request, timeout=_SECONDS)  # noqa: S310
    return response


def _md5_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


@contextlib.contextmanager
def _explained(what: str, folder: Path) -> Iterator[None]:
    """Raise what goes wrong with the network or the disk in the block as a sentence about ``what``."""
    try:
        yield
    except urllib.error.HTTPError as error:
        raise _refused(what, error.code) from error
    except (urllib.error.URLError, http.client.HTTPException, OSError, ValueError) as error:
        known = connection_failure(error, what, ZENODO_API)
        if known is None and isinstance(error, OSError):
            known = disk_failure(error, what, folder)
        if known is None:
            raise
        raise known from error


def _refused(what: str, code: int) -> NeuroGenError:
    if code in (404, 410):
        return InputError(
            f"{what} or a file of it does not exist, or not any more.",
            "Update NeuroGen, or tell its authors.",
            code="file-missing",
        )
    if code in (401, 403):
        return NeuroGenError(
            f"{what} is not openly accessible.",
            "Ask for access on its page, and download it there.",
            code="access-denied",
        )
    if code == 429:
        return NeuroGenError(
            f"Zenodo asks to wait before more is fetched of {what}.",
            "Try again in a few minutes.",
            code="network-failed",
        )
    return NeuroGenError(f"Zenodo answered with error {code} about {what}.", _TRY_AGAIN, code="network-failed")
