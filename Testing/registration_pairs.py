"""Pairs of small heads and tiny models that register them, for the tests of the registration library."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from NeuroGenLib.spatial.volume import Volume
from Testing.geometry import a_brain_phantom

if TYPE_CHECKING:
    from pathlib import Path

    from NeuroGenLib.registration.infer import RegistrationModel

SPACING_MM = 2.5
GRID = (32, 38, 30)
PREPARATION: dict[str, Any] = {
    "grid": (16, 20, 16),
    "fill": 0.8,
    "normalisation": "percentile",
    "masked": False,
}
TINY = {
    "features": (4, 4, 8),
    "feature_convolutions": (0, 1, 1),
    "stage_features": (None, 6, 6),
    "stage_convolutions": (None, 1, 1),
    "factor": (2.0, 2.0, 2.0),
    "groups": 2,
}


class Pair(NamedTuple):
    """Two scans of one head, the moving one bent by a few millimetres, with their label maps."""

    fixed: Volume
    moving: Volume
    fixed_labels: Volume
    moving_labels: Volume


def bent(points: np.ndarray, millimetres: float) -> np.ndarray:
    """Return points (..., 3) RAS mm moved by smooth waves, at most ``millimetres`` along each axis."""
    x, y, z = np.moveaxis(points, -1, 0) / 18.0
    waves = np.stack([np.sin(y + 0.4), np.sin(z - x + 0.9), np.cos(x + 0.7 * y)], axis=-1)
    return points + millimetres * waves


def a_bent_pair(
    millimetres: float = 3.0, shape: tuple[int, int, int] = GRID, spacing: float = SPACING_MM, seed: int = 0
) -> Pair:
    """Draw a head, and the same head bent, on a background of zero.

    Both are functions of the world position: the moving one at p shows what the fixed one has at ``bent(p)``.
    """
    drawn = a_brain_phantom(tuple(2 * n for n in shape), spacing / 2)
    grid = a_brain_phantom(shape, spacing)
    image = drawn.image.array * (drawn.labels.array > 0)
    where = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1) @ grid.image.affine[:3, :3].T
    there = drawn.image.world_to_voxel(bent(where + grid.image.affine[:3, 3], millimetres))
    here = drawn.image.world_to_voxel(where + grid.image.affine[:3, 3])
    noise = np.random.default_rng(seed).normal(0, 4, (2, *shape))
    volumes = []
    for number, index in enumerate((here, there)):
        values = _at(image, index, order=1)
        seen = np.clip(values + noise[number] * (values > 0), 0, None)
        volumes.append(Volume(seen.astype(np.float32), grid.image.affine))
    labels = [Volume(_at(drawn.labels.array, index, order=0), grid.image.affine) for index in (here, there)]
    return Pair(volumes[0], volumes[1], labels[0], labels[1])


def a_tiny_model(
    folder: Path, seed: int = 1, gain: float = 0.05, preparation: dict[str, Any] | None = None, **network: Any
) -> RegistrationModel:
    """Write and open a model with random weights; ``gain`` is the size of what it displaces."""
    from NeuroGenLib.models.opening import open_model
    from NeuroGenLib.registration.config import RegistrationTrainConfig
    from NeuroGenLib.registration.network.sitreg import SITReg
    from NeuroGenLib.registration.network.sizes import SITRegConfig
    from NeuroGenLib.registration.train import write_registration
    from NeuroGenLib.training.random_streams import seeded_weights
    from NeuroGenLib.training.settings import TrainerConfig

    with seeded_weights(seed):
        made = SITReg(SITRegConfig(**{**TINY, **network}))
        with torch.no_grad():
            for stage in made.stages.values():
                stage.final.weight.normal_(0, gain)
                stage.final.bias.zero_()
    config = RegistrationTrainConfig(train=TrainerConfig(out=folder, steps=1))
    write_registration(made, config, PREPARATION | (preparation or {}), folder)
    return open_model(str(folder), device="cpu")


def _at(array: np.ndarray, index: np.ndarray, order: int) -> np.ndarray:
    from scipy.ndimage import map_coordinates

    return map_coordinates(array, np.moveaxis(index, -1, 0), order=order, mode="constant")
