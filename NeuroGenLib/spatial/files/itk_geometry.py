"""What the headers of NRRD and MetaImage files leave out of their geometry, which ITK fills in silently."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

log = logging.getLogger(__name__)

_LONGEST_HEADER = 2**16
"""Bytes: longer ones hold comments of other programs behind their geometry."""
_PATIENT_SPACES = ("right-anterior-superior", "left-anterior-superior", "left-posterior-superior", "ras", "las", "lps")
_META_SPACING = ("elementspacing", "elementsize")
_META_DIRECTION = ("transformmatrix", "rotation", "orientation")
_META_ORIGIN = ("offset", "position", "origin")


def warn_of_missing_geometry(path: Path) -> None:
    """Log what the header does not say: orientation, voxel sizes or position.

    Parameters
    ----------
    path:
        A NRRD or MetaImage file that ITK reads.
    """
    is_nrrd = path.name.lower().endswith((".nrrd", ".nhdr"))
    fields = _fields(path, ":" if is_nrrd else "=")
    missing = _missing_of_nrrd(fields) if is_nrrd else _missing_of_metaimage(fields)
    if missing:
        log.warning("%s does not state %s: %s.", path, " and ".join(missing), " and ".join(missing.values()))


def _fields(path: Path, separator: str) -> dict[str, str]:
    """Return the fields of a text header by name in lower case, up to the empty line or the name of the data."""
    with path.open("rb") as file:
        lines = file.read(_LONGEST_HEADER).decode("latin-1").splitlines()
    fields: dict[str, str] = {}
    for line in lines:
        name, found, value = line.partition(separator)
        if found:
            fields[name.strip().lower()] = value.strip().lower()
        if not line.strip() or name.strip().lower() == "elementdatafile":
            break
    return fields


def _missing_of_nrrd(fields: dict[str, str]) -> dict[str, str]:
    """Return what is missing, with what is assumed instead."""
    missing = {}
    if not fields.get("space", "").removesuffix("-time").startswith(_PATIENT_SPACES):
        missing["the patient's left, posterior and superior"] = "its axes were taken as LPS"
    if "space directions" not in fields and "spacings" not in fields:
        missing["voxel sizes"] = "1 mm was assumed"
    if "space origin" not in fields:
        missing["a position"] = "its first voxel was put at 0, 0, 0"
    return missing


def _missing_of_metaimage(fields: dict[str, str]) -> dict[str, str]:
    missing = {}
    if not any(name in fields for name in _META_DIRECTION):
        missing["directions"] = "its axes were taken as LPS"
    if not any(name in fields for name in _META_SPACING):
        missing["voxel sizes"] = "1 mm was assumed"
    if not any(name in fields for name in _META_ORIGIN):
        missing["a position"] = "its first voxel was put at 0, 0, 0"
    return missing
