"""Volumes for folders that are laid out like published data sets."""

from __future__ import annotations

from typing import TYPE_CHECKING

import nibabel
import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

OBLIQUE = np.array([[-0.8, 0.5, 0.1, 12.0], [0.6, 0.7, -0.3, -7.0], [0.0, 0.4, 1.9, 3.0], [0, 0, 0, 1.0]])
SHAPE = (9, 10, 8)


def write(path: Path, array: np.ndarray, affine: np.ndarray = OBLIQUE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(array, affine), path)


def random_image(seed: int, shape: tuple[int, int, int] = SHAPE) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, 1, shape).astype(np.float32)


def world_of(affine: np.ndarray, voxel: tuple[int, ...]) -> np.ndarray:
    return affine[:3, :3] @ voxel + affine[:3, 3]
