"""The atlas network evaluated the published way, written from its formulas: the yardstick of the bench.

Every point has its own copy of the latent grid, which is interpolated by ``grid_sample``; the condition is joined to
the result, and every layer is evaluated for every point. Nothing here is meant to be quick.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

if TYPE_CHECKING:
    from NeuroGenLib.atlas.network import AtlasDecoder

CHUNK = 100_000
"""Voxels at once in the published inference."""


def features(decoder: AtlasDecoder, grids: Tensor, conditions: Tensor, points: Tensor) -> Tensor:
    """Return what the output layer reads, (n, hidden + latent channels + conditions).

    Parameters
    ----------
    decoder:
        Whose weights are used.
    grids, conditions:
        (n, C, nz, ny, nx) and (n, c): one of each a point.
    points:
        (n, 3) normalised coordinates, order x, y, z.
    """
    sampled = grid_sample(grids, points[:, None, None, None], padding_mode="border", align_corners=True)
    latent = torch.cat([sampled.flatten(1), conditions], dim=1)
    hidden = points
    for index, layer in enumerate(decoder.layers):
        omega = decoder.shape.frequency(index)
        linear = layer.linear(hidden)
        if layer.modulation is None:
            hidden = torch.sin(omega * linear)
        else:
            scale, shift = layer.modulation(latent).chunk(2, dim=1)
            hidden = torch.sin(omega * linear * scale + shift)
    return torch.cat([hidden, latent], dim=1)


@torch.inference_mode()
def render(decoder: AtlasDecoder, latents: Tensor, conditions: Tensor, points: Tensor, chunk: int = CHUNK) -> Tensor:
    """Return (n, outputs) raw outputs at (n, 3) points for one latent grid (C, nz, ny, nx) and condition (c,)."""
    outputs = []
    for part in points.split(chunk):
        subject = torch.zeros(len(part), dtype=torch.long)
        outputs.append(decoder.output(features(decoder, latents[None][subject], conditions[None][subject], part)))
    return torch.cat(outputs)


def to_atlas(points: Tensor, parameters: Tensor) -> Tensor:
    """Move (n, 3) points by a rigid transform each, (n, 6): Euler ZXZ angles and a translation, normalised."""
    first, second, third = parameters[:, :3].unbind(1)
    rotation = _about_z(first) @ _about_x(second) @ _about_z(third)
    return (rotation @ points[:, :, None])[:, :, 0] + parameters[:, 3:6]


def _about_z(angle: Tensor) -> Tensor:
    cosine, sine, zero, one = angle.cos(), angle.sin(), torch.zeros_like(angle), torch.ones_like(angle)
    return torch.stack([cosine, -sine, zero, sine, cosine, zero, zero, zero, one], 1).view(-1, 3, 3)


def _about_x(angle: Tensor) -> Tensor:
    cosine, sine, zero, one = angle.cos(), angle.sin(), torch.zeros_like(angle), torch.ones_like(angle)
    return torch.stack([one, zero, zero, zero, cosine, -sine, zero, sine, cosine], 1).view(-1, 3, 3)
