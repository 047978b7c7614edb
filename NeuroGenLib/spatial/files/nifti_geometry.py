"""Affine of a NIfTI header: sform or qform, in mm, with a warning where the file contradicts itself."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np

from NeuroGenLib.core.errors import InputError
from NeuroGenLib.spatial.array_geometry import corner_gap
from NeuroGenLib.spatial.files.reading import reading

if TYPE_CHECKING:
    from pathlib import Path

log = logging.getLogger(__name__)

APART_VOXELS = 0.1
"""Distance of two geometries of one file, in voxels, from which on a person must know which one was used: header
rounding (float32, quaternions) stays below a thousandth."""
_MM = {1: 1000.0, 2: 1.0, 3: 0.001}
"""Millimetres in NIfTI's units of length: metre, millimetre, micron. Files without a unit are in mm."""
_QUATERNION_TOLERANCE = 0.01
"""How much longer than 1 a rounded unit quaternion may be: two digits are enough to say which one it is."""


def affine_of(header: Any, path: Path) -> np.ndarray:
    """Return the affine of nibabel's header, voxel indices i, j, k to RAS mm.

    The sform counts where its code is above 0 and the reading options do not choose the qform.

    Raises
    ------
    InputError
        When neither is usable.
    """
    shape = [*header.get_data_shape(), 1, 1][:3]
    scale = _MM.get(int(header["xyzt_units"]) & 7, 1.0)
    forms: dict[str, np.ndarray] = {}
    if header["sform_code"] > 0:
        forms["sform"] = _scaled(header.get_sform(), scale)
    if header["qform_code"] > 0:
        forms["qform"] = _scaled(_qform(header, path, alone=not forms), scale)
    if not forms:
        log.warning("%s has neither an sform nor a qform: its position and its left and right are a guess.", path)
        return _scaled(header.get_base_affine(), scale)
    usable = [name for name, form in forms.items() if _is_usable(form)]
    if not usable:
        return next(iter(forms.values()))  # what is wrong with it, the volume says
    if len(forms) == 1:
        return forms[usable[0]]
    if len(usable) == 1:
        unusable = next(name for name in forms if name not in usable)
        log.warning("The %s of %s is not a map of space: its %s was used.", unusable, path, usable[0])
        return forms[usable[0]]
    choice = "qform" if reading().geometry == "qform" else "sform"
    gap = corner_gap(shape, forms["sform"], forms["qform"])
    if gap > APART_VOXELS * np.linalg.norm(forms[choice][:3, :3], axis=0).min():
        log.warning(
            "The sform and the qform of %s place it up to %.3g mm apart: the %s was used (choose with --geometry).",
            path,
            gap,
            choice,
        )
    return forms[choice]


def _scaled(affine: np.ndarray, scale: float) -> np.ndarray:
    return np.diag([scale, scale, scale, 1.0]) @ np.asarray(affine, dtype=np.float64)


def _is_usable(affine: np.ndarray) -> bool:
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    return bool(np.isfinite(affine).all() and lengths.all() and abs(np.linalg.det(affine[:3, :3] / lengths)) > 1e-6)


def _qform(header: Any, path: Path, *, alone: bool) -> np.ndarray:
    """Return the qform; its quaternion is brought to unit length where rounding has lengthened it."""
    bcd = np.array([header[f"quatern_{axis}"] for axis in "bcd"], dtype=np.float64)
    length = float(np.linalg.norm(bcd))
    if not length <= 1 + _QUATERNION_TOLERANCE:
        if not alone:
            return np.full((4, 4), np.nan)
        raise InputError(
            f"The quaternion of the qform of {path} has length {length:.3g}, which no rotation has.",
            "Repair the header, or export the image again from its source.",
            code="geometry-invalid",
        )
    b, c, d = bcd / max(length, 1.0)
    a = np.sqrt(max(0.0, 1 - b * b - c * c - d * d))
    rotation = np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
        ]
    )
    widths = np.array(header["pixdim"][1:4], dtype=np.float64)
    widths[2] *= -1 if header["pixdim"][0] < 0 else 1
    affine = np.eye(4)
    affine[:3, :3] = rotation * widths
    affine[:3, 3] = [header[f"qoffset_{axis}"] for axis in "xyz"]
    return affine
