"""Largest connected region of a probability map, and signs that a mask is not that of an adult's brain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from NeuroGenLib.core.errors import InputError

if TYPE_CHECKING:
    from NeuroGenLib.spatial.volume import Volume

USUAL_ML = (900.0, 2200.0)
"""Plausible intracranial volumes of adults."""
LEAST_CONFIDENCE = 0.9
"""Mean probability below which a mask comes with a warning."""
POSSIBLE_ML = (300.0, 3000.0)
"""Volumes outside which no mask of a whole head can be right: a newborn's is above, a macrocephalic adult's below."""
CERTAIN_FAILURE = 0.6
"""Mean probability below which a mask is hardly better than chance, which is 0.5."""
_CT_AIR, _CT_SHARE = -500.0, 0.05
"""Hounsfield units that only air is below, and the part of the voxels that air takes at least around a head."""
LEAST_SHARE = 0.9
"""Part of all brain voxels in the largest region below which a mask comes with a warning."""


@dataclass(frozen=True)
class BrainRegion:
    """Largest connected region of the brain's probability.

    Attributes
    ----------
    probability:
        (I, J, K) float32: 0 in other regions, 1 in holes.
    confidence:
        Mean probability inside, 0.5 to 1.
    share:
        Part of all voxels above one half that it holds, 0 to 1.
    """

    probability: np.ndarray
    confidence: float
    share: float


def largest_region(probability: np.ndarray) -> BrainRegion:
    """Keep the largest part (voxels above one half that share faces), and fill its holes.

    Parameters
    ----------
    probability:
        (I, J, K) float32.

    Raises
    ------
    InputError
        When no voxel is above one half.
    """
    from scipy import ndimage

    parts, count = ndimage.label(probability > 0.5)
    if not count:
        raise InputError(
            "No brain was found in the image.",
            "It has to show the head of an adult; for anything else give a mask made by hand.",
            code="model-range",
        )
    sizes = np.bincount(parts.ravel())[1:]
    largest = parts == 1 + int(sizes.argmax())
    cleaned = np.where((parts > 0) & ~largest, 0, probability).astype(np.float32)
    confidence = float(probability[largest].mean())
    cleaned[ndimage.binary_fill_holes(largest) & ~largest] = 1
    return BrainRegion(cleaned, confidence, float(sizes.max() / sizes.sum()))


def require_maskable(image: Volume) -> None:
    """Refuse a CT before the network searches a brain in it: air around the head is far below zero.

    Raises
    ------
    InputError
        When much of the image is below -500.
    """
    share = float(np.count_nonzero(image.array < _CT_AIR)) / image.array.size
    if share >= _CT_SHARE:
        raise InputError(
            f"{100 * share:.0f} % of the image is below {_CT_AIR:g}, as in a CT; the brain is found in MRI only.",
            "Give a mask made by hand or by a program for CT.",
            code="model-range",
        )


def require_plausible(volume_ml: float, confidence: float) -> None:
    """Refuse a mask that cannot be that of a whole head, before longer work relies on it.

    Parameters
    ----------
    volume_ml, confidence:
        Of the mask; see :class:`~NeuroGenLib.mask.infer.BrainMask`.

    Raises
    ------
    InputError
        When the volume is none that a brain can have, or the network is hardly better than chance.

    Examples
    --------
    >>> require_plausible(1450.0, 0.97)
    """
    low, high = POSSIBLE_ML
    problem = ""
    if not low <= volume_ml <= high:
        problem = f"The mask that was found holds {volume_ml:.0f} ml, and a brain {low:.0f} to {high:.0f} ml."
    elif confidence < CERTAIN_FAILURE:
        problem = f"The network is unsure of the mask that it found: its mean probability is {confidence:.2f}."
    if problem:
        raise InputError(problem, "Give a mask made by hand.", code="model-range")


def cautions(brain: BrainRegion, volume_ml: float) -> list[str]:
    """Return a warning for each property that is implausible for the head of an adult."""
    notes = []
    low, high = USUAL_ML
    if not low <= volume_ml <= high:
        notes.append(
            f"The mask holds {volume_ml:.0f} ml; the brain of an adult and the fluid around it take {low:.0f} to"
            f" {high:.0f}. Does the image show a whole head?"
        )
    if brain.share < LEAST_SHARE:
        notes.append(f"Brain was found in several places; the largest, {100 * brain.share:.0f} % of it, was kept.")
    if brain.confidence < LEAST_CONFIDENCE:
        notes.append(
            f"The network is unsure (mean probability {brain.confidence:.2f}): the image looks unlike those it was"
            " trained on."
        )
    return [f"{note} Look at the mask before you use it." for note in notes]
