"""Simulated acquisition of thick slices from an isotropic image, and its interpolation: a matrix along each axis."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from NeuroGenLib.simulate.random_numbers import chance, uniform
from NeuroGenLib.simulate.thick_slices import ProfileKind, SliceProfile, profile_matrix, slice_positions

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from NeuroGenLib.superres.config import SlicesConfig

SHARPENED = 2
"""How often an interpolated stack is corrected by what it does not reproduce of the slices; more brings noise."""
_ROUNDS = 3
"""The same for several stacks, instead of their fusion."""
_REACH = 2
"""SliceAcquisition beyond a window that still matter for the spline inside it."""


@dataclass(frozen=True)
class SliceAcquisition:
    """One stack of thick slices.

    Attributes
    ----------
    axis:
        0, 1 or 2: the array axis across the slices.
    thickness, distance:
        What the header tells, in mm.
    width:
        Full width at half maximum of the true profile in mm.
    kind:
        Its form.
    offset:
        How far the slices are moved along the axis, in mm.
    """

    axis: int
    thickness: float
    distance: float
    width: float
    kind: ProfileKind = "gaussian"
    offset: float = 0.0

    def margin(self, spacing: float) -> int:
        """Return how many voxels of ``spacing`` mm beyond a window its slices need."""
        return math.ceil(_REACH * self.distance / spacing)


def sample_slices(
    generator: torch.Generator, config: SlicesConfig, axis: int | None = None
) -> tuple[SliceAcquisition, ...]:
    """Sample one stack, or several along different axes; the first along ``axis`` if given."""
    import torch

    axes = torch.randperm(3, generator=generator, device=generator.device).tolist()
    if axis is not None:
        axes = [axis, *(across for across in axes if across != axis)]
    several = chance(generator, config.several)
    count = (2 if chance(generator, 0.5) else 3) if several else 1
    thickness = uniform(generator, *config.thickness)
    gap = uniform(generator, *config.gap) if chance(generator, config.gap_chance) else 0.0
    distance = thickness * (1 + gap)
    kind: ProfileKind = "box" if chance(generator, config.box) else "gaussian"
    width = thickness * uniform(generator, *config.width)
    return tuple(
        SliceAcquisition(across, thickness, distance, width, kind, uniform(generator, -distance / 2, distance / 2))
        for across in axes[:count]
    )


def simulated_interpolation(
    image: torch.Tensor, stacks: Sequence[SliceAcquisition], spacing: float, noise: float, generator: torch.Generator
) -> torch.Tensor:
    """Return an image as thick slices show it, back on its own grid by a cubic spline and sharpened.

    Several stacks are averaged. What the result would not reproduce of the slices, by the thickness that their header
    tells, is put back :data:`SHARPENED` times; of several stacks more often, as their fusion does.

    Parameters
    ----------
    image:
        (I, J, K) magnitudes, isotropic.
    stacks:
        One or more, along different axes.
    spacing:
        Of the image's voxels in mm.
    noise:
        Standard deviation of the two parts of the signal.
    generator:
        Source of the noise, on the device of ``image``.
    """
    import torch

    measured = []
    reconstructions = [_Reconstruction.of(stack, image, spacing) for stack in stacks]
    for stack in stacks:
        thick = torch.as_tensor(
            _acquisition_matrix(image.shape[stack.axis], spacing, stack), dtype=image.dtype, device=image.device
        )
        slices = along(image, thick, stack.axis)
        if noise > 0:
            real, imaginary = noise * torch.randn((2, *slices.shape), generator=generator, device=image.device)
            slices = torch.hypot(slices + real, imaginary)
        measured.append(slices)
    # A spline overshoots beside edges; no slice was that dark or bright.
    darkest, brightest = (
        min(float(slices.min()) for slices in measured),
        max(float(slices.max()) for slices in measured),
    )
    parts = [along(slices, stack.spline, stack.axis) for slices, stack in zip(measured, reconstructions, strict=True)]
    result = torch.stack(parts).mean(0).clamp(darkest, brightest)
    for _ in range(_ROUNDS if len(stacks) > 1 else SHARPENED):
        missing = [
            along(slices - along(result, stack.thick, stack.axis), stack.linear, stack.axis)
            for slices, stack in zip(measured, reconstructions, strict=True)
        ]
        result = result + torch.stack(missing).mean(0)
    return result.clamp(darkest, brightest)


def projection_matrix(size: int, spacing: float, stack: SliceAcquisition) -> np.ndarray:
    """Return the (size, size) matrix of what slices would show of an image, spread over its axis linearly.

    What an image has beyond that, the slices do not tell.
    """
    positions = _positions(size, spacing, stack)
    thick = profile_matrix(size, spacing, positions, SliceProfile("gaussian", stack.thickness))
    return np.asarray(linear_matrix(size, positions) @ thick)


def spline_matrix(size: int, positions: np.ndarray) -> np.ndarray:
    """Return the (size, slices) matrix that puts slices back on an axis of ``size`` voxels by a cubic spline.

    It is what :meth:`NeuroGenLib.spatial.volume.Volume.resample` does with order 3: beyond the outermost slices their
    values go on.

    Parameters
    ----------
    positions:
        (slices,) evenly spaced centres in voxels of the axis.
    """
    from scipy import ndimage

    count = len(positions)
    if count == 1:
        return np.ones((size, 1))
    step = float(positions[1] - positions[0])
    return np.asarray(
        ndimage.affine_transform(
            np.eye(count),
            [1 / step, 1.0],
            offset=[-float(positions[0]) / step, 0.0],
            output_shape=(size, count),
            order=3,
            mode="nearest",
        )
    )


def along(image: torch.Tensor, matrix: torch.Tensor, axis: int) -> torch.Tensor:
    """Return the image (I, J, K) after a matrix along one axis."""
    return (image.movedim(axis, -1) @ matrix.T).movedim(-1, axis)


def slice_record(stacks: Sequence[SliceAcquisition], spacing: float) -> list[list[float]]:
    """Return the network's condition: thickness and distance along each axis, (2, 3), in voxels of ``spacing`` mm."""
    record = [[0.0] * 3, [0.0] * 3]
    for stack in stacks:
        record[0][stack.axis], record[1][stack.axis] = stack.thickness / spacing, stack.distance / spacing
    return record


@dataclass(frozen=True)
class _Reconstruction:
    """Matrices along the axis of a stack, from what its header tells.

    Attributes
    ----------
    axis:
        0, 1 or 2.
    thick:
        (slices, size): slices of an image.
    spline, linear:
        (size, slices): slices back on the image's grid, see :func:`spline_matrix` and :func:`linear_matrix`.
    """

    axis: int
    thick: torch.Tensor
    spline: torch.Tensor
    linear: torch.Tensor

    @classmethod
    def of(cls, stack: SliceAcquisition, image: torch.Tensor, spacing: float) -> _Reconstruction:
        import torch

        size = image.shape[stack.axis]
        profile = SliceProfile("gaussian", stack.thickness)
        positions = _positions(size, spacing, stack)
        matrices = (
            profile_matrix(size, spacing, positions, profile),
            spline_matrix(size, positions),
            linear_matrix(size, positions),
        )
        return cls(
            stack.axis, *(torch.as_tensor(matrix, dtype=image.dtype, device=image.device) for matrix in matrices)
        )


def linear_matrix(size: int, positions: np.ndarray) -> np.ndarray:
    """Return the (size, slices) matrix that spreads slices over an axis of ``size`` voxels linearly.

    It is what :func:`NeuroGenLib.superres.stacks.data_consistency.back_projection` does: the
    outermost slices go on for half their distance, and beyond that there is 0.

    Parameters
    ----------
    positions:
        (slices,) evenly spaced centres in voxels of the axis.
    """
    voxels = np.arange(size)
    columns = np.stack([np.interp(voxels, positions, unit) for unit in np.eye(len(positions))], axis=1)
    if len(positions) > 1:
        reach = (positions[1] - positions[0]) / 2
        columns[(voxels < positions[0] - reach) | (voxels > positions[-1] + reach)] = 0
    return columns


def _positions(size: int, spacing: float, stack: SliceAcquisition) -> np.ndarray:
    return slice_positions(size, spacing, SliceProfile(stack.kind, stack.width), stack.distance, stack.offset)


def _acquisition_matrix(size: int, spacing: float, stack: SliceAcquisition) -> np.ndarray:
    return profile_matrix(size, spacing, _positions(size, spacing, stack), SliceProfile(stack.kind, stack.width))
