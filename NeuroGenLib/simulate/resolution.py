"""Limited resolution of a scan: blur and thick slices as one matrix along each axis."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

_SHARPEST = 1e-3
"""Least standard deviation of a blur in voxels; below it the Gaussian is 0 at the neighbours."""


def blur_matrix(size: int, sigma: float) -> np.ndarray:
    """Return the (size, size) matrix that blurs one axis with a Gaussian of ``sigma`` voxels.

    Its rows add up to 1: a constant is preserved, at the border too.

    Examples
    --------
    >>> blur_matrix(3, 1.0).round(2).tolist()
    [[0.57, 0.35, 0.08], [0.27, 0.45, 0.27], [0.08, 0.35, 0.57]]
    """
    if sigma < _SHARPEST:
        return np.eye(size)
    index = np.arange(size)
    return _normalised(np.exp(-0.5 * ((index[:, None] - index) / sigma) ** 2))


def slices_matrix(size: int, thickness: float, offset: float) -> np.ndarray:
    """Return the (size, size) matrix that scans one axis in thick slices and interpolates between them linearly.

    Parameters
    ----------
    thickness:
        Distance of slices and width at half maximum of their Gaussian profile, in voxels, at least 1.
    offset:
        Position of the first slice, 0 to 1, in slices.

    Examples
    --------
    >>> slices_matrix(6, 2.0, 0.5).sum(axis=1).round(6).tolist()
    [1.0, 1.0, 1.0, 1.0, 1.0, 1.0]
    """
    index = np.arange(size)
    centres = np.arange((offset - 1) * thickness, size - 1 + thickness, thickness)
    sigma = thickness / np.sqrt(8 * np.log(2))
    # In front of the first voxel its value continues.
    profile = _normalised(np.exp(-0.5 * ((centres.clip(0, size - 1)[:, None] - index) / sigma) ** 2))
    between = np.maximum(0, 1 - np.abs(index[:, None] - centres) / thickness)
    weights: np.ndarray = _normalised(between) @ profile
    return weights


def apply_along_axes(image: torch.Tensor, matrices: Sequence[np.ndarray]) -> torch.Tensor:
    """Apply one matrix along each of the axes I, J, K of an image (1, 1, I, J, K).

    Examples
    --------
    >>> import torch
    >>> mean = np.full((1, 2), 0.5)
    >>> apply_along_axes(torch.arange(8.0).reshape(1, 1, 2, 2, 2), [mean, mean, mean]).item()
    3.5
    """
    import torch

    from NeuroGenLib.spatial.transforms.b_splines import evaluate

    return evaluate(image, [torch.as_tensor(matrix, dtype=image.dtype, device=image.device) for matrix in matrices])


def _normalised(weights: np.ndarray) -> np.ndarray:
    normalised: np.ndarray = weights / weights.sum(axis=1, keepdims=True)
    return normalised
