"""Slice thickness as the scanner recorded it; the header of an image holds only the distance of slices."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from NeuroGenLib.cohort.sidecars import read_sidecar
from NeuroGenLib.spatial.files.dicom import slice_thickness
from NeuroGenLib.spatial.files.formats import NIFTI_SUFFIXES
from NeuroGenLib.spatial.files.reading import reading

if TYPE_CHECKING:
    import os

    from NeuroGenLib.superres.run_config import SuperresConfig

UNKNOWN = 0.0
THICKEST_MM = 1000.0
"""Larger values are not taken for a thickness."""
_FIELD = "SliceThickness"
"""In the JSON file beside a NIfTI file, by BIDS."""
_IMPLAUSIBLE = 4.0
"""Factor between thickness and distance of slices from which on a record is implausible."""


def recorded_thickness(path: str | os.PathLike[str]) -> float:
    """Return the thickness of slices in mm that is recorded with a scan, :data:`UNKNOWN` (0) where none is.

    Parameters
    ----------
    path:
        A NIfTI file, beside or above which may lie JSON files, as BIDS has them; a DICOM file; or a folder with a DICOM
        series. A file that cannot be read counts as one without a record, a JSON file with a warning.

    Examples
    --------
    >>> recorded_thickness("no-such-scan.nii.gz")
    0.0
    """
    path = Path(path)
    try:
        text = _of_file(path)
        value = float(text) if isinstance(text, int | float | str) and not isinstance(text, bool) else UNKNOWN
    except (OSError, RuntimeError, ValueError):
        return UNKNOWN
    return value if math.isfinite(value) and 0 < value <= THICKEST_MM else UNKNOWN


def plausible_thickness(
    settings: SuperresConfig, number: int, distance: float, name: str
) -> tuple[float | None, list[str]]:
    """Return the thickness of a scan's slices, in mm, None where nothing tells it from their distance; and warnings.

    Parameters
    ----------
    settings:
        A thickness or a gap that is given goes before what is recorded.
    number, distance, name:
        Which scan, from 0; from slice to slice in mm; how messages call the scan.

    Returns
    -------
    tuple
        The thickness, and a warning when a record is implausible.
    """
    if settings.thickness is not None or settings.gap is not None or number >= len(settings.recorded):
        return settings.thickness, []
    recorded = settings.recorded[number]
    if recorded == UNKNOWN:
        return None, []
    if not distance / _IMPLAUSIBLE <= recorded <= distance * _IMPLAUSIBLE:
        return None, [
            f"{name} is recorded with slices of {recorded:g} mm, and they are {distance:.3g} mm apart: the record is"
            " implausible and not used. Give the thickness if it is right."
        ]
    return recorded, []


def _of_file(path: Path) -> object:
    suffix = next((suffix for suffix in NIFTI_SUFFIXES if path.name.endswith(suffix)), None)
    if suffix is None:
        return slice_thickness(path, reading().series) or UNKNOWN
    return read_sidecar(path, suffix).get(_FIELD, UNKNOWN)
