"""Affine maps from twelve parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

PARAMETERS = 12
"""Three logarithmic scales, three logarithmic shears, three rotations (radians), three translations."""


def affine_matrix(parameters: Tensor) -> Tensor:
    """Return ``exp(symmetric) exp(skew) translation``, (B, 12) to (B, 4, 4) (Honkamaa and Marttinen, SITReg, 2023).

    Negating all parameters does not invert it; composing a matrix with the inverse of another one is how the network
    makes a pair of maps that swap with its inputs.
    """
    scales, shears, rotations, shift = parameters.split(3, dim=1)
    symmetric = torch.diag_embed(scales) + _off_diagonal(shears, 1)
    linear = torch.linalg.matrix_exp(symmetric) @ torch.linalg.matrix_exp(_off_diagonal(rotations, -1))
    matrix = torch.eye(4, device=parameters.device, dtype=parameters.dtype).repeat(len(parameters), 1, 1)
    matrix[:, :3, :3] = linear
    matrix[:, :3, 3] = (linear @ shift[:, :, None])[:, :, 0]
    return matrix


def _off_diagonal(values: Tensor, sign: int) -> Tensor:
    """Return 3x3 matrices with three values above the diagonal and the same below it, times ``sign``."""
    zero = torch.zeros_like(values[:, 0])
    first, second, third = values.unbind(dim=1)
    rows = [zero, first, second, sign * first, zero, third, sign * second, sign * third, zero]
    return torch.stack(rows, dim=1).view(-1, 3, 3)
