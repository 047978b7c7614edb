"""Random affine augmentation of a batch, as the published program samples it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from NeuroGenLib.registration.data.pairs import Item, PairBatch
from NeuroGenLib.registration.network.affine import affine_matrix
from NeuroGenLib.registration.network.grids import Grids, Triple
from NeuroGenLib.spatial.transforms.displacement import inside, sample, voxel_grid

if TYPE_CHECKING:
    from torch import Tensor

    from NeuroGenLib.registration.config import AffineAugmentationConfig


def augmented(batch: PairBatch, config: AffineAugmentationConfig, generator: torch.Generator) -> PairBatch:
    """Return a batch whose images are transformed at random, each on its own; labels, masks and landmarks follow them.

    Parameters
    ----------
    batch:
        Without known maps, which would change.
    config:
        How often and how much.
    generator:
        Source of randomness, on the device of the batch.
    """
    if config.probability == 0:
        return batch
    return replace(
        batch,
        items=tuple(
            transform_item(item, random_affines(len(item.image), config, generator), batch.spacing)
            for item in batch.items
        ),
    )


def random_affines(count: int, config: AffineAugmentationConfig, generator: torch.Generator) -> Tensor:
    """Return (count, 4, 4) matrices in the world frame of :class:`Grids`; the identity where nothing is to happen."""
    device = generator.device
    spread = [
        *config.logscale_stds,
        *config.logshear_stds,
        *torch.tensor(config.rotation_stds).deg2rad().tolist(),
        *config.translation_stds,
    ]
    drawn = torch.randn((count, 12), generator=generator, device=device) * torch.tensor(spread, device=device)
    happens = torch.rand((count, 1), generator=generator, device=device) < config.probability
    return affine_matrix(drawn * happens)


def transform_item(item: Item, matrices: Tensor, spacing: Triple) -> Item:
    """Return an item whose images show at x what was at ``matrix x``; what was outside continues the border, masked.

    Parameters
    ----------
    item:
        B images.
    matrices:
        (B, 4, 4) in the world frame of :class:`Grids`.
    spacing:
        Voxel size, mm.
    """
    i, j, k = item.image.shape[2:]
    grids = Grids((i, j, k), spacing)
    where = grids.apply_affine(matrices, voxel_grid((i, j, k), item.image))
    field_of_view = inside(where, (i, j, k)).float()
    mask = field_of_view if item.mask is None else field_of_view * sample(item.mask, where, "nearest")
    landmarks = item.landmarks
    if landmarks is not None:
        points = landmarks.transpose(1, 2)[..., None, None]
        inverse_points = grids.apply_affine(torch.linalg.inv(matrices), points)
        landmarks = inverse_points[..., 0, 0].transpose(1, 2)
    return Item(
        sample(item.image, where),
        None if item.labels is None else sample(item.labels, where, "nearest"),
        mask,
        landmarks,
    )
