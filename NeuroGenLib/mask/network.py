"""The network that finds the brain: a small U-Net whose skips are added, most of its work on coarse levels."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Mapping

_LEAST_SQUARE = 1e-3
"""Added to the mean square of a voxel's channels: the normalisation never divides by zero."""

_GAIN = 4.0
"""Normalised channels are small: without it the last weights would have to grow before the network can be sure."""


@dataclass(frozen=True)
class BrainNetworkConfig:
    """Sizes of a network.

    Attributes
    ----------
    features:
        Channels of each level; each is half as fine as the one before.
    """

    features: tuple[int, ...]

    @property
    def multiple(self) -> int:
        """Sides of an image must be a multiple of this."""
        return int(2 ** (len(self.features) - 1))


class BrainNetwork(nn.Module):
    """Images of a head to logits of the brain."""

    def __init__(self, config: BrainNetworkConfig) -> None:
        super().__init__()
        self.config = config
        widths = config.features
        # The finest level holds most of the voxels: one convolution there is what a CPU can afford.
        self.down = nn.ModuleList([_convolution(1, widths[0])])
        for finer, width in itertools.pairwise(widths):
            self.down.append(nn.Sequential(_convolution(finer, width), _convolution(width, width)))
        self.narrow = nn.ModuleList(nn.Conv3d(width, finer, 1) for finer, width in itertools.pairwise(widths))
        self.up = nn.ModuleList(_convolution(width, width) for width in widths[:-1])
        self.head = nn.Conv3d(widths[0], 1, 1)
        # Three times as quick on a CPU.
        self.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]  # its stubs know 4-D alone

    def forward(self, image: Tensor) -> Tensor:
        """Return logits (B, 1, I, J, K) of images (B, 1, I, J, K) from 0 to 1.

        I, J, K are multiples of :attr:`BrainNetworkConfig.multiple`.
        """
        levels = []
        value = image.contiguous(memory_format=torch.channels_last_3d)
        for level, block in enumerate(self.down):
            value = block(functional.max_pool3d(value, 2) if level else value)
            levels.append(value)
        for level in range(len(self.up) - 1, -1, -1):
            coarse = functional.interpolate(self.narrow[level](value), scale_factor=2, mode="nearest")
            value = self.up[level](levels[level] + coarse)
        logits: Tensor = _GAIN * self.head(value)
        return logits


class ChannelNorm(nn.Module):
    """Scales the channels of every voxel to mean square 1, then by learned factors and offsets.

    It normalises each voxel alone: the result does not depend on how much air a scan shows around the head.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1, channels, 1, 1, 1))
        self.offset = nn.Parameter(torch.zeros(1, channels, 1, 1, 1))

    def forward(self, value: Tensor) -> Tensor:
        """Return (B, C, I, J, K) normalised."""
        size = torch.rsqrt(value.square().mean(1, keepdim=True) + _LEAST_SQUARE)
        return torch.addcmul(self.offset, value * size, self.scale)


def network_from_tensors(entry: dict[str, object], tensors: Mapping[str, Tensor]) -> BrainNetwork:
    """Return the network that a model's manifest describes, with its weights in single precision.

    Raises
    ------
    KeyError, TypeError, ValueError, RuntimeError
        When the entry is incomplete or the weights do not fit it.
    """
    features = entry["features"]
    if not isinstance(features, list | tuple):
        raise TypeError("features is not a list")
    network = BrainNetwork(BrainNetworkConfig(tuple(int(width) for width in features)))
    network.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
    return network.eval()


def _convolution(channels: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv3d(channels, width, 3, padding=1), ChannelNorm(width), nn.LeakyReLU(0.1, inplace=True))
