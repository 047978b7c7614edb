"""What a program of the comparison is given and leaves behind; standard library only, as it runs in every environment.

A program is a script ``python SCRIPT STEP FIXED MOVING FIXED_LABELS MOVING_LABELS OUT [SETTING ...]`` with two steps.
``register`` is timed and does what a user waits for; ``displacement`` is not, and brings the result into one form.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True)
class Job:
    """NIfTI files of one registration and the folder where its results go."""

    fixed: Path
    moving: Path
    fixed_labels: Path
    moving_labels: Path
    out: Path

    @property
    def warped_labels(self) -> Path:
        """Moving labels on the fixed grid, by the nearest label: written by the step ``register``."""
        return self.out / "warped_labels.nii.gz"

    @property
    def displacement(self) -> Path:
        """Whole map, affine part included, as an ITK vector image on the fixed grid: by the step ``displacement``.

        A fixed point y (LPS mm) corresponds to the moving point y + vector(y).
        """
        return self.out / "displacement.nii.gz"

    def arguments(self) -> list[str]:
        """Return the paths in the order of the command line."""
        return [str(path) for path in (self.fixed, self.moving, self.fixed_labels, self.moving_labels, self.out)]


def threads() -> int:
    """Return how many threads the program may use."""
    return int(os.environ["OMP_NUM_THREADS"])


def run_step(register: Callable[..., None], displacement: Callable[..., None]) -> None:
    """Do the step that the command line names; both functions get the job and the settings behind it."""
    step, *arguments = sys.argv[1:]
    job = Job(*map(Path, arguments[:5]))
    {"register": register, "displacement": displacement}[step](job, *arguments[5:])
