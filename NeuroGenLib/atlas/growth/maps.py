"""Growth maps: how fast the intensities and the tissue probabilities of an atlas change with age.

The derivative goes forward through the decoder, from the latents' change with age to the change of every voxel. A
condition stays what it is while the age changes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from NeuroGenLib.atlas.regression import weight_rates
from NeuroGenLib.atlas.rendering.brain import MARGIN_MM, brain_mask
from NeuroGenLib.core.device import with_memory_fallback
from NeuroGenLib.core.progress import SILENT, Progress
from NeuroGenLib.spatial.volume import Volume

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from NeuroGenLib.atlas.network import AtlasDecoder
    from NeuroGenLib.atlas.regression import Method
    from NeuroGenLib.atlas.rendering.brain_search import BrainOutputs
    from NeuroGenLib.atlas.rendering.render import Grid
    from NeuroGenLib.atlas.trained import Recipe, TrainedAtlas

FOUND = 0.2
"""Share of the work that finding the brain takes; for the progress."""


@dataclass(frozen=True)
class AtlasGrowth:
    """How fast one brain of an atlas changes; all volumes are on the grid of the brain itself.

    Attributes
    ----------
    images:
        One volume per modality: the model's intensity units per unit of age, 0 outside the brain and its margin.
    probabilities:
        (classes, i, j, k): probability per unit of age, in the order of the model's label table; the classes sum to 0.
    age, conditions:
        Of the brain, in table units.
    unit:
        Unit of the rates' denominator: ``per week`` or ``per year``, as the model counts age.
    warnings:
        What a person should know about this result.
    """

    images: dict[str, Volume]
    probabilities: Volume
    age: float
    conditions: dict[str, float | str]
    unit: str
    warnings: list[str] = field(default_factory=list)


def render_growth(
    model: TrainedAtlas,
    recipe: Recipe,
    bandwidth: float,
    regression: Method,
    grid: Grid,
    chunk: int,
    *,
    masked: bool = True,
    progress: Progress = SILENT,
) -> AtlasGrowth:
    """Render the growth of one brain; see :meth:`NeuroGenLib.atlas.infer.AtlasModel.growth`.

    Parameters
    ----------
    model, recipe:
        The atlas, and what its decoder needs for the brain.
    bandwidth, regression:
        Of the age regression that made the recipe.
    grid:
        The voxels.
    chunk:
        Points evaluated at once; fewer where memory runs out.
    masked:
        Zero outside the brain and its margin, which is at least one voxel wide here: half of what a border passes
        through lies outside the labels.
    progress:
        Progress callback.
    """
    trend = _latent_trend(model, recipe, bandwidth, regression)

    def work(device: torch.device, chunk: int) -> tuple[np.ndarray, np.ndarray]:
        search = model.brain_search(model.renderer(recipe, device, chunk))
        outputs = search.evaluate(grid, masked=masked, progress=progress.part(0, FOUND))
        voxels = _near_brain(model, outputs, grid) if masked else outputs.voxels
        points = grid.points(model.box / 2, voxels)
        decoder = model.decoder_on(device)
        return voxels, _rates(decoder, recipe, trend, points, device, chunk, progress.part(FOUND, 1))

    voxels, rates = with_memory_fallback(work, model.device, chunk, warn=recipe.warnings.append)
    maps = np.zeros((rates.shape[1], grid.size), np.float32)
    maps[:, voxels] = rates.T
    volumes = maps.reshape(-1, *grid.shape)
    images = {name: Volume(volumes[channel], grid.affine) for channel, name in enumerate(model.modalities)}
    return AtlasGrowth(
        images,
        Volume(volumes[len(images) :], grid.affine),
        recipe.age,
        recipe.values,
        f"per {model.age_unit.removesuffix('s')}",
        recipe.warnings,
    )


def _latent_trend(model: TrainedAtlas, recipe: Recipe, bandwidth: float, regression: Method) -> Tensor:
    """Return how fast the recipe's latents change with age; say so when the atlas does not age as fast as asked."""
    import torch

    offsets = model.condition_offsets(recipe.conditions.cpu().numpy())
    rates = weight_rates(model.ages, recipe.age, bandwidth, regression, offsets)
    speed = float(rates @ model.ages)
    if abs(speed - 1) > 0.05:
        recipe.warnings.append(
            f"At {model.age_name} {recipe.age:g} the weighted mean age moves by {speed:.2f} {model.age_unit}, "
            "not the 1 asked for."
        )
    factors = torch.as_tensor(rates, dtype=recipe.latents.dtype, device=recipe.latents.device)
    latents: Tensor = torch.tensordot(factors, model.latents, dims=1)
    return latents


def _near_brain(model: TrainedAtlas, outputs: BrainOutputs, grid: Grid) -> np.ndarray:
    """Return the evaluated voxels (flat indices) in the brain or its margin."""
    classes = np.full(grid.size, model.background[0])
    classes[outputs.voxels] = outputs.outputs[:, len(model.modalities) :].argmax(1)
    margin = max(MARGIN_MM, *grid.spacing)
    mask = brain_mask(classes.reshape(grid.shape), grid.spacing, model.background, margin, core=outputs.core)
    inside: np.ndarray = outputs.voxels[mask.ravel()[outputs.voxels]]
    return inside


def _rates(
    decoder: AtlasDecoder,
    recipe: Recipe,
    trend: Tensor,
    points: Tensor,
    device: torch.device,
    chunk: int,
    progress: Progress,
) -> np.ndarray:
    """Return the rates (n, outputs) of intensities and probabilities at (n, 3) normalised points."""
    import torch

    latents, conditions, direction = (tensor.to(device) for tensor in (recipe.latents, recipe.conditions, trend))
    split = decoder.shape.intensities
    result = np.empty((len(points), decoder.shape.outputs), np.float32)
    for start in range(0, len(points), chunk):
        part = points[start : start + chunk][None].to(device)

        def decoded(grid: Tensor, part: Tensor = part) -> Tensor:
            tables = decoder.fold(decoder.latent_grid(grid[None]), conditions[None])
            outputs = decoder(part, tables)[0]
            return torch.cat([outputs[:, :split], outputs[:, split:].softmax(1)], 1)

        with torch.no_grad():
            rates = torch.func.jvp(decoded, (latents,), (direction,))[1]
        stop = start + part.shape[1]
        result[start:stop] = rates.cpu().numpy()
        progress.update(stop, len(points))
    return result
