"""Models that the panels offer: bundled, downloaded, and folders that the person added."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

SETTING = "NeuroGen/modelFolders"
ACKNOWLEDGED = "NeuroGen/acknowledgedLicences"

ABSENT = "absent"
"""``where`` of a model that a scene names and this computer does not have."""

PERMISSIVE = {"apache-2.0", "mit", "bsd-2-clause", "bsd-3-clause", "cc0-1.0", "cc-by-4.0", "unlicense", "isc"}
"""Licences that ask for no more than a mention; others are shown before the first use."""


def model_rows() -> list[dict[str, Any]]:
    """Return every model as :func:`NeuroGenLib.models.catalogue.list_models` does, with the added folders."""
    from NeuroGenLib.core.errors import NeuroGenError
    from NeuroGenLib.models import ModelFolder
    from NeuroGenLib.models.catalogue import list_models

    rows = list_models(published=find_spec("yaml") is not None)
    for path in model_folders():
        row: dict[str, Any] = {"reference": path, "where": "folder", "name": Path(path).name, "problem": None}
        row |= dict.fromkeys(("kind", "license", "revision", "size"))
        try:
            folder = ModelFolder.read(path, verify=False)  # checksums are compared when the model is opened
        except NeuroGenError as error:
            row["problem"] = error.problem
        else:
            row |= {key: folder.manifest.get(key) for key in ("name", "kind", "license")} | {"size": folder.size}
        rows.append(row)
    return rows


def usable_models(kind: str) -> list[dict[str, Any]]:
    """Return the rows of those models of a kind that are here and can be opened."""
    return [row for row in model_rows() if row["kind"] == kind and not row["problem"] and row["where"] != "published"]


def model_folders() -> list[str]:
    """Return the folders that the person added."""
    return _texts(SETTING)


def add_model_folder(path: str) -> str:
    """Remember a folder by its full path, which is returned.

    Raises
    ------
    InputError
        When it is not a model.
    """
    from NeuroGenLib.models import resolve

    folder = os.path.abspath(path.strip())  # noqa: PTH100 (resolve() would follow links and mapped drives)
    resolve(folder, offline=True)
    _keep(SETTING, [*(known for known in model_folders() if known != folder), folder])
    return folder


def remove_model_folder(path: str) -> None:
    """Forget a folder; nothing is deleted."""
    _keep(SETTING, [known for known in model_folders() if known != path])


def is_acknowledged(row: dict[str, Any]) -> bool:
    """Return whether a model may be used: its licence is permissive, or the person has accepted it before.

    A model that is not on this computer has nothing to accept: opening it says that it is missing.
    """
    if row["where"] == ABSENT:
        return True
    return (row["license"] or "").lower() in PERMISSIVE or _key(row) in _texts(ACKNOWLEDGED)


def acknowledge(row: dict[str, Any] | None) -> bool:
    """Return whether the chosen model may be used; a licence that is not permissive is shown, and accepted or not."""
    if row is None:
        return False
    if is_acknowledged(row):
        return True
    question = (
        f"The model '{row['name']}' has the licence '{row['license'] or 'unknown'}', which may not allow every use."
        " Read it in the model's card (module NeuroGen). Do you want to use the model and keep to its licence?"
    )
    if not slicer.util.confirmYesNoDisplay(question, "NeuroGen: licence"):
        return False
    _keep(ACKNOWLEDGED, [*_texts(ACKNOWLEDGED), _key(row)])
    return True


def model_notice(row: dict[str, Any] | None) -> tuple[str, dict[str, Any]]:
    """Return what a panel says of the chosen model, and its manifest; an empty one where it cannot be read.

    Parameters
    ----------
    row:
        As :func:`model_rows` returns it; None when none is chosen.
    """
    from NeuroGenLib.core.errors import NeuroGenError
    from NeuroGenLib.models import resolve

    if row is None:
        return _("Choose a model."), {}
    if row["where"] == ABSENT:
        absent = _("The model {name} is not on this computer: add it with More ...")
        return absent.format(name=row["reference"]), {}
    try:
        manifest = resolve(row["reference"], offline=True).manifest
    except NeuroGenError as error:
        return str(error), {}
    return f"{manifest.get('description') or ''} {manifest.get('notice') or ''}".strip(), manifest


def _key(row: dict[str, Any]) -> str:
    return f"{row['reference']} {row['license']}"


def _texts(setting: str) -> list[str]:
    value = slicer.app.userSettings().value(setting)
    if not value:
        return []
    return [value] if isinstance(value, str) else [str(entry) for entry in value]


def _keep(setting: str, texts: list[str]) -> None:
    slicer.app.userSettings().setValue(setting, texts)
