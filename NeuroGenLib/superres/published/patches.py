"""What the published training reads: patches of normalised volumes in raster order, the subjects shuffled once."""

from __future__ import annotations

import functools
import random
from typing import TYPE_CHECKING

import numpy as np

from NeuroGenLib.core.errors import InputError
from NeuroGenLib.spatial.volume import Volume, require_3d, require_same_space
from NeuroGenLib.superres.data.subjects import scan_cohort, split
from NeuroGenLib.superres.published.reference import corners, normalised, padded

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from NeuroGenLib.superres.config import SuperresTrainConfig

_HELD = 2
"""Subjects whose volumes are kept: batches follow one another within a subject."""


class PublishedPatches:
    """Batches of patches: T1w and thick-slice T2w, and the T2w they shall become.

    Parameters
    ----------
    config:
        Table, split and sizes.

    Raises
    ------
    InputError
        When the table or a file is missing, or a part of the split is empty.
    """

    def __init__(self, config: SuperresTrainConfig) -> None:
        self._config = config
        parts = split(scan_cohort(config.scans), config.split)
        shuffle = random.Random(config.train.seed)  # noqa: S311 (the published program's)
        self.parts = {}
        for name in ("train", "validation", "test"):
            subjects = list(parts[name])
            shuffle.shuffle(subjects)
            self.parts[name] = tuple(subjects)
        own = config.published
        side, stride = (own.patch,) * 3, (own.stride,) * 3
        self._corners = corners(own.target_shape, side, stride)
        self._volumes = functools.lru_cache(maxsize=_HELD)(self._read)

    @property
    def sizes(self) -> tuple[int, int, int]:
        """Subjects that are trained on, validated and tested with."""
        return len(self.parts["train"]), len(self.parts["validation"]), len(self.parts["test"])

    def batches(self, part: str) -> int:
        """Return how many batches an epoch has; the last one may be smaller."""
        return -(-len(self.parts[part]) * len(self._corners) // self._config.optimiser.batch)

    def batch(self, part: str, number: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return a batch of an epoch: (B, 2, W, W, W) T1w and thick-slice T2w, and (B, 1, W, W, W) T2w; float32."""
        import torch

        size, side = self._config.optimiser.batch, self._config.published.patch
        patches = len(self._corners)
        cut = []
        for index in range(number * size, min((number + 1) * size, len(self.parts[part]) * patches)):
            volumes = self._volumes(part, index // patches)
            i, j, k = self._corners[index % patches]
            cut.append(volumes[:, i : i + side, j : j + side, k : k + side])
        both = torch.from_numpy(np.stack(cut))
        return both[:, :2], both[:, 2:]

    def _read(self, part: str, place: int) -> np.ndarray:
        """Return (3, I, J, K) of a subject: T1w, thick-slice T2w, T2w."""
        scans, subject = self._config.scans, self.parts[part][place]
        names = [column for column in (scans.guide, scans.low, scans.images) if column is not None]
        volumes = {str(subject.paths[name]): Volume.load(subject.paths[name]) for name in names}
        for name, volume in volumes.items():
            require_3d(volume, name)
        require_same_space(volumes)
        return np.stack([self._prepared(name, volume) for name, volume in volumes.items()])

    def _prepared(self, name: str, volume: Volume) -> np.ndarray:
        try:
            inside = padded(volume, self._config.published.target_shape)
        except InputError as error:
            raise error.within(name, "Give published.target_shape that holds it.") from error
        return normalised(inside.array, name).astype(np.float32)


def raster(patches: PublishedPatches, step: int, rank: int = 0, processes: int = 1) -> Sequence[torch.Tensor]:
    """Return the batch of a step; processes that train together take turns."""
    number = (step * processes + rank) % patches.batches("train")
    return patches.batch("train", number)
