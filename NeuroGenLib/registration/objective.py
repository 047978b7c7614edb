"""What training minimises for a batch of pairs: every loss of the settings, by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional

from NeuroGenLib.registration import losses as measures
from NeuroGenLib.registration.data.pairs import Item, Truth
from NeuroGenLib.registration.network.sitreg import on_images
from NeuroGenLib.spatial.transforms.displacement import warp
from NeuroGenLib.spatial.transforms.jacobian import overlap_mask

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from NeuroGenLib.registration.config import LossConfig, SimilarityConfig
    from NeuroGenLib.registration.data.pairs import PairBatch
    from NeuroGenLib.registration.network.grids import Grids, Triple
    from NeuroGenLib.registration.network.sitreg import Mappings

ROUND = 3
"""Images of a round of group consistency."""


class Objective:
    """The losses of a training.

    Parameters
    ----------
    config:
        Which, and with which weights.
    """

    def __init__(self, config: LossConfig) -> None:
        self._config = config
        self.levels = frozenset({0, *config.levels().values()})
        """The levels whose mappings are needed."""

    def __call__(self, levels: Mapping[int, Mappings], batch: PairBatch, step: int) -> dict[str, Tensor]:
        """Return the losses of a batch by name, and their weighted sum as ``loss``; NaN where the batch has none.

        Parameters
        ----------
        levels:
            Mappings of :func:`pairs_of` the batch, by level.
        batch:
            The images; of three, the pairs are (1, 2), (2, 3), (3, 1).
        step:
            Number of the step, for weights that change.
        """
        moving, fixed = pairs_of(batch)
        grids = levels[0].grids
        if self._config.grid == "transform":
            moving, fixed = (coarser(item, grids) for item in (moving, fixed))
        share = len(batch.items[0].image) / len(moving.image)
        forward = self.one_way(levels, moving, fixed, batch.spacing, inverse=False, share=share)
        inverse = self.one_way(levels, fixed, moving, batch.spacing, inverse=True, share=share)
        terms = {name: (forward[name] + inverse[name]) / 2 for name in forward}
        weights = self.weights()
        if batch.truth is not None and self._config.truth_weight:
            terms["truth"] = self._truth_loss(levels[0], batch.truth)
        if moving.landmarks is not None and fixed.landmarks is not None and self._config.landmark_weight:
            whole = levels[0]
            terms["landmarks"] = measures.landmark_loss(
                whole.forward_on_images(), whole.inverse_on_images(), moving.landmarks, fixed.landmarks
            )
        if len(batch.items) == ROUND and self._config.consistency:
            weights["consistency"] = self.consistency_weight(step)
            terms["consistency"] = self._consistency_loss(levels[0], fixed, batch.spacing)
        total = levels[0].forward.new_zeros(())
        for name, value in terms.items():
            total = total + weights[name] * value
        # The same names at every step and in every process, which average what they record.
        unknown = dict.fromkeys(weights, torch.full_like(total, torch.nan).detach())
        return {"loss": total, **unknown, **{name: value.detach() for name, value in terms.items()}}

    def one_way(
        self,
        levels: Mapping[int, Mappings],
        moving: Item,
        fixed: Item,
        spacing: Triple,
        *,
        inverse: bool,
        share: float = 1.0,
    ) -> dict[str, Tensor]:
        """Return the losses of one direction by name, without weights.

        Parameters
        ----------
        levels:
            Mappings by level.
        moving, fixed:
            The image that is warped, and the one it is compared with, on the grid of the losses.
        spacing:
            Voxel size of the images, mm.
        inverse:
            Take the inverse maps; the images must be given the other way round then.
        share:
            Of the folded volume, which is a sum over the batch as published: samples per pair of the batch.
        """
        config, terms = self._config, {}
        factor = levels[0].grids.factor
        coarse = (spacing[0] * factor[0], spacing[1] * factor[1], spacing[2] * factor[2])
        for name, rule in config.regularity.items():
            field = _field(levels[rule.level], inverse=inverse, dense=not config.regularize_with_affine)
            if rule.kind == "gradient":
                terms[name] = measures.gradient_loss(field, coarse)
            else:
                terms[name] = share * measures.ndv_loss(field, rule.threshold)
        for level in sorted(self.levels):
            field = self._sampled(_field(levels[level], inverse=inverse), levels[level].grids)
            similarities = {name: rule for name, rule in config.similarity.items() if rule.level == level}
            if similarities:
                warped = warp(moving.image, field)
                masks = (None, None) if config.ignore_mask else (moving.mask, fixed.mask)
                mask = overlap_mask(field, *masks)
                terms |= {name: similarity(rule, warped, fixed.image, mask) for name, rule in similarities.items()}
            overlaps = [name for name, overlap in config.segmentation.items() if overlap.level == level]
            if overlaps and moving.labels is not None and fixed.labels is not None:
                warped_labels = warp(moving.labels, field) * overlap_mask(field)
                terms |= dict.fromkeys(overlaps, measures.dice_loss(warped_labels, fixed.labels))
        return terms

    def weights(self) -> dict[str, float]:
        """Return the weight of each loss but the consistency, by name."""
        config = self._config
        weights = {name: rule.weight for name, rule in config.similarity.items()}
        weights |= {name: rule.weight for name, rule in config.regularity.items()}
        weights |= {name: rule.weight for name, rule in config.segmentation.items()}
        rest = {"landmarks": config.landmark_weight, "truth": config.truth_weight}
        return weights | {name: weight for name, weight in rest.items() if weight}

    def consistency_weight(self, step: int) -> float:
        """Return the weight of the round through three images at a step."""
        steps, weights = zip(*self._config.consistency, strict=True)
        return float(np.interp(step, steps, weights))

    def _sampled(self, field: Tensor, grids: Grids) -> Tensor:
        return field if self._config.grid == "transform" else on_images(field, grids)

    def _truth_loss(self, whole: Mappings, truth: Truth) -> Tensor:
        """Return the mean squared distance per component inside the brain, mean of both directions."""
        if self._config.grid == "transform":
            truth = coarser_truth(truth, whole.grids)
        parts = [
            ((self._sampled(mapping, whole.grids) - known).square() * where).sum() / (3 * where.sum()).clamp(min=1)
            for mapping, known, where in (
                (whole.forward, truth.forward, truth.fixed),
                (whole.inverse, truth.inverse, truth.moving),
            )
        ]
        return (parts[0] + parts[1]) / 2

    def _consistency_loss(self, whole: Mappings, fixed: Item, spacing: Triple) -> Tensor:
        forwards = self._sampled(whole.forward, whole.grids).chunk(ROUND)
        inverses = self._sampled(whole.inverse, whole.grids).chunk(ROUND)
        masks = None
        if fixed.mask is not None and not self._config.ignore_mask:
            second, third, first = fixed.mask.chunk(ROUND)
            masks = [first, second, third]
        if self._config.grid == "transform":
            i, j, k = (width * factor for width, factor in zip(spacing, whole.grids.factor, strict=True))
            spacing = (i, j, k)
        return measures.group_consistency_loss(forwards, inverses, masks, spacing)


def pairs_of(batch: PairBatch) -> tuple[Item, Item]:
    """Return moving and fixed images of a batch: the two items, or each of three with the next one, pair by pair."""
    if len(batch.items) == ROUND:
        first, second, third = batch.items
        return _joined([first, second, third]), _joined([second, third, first])
    moving, fixed = batch.items
    return moving, fixed


def similarity(rule: SimilarityConfig, first: Tensor, second: Tensor, mask: Tensor | None) -> Tensor:
    """Return one measure of how unlike two images (B, C, I, J, K) are."""
    if rule.kind == "mse":
        return measures.mse_loss(first, second, mask, normalise=rule.normalise)
    if rule.kind == "mutual_information":
        return measures.mutual_information_loss(first, second, mask, bins=rule.bins)
    if rule.kind == "multiresolution_ncc":
        return measures.multi_resolution_ncc_loss(
            first,
            second,
            mask,
            windows=rule.windows,
            pools=rule.pools,
            weights=rule.weights,
            normalise=rule.normalise,
        )
    return measures.ncc_loss(first, second, mask, window=rule.window, normalise=rule.normalise)


def coarser(item: Item, grids: Grids) -> Item:
    """Return an item averaged to the transform's grid; landmarks stay in voxels of the images."""
    mask = item.mask
    return Item(
        pooled(item.image, grids),
        None if item.labels is None else pooled(item.labels, grids),
        None if mask is None else (pooled(mask, grids) >= 0.5).float(),
        item.landmarks,
    )


def coarser_truth(truth: Truth, grids: Grids) -> Truth:
    """Return true maps averaged to the transform's grid, in its voxels."""
    size = grids.level_voxel(0, truth.forward)
    return Truth(
        pooled(truth.forward, grids) * size,
        pooled(truth.inverse, grids) * size,
        pooled(truth.moving, grids),
        pooled(truth.fixed, grids),
    )


def pooled(values: Tensor, grids: Grids) -> Tensor:
    """Return the means over the voxels of the transform's grid, (B, C, I, J, K) to (B, C, i, j, k)."""
    return functional.avg_pool3d(values, [round(factor) for factor in grids.factor])


def _field(mappings: Mappings, *, inverse: bool, dense: bool = False) -> Tensor:
    if dense:
        return mappings.dense_inverse if inverse else mappings.dense_forward
    return mappings.inverse if inverse else mappings.forward


def _joined(items: Sequence[Item]) -> Item:
    def all_of(parts: Sequence[Tensor | None]) -> Tensor | None:
        known = [part for part in parts if part is not None]
        return torch.cat(known) if len(known) == len(parts) else None

    return Item(
        torch.cat([item.image for item in items]),
        all_of([item.labels for item in items]),
        all_of([item.mask for item in items]),
        all_of([item.landmarks for item in items]),
    )
