"""Fusion of several stacks of thick slices into one isotropic volume, by regularised least squares.

Every stack is modelled as the image averaged over its slice profile at a rigid pose. The image minimises the
squared differences to all stacks and its own roughness; values and slices that the rest contradicts lose their weight.
Conjugate gradients solve it. The only matrices are those along single axes: memory is some ten times the image.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from NeuroGenLib.core.errors import InputError
from NeuroGenLib.core.progress import SILENT, Progress
from NeuroGenLib.spatial.volume import Volume
from NeuroGenLib.superres.stacks.acquisition_model import PROFILE_REACH, ROUNDING, AcquisitionModel
from NeuroGenLib.superres.stacks.stack import Stack

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

_ROUNDS = (8, 5, 4)
"""Steps of conjugate gradients; weights are estimated between the rounds."""
_LEAST_ROUGHNESS, _PER_NOISE = 0.01, 60.0
"""Weight of the roughness: without noise, and what the square of the noise adds (as a part of the brightest)."""
_MOST_VOXELS = 2**26
"""A fused grid of more voxels is refused: a limit on memory."""
_OUTLIER, _OUTLIER_PART = 3.0, 0.1
"""From this many deviations, and this part of the brightest, on a value loses weight. Edges must not."""
_BAD_SLICE = 2.0
"""From this many times the usual error on a slice loses weight."""
_FOREGROUND = 0.1
"""Part of the brightest (99th percentile) from which on a value belongs to the head."""
_FEWEST = 30
"""Voxels of the head that a ratio of intensities, or the error of a slice, needs at least to count."""
_COARSE_MM = 3.0
"""Finest voxel size of the copies that the intensities of stacks are compared on."""


@dataclass(frozen=True, eq=False)
class Fusion:
    """Isotropic volume fused from several stacks.

    Attributes
    ----------
    image:
        (i, j, k) float32 in the world and the units of the first stack; 0 where no stack was measured.
    coverage:
        uint8 on the same grid: how many stacks were measured there.
    scales:
        The factor that brought each stack to the units of the first.
    slice_weights:
        For each stack, (slices,) in stored order: how much each slice counted in the end, 0 to 1.
    residual:
        Robust standard deviation of what the image leaves unexplained in the head, as a part of the 99th percentile.
    """

    image: Volume
    coverage: Volume
    scales: tuple[float, ...]
    slice_weights: tuple[np.ndarray, ...]
    residual: float


def fuse(
    stacks: Sequence[Stack],
    spacing: float | None = None,
    roughness: float | None = None,
    progress: Progress = SILENT,
) -> Fusion:
    """Combine stacks of thick slices into one isotropic volume; one stack alone is interpolated and sharpened.

    Parameters
    ----------
    stacks:
        At their poses, see :func:`NeuroGenLib.superres.stacks.alignment.align_stacks`.
    spacing:
        Voxel size in mm; when not given, the smallest of the first stack.
    roughness:
        Weight of the squared differences of neighbours, where one isotropic stack has the weight 1. When not given, it
        follows from the noise.
    progress:
        Progress callback.

    Returns
    -------
    Fusion
        On the grid of :func:`fused_grid`.

    Raises
    ------
    InputError
        When there is no stack, a stack has no contrast or does not overlap with the first one, the spacing or the
        roughness is invalid, or the grid is huge.
    """
    if roughness is not None and not (np.isfinite(roughness) and roughness >= 0):
        raise InputError(
            f"A roughness of {roughness} is invalid.", "Give zero or more, such as 0.02.", code="value-invalid"
        )
    grid = fused_grid(stacks, spacing)
    # In one order of axes: the result depends on where voxels are, not on how they are stored.
    ordered, work = [_ordered(stack) for stack in stacks], grid.reorient("RAS")
    scales = intensity_scales(ordered)
    margin = int(np.ceil(PROFILE_REACH * max(stack.thickness for stack in stacks) / grid.spacing[0]))
    problem = _Problem(ordered, scales, work.pad(margin), roughness)
    covered = coverage(ordered, work)
    image = problem.first_guess(margin)
    for index, steps in enumerate(_ROUNDS):
        if index:
            problem.reweight(image)
        rest = progress.part(sum(_ROUNDS[:index]) / sum(_ROUNDS), sum(_ROUNDS[: index + 1]) / sum(_ROUNDS))
        image = problem.improved(image, steps, rest)
    problem.reweight(image)
    inner = tuple(slice(margin, margin + n) for n in work.shape)
    array = np.where(covered.array > 0, image[inner].numpy(), 0).astype(np.float32)
    return Fusion(
        work.with_array(array).reorient(grid.axcodes),
        covered.reorient(grid.axcodes),
        scales,
        tuple(
            weights[::-1].copy() if stack.volume.axcodes[stack.axis] in "LPI" else weights
            for stack, weights in zip(stacks, problem.slice_weights, strict=True)
        ),
        problem.residual,
    )


def fused_grid(stacks: Sequence[Stack], spacing: float | None = None) -> Volume:
    """Return the grid of a fusion, uint8 zeros: isotropic, along the first stack's axes, over all fields of view.

    Voxels within the first stack's slices keep their places where ``spacing`` is theirs.

    Parameters
    ----------
    stacks, spacing:
        As for :func:`fuse`.

    Raises
    ------
    InputError
        When there is no stack, the spacing is invalid or the grid is huge.
    """
    if not stacks:
        raise InputError("There is no stack to fuse.", "Give at least one scan.", code="value-missing")
    first = stacks[0].placed.reorient("RAS")
    width = min(first.spacing) if spacing is None else spacing
    if not (np.isfinite(width) and width > 0):
        raise InputError(f"A spacing of {width} mm is invalid.", "Give a positive number of mm.", code="value-invalid")
    # Right angles, also where the first stack is sheared.
    left, _, right = np.linalg.svd(first.affine[:3, :3] / first.spacing)
    affine = np.eye(4)
    affine[:3, :3] = left @ right * width
    size = np.maximum(1, np.floor(np.asarray(first.shape) * first.spacing / width + 0.5 + ROUNDING))
    affine[:3, 3] = first.centre - affine[:3, :3] @ ((size - 1) / 2)
    corners = np.concatenate([_corners(stack.placed) for stack in stacks])
    places = (corners - affine[:3, 3]) @ np.linalg.inv(affine[:3, :3]).T
    # Only voxels whose centres were measured: one beyond would be dark, and an edge to be sharpened.
    before = np.maximum(0, np.floor(-places.min(axis=0) + ROUNDING))
    after = np.maximum(0, np.floor(places.max(axis=0) - (size - 1) + ROUNDING))
    i, j, k = (int(n) for n in before + size + after)
    if float(i) * j * k > _MOST_VOXELS:
        raise InputError(
            f"The stacks span {i} x {j} x {k} voxels of {width:g} mm, which is too many.",
            "Ask for a coarser spacing, or check that all stacks show the same head in the same place.",
            code="image-too-large",
        )
    affine[:3, 3] -= affine[:3, :3] @ before
    return Volume(np.zeros((i, j, k), dtype=np.uint8), affine).reorient(stacks[0].volume.axcodes)


def intensity_scales(stacks: Sequence[Stack]) -> tuple[float, ...]:
    """Return the factor of each stack to the units of the first: medians of ratios in the head, on coarse copies.

    Raises
    ------
    InputError
        When a stack has no values above zero, or hardly any of its head lies in that of the first.
    """
    coarse = fused_grid(stacks[:1], max(_COARSE_MM, *(stack.thickness for stack in stacks)))
    heads = []
    for index, stack in enumerate(stacks):
        top = float(np.percentile(stack.volume.array, 99))
        if top <= 0:
            raise InputError(
                f"Stack {index + 1} has no values above zero.", "Check that it is the right file.", code="image-empty"
            )
        image = stack.placed.resample(like=coarse).array
        heads.append(np.where(image > _FOREGROUND * top, image, np.nan))
    scales = []
    for index, head in enumerate(heads):
        ratios = heads[0] / head
        ratios = ratios[np.isfinite(ratios)]
        if len(ratios) < _FEWEST:
            raise InputError(
                f"Stack {index + 1} does not overlap with the first one.",
                "Check that both show the same head, and align them first.",
                code="geometry-mismatch",
            )
        scales.append(float(np.median(ratios)))
    return tuple(scales)


def coverage(stacks: Sequence[Stack], grid: Volume) -> Volume:
    """Return on ``grid`` how many stacks have a voxel there, uint8."""
    count = np.zeros(grid.shape, dtype=np.uint8)
    for stack in stacks:
        ones = Volume(np.ones(stack.volume.shape, dtype=np.uint8), stack.placed.affine)
        count += ones.resample(like=grid, order=0).array
    return grid.with_array(count)


class _Problem:
    """Weighted least squares of all stacks and the roughness, on the grid with room around it."""

    def __init__(self, stacks: Sequence[Stack], scales: Sequence[float], grid: Volume, roughness: float | None) -> None:
        import torch

        self._stacks, self._grid = stacks, grid
        self._models = [AcquisitionModel(stack, grid) for stack in stacks]
        arrays = [stack.volume.array.astype(np.float32) * scale for stack, scale in zip(stacks, scales, strict=True)]
        self._values = [torch.from_numpy(np.ascontiguousarray(array)) for array in arrays]
        self._top = float(np.percentile(arrays[0], 99))
        # Voxels count by their volume, so that all stacks together weigh as much as one isotropic scan.
        self._shares = [1000 * stack.volume.voxel_volume_ml / grid.spacing[0] ** 3 / len(stacks) for stack in stacks]
        self._weights = [
            torch.full_like(values, share) for values, share in zip(self._values, self._shares, strict=True)
        ]
        if roughness is None:
            noise = max(_noise(array, stack.axis) for array, stack in zip(arrays, stacks, strict=True)) / self._top
            roughness = _LEAST_ROUGHNESS + _PER_NOISE * noise**2
        self._roughness = roughness
        self.slice_weights = [np.ones(stack.volume.shape[stack.axis]) for stack in stacks]
        self.residual = 0.0

    def first_guess(self, margin: int) -> Tensor:
        """Return the mean of the interpolated stacks, its border extended into the margin."""
        import torch

        total = np.zeros(self._grid.shape, dtype=np.float32)
        for stack, values in zip(self._stacks, self._values, strict=True):
            total += Volume(values.numpy(), stack.placed.affine).resample(like=self._grid, order=3).array
        mean = total / np.maximum(coverage(self._stacks, self._grid).array, 1)
        inner = tuple(slice(margin, n - margin) for n in mean.shape)
        return torch.from_numpy(np.pad(mean[inner], margin, mode="edge"))

    def reweight(self, image: Tensor) -> None:
        """Take weight from single values, and from whole slices, that the image does not explain."""
        import torch

        acquired = [model(image) for model in self._models]
        errors = [(predicted - values).abs() for predicted, values in zip(acquired, self._values, strict=True)]
        # Also what is dark where it should not be: slices lose their signal.
        heads = [
            torch.maximum(predicted, values) > _FOREGROUND * self._top
            for predicted, values in zip(acquired, self._values, strict=True)
        ]
        inside = torch.cat([error[head] for error, head in zip(errors, heads, strict=True)])
        deviation = 1.4826 * float(inside.median())
        self.residual = deviation / self._top
        limit = max(_OUTLIER * deviation, _OUTLIER_PART * self._top)
        self.slice_weights = _slice_weights(errors, heads, [stack.axis for stack in self._stacks])
        for index, (error, stack) in enumerate(zip(errors, self._stacks, strict=True)):
            shape = [-1 if axis == stack.axis else 1 for axis in range(3)]
            slices = torch.from_numpy(self.slice_weights[index]).to(error.dtype).reshape(shape)
            self._weights[index] = self._shares[index] * slices * (limit / error.clamp(min=limit))

    def improved(self, image: Tensor, steps: int, progress: Progress) -> Tensor:
        """Return the image after some steps of conjugate gradients."""
        rest = self._pulled(image, lambda acquired, values: values - acquired) - self._roughness * _roughness(image)
        direction, power = rest.clone(), float((rest * rest).sum())
        for step in range(steps):
            progress.update(step, steps, "Fusing the stacks")
            if power == 0:
                break
            pushed = self._pulled(direction, lambda acquired, _: acquired) + self._roughness * _roughness(direction)
            length = power / float((direction * pushed).sum())
            image = image + length * direction
            rest = rest - length * pushed
            power, before = float((rest * rest).sum()), power
            direction = rest + power / before * direction
        progress.update(steps, steps, "Fusing the stacks")
        return image

    def _pulled(self, image: Tensor, change: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        import torch

        total = torch.zeros_like(image)
        for model, weights, values in zip(self._models, self._weights, self._values, strict=True):
            total += model.pulled_back(image, lambda acquired, w=weights, v=values: w * change(acquired, v))  # type: ignore[misc]
        return total


def _slice_weights(errors: Sequence[Tensor], heads: Sequence[Tensor], axes: Sequence[int]) -> list[np.ndarray]:
    """Return the weights of slices, one array a stack: 1, and less where the error is far from usual."""
    means, counts = [], []
    for error, head, axis in zip(errors, heads, axes, strict=True):
        in_plane = tuple({0, 1, 2} - {axis})
        count = head.sum(dim=in_plane).numpy()
        means.append((error * head).sum(dim=in_plane).numpy().astype(np.float64) / np.maximum(count, 1))
        # Slices with hardly any head say nothing of themselves.
        counts.append(count >= max(_FEWEST, 0.05 * count.max()))
    reliable = np.concatenate([mean[count] for mean, count in zip(means, counts, strict=True)])
    usual = float(np.median(reliable)) if len(reliable) else 0.0
    if usual == 0:
        return [np.ones(len(mean)) for mean in means]
    return [
        np.where(count, (_BAD_SLICE / np.maximum(mean / usual, _BAD_SLICE)) ** 2, 1.0)
        for mean, count in zip(means, counts, strict=True)
    ]


def _roughness(image: Tensor) -> Tensor:
    """Return the derivative (halved) of the sum of squared differences of neighbours."""
    import torch

    result = torch.zeros_like(image)
    for axis, size in enumerate(image.shape):
        step = torch.diff(image, dim=axis)
        result.narrow(axis, 0, size - 1).sub_(step)
        result.narrow(axis, 1, size - 1).add_(step)
    return result


def _noise(array: np.ndarray, axis: int) -> float:
    """Return the standard deviation of the noise in the head, from diagonal differences within slices."""
    slices = np.moveaxis(array, axis, 0)
    square = (slices[:, 1:, 1:] - slices[:, 1:, :-1] - slices[:, :-1, 1:] + slices[:, :-1, :-1]) / 2
    inside = np.abs(square[slices[:, 1:, 1:] > _FOREGROUND * np.percentile(array, 99)])
    return 1.4826 * float(np.median(inside)) if inside.size else 0.0


def _ordered(stack: Stack) -> Stack:
    """Return the stack with its voxels stored in the order RAS."""
    world = next(
        index for index, letters in enumerate(("LR", "PA", "IS")) if stack.volume.axcodes[stack.axis] in letters
    )
    return Stack(stack.volume.reorient("RAS"), world, stack.thickness, stack.profile, stack.pose)


def _corners(volume: Volume) -> np.ndarray:
    return volume.voxel_to_world(list(product(*((-0.5, n - 0.5) for n in volume.shape))))
