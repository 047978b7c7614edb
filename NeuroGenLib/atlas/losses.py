"""Losses of atlas training and fitting."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from NeuroGenLib.core.errors import InputError, nearest

if TYPE_CHECKING:
    from NeuroGenLib.atlas.config import OptimiserConfig


@dataclass(frozen=True)
class LossWeights:
    """How the parts of the loss are weighted.

    Attributes
    ----------
    intensity:
        ``l1`` or ``mse``.
    segmentation, transform, latent, smoothness:
        Factors of the label loss and of the penalties on transforms, latents, and latents unlike those expected.
    classes:
        (classes,) weight of each class in the label loss, or None.
    """

    intensity: Literal["l1", "mse"] = "l1"
    segmentation: float = 1.0
    transform: float = 0.0
    latent: float = 0.0
    classes: Tensor | None = None
    smoothness: float = 0.0


def atlas_loss(
    output: Tensor,
    intensities: Tensor,
    classes: Tensor,
    weights: LossWeights,
    *,
    transforms: Tensor,
    latents: Tensor,
    expected: Tensor | None = None,
) -> dict[str, Tensor]:
    """Return the parts of the loss and their weighted sum, ``loss``.

    Parameters
    ----------
    output:
        (n, outputs) raw: intensities, then class logits.
    intensities:
        (n, modalities).
    classes:
        (n,) int64.
    weights:
        The weighting; a part of weight zero is still reported, but without gradient.
    transforms, latents:
        The parameters of the subjects in the batch.
    expected:
        What the other subjects lead to expect of ``latents``.
    """
    split = intensities.shape[1]
    difference = output[:, :split] - intensities
    parts = {
        "intensity": difference.abs().mean() if weights.intensity == "l1" else difference.square().mean(),
        "segmentation": cross_entropy(output[:, split:], classes, weight=weights.classes),
        "transform": transform_penalty(transforms),
        "latent": latents.square().mean(),
    }
    if expected is not None:
        parts["smoothness"] = (latents - expected).square().mean()
    factors = {
        "intensity": 1.0,
        "segmentation": weights.segmentation,
        "transform": weights.transform,
        "latent": weights.latent,
        "smoothness": weights.smoothness,
    }
    total = torch.zeros((), device=output.device)
    for name, factor in factors.items():
        if factor and name in parts:
            total = total + factor * parts[name]
    return {"loss": total, **{name: value.detach() for name, value in parts.items()}}


def transform_penalty(transforms: Tensor) -> Tensor:
    """Return the mean square of the rotation, of the translation and of the scale parameters, summed."""
    groups = [transforms[:, start : start + 3] for start in range(0, min(transforms.shape[1], 9), 3)]
    if not groups:
        return torch.zeros((), device=transforms.device)
    return torch.stack([group.square().mean() for group in groups]).sum()


def class_weights(settings: OptimiserConfig, names: tuple[str, ...]) -> Tensor | None:
    """Return (classes,) weights of the label loss, or None when all are 1.

    Raises
    ------
    InputError
        When a weight is for a label that is not in the table, or no weight is above zero.
    """
    for name in settings.class_weights:
        if name not in names:
            raise InputError(
                f"optimiser.class_weights names '{name}', which is not a label.",
                nearest(name, names),
                code="name-unknown",
            )
    if not settings.class_weights:
        return None
    weights = torch.tensor([settings.class_weights.get(name, 1.0) for name in names])
    if not (weights > 0).any():
        raise InputError("All class weights are zero.", "Give at least one label a weight.", code="value-invalid")
    return weights
