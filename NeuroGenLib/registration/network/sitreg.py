"""The registration network: symmetric in its inputs and free of folds by construction (SITReg).

Honkamaa and Marttinen, "SITReg: Multi-resolution architecture for symmetric, inverse consistent, and topology
preserving image registration", 2023. Features of both images are compared from coarse to fine; what a level finds is
turned into a map and its inverse, half of which goes to each image. Nothing is cached between calls.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn

from NeuroGenLib.core.progress import SILENT, Progress
from NeuroGenLib.registration.network.affine import PARAMETERS, affine_matrix
from NeuroGenLib.registration.network.grids import Grids, Triple
from NeuroGenLib.registration.network.inversion import FixedPoint, invert
from NeuroGenLib.spatial.transforms.b_splines import evaluate
from NeuroGenLib.spatial.transforms.displacement import sample, voxel_grid

if TYPE_CHECKING:
    from collections.abc import Iterator

    from NeuroGenLib.registration.network.sizes import SITRegConfig

Solver = Literal["joint", "reference"]


@dataclass(frozen=True)
class Mappings:
    """Mappings of the network for a batch of pairs.

    Parameters
    ----------
    forward, inverse:
        (B, 3, i, j, k) displacements on the transform's grid, in its voxels: ``forward`` maps points of the second
        (fixed) image to the first (moving) one, ``inverse`` the other way.
    grids:
        Where that grid lies.
    dense_forward, dense_inverse:
        The same without the affine part.
    halves:
        The half-way maps that the dense part was composed of.
    half_affine:
        (B, 4, 4) half of the affine part of ``forward`` and of ``inverse``, in the world frame, when there is one.
    """

    forward: Tensor
    inverse: Tensor
    grids: Grids
    dense_forward: Tensor
    dense_inverse: Tensor
    halves: Halves
    half_affine: tuple[Tensor, Tensor] | None = None

    @property
    def affine(self) -> Tensor | None:
        """(B, 4, 4) the affine part of ``forward`` in the world frame, when the network has one."""
        return None if self.half_affine is None else self.half_affine[0] @ self.half_affine[0]

    def half_maps(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return the maps from the middle to the first and to the second image, then their inverses.

        Affine part included; (B, 3, i, j, k) displacements on the transform's grid, in its voxels.
        """
        halves, grid = self.halves, self.halves.grid.expand(len(self.forward), -1, -1, -1, -1)
        chains = (halves.left, halves.right, halves.left_inverse, halves.right_inverse)
        if self.half_affine is None:
            left, right, left_inverse, right_inverse = (composed(chain, grid) for chain in chains)
            return left, right, left_inverse, right_inverse
        matrix, inverse_matrix = self.half_affine
        return (
            self.grids.apply_affine(matrix, apply_chain(chains[0], grid)) - grid,
            self.grids.apply_affine(inverse_matrix, apply_chain(chains[1], grid)) - grid,
            apply_chain(chains[2], self.grids.apply_affine(inverse_matrix, grid)) - grid,
            apply_chain(chains[3], self.grids.apply_affine(matrix, grid)) - grid,
        )

    def forward_on_images(self) -> Tensor:
        """Return ``forward`` on the images' grid in its voxels, (B, 3, I, J, K)."""
        return on_images(self.forward, self.grids)

    def inverse_on_images(self) -> Tensor:
        """Return ``inverse`` on the images' grid in its voxels, (B, 3, I, J, K)."""
        return on_images(self.inverse, self.grids)


def on_images(displacement: Tensor, grids: Grids) -> Tensor:
    """Return a displacement on the transform's grid as one on the images' grid, in the voxels of each."""
    if all(factor == 1 for factor in grids.factor):
        return displacement
    return sample(displacement, grids.level_positions(0, displacement)) / grids.level_voxel(0, displacement)


Chain = tuple[Tensor, ...]
"""Displacements on one grid, the one applied first in front; () is the identity."""


class Halves:
    """The two half-way maps and their inverses while the stages compose them, chains of (B, 3, i, j, k) in its voxels.

    With ``resample`` every chain is kept as one displacement, at the price of one interpolation a level.
    """

    def __init__(self, grids: Grids, like: Tensor, *, resample: bool = True) -> None:
        self.grid = voxel_grid(grids.transform_shape, like)
        self.resample = resample
        self.left: Chain = ()
        self.right: Chain = ()
        self.left_inverse: Chain = ()
        self.right_inverse: Chain = ()

    def update(self, forward: Tensor, reverse: Tensor, solver: Solver, settings: FixedPoint) -> None:
        """Compose with the output of a stage in both directions: D = forward o reverse^-1 and its inverse."""
        forward_inverse, reverse_inverse = _invert_both(forward, reverse, solver, settings)
        step, step_inverse = (reverse_inverse, forward), (forward_inverse, reverse)
        self.left = self._kept(step + self.left)
        self.right = self._kept(step_inverse + self.right)
        self.left_inverse = self._kept(self.left_inverse + step_inverse)
        self.right_inverse = self._kept(self.right_inverse + step)

    def total(self) -> tuple[Chain, Chain]:
        """Return the whole map and its inverse, without the affine part."""
        return self.right_inverse + self.left, self.left_inverse + self.right

    def _kept(self, chain: Chain) -> Chain:
        return (composed(chain, self.grid),) if self.resample else chain


def composed(chain: Chain, grid: Tensor) -> Tensor:
    """Return a chain as one displacement, sampled at the voxels of its own grid."""
    if not chain:
        return torch.zeros_like(grid)
    total = chain[0]
    for displacement in chain[1:]:
        total = total + sample(displacement, grid + total)
    return total


def apply_chain(chain: Chain, positions: Tensor) -> Tensor:
    """Return where a chain sends positions in voxels of its grid, (B or 1, 3, ...)."""
    for displacement in chain:
        positions = positions + sample(displacement, positions)
    return positions


def _invert_both(forward: Tensor, reverse: Tensor, solver: Solver, settings: FixedPoint) -> tuple[Tensor, Tensor]:
    if solver == "reference":
        return invert(forward, settings), invert(reverse, settings)
    first, second = invert(torch.cat([forward, reverse]), settings).chunk(2)
    return first, second


class SITReg(nn.Module):
    """The network. Images may have any shape and spacing, unless there is an affine stage."""

    def __init__(self, config: SITRegConfig) -> None:
        super().__init__()
        self.config = config
        self.pyramid = FeaturePyramid(config)
        self.stages = nn.ModuleDict({str(level): Stage(config, level) for level in config.stages})
        self.affine = None if config.affine_inputs is None else AffineStage(config)

    def forward(
        self,
        first: Tensor,
        second: Tensor,
        spacing: Triple = (1.0, 1.0, 1.0),
        solver: Solver = "joint",
        progress: Progress = SILENT,
        *,
        resample: bool = True,
    ) -> Mappings:
        """Register pairs of images.

        Parameters
        ----------
        first, second:
            (B, channels, I, J, K); the moving and the fixed one.
        spacing:
            Voxel size, mm; only its proportions count, and only with an affine stage.
        solver:
            ``joint`` inverts both directions in one batch, ``reference`` one after the other as the published program.
        progress:
            Progress callback; a cancelled one ends the work there.
        resample:
            Keep the maps of the levels as one displacement, rather than as a chain that is sampled through.

        Raises
        ------
        Cancelled
            When ``progress`` was cancelled.
        """
        (last,) = self.levels(first, second, spacing, solver, progress, resample=resample, every=False)
        return last

    def levels(
        self,
        first: Tensor,
        second: Tensor,
        spacing: Triple = (1.0, 1.0, 1.0),
        solver: Solver = "joint",
        progress: Progress = SILENT,
        *,
        resample: bool = True,
        every: bool = True,
    ) -> Iterator[Mappings]:
        """Yield the mappings after the affine stage and after every dense one, or with ``every`` off the last alone.

        Parameters and errors are those of :meth:`forward`.
        """
        config = self.config
        i, j, k = first.shape[2:]
        grids = Grids((i, j, k), spacing, config.factor)
        steps = len(config.used_stages) + 1
        progress.update(0, steps, "comparing images")
        features: list[Tensor | None] = [*self.pyramid(torch.cat([first, second]))]
        halves = Halves(grids, first, resample=resample)
        half = None if self.affine is None else self.affine(*_both(features[-1]))
        progress.update(1, steps, "comparing images")
        if every or steps == 1:
            yield _mappings(halves, half, grids, len(first))
        for number, level in enumerate(config.used_stages, start=2):
            first_features, second_features = _both(features[level])
            features[level] = None  # not needed again
            positions = grids.level_positions(level, first)
            warped_first = _pull(
                first_features, halves.left, None if half is None else half[0], positions, grids, level
            )
            warped_second = _pull(
                second_features, halves.right, None if half is None else half[1], positions, grids, level
            )
            control = self.stages[str(level)](warped_first, warped_second, grids.control_point_bound(level))
            matrices, voxel = grids.spline_matrices(level, first), grids.level_voxel(level, first)
            # One call a direction, each with its own copy: the last bits of a matrix product depend on where in memory
            # and at which row of a batch a number lies.
            forward, reverse = (evaluate(points.clone(), matrices) * voxel for points in control.chunk(2))
            halves.update(forward, reverse, solver, config.fixed_point)
            progress.update(number, steps, "comparing images")
            if every or number == steps:
                yield _mappings(halves, half, grids, len(first))


def _both(features: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return the features of the first and of the second image."""
    if features is None:
        raise ValueError("The features of this level were used before.")
    first, second = features.chunk(2)
    return first, second


def _pull(values: Tensor, chain: Chain, matrix: Tensor | None, positions: Tensor, grids: Grids, level: int) -> Tensor:
    """Return features of a level where a half-way map sends the level's voxels."""
    mapped = apply_chain(chain, positions)
    if matrix is not None:
        mapped = grids.apply_affine(matrix, mapped)
    return sample(values, grids.to_level(mapped, level))


def _mappings(halves: Halves, half: tuple[Tensor, Tensor] | None, grids: Grids, batch: int) -> Mappings:
    chains = halves.total()
    grid = halves.grid.expand(batch, -1, -1, -1, -1)
    forward, inverse = (composed(chain, grid) for chain in chains)
    if half is None:
        return Mappings(forward, inverse, grids, forward, inverse, halves)
    whole, whole_inverse = (
        grids.apply_affine(matrix, apply_chain(chain, grids.apply_affine(matrix, grid))) - grid
        for matrix, chain in zip(half, chains, strict=True)
    )
    return Mappings(whole, whole_inverse, grids, forward, inverse, halves, half)


class FeaturePyramid(nn.Module):
    """Features of every level, finest first: (B, channels, I, J, K) to (B, features[k], ceil(I / 2^k), ...) each."""

    def __init__(self, config: SITRegConfig) -> None:
        super().__init__()
        widths = config.features
        self.projection = nn.Conv3d(config.channels, widths[0], 1)
        self.blocks = nn.ModuleList(
            Convolutions(width, width, count, config)
            for width, count in zip(widths, config.feature_convolutions, strict=True)
        )
        pairs = list(itertools.pairwise(widths))
        self.reductions = nn.ModuleList(nn.Conv3d(fine, coarse, 2, stride=2) for fine, coarse in pairs)
        self.shortcuts = nn.ModuleList(nn.Conv3d(fine, coarse, 1) for fine, coarse in pairs)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the features."""
        shortcut = self.projection(images)
        features = [self.blocks[0](shortcut)]
        for block, reduction, project in zip(self.blocks[1:], self.reductions, self.shortcuts, strict=True):
            pooled = nn.functional.avg_pool3d(_even(shortcut), 2)
            shortcut = reduction(_even(features[-1])) + project(pooled)
            features.append(block(shortcut))
        return features


def _even(values: Tensor) -> Tensor:
    """Add a plane of zeros at the end of odd axes."""
    if all(size % 2 == 0 for size in values.shape[2:]):
        return values
    i, j, k = (size % 2 for size in values.shape[2:])
    return nn.functional.pad(values, (0, k, 0, j, 0, i))


class Convolutions(nn.Module):
    """Convolutions over 3x3x3 voxels, each with normalisation and activation."""

    def __init__(self, inputs: int, width: int, count: int, config: SITRegConfig, *, normalise: bool = True) -> None:
        super().__init__()
        widths = [inputs, *[width] * count]
        self.convolutions = nn.ModuleList(
            nn.Conv3d(before, after, 3, padding=1) for before, after in itertools.pairwise(widths)
        )
        self.norms = nn.ModuleList(_norm(width, config, normalise=normalise) for _ in range(count))
        self.slope = config.negative_slope

    def forward(self, values: Tensor) -> Tensor:
        """Return the features, of the same grid."""
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            values = self.activate(norm(convolution(values)))
        return values

    @property
    def first(self) -> tuple[Tensor, Tensor | None]:
        """Weight and bias of the first convolution."""
        layer = next(iter(self.convolutions))
        assert isinstance(layer, nn.Conv3d)  # noqa: S101 (says the type)
        return layer.weight, layer.bias

    def activate(self, values: Tensor) -> Tensor:
        """Return the (leaky) ReLU."""
        return nn.functional.leaky_relu(values, self.slope) if self.slope else nn.functional.relu(values)


def _norm(width: int, config: SITRegConfig, *, normalise: bool) -> nn.Module:
    if not normalise or config.groups is None:
        return nn.Identity()
    return nn.InstanceNorm3d(width) if config.groups == 0 else nn.GroupNorm(config.groups, width)


class Stage(nn.Module):
    """From the warped features of a level to control points in both directions."""

    def __init__(self, config: SITRegConfig, level: int) -> None:
        super().__init__()
        width, count = config.stage_features[level], config.stage_convolutions[level]
        if width is None or count is None:
            raise ValueError(f"Level {level} has no stage.")
        self.split = config.features[level]
        self.bound = config.bound
        self.block = Convolutions(2 * self.split, width, count, config, normalise=config.normalise_stages)
        self.final = nn.Conv3d(width, 3, 1)

    def forward(self, first: Tensor, second: Tensor, largest: float) -> Tensor:
        """Return control points, first forward, then reverse, (2B, 3, i, j, k), in voxels of the level.

        The stage sees [a, s] and [-a, s] with a the difference and s the sum of the features. A convolution is linear,
        so its first one is done once for each half.
        """
        weight, bias = self.block.first
        odd = nn.functional.conv3d(first - second, weight[:, : self.split], padding=1)
        even = nn.functional.conv3d(first + second, weight[:, self.split :], bias, padding=1)
        values = self.block.activate(self.block.norms[0](torch.cat([even + odd, even - odd])))
        for convolution, norm in zip(self.block.convolutions[1:], self.block.norms[1:], strict=True):
            values = self.block.activate(norm(convolution(values)))
        return self.bound * largest * torch.tanh(self.final(values).float())


class AffineStage(nn.Module):
    """From the coarsest features to half of the affine map between the images, and its inverse, (B, 4, 4) each."""

    def __init__(self, config: SITRegConfig) -> None:
        super().__init__()
        if config.affine_inputs is None:
            raise ValueError("The affine stage needs the size of the coarsest level.")
        width = 2 * config.features[-1] * config.affine_inputs
        self.hidden = nn.ModuleList(nn.Linear(width, width) for _ in range(2))
        self.final = nn.Linear(width, PARAMETERS)
        self.slope = config.negative_slope
        self.chained = config.chained_affine

    def forward(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        """Return A and its inverse; the whole affine map is A twice."""
        first, second = first.flatten(1), second.flatten(1)
        odd, even = first - second, first + second
        forward = affine_matrix(self._twelve(torch.cat([odd, even], dim=1)))
        reverse = affine_matrix(self._twelve(torch.cat([-odd, even], dim=1)))
        return forward @ torch.linalg.inv(reverse), reverse @ torch.linalg.inv(forward)

    def _twelve(self, values: Tensor) -> Tensor:
        layers = self.hidden if self.chained else self.hidden[-1:]
        for layer in layers:
            values = nn.functional.leaky_relu(layer(values), self.slope)
        parameters: Tensor = self.final(values)
        return parameters
