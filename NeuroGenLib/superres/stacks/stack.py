"""Stacks of thick slices of one head: how thick, across which axis, at which pose."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from NeuroGenLib.core.errors import InputError
from NeuroGenLib.simulate.thick_slices import ProfileKind, SliceProfile, slice_direction, thickest_axis
from NeuroGenLib.spatial.volume import Volume, require_3d, require_finite

if TYPE_CHECKING:
    from NeuroGenLib.simulate.thick_slices import Direction

_log = logging.getLogger(__name__)

_SAME_DISTANCE = 0.01
"""Part of the distance of slices by which thickness and gap may miss it."""


@dataclass(frozen=True, eq=False)
class Stack:
    """A scan in parallel slices.

    Attributes
    ----------
    volume:
        (i, j, k) intensities; the spacing along ``axis`` is the distance from slice to slice.
    axis:
        0, 1 or 2: the array axis across the slices.
    thickness:
        Full width at half maximum of the slice profile in mm.
    profile:
        ``gaussian`` or ``box``.
    pose:
        (4, 4) rigid: RAS mm of this stack to RAS mm of the first stack.
    """

    volume: Volume
    axis: int
    thickness: float
    profile: ProfileKind = "gaussian"
    pose: np.ndarray = field(default_factory=lambda: np.eye(4))

    @property
    def distance(self) -> float:
        """Distance from slice to slice in mm."""
        return self.volume.spacing[self.axis]

    @property
    def gap(self) -> float:
        """What lies between two slices in mm; below zero where they overlap."""
        return self.distance - self.thickness

    @property
    def direction(self) -> Direction:
        """Axial, coronal or sagittal, the nearest when oblique."""
        return slice_direction(self.volume, self.axis)

    @property
    def placed(self) -> Volume:
        """The stack in the world of the first one."""
        return Volume(self.volume.array, self.pose @ self.volume.affine)

    def posed(self, pose: np.ndarray) -> Stack:
        """Return this stack at another pose, (4, 4)."""
        return replace(self, pose=np.asarray(pose, dtype=np.float64))


def as_stack(
    volume: Volume,
    thickness: float | None = None,
    gap: float | None = None,
    axis: int | None = None,
    profile: ProfileKind = "gaussian",
    name: str = "The scan",
) -> Stack:
    """Return a scan as a stack; what is not given comes from its header.

    A header knows the distance of slices alone: they are taken to touch each other unless a thickness or a gap is
    given. Where both are given and do not add up to that distance, they are believed and the slices are set that far
    apart, about the middle of the scan.

    Parameters
    ----------
    volume:
        (i, j, k) intensities.
    thickness, gap:
        Of slices, in mm; a gap below zero means that they overlap.
    axis:
        Array axis across the slices; when not given, that of the largest spacing.
    profile, name:
        Of a slice; how messages call the scan.

    Raises
    ------
    InputError
        When the scan has channels, values that are not finite or no contrast, or the thickness or gap is invalid.

    Examples
    --------
    >>> scan = Volume(np.arange(512.0).reshape(8, 8, 8), np.diag([1.0, 1, 4, 1]))
    >>> stack = as_stack(scan, thickness=3)
    >>> stack.direction, stack.distance, stack.gap
    ('axial', 4.0, 1.0)
    """
    require_3d(volume, name)
    require_finite(volume, name)
    if volume.array.min() == volume.array.max():
        raise InputError(
            f"{name} has the same value everywhere.", "Check that it is the right file.", code="image-empty"
        )
    across = thickest_axis(volume) if axis is None else axis
    distance = volume.spacing[across]
    if gap is not None and not np.isfinite(gap):
        raise InputError(f"A gap of {gap} mm is invalid.", "Give a number of mm.", code="value-invalid")
    if thickness is None:
        thickness = distance - (gap or 0.0)
        if thickness <= 0:
            raise InputError(
                f"A gap of {gap:g} mm leaves nothing of slices that are {distance:.3g} mm apart in {name}.",
                "Give the thickness as well, or a smaller gap.",
                code="value-conflict",
            )
    SliceProfile(profile, thickness)  # says what is wrong with them
    if gap is not None:
        stated = thickness + gap
        if stated <= 0:
            raise InputError(
                f"Slices of {thickness:g} mm cannot overlap by {-gap:g} mm.",
                "Give a gap above minus the thickness.",
                code="value-conflict",
            )
        if abs(stated - distance) > _SAME_DISTANCE * distance:
            _log.warning(
                "%s has slices %.3g mm apart by its header; %.3g mm are used (thickness and gap).",
                name,
                distance,
                stated,
            )
            volume = _respaced(volume, across, stated)
    return Stack(volume, across, float(thickness), profile)


def _respaced(volume: Volume, axis: int, distance: float) -> Volume:
    affine = volume.affine.copy()
    affine[:3, axis] *= distance / volume.spacing[axis]
    affine[:3, 3] += volume.centre - Volume(volume.array, affine).centre
    return Volume(volume.array, affine)
