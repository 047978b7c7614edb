"""The inverse of a displacement by fixed-point iteration, with gradients that do not run through the iteration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional

from NeuroGenLib.spatial.transforms.displacement import sample, voxel_grid

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

_WRONG = 0.02
"""Error of inverse consistency, voxels, above which a voxel of Newton's method is solved again. A trade
of exactness against time."""
_ALIGNMENT = 16
"""float32 numbers in 64 bytes. How a matrix product sums up depends on where its rows lie relative to such boundaries
(MKL on AVX2 and AVX-512: a third of the Gram matrices differed in their last bit)."""
_ROUNDS, _ALONE = 3, 15
"""Rounds in which voxels above that are solved by themselves, and Newton steps of each round."""


@dataclass(frozen=True)
class FixedPoint:
    """When the iteration stops, and how Anderson acceleration mixes.

    Parameters
    ----------
    threshold:
        Largest change of any component that still counts as standing, voxels.
    least, most:
        Iterations.
    memory:
        How many earlier iterates are mixed.
    ridge:
        Added to the diagonal of their Gram matrix.
    """

    threshold: float = 1e-2
    least: int = 2
    most: int = 50
    memory: int = 4
    ridge: float = 1e-4


def solve(function: Callable[[Tensor], Tensor], start: Tensor, settings: FixedPoint) -> Tensor:
    """Return x with ``function(x) = x`` to the threshold, by Anderson acceleration (Walker and Ni, 2011).

    Each element of the batch is mixed by itself, to the same bits wherever in the batch it lies: exact symmetry under
    swapped images depends on it. The iteration goes on until all of them stand.

    Parameters
    ----------
    function:
        (B, ...) to (B, ...).
    start:
        (B, ...) first guess.
    """
    batch, depth, size = len(start), settings.memory, start[0].numel()
    inputs = start.new_zeros((batch, depth, -(-size // _ALIGNMENT) * _ALIGNMENT))
    outputs = torch.zeros_like(inputs)
    count = 0
    value = start
    while True:
        slot = count % depth
        inputs[:, slot, :size] = value.reshape(batch, -1)
        answer = function(value)
        outputs[:, slot, :size] = answer.reshape(batch, -1)
        count += 1
        if count >= settings.most:
            return answer
        if count >= settings.least and float((answer - value).abs().max()) < settings.threshold:
            return answer
        if count == 1:
            value = answer
        else:
            value = _mix(inputs, outputs, min(count, depth), settings.ridge)[:, :size].reshape(start.shape)


def _mix(inputs: Tensor, outputs: Tensor, count: int, ridge: float) -> Tensor:
    """Return the mixture of the iterates, with weights that sum to one, whose residual is smallest."""
    steps = outputs[:, :count] - inputs[:, :count]
    gram = torch.bmm(steps, steps.transpose(1, 2))
    system = gram.new_ones((len(gram), count + 1, count + 1))
    system[:, 0, 0] = 0
    system[:, 1:, 1:] = gram + ridge * torch.eye(count, device=gram.device, dtype=gram.dtype)
    target = gram.new_zeros((len(gram), count + 1, 1))
    target[:, 0] = 1
    weights = torch.linalg.solve(system, target)[:, 1:]
    return torch.bmm(weights.transpose(1, 2), outputs[:, :count])[:, 0]


def invert(displacement: Tensor, settings: FixedPoint | None = None) -> Tensor:
    """Return the displacement v with x + v(x) + u(x + v(x)) = x, (B, 3, I, J, K) in voxels.

    The gradient is that of the implicit equation: at the solution v depends on u at one place only, so the adjoint
    system falls into one 3x3 system a voxel and is solved exactly.

    Parameters
    ----------
    displacement:
        u, whose maximum-norm Lipschitz constant is below one (:func:`splines.invertible_bound`); for others the
        iteration ends after ``settings.most`` steps without having converged.
    """
    inverse: Tensor = _Inversion.apply(displacement, settings or FixedPoint())  # type: ignore[no-untyped-call]  # torch
    return inverse


@torch.no_grad()
def newton_inverse(displacement: Tensor, start: Tensor, steps: int = 3) -> Tensor:
    """Improve a rough inverse by Newton's method; displacements of any size, (B, 3, I, J, K) in voxels.

    A voxel where a step does not bring the two closer to being inverse keeps what it had, as beyond the border, and
    tries half of it next. The few voxels that are far from it in the end go on by themselves, from where they are and
    from the mean of their neighbours.
    """
    grid = voxel_grid(displacement.shape[2:], displacement)
    inverse = _newton(displacement, grid, start, steps)
    for _ in range(_ROUNDS):
        wrong = _distance(displacement, grid, inverse) > _WRONG
        if not wrong.any():
            break
        tried = inverse.clone()
        for number in range(len(inverse)):
            if wrong[number].any():
                tried[number] = _solved_alone(displacement[number, None], grid, inverse[number, None], wrong[number, 0])
        if torch.equal(tried, inverse):
            break
        inverse = tried
    return inverse


def _newton(displacement: Tensor, where: Tensor, start: Tensor, steps: int) -> Tensor:
    """Return the inverse at positions ``where`` after a number of steps, each (B, 3, I, J, K)."""
    inverse, pace = start, torch.ones_like(start[:, :1])
    for _ in range(steps):
        values, slopes = _value_and_slopes(displacement, where + inverse)
        residual = inverse + values
        columns = [torch.stack([slope[:, axis] for slope in slopes], dim=1) for axis in range(3)]
        # Clipped, as a step of more than a voxel leaves the cell whose slope it followed.
        candidate = inverse - pace * _solve_transposed(columns, residual).clamp(-1, 1)
        closer = _distance(displacement, where, candidate) < residual.norm(dim=1, keepdim=True)
        inverse, pace = torch.where(closer, candidate, inverse), torch.where(closer, 1.0, pace / 2)
    return inverse


def _solved_alone(displacement: Tensor, grid: Tensor, inverse: Tensor, wrong: Tensor) -> Tensor:
    """Return the inverse (3, I, J, K) with the voxels of ``wrong``, (I, J, K) bool, brought closer."""
    i, j, k = wrong.nonzero().T
    right = (~wrong)[None, None].to(inverse)
    count = functional.avg_pool3d(right, 3, stride=1, padding=1)
    around = functional.avg_pool3d(inverse * right, 3, stride=1, padding=1) / count.clamp(min=1e-6)
    where, *starts = (rough[:, :, i, j, k][..., None, None] for rough in (grid, inverse, around))
    candidates = [_newton(displacement, where, rough, _ALONE) for rough in starts]
    nearer = _distance(displacement, where, candidates[1]) < _distance(displacement, where, candidates[0])
    result = inverse[0].clone()
    result[:, i, j, k] = torch.where(nearer, candidates[1], candidates[0])[0, ..., 0, 0]
    return result


def _distance(displacement: Tensor, where: Tensor, inverse: Tensor) -> Tensor:
    """Return the error of inverse consistency, voxels, (B, 1, I, J, K)."""
    residual: Tensor = (inverse + sample(displacement, where + inverse)).norm(dim=1, keepdim=True)
    return residual


class _Inversion(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, displacement: Tensor, settings: FixedPoint) -> Tensor:
        grid = voxel_grid(displacement.shape[2:], displacement)
        inverse = solve(lambda value: -sample(displacement, grid + value), -displacement, settings)
        ctx.save_for_backward(displacement, inverse)
        return inverse

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        displacement, inverse = ctx.saved_tensors
        where = voxel_grid(displacement.shape[2:], displacement) + inverse
        # v = -u(x + v): with S the slope of u there, (1 + S)^T w = dL/dv and dL/du = -(sampling)^T w.
        _, slopes = _value_and_slopes(displacement.detach(), where)
        adjoint = _solve_transposed(slopes, gradient)
        with torch.enable_grad():
            source = displacement.detach().requires_grad_()
            (result,) = torch.autograd.grad(sample(source, where), source, -adjoint)
        return result, None


def _value_and_slopes(displacement: Tensor, where: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Return u at positions, and the rows of 1 + du/dx there, each (B, 3, I, J, K)."""
    with torch.enable_grad():
        positions = where.detach().requires_grad_()
        values = sample(displacement, positions)
        rows = [torch.autograd.grad(values[:, row].sum(), positions, retain_graph=True)[0] for row in range(3)]
    for number, row in enumerate(rows):
        row[:, number] += 1
    return values.detach(), rows


def _solve_transposed(rows: list[Tensor], right: Tensor) -> Tensor:
    """Return w with M^T w = right at every voxel; ``rows`` are the three rows of M, each (B, 3, I, J, K).

    The columns of M^T are the rows of M, so Cramer's rule takes cross products of rows.
    """
    first, second, third = rows
    across = torch.linalg.cross(second, third, dim=1)
    determinant = (first * across).sum(dim=1, keepdim=True)
    solution: Tensor = (
        torch.cat(
            [
                (right * across).sum(dim=1, keepdim=True),
                (right * torch.linalg.cross(third, first, dim=1)).sum(dim=1, keepdim=True),
                (right * torch.linalg.cross(first, second, dim=1)).sum(dim=1, keepdim=True),
            ],
            dim=1,
        )
        / determinant
    )
    return solution
