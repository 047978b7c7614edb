"""Pose of the published network's atlas, and the correction computed in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from NeuroGenLib.alignment.halfway import aligned, halfway_start
from NeuroGenLib.alignment.prepared_image import PreparedImage
from NeuroGenLib.core.progress import SILENT, Progress
from NeuroGenLib.spatial.volume import Volume
from NeuroGenLib.superres.correction import published_correction
from NeuroGenLib.superres.manifest import SuperresManifest
from NeuroGenLib.superres.published.reference import SPACING_MM
from NeuroGenLib.superres.stacks.fusion import fused_grid
from NeuroGenLib.superres.stacks.preprocessing import interpolated

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from NeuroGenLib.models.folder import ModelFolder
    from NeuroGenLib.superres.published.unet import FoldedUNet
    from NeuroGenLib.superres.stacks.initial_image import InitialImage
    from NeuroGenLib.superres.stacks.stack import Stack

_OUTSIDE = 0.02
"""Part of a head that may lie outside the atlas's field of view without a warning."""


@dataclass(frozen=True, eq=False)
class AtlasPose:
    """Grid and pose of the network's training images.

    Attributes
    ----------
    grid:
        Voxel size and orientation of the training images; its values do not count.
    pose:
        (4, 4) RAS mm of the grid to RAS mm of the scan.
    is_atlas:
        Whether it is that of the model's atlas, or only the scan's own axes.
    warnings:
        A sentence when there is no atlas, or the alignment is unusual.
    """

    grid: Volume
    pose: np.ndarray
    is_atlas: bool
    warnings: tuple[str, ...] = ()


def atlas_pose(
    folder: ModelFolder,
    stacks: Sequence[Stack],
    guide: Volume,
    to_guide: np.ndarray,
    progress: Progress = SILENT,
) -> AtlasPose:
    """Register the scan to the atlas of a published model by its guide; without an atlas, take the scan's own axes.

    Parameters
    ----------
    folder:
        The model.
    stacks, guide:
        The scans; the isotropic guide, which is registered to the atlas.
    to_guide:
        (4, 4) RAS mm of the scan to RAS mm of the guide.
    progress:
        Progress callback.

    Raises
    ------
    InputError
        When guide and atlas cannot be brought to overlap.
    """
    preparation = folder.read_as(SuperresManifest).preparation
    spacing, orientation = (preparation.spacing or (SPACING_MM,))[0], preparation.orientation
    name = preparation.atlas
    if not name:
        warning = f"The model {folder.reference} holds no atlas: the scan is taken to lie as those it was trained on."
        return AtlasPose(
            fused_grid(stacks, spacing).reorient(orientation), np.eye(4), is_atlas=False, warnings=(warning,)
        )
    atlas = Volume.load(folder.file(name))
    start = halfway_start(
        PreparedImage.of(atlas, name="The fixed"), PreparedImage.of(guide, name="The moving"), "rigid", progress
    )
    warnings = tuple(f"On the way to the atlas: {note}" for note in start.notes)
    grid = atlas.resample(spacing).reorient(orientation)
    return AtlasPose(grid, np.linalg.inv(to_guide) @ start.fixed_to_moving, is_atlas=True, warnings=warnings)


def correction_at_pose(
    place: AtlasPose,
    network: FoldedUNet,
    initial: InitialImage,
    guide: Volume,
    to_guide: np.ndarray,
    head: Volume,
    device: torch.device,
    progress: Progress = SILENT,
) -> tuple[Volume, list[str]]:
    """Return the network's correction and warnings; computed in its atlas's pose and resampled to the scan once.

    Parameters
    ----------
    place, network:
        Grid and pose; in eval mode.
    initial:
        The scan; a single one is resampled from its own slices, not from its interpolation.
    guide, to_guide:
        As for :func:`atlas_pose`.
    head:
        Boolean, on the grid of the scan's interpolation.
    device, progress:
        Where it computes; progress callback.

    Raises
    ------
    InputError
        When no head is seen there, or it has no contrast.
    """
    image, known = initial.image, (place.grid.shape, place.grid.affine)
    scan = initial.stacks[0].placed if len(initial.stacks) == 1 else image
    inside = aligned(head.with_array(head.array.astype(np.float32)), place.pose, known)
    mask = inside.with_array(inside.array > 0.5)
    warnings: list[str] = []
    if _millilitres(mask) < (1 - _OUTSIDE) * _millilitres(head):
        warnings.append("Part of the head lies outside the field of view of the atlas: it is only interpolated.")
    correction = published_correction(
        network,
        interpolated(scan, known, place.pose),
        interpolated(guide, known, to_guide @ place.pose),
        mask,
        device,
        warnings.append,
        progress,
    )
    back = aligned(correction, np.linalg.inv(place.pose), image, 3)
    return back.with_array(back.array.astype(np.float32)), warnings


def _millilitres(mask: Volume) -> float:
    return mask.voxel_volume_ml * int(mask.array.sum())
