"""Acquisition model of a stack: the linear map from an isotropic image to thick slices, and its adjoint."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from NeuroGenLib.simulate.thick_slices import SliceProfile, profile_matrix

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from NeuroGenLib.spatial.volume import Volume
    from NeuroGenLib.superres.stacks.stack import Stack

PROFILE_REACH = 1.25
"""Thicknesses from the centre of a slice within which its profile counts: 1 % of the peak is left there."""
_RESOLVED = 1.05
"""Voxels of the image up to which a voxel of a stack is a point in it."""
ROUNDING = 1e-3
"""Part of a voxel that rounding may decide about."""


class AcquisitionModel:
    """What a stack measures of an image: a linear map from (I, J, K) of the grid to (i, j, k) of the stack.

    The image is interpolated linearly at places that follow the stack's axes, finely enough to lose nothing, and
    weighted along each axis: by the slice profile across slices, by a Gaussian within them where their voxels are
    larger than the image's. Tensors keep their type; beyond its grid the image goes on as at its border, since a
    head may run out of the field of view. It can be differentiated, which gives its adjoint.

    Parameters
    ----------
    stack:
        At its pose.
    grid:
        Isotropic.
    """

    def __init__(self, stack: Stack, grid: Volume) -> None:
        import torch

        width = grid.spacing[0]
        self.shape = stack.volume.shape
        self._matrices: dict[int, Tensor] = {}
        fine = list(self.shape)
        to_stack = np.eye(4)  # from the fine places to the stack's voxels
        for axis, (size, spacing) in enumerate(zip(self.shape, stack.volume.spacing, strict=True)):
            across = axis == stack.axis
            profile = SliceProfile(stack.profile if across else "gaussian", stack.thickness if across else spacing)
            if profile.thickness <= _RESOLVED * width:
                continue
            parts = int(np.ceil(spacing / width - ROUNDING))
            reach = int(np.ceil(PROFILE_REACH * profile.thickness / spacing * parts))
            fine[axis] = (size - 1) * parts + 1 + 2 * reach
            to_stack[axis, [axis, 3]] = 1 / parts, -reach / parts
            centres = reach + parts * np.arange(size)
            self._matrices[axis] = torch.from_numpy(
                profile_matrix(fine[axis], spacing / parts, centres, profile, own=width)
            )
        to_grid = np.linalg.inv(grid.affine) @ stack.placed.affine @ to_stack
        self._fine = fine
        # As torch names places: -1 to 1 between the outer voxel faces, the last axis first.
        named = _named(grid.shape) @ to_grid @ np.linalg.inv(_named(fine))
        self._places = torch.from_numpy(named[None, :3])

    def __call__(self, image: Tensor) -> Tensor:
        """Return what the stack measures of ``image``, (I, J, K), at its own voxels."""
        import torch
        from torch.nn import functional

        places = functional.affine_grid(self._places.to(image.dtype), [1, 1, *self._fine], align_corners=False)
        acquired = functional.grid_sample(image[None, None], places, padding_mode="border", align_corners=False)[0, 0]
        for axis, matrix in self._matrices.items():
            acquired = torch.movedim(torch.movedim(acquired, axis, -1) @ matrix.to(image.dtype).T, -1, axis)
        return acquired

    def pulled_back(self, image: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
        """Return the adjoint applied to what ``change`` makes of the measured ``image``, (I, J, K)."""
        import torch

        image = image.detach().requires_grad_()
        acquired = self(image)
        return torch.autograd.grad(acquired, image, change(acquired.detach()))[0]


def _named(shape: Sequence[int]) -> np.ndarray:
    """Return the matrix from voxel indices to places as torch names them."""
    matrix = np.eye(4)[[2, 1, 0, 3]] @ np.diag([*(2 / np.asarray(shape)), 1.0])
    matrix[:3, 3] = (1 / np.asarray(shape) - 1)[::-1]
    return matrix
