"""Brings files from a Hugging Face hub into the cache: pinned to a commit, resumable, checked.

The hub's library answers what a repository holds and streams the bytes; the files are kept here as plain files in
one folder a commit, so that a model can be copied to a machine without network as it is. A download that was
broken off, even by a kill, goes on where it stopped.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import os
import re
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from NeuroGenLib.core.checksums import sha256_of
from NeuroGenLib.core.errors import InputError, NeuroGenError
from NeuroGenLib.core.files import read_json, write_json
from NeuroGenLib.core.progress import SILENT, Progress
from NeuroGenLib.models.folder import MANIFEST, ModelFolder, may_be_in_a_model, require_relative_name
from NeuroGenLib.models.hub_errors import explained, how_to_bring_it_here
from NeuroGenLib.models.reference import HubReference, models_folder, must_stay_offline

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

DOWNLOADED = "hub"
IMPORTED = "imported"
PARTIAL = ".incomplete"

_COMMIT = re.compile(r"[0-9a-f]{40}")
_ANSWER_SECONDS = 30.0
"""The hub counts as unreachable when it does not answer within this time."""


@dataclass(frozen=True)
class HubFile:
    """One file of a repository at a commit.

    Attributes
    ----------
    name:
        Path inside the repository.
    size:
        Bytes.
    sha256, git_oid:
        Checksum of the content: SHA-256 of large files, git's blob id of small ones; None when the hub gives none.
    """

    name: str
    size: int
    sha256: str | None = None
    git_oid: str | None = None


@dataclass(frozen=True)
class HubListing:
    """What a repository holds: the commit behind the revision asked for, and its files."""

    commit: str
    files: tuple[HubFile, ...]


def cached_model(reference: HubReference) -> ModelFolder | None:
    """Return the model when it is in the cache, downloaded or imported; makes no request."""
    commit = known_commit(reference)
    if commit is None:
        return None
    for store in (DOWNLOADED, IMPORTED):
        folder = cache_path(reference.at(commit), store)
        if folder.is_dir():
            return ModelFolder.read(folder, reference=str(reference), revision=commit)
    return None


def download_model(reference: HubReference, progress: Progress = SILENT) -> ModelFolder:
    """Fetch the newest commit of the reference's revision, unless the cache has it.

    Raises
    ------
    InputError
        When there is no such repository or revision, or it holds no NeuroGen model.
    NeuroGenError
        When the hub cannot be reached, asks for a login, or a file arrives damaged; nothing damaged is kept.
    Cancelled
        When ``progress`` was cancelled; what has arrived is kept and the next call goes on there.
    """
    listing = list_repository(reference)
    pinned = reference.at(listing.commit)
    destination = cache_path(pinned, DOWNLOADED)
    with alone(pinned, progress):
        if not destination.is_dir():
            prefix = f"{reference.subfolder}/" if reference.subfolder else ""
            inside = [file for file in listing.files if file.name.startswith(prefix)]
            files = [file for file in inside if may_be_in_a_model(file.name.removeprefix(prefix))]
            if prefix + MANIFEST not in {file.name for file in files}:
                raise InputError(
                    f"{reference} holds no NeuroGen model: there is no {prefix}{MANIFEST}.",
                    "See 'neurogen models list' for repositories that can be opened.",
                    code="model-missing",
                )
            staging = fetch_files(pinned, files, progress)
            with emptied(staging):
                ModelFolder.read(staging / reference.subfolder, reference=str(reference), verify=False).verify()
                destination.parent.mkdir(parents=True, exist_ok=True)
                (staging / reference.subfolder).replace(destination)
        remember_commit(reference, listing.commit)
    return ModelFolder.read(destination, reference=str(reference), revision=listing.commit)


def list_repository(reference: HubReference) -> HubListing:
    """Ask the hub for the commit and the files of a repository.

    Raises
    ------
    InputError, NeuroGenError
        As :func:`download_model`.
    """
    require_online(reference)
    hub = _hub_library()
    with explained(reference):
        info = hub.HfApi(endpoint=_endpoint()).model_info(
            reference.repository, revision=reference.effective_revision, files_metadata=True, timeout=_ANSWER_SECONDS
        )
    if not _COMMIT.fullmatch(info.sha or "") or any(sibling.size is None for sibling in info.siblings or ()):
        raise NeuroGenError(
            f"The hub's answer about {reference} lacks the commit or the sizes.",
            "Check what HF_ENDPOINT names.",
            code="network-failed",
        )
    files = []
    for sibling in info.siblings or ():
        name = require_relative_name(sibling.rfilename, f"the repository {reference.repository}")
        sha256 = sibling.lfs.sha256 if sibling.lfs else None
        files.append(HubFile(name, sibling.size, sha256, None if sha256 else sibling.blob_id))
    return HubListing(info.sha, tuple(files))


def fetch_files(pinned: HubReference, files: Sequence[HubFile], progress: Progress = SILENT) -> Path:
    """Fetch files of a pinned repository into its staging folder and return that folder.

    Files that arrived whole before are not fetched again, broken ones are continued.

    Raises
    ------
    NeuroGenError
        When a file cannot be fetched, does not fit on the disk, or its content is not what the hub announced.
    """
    staging = cache_path(pinned, PARTIAL)
    total = sum(file.size for file in files)
    with explained(pinned):
        staging.mkdir(parents=True, exist_ok=True)
        arrived = sum(path.stat().st_size for path in staging.rglob("*") if path.is_file())
        if shutil.disk_usage(staging).free < total - arrived:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(staging))
    before = 0
    for file in files:

        def report(received: int, name: str = file.name, before: int = before) -> None:
            progress.update(before + received, max(total, 1), f"downloading {name}")

        _fetch_file(pinned, file, staging / file.name, report)
        before += file.size
    progress.update(1, 1, "downloaded")
    return staging


def known_commit(reference: HubReference) -> str | None:
    """Return the commit last downloaded for the reference's revision; None when there is none."""
    if reference.revision and _COMMIT.fullmatch(reference.revision):
        return reference.revision
    return _read_commits(reference).get(reference.effective_revision)


def remember_commit(reference: HubReference, commit: str) -> None:
    """Record which commit a revision meant, so that the model opens again without asking the hub."""
    write_json(_commits_path(reference), {**_read_commits(reference), reference.effective_revision: commit})


def require_online(reference: HubReference, *, offline: bool = False) -> None:
    """Do nothing when requests may be made.

    Raises
    ------
    NeuroGenError
        When NeuroGen must stay offline; says how to bring the model here.
    """
    if must_stay_offline(offline=offline):
        raise NeuroGenError(
            f"{reference} is not in the cache, and NeuroGen is offline.",
            how_to_bring_it_here(reference),
            code="network-failed",
        )


def cache_path(pinned: HubReference, store: str) -> Path:
    """Return where a pinned model lies in a store of the cache (it may not exist yet)."""
    return models_folder() / store / pinned.folder_name


@contextlib.contextmanager
def alone(pinned: HubReference, progress: Progress = SILENT) -> Iterator[None]:
    """Let one process at a time bring a model here; the others wait and then find it."""
    import filelock

    path = models_folder() / PARTIAL / (pinned.folder_name + ".lock")
    lock = filelock.FileLock(path)
    with explained(pinned):
        path.parent.mkdir(parents=True, exist_ok=True)
        while not lock.is_locked:
            with contextlib.suppress(filelock.Timeout):
                lock.acquire(timeout=0.5)
                break
            progress.update(0, 1, "waiting for another download of the same model")
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def emptied(staging: Path) -> Iterator[None]:
    """Remove the staging folder when the block ends, well or not."""
    try:
        yield
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _commits_path(reference: HubReference) -> Path:
    return models_folder() / (reference.repository.replace("/", "--") + ".json")


def _read_commits(reference: HubReference) -> dict[str, str]:
    path = _commits_path(reference)
    commits = read_json(path) if path.is_file() else {}
    if not isinstance(commits, dict):
        raise InputError(
            f"{path} is damaged.", "Delete it; the model is then looked up on the hub again.", code="file-damaged"
        )
    return {str(revision): str(commit) for revision, commit in commits.items()}


def _fetch_file(pinned: HubReference, file: HubFile, path: Path, report: Callable[[int], None]) -> None:
    if path.is_file() and path.stat().st_size == file.size:
        return
    hub = _hub_library()
    from huggingface_hub.file_download import http_get

    url = hub.hf_hub_url(pinned.repository, file.name, revision=pinned.revision, endpoint=_endpoint())
    partial = path.with_name(path.name + PARTIAL)
    with explained(pinned), _no_bars():
        path.parent.mkdir(parents=True, exist_ok=True)
        with _ReportingFile(partial, report) as stream:
            if stream.length > file.size:  # a proxy's page instead of the file
                stream.truncate(0)
            if 0 < file.size != stream.length:
                headers = hub.utils.build_hf_headers()
                headers["Accept-Encoding"] = "identity"  # a compressed answer could not be continued at a byte
                http_get(url, stream, resume_size=stream.length, headers=headers, expected_size=file.size)
        if not _content_is_right(partial, file):
            partial.unlink()
            raise NeuroGenError(
                f"'{file.name}' of {pinned} arrived damaged: its checksum is not the one the hub announced.",
                "Try again; when it happens again, a proxy or firewall may be changing downloads.",
                code="network-failed",
            )
        partial.replace(path)


class _ReportingFile(io.BufferedWriter):
    """A file opened for appending that reports its length at each write."""

    def __init__(self, path: Path, report: Callable[[int], None]) -> None:
        super().__init__(io.FileIO(path, "ab"))
        self._report = report

    @property
    def length(self) -> int:
        """Bytes written so far, by earlier attempts too."""
        return self.seek(0, io.SEEK_END)

    def write(self, data: Any) -> int:
        count = super().write(data)
        self._report(self.length)
        return count


def _content_is_right(path: Path, file: HubFile) -> bool:
    if path.stat().st_size != file.size:
        return False
    if file.sha256:
        return sha256_of(path) == file.sha256
    if file.git_oid:
        blob = f"blob {file.size}\0".encode() + path.read_bytes()
        return hashlib.sha1(blob, usedforsecurity=False).hexdigest() == file.git_oid
    return True


def _endpoint() -> str | None:
    # The library reads the variable once, at its import; a program that sets it later means it too.
    return os.environ.get("HF_ENDPOINT", "").rstrip("/") or None


def _hub_library() -> Any:
    try:
        import huggingface_hub
    except ImportError as error:
        raise NeuroGenError(
            "The Python package huggingface_hub is missing.",
            "Install it: pip install huggingface_hub",
            code="package-missing",
        ) from error
    return huggingface_hub


@contextlib.contextmanager
def _no_bars() -> Iterator[None]:
    """Silence the library's own bars: the caller's progress shows the download."""
    from huggingface_hub.utils.tqdm import (
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )

    if are_progress_bars_disabled():
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()
