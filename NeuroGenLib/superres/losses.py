"""What training of super-resolution minimises."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

_SMOOTH = 1e-3
"""Differences below this count squared, larger ones as they are."""


def charbonnier(difference: Tensor) -> Tensor:
    """Return ``sqrt(d^2 + e^2) - e`` of every difference: nearly its size, but smooth at 0."""
    return (difference.square() + _SMOOTH**2).sqrt() - _SMOOTH


def superres_loss(
    found: Tensor, target: Tensor, head: Tensor, gradient_weight: float, outside_weight: float
) -> dict[str, Tensor]:
    """Return the loss and its parts.

    Parameters
    ----------
    found, target, head:
        (B, 1, I, J, K): what the network returned and should have, and 1 inside the head.
    gradient_weight:
        Of the loss of differences between neighbours along each axis: keeps edges sharp.
    outside_weight:
        How much a voxel outside the head counts.
    """
    difference = (found - target).float()
    weight = outside_weight + (1 - outside_weight) * head
    total = weight.sum().clamp(min=1)
    intensity = (weight * charbonnier(difference)).sum() / total
    parts = []
    for axis in (2, 3, 4):
        size = difference.shape[axis] - 1
        steps = charbonnier(difference.diff(dim=axis))
        both = weight.narrow(axis, 1, size).minimum(weight.narrow(axis, 0, size))
        parts.append((both * steps).sum() / both.sum().clamp(min=1))
    gradient = sum(parts[1:], parts[0]) / 3
    return {"loss": intensity + gradient_weight * gradient, "intensity": intensity, "gradient": gradient}
