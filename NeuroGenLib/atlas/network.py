"""The atlas decoder: a sine network whose layers are modulated by a small grid of latent vectors.

A point ``x`` (normalised, world axis order x, y, z; 1 = half the box) and a subject's latent grid give intensities
and class logits (Dannecker et al., CINeMA, IEEE TMI 2025, doi 10.1109/TMI.2025.3605194; sine layers: Sitzmann et
al. 2020)::

    l   = [interpolate(latent grid, x), conditions]
    h_0 = x
    h_i = sin(omega_i (W_i h + b_i) * g + s)    with (g, s) = V_i l + d_i where layer i is modulated, else g = 1, s = 0
    out = F [h, l] + f

Interpolation weights sum to one, so every linear map of ``l`` commutes with the interpolation. The maps are therefore
applied to the few grid nodes (:meth:`AtlasDecoder.fold`), once a volume or training step, and each point only
interpolates the folded tables. That is the same function, evaluated with far less work and memory.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True)
class DecoderConfig:
    """Sizes of an :class:`AtlasDecoder`.

    Attributes
    ----------
    intensities, classes:
        Number of intensity channels and of label classes (background included).
    conditions:
        Number of condition values joined to the latent vector.
    latent_channels, latent_grid:
        The latent grid is (channels, nz, ny, nx); ``latent_grid`` lists its nodes along world x, y, z.
    latent_kernel:
        Side of the convolution over the latent grid, 0 for none.
    hidden, layers, modulated, omega:
        Width; number of sine layers after the first; which layers (0 = the first) are modulated; frequency of the first
        layer and of the others.
    """

    intensities: int
    classes: int
    conditions: int = 0
    latent_channels: int = 64
    latent_grid: tuple[int, int, int] = (3, 3, 3)
    latent_kernel: int = 0
    hidden: int = 256
    layers: int = 3
    modulated: tuple[int, ...] = (1, 3)
    omega: tuple[float, float] = (30.0, 30.0)

    @property
    def outputs(self) -> int:
        """Number of output channels: intensities first, class logits after."""
        return self.intensities + self.classes

    @property
    def latent_shape(self) -> tuple[int, int, int, int]:
        """Shape of one subject's latent tensor: (channels, nz, ny, nx)."""
        nx, ny, nz = self.latent_grid
        return (self.latent_channels, nz, ny, nx)

    def frequency(self, layer: int) -> float:
        """Return omega of one layer."""
        return self.omega[0] if layer == 0 else self.omega[1]


@dataclass
class Tables:
    """The decoder's latent part for ``B`` subjects, folded onto the ``G`` grid nodes.

    ``scale[i]`` (omega included) and ``shift[i]`` are (B, G, hidden) for each modulated layer ``i``; ``output`` is
    (B, G, outputs), biases included.
    """

    scale: dict[int, Tensor]
    shift: dict[int, Tensor]
    output: Tensor


class SineLayer(nn.Module):
    """One sine layer; :attr:`modulation` maps the latent vector to (scale, shift) where the layer is modulated."""

    def __init__(self, inputs: int, hidden: int, latents: int | None) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, hidden)
        self.modulation = nn.Linear(latents, 2 * hidden) if latents else None


class AtlasDecoder(nn.Module):
    """Decodes points of subjects from their latent grids.

    Parameters
    ----------
    shape:
        The sizes.
    generator:
        Source of the initial weights, so that a seed gives the same network.
    """

    def __init__(self, shape: DecoderConfig, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.shape = shape
        latents = shape.latent_channels + shape.conditions
        self.latent_conv: nn.Conv3d | None = None
        if shape.latent_kernel:
            channels = shape.latent_channels
            self.latent_conv = nn.Conv3d(channels, channels, shape.latent_kernel, padding="same")
        self.layers: Sequence[SineLayer] = nn.ModuleList(  # type: ignore[assignment]  # its items are untyped
            SineLayer(3 if i == 0 else shape.hidden, shape.hidden, latents if i in shape.modulated else None)
            for i in range(shape.layers + 1)
        )
        self.output = nn.Linear(shape.hidden + latents, shape.outputs)
        self._initialise(generator)

    @torch.no_grad()
    def _initialise(self, generator: torch.Generator | None) -> None:
        """Sine-network initialisation for the sine path, 1/sqrt(fan-in) for the rest (as published)."""
        for module in self.modules():
            if isinstance(module, (nn.Linear, nn.Conv3d)):
                bound = 1 / math.sqrt(module.weight[0].numel())
                module.weight.uniform_(-bound, bound, generator=generator)
                if module.bias is not None:
                    module.bias.uniform_(-bound, bound, generator=generator)
        bound = math.sqrt(6 / self.shape.hidden) / self.shape.omega[1]
        for index, layer in enumerate(self.layers):
            reach = 1 / 3 if index == 0 else bound
            layer.linear.weight.uniform_(-reach, reach, generator=generator)
        self.output.weight.uniform_(-bound, bound, generator=generator)

    def centre_modulation(self) -> None:
        """Start every modulated layer as a plain sine layer: scale 1, shift 0 for a zero latent vector.

        The published initialisation samples scales of about +-0.06, which nearly silences the modulated layers.
        """
        with torch.no_grad():
            for layer in self.layers:
                if layer.modulation is not None:
                    layer.modulation.bias[: self.shape.hidden] = 1.0
                    layer.modulation.bias[self.shape.hidden :] = 0.0

    def latent_grid(self, latents: Tensor) -> Tensor:
        """Return the latent grids (B, C, nz, ny, nx) that are interpolated: convolved where the network does so."""
        return latents if self.latent_conv is None else self.latent_conv(latents)

    def fold(self, grid: Tensor, conditions: Tensor) -> Tables:
        """Apply every linear map of the latent vector at the grid nodes.

        Parameters
        ----------
        grid:
            (B, C, nz, ny, nx), from :meth:`latent_grid`.
        conditions:
            (B, number of conditions), normalised; constant over a subject.
        """
        nodes = grid.flatten(2).transpose(1, 2)
        joined = torch.cat([nodes, conditions[:, None].expand(-1, nodes.shape[1], -1)], dim=2)
        scale, shift = {}, {}
        for index, layer in enumerate(self.layers):
            if layer.modulation is not None:
                both = layer.modulation(joined)
                scale[index] = both[..., : self.shape.hidden] * self.shape.frequency(index)
                shift[index] = both[..., self.shape.hidden :].contiguous()
        output = joined @ self.output.weight[:, self.shape.hidden :].T + self.output.bias
        return Tables(scale, shift, output)

    def forward(self, points: Tensor, tables: Tables) -> Tensor:
        """Decode points.

        Parameters
        ----------
        points:
            (B, N, 3) normalised coordinates in atlas space, N points of each subject.
        tables:
            What :meth:`fold` gave for the B subjects.

        Returns
        -------
        (B, N, outputs): intensities, then class logits, raw.
        """
        weights = interpolation_weights(points, self.shape.latent_grid)
        hidden = points
        for index, layer in enumerate(self.layers):
            linear = layer.linear(hidden)
            if index in tables.scale:
                scale = torch.bmm(weights, tables.scale[index])
                hidden = torch.sin(torch.addcmul(torch.bmm(weights, tables.shift[index]), linear, scale))
            else:
                hidden = torch.sin(self.shape.frequency(index) * linear)
        return hidden @ self.output.weight[:, : self.shape.hidden].T + torch.bmm(weights, tables.output)


def decoder_from_tensors(network: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> AtlasDecoder:
    """Build the decoder of a model folder: sizes from its manifest, weights from its ``decoder.*`` tensors.

    Raises
    ------
    TypeError, ValueError, RuntimeError
        When sizes or weights do not fit.
    """
    sizes: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in network.items()
    }
    decoder = AtlasDecoder(DecoderConfig(**sizes))
    prefix = "decoder."
    decoder.load_state_dict({name[len(prefix) :]: value for name, value in tensors.items() if name.startswith(prefix)})
    return decoder.eval().requires_grad_(False)


def hat_weights(coordinate: Tensor, nodes: int) -> Tensor:
    """Return the linear-interpolation weight of each of ``nodes`` nodes, (..., nodes).

    ``coordinate`` in [-1, 1] spans the nodes, corners aligned; beyond, the border value holds.
    """
    position = ((coordinate + 1) * (0.5 * (nodes - 1))).clamp(0, nodes - 1)
    index = torch.arange(nodes, device=coordinate.device, dtype=coordinate.dtype)
    return (1 - (position[..., None] - index).abs()).clamp_min(0)


def interpolation_weights(points: Tensor, grid: tuple[int, int, int]) -> Tensor:
    """Return the trilinear weight of every grid node for every point.

    Parameters
    ----------
    points:
        (..., 3) normalised coordinates, order x, y, z.
    grid:
        Number of nodes along x, y, z.

    Returns
    -------
    (..., nz * ny * nx), in the order of a flattened (nz, ny, nx) grid.
    """
    x, y, z = (hat_weights(points[..., axis], grid[axis]) for axis in range(3))
    return torch.einsum("...z,...y,...x->...zyx", z, y, x).flatten(-3)
