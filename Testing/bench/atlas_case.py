"""The atlas that the bench draws: hidden 256, a 155 mm box, and a rounded body of 13 % of it as the brain."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from NeuroGenLib.atlas.network import AtlasDecoder, DecoderConfig

SEED = 20
INTENSITIES, CLASSES = 2, 10
BACKGROUND = (0,)
HALF_BOX = np.full(3, 77.5)
BRAIN_LEVEL = 0.289
"""The brain is where (1-|x|)(1-|y|)(1-|z|) is above this: 1 - t (1 - ln t + ln(t)^2 / 2) = 13 % of the box."""


@dataclass(frozen=True)
class AtlasCase:
    """A decoder with the latents (C, nz, ny, nx) and normalised conditions (c,) of one brain."""

    decoder: AtlasDecoder
    latents: Tensor
    conditions: Tensor


def atlas_case() -> AtlasCase:
    """Return the case; it is the same every time.

    The first latent channel is 1 at the central node and 0 at the others, so its interpolation is the product of three
    hat functions; the background's logit reads that channel alone, which makes the brain a smooth convex body.
    """
    generator = torch.Generator().manual_seed(SEED)
    decoder = AtlasDecoder(DecoderConfig(INTENSITIES, CLASSES, conditions=1), generator).requires_grad_(False)
    decoder.centre_modulation()
    latents = 0.3 * torch.randn(decoder.shape.latent_shape, generator=generator)
    latents[0] = 0
    latents[0, 1, 1, 1] = 1
    steepness = 10.0
    weight, bias = decoder.output.weight[INTENSITIES], decoder.output.bias[INTENSITIES : INTENSITIES + 1]
    weight.zero_()
    weight[decoder.shape.hidden] = -steepness
    bias.fill_(steepness * BRAIN_LEVEL)
    return AtlasCase(decoder, latents, torch.tensor([0.05]))
