"""How long a fit to a scan takes: `python Testing/bench/bench_fit.py`.

The scan is drawn by the bundled atlas at an age and condition between its subjects, on a grid of 135 x 189 x 155 voxels
of 0.8 mm, and lies turned and off centre. Printed are the seconds of the fit, how far the age is off, and Dice with the
labels drawn.
"""

from __future__ import annotations

import os
import time

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from NeuroGenLib import Volume, open_model
from NeuroGenLib.spatial.metrics import mean_dice

AGE = 27.4
CONDITIONS = {"lv_volume_normed": 0.14}
SHAPE = (135, 189, 155)
SPACING = 0.8


def scan() -> tuple[Volume, Volume]:
    """Return image and labels, turned by 12 degrees and 40 mm off centre."""
    atlas = open_model("bundled:fetal-sba", device="cpu")
    half = np.array(SHAPE) * SPACING / 2
    box = [side for low, high in zip(-half, half, strict=True) for side in (low, high)]
    brain = atlas.generate(AGE, CONDITIONS, SPACING, box=box)
    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_rotvec((0.1, 0.1, 0.15)).as_matrix()
    turn[:3, 3] = (40, -20, 10)
    inside = brain.labels.array > 0
    return (
        Volume(brain.image.array * inside, turn @ brain.image.affine),
        Volume(brain.labels.array, turn @ brain.labels.affine),
    )


def main() -> None:
    """Fit once on one thread and once on two, and print what came of it."""
    image, labels = scan()
    print(f"scan {image.shape}, brain {100 * (labels.array > 0).mean():.0f} % of it, load {os.getloadavg()[0]:.1f}")
    for threads in (1, 2):
        torch.set_num_threads(threads)
        atlas = open_model("bundled:fetal-sba", device="cpu")
        started, processor = time.monotonic(), time.process_time()
        fit = atlas.fit(image, mask=labels)
        print(
            f"{threads} thread(s): {time.monotonic() - started:.0f} s (CPU {time.process_time() - processor:.0f} s), "
            f"age off by {fit.age - AGE:+.2f} weeks, Dice {mean_dice(fit.labels.array, labels.array):.3f}"
        )


if __name__ == "__main__":
    main()
