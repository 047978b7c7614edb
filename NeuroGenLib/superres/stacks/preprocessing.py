"""Preprocessing of scans: checks, slice geometry, voxel size of the result, and interpolation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from NeuroGenLib.alignment.halfway import aligned
from NeuroGenLib.core.errors import InputError
from NeuroGenLib.simulate.thick_slices import slice_axis, thickest_axis
from NeuroGenLib.spatial.volume import require_3d
from NeuroGenLib.superres.stacks.slice_thickness import plausible_thickness
from NeuroGenLib.superres.stacks.stack import Stack, as_stack

if TYPE_CHECKING:
    from collections.abc import Sequence

    from NeuroGenLib.spatial.volume import Grid, Volume
    from NeuroGenLib.superres.run_config import SuperresConfig

ISOTROPIC = 1.2
"""Ratio of the largest voxel side to the smallest below which a scan counts as isotropic."""
_CUBES = 1.001
"""Ratio of the largest voxel side to the smallest below which voxels are cubes."""
_FINER = 0.95
"""Part of a scan's spacing below which an asked one counts as finer."""
_LEAST_MM, _SMALL_MM = 10.0, 50.0
"""Shortest side of a scan below which it is refused, and below which there is a warning."""
_FEWEST_SLICES = 2
"""A scan of fewer slices is refused."""
_TOLERANCE = 1.25
"""Factor by which a voxel size may leave the range that a network was trained at."""


class AlreadyIsotropic(InputError):
    """The scan has no thick slices: there is nothing to do."""


def thick_stacks(scans: Sequence[Volume], settings: SuperresConfig) -> tuple[list[Stack], list[str]]:
    """Return the scans as stacks, and warnings: thickness, gap and direction of records and headers unless given.

    Parameters
    ----------
    scans:
        One or more of a head, 3-D.
    settings:
        Override the headers; the direction is of a single scan alone.

    Returns
    -------
    tuple
        The stacks, and sentences where a field of view is small or a recorded thickness is implausible.

    Raises
    ------
    AlreadyIsotropic
        When a single scan has no thick slices, and neither a thickness, a gap nor finer voxels are asked for.
    InputError
        When a scan has channels, NaN or infinite voxels, no contrast or too small a field of view, thickness and gap
        are invalid, or the direction of slices does not show.
    """
    if not scans:
        raise InputError("There is no scan.", "Give at least one.", code="value-missing")
    names = ["The scan"] if len(scans) == 1 else [f"Scan {number}" for number in range(1, len(scans) + 1)]
    stated = settings.thickness is not None or settings.gap is not None
    if len(scans) > 1 and settings.direction is not None:
        raise InputError(
            "A direction of slices is of one scan, and several are given.",
            "Omit the direction.",
            code="value-conflict",
        )
    if len(scans) == 1 and not stated:
        _require_thick(scans[0], settings)
    stacks = []
    warnings: list[str] = []
    for number, (scan, name) in enumerate(zip(scans, names, strict=True)):
        require_3d(scan, name)
        axis = None if settings.direction is None else slice_axis(scan, settings.direction)
        if axis is None and max(scan.spacing) < _CUBES * min(scan.spacing):
            raise InputError(
                f"{name} has voxels of {_sides(scan)} mm: which way its slices lie does not show.",
                "Add the direction of the slices, such as axial."
                if len(scans) == 1
                else "Give the scans as they were measured, in thick slices.",
                code="value-missing",
            )
        distance = scan.spacing[thickest_axis(scan) if axis is None else axis]
        thickness, doubts = plausible_thickness(settings, number, distance, name)
        stack = as_stack(scan, thickness, settings.gap, axis, settings.profile, name)
        warnings += [*doubts, *_size_warnings(stack, name)]
        stacks.append(stack)
    return stacks, warnings


def chosen_spacing(
    stacks: Sequence[Stack], asked: float | None, trained: tuple[float, float]
) -> tuple[float, list[str]]:
    """Return the voxel size of the result in mm (as asked for, or the finest within slices as trained), and warnings.

    Parameters
    ----------
    stacks, asked:
        The scans; the wish, if any.
    trained:
        Least and largest voxel size, in mm, that the network has seen.

    Returns
    -------
    tuple
        The voxel size, and a sentence when the network has not seen what is asked for.
    """
    low, high = trained
    if asked is None:
        within = [mm for stack in stacks for axis, mm in enumerate(stack.volume.spacing) if axis != stack.axis]
        return float(np.clip(min(within), low, high)), []
    if low / _TOLERANCE <= asked <= high * _TOLERANCE:
        return asked, []
    return asked, [
        f"The model was trained at {low:g} to {high:g} mm, and voxels of {asked:g} mm are asked for: compare the"
        " result with the slices."
    ]


def interpolated(volume: Volume, grid: Grid, to_volume: np.ndarray | None = None) -> Volume:
    """Return a scan or a guide on another grid by cubic splines, float32, no value beyond its own.

    Parameters
    ----------
    volume, grid:
        As it was measured, since a second resampling would blur; where it goes.
    to_volume:
        (4, 4) RAS mm of the grid to RAS mm of the volume, when they are not the same.
    """
    darkest, brightest = float(volume.array.min()), float(volume.array.max())
    image = aligned(volume, np.eye(4) if to_volume is None else to_volume, grid, 3, darkest)
    return image.with_array(np.clip(image.array, darkest, brightest).astype(np.float32))


def _require_thick(scan: Volume, settings: SuperresConfig) -> None:
    finer = settings.spacing is not None and settings.spacing < _FINER * min(scan.spacing)
    if max(scan.spacing) < ISOTROPIC * min(scan.spacing) and not finer:
        raise AlreadyIsotropic(
            f"The scan is isotropic already, with voxels of {_sides(scan)} mm: there is nothing to do.",
            "If its slices are thicker than its header says, give their thickness; for finer voxels give a spacing.",
            code="value-invalid",
        )


def _size_warnings(stack: Stack, name: str) -> list[str]:
    """Refuse a scan that shows too little of a head; return a sentence about one that shows a small part."""
    volume = stack.volume
    shown = [size * mm for size, mm in zip(volume.shape, volume.spacing, strict=True)]
    sides = " x ".join(f"{mm:.3g}" for mm in shown)
    if volume.shape[stack.axis] < _FEWEST_SLICES or min(shown) < _LEAST_MM:
        raise InputError(
            f"{name} measures {sides} mm in {volume.shape[stack.axis]} {stack.direction} slices: too little of a head.",
            "Check the voxel size in the header, or give a scan of more slices.",
            code="image-empty",
        )
    if min(shown) >= _SMALL_MM:
        return []
    return [f"{name} measures {sides} mm, a small part of a head: its intensities are normalised by that part."]


def _sides(scan: Volume) -> str:
    return " x ".join(f"{mm:.3g}" for mm in scan.spacing)
