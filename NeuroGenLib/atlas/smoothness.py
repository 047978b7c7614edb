"""Weights of the smoothness loss: the latents that the rest of the cohort predicts for a subject."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from NeuroGenLib.atlas.conditions import encode_all
from NeuroGenLib.atlas.regression import subject_weights
from NeuroGenLib.core.errors import InputError

if TYPE_CHECKING:
    from NeuroGenLib.atlas.data.dataset import AtlasDataset


def neighbour_weights(dataset: AtlasDataset, bandwidth: float) -> torch.Tensor:
    """Return (S, S) weights of the other subjects in the atlas at each subject's age and conditions.

    A subject whose age the others do not support counts for itself.

    Parameters
    ----------
    dataset:
        The cohort of S subjects.
    bandwidth:
        Kernel width of the age regression, in the unit of age.
    """
    encoded = np.stack([encode_all(dataset.conditions, values) for values in dataset.values])
    scale = np.concatenate(
        [np.full(condition.width, condition.scale) for condition in dataset.conditions] or [np.zeros(0)]
    )
    count = len(dataset.ages)
    weights = np.zeros((count, count))
    for row in range(count):
        neighbours = np.flatnonzero(np.arange(count) != row)
        offsets = (encoded[neighbours] - encoded[row]) / scale if dataset.conditions else None
        try:
            regressed = subject_weights(dataset.ages[neighbours], dataset.ages[row], bandwidth, conditions=offsets)
            weights[row, neighbours] = regressed.weights
        except (InputError, ValueError):
            weights[row, row] = 1
    return torch.from_numpy(weights).float()
