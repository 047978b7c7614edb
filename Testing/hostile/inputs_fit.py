"""Bad scans, masks and settings for fitting an atlas; see :mod:`Testing.hostile.inputs`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from Testing.hostile.inputs import hostile, values
from Testing.hostile.workspace import rewrite, voxels

if TYPE_CHECKING:
    from pathlib import Path

    from Testing.hostile.workspace import Workspace


@hostile("scan", says="no-such-scan.nii.gz")
def a_scan_that_is_not_there(made: Workspace) -> Path:
    return made.folder / "no-such-scan.nii.gz"


@hostile("scan", says="sub-02_T2w.nii.gz")
def a_scan_that_is_truncated(made: Workspace) -> None:
    made.image().write_bytes(made.image().read_bytes()[:2000])


@hostile("scan", says=("T2w", "NaN"))
def a_scan_with_nan(made: Workspace) -> None:
    image = voxels(made.image()).copy()
    image[3, 4, 5] = np.nan
    rewrite(made.image(), image)


@hostile("scan", says="has no image 'T1w'")
def a_scan_of_another_image(made: Workspace) -> str:
    return f"T1w={made.image()}"


@hostile("mask", says="mask")
def a_mask_that_is_empty(made: Workspace) -> None:
    path = made.image(column="Seg")
    rewrite(path, np.zeros_like(voxels(path)))


@hostile("mask", says=("mask", "same space"))
def a_mask_on_another_grid(made: Workspace) -> None:
    path = made.image(column="Seg")
    rewrite(path, voxels(path)[:-1])


@hostile("mask", says=("The mask holds", "ml"))
def a_mask_of_a_single_voxel(made: Workspace) -> None:
    path = made.image(column="Seg")
    one = np.zeros_like(voxels(path))
    one[5, 5, 5] = 1
    rewrite(path, one)


values("steps", ("0", "'0'"), ("many", "'many'"), ("-3", "'-3'"))
values(
    "known", ("lv_volume_normed=0.12,0.14", "lv_volume_normed"), ("sexx=F", "sexx"), ("lv_volume_normed", "NAME=VALUE")
)
