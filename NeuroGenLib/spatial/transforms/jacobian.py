"""Jacobian determinants, folds and field of view of a displacement field.

Displacements are (B, 3, I, J, K) in voxels, pull-back (see :mod:`~NeuroGenLib.spatial.transforms.displacement`). The
Jacobian of the map ``x + u(x)`` in voxels has the same determinant in mm, because both ends lie on one grid.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Literal

import torch

from NeuroGenLib.core.errors import InputError
from NeuroGenLib.spatial.transforms.displacement import sample, voxel_grid

if TYPE_CHECKING:
    from torch import Tensor

Scheme = Literal["average", "forward", "central", "every"]
"""``average``: forward differences, averaged over the cell that they span, (I-1, J-1, K-1) values; ``forward``: forward
differences at each voxel but the last ones, (I-1, J-1, K-1); ``central``: at inner voxels, (I-2, J-2, K-2); ``every``:
central, one-sided at the border, (I, J, K)."""

VISIBLE = 1 - 1e-3
"""Share of an interpolated value that must come from voxels that count, for the value to count."""


def jacobian_matrices(displacement: Tensor, scheme: Scheme = "central") -> Tensor:
    """Return the Jacobian of ``x + u(x)``, (B, 3, 3, i, j, k): component, then the axis it is derived along.

    Parameters
    ----------
    displacement:
        (B, 3, I, J, K) voxels.
    scheme:
        Which differences, and so how many values: see :data:`Scheme`.

    Raises
    ------
    InputError
        When it is not a displacement field, or has too few voxels for the scheme.
    """
    identity = torch.eye(3, device=displacement.device, dtype=displacement.dtype)
    return _gradient(displacement, scheme) + identity.view(1, 3, 3, 1, 1, 1)


def jacobian_determinants(displacement: Tensor, scheme: Scheme = "central") -> Tensor:
    """Return the determinants of :func:`jacobian_matrices`, (B, i, j, k): 1 keeps the volume, below 0 folds."""
    return _determinants(jacobian_matrices(displacement, scheme))


def discrete_jacobians(displacement: Tensor) -> dict[str, Tensor]:
    """Return the ten discrete Jacobian determinants at inner voxels, each (B, I-2, J-2, K-2).

    A voxel and three of its neighbours span a tetrahedron; its volume is a sixth of the determinant. ``"+-+"`` takes
    the next voxel along the axes marked +, the one before along those marked -; ``"j1*"`` and ``"j2*"`` are the two
    central tetrahedra, of neighbours across face diagonals (Liu et al., On finite difference Jacobian computation in
    deformable image registration, Int J Comput Vis 2024). Without motion the corner ones are 1 and the central ones 2.
    Where all are above zero, the map that is linear inside each tetrahedron does not fold.

    Raises
    ------
    InputError
        When it is not a displacement field, or an axis has fewer than three voxels.
    """
    _require_field(displacement, 3)
    sides = {
        "+": [_step(displacement, _unit(axis, 1)) for axis in range(3)],
        "-": [-_step(displacement, _unit(axis, -1)) for axis in range(3)],
    }
    determinants = {}
    for second, third in itertools.product("+-", repeat=2):
        normal = torch.linalg.cross(sides[second][1], sides[third][2], dim=1)
        for first in "+-":
            determinants[first + second + third] = (sides[first][0] * normal).sum(dim=1)
    # The order of the diagonals makes both determinants positive without motion.
    before, after = (((-1, -1, 0), (-1, 0, -1), (0, -1, -1)), ((1, 1, 0), (0, 1, 1), (1, 0, 1)))
    for name, diagonals in (("j1*", before), ("j2*", after)):
        first_side, second_side, third_side = (_step(displacement, diagonal) for diagonal in diagonals)
        determinants[name] = (first_side * torch.linalg.cross(second_side, third_side, dim=1)).sum(dim=1)
    return determinants


def ndv_map(displacement: Tensor, threshold: float = 0.0) -> Tensor:
    """Return the non-diffeomorphic volume at inner voxels, (B, I-2, J-2, K-2) in voxels.

    It is the inverted volume: the sum of ``-min(determinant, threshold) / 12`` over
    :func:`discrete_jacobians`. The corner tetrahedra and the central ones tile space twice, hence 12 and not 6.

    Parameters
    ----------
    displacement:
        (B, 3, I, J, K) voxels.
    threshold:
        Determinants below it count; above zero, tetrahedra that are only squeezed do too, and the value where nothing
        folds is negative.

    Raises
    ------
    InputError
        When it is not a displacement field, or an axis has fewer than three voxels.
    """
    first, *rest = discrete_jacobians(displacement).values()
    volume = first.clamp(max=threshold)
    for determinants in rest:
        volume = volume + determinants.clamp(max=threshold)
    return volume / -12


def ndv_percent(displacement: Tensor) -> Tensor:
    """Return the non-diffeomorphic volume as percent of the inner voxels, (B,); see :func:`ndv_map`."""
    return 100 * ndv_map(displacement).mean(dim=(1, 2, 3))


def displacement_at(displacement: Tensor, points: Tensor) -> Tensor:
    """Return the linearly interpolated displacement at points, (B, N, 3) voxels.

    Parameters
    ----------
    displacement:
        (B, 3, I, J, K) voxels.
    points:
        (B or 1, N, 3) voxel coordinates; beyond the border its values go on.
    """
    return sample(displacement, points.transpose(1, 2)[..., None, None])[..., 0, 0].transpose(1, 2)


def sample_mask(mask: Tensor | None, coordinates: Tensor, like: Tensor) -> Tensor:
    """Return where a mask holds between voxels, (B, 1, ...) 0 or 1; outside its grid it never does.

    Unlike :func:`NeuroGenLib.spatial.transforms.displacement.inside`, a rounding error beyond the border does no harm.

    Parameters
    ----------
    mask:
        (B or 1, 1, I, J, K), above zero where voxels count; None where all do.
    coordinates:
        (B or 1, 3, ...) with three more axes, voxel coordinates in the mask.
    like:
        Gives the grid (its last three axes) where there is no mask.

    Returns
    -------
    Tensor
        Without gradient, of the coordinates' type.
    """
    shape = (like if mask is None else mask).shape[2:]
    with torch.no_grad():
        inner = torch.ones_like(coordinates[:, :1])
        for axis, size in enumerate(shape):
            position = coordinates[:, axis : axis + 1]
            # Linear interpolation with zeros beyond the border equals the clamped one times these factors.
            inner = inner * (1 + torch.minimum(position, size - 1 - position).clamp(-1, 0))
        if mask is not None:
            batch = max(len(mask), len(coordinates))
            inner = inner * sample((mask > 0).to(coordinates.dtype).expand(batch, -1, -1, -1, -1), coordinates)
        return (inner >= VISIBLE).to(coordinates.dtype)


def overlap_mask(displacement: Tensor, moving_mask: Tensor | None = None, fixed_mask: Tensor | None = None) -> Tensor:
    """Return where the warped moving image and the fixed image can be compared, (B, 1, I, J, K) 0 or 1.

    That is where the map stays inside the moving image and its mask, and inside the fixed image's mask. No gradient.

    Parameters
    ----------
    displacement:
        (B, 3, I, J, K) voxels, from fixed to moving points.
    moving_mask, fixed_mask:
        (B or 1, 1, I, J, K), above zero where voxels count; None where all do.
    """
    visible = sample_mask(moving_mask, voxel_grid(displacement.shape[2:], displacement) + displacement, displacement)
    return visible if fixed_mask is None else visible * (fixed_mask > 0)


def _gradient(values: Tensor, scheme: Scheme) -> Tensor:
    """Return the derivatives of three channels along the voxel axes, (B, 3, 3, i, j, k)."""
    _require_field(values, 3 if scheme == "central" else 2)
    if scheme == "every":
        return torch.stack(torch.gradient(values, dim=(2, 3, 4)), dim=2)
    return torch.stack([_derivative(values, axis, scheme) for axis in (2, 3, 4)], dim=2)


def _derivative(values: Tensor, axis: int, scheme: Scheme) -> Tensor:
    step = 2 if scheme == "central" else 1
    size = values.shape[axis] - step
    slope = (values.narrow(axis, step, size) - values.narrow(axis, 0, size)) / step
    for across in {2, 3, 4} - {axis}:
        size = slope.shape[across] - step
        if scheme == "average":
            slope = (slope.narrow(across, 0, size) + slope.narrow(across, 1, size)) / 2
        else:
            slope = slope.narrow(across, step // 2, size)
    return slope


def _determinants(matrices: Tensor) -> Tensor:
    """Return determinants of (B, 3, 3, ...); written out, it is quick and has a gradient at singular matrices."""
    first, second, third = matrices.unbind(dim=2)
    determinants: Tensor = (first * torch.linalg.cross(second, third, dim=1)).sum(dim=1)
    return determinants


def _unit(axis: int, step: int) -> tuple[int, int, int]:
    return (step if axis == 0 else 0, step if axis == 1 else 0, step if axis == 2 else 0)


def _step(displacement: Tensor, offset: tuple[int, int, int]) -> Tensor:
    """Return where the neighbour at an offset goes, as seen from where the inner voxel goes: (B, 3, I-2, J-2, K-2)."""
    inner = tuple(slice(1, size - 1) for size in displacement.shape[2:])
    moved = tuple(slice(1 + step, size - 1 + step) for step, size in zip(offset, displacement.shape[2:], strict=True))
    direction = torch.tensor(offset, device=displacement.device, dtype=displacement.dtype).view(1, 3, 1, 1, 1)
    return displacement[:, :, *moved] - displacement[:, :, *inner] + direction


def _require_field(displacement: Tensor, least: int) -> None:
    shape = tuple(displacement.shape)
    if len(shape) != 5 or shape[1] != 3:
        raise InputError(
            f"A displacement field has the axes (batch, 3, I, J, K), this array has {shape}.",
            "Rearrange its axes.",
            code="image-dimensions",
        )
    if min(shape[2:]) < least:
        raise InputError(
            f"A displacement field of {shape[2:]} voxels is too small: {least} are needed along every axis.",
            "Use a larger grid.",
            code="image-dimensions",
        )
