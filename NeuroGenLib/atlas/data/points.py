"""Points of every training subject, prepared once, sampled at random each step."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor

from NeuroGenLib.atlas.rendering.brain import within
from NeuroGenLib.core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Normalisation = Literal["percentile", "minmax", "zscore"]

OUTSIDE_POINTS = 30_000
"""Background voxels far from the brain that are kept of each subject."""


@dataclass(frozen=True)
class SubjectPoints:
    """The training points of one subject: its brain and a background halo around it.

    Attributes
    ----------
    index:
        (n, 3) int16 voxel indices i, j, k.
    intensities:
        (n, modalities) float32, normalised.
    classes:
        (n,) uint8 class of each point.
    outside:
        (m, 3) int16 voxel indices beyond the halo, all background.
    affine:
        (4, 4) voxel to RAS mm.
    centre:
        (3,) RAS mm; the origin of the subject's normalised coordinates.
    scaling:
        (modalities, 2) offset and factor: raw = offset + factor * normalised.
    corrupted:
        (variants, n, modalities) float32, the intensities in copies of the images that head motion spoilt, if any.
    """

    index: np.ndarray
    intensities: np.ndarray
    classes: np.ndarray
    outside: np.ndarray
    affine: np.ndarray
    centre: np.ndarray
    scaling: np.ndarray
    corrupted: np.ndarray | None = None

    @property
    def fill(self) -> np.ndarray:
        """The (modalities,) normalised intensities of raw zero, which masked points have."""
        zero: np.ndarray = -self.scaling[:, 0] / self.scaling[:, 1]
        return zero

    def intensities_of(self, images: np.ndarray) -> np.ndarray:
        """Return (n, modalities) float32: other images (modalities, i, j, k) of the same grid, normalised as these."""
        i, j, k = self.index.T
        return normalised(images[:, i, j, k].T, self.scaling)

    def world(self, index: np.ndarray) -> np.ndarray:
        """Return RAS mm of voxel indices, relative to the subject's centre."""
        points: np.ndarray = index @ self.affine[:3, :3].T + (self.affine[:3, 3] - self.centre)
        return points

    def kept(self, near: np.ndarray, far: np.ndarray) -> SubjectPoints:
        """Return the subject with the chosen points (n,) and outside points (m,) alone."""
        return replace(
            self,
            index=self.index[near],
            intensities=self.intensities[near],
            classes=self.classes[near],
            outside=self.outside[far],
            corrupted=None if self.corrupted is None else self.corrupted[:, near],
        )


def prepare(
    images: np.ndarray,
    classes: np.ndarray,
    affine: np.ndarray,
    *,
    background: int = 0,
    halo_mm: float = 4.0,
    normalisation: Normalisation = "percentile",
    mask: bool = True,
    seed: int = 0,
    halo: Callable[[np.ndarray], np.ndarray] | None = None,
) -> SubjectPoints:
    """Turn one subject's volumes into training points.

    Parameters
    ----------
    images:
        (modalities, i, j, k), raw intensities; values below zero are set to zero.
    classes:
        (i, j, k) class of every voxel, 0 outside.
    affine:
        Voxel to RAS mm of all of them.
    background:
        The class that the halo gets.
    halo_mm:
        Width of the background halo around the brain, in mm.
    normalisation:
        ``percentile`` maps the 0.1 and 99.9 percentiles over the points to 0 and 1; ``minmax`` and ``zscore`` as
        published.
    mask:
        Set intensities outside the labelled brain to zero and use the halo.
    seed:
        Draws the outside points.
    halo:
        Another rule for the brain with its halo, (i, j, k) bool from the brain, instead of ``halo_mm``.

    Raises
    ------
    InputError
        When nothing is labelled.
    """
    brain = classes > 0
    if not brain.any():
        raise InputError(
            "The label map is empty.", "Every voxel is 0; give a segmentation of the brain.", code="image-empty"
        )
    if mask:
        images = images * brain
        near = margin(brain, spacing(affine), halo_mm) if halo is None else halo(brain)
        classes = np.where(near & ~brain, background, classes)
        inside = brain | near
    else:
        inside = brain
    return _collect(images, classes, affine, inside, normalisation=normalisation, outside_seed=seed if mask else None)


def _collect(
    images: np.ndarray,
    classes: np.ndarray,
    affine: np.ndarray,
    inside: np.ndarray,
    *,
    normalisation: Normalisation,
    outside_seed: int | None,
) -> SubjectPoints:
    index = np.argwhere(inside).astype(np.int16)
    values = images[:, inside].T
    scaling = intensity_scaling(values.clip(min=0).astype(np.float64), normalisation)
    outside = np.zeros((0, 3), np.int16)
    if outside_seed is not None:
        far = np.flatnonzero(~inside)
        generator = np.random.default_rng(outside_seed)
        chosen = generator.choice(far, min(OUTSIDE_POINTS, len(far)), replace=False)
        outside = np.stack(np.unravel_index(np.sort(chosen), inside.shape), 1).astype(np.int16)
    centre = affine[:3, :3] @ index.astype(np.float64).mean(0) + affine[:3, 3]
    return SubjectPoints(
        index, normalised(values, scaling), classes[inside].astype(np.uint8), outside, affine, centre, scaling
    )


def normalised(values: np.ndarray, scaling: np.ndarray) -> np.ndarray:
    """Return (points, modalities) float32 of raw intensities and the (modalities, 2) offset and factor to remove.

    Intensities below zero count as zero.
    """
    scaled: np.ndarray = ((values.clip(min=0).astype(np.float64) - scaling[:, 0]) / scaling[:, 1]).astype(np.float32)
    return scaled


def spacing(affine: np.ndarray) -> np.ndarray:
    """Return the (3,) voxel size in mm."""
    lengths: np.ndarray = np.linalg.norm(affine[:3, :3], axis=0)
    return lengths


def margin(brain: np.ndarray, voxel_mm: np.ndarray, width_mm: float) -> np.ndarray:
    """Return the brain, the voxels within ``width_mm`` of it, and its neighbours, however thick the slices are."""
    from scipy.ndimage import binary_dilation

    return within(brain, voxel_mm, width_mm) | binary_dilation(brain) if width_mm > 0 else brain


def intensity_scaling(values: np.ndarray, normalisation: Normalisation) -> np.ndarray:
    """Return (modalities, 2): the offset and factor that normalisation removes from ``values`` (points, modalities).

    Raises
    ------
    InputError
        When an image is constant over the points.
    """
    if normalisation == "zscore":
        return np.stack([values.mean(0), values.std(0) + 1e-5], 1)
    low, high = (
        np.percentile(values, [0.1, 99.9], axis=0) if normalisation == "percentile" else (values.min(0), values.max(0))
    )
    if (high <= low).any():
        raise InputError(
            "An image is constant inside the brain.",
            "Check that image and segmentation belong together.",
            code="image-empty",
        )
    return np.stack([low, high - low], 1)


@dataclass(frozen=True)
class PointBatch:
    """Points of ``B`` subjects, ``N`` of each.

    ``subjects`` (B,) rows of the tables; ``points`` (B, N, 3) mm from the subject's centre, RAS; ``intensities``
    (B, N, modalities); ``classes`` (B, N) int64; ``corrupted`` (variants, B, N, modalities), the same points'
    intensities in copies that head motion spoilt, where the subjects have some.
    """

    subjects: Tensor
    points: Tensor
    intensities: Tensor
    classes: Tensor
    corrupted: Tensor | None = None


class PointTable:
    """The points of all subjects in one table, from which batches are sampled.

    Parameters
    ----------
    subjects:
        The prepared subjects, in the order of the latents; all or none with corrupted copies.
    background:
        Class of the points far outside.
    """

    def __init__(self, subjects: Sequence[SubjectPoints], background: int) -> None:
        self.index = torch.from_numpy(np.concatenate([subject.index for subject in subjects]))
        self.intensities = torch.from_numpy(np.concatenate([subject.intensities for subject in subjects]))
        self.classes = torch.from_numpy(np.concatenate([subject.classes for subject in subjects]))
        self.outside = torch.from_numpy(np.concatenate([subject.outside for subject in subjects]))
        self._counts = torch.tensor([len(subject.index) for subject in subjects])
        self._outside_counts = torch.tensor([len(subject.outside) for subject in subjects])
        self._background = background
        copies = [subject.corrupted for subject in subjects if subject.corrupted is not None]
        self._corrupted = torch.from_numpy(np.concatenate(copies, axis=1)) if copies else None
        self._fill = torch.tensor(np.array([subject.fill for subject in subjects]), dtype=torch.float32)
        affines = np.array([subject.affine[:3, :3] for subject in subjects])
        origins = np.array([subject.affine[:3, 3] - subject.centre for subject in subjects])
        self._affines = torch.tensor(affines, dtype=torch.float32)
        self._origins = torch.tensor(origins, dtype=torch.float32)

    def __len__(self) -> int:
        return len(self._counts)

    def sample(self, points: int, subjects: int | None, outside: float, generator: torch.Generator) -> PointBatch:
        """Draw a batch.

        Parameters
        ----------
        points:
            Points in all.
        subjects:
            How many subjects; all when None.
        outside:
            Share of points far outside the brain.
        generator:
            Source of randomness, on the CPU.
        """
        chosen = torch.arange(len(self))
        if subjects is not None and subjects < len(self):
            chosen = torch.randperm(len(self), generator=generator)[:subjects]
        each = max(points // len(chosen), 1)
        far = round(outside * each) if bool((self._outside_counts > 0).all()) else 0
        near_rows = self._rows(self._counts, chosen, each - far, generator)
        far_rows = self._rows(self._outside_counts, chosen, far, generator)
        index = torch.cat([self.index[near_rows], self.outside[far_rows]], 1).float()
        fill = self._fill[chosen][:, None].expand(-1, far, -1)
        empty = torch.full((len(chosen), far), self._background, dtype=torch.int64)
        corrupted = None
        if self._corrupted is not None:
            spoilt = self._corrupted[:, near_rows]
            corrupted = torch.cat([spoilt, fill.expand(len(spoilt), -1, -1, -1)], 2)
        return PointBatch(
            chosen,
            torch.baddbmm(self._origins[chosen][:, None], index, self._affines[chosen].transpose(1, 2)),
            torch.cat([self.intensities[near_rows], fill], 1),
            torch.cat([self.classes[near_rows].long(), empty], 1),
            corrupted,
        )

    @staticmethod
    def _rows(counts: Tensor, chosen: Tensor, each: int, generator: torch.Generator) -> Tensor:
        """Return (B, each) rows of a concatenated table, uniform over each chosen subject's part."""
        starts = torch.cumsum(counts, 0) - counts
        fraction = torch.rand(len(chosen), each, generator=generator, dtype=torch.float64)
        return starts[chosen][:, None] + (fraction * counts[chosen][:, None]).long()
