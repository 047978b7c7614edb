"""Displacement fields on voxel grids: sampling, warping, composing.

A displacement has shape (B, 3, I, J, K); channel c moves along array axis c, in voxels of the grid it lies on. It is a
pull-back: ``warped(x) = image(x + displacement(x))``. Outside the grid the values of its border go on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor


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
    """Return ``image(x + displacement(x))``: (B, C, I, J, K) on the displacement's grid (in the image's voxels)."""
    return sample(image, voxel_grid(displacement.shape[2:], displacement) + displacement, mode)


def compose(outer: Tensor, inner: Tensor, grid: Tensor | None = None) -> Tensor:
    """Return the displacement of ``outer(inner(x))``, both on one grid, whose coordinates may be given."""
    where = voxel_grid(inner.shape[2:], inner) if grid is None else grid
    return inner + sample(outer, where + inner)


def inside(coordinates: Tensor, shape: Sequence[int]) -> Tensor:
    """Return which coordinates (B, 3, ...) lie between the first and last voxel of a grid, (B, 1, ...) bool."""
    last = torch.tensor([size - 1 for size in shape], device=coordinates.device, dtype=coordinates.dtype)
    last = last.view(1, 3, *[1] * (coordinates.ndim - 2))
    return ((coordinates >= 0) & (coordinates <= last)).all(dim=1, keepdim=True)
