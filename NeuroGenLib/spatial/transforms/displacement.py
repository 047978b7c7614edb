"""Displacement fields on voxel grids: sampling, warping, composing.

The tensor of a displacement has shape (B, 3, I, J, K); channel c displaces along array axis c, in voxels of the grid it
lies on. It is a pull-back: ``warped(x) = image(x + displacement(x))``. Outside the grid the values of its border go on.
Networks, losses and the functions of this module compute with such tensors; between modules a :class:`Displacement`
says which grid they lie on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from NeuroGenLib.spatial.transforms.spatial_map import from_voxel_displacement

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from NeuroGenLib.spatial.transforms.affine import Affine
    from NeuroGenLib.spatial.transforms.spatial_map import SpatialMap


@dataclass(frozen=True, eq=False)
class Displacement:
    """Displacement field with the grid it lies on; its unit is the voxel of that grid.

    Parameters
    ----------
    values:
        (1, 3, i, j, k); channel c displaces along array axis c, in voxels.
    affine:
        (4, 4) voxels of the grid to mm of its space.

    Examples
    --------
    >>> shift = Displacement(torch.ones(1, 3, 4, 4, 4), np.diag([2.0, 2.0, 2.0, 1.0]))
    >>> fine = shift.on_grid((8, 8, 8), np.eye(4))
    >>> float(fine.values.mean()), fine.shape
    (2.0, (8, 8, 8))
    """

    values: Tensor
    affine: np.ndarray

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels of the grid."""
        i, j, k = self.values.shape[2:]
        return i, j, k

    def on_grid(self, shape: Sequence[int], affine: np.ndarray) -> Displacement:
        """Return the displacement on another grid of the same space, in the voxels of that one.

        Parameters
        ----------
        shape, affine:
            Voxels of the other grid, and (4, 4) from them to the same mm.
        """
        if self.shape == tuple(shape) and np.allclose(self.affine, affine):
            return self
        to_own = torch.from_numpy(np.linalg.inv(self.affine) @ affine).to(self.values)
        from_own = torch.linalg.inv(to_own[:3, :3])
        where = torch.einsum("ij,bj...->bi...", to_own[:3, :3], voxel_grid(shape, self.values))
        vectors = sample(self.values, where + to_own[:3, 3].view(1, 3, 1, 1, 1))
        return Displacement(torch.einsum("ij,bj...->bi...", from_own, vectors), affine)

    def spatial_map(self, before: Affine, after: Affine) -> SpatialMap:
        """Return the map of space that applies ``before``, this displacement and ``after``.

        Raises
        ------
        ValueError
            When ``before`` ends in another space than the one that ``after`` starts from.
        """
        if before.target != after.source:
            raise ValueError(f"A displacement in '{before.target}' cannot be followed by a map from '{after.source}'.")
        return from_voxel_displacement(self.values[0].cpu().numpy(), self.affine, before.matrix, after.matrix)


def voxel_grid(shape: Sequence[int], like: Tensor | None = None) -> Tensor:
    """Return the voxel coordinates of a grid, (1, 3, I, J, K), on the device and with the type of ``like``."""
    device, dtype = (None, torch.float32) if like is None else (like.device, like.dtype)
    axes = [torch.arange(size, device=device, dtype=dtype) for size in shape]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))[None]


def sample(values: Tensor, coordinates: Tensor, mode: str = "bilinear") -> Tensor:
    """Return values between voxels.

    Parameters
    ----------
    values:
        (B, C, I, J, K).
    coordinates:
        (B or 1, 3, ...) three more axes, voxel coordinates in ``values``; beyond the border its values go on.
    mode:
        ``bilinear`` (linear along each axis) or ``nearest``.

    Returns
    -------
    Tensor
        (B, C, ...) with the last three axes of ``coordinates``.
    """
    # grid_sample wants -1..1 from first to last voxel, and the last axis first.
    scaled = [
        coordinates[:, axis] * (2 / max(size - 1, 1)) - 1 for axis, size in reversed(list(enumerate(values.shape[2:])))
    ]
    grid = torch.stack(scaled, dim=-1)
    if grid.shape[0] != values.shape[0]:
        grid = grid.expand(values.shape[0], -1, -1, -1, -1)
    return torch.nn.functional.grid_sample(values, grid, mode=mode, padding_mode="border", align_corners=True)


def warp(image: Tensor, displacement: Tensor, mode: str = "bilinear") -> Tensor:
    """Return ``image(x + displacement(x))``: (B, C, I, J, K) on the displacement's grid (in the image's voxels).

    Examples
    --------
    >>> ramp = torch.arange(4.0).view(1, 1, 4, 1, 1).expand(1, 1, 4, 2, 2)
    >>> shift = torch.zeros(1, 3, 4, 2, 2)
    >>> shift[:, 0] = 1
    >>> warp(ramp, shift)[0, 0, :, 0, 0].tolist()
    [1.0, 2.0, 3.0, 3.0]
    """
    return sample(image, voxel_grid(displacement.shape[2:], displacement) + displacement, mode)


def compose(outer: Tensor, inner: Tensor, grid: Tensor | None = None) -> Tensor:
    """Return the displacement of ``outer(inner(x))``, both on one grid, whose coordinates may be given.

    Examples
    --------
    >>> shift = torch.full((1, 3, 4, 4, 4), 0.5)
    >>> float(compose(shift, shift).mean())
    1.0
    """
    where = voxel_grid(inner.shape[2:], inner) if grid is None else grid
    return inner + sample(outer, where + inner)


def inside(coordinates: Tensor, shape: Sequence[int]) -> Tensor:
    """Return which coordinates (B, 3, ...) lie between the first and last voxel of a grid, (B, 1, ...) bool."""
    last = torch.tensor([size - 1 for size in shape], device=coordinates.device, dtype=coordinates.dtype)
    last = last.view(1, 3, *[1] * (coordinates.ndim - 2))
    return ((coordinates >= 0) & (coordinates <= last)).all(dim=1, keepdim=True)
