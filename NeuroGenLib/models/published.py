"""Models that others published, listed in ``published.yaml``: fetched, checked and imported once into the cache."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from NeuroGenLib.core.errors import InputError, NeuroGenError
from NeuroGenLib.core.progress import SILENT, Progress
from NeuroGenLib.models.dotted import load_object
from NeuroGenLib.models.folder import ModelFolder
from NeuroGenLib.models.hub import IMPORTED, alone, cache_path, emptied, fetch_files, list_repository, remember_commit
from NeuroGenLib.models.reference import HubReference

if TYPE_CHECKING:
    from NeuroGenLib.models.hub import HubFile, HubListing

_LIST = Path(__file__).with_name("published.yaml")

IMPORTERS = {
    "cinema": "NeuroGenLib.atlas.published.checkpoint:import_checkpoint",
    "baby-ai": "NeuroGenLib.superres.published.checkpoint:import_checkpoint",
    "sitreg": "NeuroGenLib.registration.published.model:import_checkpoint",
}
"""Program whose checkpoints are read -> ``function(checkpoint: Path, destination: Path, **options)``."""


@dataclass(frozen=True)
class Published:
    """One entry of ``published.yaml``, whose head says what the fields are."""

    system: str
    name: str
    kind: str
    reference: str | None = None
    revision: str | None = None
    files: list[dict[str, Any]] = field(default_factory=list)
    checkpoint: str | None = None
    importer: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    license: str | None = None
    citation: list[str] = field(default_factory=list)
    verified: bool = False

    @property
    def listed_as(self) -> str:
        """What ``neurogen models list`` calls it: the reference of its weights, or its program where there are none."""
        return self.reference or self.system

    @property
    def problem(self) -> str | None:
        """Why it cannot be opened, with the way out; None when it can."""
        if self.reference is None and self.system in IMPORTERS:
            return f"No published weights are known; import your own with 'neurogen models import {self.system}'."
        if self.reference is None:
            return "No published weights are known, and its importer is not part of this version."
        return None if self.importer else "Its importer is not part of this version."


@functools.cache
def published_models(path: Path = _LIST) -> tuple[Published, ...]:
    """Read the list of published models."""
    import yaml

    return tuple(Published(**entry) for entry in yaml.safe_load(path.read_text(encoding="utf-8")))


def find_published(reference: HubReference) -> Published | None:
    """Return the entry of a repository; None when it is not listed."""
    for entry in published_models():
        if entry.reference:
            listed = HubReference.parse(entry.reference)
            if (listed.repository, listed.subfolder) == (reference.repository, reference.subfolder):
                return entry
    return None


def find_listed(name: str) -> Published | None:
    """Return the entry that ``neurogen models list`` calls so, or the only one of a program; None when there is none.

    Examples
    --------
    >>> find_listed("cinema").kind, find_listed("baby-ai").reference, find_listed("imlatent")
    ('atlas', 'hf:almalennartsson/baby-ai', None)
    """
    listed = [entry for entry in published_models() if name in (entry.listed_as, entry.system)]
    return listed[0] if len(listed) == 1 else None


def import_published(entry: Published, reference: HubReference, progress: Progress = SILENT) -> ModelFolder:
    """Fetch a published model's files, check them and import them into the cache, unless that was done.

    Raises
    ------
    NeuroGenError
        When this version has no importer for it, a file is gone or is not the one that was listed; also what
        :func:`~NeuroGenLib.models.hub.download_model` raises. Nothing half-imported is left.
    """
    if not entry.importer or not entry.checkpoint:
        raise NeuroGenError(
            f"{reference} ({entry.name}) cannot be opened: its importer is not part of this version.",
            "Update NeuroGen, or see 'neurogen models list' for models that can be opened.",
            code="model-kind",
        )
    importer = load_object(entry.importer)
    asked = replace(reference, revision=reference.revision or entry.revision)
    listing = list_repository(asked)
    pinned = asked.at(listing.commit)
    destination = cache_path(pinned, IMPORTED)
    with alone(pinned, progress):
        if not destination.is_dir():
            staging = fetch_files(pinned, _expected_files(entry, listing), progress.part(0, 0.9))
            with emptied(staging):
                progress.update(0.9, 1, "importing")
                importer(staging / entry.checkpoint, destination, **entry.options)
        remember_commit(reference, listing.commit)
    progress.update(1, 1, "imported")
    return ModelFolder.read(destination, reference=str(reference), revision=listing.commit)


def _expected_files(entry: Published, listing: HubListing) -> list[HubFile]:
    on_hub = {file.name: file for file in listing.files}
    expected = []
    for facts in entry.files:
        file = on_hub.get(facts["name"])
        if file is None:
            raise InputError(
                f"{entry.reference} holds no '{facts['name']}' any more.",
                "Name the revision that held it: @COMMIT.",
                code="model-missing",
            )
        for fact in ("size", "sha256"):
            known, listed = facts.get(fact), getattr(file, fact)
            if None not in (known, listed) and known != listed:
                raise NeuroGenError(
                    f"'{file.name}' of {entry.reference} is not the file that NeuroGen knows (its {fact} differs).",
                    "Its authors may have replaced it: name the older revision with @COMMIT, or update NeuroGen.",
                    code="model-damaged",
                )
        expected.append(replace(file, sha256=facts.get("sha256") or file.sha256))
    return expected
