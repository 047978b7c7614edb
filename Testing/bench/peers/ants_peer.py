"""ANTs through ANTsPy with its default settings; the setting is ``SyN``, which begins with an affine, or ``Affine``."""

from __future__ import annotations

import shutil

import ants
from job import Job, run_step


def register(job: Job, transform: str) -> None:
    """Register, keep the transform files, warp the labels."""
    fixed, moving = ants.image_read(str(job.fixed)), ants.image_read(str(job.moving))
    result = ants.registration(fixed, moving, type_of_transform=transform, outprefix=str(job.out / "ants_"))
    labels = ants.image_read(str(job.moving_labels))
    warped = ants.apply_transforms(fixed, labels, result["fwdtransforms"], interpolator="nearestNeighbor")
    ants.image_write(warped, str(job.warped_labels))


def displacement(job: Job, transform: str) -> None:
    """Compose the warp and the affine matrix, in the order in which ANTs lists them."""
    names = ["ants_1Warp.nii.gz", "ants_0GenericAffine.mat"] if transform == "SyN" else ["ants_0GenericAffine.mat"]
    fixed, moving = ants.image_read(str(job.fixed)), ants.image_read(str(job.moving))
    files, prefix = [str(job.out / name) for name in names], str(job.out / "composed_")
    shutil.move(ants.apply_transforms(fixed, moving, files, compose=prefix), job.displacement)


if __name__ == "__main__":
    run_step(register, displacement)
