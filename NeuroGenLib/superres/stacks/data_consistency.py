"""Data consistency: slices simulated from the image are compared with the measured ones and projected back."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from NeuroGenLib.core.progress import SILENT, Progress
from NeuroGenLib.spatial.volume import Volume
from NeuroGenLib.superres.stacks.acquisition_model import PROFILE_REACH, AcquisitionModel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from NeuroGenLib.superres.stacks.stack import Stack

_AT_ONCE = 2**22
"""Voxels, of the stack's planes at the image's spacing, that are simulated at once: a limit of memory."""


def slice_residual(image: Volume, stack: Stack, scale: float = 1.0) -> Volume:
    """Return the measured slices less the acquisition simulated from the image, float32 on the stack's grid and place.

    The stack's slice profile is applied to the image; beyond its field of view the image goes on as at its border.

    Parameters
    ----------
    image:
        Isotropic, (i, j, k).
    stack:
        At its pose.
    scale:
        The factor that brings the stack to the units of ``image``.
    """
    import torch

    width = image.spacing[0]
    margin = math.ceil(PROFILE_REACH * max(stack.thickness, *stack.volume.spacing) / width) + 1
    values = np.pad(image.array.astype(np.float32), margin, mode="edge")
    around = Volume(values, image.pad(margin).affine)
    padded = torch.from_numpy(values)
    result = stack.volume.array.astype(np.float32) * np.float32(scale)
    for box in _slabs(stack, width):
        part = replace(stack, volume=stack.volume.crop(box))
        inside = tuple(slice(*ends) for ends in box)
        result[inside] -= AcquisitionModel(part, around)(padded).numpy()
    return Volume(result, stack.placed.affine)


def back_projection(residuals: Sequence[Volume], grid: Volume) -> np.ndarray:
    """Back-project residuals of stacks onto a grid by linear interpolation, (i, j, k) float32: the mean of several.

    0 where no stack was measured.
    """
    total, count = np.zeros(grid.shape, np.float32), np.zeros(grid.shape, np.uint8)
    for residual in residuals:
        total += residual.resample(like=grid).array
        measured = Volume(np.ones(residual.shape, np.uint8), residual.affine)
        count += measured.resample(like=grid, order=0).array
    return total / np.maximum(count, 1)


def data_consistent(
    image: Volume,
    stacks: Sequence[Stack],
    weight: np.ndarray,
    steps: int,
    scales: Sequence[float],
    slice_weights: Sequence[np.ndarray],
    progress: Progress = SILENT,
) -> Volume:
    """Correct the image by iterative back-projection of its residuals.

    Parameters
    ----------
    image, stacks:
        Isotropic; at their poses.
    weight:
        (i, j, k), 0 to 1: how much of the correction each voxel gets.
    steps:
        How often.
    scales, slice_weights:
        For each stack: the factor to the units of ``image``, and how much each slice counts, (slices,).
    progress:
        Progress callback.
    """
    for _ in progress.track(range(steps), "comparing with the slices"):
        residuals = []
        for stack, scale, counts in zip(stacks, scales, slice_weights, strict=True):
            shape = [-1 if axis == stack.axis else 1 for axis in range(3)]
            residual = slice_residual(image, stack, scale)
            residuals.append(residual.with_array(residual.array * counts.astype(np.float32).reshape(shape)))
        image = image.with_array(image.array + weight * back_projection(residuals, image))
    return image


def null_space_component(correction: Volume, stacks: Sequence[Stack]) -> Volume:
    """Return the null-space component of a correction: the part that no stack measures, stack after stack removed.

    Training on windows of several stacks does the same, see
    :meth:`NeuroGenLib.superres.data.windows.WindowBatch.consistent`.
    """
    for stack in stacks:
        less = slice_residual(correction, stack, scale=0.0)  # of the correction alone: minus its slices
        correction = correction.with_array(correction.array + back_projection([less], correction))
    return correction


def sharpened(image: Volume, stack: Stack, steps: int) -> Volume:
    """Return the interpolation of a single stack as the residual network sees it.

    It is corrected ``steps`` times by what it does not reproduce of the slices, and no value goes beyond theirs; see
    :func:`NeuroGenLib.superres.data.degradation.simulated_interpolation`.
    """
    if steps == 0:
        return image
    everywhere = np.ones(image.shape, np.float32)
    every_slice = np.ones(stack.volume.shape[stack.axis])
    sharper = data_consistent(image, [stack], everywhere, steps, [1.0], [every_slice])
    measured = stack.volume.array
    return sharper.with_array(np.clip(sharper.array, measured.min(), measured.max()).astype(np.float32))


def _slabs(stack: Stack, width: float) -> list[list[tuple[int, int]]]:
    """Return boxes of whole slices that cover a stack, each within the memory limit."""
    in_plane = [axis for axis in range(3) if axis != stack.axis]
    plane = math.prod(
        stack.volume.shape[axis] * max(1, math.ceil(stack.volume.spacing[axis] / width)) for axis in in_plane
    )
    per_slice = plane * max(1, math.ceil(stack.distance / width))
    size, step = stack.volume.shape[stack.axis], max(1, _AT_ONCE // per_slice)
    return [
        [
            (first, min(size, first + step)) if axis == stack.axis else (0, length)
            for axis, length in enumerate(stack.volume.shape)
        ]
        for first in range(0, size, step)
    ]
