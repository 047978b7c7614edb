"""LUMIR of the Learn2Reg challenge 2024: T1w brains, 160x224x192 voxels of 1 mm, intensities from 0 to 255.

``ROOT/LUMIR_dataset.json`` lists the images of ``imagesTr`` and the pairs of ``imagesVal``; ``labelsTr`` holds the few
label maps for a sanity check.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from NeuroGenLib.core.errors import InputError
from NeuroGenLib.registration.data.pairs import ScanFiles
from NeuroGenLib.registration.published.datasets.cases import (
    Cases,
    all_pairs,
    entries,
    first_cases,
    named_pairs,
    no_split,
    read_list,
    require_files,
)

if TYPE_CHECKING:
    import numpy as np

    from NeuroGenLib.registration.published.datasets.config import LayoutConfig

NAME = "LUMIR"
LIST = "LUMIR_dataset.json"


def find(config: LayoutConfig) -> Cases:
    """Return the images that train, the listed pairs that validate, or every two with labels for a sanity check.

    Raises
    ------
    InputError
        When the list or a file is missing, or there is no such split.
    """
    path = config.root / LIST
    content = read_list(path, NAME)
    listed = [
        (_case(moving), _case(fixed)) for moving, fixed in entries(content, "validation", ("moving", "fixed"), path)
    ]
    validated = dict.fromkeys(name for pair in listed for name in pair)
    pairs = None
    if config.split == "train":
        trained = [_case(name) for (name,) in entries(content, "training", ("image",), path)]
        names = first_cases(list(dict.fromkeys(trained)), config.cases)
    elif config.split == "validation":
        names = list(validated)
        pairs = named_pairs(names, listed)
    elif config.split == "sanity_check":
        folder = config.root / "labelsTr"
        names = sorted(_case(file.name) for file in folder.glob("*.nii.gz"))
        if len(names) < 2:
            raise InputError(
                f"{folder} holds fewer than two label maps.",
                "Put the challenge's sanity labels there.",
                code="file-missing",
            )
        pairs = all_pairs(len(names), both_directions=config.both_directions)
    else:
        raise no_split(config.split, NAME, "train, validation, sanity_check")
    scans = tuple(_scan(config, name, "imagesVal" if name in validated else "imagesTr") for name in names)
    require_files(scans, NAME)
    return Cases(scans, pairs)


def body_mask(image: np.ndarray, erosion: int) -> np.ndarray:
    """Return where an image is above 0, less its outer voxels, (I, J, K) bool.

    Parameters
    ----------
    image:
        (I, J, K).
    erosion:
        How often voxels with one of the six neighbours outside are taken away; what lies beyond the array is outside.
    """
    from scipy.ndimage import binary_erosion

    body = image > 0
    return binary_erosion(body, iterations=erosion) if erosion else body


def _case(name: str) -> str:
    return name.partition(".")[0]


def _scan(config: LayoutConfig, name: str, folder: str) -> ScanFiles:
    labels = config.root / "labelsTr" / f"{name}.nii.gz" if config.use_labels else None
    return ScanFiles(name, (config.root / folder / f"{name}.nii.gz",), labels)
