"""Bad scans, masks, label maps and settings for fitting and evaluating an atlas; see :mod:`Testing.hostile.inputs`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import nibabel
import numpy as np

from Testing.hostile.inputs import hostile, values
from Testing.hostile.workspace import rewrite, voxels

if TYPE_CHECKING:
    from pathlib import Path

    from Testing.hostile.workspace import Workspace


def spoilt(path: Path, value: float) -> None:
    """Set one voxel of the brain."""
    image = voxels(path).astype(np.float32)
    image[8, 9, 7] = value
    rewrite(path, image)


def shifted(path: Path) -> None:
    """Move an image by half a voxel, as a resampled copy may lie."""
    affine = nibabel.load(path).affine.copy()
    affine[:3, 3] += 2.5
    rewrite(path, voxels(path), affine)


# The scan


@hostile("scan", "brain", says="no-such-scan.nii.gz")
def a_scan_that_is_not_there(made: Workspace) -> Path:
    return made.folder / "no-such-scan.nii.gz"


@hostile("scan", says="sub-02_T2w.nii.gz")
def a_scan_that_is_truncated(made: Workspace) -> None:
    made.image().write_bytes(made.image().read_bytes()[:2000])


@hostile("brain", says="brain.nii.gz")
def a_scan_that_is_text(made: Workspace) -> None:
    made.brain.write_text("<!DOCTYPE html><title>Sign in</title>", encoding="utf-8")


@hostile("brain", says="participants.tsv")
def a_scan_that_is_a_table(made: Workspace) -> Path:
    return made.table


@hostile("brain", says="cohort")
def a_scan_that_is_a_folder_without_dicom(made: Workspace) -> Path:
    return made.table.parent


@hostile("brain", says=("T2w", "3-D"))
def a_scan_with_time_points(made: Workspace) -> None:
    rewrite(made.brain, np.stack([voxels(made.brain)] * 3, axis=-1))


@hostile("scan", says=("T2w", "NaN"))
def a_scan_with_nan(made: Workspace) -> None:
    spoilt(made.image(), np.nan)


@hostile("brain", says=("T2w", "infinite"))
def a_scan_with_an_infinite_voxel(made: Workspace) -> None:
    spoilt(made.brain, np.inf)


@hostile("brain", says="zero everywhere")
def a_scan_that_is_zero(made: Workspace) -> None:
    rewrite(made.brain, np.zeros_like(voxels(made.brain)))


@hostile("scan", says=("T2w", "constant in the brain"))
def a_scan_that_is_constant(made: Workspace) -> None:
    rewrite(made.image(), np.full_like(voxels(made.image()), 7))


@hostile("brain", says=("no background", "--mask"))
def a_scan_of_a_whole_head_without_a_mask(made: Workspace) -> Path:
    return made.image()


@hostile("scan", says="has no image 'T1w'")
def a_scan_of_another_image(made: Workspace) -> str:
    return f"T1w={made.image()}"


@hostile("scan", "brain", says="The T2w is given twice")
def two_scans_without_names(made: Workspace) -> tuple[Path, Path]:
    return made.image(), made.image("sub-03")


@hostile("scan", says="names no file")
def a_scan_without_a_file(_made: Workspace) -> str:
    return "T2w="


# Where its brain is, and what it is made of


@hostile("mask", "label_map", says="no-such-mask.nii.gz")
def a_mask_that_is_not_there(made: Workspace) -> Path:
    return made.folder / "no-such-mask.nii.gz"


@hostile("mask", says="The mask is empty")
def a_mask_that_is_empty(made: Workspace) -> None:
    path = made.image(column="Seg")
    rewrite(path, np.zeros_like(voxels(path)))


@hostile("mask", says=("mask", "same space"))
def a_mask_on_another_grid(made: Workspace) -> None:
    path = made.image(column="Seg")
    rewrite(path, voxels(path)[:-1])


@hostile("mask", says=("mask", "same space"))
def a_mask_at_another_place(made: Workspace) -> None:
    shifted(made.image(column="Seg"))


@hostile("mask", says=("The mask holds", "ml"))
def a_mask_of_a_single_voxel(made: Workspace) -> None:
    path = made.image(column="Seg")
    one = np.zeros_like(voxels(path))
    one[5, 5, 5] = 1
    rewrite(path, one)


@hostile("mask", says=("The mask holds", "ml"))
def a_mask_of_the_whole_field_of_view(made: Workspace) -> None:
    path = made.image(column="Seg")
    rewrite(path, np.ones_like(voxels(path)))


@hostile("mask", says=("The mask", "NaN"))
def a_mask_with_nan(made: Workspace) -> None:
    spoilt(made.image(column="Seg"), np.nan)


@hostile("label_map", says="The label map is empty")
def a_label_map_that_is_empty(made: Workspace) -> None:
    path = made.image(column="Seg")
    rewrite(path, np.zeros_like(voxels(path)))


@hostile("label_map", says=("The label map", "77", "atlas info"))
def a_label_map_after_another_table(made: Workspace) -> None:
    path = made.image(column="Seg")
    rewrite(path, np.where(voxels(path) == 1, 77, voxels(path)).astype(np.uint8))


@hostile("label_map", says="The label map")
def a_label_map_with_fractions(made: Workspace) -> None:
    spoilt(made.image(column="Seg"), 1.5)


@hostile("label_map", says=("label map", "same space"))
def a_label_map_at_another_place(made: Workspace) -> None:
    shifted(made.image(column="Seg"))


# Who is compared


@hostile("splits", says="no-such.yaml")
def splits_that_are_not_there(made: Workspace) -> Path:
    return made.folder / "no-such.yaml"


@hostile("splits", says=("splits.yaml", "'val'"))
def splits_without_the_one_that_is_meant(made: Workspace) -> None:
    made.splits.write_text("train: [sub-01]\nvalid: [sub-02]\n", encoding="utf-8")


@hostile("splits", says=("splits.yaml", "no subjects under 'val'"))
def splits_without_held_out_subjects(made: Workspace) -> None:
    made.splits.write_text("train: [sub-01]\nval: []\n", encoding="utf-8")


@hostile("splits", says="sub-99")
def splits_of_another_cohort(made: Workspace) -> None:
    made.splits.write_text("val: [sub-99]\n", encoding="utf-8")


values(
    "steps",
    ("0", "'steps' is 0"),
    ("many", "'many'"),
    ("-3", "'steps' is -3"),
    ("2.5", "'steps' is 2.5"),
    ("1000000", "1000000"),
)
values(
    "known",
    ("lv_volume_normed=0.12,0.14", "lv_volume_normed"),
    ("lv_volume_normed=wide", "wide"),
    ("lv_volume_normed=9", "9"),
    ("lv_volume_normed", "NAME=VALUE"),
    ("sexx=F", "sexx"),
    ("sex=X", "'X'"),
    (("sex=F", "sex=M"), "'sex' is set twice"),
)
