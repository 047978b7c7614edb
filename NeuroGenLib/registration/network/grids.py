"""Where the voxels of features and of the transform lie in the images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from NeuroGenLib.spatial.transforms.b_splines import evaluation_matrix, invertible_bound
from NeuroGenLib.spatial.transforms.displacement import voxel_grid

if TYPE_CHECKING:
    from torch import Tensor

Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Grids:
    """The grids of one registration.

    Parameters
    ----------
    shape:
        Voxels of the images, (I, J, K).
    spacing:
        Voxel size of the images, mm; only the proportions count.
    factor:
        Voxels of the transform's grid are this many image voxels wide, per axis.

    Features of level k are ceil(n / 2^k) voxels; voxel v lies at image voxel (v + 0.5) 2^k - 0.5. The transform has
    ceil(n / factor) voxels that share their centre with the image's. Affine matrices act in a world frame with its
    origin at that centre, in which the longest side of the image has length 2.
    """

    shape: tuple[int, int, int]
    spacing: Triple = (1.0, 1.0, 1.0)
    factor: Triple = (1.0, 1.0, 1.0)

    @property
    def transform_shape(self) -> tuple[int, int, int]:
        """Voxels of the transform's grid."""
        i, j, k = (int(np.ceil(size / factor)) for size, factor in zip(self.shape, self.factor, strict=True))
        return i, j, k

    def level_shape(self, level: int) -> tuple[int, int, int]:
        """Voxels of the features of a level; 0 is the images' own resolution."""
        i, j, k = (-(-size // 2**level) for size in self.shape)
        return i, j, k

    @property
    def world_spacing(self) -> Triple:
        """Voxel size of the image in the world frame."""
        longest = max(size * width for size, width in zip(self.shape, self.spacing, strict=True))
        i, j, k = (2 * width / longest for width in self.spacing)
        return i, j, k

    def transform_from_level(self, level: int) -> tuple[np.ndarray, np.ndarray]:
        """Return scale and offset, (3,) each: voxel of the transform = scale * voxel of the level + offset."""
        step, factor = 2.0**level, np.array(self.factor)
        image, own = np.array(self.shape), np.array(self.transform_shape)
        scale = step / factor
        # (v + 0.5) 2^k - 0.5 is the image voxel; the centres of image and transform are the same point.
        offset = (0.5 * step - 0.5 - (image - 1) / 2) / factor + (own - 1) / 2
        return scale, offset

    def level_positions(self, level: int, like: Tensor) -> Tensor:
        """Return where the voxels of a level lie, in voxels of the transform, (1, 3, i, j, k)."""
        scale, offset = self.transform_from_level(level)
        return voxel_grid(self.level_shape(level), like) * _column(scale, like) + _column(offset, like)

    def to_level(self, positions: Tensor, level: int) -> Tensor:
        """Return positions in voxels of the transform (B, 3, ...) as voxels of a level."""
        scale, offset = self.transform_from_level(level)
        return (positions - _column(offset, positions)) / _column(scale, positions)

    def spline_matrices(self, level: int, like: Tensor) -> list[Tensor]:
        """Return one evaluation matrix an axis, from control points at a level's voxels to the transform's grid."""
        scale, offset = self.transform_from_level(level)
        return [
            torch.from_numpy(evaluation_matrix(count, (np.arange(size) - offset[axis]) / scale[axis])).to(like)
            for axis, (count, size) in enumerate(zip(self.level_shape(level), self.transform_shape, strict=True))
        ]

    def level_voxel(self, level: int, like: Tensor) -> Tensor:
        """Return the voxel size of a level in voxels of the transform, (1, 3, 1, 1, 1)."""
        return _column(self.transform_from_level(level)[0], like)

    def control_point_bound(self, level: int) -> float:
        """Return how large control points at a level may get (:func:`invertible_bound`), in voxels of the level."""
        i, j, k = (round(2**level / factor) for factor in self.factor)
        return invertible_bound((i, j, k))

    def apply_affine(self, matrix: Tensor, positions: Tensor) -> Tensor:
        """Return voxels of the transform (B or 1, 3, ...) moved by world matrices (B, 4, 4): (B, 3, ...)."""
        size = np.array(self.factor) * np.array(self.world_spacing)
        centre = _column((np.array(self.transform_shape) - 1) / 2, positions)
        world = (positions - centre) * _column(size, positions)
        mapped = torch.einsum("bij,bj...->bi...", matrix[:, :3, :3], world.expand(len(matrix), *world.shape[1:]))
        mapped = mapped + matrix[:, :3, 3].view(-1, 3, 1, 1, 1)
        return mapped / _column(size, positions) + centre


def _column(values: np.ndarray, like: Tensor) -> Tensor:
    return torch.as_tensor(values, dtype=like.dtype, device=like.device).view(1, 3, 1, 1, 1)
