"""Head mask of a scan, in which intensities are measured, with a weight that confines the correction to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from NeuroGenLib.spatial.foreground import foreground

if TYPE_CHECKING:
    from NeuroGenLib.spatial.volume import Volume

_CUT_SHARE = 0.2
"""Part of the head's largest section that its section at the end of the field of view has where it runs out there."""
_ROOM_VOXELS = 3
"""Voxels of air that the coarse copy gets, so that the margin has room at the field of view's end."""


@dataclass(frozen=True, eq=False)
class HeadMask:
    """Head mask on the grid of its scan.

    Attributes
    ----------
    mask:
        Boolean.
    weight:
        Float32: 1 in the head, falling to 0 over a margin around it.
    """

    mask: Volume
    weight: Volume


def cut_sides(mask: Volume) -> tuple[str, ...]:
    """Return the sides where a head runs out of the field of view; below, where the neck always does, is not named.

    Parameters
    ----------
    mask:
        Boolean, of any orientation.

    Examples
    --------
    >>> from NeuroGenLib import Volume
    >>> array = np.zeros((10, 10, 10), bool)
    >>> array[2:8, 2:8, :] = True
    >>> cut_sides(Volume(array, np.eye(4)))
    ('superior',)
    """
    sides = []
    inside = mask.reorient("RAS").array
    for axis, names in enumerate((("left", "right"), ("posterior", "anterior"), ("", "superior"))):
        areas = inside.sum(axis=tuple(other for other in range(3) if other != axis))
        ends = zip(names, (areas[0], areas[-1]), strict=True)
        sides += [name for name, area in ends if name and area > _CUT_SHARE * areas.max()]
    return tuple(sides)


def find_head(image: Volume, margin_mm: float = 6.0, name: str = "The scan's") -> HeadMask:
    """Find the head: the largest bright part, all that it encloses, also in a plane, included.

    Parameters
    ----------
    image:
        3-D, of any contrast, orientation and spacing; the background is darker than the head.
    margin_mm:
        Width over which the weight falls.
    name:
        How messages call the image.

    Raises
    ------
    InputError
        When the image is constant, has channels or values that are not finite.

    Examples
    --------
    >>> from NeuroGenLib import Volume
    >>> array = np.zeros((20, 20, 20))
    >>> array[5:15, 5:15, 5:15] = 100
    >>> head = find_head(Volume(array, np.diag([4.0, 4, 4, 1])))
    >>> head.mask.array[10, 10, 10], head.weight.array[0, 0, 0]
    (np.True_, np.float32(0.0))
    """
    from scipy import ndimage

    coarse = foreground(image, name=name)
    filled = coarse.array
    # A slab is open at its ends, where the bright scalp encloses it in its planes alone.
    for axis in range(3):
        planes = np.moveaxis(filled, axis, 0)
        filled = np.moveaxis(np.stack([ndimage.binary_fill_holes(plane) for plane in planes]), 0, axis)
    roomy = coarse.with_array(filled).pad(_ROOM_VOXELS)
    away = ndimage.distance_transform_edt(~roomy.array, sampling=roomy.spacing)
    # Positive inside, in mm from the edge; the edge lies half a voxel from either side.
    depth = ndimage.distance_transform_edt(roomy.array, sampling=roomy.spacing) - away
    depth -= np.sign(depth) * 0.5 * min(roomy.spacing)
    on_scan = roomy.with_array(depth.astype(np.float32)).resample(like=image).array
    weight = np.clip(1 + on_scan / margin_mm, 0, 1).astype(np.float32)
    return HeadMask(image.with_array(on_scan >= 0), image.with_array(weight))
