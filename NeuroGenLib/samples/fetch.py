"""Brings a sample into a folder: draws it, or downloads it once its licence is accepted."""

from __future__ import annotations

import contextlib
import shutil
import zipfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from NeuroGenLib.core import provenance
from NeuroGenLib.core.errors import InputError, NeuroGenError
from NeuroGenLib.core.files import staged_outputs, write_json
from NeuroGenLib.core.progress import SILENT, Progress
from NeuroGenLib.core.provenance import RECORD
from NeuroGenLib.models.reference import must_stay_offline
from NeuroGenLib.samples.archive import unpack
from NeuroGenLib.samples.hub import HubRecord, download_hub_record, how_to_bring_a_sample, read_hub_record
from NeuroGenLib.samples.registry import DRAWN, ZENODO, Sample, find_sample, samples_folder
from NeuroGenLib.samples.rendered import write_drawn
from NeuroGenLib.samples.zenodo import ZENODO_API, Record, download, read_record

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

_MOST_CREATORS = 3


@dataclass(frozen=True)
class Offer:
    """What a person should know before a sample is fetched.

    Attributes
    ----------
    name, title, licence, page:
        Of the sample; where its licence and authors are stated, empty for a drawn one.
    creators:
        Who published it.
    size:
        Bytes to download, 0 where nothing is.
    files:
        Names of what is downloaded.
    needs_acceptance:
        Whether the licence must be accepted.
    """

    name: str
    title: str
    licence: str
    page: str = ""
    creators: tuple[str, ...] = ()
    size: int = 0
    files: tuple[str, ...] = ()
    needs_acceptance: bool = False

    @property
    def size_text(self) -> str:
        """The size for people, such as ``"1.2 GB"``."""
        unit, scale = ("GB", 1e9) if self.size >= 1e9 else ("MB", 1e6)
        return f"{self.size / scale:.1f} {unit}"


@dataclass(frozen=True)
class Fetched:
    """What was fetched: the files, what they show (the model's notice), what to know, and what to do next."""

    sample: Sample
    folder: Path
    files: list[Path]
    notice: str = ""
    warnings: list[str] = field(default_factory=list)
    next: str = ""


def sample_offer(name: str, api: str = ZENODO_API) -> Offer:
    """Return title, licence and size of a sample; asks the server of those that are downloaded.

    Raises
    ------
    InputError
        When there is no such sample, record or repository, or it lacks a file.
    NeuroGenError
        When NeuroGen must stay offline, or the network fails.
    """
    sample = find_sample(name)
    return _offer(sample, _record(sample, api))


def fetch_sample(
    name: str,
    folder: str | os.PathLike[str],
    progress: Progress = SILENT,
    *,
    accept_licence: str | None = None,
    api: str = ZENODO_API,
) -> Fetched:
    """Bring a sample into a folder, all of its files or none, with ``provenance.json``.

    Parameters
    ----------
    name, folder:
        Which sample, and where to; other files in the folder stay.
    progress:
        Of drawing, or of the download in bytes.
    accept_licence:
        Identifier of the licence that the person has read and accepts; what is downloaded needs it.
    api:
        Address of Zenodo's service.

    Raises
    ------
    InputError
        When there is no such sample, its licence is not the accepted one (the message says which it is, and how to
        accept it), the folder is a file, or an archive in it cannot be unpacked safely.
    NeuroGenError
        When NeuroGen must stay offline, the network or the disk fails, or a file arrives damaged.
    Cancelled
        When it was cancelled; what was downloaded so far stays in the cache, and the next call goes on there.
    """
    sample, folder = find_sample(name), Path(folder)
    record = _record(sample, api)
    _require_accepted(_offer(sample, record), accept_licence)
    with staged_outputs(folder) as staging:
        if record is None:
            drawn = write_drawn(sample, staging, progress)
            return Fetched(sample, folder, _files(staging, folder), drawn.notice, drawn.warnings)
        with _alone(record) as place:
            downloaded = _download(record, place, progress.part(0, 0.9))
            try:
                for path in downloaded:
                    _put(path, staging / path.relative_to(place), progress.part(0.9, 0.99))
            except InputError:  # an archive that will never be unpacked
                shutil.rmtree(place, ignore_errors=True)
                raise
            write_json(staging / RECORD, _provenance(sample, record))
            shutil.rmtree(place, ignore_errors=True)
        progress.update(1, 1, "ready")
        return Fetched(sample, folder, _files(staging, folder), next=sample.next)


def _record(sample: Sample, api: str) -> Record | HubRecord | None:
    """Ask the server of a sample that is downloaded."""
    if sample.kind == DRAWN:
        return None
    if must_stay_offline():
        raise NeuroGenError(
            f"The sample '{sample.name}' must be downloaded, and NeuroGen is offline.",
            how_to_bring_a_sample(sample.name),
            code="network-failed",
        )
    return read_record(sample.record, api) if sample.kind == ZENODO else read_hub_record(sample)


def _download(record: Record | HubRecord, place: Path, progress: Progress) -> list[Path]:
    if isinstance(record, Record):
        return download(record, place, progress)
    return download_hub_record(record, progress)


def _offer(sample: Sample, record: Record | HubRecord | None) -> Offer:
    if record is None:
        return Offer(sample.name, sample.title, sample.licence or "")
    files = tuple(file.name for file in record.files)
    return Offer(sample.name, record.title, record.licence, record.page, record.creators, record.size, files, True)


def _require_accepted(offer: Offer, accepted: str | None) -> None:
    if accepted is None and not offer.needs_acceptance:
        return
    if accepted is None:
        many = len(offer.creators) > _MOST_CREATORS
        authors = "; ".join(offer.creators[:_MOST_CREATORS]) + (" and others" if many else "")
        by = f", by {authors}" if authors else ""
        raise InputError(
            f"'{offer.title}'{by} ({len(offer.files)} files, {offer.size_text}) has the licence '{offer.licence}',"
            " which you have not accepted yet.",
            f"Read it at {offer.page}; to accept it, add --accept-licence {offer.licence}.",
            code="access-denied",
        )
    if accepted.lower() != offer.licence.lower():
        raise InputError(
            f"The licence of '{offer.name}' is '{offer.licence}', not '{accepted}'.",
            f"Read it, and if you accept it write --accept-licence {offer.licence}.",
            code="access-denied",
        )


@contextlib.contextmanager
def _alone(record: Record | HubRecord) -> Iterator[Path]:
    """Give the folder in the cache where a record's download goes on; one process at a time has it."""
    import filelock

    name = f"zenodo-{record.number}" if isinstance(record, Record) else f"hub-{record.name}"
    own = samples_folder() / ".incomplete" / name
    place = own if isinstance(record, Record) else record.place
    lock = filelock.FileLock(own.with_suffix(".lock"), timeout=0)
    try:
        own.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except filelock.Timeout as error:
        raise NeuroGenError(
            f"'{record.title}' is being downloaded already.", "Wait until that has ended.", code="file-occupied"
        ) from error
    except OSError as error:
        raise NeuroGenError(
            f"{own.parent} cannot be written: {error.strerror}.",
            "Let the environment variable NEUROGEN_MODELS name a folder you may write to.",
            code="file-unwritable",
        ) from error
    try:
        yield place
    finally:
        lock.release()


def _put(source: Path, target: Path, progress: Progress) -> None:
    """Unpack an archive into a folder of its name; copy anything else, for the cache may be on another disk."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.suffix.lower() == ".zip" and zipfile.is_zipfile(source):
        unpack(source, target.with_suffix(""), progress)
    else:
        shutil.copyfile(source, target)


def _files(staging: Path, folder: Path) -> list[Path]:
    return [folder / path.relative_to(staging) for path in sorted(staging.rglob("*")) if path.is_file()]


def _provenance(sample: Sample, record: Record | HubRecord) -> dict[str, Any]:
    return provenance.record(
        "samples get",
        parameters={"sample": sample.name, "accepted_licence": record.licence},
        title=record.title,
        licence=record.licence,
        source=record.page,
        creators=list(record.creators),
        **_contents(record),
    )


def _contents(record: Record | HubRecord) -> dict[str, Any]:
    """Return the files with their checksums, and the commit where there is one."""
    if isinstance(record, Record):
        return {"files": [{"name": file.name, "size": file.size, "md5": file.md5} for file in record.files]}
    return {"revision": record.pinned.revision, "files": [asdict(file) for file in record.files]}
