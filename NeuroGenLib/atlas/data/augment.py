"""Random changes of the points of a training step: place, contrast, shading, noise and head motion.

They are made on the points that were sampled, not on whole volumes: a step costs little more with them than without.
"""

from __future__ import annotations

import itertools
import logging
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from NeuroGenLib.atlas.config import AugmentationConfig
    from NeuroGenLib.atlas.data.points import PointBatch, SubjectPoints

log = logging.getLogger(__name__)

FOLDING_SHARE = 0.4
"""A cubic B-spline deformation cannot fold below this share of the distance between its control points."""

_EXPONENTS = torch.tensor([powers for powers in itertools.product(range(4), repeat=3) if 1 <= sum(powers) <= 3])
"""(19, 3) powers of x, y, z in a cubic polynomial without its constant."""


class Augmentation:
    """Changes batches at random, each subject on its own; labels stay, and so do points without any signal.

    Parameters
    ----------
    settings:
        What is changed, how often and how much.
    subjects:
        The prepared subjects, in the order of the latents.
    box:
        (3,) sides of the atlas box in mm.
    """

    def __init__(self, settings: AugmentationConfig, subjects: Sequence[SubjectPoints], box: np.ndarray) -> None:
        self._settings = settings
        fill = np.array([subject.fill for subject in subjects])
        tops = [np.percentile(subject.intensities, 99.9, axis=0) for subject in subjects]
        self._fill = torch.tensor(fill, dtype=torch.float32)
        self._span = torch.tensor(np.maximum(np.array(tops) - fill, 1e-6), dtype=torch.float32)
        self._half_box = torch.tensor(np.asarray(box) / 2, dtype=torch.float32)
        deformation = settings.deformation
        apart = float(np.min(box)) / (deformation.control_points - 3)
        if deformation.probability > 0 and deformation.displacement > FOLDING_SHARE * apart:
            log.warning(
                "Deformations of up to %g mm with control points %.1f mm apart may fold.",
                deformation.displacement,
                apart,
            )

    def __call__(self, batch: PointBatch, generator: torch.Generator) -> PointBatch:
        """Return the batch with its subjects' changed points and intensities.

        In the order of a scan: the head lies deformed, it moves, the contrast is another, the coil shades, noise
        comes on top. A kind with probability 0 takes nothing from ``generator``, which is on the CPU.
        """
        settings = self._settings
        fill, span = self._fill[batch.subjects][:, None], self._span[batch.subjects][:, None]
        clean, points = batch.intensities, batch.points
        values = clean
        if settings.motion.probability > 0 and batch.corrupted is not None:
            after = one_of(batch.corrupted, generator)
            values = sometimes(settings.motion.probability, values, after, generator)
        if settings.gamma.probability > 0:
            after = with_gamma(values, fill, span, settings.gamma.log_gamma, generator)
            values = sometimes(settings.gamma.probability, values, after, generator)
        if settings.bias.probability > 0:
            after = with_bias(values, fill, points / self._half_box, settings.bias.coefficient, generator)
            values = sometimes(settings.bias.probability, values, after, generator)
        if settings.noise.probability > 0:
            after = with_noise(values, span, settings.noise.size, generator)
            values = sometimes(settings.noise.probability, values, after, generator)
        if settings.deformation.probability > 0:
            after = deformed(points, self._half_box, settings.deformation.control_points,
                             settings.deformation.displacement, generator)  # fmt: skip
            points = sometimes(settings.deformation.probability, points, after, generator)
        # Masked points, the margin and what lies outside, have no signal that could change.
        empty = (clean == fill).all(-1, keepdim=True)
        return replace(batch, points=points, intensities=torch.where(empty, clean, values))


def sometimes(probability: float, before: Tensor, after: Tensor, generator: torch.Generator) -> Tensor:
    """Return ``after`` for each subject (first axis) with the probability, else ``before``, bit for bit."""
    chosen = torch.rand(len(before), generator=generator) < probability
    return torch.where(chosen[:, None, None], after, before)


def one_of(copies: Tensor, generator: torch.Generator) -> Tensor:
    """Return (B, N, M): of every subject one of its copies (variants, B, N, M)."""
    subjects = copies.shape[1]
    chosen = torch.randint(len(copies), (subjects,), generator=generator)
    return copies[chosen, torch.arange(subjects)]


def with_gamma(values: Tensor, fill: Tensor, span: Tensor, log_gamma: float, generator: torch.Generator) -> Tensor:
    """Return intensities (B, N, M) to the power of a gamma sampled for each subject and modality.

    Raw zero (``fill``) counts as 0 and ``span`` above it as 1; what lies beyond is cut off. The natural logarithm of
    gamma is uniform up to ``log_gamma`` in both directions.
    """
    gamma = torch.exp(log_gamma * _signed(len(values), 1, values.shape[-1], generator=generator))
    return fill + span * ((values - fill) / span).clamp(0, 1) ** gamma


def with_bias(
    values: Tensor, fill: Tensor, positions: Tensor, coefficient: float, generator: torch.Generator
) -> Tensor:
    """Return intensities (B, N, M), above raw zero (``fill``), times exp of a cubic polynomial of the position.

    ``positions`` (B, N, 3) are -1 to 1 in the box. Each of the 19 coefficients is uniform up to ``coefficient`` in both
    directions and sampled for each subject and modality; there is no constant, so the factor at the centre is 1.
    """
    coefficients = coefficient * _signed(len(values), len(_EXPONENTS), values.shape[-1], generator=generator)
    terms = (positions[:, :, None] ** _EXPONENTS).prod(-1)
    return fill + (values - fill) * torch.exp(terms @ coefficients)


def with_noise(values: Tensor, span: Tensor, size: float, generator: torch.Generator) -> Tensor:
    """Return intensities (B, N, M) with Gaussian noise, its standard deviation uniform from 0 to ``size`` spans."""
    deviation = size * span * torch.rand(len(values), 1, values.shape[-1], generator=generator)
    return values + deviation * torch.randn(values.shape, generator=generator)


def deformed(
    points: Tensor, half_box: Tensor, control_points: int, displacement: float, generator: torch.Generator
) -> Tensor:
    """Return where a random smooth deformation puts the points.

    A point at x goes to x + u(x), with its intensity and class: the deformed image at x + u(x) shows what the image
    shows at x. The displacement u is a cubic B-spline over the box, whose ``control_points`` along each side have
    shifts uniform up to ``displacement`` along each axis; u never exceeds that.

    Parameters
    ----------
    points:
        (B, N, 3) mm from the centre of the box.
    half_box:
        (3,) half the sides of the box in mm.
    control_points:
        Along each side, at least 4: as many as three more than there are spans.
    displacement:
        In mm.
    generator:
        Source of randomness.
    """
    side = control_points
    shifts = displacement * _signed(len(points), 3, side, side, side, generator=generator)
    spans = ((points / half_box).clamp(-1, 1) + 1) / 2 * (side - 3)
    # The control points lie one span beyond the box on either side, and span the distance between them.
    x, y, z = spline((spans[..., None] + 1 - torch.arange(side)).abs()).unbind(2)
    along_z = torch.einsum("bcxyz,bnz->bncxy", shifts, z)
    along_y = torch.einsum("bncxy,bny->bncx", along_z, y)
    return points + torch.einsum("bncx,bnx->bnc", along_y, x)


def spline(distance: Tensor) -> Tensor:
    """Return the cubic B-spline at a distance (>= 0) from its centre, in spans between control points."""
    near = 2 / 3 - distance**2 + distance**3 / 2
    return torch.where(distance < 1, near, (2 - distance).clamp(min=0) ** 3 / 6)


def _signed(*shape: int, generator: torch.Generator) -> Tensor:
    """Draw numbers uniform from -1 to 1."""
    return 2 * torch.rand(*shape, generator=generator) - 1
