"""What training of super-resolution minimises."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from NeuroGenLib.superres.config import OptimiserConfig
    from NeuroGenLib.superres.data.windows import WindowBatch

_SMOOTH = 1e-3
"""Differences below this count squared, larger ones as they are."""
_FAINT = 2e-4
"""Mean squared error that is as good as none; 1 is the intensity range."""


def charbonnier(difference: Tensor) -> Tensor:
    """Return ``sqrt(d^2 + e^2) - e`` of every difference: nearly its size, but smooth at 0."""
    return (difference.square() + _SMOOTH**2).sqrt() - _SMOOTH


def superres_loss(prediction: Tensor, batch: WindowBatch, settings: OptimiserConfig) -> dict[str, Tensor]:
    """Return the loss of a batch and its parts.

    Parameters
    ----------
    prediction:
        (B, 1, I, J, K): what the network made of ``batch.low``.
    batch:
        On its device.
    settings:
        ``loss`` is of one of three kinds. ``relative``: the mean squared error of each window beside that of
        ``batch.low``, so that thin slices count as much as thick ones, which leave far larger errors. ``mse``: without
        that division. ``charbonnier``: a smooth L1, with that of differences between neighbours along each axis, which
        keeps edges sharp, by ``gradient_weight``. Voxels outside the head count by ``outside_weight``.
    """
    difference = (prediction - batch.target).float()
    weight = settings.outside_weight + (1 - settings.outside_weight) * batch.head
    total = weight.sum().clamp(min=1)
    if settings.loss == "mse":
        return {"loss": (weight * difference.square()).sum() / total}
    if settings.loss == "relative":
        dims = (1, 2, 3, 4)
        error = (weight * difference.square()).sum(dims) / weight.sum(dims).clamp(min=1)
        input_error = (weight * (batch.low - batch.target).square()).sum(dims) / weight.sum(dims).clamp(min=1)
        return {"loss": (error / (input_error + _FAINT)).mean(), "mse": error.mean()}
    intensity = (weight * charbonnier(difference)).sum() / total
    parts = []
    for axis in (2, 3, 4):
        size = difference.shape[axis] - 1
        steps = charbonnier(difference.diff(dim=axis))
        both = weight.narrow(axis, 1, size).minimum(weight.narrow(axis, 0, size))
        parts.append((both * steps).sum() / both.sum().clamp(min=1))
    gradient = sum(parts[1:], parts[0]) / 3
    return {"loss": intensity + settings.gradient_weight * gradient, "intensity": intensity, "gradient": gradient}
