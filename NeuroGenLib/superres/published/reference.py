"""The published pipeline, BABY-AI's, number for number, defects included: for comparisons, not for use.

Volumes must be registered to the infant atlas, on its grid; the result is in normalised units on a padded grid.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np

from NeuroGenLib.core.errors import InputError
from NeuroGenLib.core.progress import SILENT, Progress
from NeuroGenLib.spatial.volume import Volume, require_3d, require_finite, require_same_space

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from torch import nn

ORIENTATION = "LAS"
"""Where i, j and k of the published training images grow to."""

SPACING_MM = 1.0
"""Voxel size of the published training images."""

GRID = (182, 218, 182)
"""Voxels of the infant atlas and of every image that was registered to it."""

TARGET_SHAPE = (192, 224, 192)
"""Voxels after padding: whole windows fit."""

WINDOW = 32
"""Side in voxels of the windows that the published weights were trained on."""

STRIDE = 16
"""Voxels from one window to the next."""

PERCENTILES = (1.0, 99.0)
"""Of the voxels above 0: what becomes 0 and what becomes 1."""

_EPSILON = 1e-6
_TRAINING, _VALIDATION = 0.7, 0.15
_SPACING_TOLERANCE = 1e-3


def padded(volume: Volume, target_shape: Sequence[int] = TARGET_SHAPE) -> Volume:
    """Return a volume in the middle of a larger box of zeros, at its place in the world; float64.

    Of an odd number of missing voxels the smaller half goes in front.

    Raises
    ------
    InputError
        When the volume is larger than the box.
    """
    missing = np.asarray(target_shape) - volume.shape
    if (missing < 0).any():
        raise InputError(
            f"A volume of {volume.shape} voxels does not fit into {tuple(int(size) for size in target_shape)}.",
            "Register it to the infant atlas first, or use the default mode, which takes any size.",
            code="geometry-mismatch",
        )
    margins = [(int(width) // 2, int(width) - int(width) // 2) for width in missing]
    return Volume(volume.array.astype(np.float64), volume.affine).pad(margins)


def normalised(image: np.ndarray, name: str = "The image") -> np.ndarray:
    """Return intensities from 0 to 1, clipped: float64, in the shape of ``image``.

    0 and 1 are the 1st and 99th percentile of what is above 0, so that ringing of an interpolation counts as head.

    Raises
    ------
    InputError
        When a voxel is not finite or none is above 0, naming ``name``.
    """
    values = np.asarray(image, dtype=np.float64)
    if not np.isfinite(values).all():
        raise InputError(
            f"{name} holds NaN or infinite values.", "Replace them, for instance by 0.", code="image-not-finite"
        )
    above = values[values > 0]
    if above.size == 0:
        raise InputError(f"{name} has no voxel above 0.", "Check that it is the right file.", code="image-empty")
    low, high = np.percentile(above, PERCENTILES)
    scaled: np.ndarray = np.clip((values - low) / (high - low + _EPSILON), 0, 1)
    return scaled


def corners(shape: Sequence[int], size: Sequence[int], stride: Sequence[int]) -> list[tuple[int, int, int]]:
    """Return the first voxel (i, j, k) of every patch of ``size`` voxels that lies inside ``shape``, k running fastest.

    Raises
    ------
    InputError
        When no patch fits, or a stride is below 1.
    """
    if any(length > whole for whole, length in zip(shape, size, strict=True)) or min(*stride, *size) < 1:
        raise InputError(
            f"Patches of {tuple(size)} voxels every {tuple(stride)} do not fit into {tuple(shape)}.",
            "Pad the volume first, to a box of at least one patch.",
            code="value-conflict",
        )
    steps = (range(0, whole - length + 1, step) for whole, length, step in zip(shape, size, stride, strict=True))
    return [(i, j, k) for i, j, k in itertools.product(*steps)]


def patches(
    image: np.ndarray, size: Sequence[int] = (WINDOW,) * 3, stride: Sequence[int] = (STRIDE,) * 3
) -> np.ndarray:
    """Return the patches of an (I, J, K) image, (N, i, j, k), in the order of :func:`corners`; a copy.

    Raises
    ------
    InputError
        When no patch fits.
    """
    i, j, k = size
    return np.stack([image[a : a + i, b : b + j, c : c + k] for a, b, c in corners(image.shape, size, stride)])


def aggregated(
    patches: Iterable[np.ndarray], shape: Sequence[int], size: Sequence[int], stride: Sequence[int]
) -> np.ndarray:
    """Return the (I, J, K) image in which every voxel is the plain mean of the patches that hold it; float64.

    Parameters
    ----------
    patches:
        A patch for each of :func:`corners`, in its order.
    shape, size, stride:
        Voxels of the image, of a patch, and from one patch to the next. Voxels in no patch are 0.

    Raises
    ------
    ValueError
        When the number of patches is another.
    """
    total, count = np.zeros(tuple(shape)), np.zeros(tuple(shape))
    for (i, j, k), patch in zip(corners(shape, size, stride), patches, strict=True):
        box = (slice(i, i + size[0]), slice(j, j + size[1]), slice(k, k + size[2]))
        total[box] += patch
        count[box] += 1
    return np.divide(total, count, out=total, where=count > 0)


def reference_super_resolve(
    t1w: Volume,
    t2w: Volume,
    network: nn.Module,
    target_shape: Sequence[int] = TARGET_SHAPE,
    *,
    batch: int = 8,
    progress: Progress = SILENT,
) -> Volume:
    """Run the published pipeline on one pair.

    Parameters
    ----------
    t1w, t2w:
        Isotropic T1w and interpolated thick-slice T2w on one grid of 1 mm, registered to the infant atlas. Stored in
        another order than LAS, they are turned first.
    network:
        Takes (N, 2, 32, 32, 32) float32, T1w first, to (N, 1, 32, 32, 32); on any device, best in eval mode.
    target_shape:
        Voxels along i, j, k after padding.
    batch:
        Windows at a time; changes nothing but speed and memory.
    progress:
        Progress callback.

    Returns
    -------
    Volume
        float64 in normalised units, on the padded grid in LAS order; air is not zero.

    Raises
    ------
    InputError
        When the volumes have channels, are not finite, empty, in different spaces, not of 1 mm, or too large.
    Cancelled
        When ``progress`` was cancelled.
    """
    images = {"The T1w": t1w, "The T2w": t2w}
    prepared = {name: _prepared(volume, name, target_shape) for name, volume in images.items()}
    require_same_space(images)
    grid = prepared["The T2w"]
    pair = np.stack([normalised(volume.array, name) for name, volume in prepared.items()])
    size, stride = (WINDOW,) * 3, (STRIDE,) * 3
    patches = _network_output(network, pair, corners(grid.shape, size, stride), batch, progress)
    return grid.with_array(aggregated(patches, grid.shape, size, stride))


def _prepared(volume: Volume, name: str, target_shape: Sequence[int]) -> Volume:
    require_3d(volume, name)
    require_finite(volume, name)
    if max(abs(width - SPACING_MM) for width in volume.spacing) > _SPACING_TOLERANCE:
        raise InputError(
            f"{name} has voxels of {'x'.join(f'{width:.4g}' for width in volume.spacing)} mm; the published network"
            f" knows {SPACING_MM:g} mm.",
            "Register it to the infant atlas first, or use the default mode, which takes any grid.",
            code="geometry-mismatch",
        )
    return padded(volume.reorient(ORIENTATION), target_shape)


def _network_output(
    network: nn.Module, pair: np.ndarray, places: Sequence[tuple[int, int, int]], batch: int, progress: Progress
) -> Iterable[np.ndarray]:
    """Yield what the network makes of the window of ``pair`` (2, I, J, K) at each of ``places``: (32, 32, 32)."""
    import torch

    device = next((weight.device for weight in network.parameters()), torch.device("cpu"))
    for first in progress.track(range(0, len(places), batch), "super-resolution"):
        windows = np.stack(
            [pair[:, i : i + WINDOW, j : j + WINDOW, k : k + WINDOW] for i, j, k in places[first : first + batch]]
        )
        with torch.inference_mode():
            result = network(torch.from_numpy(windows.astype(np.float32)).to(device))
        yield from result[:, 0].cpu().numpy()


def published_split(files: int) -> tuple[int, int, int]:
    """Return how many of ``files``, in their order, the published program trains on, validates on and tests on."""
    training = int(files * _TRAINING)
    validation = int(files * (_TRAINING + _VALIDATION)) - training
    return training, validation, files - training - validation


def preparation_record() -> dict[str, Any]:
    """Return how images get ready for the published network, for a manifest."""
    return {
        "kind": "published",
        "normalisation": {"percentiles": list(PERCENTILES), "of": "voxels above 0, after padding", "clip": [0, 1]},
        "channels": ["T1w", "T2w"],
        "orientation": ORIENTATION,
        "spacing": [SPACING_MM] * 3,
        "grid": list(GRID),
        "padded": list(TARGET_SHAPE),
        "window": WINDOW,
        "stride": STRIDE,
    }
