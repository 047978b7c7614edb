"""Lung250M-4B: pairs of CT scans of one person's lungs, breathed in and out, in Hounsfield units.

``ROOT/imagesTr`` and ``imagesTs`` hold ``case_NNN_1.nii.gz`` (moving) and ``case_NNN_2.nii.gz`` (fixed), ``masksTr``
and ``masksTs`` the lungs, ``lms_validation.pth`` landmarks of validation cases. Cases of the EMPIRE10 challenge are
excluded from the validation, as the publication does for their terms of use.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import numpy as np

from NeuroGenLib.core.errors import InputError
from NeuroGenLib.models.unpickle import load_foreign_checkpoint
from NeuroGenLib.registration.data.pairs import ScanFiles
from NeuroGenLib.registration.published.datasets.cases import Cases, first_cases, no_split, require_files

if TYPE_CHECKING:
    from pathlib import Path

    from NeuroGenLib.registration.published.datasets.config import LayoutConfig

NAME = "Lung250M-4B"
LANDMARKS = "lms_validation.pth"
VALIDATION = tuple(f"case_{number:03d}" for number in (54, 55, 56, 94, 97, *range(114, 124)))
TEST = tuple(f"case_{number:03d}" for number in range(104, 114))


def find(config: LayoutConfig) -> Cases:
    """Return the cases of ``imagesTr`` that train, the 15 that validate or the 10 that test; each forms its own pair.

    Raises
    ------
    InputError
        When a folder or file is missing or there is no such split.
    """
    if config.split == "train":
        names = first_cases(_trained(config.root / "imagesTr"), config.cases)
    elif config.split in ("validation", "test"):
        names = list(VALIDATION if config.split == "validation" else TEST)
    else:
        raise no_split(config.split, NAME, "train, validation, test")
    end = "Tr" if config.split == "train" else "Ts"
    scans = tuple(_scan(config, name, place, end) for name in names for place in (1, 2))
    require_files(scans, NAME)
    return Cases(scans, np.arange(len(scans), dtype=np.int32).reshape(-1, 2))


def read_landmarks(scan: ScanFiles) -> np.ndarray:
    """Return the landmarks of a scan, (N, 3) voxels of its file, voxel centres at whole numbers.

    Raises
    ------
    InputError
        When the file is damaged or does not know the case.
    """
    if scan.landmarks is None:
        raise InputError(f"{scan.id} has no landmarks.", "Leave layout.use_landmarks out.", code="value-missing")
    case, _, place = scan.id.rpartition("_")
    known = _all_landmarks(scan.landmarks, scan.landmarks.stat().st_mtime_ns)
    number = str(int(case[-3:]))
    if number not in known:
        raise InputError(
            f"{scan.landmarks} has no landmarks of {case}.",
            "Leave layout.use_landmarks out, or choose the split.",
            code="value-missing",
        )
    both = known[number]
    first = both[:, :3] if place == "1" else both[:, 3:]
    return first - 0.5  # in the file the first voxel's centre is at 0.5


@functools.lru_cache(maxsize=2)
def _all_landmarks(path: Path, _changed: int) -> dict[str, np.ndarray]:
    """Read all landmarks, (N, 6) a case: both images of it."""
    import torch

    known = {}
    for name, value in load_foreign_checkpoint(path).items():
        if not isinstance(value, torch.Tensor) or value.ndim != 2 or value.shape[1] != 6:
            raise InputError(
                f"'{name}' in {path} is not a table of six coordinates.",
                "Restore the file as its authors distribute it.",
                code="table-invalid",
            )
        known[str(name)] = value.double().numpy()
    return known


def _trained(folder: Path) -> list[str]:
    if not folder.is_dir():
        raise InputError(
            f"There is no folder {folder}.", "Give the folder it belongs into as layout.root.", code="file-missing"
        )
    names = sorted({file.name.removesuffix(".nii.gz").rpartition("_")[0] for file in folder.glob("case_*_*.nii.gz")})
    if not names:
        raise InputError(
            f"{folder} holds no case_NNN_1.nii.gz.", f"Put the images of {NAME} there.", code="file-missing"
        )
    return names


def _scan(config: LayoutConfig, name: str, place: int, end: str) -> ScanFiles:
    file = f"{name}_{place}.nii.gz"
    return ScanFiles(
        f"{name}_{place}",
        (config.root / f"images{end}" / file,),
        mask=config.root / f"masks{end}" / file,
        landmarks=config.root / LANDMARKS if config.use_landmarks else None,
    )
