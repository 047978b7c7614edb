"""What the commands of super-resolution share: how slices are described, and how scans are read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from NeuroGenLib.commands.options import number, whole_number
from NeuroGenLib.core.errors import InputError
from NeuroGenLib.spatial.volume import Volume, require_3d, require_finite
from NeuroGenLib.superres.run_config import SuperresConfig

if TYPE_CHECKING:
    from pathlib import Path

    from NeuroGenLib.core.arguments import ArgumentParser


def add_slice_options(parser: ArgumentParser) -> None:
    """Add what says how thick slices are and what becomes of them."""
    parser.add_argument(
        "--spacing", metavar="MM", help="voxel size of the result (default: that within slices, 0.8 to 1 mm)"
    )
    parser.add_argument(
        "--thickness",
        metavar="MM",
        help="of the slices (default: as DICOM or the BIDS file beside the scan has it, else their distance)",
    )
    parser.add_argument(
        "--gap",
        metavar="MM",
        help="between slices, below 0 where they overlap (default: what thickness and header leave)",
    )
    parser.add_argument(
        "--direction",
        choices=("axial", "coronal", "sagittal"),
        help="of the slices of a single scan (default: that of the largest distance)",
    )
    parser.add_argument(
        "--profile", choices=("gaussian", "box"), default="gaussian", help="of a slice (default: gaussian)"
    )
    parser.add_argument("--no-align", action="store_true", help="trust the headers: register nothing")
    parser.add_argument(
        "--back-projection",
        default="1",
        metavar="N",
        help="how often the result is corrected by what it does not reproduce of the slices (default: 1)",
    )


def settings_of(options: Any, *, reference: bool = False) -> SuperresConfig:
    """Return the settings that options ask for.

    Raises
    ------
    InputError
        When one makes no sense, naming it.
    """

    def length(text: str | None, what: str, *, positive: bool = True) -> float | None:
        return None if text is None else number(text, what, positive=positive)

    return SuperresConfig(
        spacing=length(options.spacing, "a spacing in mm"),
        thickness=length(options.thickness, "a slice thickness in mm"),
        gap=length(options.gap, "a gap in mm", positive=False),
        direction=options.direction,
        profile=options.profile,
        align=not options.no_align,
        back_projection=whole_number(options.back_projection, "a number of corrections"),
        reference=reference,
    )


def read_scan(path: Path) -> Volume:
    """Read a scan and make sure that it is one.

    Raises
    ------
    InputError
        When the file is missing or damaged, or the scan has channels, NaN or infinite voxels or no contrast.
    """
    scan = Volume.load(path)
    require_3d(scan, str(path))
    require_finite(scan, str(path))
    if scan.array.min() == scan.array.max():
        raise InputError(f"{path} has the same value everywhere.", "Check that it is the right file.")
    return scan
