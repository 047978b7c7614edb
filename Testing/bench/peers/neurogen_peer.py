"""NeuroGen's own command; the settings are options of ``neurogen registration run``, such as ``--refine 0``."""

from __future__ import annotations

import shutil
import sys

import SimpleITK
from demons_peer import write_displacement
from job import Job, run_step

from NeuroGenLib.cli import main

RESULT = "neurogen"
"""Folder of the command's files inside the job's."""


def register(job: Job, *settings: str) -> None:
    """Run the command, which warps the labels itself."""
    out = job.out / RESULT
    labels = ["--fixed-labels", str(job.fixed_labels), "--moving-labels", str(job.moving_labels)]
    words = ["registration", "run", str(job.fixed), str(job.moving), *labels, "--out", str(out), *settings]
    status = main(words)
    if status:
        sys.exit(status)
    shutil.copy(out / job.warped_labels.name, job.warped_labels)


def displacement(job: Job, *_settings: str) -> None:
    """Write the forward transform as a field on the fixed grid."""
    transform = SimpleITK.ReadTransform(str(job.out / RESULT / "forward.h5"))
    write_displacement(transform, SimpleITK.ReadImage(str(job.fixed)), job)


if __name__ == "__main__":
    run_step(register, displacement)
