"""Residual U-Net that corrects interpolated slices, conditioned on their thickness."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Mapping

_CONDITIONS = 7
_SLOPE = 0.1
"""Of the activations below 0."""
_STEP = 0.3
"""Of a convolution that adds to what it sees, beside one that replaces it."""
_SMALL = 0.1
"""Of what the last layer says: corrections are small beside the image, and so are the steps that it learns by."""
_WIDEST = 8.0
"""Slice thickness in voxels that becomes 1 among the conditions."""


@dataclass(frozen=True)
class ResidualUNetConfig:
    """Sizes of a network.

    Attributes
    ----------
    features:
        Channels of each level; each is half as fine as the one before.
    convolutions:
        Convolutions of each level but the finest, on the way down.
    """

    features: tuple[int, ...]
    convolutions: int = 2

    @property
    def multiple(self) -> int:
        """Sides of what the levels see are multiples of this; others are padded."""
        return int(2 ** (len(self.features) - 1))


class SuperresNetwork(nn.Module):
    """Interpolated thick slices, with or without a guide, to the image without the slices' blur.

    No layer looks at statistics of the whole input, so that windows agree where they overlap. Whatever the slices lie
    across, the inner layers see them across the last axis: one set of filters undoes them all.
    """

    def __init__(self, config: ResidualUNetConfig) -> None:
        super().__init__()
        self.config = config
        widths = config.features
        # The finest level holds most of the voxels: one convolution each way is what a CPU can afford.
        self.first = nn.Conv3d(2, widths[0], 3, padding=1)
        self.halve = nn.ModuleList(nn.Conv3d(finer, width, 2, stride=2) for finer, width in itertools.pairwise(widths))
        self.down = nn.ModuleList(_convolutions(width, config.convolutions) for width in widths[1:])
        self.conditions = nn.ModuleList(nn.Linear(_CONDITIONS, 2 * width) for width in widths)
        self.narrow = nn.ModuleList(nn.Conv3d(width, finer, 1) for finer, width in itertools.pairwise(widths))
        self.up = nn.ModuleList(_convolutions(width, 1) for width in widths[:-1])
        self.last = nn.Conv3d(widths[0], 1, 3, padding=1)
        for layer in self.modules():
            if isinstance(layer, nn.Conv3d):  # torch's own start is smaller, and learns far slower
                nn.init.kaiming_normal_(layer.weight, _SLOPE)
        for layer in self.modules():
            if isinstance(layer, Step):  # sums grow from step to step
                layer.convolution.weight.data *= _STEP
        nn.init.zeros_(self.last.weight)  # training starts at the interpolation
        nn.init.zeros_(self.last.bias)  # type: ignore[arg-type]  # it has one
        # Several times as quick on a CPU.
        self.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]  # its stubs know 4-D alone

    def forward(self, low: Tensor, guide: Tensor | None, slices: Tensor) -> Tensor:
        """Return ``low`` plus a correction, (B, 1, I, J, K).

        Parameters
        ----------
        low:
            (B, 1, I, J, K) of any size: thick slices, interpolated to isotropic voxels by a cubic spline and sharpened
            as far as their profile allows; 0 to 1 are the 1st and 99th percentile of the head.
        guide:
            (B, 1, I, J, K) of another contrast on the same grid, scaled likewise by its own percentiles. Where an
            item is 0 everywhere there is none; None for a whole batch without.
        slices:
            (B, 2, 3) width of the slice profile and distance of slices along each axis, in voxels of the grid; 0 on
            axes that were not scanned in thick slices.
        """
        guide = torch.zeros_like(low) if guide is None else guide
        orders = slices[:, 0].argsort(dim=1, stable=True).tolist()
        if any(order != orders[0] for order in orders):
            items = zip(low.split(1), guide.split(1), slices.split(1), strict=True)
            return torch.cat([self(*item) for item in items])
        order = orders[0]
        there = [0, 1, *(2 + axis for axis in order)]
        back = [0, 1, *(2 + order.index(axis) for axis in range(3))]
        correction = self._correction(torch.cat([low, guide], 1).permute(there), guide, slices[:, :, order])
        return low + correction.permute(back)

    def _correction(self, images: Tensor, guide: Tensor, slices: Tensor) -> Tensor:
        size = images.shape[2:]
        conditions = self._encoded(guide, slices)
        value = self._padded(images).contiguous(memory_format=torch.channels_last_3d)
        levels: list[Tensor] = []
        for level, condition in enumerate(self.conditions):
            value = self.halve[level - 1](value) if level else self.first(value)
            scale, shift = condition(conditions)[:, :, None, None, None].chunk(2, dim=1)
            value = functional.leaky_relu(value * (1 + scale) + shift, _SLOPE)
            if level:
                value = self.down[level - 1](value)
            levels.append(value)
        for level in range(len(self.up) - 1, -1, -1):
            coarse = functional.interpolate(self.narrow[level](value), scale_factor=2, mode="nearest")
            value = self.up[level](levels[level] + coarse)
        correction: Tensor = _SMALL * self.last(value)
        return correction[:, :, : size[0], : size[1], : size[2]]

    def _encoded(self, guide: Tensor, slices: Tensor) -> Tensor:
        """Return (B, 7): is there a guide, then the slices."""
        guided = (guide.flatten(1) != 0).any(1, keepdim=True).to(guide.dtype)
        return torch.cat([guided, slices.flatten(1).to(guide.dtype) / _WIDEST], 1)

    def _padded(self, value: Tensor) -> Tensor:
        missing = [-side % self.config.multiple for side in value.shape[2:]]
        if not any(missing):
            return value
        return functional.pad(value, [side for most in reversed(missing) for side in (0, most)], mode="replicate")


class Step(nn.Module):
    """A convolution that adds to what it sees."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.convolution = nn.Conv3d(width, width, 3, padding=1)

    def forward(self, value: Tensor) -> Tensor:
        """Return (B, C, I, J, K)."""
        return value + functional.leaky_relu(self.convolution(value), _SLOPE)


def network_from_tensors(entry: Mapping[str, object], tensors: Mapping[str, Tensor]) -> SuperresNetwork:
    """Return the network that a model's manifest describes, with its weights in single precision.

    Raises
    ------
    KeyError, TypeError, ValueError, RuntimeError
        When the entry is incomplete or the weights do not fit it.
    """
    features, convolutions = entry["features"], entry["convolutions"]
    if not isinstance(features, list | tuple) or not isinstance(convolutions, int):
        raise TypeError("features is not a list, or convolutions not a number")
    network = SuperresNetwork(ResidualUNetConfig(tuple(int(width) for width in features), convolutions))
    network.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
    return network.eval()


def _convolutions(width: int, count: int) -> nn.Sequential:
    return nn.Sequential(*(Step(width) for _ in range(count)))
