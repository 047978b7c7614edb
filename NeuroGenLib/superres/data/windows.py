"""What a step of training sees: windows of images in thick slices, with or without a guide, and what they were."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from NeuroGenLib.simulate.contrast import random_image
from NeuroGenLib.simulate.deformation import Deformation, sample_deformation, warped_to
from NeuroGenLib.simulate.random_numbers import chance, random_index, uniform
from NeuroGenLib.simulate.smooth_noise import smooth_noise
from NeuroGenLib.superres.config import ImagesConfig, SlicesConfig
from NeuroGenLib.superres.data.degradation import (
    projection_matrix,
    sample_slices,
    simulated_interpolation,
    slice_record,
)
from NeuroGenLib.superres.intensity import PERCENTILES

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from NeuroGenLib.simulate.tissues import TissueTable
    from NeuroGenLib.superres.config import SuperresTrainConfig
    from NeuroGenLib.superres.data.subjects import Example, Examples

Box = list[tuple[int, int]]
_Seen = tuple["torch.Tensor", "torch.Tensor | None", "torch.Tensor", tuple[float, float]]
"""(I, J, K) magnitudes, the guide in its final units, the head, and which magnitudes become 0 and 1."""

_LEAST_CONTRAST = 0.2
_SAMPLED = 50_000
"""Voxels, about, that percentiles are taken of: exact enough, and quick."""
_BIAS_SCALE = 40.0
"""Voxels over which the bias field of a scan varies."""


@dataclass(frozen=True)
class WindowBatch:
    """What the network gets and what it shall return; (B, 1, W, W, W) float32 but for ``slices``.

    Attributes
    ----------
    low:
        Thick slices, interpolated.
    guide:
        The other contrast, 0 everywhere in items without one.
    target:
        The image without the slices' blur, in the units of ``low``.
    head:
        1 inside the head.
    slices:
        (B, 2, 3), see :meth:`NeuroGenLib.superres.network.SuperresNetwork.forward`.
    reproduced:
        (B, 3, W, W) matrices along each axis: what slices across it would show of an image; 0 for axes without slices.
    """

    low: torch.Tensor
    guide: torch.Tensor
    target: torch.Tensor
    head: torch.Tensor
    slices: torch.Tensor
    reproduced: torch.Tensor

    def consistent(self, images: torch.Tensor) -> torch.Tensor:
        """Return what a network found, less what the slices would show of its correction: they tell that better.

        Inference does it by :func:`NeuroGenLib.superres.stacks.data_consistency.data_consistent`.
        """
        correction = images - self.low
        for axis in range(3):
            matrices = self.reproduced[:, axis, None, None]
            shown = (correction.movedim(2 + axis, -1) @ matrices.mT).movedim(-1, 2 + axis)
            correction = correction - shown
        return self.low + correction


class Windows:
    """Random windows; all scans and label maps are kept on each device that samples.

    Parameters
    ----------
    config:
        What is random.
    examples:
        What was read.
    """

    def __init__(self, config: SuperresTrainConfig, examples: Examples) -> None:
        self._config = config
        self._examples = examples
        self._on_device: dict[tuple[torch.device, bool, int], Example] = {}

    def sample(self, generator: torch.Generator, batch: int) -> WindowBatch:
        """Return ``batch`` windows, on the generator's device, by its numbers alone."""
        return joined([window(self._example(generator), generator, self._config) for _ in range(batch)])

    def _example(self, generator: torch.Generator) -> Example:
        scans, maps = self._examples.scans, self._examples.maps
        weights = [self._config.scans.weight * bool(scans), self._config.maps.weight * bool(maps)]
        of_scans = uniform(generator, 0, sum(weights)) < weights[0]
        group = scans if of_scans else maps
        index = random_index(generator, len(group))
        key = (generator.device, of_scans, index)
        if key not in self._on_device:
            self._on_device[key] = group[index].to(generator.device)
        return self._on_device[key]


def joined(batches: Sequence[WindowBatch]) -> WindowBatch:
    """Return batches as one."""
    import torch

    names = ("low", "guide", "target", "head", "slices", "reproduced")
    return WindowBatch(*(torch.cat([getattr(batch, name) for batch in batches]) for name in names))


def validation_window(
    example: Example, config: SuperresTrainConfig, thickness: float, axis: int, seed: int
) -> WindowBatch:
    """Return the window in the middle of a head, in slices of ``thickness`` mm along an axis, without other changes."""
    import torch

    # Zeros and ones, so that nothing is random but what is generated.
    still = replace(
        config,
        slices=SlicesConfig((thickness, thickness), width=(1, 1), box=0, gap_chance=0, several=0, noise=(0, 0)),
        images=ImagesConfig(
            0, guide_dropped=0, guide_shift=0, guide_turn=0, gain=0, offset=0, log_gamma=0, bias=(0, 0)
        ),
        scans=replace(config.scans, generated=0.0),
    )
    generator = torch.Generator().manual_seed(seed)
    middle = [int(place) for place in (example.centres.min(axis=0) + example.centres.max(axis=0)) // 2]
    return window(example, generator, still, middle, axis)


def window(
    example: Example,
    generator: torch.Generator,
    config: SuperresTrainConfig,
    centre: Sequence[int] | None = None,
    axis: int | None = None,
) -> WindowBatch:
    """Return one window of a head (a batch of 1), by the generator's numbers alone.

    Parameters
    ----------
    example:
        On the generator's device.
    generator, config:
        Source of randomness, and what is random.
    centre:
        Voxel about which the window lies, as far as the scan reaches; a random one of the head when not given.
    axis:
        Across the slices; a random one when not given.
    """
    import torch

    settings, side = config.images, config.window
    order, flipped = _storage(generator, settings.turned)
    stacks = sample_slices(generator, config.slices, axis)
    if centre is None:
        centre = [int(place) for place in example.centres[random_index(generator, len(example.centres))]]
    # Axis n of the window is axis order[n] of the head.
    margins = {order[stack.axis]: stack.margin(example.spacing) for stack in stacks}
    box, inner = _boxes(example.head.shape, centre, side, margins)
    scan = example.image is not None
    if scan and example.labels is not None:
        scan = not chance(generator, config.scans.generated)
    source = _from_scan if scan else _generated
    guided = not chance(generator, settings.guide_dropped)
    image, guide, head, (dark, bright) = source(example, box, generator, config, guided=guided)
    image, head = (_turned(array, order, flipped) for array in (image, head))
    noise = uniform(generator, *config.slices.noise) * (bright - dark)
    low = simulated_interpolation(image, stacks, example.spacing, noise, generator)
    gain, offset = _gain_and_offset(generator, settings)
    cut = tuple(
        slice(size - stop, size - start) if flip else slice(start, stop)
        for (start, stop), size, flip in zip((inner[axis] for axis in order), image.shape, flipped, strict=True)
    )

    def cropped(value: torch.Tensor) -> torch.Tensor:
        return value[cut].float().contiguous()[None, None]

    def scaled(value: torch.Tensor) -> torch.Tensor:
        return gain * (value - dark) / (bright - dark) + offset

    again = image.new_zeros((1, 3, side, side))
    for stack in stacks:
        matrix = projection_matrix(image.shape[stack.axis], example.spacing, stack)[cut[stack.axis], cut[stack.axis]]
        again[0, stack.axis] = torch.as_tensor(matrix, dtype=image.dtype, device=image.device)
    shown = image.new_zeros((1, 1, side, side, side))
    if guide is not None:
        own_gain, own_offset = _gain_and_offset(generator, settings)
        shown = own_gain * cropped(_turned(guide, order, flipped)) + own_offset
    return WindowBatch(
        low=scaled(cropped(low)),
        guide=shown,
        target=scaled(cropped(image)),
        head=cropped(head),
        slices=torch.tensor([slice_record(stacks, example.spacing)], device=image.device),
        reproduced=again,
    )


def _from_scan(
    example: Example, box: Box, generator: torch.Generator, config: SuperresTrainConfig, *, guided: bool
) -> _Seen:
    """Show a scan as it is, but for shading and gamma; percentiles of the whole head become 0 and 1."""
    where = tuple(slice(start, stop) for start, stop in box)
    air = example.air
    if example.image is None:
        raise ValueError(f"{example.id} has no scan")
    image = (example.image[where].float() - air).clamp(min=0)
    image = image ** math.exp(uniform(generator, -config.images.log_gamma, config.images.log_gamma))
    shading = uniform(generator, *config.images.bias)
    if shading > 0:
        image = image * (shading * smooth_noise(image.shape, _BIAS_SCALE, generator)[0, 0]).exp()
    guide = None
    if guided and (example.guide is not None or example.labels is not None):
        points = _points(example, box, generator, config)
        if example.guide is not None:
            guide = warped_to(example.guide.float(), points)
        else:
            guide = _generated_guide(_labels(example, points), generator, config, example.tissues)
    return image, guide, example.head[where].float(), (-air, 1 - air)


def _generated(
    example: Example, box: Box, generator: torch.Generator, config: SuperresTrainConfig, *, guided: bool
) -> _Seen:
    """Show two contrasts of a label map under one deformation; percentiles of the box's head become 0 and 1."""
    shape = [stop - start for start, stop in box]
    deformation = sample_deformation(shape, generator, config.deformation)
    labels = _labels(example, _points(example, box, generator, config, deformation, moved=False))
    image = random_image(labels, generator, config.target, example.tissues)[0]
    guide = None
    if guided:
        moved = _points(example, box, generator, config, deformation)
        guide = _generated_guide(_labels(example, moved), generator, config, example.tissues)
    head = (labels != 0).float()
    return image, guide, head, _ends(image, head)


def _ends(image: torch.Tensor, head: torch.Tensor) -> tuple[float, float]:
    """Return the percentiles of the head; 0 and 1, the brightest of the image, where it shows hardly any contrast."""
    import torch

    inside = image[head > 0.5]
    if inside.numel() == 0:
        return 0.0, 1.0
    ends = torch.tensor([percentile / 100 for percentile in PERCENTILES], device=image.device)
    low, high = torch.quantile(inside[:: max(1, inside.numel() // _SAMPLED)], ends).tolist()
    return (low, high) if high - low > _LEAST_CONTRAST else (0.0, 1.0)


def _labels(example: Example, points: torch.Tensor) -> torch.Tensor:
    if example.labels is None:
        raise ValueError(f"{example.id} has no label map")
    return warped_to(example.labels, points, order=0)


def _generated_guide(
    labels: torch.Tensor, generator: torch.Generator, config: SuperresTrainConfig, tissues: TissueTable | None
) -> torch.Tensor:
    image = random_image(labels, generator, config.guide, tissues)[0]
    low, high = _ends(image, (labels != 0).float())
    return (image - low) / (high - low)


def _points(
    example: Example,
    box: Box,
    generator: torch.Generator,
    config: SuperresTrainConfig,
    deformation: Deformation | None = None,
    *,
    moved: bool = True,
) -> torch.Tensor:
    """Return where the voxels of a box lie in the whole head, (1, 3, I, J, K); ``moved`` as a guide may be."""
    import torch

    from NeuroGenLib.spatial.transforms.displacement import voxel_grid

    grid = voxel_grid([stop - start for start, stop in box], torch.zeros((), device=generator.device))
    if moved:
        grid = _misplaced(grid, example.spacing, generator, config.images)
    if deformation is not None:
        grid = deformation.forward(grid)
    return grid + torch.tensor([float(start) for start, _ in box], device=grid.device).view(1, 3, 1, 1, 1)


def _misplaced(grid: torch.Tensor, spacing: float, generator: torch.Generator, config: ImagesConfig) -> torch.Tensor:
    """Return a grid turned about its middle and shifted, a little."""
    import torch

    turns = [math.radians(uniform(generator, -config.guide_turn, config.guide_turn)) for _ in range(3)]
    shift = [uniform(generator, -config.guide_shift, config.guide_shift) / spacing for _ in range(3)]
    x, y, z = turns
    # So small that the order of the turns does not matter.
    skew = torch.tensor([[0, -z, y], [z, 0, -x], [-y, x, 0]], dtype=torch.float64)
    rotation = torch.linalg.matrix_exp(skew).to(grid)
    middle = grid.flatten(2).mean(2)[0]
    away = grid.flatten(2)[0] - middle[:, None]
    moved = rotation @ away + (middle + torch.tensor(shift).to(grid))[:, None]
    misplaced: torch.Tensor = moved.reshape(grid.shape)
    return misplaced


def _boxes(shape: Sequence[int], centre: Sequence[int], side: int, margins: dict[int, int]) -> tuple[Box, Box]:
    """Return the box of a window with its margins, in the head, and the window inside that box."""
    outer, inner = [], []
    for axis, (size, place) in enumerate(zip(shape, centre, strict=True)):
        start = min(max(0, place - side // 2), size - side)
        margin = margins.get(axis, 0)
        first, last = max(0, start - margin), min(size, start + side + margin)
        outer.append((first, last))
        inner.append((start - first, start - first + side))
    return outer, inner


def _storage(generator: torch.Generator, turned: float) -> tuple[list[int], list[bool]]:
    """Return which axis of the head each axis of the window is, and which run backwards."""
    import torch

    if not chance(generator, turned):
        return [0, 1, 2], [False] * 3
    order = torch.randperm(3, generator=generator, device=generator.device).tolist()
    return order, [chance(generator, 0.5) for _ in range(3)]


def _turned(image: torch.Tensor, order: Sequence[int], flipped: Sequence[bool]) -> torch.Tensor:
    return image.permute(*order).flip([axis for axis in range(3) if flipped[axis]])


def _gain_and_offset(generator: torch.Generator, config: ImagesConfig) -> tuple[float, float]:
    gain = math.exp(uniform(generator, -config.gain, config.gain))
    return gain, uniform(generator, -config.offset, config.offset)
