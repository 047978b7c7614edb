"""What ``neurogen models`` lists, shows, downloads and imports."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from NeuroGenLib.core.errors import InputError, NeuroGenError, nearest
from NeuroGenLib.core.files import existing_file
from NeuroGenLib.core.progress import SILENT, Progress
from NeuroGenLib.models.dotted import load_object
from NeuroGenLib.models.folder import ModelFolder
from NeuroGenLib.models.hub import DOWNLOADED, IMPORTED, cached_model, download_model
from NeuroGenLib.models.opening import bundled_models, resolve
from NeuroGenLib.models.published import (
    IMPORTERS,
    Published,
    find_listed,
    find_published,
    import_published,
    published_models,
)
from NeuroGenLib.models.reference import BUNDLED, HUB, HubReference, models_folder

if TYPE_CHECKING:
    from collections.abc import Iterator


def list_models(*, published: bool = True) -> list[dict[str, Any]]:
    """Return every model that can be named: bundled, in the cache, and published by others.

    Parameters
    ----------
    published:
        Also those that others published; their list needs PyYAML, which a fresh Slicer lacks.

    Returns
    -------
    list of dict
        Each with ``reference``, ``where`` (``bundled``, ``downloaded``, ``imported`` or ``published``), ``name``,
        ``kind``, ``license``, ``revision``, ``size`` in bytes (None when unknown) and ``problem`` (None, or why it
        cannot be opened).
    """
    rows = [_row(f"{BUNDLED}{name}", "bundled") for name in bundled_models()]
    cached = list(_cached())
    rows += [_row(str(reference), where) for reference, where in cached]
    here = {(reference.repository, reference.subfolder) for reference, _ in cached}
    for entry in published_models() if published else ():
        listed = HubReference.parse(entry.reference) if entry.reference else None
        if listed is None or (listed.repository, listed.subfolder) not in here:
            rows.append(_published_row(entry))
    return rows


def model_info(reference: str | os.PathLike[str]) -> dict[str, Any]:
    """Return what is known about a model; makes no request.

    Parameters
    ----------
    reference:
        As for :func:`~NeuroGenLib.models.opening.open_model`, or a name of :func:`list_models`.

    Returns
    -------
    dict
        ``reference``, ``where``, ``revision``, ``path``, ``manifest``, ``card``, ``size`` in bytes, ``license``,
        ``citation``, ``verified`` (whether this project compared a published model's results with its authors';
        None for NeuroGen's own models), ``problem`` (None, or why it cannot be opened). All checksums are compared.
        For a published model that is not in the cache ``path``, ``manifest``, ``card`` and ``size`` are None.

    Raises
    ------
    InputError
        When there is no such model, or it is damaged.
    NeuroGenError
        When it is on the hub and not in the cache.
    """
    text = os.fspath(reference)
    entry = None
    if not text.startswith((BUNDLED, HUB)) and not Path(text).exists():
        entry = find_listed(text)
        text = entry.listed_as if entry else text
    hub_reference = HubReference.parse(text) if text.startswith(HUB) else None
    if hub_reference:
        entry = find_published(hub_reference)
    verified = entry.verified if entry else None
    if entry and (hub_reference is None or cached_model(hub_reference) is None):
        facts = {key: dataclasses.asdict(entry)[key] for key in ("name", "kind", "license", "citation", "importer")}
        missing = dict.fromkeys(("revision", "path", "manifest", "card", "size"))
        state = {"verified": verified, "problem": entry.problem}
        return {"reference": text, "where": "published", **facts, **missing, **state}
    folder = resolve(text, offline=True)
    folder.verify()
    return {
        "reference": folder.reference,
        "where": _where(folder),
        "revision": folder.revision,
        "path": folder.path,
        "manifest": folder.manifest,
        "card": folder.card,
        "size": folder.size,
        "license": folder.about.license or None,
        "citation": list(folder.about.citation),
        "verified": verified,
        "problem": None,
    }


def download(reference: str, progress: Progress = SILENT) -> ModelFolder:
    """Bring the newest commit of a hub model into the cache.

    Raises
    ------
    InputError, NeuroGenError, Cancelled
        As :func:`~NeuroGenLib.models.hub.download_model`; also when the reference is not one of the hub.
    """
    if not reference.startswith(HUB):
        raise InputError(
            f"'{reference}' is not on the hub, there is nothing to download.",
            "Write hf:org/repo.",
            code="value-invalid",
        )
    parsed = HubReference.parse(reference)
    entry = find_published(parsed)
    return import_published(entry, parsed, progress) if entry else download_model(parsed, progress)


def import_model(
    system: str, checkpoint: str | os.PathLike[str], destination: str | os.PathLike[str], **options: Any
) -> ModelFolder:
    """Make a model folder from another program's checkpoint.

    Parameters
    ----------
    system:
        The program that wrote it, a key of :data:`IMPORTERS`.
    checkpoint:
        Its file.
    destination:
        The folder to make.
    options:
        Handed to the importer.

    Raises
    ------
    InputError
        When the program is not known or the file cannot be used.
    """
    if system not in IMPORTERS:
        raise InputError(
            f"NeuroGen cannot import checkpoints of '{system}'.", nearest(system, IMPORTERS), code="name-unknown"
        )
    load_object(IMPORTERS[system])(existing_file(checkpoint), Path(destination), **options)
    return ModelFolder.read(destination)


def _cached() -> Iterator[tuple[HubReference, str]]:
    for store, where in ((DOWNLOADED, "downloaded"), (IMPORTED, "imported")):
        folder = models_folder() / store
        for item in sorted(folder.iterdir()) if folder.is_dir() else ():
            if item.is_dir() and "@" in item.name:
                yield HubReference.from_folder_name(item.name), where


def _where(folder: ModelFolder) -> str:
    if folder.reference.startswith(BUNDLED):
        return "bundled"
    if folder.reference.startswith(HUB):
        return "imported" if folder.path.parent.name == IMPORTED else "downloaded"
    return "folder"


def _row(reference: str, where: str) -> dict[str, Any]:
    facts: dict[str, Any] = dict.fromkeys(("name", "kind", "license", "revision", "size", "problem"))
    try:
        folder = resolve(reference, offline=True)
    except NeuroGenError as error:
        facts["problem"] = error.problem
    else:
        facts |= {key: folder.manifest.get(key) for key in ("name", "kind", "license")}
        facts |= {"revision": folder.revision, "size": folder.size}
    return {"reference": reference, "where": where, **facts}


def _published_row(entry: Published) -> dict[str, Any]:
    sizes = [file.get("size") for file in entry.files]
    return {
        "reference": entry.listed_as,
        "where": "published",
        "name": entry.name,
        "kind": entry.kind,
        "license": entry.license,
        "revision": entry.revision,
        "size": sum(sizes) if sizes and None not in sizes else None,
        "problem": entry.problem,
    }
