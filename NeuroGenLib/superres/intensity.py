"""Intensity range of the network: 0 and 1 are percentiles of the head."""

from __future__ import annotations

from typing import TYPE_CHECKING

from NeuroGenLib.core.errors import InputError
from NeuroGenLib.spatial.intensity import intensity_range

if TYPE_CHECKING:
    import numpy as np

PERCENTILES = (1.0, 99.0)
"""Of the intensities inside the head: what becomes 0 and what becomes 1."""


def head_range(values: np.ndarray, head: np.ndarray, name: str = "The image") -> tuple[float, float]:
    """Return the intensities that become 0 and 1: the 1st and 99th percentile inside the head.

    Parameters
    ----------
    values, head:
        (I, J, K) intensities, and where the head is (bool).
    name:
        What an error calls the image.

    Raises
    ------
    InputError
        When the head is empty, or has the same value everywhere.

    Examples
    --------
    >>> import numpy as np
    >>> head_range(np.arange(101.0), np.ones(101, bool))
    (1.0, 99.0)
    """
    inside = values[head]
    if inside.size == 0:
        raise InputError(
            f"{name} shows no head.", "Check that it is the right file, or give a mask.", code="image-empty"
        )
    low, high = intensity_range(inside, PERCENTILES)
    if high <= low:
        raise InputError(
            f"{name} has the same value everywhere in the head.", "Check that it is the right file.", code="image-empty"
        )
    return low, high
