"""Random smooth deformations with their exact inverse, and warping of images and label maps.

A deformation phi maps voxel coordinates x to A (x + u(x)): a stationary velocity field integrated to the flow u, which
decreases to 0 outside the grid, then an affine map A. Its inverse is the flow of the negative velocity after A^-1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from NeuroGenLib.core.config import Config, Help, Range, Unit
from NeuroGenLib.core.errors import InputError
from NeuroGenLib.simulate.random_numbers import uniform
from NeuroGenLib.simulate.smooth_noise import smooth_noise

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

FLOW_STEP = 2
"""Distance in voxels of the points where the flow is computed: its scales are at least twice as long."""

STEEPEST = 0.2
"""Largest ratio of amplitude to scale, root sum of squares over all scales; from 0.3 the sampled flow can fold."""

_SQUARINGS = 6
"""Steps of scaling and squaring: the first displacement is a 64th of the whole, far below a voxel."""
_MARGIN = 4.0
"""Width of the margin in which the velocity decreases to 0, in standard deviations of the velocity."""


@dataclass(frozen=True)
class DeformationConfig(Config):
    """Size of random deformations; affine parameters are uniform between plus and minus their limit.

    Examples
    --------
    >>> DeformationConfig(rotation=5.0, scales=(16.0,), amplitudes=(1.0,)).rotation
    5.0
    """

    rotation: Annotated[float, Range(0, 180), Unit("degrees"), Help("Largest rotation about each axis")] = 12.0
    log_scale: Annotated[float, Range(0, 1), Help("Largest natural logarithm of the scale along each axis")] = 0.1
    shear: Annotated[float, Range(0, 0.5), Help("Largest shear")] = 0.05
    translation: Annotated[float, Range(0, 100), Unit("voxels"), Help("Largest translation along each axis")] = 6.0
    scales: Annotated[
        tuple[float, ...], Range(4), Unit("voxels"), Help("Distances over which the dense deformation varies")
    ] = (32.0, 16.0, 8.0)
    amplitudes: Annotated[
        tuple[float, ...],
        Range(0, 50),
        Unit("voxels"),
        Help("Largest standard deviation of the dense deformation along each axis, one for each of scales"),
    ] = (3.0, 1.5, 0.5)

    def check(self) -> None:
        """Check that each scale has an amplitude, small enough that the grid does not fold."""
        if len(self.scales) != len(self.amplitudes):
            raise InputError(
                f"There are {len(self.scales)} scales and {len(self.amplitudes)} amplitudes.",
                "Give one amplitude for each scale.",
                code="value-conflict",
            )
        steepness = math.hypot(*(size / scale for size, scale in zip(self.amplitudes, self.scales, strict=True)))
        if steepness > STEEPEST:
            raise InputError(
                f"Deformations with amplitudes {self.amplitudes} over scales {self.scales} would fold the image.",
                f"Make the amplitudes {STEEPEST / steepness:.2f} times as large, or the scales larger.",
                code="value-invalid",
            )


@dataclass(frozen=True)
class Deformation:
    """Smooth invertible map of voxel coordinates, defined everywhere.

    Attributes
    ----------
    matrix:
        (4, 4) the affine part A, in voxel coordinates.
    flow, inverse_flow:
        (1, 3, i, j, k) displacement in voxels and its inverse, at points :data:`FLOW_STEP` voxels apart.
    origin:
        Voxel coordinate, on every axis, of the first of these points.

    Examples
    --------
    >>> import torch
    >>> config = DeformationConfig(scales=(8.0,), amplitudes=(0.5,))
    >>> deformation = sample_deformation((12, 12, 12), torch.Generator().manual_seed(0), config)
    >>> point = torch.tensor([4.0, 5.0, 6.0]).reshape(1, 3, 1, 1, 1)
    >>> torch.allclose(deformation.backward(deformation.forward(point)), point, atol=0.05)
    True
    """

    matrix: torch.Tensor
    flow: torch.Tensor
    inverse_flow: torch.Tensor
    origin: float

    def forward(self, points: torch.Tensor) -> torch.Tensor:
        """Map points (1, 3, I, J, K), in voxel coordinates."""
        return _transformed(self.matrix, self._displaced(self.flow, points))

    def backward(self, points: torch.Tensor) -> torch.Tensor:
        """Apply the inverse of :meth:`forward` to points (1, 3, I, J, K)."""
        import torch

        inverse = torch.linalg.inv(self.matrix.double()).to(points.dtype)
        return self._displaced(self.inverse_flow, _transformed(inverse, points))

    def _displaced(self, flow: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
        from NeuroGenLib.spatial.transforms.displacement import sample

        # The flow is zero at its border, and so is its continuation outside.
        return points + sample(flow, (points - self.origin) / FLOW_STEP)


def sample_deformation(shape: Sequence[int], generator: torch.Generator, config: DeformationConfig) -> Deformation:
    """Sample a deformation of a grid of (I, J, K) voxels; rotation and scaling are about its centre.

    Examples
    --------
    >>> import torch
    >>> config = DeformationConfig(scales=(8.0,), amplitudes=(0.5,))
    >>> sample_deformation((12, 12, 12), torch.Generator().manual_seed(0), config).matrix.shape
    torch.Size([4, 4])
    """
    import torch

    from NeuroGenLib.spatial.transforms.displacement import compose, voxel_grid

    matrix = _random_affine(shape, generator, config)
    margin = math.ceil(_MARGIN * math.hypot(*config.amplitudes) / FLOW_STEP) + 1
    coarse = [math.ceil((size - 1) / FLOW_STEP) + 1 + 2 * margin for size in shape]
    velocity = torch.zeros((1, 3, *coarse), device=generator.device)
    for scale, amplitude in zip(config.scales, config.amplitudes, strict=True):
        deviation = uniform(generator, 0, amplitude) / FLOW_STEP
        velocity += deviation * smooth_noise(coarse, scale / FLOW_STEP, generator, channels=3)
    velocity = _tapered(velocity, margin)
    grid = voxel_grid(coarse, velocity)
    flows = []
    for direction in (1, -1):
        flow = velocity * (direction / 2**_SQUARINGS)
        for _ in range(_SQUARINGS):
            flow = compose(flow, flow, grid)
        flows.append(flow * FLOW_STEP)
    return Deformation(matrix, flow=flows[0], inverse_flow=flows[1], origin=-float(margin * FLOW_STEP))


def warp(image: torch.Tensor, displacement: torch.Tensor, order: int = 1) -> torch.Tensor:
    """Warp an image: ``image(x + displacement(x))``, with its border values beyond the border.

    Parameters
    ----------
    image:
        (C, I, J, K), or (I, J, K) for one channel. Integers, such as labels up to 2^24, keep their type.
    displacement:
        (1, 3, I, J, K) in voxels of ``image``, channel c along axis c.
    order:
        0 for the nearest voxel, as of labels; 1 for linear interpolation.

    Returns
    -------
    Tensor
        Axes of ``image``, grid of ``displacement``.

    Raises
    ------
    InputError
        When ``order`` has another value, or is 1 for integers.

    Examples
    --------
    >>> import torch
    >>> image = torch.arange(4.0).reshape(1, 4, 1, 1)
    >>> displacement = torch.zeros(1, 3, 4, 1, 1)
    >>> displacement[:, 0] = 0.5
    >>> [round(value, 4) for value in warp(image, displacement).flatten().tolist()]
    [0.5, 1.5, 2.5, 3.0]
    """
    from NeuroGenLib.spatial.transforms.displacement import voxel_grid

    return warped_to(image, voxel_grid(displacement.shape[2:], displacement) + displacement, order)


def warped_to(image: torch.Tensor, points: torch.Tensor, order: int = 1) -> torch.Tensor:
    """Resample ``image`` at points (1, 3, I, J, K) in its voxel coordinates; see :func:`warp`.

    Examples
    --------
    >>> import torch
    >>> labels = torch.tensor([3, 7]).reshape(2, 1, 1)
    >>> warped_to(labels, torch.tensor([0.9, 0.0, 0.0]).reshape(1, 3, 1, 1, 1), order=0).item()
    7
    """
    from NeuroGenLib.spatial.transforms.displacement import sample

    if order not in (0, 1) or (order == 1 and not image.is_floating_point()):
        raise InputError(
            f"Order {order} cannot warp an image of type {image.dtype}.",
            "Use order 0 for label maps and 0 or 1 for other images.",
            code="value-invalid",
        )
    batch = image[(None,) * (5 - image.ndim)]
    values = batch if batch.is_floating_point() else batch.to(points.dtype)
    result = sample(values, points, "bilinear" if order else "nearest")
    return result.to(image.dtype).reshape(*image.shape[:-3], *points.shape[2:])


def _random_affine(shape: Sequence[int], generator: torch.Generator, config: DeformationConfig) -> torch.Tensor:
    """Return (4, 4): shear, scaling and rotations about the axes 0, 1, 2, all about the centre, then a translation."""
    import torch

    device = generator.device
    parameters = 2 * torch.rand((4, 3), generator=generator, device=device, dtype=torch.float64) - 1
    angles = parameters[0] * math.radians(config.rotation)
    skew = torch.zeros((3, 3), device=device, dtype=torch.float64)
    skew[0, 1], skew[0, 2], skew[1, 2] = parameters[1] * config.shear
    linear = torch.diag(torch.exp(parameters[2] * config.log_scale)) @ (torch.eye(3, device=device) + skew)
    for axis in range(3):
        first, second = (dimension for dimension in range(3) if dimension != axis)
        rotation = torch.eye(3, device=device, dtype=torch.float64)
        rotation[first, first] = rotation[second, second] = torch.cos(angles[axis])
        rotation[second, first] = torch.sin(angles[axis])
        rotation[first, second] = -rotation[second, first]
        linear = rotation @ linear
    centre = (torch.tensor(tuple(shape), device=device, dtype=torch.float64) - 1) / 2
    matrix = torch.eye(4, device=device, dtype=torch.float64)
    matrix[:3, :3] = linear
    matrix[:3, 3] = centre - linear @ centre + parameters[3] * config.translation
    return matrix.float()


def _tapered(velocity: torch.Tensor, margin: int) -> torch.Tensor:
    """Return the velocity, decreasing smoothly to zero at the border over ``margin`` points."""
    import torch

    for axis in (2, 3, 4):
        size = velocity.shape[axis]
        index = torch.arange(size, device=velocity.device, dtype=velocity.dtype)
        depth = (torch.minimum(index, size - 1 - index) / margin).clamp(max=1)
        weight = depth**2 * (3 - 2 * depth)
        velocity = velocity * weight.view([-1 if dimension == axis else 1 for dimension in range(5)])
    return velocity


def _transformed(matrix: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    import torch

    flat = torch.addmm(matrix[:3, 3:], matrix[:3, :3], points.reshape(3, -1))
    return flat.reshape(points.shape)
