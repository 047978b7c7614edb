"""Greedy with 100, 50 and 10 iterations at three resolutions, as its pages show it; affine first, by centres of mass.

Settings: the metric (``NCC``, ``WNCC``), then options of the deformable part (``-sv``: a stationary velocity field).
Its command line has no quoting, so inputs are passed as images and outputs have short names in the working folder.
"""

from __future__ import annotations

import os

import SimpleITK
from job import Job, run_step, threads
from picsl_greedy import Greedy3D


def register(job: Job, metric: str, *options: str) -> None:
    """Register, write the affine matrix and the warp, warp the labels."""
    os.chdir(job.out)
    greedy = Greedy3D()
    images = {"fixed": SimpleITK.ReadImage(str(job.fixed)), "moving": SimpleITK.ReadImage(str(job.moving))}
    common = f"-d 3 -threads {threads()}"
    greedy.execute(f"{common} -i fixed moving -moments 1 -o centres.mat", **images)
    both = f"{common} -i fixed moving -m {metric} 2x2x2 -n 100x50x10"
    greedy.execute(f"{both} -a -ia centres.mat -o affine.mat", **images)
    greedy.execute(f"{both} {' '.join(options)} -it affine.mat -o warp.nii.gz", **images)
    images["labels"] = SimpleITK.ReadImage(str(job.moving_labels))
    output = job.warped_labels.name
    greedy.execute(f"{common} -rf fixed -ri NN -rm labels {output} -r warp.nii.gz affine.mat", **images)


def displacement(job: Job, *_settings: str) -> None:
    """Compose the warp and the affine matrix."""
    os.chdir(job.out)
    fixed = SimpleITK.ReadImage(str(job.fixed))
    Greedy3D().execute(f"-d 3 -rf fixed -wp 0 -rc {job.displacement.name} -r warp.nii.gz affine.mat", fixed=fixed)


if __name__ == "__main__":
    run_step(register, displacement)
