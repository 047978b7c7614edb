"""Detection of scans that are skull-stripped already, whose mask is what is not background."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from NeuroGenLib.mask.regions import USUAL_ML
from NeuroGenLib.spatial.metrics import bounding_box

if TYPE_CHECKING:
    from NeuroGenLib.spatial.volume import Volume

_LEAST_BACKGROUND = 0.2
"""Part of the voxels that hold the background's exact value, below which a scan is not looked at further: a slab cut
tightly around a brain has a quarter."""
_LEAST_SHARE = 0.98
"""Part of all other voxels in their largest connected region: noise and tables lie apart from it."""
_FULL_BOX = 0.9
"""Part of its bounding box that a region fills where it is a field of view that was padded; a slab of a brain fills
less than 0.8."""
_REFERENCE_ML = 1500.0
"""Volume of the brain, ml, that the sizes in mm below are for."""
_WIDTH_MM, _CLOSING_MM = 3.0, 7.5
"""Voxel size of the copy, and gap that is bridged (sulci, a skull set to zero), for a brain of the reference volume;
for others in proportion to their size."""
_DEEPEST = 10
"""Layers below the surface, of a voxel each, that are compared: the scalp, the skull and the brain's outer part. Deeper
are ventricles, which are bright in T2w images."""
_SKULL = 0.7
"""Intensity of a layer, as a part of that above and below it, below which it is a skull. Measured: extracted adult
brains (T1w, T2w, PD) have 0.99 at least, fetal ones (T2w, 28 atlases) 0.73; slabs of heads with a background of zeros
(T1w) at most 0.5."""


def stripped_brain(scan: Volume) -> Volume | None:
    """Return the brain of a skull-stripped scan: all but its background, holes filled.

    A scan is skull-stripped when much of it holds exactly one value, the rest is one connected region of at most the
    volume of a large brain, and no layer below the surface of that is as dark as a skull under a scalp. So a whole head
    whose background was set to zero is not, nor is a padded field of view.

    Parameters
    ----------
    scan:
        3-D, finite, of any orientation and spacing.

    Returns
    -------
    Volume
        uint8, 1 in the brain, on the grid of the scan; None where the scan is not skull-stripped.

    Examples
    --------
    >>> from NeuroGenLib.spatial.volume import Volume
    >>> distance = np.linalg.norm(np.indices((40, 40, 40)).T - 19.5, axis=-1).T * 4
    >>> brain = Volume(np.where(distance < 72, 100.0, 0), np.diag([4.0, 4, 4, 1]))
    >>> int(stripped_brain(brain).array.sum()) == int((distance < 72).sum())
    True
    >>> skull = (distance > 58) & (distance < 66)
    >>> stripped_brain(brain.with_array(np.where(skull, 10, brain.array))) is None
    True
    """
    from scipy import ndimage

    tissue = scan.array != _background(scan.array)
    share = np.count_nonzero(tissue) / tissue.size
    volume_ml = share * tissue.size * scan.voxel_volume_ml
    if not 0 < share <= 1 - _LEAST_BACKGROUND or volume_ml > USUAL_ML[1]:
        return None
    regions, _ = ndimage.label(tissue)
    sizes = np.bincount(regions.ravel())[1:]
    largest = regions == 1 + int(sizes.argmax())
    low, high = bounding_box(largest)
    if sizes.max() < _LEAST_SHARE * sizes.sum() or sizes.max() > _FULL_BOX * np.prod(high - low + 1):
        return None
    brain = ndimage.binary_fill_holes(largest)
    if _shows_skull(scan.with_array(np.where(largest, scan.array - scan.array[largest].min(), 0)), brain):
        return None
    return scan.with_array(brain.astype(np.uint8))


def _background(array: np.ndarray) -> float:
    """Return the most frequent value at the border of the field of view."""
    faces = [np.take(array, (0, -1), axis).ravel() for axis in range(3)]
    values, counts = np.unique(np.concatenate(faces), return_counts=True)
    return float(values[counts.argmax()])


def _shows_skull(tissue: Volume, brain: np.ndarray) -> bool:
    """Return whether a layer is much darker than one above it and one below it.

    ``tissue``: intensities, 0 outside; ``brain``: boolean, on its grid.
    """
    from scipy import ndimage

    size = np.cbrt(np.count_nonzero(brain) * tissue.voxel_volume_ml / _REFERENCE_ML)
    width, closing = _WIDTH_MM * size, _CLOSING_MM * size
    area = tissue.with_array(brain)
    image = tissue.with_array(tissue.array.astype(np.float32)).crop_to(area, 2 * width).reorient("RAS").resample(width)
    inside = area.with_array(brain.astype(np.float32)).resample(like=image).array > 0.5
    # Room for the closing at the border, beyond which a head that is cut goes on.
    room = int(np.ceil(closing / width)) + 1
    around = np.pad(inside, room, mode="edge")
    near = ndimage.distance_transform_edt(~around) * width <= closing
    closed = ndimage.binary_fill_holes(ndimage.distance_transform_edt(near) * width > closing)
    depth = ndimage.distance_transform_edt(closed)[room:-room, room:-room, room:-room]
    layers = np.ceil(depth).astype(np.intp)
    deepest = min(_DEEPEST, int(layers.max()))
    medians = [float(np.median(image.array[layers == layer])) for layer in range(1, deepest + 1)]
    return any(
        medians[layer] < _SKULL * min(max(medians[:layer]), max(medians[layer + 1 :]))
        for layer in range(1, deepest - 1)
    )
