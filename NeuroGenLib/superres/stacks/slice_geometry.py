"""Slice geometry of a scan from its grid alone: direction, thickness and gap as they will be used."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from NeuroGenLib.core.errors import InputError
from NeuroGenLib.simulate.thick_slices import slice_axis, thickest_axis
from NeuroGenLib.spatial.volume import Volume
from NeuroGenLib.superres.manifest import GuideNeed, SuperresManifest
from NeuroGenLib.superres.stacks.preprocessing import ISOTROPIC
from NeuroGenLib.superres.stacks.slice_thickness import plausible_thickness
from NeuroGenLib.superres.stacks.stack import as_stack

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from NeuroGenLib.simulate.thick_slices import Direction
    from NeuroGenLib.superres.run_config import SuperresConfig

_FINEST_MM = 0.8
"""Results are not finer unless that is asked for."""
_CORNERS = np.arange(8.0).reshape(2, 2, 2)


@dataclass(frozen=True)
class SliceGeometry:
    """Slices of a scan, from its grid alone.

    Attributes
    ----------
    direction:
        ``axial``, ``coronal`` or ``sagittal``, the nearest.
    count:
        SliceGeometry.
    thickness_mm, gap_mm:
        As they will be used; the gap is below zero where slices overlap.
    header_distance_mm:
        From slice to slice, as the header has it.
    within_mm:
        Voxel size within slices, the smaller first.
    isotropic:
        Whether the header shows no thick slices.
    extent_mm:
        Field of view along i, j, k.
    """

    direction: Direction
    count: int
    thickness_mm: float
    gap_mm: float
    header_distance_mm: float
    within_mm: tuple[float, float]
    isotropic: bool
    extent_mm: tuple[float, float, float]

    def voxels_of_result(self, spacing: float | None = None) -> int:
        """Return about how many voxels its result has at a voxel size in mm; at the usual one when not given."""
        return int(np.prod(np.ceil(np.asarray(self.extent_mm) / (spacing or max(self.within_mm[0], _FINEST_MM)))))


def slice_geometry(shape: Sequence[int], affine: np.ndarray, settings: SuperresConfig) -> SliceGeometry:
    """Return the slice geometry of a scan, without its voxels.

    Parameters
    ----------
    shape, affine:
        (i, j, k) voxels, (4, 4) to RAS mm.
    settings:
        Thickness, gap and direction go before the header, as in
        :func:`NeuroGenLib.superres.stacks.preprocessing.thick_stacks`; what is recorded of
        the first scan is that of this one.

    Raises
    ------
    InputError
        When there is no voxel, or thickness and gap are invalid.

    Examples
    --------
    >>> from NeuroGenLib.superres.run_config import SuperresConfig
    >>> slices = slice_geometry((200, 200, 30), np.diag([0.9, 0.9, 4, 1]), SuperresConfig(thickness=3))
    >>> slices.direction, slices.count, slices.gap_mm
    ('axial', 30, 1.0)
    """
    if len(shape) != 3 or min(shape) < 1:
        raise InputError("The scan holds no voxels.", "Choose another one.", code="image-empty")
    grid = Volume(_CORNERS, affine)
    axis = None if settings.direction is None else slice_axis(grid, settings.direction)
    across = thickest_axis(grid) if axis is None else axis
    thickness, _ = plausible_thickness(settings, 0, grid.spacing[across], "The scan")
    stack = as_stack(grid, thickness, settings.gap, axis)
    first, second = sorted(mm for index, mm in enumerate(grid.spacing) if index != stack.axis)
    i, j, k = (size * mm for size, mm in zip(shape, stack.volume.spacing, strict=True))
    return SliceGeometry(
        direction=stack.direction,
        count=int(shape[stack.axis]),
        thickness_mm=stack.thickness,
        gap_mm=stack.gap,
        header_distance_mm=grid.spacing[stack.axis],
        within_mm=(first, second),
        isotropic=max(grid.spacing) < ISOTROPIC * min(grid.spacing),
        extent_mm=(i, j, k),
    )


def guide_need(manifest: Mapping[str, Any]) -> GuideNeed:
    """Return whether a model needs a guide, by its manifest (``neurogen.json``)."""
    return SuperresManifest.read(manifest).guide
