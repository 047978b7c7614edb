"""Rendering as the published program does it: its grid, intensity scaling, mask and label map."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from NeuroGenLib.atlas.brain import AtlasBrain
from NeuroGenLib.core.errors import InputError
from NeuroGenLib.core.progress import SILENT, Progress
from NeuroGenLib.spatial.volume import Volume

if TYPE_CHECKING:
    from NeuroGenLib.atlas.rendering.render import Grid
    from NeuroGenLib.atlas.trained import Recipe, TrainedAtlas


def grid_as_published(box: np.ndarray, spacing: tuple[float, float, float]) -> Grid:
    """Return the published grid: from the lower side of the box in whole steps, the upper side excluded."""
    from NeuroGenLib.atlas.rendering.render import Grid

    shape = [len(np.arange(0, side, step)) for side, step in zip(box, spacing, strict=True)]
    low = -np.asarray(box) / 2
    return Grid((shape[0], shape[1], shape[2]), spacing, (float(low[0]), float(low[1]), float(low[2])))


def render_as_published(
    model: TrainedAtlas,
    recipe: Recipe,
    spacing: tuple[float, float, float],
    *,
    masked: bool,
    progress: Progress = SILENT,
) -> AtlasBrain:
    """Render a brain as the published program does.

    Every voxel of the box is decoded; intensities are clamped to [0, 1] and scaled to it by the extremes over the
    whole box; the mask multiplies everything; the background margin's label stays in the label map. One thing is not
    kept: the header's origin is right.
    """
    from scipy.special import softmax

    grid = grid_as_published(model.box, spacing)
    outputs = model.decode(recipe, grid, progress)
    split = len(model.modalities)
    classes = outputs[:, split:].argmax(1).reshape(grid.shape)
    probabilities = softmax(outputs[:, split:], axis=1).T.reshape(-1, *grid.shape)
    mask = np.ones(grid.shape, bool)
    if masked:
        mask = mask_as_published(classes, model.background[0])
    images = {}
    for channel, name in enumerate(model.modalities):
        scaled = scale_as_published(outputs[:, channel].reshape(grid.shape))
        images[name] = Volume(scaled * mask, grid.affine)
    values = np.array(model.labels.values, np.uint16)[classes]
    return AtlasBrain(
        images,
        Volume(values * mask, grid.affine),
        Volume(probabilities * mask, grid.affine),
        recipe.age,
        recipe.values,
        recipe.weights,
        recipe.warnings,
    )


def scale_as_published(values: np.ndarray) -> np.ndarray:
    """Clamp to [0, 1], then map the extremes over the array to 0 and 1; a constant image stays as it is."""
    clamped = np.clip(values, 0, 1)
    low, high = clamped.min(), clamped.max()
    scaled: np.ndarray = (clamped - low) / (high - low) if high > low else clamped
    return scaled


def mask_as_published(classes: np.ndarray, background: int) -> np.ndarray:
    """Return the piece of foreground that fills the middle of the volume, dilated by a Gaussian of one voxel.

    Raises
    ------
    InputError
        When the volume has fewer than 20 voxels on an axis: the published patch is then empty.
    """
    from scipy.ndimage import gaussian_filter, label

    half = np.floor(0.05 * np.array(classes.shape)).astype(int)
    if (half == 0).any():
        raise InputError(
            "The published mask needs at least 20 voxels on every axis.",
            "Use a finer spacing, or --no-mask.",
            code="value-conflict",
        )
    pieces, _ = label((classes > 0) & (classes != background))
    middle = np.array(classes.shape) // 2
    patch = pieces[tuple(slice(m - h, m + h) for m, h in zip(middle, half, strict=True))]
    chosen = int(np.argmax(np.bincount(patch.ravel())))
    if chosen == 0:
        return np.zeros(classes.shape, bool)
    dilated: np.ndarray = gaussian_filter((pieces == chosen).astype(np.float32), sigma=1) > 0.001
    return dilated


def halo_as_published(brain: np.ndarray) -> np.ndarray:
    """Return the brain dilated by a Gaussian of 1.5 voxels, whatever the voxel size."""
    from scipy.ndimage import gaussian_filter

    dilated: np.ndarray = gaussian_filter(brain.astype(np.float32), sigma=1.5) > 0.001
    return dilated
