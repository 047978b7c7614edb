"""OASIS as the neurite project distributes it for the Learn2Reg challenge: 414 brains, raw and affinely aligned.

``ROOT/subjects.txt`` lists the cases; ``ROOT/CASE/`` holds ``norm``, ``seg35`` (256x256x256 voxels) and
``aligned_norm``, ``aligned_seg35`` (160x192x224), each ``.nii.gz``, 1 mm, intensities from 0 to 1.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from NeuroGenLib.core.errors import InputError
from NeuroGenLib.registration.data.pairs import ScanFiles
from NeuroGenLib.registration.published.datasets.cases import (
    Cases,
    all_pairs,
    first_cases,
    named_pairs,
    no_split,
    read_lines,
    require_files,
)

if TYPE_CHECKING:
    from NeuroGenLib.registration.published.datasets.config import LayoutConfig

NAME = "OASIS"
TRAINED, VALIDATED = 255, 20
LEARN2REG = tuple(f"OASIS_OAS1_{number:04d}_MR1" for number in range(438, 458))
"""Each is validated with the next."""


def find(config: LayoutConfig) -> Cases:
    """Return the cases of a split: the first 255 train, the next 20 validate, the others test.

    With ``learn2reg`` 19 pairs of neighbours validate, all other cases train, and none tests.

    Raises
    ------
    InputError
        When the list or a file is missing, or there is no such split.
    """
    names = read_lines(config.root / "subjects.txt")
    pairs = None
    if config.split == "train":
        chosen = [name for name in names if name not in LEARN2REG] if config.learn2reg else names[:TRAINED]
        chosen = first_cases(chosen, config.cases)
    elif config.split == "validation" and config.learn2reg:
        chosen = list(LEARN2REG)
        pairs = named_pairs(LEARN2REG, pairwise(LEARN2REG))
    elif config.split in ("validation", "test") and not config.learn2reg:
        later = names[TRAINED:]
        chosen = later[:VALIDATED] if config.split == "validation" else later[VALIDATED:]
        pairs = all_pairs(len(chosen), both_directions=config.both_directions)
    else:
        raise no_split(config.split, NAME, "train, validation, and test unless learn2reg")
    if not chosen:
        raise InputError(
            f"{config.root / 'subjects.txt'} lists {len(names)} cases: none is left for '{config.split}'.",
            "Restore the list as its authors distribute it.",
            code="table-empty",
        )
    scans = tuple(_scan(config, name) for name in chosen)
    require_files(scans, NAME)
    return Cases(scans, pairs)


def _scan(config: LayoutConfig, name: str) -> ScanFiles:
    folder = config.root / name
    labels = folder / f"{config.segmentation or 'aligned_seg35'}.nii.gz" if config.use_labels else None
    return ScanFiles(name, (folder / f"{config.image or 'aligned_norm'}.nii.gz",), labels)
