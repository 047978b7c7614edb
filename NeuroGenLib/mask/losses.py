"""Loss of the brain mask: cross-entropy and soft Dice."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional

if TYPE_CHECKING:
    from torch import Tensor


def mask_loss(logits: Tensor, brain: Tensor, dice_weight: float) -> dict[str, Tensor]:
    """Return the loss and its parts.

    Parameters
    ----------
    logits, brain:
        (B, 1, I, J, K) of the network, and the share of brain in each voxel, 0 to 1.
    dice_weight:
        Weight of ``1 - soft Dice`` beside the mean cross-entropy.
    """
    entropy = functional.binary_cross_entropy_with_logits(logits.float(), brain)
    probability = torch.sigmoid(logits.float())
    axes = (1, 2, 3, 4)
    # With squares in the denominator a mask is best where it equals the shares, also at the border.
    sizes = probability.square().sum(axes) + brain.square().sum(axes)
    dice = (2 * (probability * brain).sum(axes) + 1) / (sizes + 1)
    distance = 1 - dice.mean()
    return {"loss": entropy + dice_weight * distance, "entropy": entropy, "dice": 1 - distance}
