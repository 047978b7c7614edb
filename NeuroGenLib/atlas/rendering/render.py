"""Evaluates the decoder on many points: folded once, in chunks, with memory that is allocated once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from NeuroGenLib.atlas.network import AtlasDecoder, interpolation_weights
from NeuroGenLib.core.progress import SILENT, Progress

CHUNK = 8192
"""Points at once on a CPU: small enough for the cache."""


class Renderer:
    """The decoder for one latent grid and condition, ready to evaluate points.

    Parameters
    ----------
    decoder:
        The network.
    latents:
        (C, nz, ny, nx) latent grid of the brain to render.
    conditions:
        (number of conditions,) normalised.
    chunk:
        Points evaluated at once.
    motion:
        Linear part (3, 3) and translation (3,) that take the points to atlas space; none when they are there.
    """

    def __init__(
        self,
        decoder: AtlasDecoder,
        latents: Tensor,
        conditions: Tensor,
        chunk: int = CHUNK,
        motion: tuple[Tensor, Tensor] | None = None,
    ) -> None:
        with torch.inference_mode():
            shape = decoder.shape
            tables = decoder.fold(decoder.latent_grid(latents[None]), conditions[None])
            self._grid = shape.latent_grid
            self._outputs = shape.outputs
            self._chunk = chunk
            self._device = latents.device
            self._motion = motion
            self._layers = []
            for index, layer in enumerate(decoder.layers):
                modulated = index in tables.scale
                omega = 1.0 if modulated else shape.frequency(index)
                self._layers.append(
                    _Layer(
                        (layer.linear.weight * omega).T.contiguous(),
                        layer.linear.bias * omega,
                        tables.scale[index][0].contiguous() if modulated else None,
                        tables.shift[index][0] if modulated else None,
                    )
                )
            self._output_weight = decoder.output.weight[:, : shape.hidden].T.contiguous()
            self._output_table = tables.output[0]
            self._buffers = [torch.empty(chunk, shape.hidden, device=self._device) for _ in range(3)]

    @torch.inference_mode()
    def __call__(self, points: Tensor, progress: Progress = SILENT) -> Tensor:
        """Return (n, outputs) raw outputs at (n, 3) normalised points, on the renderer's device."""
        result = torch.empty(len(points), self._outputs, device=self._device)
        for start in range(0, len(points), self._chunk):
            stop = min(start + self._chunk, len(points))
            self._evaluate(points[start:stop].to(self._device), result[start:stop])
            progress.update(stop, len(points))
        return result

    def _evaluate(self, points: Tensor, result: Tensor) -> None:
        if self._motion is not None:
            linear_part, translation = self._motion
            points = torch.addmm(translation, points, linear_part.T)
        weights = interpolation_weights(points, self._grid)
        first, second, third = (buffer[: len(points)] for buffer in self._buffers)
        hidden = points
        for layer in self._layers:
            linear = torch.addmm(layer.bias, hidden, layer.weight, out=first)
            if layer.scale is not None and layer.shift is not None:
                torch.mm(weights, layer.scale, out=second)
                torch.mm(weights, layer.shift, out=third)
                torch.addcmul(third, linear, second, out=linear)
            hidden = linear.sin_()
            first, second = second, first
        torch.mm(weights, self._output_table, out=result)
        result.addmm_(hidden, self._output_weight)


@dataclass(frozen=True)
class _Layer:
    weight: Tensor
    bias: Tensor
    scale: Tensor | None
    shift: Tensor | None


@dataclass(frozen=True)
class Grid:
    """A regular grid of voxels in atlas space.

    Attributes
    ----------
    shape:
        Voxels along i, j, k (world x, y, z).
    spacing:
        Voxel size in mm.
    origin:
        Centre of the first voxel, in mm from the atlas centre.
    """

    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    origin: tuple[float, float, float]

    @property
    def affine(self) -> np.ndarray:
        """(4, 4) voxel to atlas mm (RAS, the atlas centre at zero)."""
        affine = np.diag([*self.spacing, 1.0])
        affine[:3, 3] = self.origin
        return affine

    @property
    def size(self) -> int:
        """Number of voxels."""
        return int(np.prod(self.shape))

    def axes(self) -> list[np.ndarray]:
        """Return the three arrays of voxel-centre coordinates in mm."""
        return [
            start + step * np.arange(count)
            for start, step, count in zip(self.origin, self.spacing, self.shape, strict=True)
        ]

    def plane(self, axis: int, voxel: int) -> Grid:
        """Return the one-voxel-thick grid at index ``voxel`` of an axis."""
        shape, origin = list(self.shape), list(self.origin)
        origin[axis] += voxel * self.spacing[axis]
        shape[axis] = 1
        return Grid(_triple(np.array(shape)), self.spacing, _triple(np.array(origin)))

    def points(self, half_box: np.ndarray, voxels: np.ndarray | None = None) -> Tensor:
        """Return (n, 3) float32 normalised coordinates of flat voxel indices, or of all voxels in C order."""
        axes = [
            torch.from_numpy((axis / half).astype(np.float32)) for axis, half in zip(self.axes(), half_box, strict=True)
        ]
        if voxels is None:
            return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).view(-1, 3)
        index = np.unravel_index(voxels, self.shape)
        return torch.stack([axis[torch.from_numpy(i)] for axis, i in zip(axes, index, strict=True)], dim=1)


def grid_in_box(low: np.ndarray, high: np.ndarray, spacing: tuple[float, float, float]) -> Grid:
    """Return the grid of whole voxels that covers the box ``low``..``high`` (mm), centred on it."""
    step = np.asarray(spacing, float)
    shape = np.maximum(np.ceil((high - low) / step - 1e-6).astype(int), 1)
    origin = (low + high) / 2 - (shape - 1) / 2 * step
    return Grid(_triple(shape), _triple(step), _triple(origin))


def _triple(values: np.ndarray) -> tuple[Any, Any, Any]:
    first, second, third = values.tolist()
    return first, second, third
