"""Coarse rigid initialisation by exhaustive rotation search, whatever the headers say."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from NeuroGenLib.alignment.mutual_information import (
    ScanLevel,
    information,
    information_alignment,
    sampled,
    similarity,
    transform_points,
)
from NeuroGenLib.core.errors import InputError
from NeuroGenLib.core.progress import SILENT, Progress
from NeuroGenLib.spatial.intensity import intensity_range, rescale
from NeuroGenLib.spatial.volume import Volume

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from NeuroGenLib.alignment.prepared_image import PreparedImage

_COARSE_PARTS = 14
"""Voxels of the coarsest copy along a head: 8 mm for an adult's. Two finer copies follow, each by a factor of two."""
_ROTATIONS = 400
"""Rotations that are tried besides the 24 between axes: the next one is never further than some 30 degrees."""
_KEPT = 8
"""Rotations that are improved."""
_APART_DEGREES = 25.0
"""Least angle between two rotations that are improved, so that not all of them surround one optimum."""
_SAME_DEGREES = 10.0
"""Starts that end closer than this count as one: it bounds how often the same optimum is refined again."""
_TRUST = 1.03
"""Factor by which another start must be more similar than the first one, that of the headers where it is usable."""
_MOST_POINTS = 20_000
"""Bounds the time of one similarity: points of a foreground beyond it are left out evenly."""
_SMOOTHING = 0.7
"""Voxels (sigma) by which the copies are smoothed: on sharp voxels mutual information prefers grids that coincide."""


def scan_levels(fixed: PreparedImage, moving: PreparedImage) -> tuple[list[ScanLevel], list[ScanLevel]]:
    """Return the fixed and the moving image at three voxel sizes, the same for both, coarsest first.

    Raises
    ------
    InputError
        As :func:`~NeuroGenLib.spatial.foreground.foreground`.
    """
    sizes = [_size_mm(image.foreground) for image in (fixed, moving)]
    coarse = float(np.sqrt(sizes[0] * sizes[1])) / _COARSE_PARTS
    finest = min(*fixed.volume.spacing, *moving.volume.spacing)
    spacings = [max(coarse / factor, finest) for factor in (1, 2, 4)]
    levels = [
        _scans(_intensities(image), image.foreground, size, spacings, room=coarse)
        for image, size in zip((fixed, moving), sizes, strict=True)
    ]
    return levels[0], levels[1]


def rigid_alignment(fixed: Sequence[ScanLevel], moving: Sequence[ScanLevel], start: np.ndarray) -> np.ndarray:
    """Return the rigid transform with the most normalised mutual information, (4, 4) RAS mm of ``fixed`` to ``moving``.

    Parameters
    ----------
    fixed, moving:
        The levels of the images (:func:`scan_levels`), of any contrast; the two finer ones are used.
    start:
        (4, 4), a rigid transform good to some degrees, where the search begins.
    """
    for level in (1, 2):
        start = information_alignment(fixed[level], moving[level], start, affine=False)
    return start


def rough_start(fixed: Sequence[ScanLevel], moving: Sequence[ScanLevel], progress: Progress = SILENT) -> np.ndarray:
    """Return a rigid placement, (4, 4) RAS mm of ``fixed`` to RAS mm of ``moving``, good to some degrees.

    Rotations about the centres of the foregrounds are compared by mutual information on the coarsest level; the best
    ones, the unrotated one and the headers' placement are improved, the best of these again on the next level.
    Another start is taken only where it is clearly more similar than the headers'.

    Raises
    ------
    InputError
        When none of the starts keeps the images together.
    """
    coarse = (fixed[0], moving[0])
    starts = [np.eye(4), _about_centres(*coarse, np.eye(3)), *_best_rotations(*coarse)]
    distinct: list[np.ndarray] = []
    for start in progress.part(0, 0.5).track(starts, "Trying rotations"):
        refined = _tried(*coarse, start)
        if refined is not None and all(_degrees(refined, earlier) > _SAME_DEGREES for earlier in distinct):
            distinct.append(refined)
    finished = []
    for start in progress.part(0.5, 1).track(distinct, "Comparing rotations"):
        refined = _tried(fixed[1], moving[1], start)
        if refined is not None:
            trust = _TRUST if start is distinct[0] else 1.0
            finished.append((trust * similarity(fixed[1], moving[1], refined), refined))
    if not finished:
        raise InputError(
            "The two images could not be brought to overlap.",
            "Check that both show the same part of the body, give brain masks, or align them roughly by hand.",
            code="geometry-mismatch",
        )
    return max(finished, key=lambda scored: scored[0])[1]


def overlap(fixed: ScanLevel, moving: ScanLevel, transform: np.ndarray) -> float:
    """Return the part (0 to 1) of either foreground that lies in the surroundings of the other; the larger one."""
    of_fixed = sampled(moving.inside, transform_points(transform, fixed.points), order=0).mean()
    of_moving = sampled(fixed.inside, transform_points(np.linalg.inv(transform), moving.points), order=0).mean()
    return float(max(of_fixed, of_moving))


def _intensities(image: PreparedImage) -> Volume:
    """Return the first channel from 0 to 1, float32, 0 outside the mask."""
    values, mask = image.channels[0].astype(np.float32), image.mask
    counted = values if mask is None else values[mask.array != 0]
    low, high = intensity_range(counted, (0.5, 99.8))
    if high <= low:
        low, high = intensity_range(counted)
    if mask is not None:
        low = min(low, 0)  # so that dark tissue is not taken for the background
    values = rescale(values, low, high)
    if mask is not None:
        values *= mask.array != 0
    return Volume(values, image.volume.affine)


def _scans(volume: Volume, area: Volume, size: float, spacings: Sequence[float], room: float) -> list[ScanLevel]:
    """Return an image from 0 to 1 at several voxel sizes."""
    from scipy import ndimage

    points = area.voxel_to_world(np.argwhere(area.array))
    points = points[:: max(1, len(points) // _MOST_POINTS)]
    field_of_view = volume.with_array(np.ones(volume.shape, dtype=bool))
    scans = []
    for spacing in spacings:
        inside = area.resample(like=_grid_around(area, spacing, 4 * room), order=0)
        nearby = ndimage.distance_transform_edt(~inside.array) * spacing <= 2 * room
        # Beyond its field of view the image is unknown; that is not background.
        visible = field_of_view.resample(like=inside, order=0)
        image = volume.resample(like=inside)
        image = image.with_array(ndimage.gaussian_filter(image.array, _SMOOTHING))
        scans.append(ScanLevel(image, inside.with_array(nearby & visible.array), points, size))
    return scans


def _grid_around(area: Volume, spacing: float, room: float) -> tuple[tuple[int, int, int], np.ndarray]:
    """Return an isotropic, right-angled grid along the axes of ``area`` that holds its foreground and some room."""
    left, _, right = np.linalg.svd(area.affine[:3, :3] / area.spacing)
    directions = left @ right
    along = area.voxel_to_world(np.argwhere(area.array)) @ directions
    low, high = along.min(axis=0) - room, along.max(axis=0) + room
    i, j, k = (int(n) for n in np.ceil((high - low) / spacing) + 1)
    affine = np.eye(4)
    affine[:3, :3] = directions * spacing
    affine[:3, 3] = directions @ low
    return (i, j, k), affine


def _size_mm(area: Volume) -> float:
    return float(np.cbrt(1000 * area.voxel_volume_ml * int(area.array.sum())))


def _about_centres(fixed: ScanLevel, moving: ScanLevel, rotation: np.ndarray) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3] = rotation
    matrix[:3, 3] = moving.points.mean(axis=0) - rotation @ fixed.points.mean(axis=0)
    return matrix


def _best_rotations(fixed: ScanLevel, moving: ScanLevel) -> list[np.ndarray]:
    """Return the placements with the most mutual information among rotations all over, no two close to each other."""
    candidates = [_about_centres(fixed, moving, rotation) for rotation in _rotations()]
    ranked = sorted(candidates, key=lambda placement: -information(fixed, moving, placement))
    kept: list[np.ndarray] = []
    for candidate in ranked:
        if all(_degrees(candidate, better) > _APART_DEGREES for better in kept):
            kept.append(candidate)
        if len(kept) == _KEPT:
            break
    return kept


def _rotations() -> Iterator[np.ndarray]:
    """Yield the 24 rotations between axes, and others spread evenly (a spiral on the sphere of quaternions)."""
    from scipy.spatial.transform import Rotation

    yield from Rotation.create_group("O").as_matrix()
    step = (np.arange(_ROTATIONS) + 0.5) / _ROTATIONS
    first = 2 * np.pi * step * _ROTATIONS / np.sqrt(2)
    second = 2 * np.pi * step * _ROTATIONS / 1.533751168755204288118041  # root of x^4 = x + 4: the most even spiral
    inner, outer = np.sqrt(step), np.sqrt(1 - step)
    quaternions = np.stack(
        [inner * np.sin(first), inner * np.cos(first), outer * np.sin(second), outer * np.cos(second)], axis=1
    )
    yield from Rotation.from_quat(quaternions).as_matrix()


def _degrees(first: np.ndarray, second: np.ndarray) -> float:
    cosine = (np.trace(first[:3, :3].T @ second[:3, :3]) - 1) / 2
    return float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))


def _tried(fixed: ScanLevel, moving: ScanLevel, start: np.ndarray) -> np.ndarray | None:
    if overlap(fixed, moving, start) == 0:
        return None
    return information_alignment(fixed, moving, start, affine=False)
