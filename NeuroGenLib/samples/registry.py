"""The registry of sample data, ``Resources/samples.yaml``, whose head says what the fields are."""

from __future__ import annotations

import functools
import math
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from NeuroGenLib.core.errors import InputError, nearest
from NeuroGenLib.core.provenance import RECORD
from NeuroGenLib.core.resources import resource
from NeuroGenLib.models.reference import HubReference, models_folder
from NeuroGenLib.samples.archive import require_safe_names

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

DRAWN = "drawn"
ZENODO = "zenodo"
HUB = "hub"

_FIELDS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    DRAWN: (
        ("name", "kind", "title", "description", "licence", "model", "age", "spacing"),
        ("conditions", "stored", "guide"),
    ),
    ZENODO: (("name", "kind", "title", "description", "record", "next"), ()),
    HUB: (("name", "kind", "title", "description", "reference", "files", "next"), ()),
}
"""For each kind the fields that an entry needs, and those that it may have."""

_NO_TEXTS = ("age", "spacing", "files")
_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


@dataclass(frozen=True)
class Storage:
    """How a scanner stores a head that stays where it is in the world.

    Attributes
    ----------
    spacing:
        Voxel size in mm along the x, y, z of the tilted slices.
    tilt:
        Rotation vector of the slices in degrees, about world x, y, z.
    axcodes:
        Where i, j, k grow to, such as ``"LAS"``.
    thickness:
        Full width at half maximum, in mm, of what a slice across z measures; None where slices are thin.
    """

    spacing: tuple[float, float, float]
    tilt: tuple[float, float, float]
    axcodes: str
    thickness: float | None = None


@dataclass(frozen=True)
class Sample:
    """One entry of the registry.

    Attributes
    ----------
    name, title, description:
        What it is asked for by; a phrase; what it is good for.
    kind:
        ``"drawn"`` by a bundled model, or downloaded: ``"zenodo"``, ``"hub"``.
    licence:
        SPDX identifier of a drawn sample; None for what is downloaded, which says its own.
    model, age, conditions, spacing:
        What draws it; age in the model's unit, conditions in table units, voxel size in mm.
    stored:
        How it is stored; None as it is drawn.
    guide:
        Whether an isotropic image of another contrast comes along.
    record:
        Number of a record on Zenodo.
    reference, files:
        Repository on the hub, ``hf:org/repo[@revision]``, and which of its files are the sample.
    next:
        What to do with files that were downloaded.
    """

    name: str
    kind: str
    title: str
    description: str
    licence: str | None = None
    model: str = ""
    age: float = math.nan
    conditions: dict[str, Any] = field(default_factory=dict)
    spacing: float = math.nan
    stored: Storage | None = None
    guide: bool = False
    record: str = ""
    reference: str = ""
    files: tuple[str, ...] = ()
    next: str = ""


@functools.cache
def list_samples(path: Path | None = None) -> tuple[Sample, ...]:
    """Read the registry, by default the one that travels with NeuroGen.

    Raises
    ------
    InputError
        When it is not readable, or an entry lacks a field, has one too many or an invalid value.
    """
    import yaml

    path = path or resource("samples.yaml")
    try:
        entries = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise InputError(
            f"{path} is not readable as YAML ({error}).", "Install NeuroGen again.", code="installation-damaged"
        ) from error
    if not isinstance(entries, list):
        raise InputError(f"{path} is not a list of samples.", "Install NeuroGen again.", code="installation-damaged")
    samples = tuple(_sample(entry, f"entry {number} of {path}") for number, entry in enumerate(entries, start=1))
    names = [sample.name for sample in samples]
    for name in names:
        if names.count(name) > 1:
            raise InputError(
                f"The sample '{name}' is twice in {path}.", "Give one of them another name.", code="value-duplicate"
            )
    return samples


def find_sample(name: str) -> Sample:
    """Return the sample of a name.

    Raises
    ------
    InputError
        When there is none; the nearest name is given.
    """
    samples = {sample.name: sample for sample in list_samples()}
    if name not in samples:
        raise InputError(f"There is no sample '{name}'.", nearest(name, samples), code="name-unknown")
    return samples[name]


def samples_folder() -> Path:
    """Return the folder in the cache where downloads go on, and where Slicer keeps samples (it may not exist yet)."""
    return models_folder() / "samples"


def _sample(entry: Any, where: str) -> Sample:
    if not isinstance(entry, dict) or entry.get("kind") not in _FIELDS:
        raise InputError(
            f"The {where} has no known kind.", f"Write one of: {', '.join(_FIELDS)}.", code="value-invalid"
        )
    needed, allowed = _FIELDS[entry["kind"]]
    _require_fields(entry, needed, allowed, where)
    facts: dict[str, Any] = {key: _text(entry, key, where) for key in needed if key not in _NO_TEXTS}
    if not _NAME.fullmatch(facts["name"]):
        raise InputError(
            f"The name '{facts['name']}' in {where} cannot be used.",
            "Write small letters, digits and -.",
            code="value-invalid",
        )
    if entry["kind"] == ZENODO:
        if not facts["record"].isdecimal():
            raise InputError(
                f"'{facts['record']}' in {where} is not the number of a record.",
                "Write its digits.",
                code="value-invalid",
            )
        return Sample(**facts)
    if entry["kind"] == HUB:
        if HubReference.parse(facts["reference"]).subfolder:
            raise InputError(
                f"'{facts['reference']}' in {where} names a folder.",
                "Write hf:org/repo, and the folder before the files.",
                code="value-invalid",
            )
        return Sample(**facts, files=_file_names(entry, where))
    conditions = entry.get("conditions", {})
    if not isinstance(conditions, dict):
        raise InputError(
            f"The conditions in {where} are not values by name.", "Write NAME: VALUE.", code="value-invalid"
        )
    age = _numbers(entry, "age", where, 1)[0]
    spacing = _numbers(entry, "spacing", where, 1, positive=True)[0]
    stored = _storage(entry["stored"], f"'stored' in {where}") if "stored" in entry else None
    guide = entry.get("guide", False)
    if not isinstance(guide, bool):
        raise InputError(
            f"'guide' in {where} is neither true nor false.", "Correct it, or leave it out.", code="value-invalid"
        )
    return Sample(**facts, age=age, spacing=spacing, conditions=conditions, stored=stored, guide=guide)


def _storage(entry: Any, where: str) -> Storage:
    if not isinstance(entry, dict):
        raise InputError(
            f"The {where} is not a set of fields.", "Write spacing, tilt and axcodes.", code="value-invalid"
        )
    _require_fields(entry, ("spacing", "tilt", "axcodes"), ("thickness",), where)
    x, y, z = _numbers(entry, "spacing", where, 3, positive=True)
    about_x, about_y, about_z = _numbers(entry, "tilt", where, 3)
    thickness = _numbers(entry, "thickness", where, 1, positive=True)[0] if "thickness" in entry else None
    return Storage((x, y, z), (about_x, about_y, about_z), _text(entry, "axcodes", where), thickness)


def _require_fields(entry: Mapping[str, Any], needed: tuple[str, ...], allowed: tuple[str, ...], where: str) -> None:
    for key in needed:
        if key not in entry:
            raise InputError(
                f"The {where} lacks '{key}'.", f"Add it; needed are {', '.join(needed)}.", code="value-missing"
            )
    for key in entry:
        if key not in (*needed, *allowed):
            raise InputError(
                f"The {where} has an unknown field '{key}'.",
                nearest(str(key), (*needed, *allowed)),
                code="name-unknown",
            )


def _text(entry: Mapping[str, Any], key: str, where: str) -> str:
    value = entry[key]
    if not isinstance(value, str) or not value.strip():
        raise InputError(f"'{key}' in {where} is not a text.", "Put it into quotes.", code="value-invalid")
    return value


def _file_names(entry: Mapping[str, Any], where: str) -> tuple[str, ...]:
    names = entry["files"]
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise InputError(f"'files' in {where} is not a list of names.", "Write [NAME, ...].", code="value-invalid")
    require_safe_names([RECORD, *names], where)
    return tuple(names)


def _numbers(
    entry: Mapping[str, Any], key: str, where: str, count: int, *, positive: bool = False
) -> tuple[float, ...]:
    values = entry[key] if isinstance(entry[key], list) else [entry[key]]
    numeric = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    if len(values) != count or not numeric or not all(math.isfinite(value) for value in values):
        raise InputError(f"'{key}' in {where} is not {count} number(s).", "Correct it.", code="value-invalid")
    if positive and min(values) <= 0:
        raise InputError(f"'{key}' in {where} is not above zero.", "Give mm.", code="value-invalid")
    return tuple(float(value) for value in values)
