"""What is done to a volume of a published data set before the network sees it, step by step.

Images, masks, label maps and landmarks go through the same changes of the grid, and the affine always says where the
voxels lie. Arrays keep the order of the files; nothing is reoriented.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from NeuroGenLib.core.errors import InputError
from NeuroGenLib.spatial.foreground import pooled
from NeuroGenLib.spatial.volume import Volume

if TYPE_CHECKING:
    from collections.abc import Sequence

    from NeuroGenLib.registration.published.datasets.config import PreparationConfig

Shape = tuple[int, int, int]

_WHOLE = 1 - 1e-5
"""Share of a coarser voxel that the mask must fill."""


def regridded(volume: Volume, config: PreparationConfig) -> Volume:
    """Return a volume cropped, then cropped or padded with zeros about its centre; the voxels keep their places.

    Raises
    ------
    InputError
        When the crop takes everything.
    """
    cropped = volume.crop(crop_box(volume.shape, config.crop))
    if config.crop_or_pad_to is None:
        return cropped
    room = np.array(config.crop_or_pad_to) - cropped.shape
    margin = [(int(free // 2), int((free + 1) // 2)) if free > 0 else (0, 0) for free in room]
    box = [
        (int(-free // 2), int(-free // 2) + target) if free < 0 else (0, size)
        for free, size, target in zip(room, cropped.shape, config.crop_or_pad_to, strict=True)
    ]
    return cropped.crop(box).pad(margin)


def crop_box(shape: Shape, crop: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return (start, stop) along each axis.

    Raises
    ------
    InputError
        When nothing would be left.
    """
    box = [(before, size - after) for size, (before, after) in zip(shape, crop, strict=True)]
    if any(start >= stop for start, stop in box):
        raise InputError(
            f"A crop of {tuple(map(tuple, crop))} voxels leaves nothing of {shape}.",
            "Lower preparation.crop, or check that these are the right files.",
            code="value-invalid",
        )
    return box


def scaled(array: np.ndarray, config: PreparationConfig) -> np.ndarray:
    """Return intensities clipped, shifted, divided and, where asked for, stretched to 0 and 1, in this order.

    Raises
    ------
    InputError
        When a constant image is to be stretched.
    """
    low, high = config.clip or (None, None)
    if low is not None or high is not None:
        array = np.clip(array, low, high)
    array = (array - np.float32(config.shift)) / np.float32(config.scale)
    if config.minmax:
        least, most = array.min(), array.max()
        if most == least:
            raise InputError(
                f"All voxels are {least:g}.", "Check the file, or leave preparation.minmax out.", code="image-empty"
            )
        array = (array - least) / (most - least)
    return array


def prepared_image(volume: Volume, config: PreparationConfig) -> Volume:
    """Return an image (I, J, K), float32, after every step."""
    coarse = pooled(regridded(volume, config), config.downsampling)
    return Volume(scaled(coarse.array.astype(np.float32), config).astype(np.float32), coarse.affine)


def prepared_mask(volume: Volume, config: PreparationConfig) -> np.ndarray:
    """Return where the image counts, (I, J, K) bool: coarser voxels that the mask fills as a whole."""
    return pooled(regridded(volume, config), config.downsampling).array >= _WHOLE


def prepared_labels(volume: Volume, config: PreparationConfig, labels: Sequence[int]) -> np.ndarray:
    """Return the label of each voxel, (I, J, K) int32; of a coarser voxel the most frequent one.

    Values that ``labels`` does not list become 0. Of labels that are as frequent the one listed first is taken, 0
    before all when it is not listed.
    """
    regular = regridded(volume, config)
    order = list(labels) if 0 in labels else [0, *labels]
    kept = np.where(np.isin(regular.array, order), regular.array, 0).astype(np.int32)
    if config.downsampling == (1, 1, 1):
        return kept
    shares = (pooled(regular.with_array(kept == label), config.downsampling).array for label in order)
    best: np.ndarray | None = None
    for label, share in zip(order, shares, strict=True):
        if best is None:
            best, chosen = share, np.full(share.shape, label, np.int32)
            continue
        more = share > best
        best, chosen = np.where(more, share, best), np.where(more, np.int32(label), chosen)
    return chosen


def prepared_points(points: np.ndarray, shape: Shape, config: PreparationConfig) -> np.ndarray:
    """Return points (N, 3) in voxels of a volume of ``shape`` as voxels of the prepared one, float32."""
    before = np.array([start for start, _ in crop_box(shape, config.crop)])
    moved = np.asarray(points, np.float64) - before
    if config.crop_or_pad_to is not None:
        cropped = np.array([stop - start for start, stop in crop_box(shape, config.crop)])
        room = np.array(config.crop_or_pad_to) - cropped
        moved = moved + np.sign(room) * (np.abs(room) // 2)
    index: np.ndarray = ((moved + 0.5) / np.array(config.downsampling) - 0.5).astype(np.float32)
    return index
