"""NLST of the Learn2Reg challenge 2023: pairs of CT scans of one person's lungs, in Hounsfield units.

``ROOT/NLST_dataset.json`` lists cases and validation pairs; ``imagesTr`` holds ``NLST_NNNN_0000.nii.gz`` (moving here,
as in the published program) and ``NLST_NNNN_0001.nii.gz`` (fixed), 224x192x224 voxels, ``masksTr`` the lungs,
``keypointsTr`` corresponding points (voxels, a row each).
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np

from NeuroGenLib.core.errors import InputError
from NeuroGenLib.registration.data.pairs import ScanFiles
from NeuroGenLib.registration.published.datasets.cases import (
    Cases,
    entries,
    first_cases,
    named_pairs,
    no_split,
    read_list,
    require_files,
)

if TYPE_CHECKING:
    from NeuroGenLib.registration.published.datasets.config import LayoutConfig

NAME = "NLST"
LIST = "NLST_dataset.json"
MOVING, FIXED = "0000", "0001"


def find(config: LayoutConfig) -> Cases:
    """Return the cases that train, or the listed pairs that validate; each case forms its own pair.

    Raises
    ------
    InputError
        When the list or a file is missing, or there is no such split.
    """
    path = config.root / LIST
    content = read_list(path, NAME)
    if config.split == "train":
        listed = [_case(fixed) for (fixed,) in entries(content, "training_paired_images", ("fixed",), path)]
        cases = [(name, name) for name in first_cases(listed, config.cases)]
    elif config.split == "validation":
        rows = entries(content, "registration_val", ("moving", "fixed"), path)
        cases = [(_case(moving), _case(fixed)) for moving, fixed in rows]
    else:
        raise no_split(config.split, NAME, "train, validation")
    pairs = [(f"{moving}_{MOVING}", f"{fixed}_{FIXED}") for moving, fixed in cases]
    names = list(dict.fromkeys(name for pair in pairs for name in pair))
    scans = tuple(_scan(config, name) for name in names)
    require_files(scans, NAME)
    return Cases(scans, named_pairs(names, pairs))


def read_landmarks(scan: ScanFiles) -> np.ndarray:
    """Return the points of a scan, (N, 3) voxels of its file.

    Raises
    ------
    InputError
        When the file is not a table of three numbers per row.
    """
    if scan.landmarks is None:
        raise InputError(f"{scan.id} has no landmarks.", "Leave layout.use_landmarks out.", code="value-missing")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an empty file warns, and is refused below
            points = np.loadtxt(scan.landmarks, delimiter=",", ndmin=2)
    except (ValueError, UnicodeDecodeError) as error:
        raise InputError(
            f"{scan.landmarks} is not a table of numbers ({error}).", "Restore the file.", code="table-invalid"
        ) from error
    if points.size == 0 or points.shape[1] != 3 or not np.isfinite(points).all():
        raise InputError(
            f"{scan.landmarks} does not hold three numbers a row.", "Restore the file.", code="table-invalid"
        )
    return points


def _case(name: str) -> str:
    return "_".join(name.split("_")[:2])


def _scan(config: LayoutConfig, name: str) -> ScanFiles:
    file = f"{name}.nii.gz"
    return ScanFiles(
        name,
        (config.root / "imagesTr" / file,),
        mask=config.root / "masksTr" / file,
        landmarks=config.root / "keypointsTr" / f"{name}.csv" if config.use_landmarks else None,
    )
