"""From the settings of a published data set to the pairs that training draws."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from NeuroGenLib.core.config import to_mapping
from NeuroGenLib.core.errors import InputError
from NeuroGenLib.registration.data.pairs import LabelGroups, Prepared, ScanFiles, ScanPairs
from NeuroGenLib.registration.published.datasets import lpba40, lumir, lung250m, nlst, oasis
from NeuroGenLib.registration.published.datasets.steps import (
    prepared_image,
    prepared_labels,
    prepared_mask,
    prepared_points,
)
from NeuroGenLib.spatial.labels import as_label_map
from NeuroGenLib.spatial.volume import Volume, require_3d, require_finite

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from NeuroGenLib.registration.published.datasets.cases import Cases
    from NeuroGenLib.registration.published.datasets.config import LayoutConfig, PreparationConfig

_FIND = {"oasis": oasis.find, "lpba40": lpba40.find, "lumir": lumir.find, "lung250m": lung250m.find, "nlst": nlst.find}
_LANDMARKS = {"lung250m": lung250m.read_landmarks, "nlst": nlst.read_landmarks}
_COMPUTED_TOMOGRAPHY = ("lung250m", "nlst")
_AIR = -1024.0
"""Hounsfield units that become 0."""


def find_cases(config: LayoutConfig) -> Cases:
    """Return the scans and pairs of the split that ``config`` names.

    Raises
    ------
    InputError
        When a file is missing, naming it, or the data set has no such split.
    """
    return _FIND[config.kind](config)


def layout_pairs(
    config: LayoutConfig, *, items: int = 2, most_labels: int | None = None, cache_gib: float = 4.0
) -> ScanPairs:
    """Return what draws the pairs of a published data set, see :class:`~NeuroGenLib.registration.data.pairs.ScanPairs`.

    The structures of the label maps are ``config.label_groups``, else each of ``config.labels`` but 0.

    Raises
    ------
    InputError
        When a file is missing or the data set has no such split, or too few scans.
    """
    cases = find_cases(config)
    return ScanPairs(
        cases.scans,
        LayoutPreparation(config, cases.scans[0]),
        cases.pairs,
        items=items,
        labels=structures(config),
        most_labels=most_labels if config.use_labels else 0,
        cache_gib=cache_gib,
    )


def structures(config: LayoutConfig) -> LabelGroups:
    """Return the label values of each structure that a loss on labels sees."""
    return config.label_groups or tuple((label,) for label in config.labels if label != 0)


def preparation_record(
    kind: str, grid: Sequence[int], spacing: Sequence[float], orientation: str, steps: PreparationConfig
) -> dict[str, Any]:
    """Return how any scan is to be prepared for a network that was trained on a data set, for its manifest.

    Parameters
    ----------
    kind:
        The data set.
    grid, spacing:
        Voxels and voxel size (mm) along i, j, k of the prepared images.
    orientation:
        Where i, j and k of their arrays grow to, such as ``LIA``.
    steps:
        What was done to the files of the data set.

    Returns
    -------
    dict
        ``grid``, ``spacing``, ``orientation``, ``fill`` (None: voxels keep their size) and ``placement`` (the middle of
        a scan comes to the middle of the grid); ``normalisation``, which is ``percentile`` for brain images, as their
        files hold or are brought to about 0 to 1, ``minmax``, or for CT ``fixed``: Hounsfield units limited to
        ``clip``, then ``(value - shift) / scale``, and 0 outside the mask of the lungs (``masked``); ``data`` and
        ``steps``, what was done to the files themselves.
    """
    record: dict[str, Any] = {
        "grid": [int(size) for size in grid],
        "spacing": [float(size) for size in spacing],
        "fill": None,
        "placement": "centre",
        "orientation": orientation,
        "normalisation": "minmax" if steps.minmax else "percentile",
        "data": kind,
        "steps": to_mapping(steps),
    }
    if kind in _COMPUTED_TOMOGRAPHY:
        clip = [None if end is None else end + _AIR for end in steps.clip or (None, None)]
        record |= {"normalisation": "fixed", "clip": clip, "shift": steps.shift + _AIR, "scale": steps.scale}
        record["masked"] = True
    return record


@dataclass(frozen=True)
class LayoutPreparation:
    """Reads a scan of a published data set and prepares it as the published program does.

    A :class:`~NeuroGenLib.registration.data.pairs.Preparation`. The order is: Hounsfield units above air times the lung
    mask (CT), or division by white matter (LPBA40 where asked for); crop; crop or pad; average; clip; shift and
    divide; stretch. Arrays keep the file's order of axes, the affine says where the result lies.

    Parameters
    ----------
    config:
        The data set and the steps.
    example:
        A scan that stands for all in :attr:`record`.
    """

    config: LayoutConfig
    example: ScanFiles

    @functools.cached_property
    def record(self) -> dict[str, Any]:
        """See :func:`preparation_record`."""
        prepared = self(self.example)
        like = Volume(prepared.image, prepared.affine)
        orientation = "".join(like.axcodes)
        return preparation_record(self.config.kind, like.shape, like.spacing, orientation, self.config.preparation)

    def __call__(self, scan: ScanFiles) -> Prepared:
        """Return the prepared scan.

        Raises
        ------
        InputError
            When a file is missing, damaged, in another space than its image, or holds NaN.
        """
        config, steps = self.config, self.config.preparation
        volume = _read(scan.images[0])
        mask = None if scan.mask is None else _beside(scan.mask, volume)
        if config.kind in _COMPUTED_TOMOGRAPHY and mask is not None:
            volume = volume.with_array((volume.array - np.float32(_AIR)) * mask.array)
        if config.white_matter:
            tissue = _beside(lpba40.tissue_path(scan), volume)
            volume = volume.with_array(lpba40.by_white_matter(volume.array, tissue.array))
        if config.body_mask_erosion is not None:
            mask = volume.with_array(lumir.body_mask(volume.array, config.body_mask_erosion))
        image = prepared_image(volume, steps)
        points = _LANDMARKS[config.kind](scan) if scan.landmarks is not None else None
        return Prepared(
            image.array[None],
            image.affine,
            None if scan.labels is None else prepared_labels(_label_map(scan.labels, volume), steps, config.labels),
            None if mask is None else prepared_mask(mask, steps),
            None if points is None else _inside(prepared_points(points, volume.shape, steps), image, scan),
        )


def _read(path: Path) -> Volume:
    volume = Volume.load(path)
    require_3d(volume, str(path))
    require_finite(volume, str(path))
    return volume.with_array(volume.array.astype(np.float32))


def _beside(path: Path, image: Volume) -> Volume:
    """Read a map of the same voxels as the image; like the published program, without regard to its own header."""
    return _on_grid_of(image, _read(path), path)


def _label_map(path: Path, image: Volume) -> Volume:
    return _on_grid_of(image, as_label_map(Volume.load(path), str(path)), path)


def _on_grid_of(image: Volume, volume: Volume, path: Path) -> Volume:
    if volume.shape != image.shape:
        raise InputError(
            f"{path} has {volume.shape} voxels, its image {image.shape}.",
            "Restore the files as their authors distribute them.",
            code="geometry-mismatch",
        )
    return image.with_array(volume.array)


def _inside(points: np.ndarray, image: Volume, scan: ScanFiles) -> np.ndarray:
    """Return the points when all lie in the prepared image: leaving some out would shift their correspondence."""
    outside = ((points < -0.5) | (points > np.array(image.shape) - 0.5)).any(axis=1)
    if outside.any():
        raise InputError(
            f"{int(outside.sum())} of {len(points)} landmarks in {scan.landmarks} lie outside the prepared image.",
            "Crop less, or check that landmarks and image belong together.",
            code="geometry-mismatch",
        )
    return points
