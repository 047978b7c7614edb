"""LPBA40, the LONI Probabilistic Brain Atlas: 40 brains in the space they were delineated in, 56 structures.

``ROOT/Sxx/Sxx.delineation.brain.bfc.nii.gz`` are the brains, ``Sxx.delineation.structure.label.nii.gz`` the labels,
181x217x181 voxels of 1 mm, and with ``white_matter`` ``Sxx.delineation.tissue.nii.gz`` the tissues (3 is white matter).
LONI distributes brains and tissues in native space; they must be moved with its AIR transforms beforehand.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from NeuroGenLib.core.errors import InputError
from NeuroGenLib.registration.data.pairs import ScanFiles
from NeuroGenLib.registration.published.datasets.cases import Cases, all_pairs, first_cases, no_split, require_files

if TYPE_CHECKING:
    from pathlib import Path

    from NeuroGenLib.registration.published.datasets.config import LayoutConfig

NAME = "LPBA40"
VALIDATION = (14, 16, 19, 26, 39)
TEST = (11, 12, 13, 15, 24, 28, 29, 32, 34, 38)
TRAIN = tuple(number for number in range(1, 41) if number not in (*VALIDATION, *TEST))
WHITE_MATTER = 3


def find(config: LayoutConfig) -> Cases:
    """Return the 25 cases that train, the 5 that validate or the 10 that test.

    Raises
    ------
    InputError
        When a file is missing or there is no such split.
    """
    numbers = {"train": TRAIN, "validation": VALIDATION, "test": TEST}.get(config.split)
    if numbers is None:
        raise no_split(config.split, NAME, "train, validation, test")
    names = [f"S{number:02d}" for number in numbers]
    pairs = None
    if config.split == "train":
        names = first_cases(names, config.cases)
    else:
        pairs = all_pairs(len(names), both_directions=config.both_directions)
    scans = tuple(_scan(config, name) for name in names)
    require_files(scans, NAME)
    if config.white_matter:
        missing = [tissue_path(scan) for scan in scans if not tissue_path(scan).is_file()]
        if missing:
            raise InputError(
                f"The tissue map {missing[0]} does not exist.",
                "Move the tissues with the AIR transforms, or set layout.white_matter to false for prepared brains.",
                code="file-missing",
            )
    return Cases(scans, pairs)


def tissue_path(scan: ScanFiles) -> Path:
    """Return the tissue map of a case."""
    return scan.images[0].with_name(f"{scan.id}.delineation.tissue.nii.gz")


def by_white_matter(image: np.ndarray, tissue: np.ndarray) -> np.ndarray:
    """Return a brain divided by the mean of its white matter and 0 where there is no tissue, (I, J, K) float32.

    Raises
    ------
    InputError
        When the tissue map has no white matter, or it is dark.
    """
    white = np.abs(tissue - WHITE_MATTER) < 1e-5
    mean = float(image[white].mean(dtype=np.float64)) if white.any() else 0.0
    if not mean > 0:
        raise InputError(
            "The tissue map shows no white matter (value 3) where the brain is bright.",
            "Check that brain and tissue map lie in one space.",
            code="labels-invalid",
        )
    return (image * (tissue > 0) / mean).astype(np.float32)


def _scan(config: LayoutConfig, name: str) -> ScanFiles:
    folder = config.root / name
    labels = folder / f"{name}.{config.segmentation or 'delineation.structure.label'}.nii.gz"
    image = folder / f"{name}.{config.image or 'delineation.brain.bfc'}.nii.gz"
    return ScanFiles(name, (image,), labels if config.use_labels else None)
