"""Asks a Hugging Face hub for the files of a sample, and downloads them, as models are: pinned, resumable, checked."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from NeuroGenLib.core.errors import InputError, NeuroGenError
from NeuroGenLib.core.progress import SILENT, Progress
from NeuroGenLib.models.hub import PARTIAL, HubFile, alone, cache_path, fetch_files, list_repository
from NeuroGenLib.models.hub_errors import how_to_bring_it_here
from NeuroGenLib.models.reference import HubReference
from NeuroGenLib.samples.zenodo import UNSTATED

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from NeuroGenLib.models.hub import HubListing
    from NeuroGenLib.samples.registry import Sample

_CARD = "README.md"
_LARGEST_CARD = 2**20


@dataclass(frozen=True)
class HubRecord:
    """What a repository says of a sample at a commit.

    Attributes
    ----------
    name, title:
        Of the sample.
    pinned:
        The repository at the commit.
    licence:
        As its card says, :data:`~NeuroGenLib.samples.zenodo.UNSTATED` for none.
    page:
        Where people read about it.
    files:
        Those of the sample, in the registry's order.
    """

    name: str
    title: str
    pinned: HubReference
    licence: str
    page: str
    files: tuple[HubFile, ...]

    @property
    def creators(self) -> tuple[str, ...]:
        """Whose repository it is."""
        return (self.pinned.repository.partition("/")[0],)

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)

    @property
    def place(self) -> Path:
        """Where in the cache its download goes on."""
        return cache_path(self.pinned, PARTIAL)


class _SampleReference(HubReference):
    """A repository whose downloads lie apart from those of a model in the same repository."""

    @property
    def folder_name(self) -> str:
        return f"sample-{super().folder_name}"


def read_hub_record(sample: Sample) -> HubRecord:
    """Ask which files of a sample a repository holds, and under which licence.

    Parameters
    ----------
    sample:
        Of the kind ``"hub"``.

    Raises
    ------
    InputError
        When there is no such repository or revision, or it lacks one of the files.
    NeuroGenError
        When the hub cannot be reached, or its answer lacks something.
    """
    reference = HubReference.parse(sample.reference)
    with _said_of_a_sample(reference, sample.name):
        listing = list_repository(reference)
    pinned = _SampleReference(reference.repository, listing.commit)
    files = _files(sample, listing)
    with _said_of_a_sample(pinned, sample.name):
        licence = _licence(pinned, listing)
    from huggingface_hub import constants

    return HubRecord(sample.name, sample.title, pinned, licence, f"{constants.ENDPOINT}/{pinned.repository}", files)


def download_hub_record(record: HubRecord, progress: Progress = SILENT) -> list[Path]:
    """Download the files into :attr:`HubRecord.place`; what is there already, whole or in part, is not fetched again.

    Parameters
    ----------
    record:
        What to download.
    progress:
        In bytes.

    Returns
    -------
    list of Path
        The files, in the record's order, with the sizes and checksums that the hub announced.

    Raises
    ------
    NeuroGenError
        When the network fails (what has arrived stays), a file arrives damaged (it is removed), or the disk is full.
    Cancelled
        When it was cancelled; what has arrived stays.
    """
    with _said_of_a_sample(record.pinned, record.name):
        place = fetch_files(record.pinned, record.files, progress)
    return [place / file.name for file in record.files]


def how_to_bring_a_sample(name: str) -> str:
    """Return the sentence that helps a machine without network."""
    return f"On a connected machine run 'neurogen samples get {name} --out DIR', then copy DIR here."


def _files(sample: Sample, listing: HubListing) -> tuple[HubFile, ...]:
    on_hub = {file.name: file for file in listing.files}
    for name in sample.files:
        if name not in on_hub:
            raise InputError(
                f"{sample.reference} holds no '{name}' (any more), which is part of the sample '{sample.name}'.",
                "Update NeuroGen, or tell its authors.",
                code="file-missing",
            )
    return tuple(on_hub[name] for name in sample.files)


def _licence(pinned: HubReference, listing: HubListing) -> str:
    """Return the licence in the head of the repository's card."""
    from huggingface_hub import metadata_load
    from yaml import YAMLError

    cards = [file for file in listing.files if file.name == _CARD and file.size <= _LARGEST_CARD]
    if not cards:
        return UNSTATED
    with alone(pinned):
        path = fetch_files(pinned, cards) / _CARD
    try:
        licence = (metadata_load(path) or {}).get("license")
    except (YAMLError, ValueError):  # a head that nobody can read states nothing
        return UNSTATED
    stated = licence.strip() if isinstance(licence, str) else ""
    return stated if stated and stated.isprintable() else UNSTATED


@contextlib.contextmanager
def _said_of_a_sample(reference: HubReference, name: str) -> Iterator[None]:
    """Replace what the hub's errors say about bringing a model here by how a sample comes here."""
    try:
        yield
    except NeuroGenError as error:
        remedy = error.remedy.replace(how_to_bring_it_here(reference), how_to_bring_a_sample(name))
        raise error.with_remedy(remedy) from error
