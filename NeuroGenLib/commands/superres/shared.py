"""Reading of scans for the commands of super-resolution."""

from __future__ import annotations

from typing import TYPE_CHECKING

from NeuroGenLib.core.errors import InputError
from NeuroGenLib.spatial.volume import Volume, require_3d, require_finite

if TYPE_CHECKING:
    from pathlib import Path


def read_scan(path: Path) -> Volume:
    """Read a 3-D scan.

    Raises
    ------
    InputError
        When the file is missing or damaged, or the scan has channels, NaN or infinite voxels or no contrast.
    """
    scan = Volume.load(path)
    require_3d(scan, str(path))
    require_finite(scan, str(path))
    if scan.array.min() == scan.array.max():
        raise InputError(
            f"{path} has the same value everywhere.", "Check that it is the right file.", code="image-empty"
        )
    return scan
