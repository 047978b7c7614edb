"""Held-out heads for the tiny atlas of :mod:`Testing.atlas_fixtures`, and the overlap of their label maps."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from NeuroGenLib.spatial.metrics import dice_by_label
from NeuroGenLib.spatial.volume import Volume
from Testing.geometry import a_brain_phantom, rotation

if TYPE_CHECKING:
    from collections.abc import Sequence

CENTRE = np.array([12.0, -30.0, 25.0])
"""Where the held-out heads are, in mm."""

SIZE = 0.95
"""Between those of the second and third training subject."""

LARGE = (1, 3, 4, 5, 6)
"""Labels that a tiny atlas of 5 mm voxels can show; ventricles, brainstem and callosum are a few voxels."""


class HeldOutHead(NamedTuple):
    """A subject that the atlas was not trained on: images by modality, and label map."""

    images: dict[str, Volume]
    labels: Volume


def head(
    size: float = SIZE,
    shape: Sequence[int] = (14, 18, 13),
    spacing: float | Sequence[float] = 5.0,
    degrees: float = 0.0,
) -> HeldOutHead:
    """Draw a head of ``size`` on a grid about :data:`CENTRE`, turned by ``degrees`` (the grid, not the head).

    Intensities are whole numbers, and zero outside the brain.
    """
    steps = np.broadcast_to(spacing, 3).astype(float)
    affine = np.diag([*steps, 1.0])
    affine[:3, 3] = CENTRE - steps * (np.array(shape) - 1) / 2
    affine = rotation(degrees, CENTRE) @ affine
    to_phantom = np.diag([1 / size, 1 / size, 1 / size, 1.0])
    to_phantom[:3, 3] = -CENTRE / size
    image, labels = a_brain_phantom(shape, affine=to_phantom @ affine)
    t2w = np.where(labels.array > 0, np.rint(image.array), 0).astype(np.float32)
    t1w = np.where(labels.array > 0, 1000 - t2w, 0).astype(np.float32)
    return HeldOutHead({"T2w": Volume(t2w, affine), "T1w": Volume(t1w, affine)}, Volume(labels.array, affine))


def whole(labels: Volume) -> Volume:
    """Return the brain mask of a label map."""
    return labels.with_array((labels.array > 0).astype(np.uint8))


def overlap(labels: np.ndarray, reference: np.ndarray) -> float:
    """Return the mean Dice of the large labels."""
    dice = dice_by_label(labels, reference)
    return float(np.mean([dice.get(label, 0.0) for label in LARGE]))
