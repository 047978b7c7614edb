"""Smooth random fields, for bias fields, texture, lesions and deformations."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from NeuroGenLib.simulate.random_numbers import uniform

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

# Mean square of the cubic B-spline weights of independent control points, for one axis.
_VARIANCE = 151 / 315


def smooth_noise(shape: Sequence[int], spacing: float, generator: torch.Generator, channels: int = 1) -> torch.Tensor:
    """Sample a Gaussian random field that varies over ``spacing`` voxels.

    It is a cubic B-spline (twice differentiable) of independent normal control points at a random offset.

    Parameters
    ----------
    shape:
        (I, J, K) voxels.
    spacing:
        Distance of control points in voxels.
    generator:
        Source of randomness; the field is on its device.
    channels:
        Number of independent fields.

    Returns
    -------
    Tensor
        (1, channels, I, J, K) float32 with mean 0 and standard deviation 1 over many samples.

    Examples
    --------
    >>> import torch
    >>> smooth_noise((8, 9, 10), 4.0, torch.Generator().manual_seed(0), channels=3).shape
    torch.Size([1, 3, 8, 9, 10])
    """
    import torch

    from NeuroGenLib.spatial.transforms.b_splines import evaluate, evaluation_matrix

    matrices, counts = [], []
    for size in shape:
        # One control point before the first voxel and two after the last one: none is repeated at the border.
        positions = np.arange(size) / spacing + 1 + uniform(generator, 0, 1)
        counts.append(int(positions[-1]) + 3)
        matrix = evaluation_matrix(counts[-1], positions)
        matrices.append(torch.as_tensor(matrix, dtype=torch.float32, device=generator.device))
    control_points = torch.randn((1, channels, *counts), generator=generator, device=generator.device)
    noise: torch.Tensor = evaluate(control_points, matrices) / _VARIANCE**1.5
    return noise
