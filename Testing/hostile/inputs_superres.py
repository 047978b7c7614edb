"""Bad inputs of `neurogen superres simulate`: scans, and how thick slices are asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from Testing.hostile.inputs import hostile, values
from Testing.hostile.workspace import rewrite, voxels

if TYPE_CHECKING:
    from pathlib import Path

    from Testing.hostile.workspace import Workspace


@hostile("thin_scan", says="no-such-scan.nii.gz")
def a_thin_scan_that_is_not_there(made: Workspace) -> Path:
    return made.folder / "no-such-scan.nii.gz"


@hostile("thin_scan", says="model")
def a_thin_scan_that_is_a_folder_without_dicom(made: Workspace) -> Path:
    return made.model


@hostile("thin_scan", says="sub-02_T2w.nii.gz")
def a_thin_scan_that_is_truncated(made: Workspace) -> None:
    path = made.image()
    path.write_bytes(path.read_bytes()[:1500])


@hostile("thin_scan", says=("sub-02_T2w.nii.gz", "NaN"))
def a_thin_scan_with_nan(made: Workspace) -> None:
    array = voxels(made.image()).astype(np.float32)
    array[2, 3, 4] = np.nan
    rewrite(made.image(), array)


@hostile("thin_scan", says=("sub-02_T2w.nii.gz", "2 channels"))
def a_thin_scan_with_time_points(made: Workspace) -> None:
    rewrite(made.image(), np.stack([voxels(made.image())] * 2, axis=-1))


@hostile("thin_scan", says=("sub-02_T2w.nii.gz", "same value"))
def a_thin_scan_without_contrast(made: Workspace) -> None:
    rewrite(made.image(), np.full_like(voxels(made.image()), 5))


values(
    "slice_thickness",
    ("0", "'thickness' is 0"),
    ("-4", "'thickness' is -4"),
    ("nan", "nan"),
    ("thick", "'thick'"),
    ("2", "Slices of 2 mm are thinner"),
    ("1000", "1002 mm apart"),
)
values("slice_gap", ("-1", "'gap' is -1"), ("wide", "'wide'"), ("inf", "inf"))
values("slice_offset", ("inf", "inf"), ("some", "'some'"))
values("slice_noise", ("-0.1", "'noise' is -0.1"), ("loud", "'loud'"))
values("slice_seed", ("-1", "'seed' is -1"), ("1.5", "1.5"))
values("slice_spacing", ("0", "'spacing' is 0"), ("1", "A voxel size of 1 mm"), ("fine", "'fine'"))
values("slice_factor", ("1", "'factor' is 1"), ("2.5", "2.5"), ("1000", "every 1000th"))
values("slice_start", ("-1", "'start' is -1"), ("5000", "slice 5000"))
values("slice_way", ("--thickness=4", "'factor'"), ("--referense", "--referense"))
