"""Initial image of the network: a scan in thick slices interpolated to an isotropic grid, or several scans fused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from NeuroGenLib.core.errors import InputError
from NeuroGenLib.core.progress import SILENT, Progress
from NeuroGenLib.superres.stacks.alignment import align_stacks, motion_between_slices
from NeuroGenLib.superres.stacks.fusion import fuse, fused_grid
from NeuroGenLib.superres.stacks.preprocessing import interpolated

if TYPE_CHECKING:
    from collections.abc import Sequence

    from NeuroGenLib.spatial.volume import Volume
    from NeuroGenLib.superres.stacks.stack import Stack


@dataclass(frozen=True, eq=False)
class InitialImage:
    """Interpolated scan, or fusion of several.

    Attributes
    ----------
    stacks:
        At their poses.
    image:
        (i, j, k) float32, isotropic, axes stored along R, A, S, in the world and the units of the first.
    scales, slice_weights:
        For each stack: the factor to the units of the first, and how much each slice counts, (slices,).
    moved:
        For each stack the part of its slices that moved, None where that was not measured.
    """

    stacks: Sequence[Stack]
    image: Volume
    scales: Sequence[float]
    slice_weights: Sequence[np.ndarray]
    moved: Sequence[float | None]
    warnings: Sequence[str] = ()


def initial_image(
    stacks: Sequence[Stack],
    spacing: float,
    like: Volume | None,
    *,
    align: bool,
    progress: Progress = SILENT,
) -> InitialImage:
    """Put stacks onto one isotropic grid: one by cubic splines, several by registration and fusion.

    Parameters
    ----------
    stacks, spacing:
        The scans, and the voxel size in mm.
    like:
        The grid, for a single stack; along its axes when not given.
    align:
        Whether several are registered to the first one; without it the headers are trusted.
    progress:
        Progress callback.

    Raises
    ------
    InputError
        When the grid is not isotropic or given for several, or the stacks do not overlap.
    """
    if len(stacks) == 1:
        progress.update(0, 1, "interpolating")
        grid = fused_grid(stacks, spacing) if like is None else _isotropic(like)
        image = interpolated(stacks[0].placed, grid.reorient("RAS"))
        return InitialImage(stacks, image, (1.0,), (np.ones(stacks[0].volume.shape[stacks[0].axis]),), (None,))
    if like is not None:
        raise InputError(
            "A grid can be given for a single scan only.", "Omit it, or give one scan.", code="value-conflict"
        )
    if align:
        stacks = align_stacks(stacks, progress=progress.part(0, 0.6))
    fusion = fuse(stacks, spacing, progress=progress.part(0.6, 1))
    motions = [motion_between_slices(stack, fusion.image) for stack in stacks]
    warnings = [f"Scan {number}: {motion.warning}" for number, motion in enumerate(motions, 1) if motion.warning]
    moved = [motion.moved for motion in motions]
    return InitialImage(stacks, fusion.image.reorient("RAS"), fusion.scales, fusion.slice_weights, moved, warnings)


def _isotropic(grid: Volume) -> Volume:
    if max(grid.spacing) > 1.05 * min(grid.spacing):
        raise InputError(
            "The grid for the result is not isotropic.", "Give one with cubic voxels.", code="geometry-invalid"
        )
    return grid.with_array(np.zeros(grid.shape, np.uint8))
