"""What the limited resolution of a scan does to an image, as one matrix along each axis."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

_SHARPEST = 1e-3


def blur_matrix(size: int, sigma: float) -> np.ndarray:
    """Return the (size, size) matrix that blurs one axis with a Gaussian of ``sigma`` voxels.

    Its rows add up to 1: a constant stays as it is, at the border too.
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
        Where the first slice lies, 0 to 1, in slices.
    """
    index = np.arange(size)
    centres = np.arange((offset - 1) * thickness, size - 1 + thickness, thickness)
    sigma = thickness / np.sqrt(8 * np.log(2))
    # A slice in front of the first voxel sees the border go on.
    profile = _normalised(np.exp(-0.5 * ((centres.clip(0, size - 1)[:, None] - index) / sigma) ** 2))
    between = np.maximum(0, 1 - np.abs(index[:, None] - centres) / thickness)
    weights: np.ndarray = _normalised(between) @ profile
    return weights


def apply_along_axes(image: torch.Tensor, matrices: Sequence[np.ndarray]) -> torch.Tensor:
    """Return the image (1, 1, I, J, K) after one matrix along each of I, J, K."""
    import torch

    from NeuroGenLib.spatial.b_splines import evaluate

    return evaluate(image, [torch.as_tensor(matrix, dtype=image.dtype, device=image.device) for matrix in matrices])


def _normalised(weights: np.ndarray) -> np.ndarray:
    normalised: np.ndarray = weights / weights.sum(axis=1, keepdims=True)
    return normalised
