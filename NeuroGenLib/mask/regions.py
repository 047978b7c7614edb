"""One brain without holes, from probabilities; and what makes a mask look unlike the brain of an adult."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from NeuroGenLib.core.errors import InputError

USUAL_ML = (900.0, 2200.0)
"""Volumes that the inside of an adult's skull has."""
LEAST_CERTAINTY = 0.9
LEAST_SHARE = 0.9


@dataclass(frozen=True)
class OneBrain:
    """The largest connected part of what was found.

    Attributes
    ----------
    probability:
        (I, J, K) float32: 0 in other parts, 1 in holes.
    certainty:
        Mean probability inside, 0.5 to 1.
    share:
        How much of all that was found it is, 0 to 1.
    """

    probability: np.ndarray
    certainty: float
    share: float


def one_brain(probability: np.ndarray) -> OneBrain:
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
        )
    sizes = np.bincount(parts.ravel())[1:]
    largest = parts == 1 + int(sizes.argmax())
    cleaned = np.where((parts > 0) & ~largest, 0, probability).astype(np.float32)
    certainty = float(probability[largest].mean())
    cleaned[ndimage.binary_fill_holes(largest) & ~largest] = 1
    return OneBrain(cleaned, certainty, float(sizes.max() / sizes.sum()))


def cautions(brain: OneBrain, volume_ml: float) -> list[str]:
    """Return a sentence for everything that is unlike the head of an adult."""
    notes = []
    low, high = USUAL_ML
    if not low <= volume_ml <= high:
        notes.append(
            f"The mask holds {volume_ml:.0f} ml; the brain of an adult and the fluid around it take {low:.0f} to"
            f" {high:.0f}. Does the image show a whole head?"
        )
    if brain.share < LEAST_SHARE:
        notes.append(f"Brain was found in several places; the largest, {100 * brain.share:.0f} % of it, was kept.")
    if brain.certainty < LEAST_CERTAINTY:
        notes.append(
            f"The network is unsure (mean probability {brain.certainty:.2f}): the image looks unlike those it was"
            " trained on."
        )
    return [f"{note} Look at the mask before you use it." for note in notes]
