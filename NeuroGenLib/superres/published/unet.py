"""The published network, BABY-AI's U-Net, whole or folded to the taps that its small windows can reach.

The network is MONAI's ``UNet``: so are the names of its weights, and a seed's first weights.
"""

from __future__ import annotations

import contextlib
import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from NeuroGenLib.core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

KIND = "published"
"""What the network record of a manifest says."""

_KERNEL, _STRIDE = 3, 2
_MOST_LEVELS = 8
"""A record that claims more levels is refused before a network is built."""


@dataclass(frozen=True)
class PublishedUNetConfig:
    """Sizes of a network.

    Attributes
    ----------
    channels:
        Of each level; each is half as fine as the one before, the first half as fine as the image.
    units:
        Convolutions of a level on the way down; on the way up there is one.
    inputs, outputs:
        Channels of the images: T1w and thick-slice T2w in, T2w out.
    """

    channels: tuple[int, ...] = (32, 64, 128, 256, 512, 1024)
    units: int = 10
    inputs: int = 2
    outputs: int = 1

    def __post_init__(self) -> None:
        if not 2 <= len(self.channels) <= _MOST_LEVELS + 1:
            raise ValueError(f"{len(self.channels)} levels, not from 2 to {_MOST_LEVELS + 1}")
        if min(*self.channels, self.units, self.inputs, self.outputs) < 1:
            raise ValueError("a size below 1")

    @property
    def multiple(self) -> int:
        """Sides of a window must be a multiple of this."""
        return int(_STRIDE ** (len(self.channels) - 1))


class PublishedUNet(nn.Module):
    """T1w and thick-slice T2w, both normalised, to the T2w; every tap of every kernel is there.

    Parameters
    ----------
    config:
        Its sizes.
    window:
        Side in voxels of the windows it is for, when kernels shall have only those taps that such a window reaches;
        a multiple of ``config.multiple``.
    """

    def __init__(self, config: PublishedUNetConfig, window: int | None = None) -> None:
        super().__init__()
        if window is not None and (window < 1 or window % config.multiple):
            raise ValueError(f"a window of {window} voxels is not a multiple of {config.multiple}")
        from monai.networks.nets.unet import UNet

        self.config = config
        # Folded, it is built without memory: the dropped kernels are seven eighths of it.
        with torch.device("meta") if window is not None else contextlib.nullcontext():
            self.model: nn.Module = UNet(
                spatial_dims=3,
                in_channels=config.inputs,
                out_channels=config.outputs,
                channels=config.channels,
                strides=(_STRIDE,) * (len(config.channels) - 1),
                num_res_units=config.units,
                norm=None,  # type: ignore[arg-type]  # MONAI takes it: no normalisation
            ).model
            if window is not None:
                _leave_out_taps(self.model, window)
        if window is not None:
            self.to_empty(device=torch.get_default_device())
            for layer in self.modules():
                if isinstance(layer, nn.Conv3d | nn.ConvTranspose3d | nn.PReLU):
                    layer.reset_parameters()

    def forward(self, images: Tensor) -> Tensor:
        """Return T2w (N, 1, I, J, K), in normalised units but not clipped to 0..1.

        Parameters
        ----------
        images:
            (N, 2, I, J, K), T1w first; I, J, K are multiples of :attr:`PublishedUNetConfig.multiple`.

        Raises
        ------
        InputError
            When the channels or sides are others.
        """
        sides = tuple(images.shape[2:])
        if (
            images.ndim != 5
            or images.shape[1] != self.config.inputs
            or any(side % self.config.multiple for side in sides)
        ):
            raise InputError(
                f"Windows of the shape {tuple(images.shape)} do not fit the published network.",
                f"Give (N, {self.config.inputs}, I, J, K) with sides that are multiples of {self.config.multiple}.",
                code="geometry-mismatch",
            )
        result: Tensor = self.model(images)
        return result


class FoldedUNet(PublishedUNet):
    """The same function of windows of one size, and of no other, with an eighth of the weights.

    At 32 voxels a side the deepest levels are one voxel: of a kernel of 27 taps only the middle one meets it, and the
    others, which no training ever changed, are dropped.
    """

    def __init__(self, config: PublishedUNetConfig, window: int) -> None:
        super().__init__(config, window)
        self.window = window
        # Takes a quarter less time on a CPU.
        self.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]  # its stubs know 4-D alone

    def forward(self, images: Tensor) -> Tensor:
        """Return T2w (N, 1, W, W, W) of windows (N, 2, W, W, W), T1w first.

        Raises
        ------
        InputError
            When the windows have another size: their result would be another function's.
        """
        if tuple(images.shape[2:]) != (self.window,) * 3:
            actual = "x".join(str(side) for side in images.shape[2:])
            raise InputError(
                f"The published weights are folded for windows of {self.window} voxels a side, not {actual}.",
                f"Cut the images into windows of {self.window}x{self.window}x{self.window} voxels.",
                code="geometry-mismatch",
            )
        return super().forward(images.contiguous(memory_format=torch.channels_last_3d))


def published_network(config: PublishedUNetConfig | None = None) -> PublishedUNet:
    """Return the whole network with first weights, as the published training starts: 379,053,826 by default."""
    return PublishedUNet(config or PublishedUNetConfig())


def sizes_of(config: PublishedUNetConfig, window: int | None = None) -> dict[str, tuple[int, ...]]:
    """Return the size of every weight by its name, whole or folded for a window; takes no memory."""
    with torch.device("meta"):
        network = PublishedUNet(config, window)
    return {name: tuple(value.shape) for name, value in network.state_dict().items()}


def fold(tensors: Iterable[tuple[str, Tensor]], config: PublishedUNetConfig, window: int) -> dict[str, Tensor]:
    """Return the weights of :class:`FoldedUNet` from those of the whole network.

    Parameters
    ----------
    tensors:
        Name and weight, one by one: what was read is not held, so a large state can be emptied on the way.
    config:
        Sizes of the network; the names and sizes of ``tensors`` are its own, see :func:`sizes_of`.
    window:
        Side of the windows in voxels, a multiple of ``config.multiple``.
    """
    taps = reached_taps(config, window)
    return {name: tensor[taps[name]].clone() if name in taps else tensor for name, tensor in tensors}


def reached_taps(config: PublishedUNetConfig, window: int) -> dict[str, tuple[slice, ...]]:
    """Return, for every kernel that a window does not use up, the part that it reaches, as an index into the weight."""
    with torch.device("meta"):
        folded = PublishedUNet(config, window)
    whole = sizes_of(config)
    taps: dict[str, tuple[slice, ...]] = {}
    for name, layer in folded.named_modules():
        if isinstance(layer, nn.Conv3d | nn.ConvTranspose3d) and layer.weight.shape != whole[f"{name}.weight"]:
            # Padding is what was left of the border: a kernel that lost its first tap needs one voxel less of it.
            first = _KERNEL // 2 - int(layer.padding[0])
            reached = slice(first, first + layer.kernel_size[0])
            taps[f"{name}.weight"] = (slice(None), slice(None), reached, reached, reached)
    return taps


def network_record(config: PublishedUNetConfig, window: int | None) -> dict[str, Any]:
    """Return what a manifest says of a network; ``window`` is that it was folded for, None when it was not."""
    return {"kind": KIND, **dataclasses.asdict(config), "folded": window is not None, "window": window}


def network_from_tensors(entry: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> PublishedUNet:
    """Return the network that a model's manifest describes, with its weights in single precision, ready to use.

    Raises
    ------
    KeyError, TypeError, ValueError, RuntimeError
        When the entry is incomplete or the weights do not fit it.
    """
    sizes = {name: int(entry[name]) for name in ("units", "inputs", "outputs")}
    config = PublishedUNetConfig(tuple(int(width) for width in entry["channels"]), **sizes)
    network = FoldedUNet(config, int(entry["window"])) if entry["folded"] else PublishedUNet(config)
    network.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
    return network.eval()


# --- folding --------------------------------------------------------------------------------------------------------


def _leave_out_taps(level: nn.Module, size: int) -> None:
    """Give every kernel of a level, and of those below it, the taps alone that ``size`` voxels a side reach."""
    if not isinstance(level, nn.Sequential):  # the deepest level neither halves nor doubles
        _reduce(level, size, size)
        return
    down, skip, up = level
    half = size // _STRIDE
    _reduce(down, half, size)
    _leave_out_taps(skip.get_submodule("submodule"), half)
    _reduce(up, size, half)


def _reduce(block: nn.Module, plain: int, strided: int) -> None:
    """Reduce the kernels of a block; ``plain`` and ``strided`` are the input sides of its layers of stride 1 and 2."""
    for name, layer in list(block.named_modules()):
        if isinstance(layer, nn.Conv3d | nn.ConvTranspose3d) and layer.kernel_size[0] == _KERNEL:
            owner, _, attribute = name.rpartition(".")
            size = plain if layer.stride[0] == 1 else strided
            setattr(block.get_submodule(owner), attribute, _reduced(layer, size))


def _reduced(layer: nn.Conv3d | nn.ConvTranspose3d, size: int) -> nn.Module:
    """Return the layer with the taps that an input of ``size`` voxels a side meets."""
    if isinstance(layer, nn.ConvTranspose3d):
        first, taps = _met_going_up(size)
        padding = _KERNEL // 2 - first
        missing = _STRIDE + 2 * padding - taps  # of the output, at its end
        return nn.ConvTranspose3d(
            layer.in_channels, layer.out_channels, taps, _STRIDE, padding=padding, output_padding=missing
        )
    stride = int(layer.stride[0])
    first, taps = _met_going_down(size, stride)
    return nn.Conv3d(layer.in_channels, layer.out_channels, taps, stride, padding=_KERNEL // 2 - first)


def _met_going_down(size: int, stride: int) -> tuple[int, int]:
    """Return the first tap that meets a voxel of the input, and how many do; the others meet the border alone."""
    outputs = range(-(-size // stride))
    met = [tap for tap in range(_KERNEL) for place in outputs if 0 <= place * stride + tap - _KERNEL // 2 < size]
    return min(met), max(met) - min(met) + 1


def _met_going_up(size: int) -> tuple[int, int]:
    """Return the first tap that writes a voxel of the output, and how many do."""
    met = [tap for tap in range(_KERNEL) for place in range(size) if 0 <= place * _STRIDE + tap - 1 < size * _STRIDE]
    return min(met), max(met) - min(met) + 1
