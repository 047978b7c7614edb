"""Which voxels of a decoded volume are brain."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

MARGIN_MM = 3.0
"""Rim around the labelled brain in which intensities and probabilities are kept."""


def brain_mask(
    classes: np.ndarray,
    spacing: Sequence[float] | np.ndarray,
    background: Sequence[int],
    margin_mm: float = MARGIN_MM,
    *,
    core: np.ndarray | None = None,
) -> np.ndarray:
    """Return the brain among the foreground and a margin of ``margin_mm`` around it; nothing where all is background.

    Parameters
    ----------
    classes:
        (i, j, k) class of every voxel.
    spacing:
        Voxel size in mm.
    background:
        The classes that are not brain.
    margin_mm:
        Width of the margin in mm.
    core:
        Where the coarse search found brain: the pieces that reach into it are brain. For a section, through which one
        brain may fall into pieces. Without it, the largest piece is the brain.
    """
    from scipy import ndimage

    pieces, count = ndimage.label(~np.isin(classes, list(background)))
    if count == 0:
        return np.zeros(classes.shape, bool)
    if core is None:
        kept = np.array([1 + int(np.argmax(np.bincount(pieces.ravel())[1:]))])
    else:
        kept = np.setdiff1d(pieces[core], 0)
    return within(np.isin(pieces, kept), spacing, margin_mm)


def within(mask: np.ndarray, spacing: Sequence[float] | np.ndarray, distance_mm: float) -> np.ndarray:
    """Return the voxels at most ``distance_mm`` from the mask, the mask included."""
    from scipy.ndimage import distance_transform_edt

    if not mask.any():
        return mask
    window = _around(mask, spacing, distance_mm)
    result = np.zeros_like(mask)
    result[window] = distance_transform_edt(~mask[window], sampling=spacing) <= distance_mm
    return result


def _around(mask: np.ndarray, spacing: Sequence[float] | np.ndarray, distance_mm: float) -> tuple[slice, ...]:
    """Return the bounding box of the mask, widened by the distance: nothing beyond it can be near."""
    window = []
    for axis, step in enumerate(spacing):
        line = np.flatnonzero(mask.any(axis=tuple(plane_axis for plane_axis in range(3) if plane_axis != axis)))
        margin = int(np.ceil(distance_mm / step)) + 1
        window.append(slice(max(int(line[0]) - margin, 0), int(line[-1]) + margin + 1))
    return tuple(window)
