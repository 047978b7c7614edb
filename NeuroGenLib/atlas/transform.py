"""The transform that each training subject owns: subject space to atlas space, learned with the atlas.

A transform acts on normalised coordinates (1 = half the box): ``x_atlas = A x_subject + t``.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Parametrisation = Literal["rotation-vector", "euler-zxz"]

PARAMETERS: dict[str, int] = {"none": 0, "rigid": 6, "rigid+scale": 9, "affine": 12}
"""Columns of the parameter table for each kind: 3 rotation, 3 translation, 3 scale, 3 shear."""


def matrices(
    parameters: Tensor, half_box: Tensor, parametrisation: Parametrisation = "rotation-vector"
) -> tuple[Tensor, Tensor]:
    """Return linear parts (B, 3, 3) and translations (B, 3), in normalised coordinates.

    Parameters
    ----------
    parameters:
        (B, 6 | 9 | 12). Columns 0-2 rotation, 3-5 translation, 6-8 scale, 9-11 shear.
    half_box:
        (3,) half side lengths of the box in mm.
    parametrisation:
        ``rotation-vector``: the rotation is the exponential of columns 0-2 (radians), scales are exponentials, the
        translation is in units of the longest half side; composed in mm and normalised afterwards, so that
        a rigid transform is rigid whatever the box. ``euler-zxz``: the published form, composed in normalised
        coordinates, with scales 1 + s.
    """
    if parametrisation == "euler-zxz":
        return _published(parameters)
    rotation = rotation_matrix(parameters[:, :3])
    linear = rotation
    if parameters.shape[1] >= 9:
        linear = linear * torch.exp(parameters[:, None, 6:9])
    if parameters.shape[1] == 12:
        linear = linear @ _upper_shear(parameters[:, 9:12])
    linear = linear * half_box / half_box[:, None]
    return linear, parameters[:, 3:6] * (half_box.max() / half_box)


def rotation_matrix(vector: Tensor) -> Tensor:
    """Return the rotation (B, 3, 3) about ``vector`` (B, 3) by its length in radians (Rodrigues' formula).

    The derivative is well defined, and of full rank, at zero.
    """
    square = (vector * vector).sum(1)[:, None, None]
    small = square < 1e-8
    safe = torch.where(small, torch.ones_like(square), square)
    angle = safe.sqrt()
    first = torch.where(small, 1 - square / 6, torch.sin(angle) / angle)
    second = torch.where(small, 0.5 - square / 24, (1 - torch.cos(angle)) / safe)
    cross = _cross_matrix(vector)
    return torch.eye(3, dtype=vector.dtype, device=vector.device) + first * cross + second * cross @ cross


def apply(points: Tensor, linear: Tensor, translation: Tensor) -> Tensor:
    """Apply one transform per subject to points (B, N, 3)."""
    return torch.baddbmm(translation[:, None], points, linear.transpose(1, 2))


def _cross_matrix(vector: Tensor) -> Tensor:
    x, y, z = vector.unbind(1)
    zero = torch.zeros_like(x)
    return torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], 1).view(-1, 3, 3)


def _upper_shear(shear: Tensor) -> Tensor:
    matrix = torch.eye(3, dtype=shear.dtype, device=shear.device).repeat(len(shear), 1, 1)
    rows, columns = torch.triu_indices(3, 3, offset=1)
    matrix[:, rows, columns] = shear
    return matrix


def _published(parameters: Tensor) -> tuple[Tensor, Tensor]:
    """Proper Euler ZXZ rotation, times diagonal scale, times three shears, in normalised coordinates."""
    angles = parameters[:, :3]
    linear = _axis_rotation(angles[:, 0], 2) @ _axis_rotation(angles[:, 1], 0) @ _axis_rotation(angles[:, 2], 2)
    if parameters.shape[1] >= 9:
        linear = linear * (1 + parameters[:, None, 6:9])
    if parameters.shape[1] == 12:
        first, second, third = parameters[:, 9:12].unbind(1)
        for axis, (low, high) in enumerate(((second, third), (first, third), (first, second))):
            shear = torch.eye(3, dtype=linear.dtype, device=linear.device).repeat(len(linear), 1, 1)
            rest = [column for column in range(3) if column != axis]
            shear[:, axis, rest[0]] = low
            shear[:, axis, rest[1]] = high
            linear = linear @ shear
    return linear, parameters[:, 3:6]


def _axis_rotation(angle: Tensor, axis: int) -> Tensor:
    vector = torch.zeros(len(angle), 3, dtype=angle.dtype, device=angle.device)
    vector[:, axis] = 1
    cross = _cross_matrix(vector)
    cosine, sine = torch.cos(angle)[:, None, None], torch.sin(angle)[:, None, None]
    identity = torch.eye(3, dtype=angle.dtype, device=angle.device)
    return identity + sine * cross + (1 - cosine) * cross @ cross
