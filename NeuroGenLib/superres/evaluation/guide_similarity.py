"""Local similarity of a scan and its guide: whether both show the same head."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from NeuroGenLib.spatial.volume import Volume

_SPACING_MM = 2.0
"""Grid on which scan and guide are compared, mm."""
_WINDOW = 5
"""Side of a local window, voxels."""
_SHIFT = 3
"""Voxels by which the guide is moved for comparison."""
_FLAT = 1e-5
"""Variance, with intensities scaled to 1, of a window without structure."""
_LEAST_VOXELS = 1000
"""With fewer voxels of the head, no similarity is measured."""


def local_similarity(scan: Volume, guide: Volume, head: Volume) -> float | None:
    """Measure how many times better the two images agree than when the guide is moved by 6 mm.

    Agreement is the mean squared correlation in windows of 10 mm, which does not depend on the contrast. Heads of two
    people agree after alignment in their outline and little more, and so hardly better than when moved; images of one
    head agree in every fold. The moved guide is the reference, since noise and smoothness change both equally.

    Parameters
    ----------
    scan, guide:
        On one grid of cubic voxels, float.
    head:
        Boolean, on that grid.

    Returns
    -------
    float or None
        1 where the place makes no difference; None where too little of a head is seen.
    """
    from scipy import ndimage

    small = scan.resample(_SPACING_MM)
    inside = head.resample(like=small, order=0).array.astype(bool)
    # Windows that reach out of the head would all agree on its outline.
    core = ndimage.binary_erosion(inside, np.ones((3, 3, 3)), iterations=_WINDOW // 2)
    if np.count_nonzero(core) < _LEAST_VOXELS:
        return None
    first = _scaled(small.array, inside)
    second = np.pad(_scaled(guide.resample(like=small).array, inside), _SHIFT, mode="edge")
    moves = [step * direction for direction, step in product(np.eye(3, dtype=int), (-_SHIFT, _SHIFT))]
    mean = ndimage.uniform_filter(first, _WINDOW)
    variance = np.maximum(ndimage.uniform_filter(first**2, _WINDOW) - mean**2, 0) + _FLAT

    def agreement(move: np.ndarray) -> float:
        start = _SHIFT + move
        shifted = second[tuple(slice(at, at + size) for at, size in zip(start, first.shape, strict=True))]
        middle = ndimage.uniform_filter(shifted, _WINDOW)
        spread = np.maximum(ndimage.uniform_filter(shifted**2, _WINDOW) - middle**2, 0) + _FLAT
        together = ndimage.uniform_filter(first * shifted, _WINDOW) - mean * middle
        return float((together**2 / (variance * spread))[core].mean())

    moved = float(np.mean([agreement(move) for move in moves]))
    return agreement(np.zeros(3, int)) / moved if moved > 0 else None


def _scaled(values: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Return values whose brightest in the head is about 1."""
    return values / (float(np.percentile(np.abs(values[inside]), 99)) or 1.0)
