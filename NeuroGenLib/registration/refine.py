"""Instance optimisation: Adam steps on the half-way maps of this very pair.

Every step is one more stage of the network, found by the gradient of the similarity instead of by convolutions: control
points of a cubic B-spline, bounded so that the step is invertible, composed with what stands. Both images move towards
each other by the same rule, so that swapped images swap the result. Composing small invertible steps is the greedy
scheme of symmetric normalisation (Avants et al., Medical Image Analysis 2008), with Adam (Kingma and Ba, 2015) in place
of a step along the gradient.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional

from NeuroGenLib.core.progress import SILENT, Progress
from NeuroGenLib.registration.losses import ncc_loss
from NeuroGenLib.registration.network.inversion import FixedPoint, invert, newton_inverse
from NeuroGenLib.spatial.transforms.b_splines import evaluate, evaluation_matrix, invertible_bound
from NeuroGenLib.spatial.transforms.displacement import Displacement, compose, sample, voxel_grid
from NeuroGenLib.spatial.transforms.jacobian import discrete_jacobians, jacobian_determinants

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

_FLOOR = 0.3
"""Share of the mean divisor below which Adam's divisor does not fall."""
_WEAKEST = 5e-3
"""Nor below this over the number of control points, a tenth of what it is for images that differ: images that are
equal but for rounding or noise would take full steps anywhere."""
_LEAST_VOLUME = 0.2
"""Where a finished half-way map shrinks a voxel to less, it is smoothed: two such maps, interpolated, could fold."""
_LEAST_TETRAHEDRON = 0.05
"""Volume of a tetrahedron of the finished maps, which is 1 without motion, below which it counts as inverted."""
_MOST_SMOOTHINGS = 12
"""Rounds of smoothing at most: some voxels may stay below the limit."""
_INVERSION = FixedPoint(threshold=2e-3, least=2, most=10, memory=3)
"""Steps move by a fraction of a voxel: two or three iterations."""


@dataclass(frozen=True)
class Adam:
    """Size of the steps.

    Parameters
    ----------
    rate:
        Largest usual movement of a control point in a step, voxels.
    spacing:
        Distance of the control points, voxels.
    smoothness:
        Weight of the squared slope of the half-way maps against the squared correlation (0 to 1).
    window:
        Side of the cube in which images are correlated, voxels.
    """

    rate: float = 0.25
    spacing: int = 3
    smoothness: float = 1.0
    window: int = 5
    betas: tuple[float, float] = (0.9, 0.99)


@dataclass(frozen=True, eq=False)
class HalfMaps:
    """Half-way maps and their inverses, displacements (1, 3, i, j, k) in voxels of the one grid they lie on.

    Parameters
    ----------
    left, right:
        From the middle to the first (moving) image, and to the second (fixed) one.
    left_inverse, right_inverse:
        Their inverses.
    affine:
        (4, 4) voxels of the grid to mm of the halfway space.
    """

    left: Tensor
    right: Tensor
    left_inverse: Tensor
    right_inverse: Tensor
    affine: np.ndarray

    @classmethod
    def identity(cls, shape: Sequence[int], like: Tensor, affine: np.ndarray | None = None) -> HalfMaps:
        """Return the maps that leave all points where they are; on a grid of 1 mm when no affine is given."""
        zero = like.new_zeros((1, 3, *shape))
        return cls(zero, zero, zero, zero, np.eye(4) if affine is None else affine)

    def on_grid(self, shape: Sequence[int], affine: np.ndarray) -> HalfMaps:
        """Return the maps on another grid of the halfway space; see :meth:`Displacement.on_grid`."""
        maps = (self.left, self.right, self.left_inverse, self.right_inverse)
        left, right, left_inverse, right_inverse = (
            Displacement(values, self.affine).on_grid(shape, affine).values for values in maps
        )
        return HalfMaps(left, right, left_inverse, right_inverse, affine)

    def total(self) -> tuple[Displacement, Displacement]:
        """Return the map from the second image to the first, and its inverse, without folds of the composition."""
        forward = unfolded(compose(self.left, self.right_inverse))
        inverse = unfolded(compose(self.right, self.left_inverse))
        return Displacement(forward, self.affine), Displacement(inverse, self.affine)

    def polished(self) -> HalfMaps:
        """Return the maps free of what many interpolations left: smoothed where almost folded, inverted again."""
        left, right = relaxed(self.left), relaxed(self.right)
        return HalfMaps(
            left,
            right,
            newton_inverse(left, self.left_inverse),
            newton_inverse(right, self.right_inverse),
            self.affine,
        )


def relaxed(displacement: Tensor) -> Tensor:
    """Return a displacement (1, 3, I, J, K) in voxels, smoothed around the voxels that it shrinks almost to nothing."""
    return _smoothed_where(displacement, lambda field: jacobian_determinants(field, "every") < _LEAST_VOLUME, 2)


def unfolded(displacement: Tensor) -> Tensor:
    """Return a displacement (1, 3, I, J, K) in voxels, smoothed around the voxels where a tetrahedron is inverted.

    Two maps that do not fold, sampled and composed, may still do so between the samples.
    """
    return _smoothed_where(displacement, _inverted, 3)


def _inverted(displacement: Tensor) -> Tensor:
    """Return the voxels, (1, I, J, K), where one of the ten tetrahedra is almost empty or inverted."""
    volumes = torch.stack(list(discrete_jacobians(displacement).values())).amin(dim=0)
    return functional.pad(volumes, (1,) * 6, value=1.0) < _LEAST_TETRAHEDRON


def _smoothed_where(displacement: Tensor, selected: Callable[[Tensor], Tensor], least_side: int) -> Tensor:
    """Return a displacement smoothed around the ``selected`` voxels; a grid with a shorter axis stays as it is."""
    if min(displacement.shape[2:]) < least_side:
        return displacement
    for _ in range(_MOST_SMOOTHINGS):
        places = selected(displacement)[:, None]
        if not places.any():
            break
        around = _smoothed(functional.max_pool3d(places.to(displacement), 3, stride=1, padding=1))
        displacement = torch.lerp(displacement, _smoothed(displacement), around)
    return displacement


def _smoothed(values: Tensor) -> Tensor:
    """Return (1, C, I, J, K) values averaged with weights 1, 2, 1 along each axis; the border goes on outside."""
    for axis in (2, 3, 4):
        size = values.shape[axis]
        before = torch.cat([values.narrow(axis, 0, 1), values.narrow(axis, 0, size - 1)], dim=axis)
        after = torch.cat([values.narrow(axis, 1, size - 1), values.narrow(axis, size - 1, 1)], dim=axis)
        values = (before + 2 * values + after) / 4
    return values


@torch.no_grad()
def refine(
    first: Tensor,
    second: Tensor,
    maps: HalfMaps,
    steps: int,
    settings: Adam | None = None,
    progress: Progress = SILENT,
) -> HalfMaps:
    """Improve half-way maps by ``steps`` steps.

    Parameters
    ----------
    first, second:
        (1, C, I, J, K) the moving and the fixed image, about 0 to 1, on the grid of the maps.
    maps:
        Where to start.
    progress:
        Progress callback; a cancelled one ends the work there.

    Raises
    ------
    Cancelled
        When ``progress`` was cancelled.
    """
    chosen = settings or Adam()
    shape = first.shape[2:]
    grid = voxel_grid(shape, first)
    splines = _splines(shape, chosen.spacing, first)
    limit = 0.99 * invertible_bound((chosen.spacing,) * 3) * chosen.spacing
    moments = [(torch.zeros(()), torch.zeros(())) for _ in range(2)]
    for step in range(1, steps + 1):
        gradients = _gradients(first, second, maps, grid, chosen)
        moves = []
        for side, gradient in enumerate(gradients):
            slope = evaluate(gradient, [matrix.T for matrix in splines])
            direction, moments[side] = _adam(slope, moments[side], step, chosen.betas)
            points = (-chosen.rate * direction).clamp(-limit, limit)
            moves.append(evaluate(points, splines))
        maps = _composed(maps, moves, grid)
        progress.update(step, steps, "improving the registration")
    return maps


def _composed(maps: HalfMaps, moves: Sequence[Tensor], grid: Tensor) -> HalfMaps:
    left, right = moves
    undo_left, undo_right = invert(torch.cat([left, right]), _INVERSION).chunk(2)
    return HalfMaps(
        compose(maps.left, left, grid),
        compose(maps.right, right, grid),
        compose(undo_left, maps.left_inverse, grid),
        compose(undo_right, maps.right_inverse, grid),
        maps.affine,
    )


def _gradients(first: Tensor, second: Tensor, maps: HalfMaps, grid: Tensor, settings: Adam) -> tuple[Tensor, ...]:
    """Return the gradient of the loss by the displacements of both half-way maps."""
    with torch.enable_grad():
        left, right = (values.detach().requires_grad_() for values in (maps.left, maps.right))
        loss = ncc_loss(
            sample(first, grid + left), sample(second, grid + right), window=settings.window, normalise="valid"
        )
        if settings.smoothness:
            loss = loss + settings.smoothness * (_roughness(left) + _roughness(right))
        return torch.autograd.grad(loss, [left, right])


def _roughness(displacement: Tensor) -> Tensor:
    return torch.stack([displacement.diff(dim=axis).square().mean() for axis in (2, 3, 4)]).sum()


def _adam(
    gradient: Tensor, moments: tuple[Tensor, Tensor], step: int, betas: tuple[float, float]
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Return Adam's direction and its moments.

    The divisor never falls far below its mean over the volume: where the images are flat, noise would count as much
    as edges do elsewhere. Nor does it fall below a usual size.
    """
    mean = betas[0] * moments[0].to(gradient) + (1 - betas[0]) * gradient
    square = betas[1] * moments[1].to(gradient) + (1 - betas[1]) * gradient.square()
    size = (square / (1 - betas[1] ** step)).sqrt()
    floor = _FLOOR * size.mean() + _WEAKEST / gradient[0, 0].numel()
    return mean / (1 - betas[0] ** step) / (size + floor), (mean, square)


def _splines(shape: Sequence[int], spacing: int, like: Tensor) -> list[Tensor]:
    """Return one matrix an axis, from control points (with the grid's centre) to the grid's voxels."""
    matrices = []
    for size in shape:
        count = -(-size // spacing) + 1
        positions = (torch.arange(size) - (size - 1) / 2) / spacing + (count - 1) / 2
        matrices.append(torch.from_numpy(evaluation_matrix(count, positions.numpy())).to(like))
    return matrices
