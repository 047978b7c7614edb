"""Fit of an atlas to a new scan: latents and pose from the intensities, the network frozen.

The start is where the atlas itself is most similar to the scan (:mod:`NeuroGenLib.atlas.fit.age_search`); from there
the latents are free. Labels then come from the fitted brain, in the scan's own space.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from NeuroGenLib.atlas import transform
from NeuroGenLib.atlas.conditions import parsed
from NeuroGenLib.atlas.data.points import PointTable
from NeuroGenLib.atlas.fit.age_interval import FEW, AgeEstimate, compare_left_out
from NeuroGenLib.atlas.fit.age_search import Match, find_match
from NeuroGenLib.atlas.fit.deviation import TissueDeviation, tissue_deviations
from NeuroGenLib.atlas.fit.scan import SubjectScan, read_scan
from NeuroGenLib.atlas.growth.volumes import tissue_volumes
from NeuroGenLib.atlas.losses import LossWeights, atlas_loss
from NeuroGenLib.core.progress import SILENT, Progress

if TYPE_CHECKING:
    from collections.abc import Mapping

    from NeuroGenLib.atlas.config import FitConfig
    from NeuroGenLib.atlas.trained import Recipe, TrainedAtlas
    from NeuroGenLib.spatial.volume import Volume

INTENSITY_RATE = 0.01
AT_BOUND = 1e-3
"""Share of its range within which a condition's value is an end of it: rounding."""
ROTATED = 60.0
"""Degrees of rotation against the header above which the user is warned."""


@dataclass(frozen=True)
class FittedBrain:
    """Result of a fit; every volume is on the grid of the scan.

    Attributes
    ----------
    labels:
        Label values of the model's table inside the brain mask, 0 elsewhere.
    reconstruction:
        The fitted brain by modality: in the scan's units where it has that image, else in the model's.
    atlas:
        The atlas at the subject's age and conditions, moved to the scan, by modality; in the same units.
    deviation:
        Scan minus atlas for each image of the scan, as a share of the scan's range of intensities in the brain.
    estimate:
        Age of the image, whether the age is known or not.
    known_age:
        The age that was given.
    conditions:
        Value of each condition, in table units.
    given:
        Names of the conditions that were given; the others were found.
    at_bounds:
        Those of the others whose best value is an end of the trained range.
    tissues:
        Volumes of the fitted labels against those of the training subjects.
    outside:
        Why the scan is outside the atlas's population, so that no z is given; empty where it is inside.
    to_atlas:
        (4, 4) scan RAS mm to atlas RAS mm.
    intensity:
        By image of the scan: offset and factor, scan = offset + factor * model.
    latents:
        (C, nz, ny, nx).
    match:
        The search that the fit started from, with the profile over age.
    loss:
        Mean absolute difference of the intensities at the end, as a share of their range.
    warnings:
        What a person should know about this result.
    """

    labels: Volume
    reconstruction: dict[str, Volume]
    atlas: dict[str, Volume]
    deviation: dict[str, Volume]
    estimate: AgeEstimate
    known_age: float | None
    conditions: dict[str, float | str]
    given: tuple[str, ...]
    at_bounds: tuple[str, ...]
    tissues: list[TissueDeviation]
    outside: str
    to_atlas: np.ndarray
    intensity: dict[str, tuple[float, float]]
    latents: np.ndarray
    match: Match
    loss: float
    warnings: list[str]

    @property
    def age(self) -> float:
        """The age that was given, else that of the image, in the model's unit."""
        return self.estimate.value if self.known_age is None else self.known_age


@dataclass(frozen=True)
class _Optimised:
    """The free fit: what it moved, and its last loss (intensities only)."""

    recipe: Recipe
    pose: Tensor
    gain: np.ndarray
    loss: float


def fit_scan(
    model: TrainedAtlas,
    images: Mapping[str, Volume],
    *,
    mask: Volume | None = None,
    labels: Volume | None = None,
    age: float | None = None,
    conditions: Mapping[str, object] | None = None,
    settings: FitConfig,
    progress: Progress = SILENT,
) -> FittedBrain:
    """Fit an atlas to a scan.

    Parameters
    ----------
    model:
        The atlas; its network stays as it is.
    images, mask, labels:
        The scan; see :func:`NeuroGenLib.atlas.fit.scan.read_scan`.
    age:
        The subject's age in the model's unit, where it is known: the deviation is then against the atlas at that age.
    conditions:
        Known conditions, in table units; the others are found from the image.
    settings:
        Steps and rates.
    progress:
        Progress callback; cancels between the steps.

    Raises
    ------
    InputError
        When a volume or condition is unusable, or no training subject supports the age.
    """
    known, warnings = parsed(model.conditions, conditions or {})
    if age is not None:
        model.recipe(age, known)  # refuses an unsupported age before any work
    scan = read_scan(model, images, mask, labels)
    search = partial(find_match, model, scan, conditions=known, seed=settings.seed, points=2 * settings.points)
    match = search(progress=progress.part(0.02, 0.35))
    anchored = match if age is None else search(age=age, start=match, progress=progress.part(0.35, 0.45))
    left_out = compare_left_out(model, known, progress.part(0.45, 0.5))
    estimate = AgeEstimate.of(model, match.age, left_out.errors)
    bounds = conditions_at_bounds(model, anchored.conditions, known)
    fitted = _optimise(model, scan, anchored, settings, progress.part(0.5, 0.85, "fitting"))
    atlas = model.recipe(anchored.age, anchored.conditions)
    warnings += [*bounds.values(), *_age_cautions(model, estimate, age), *atlas.warnings, *_pose_cautions(fitted.pose)]
    return _rendered(
        model,
        scan,
        fitted,
        replace(atlas, motion=fitted.recipe.motion),
        _Facts(estimate, age, anchored, match, tuple(known), tuple(bounds), left_out.residuals, warnings),
        progress.part(0.85, 1.0, "rendering"),
    )


def _optimise(
    model: TrainedAtlas, scan: SubjectScan, match: Match, settings: FitConfig, progress: Progress
) -> _Optimised:
    """Free the latents: gradient steps on latents, pose and the linear map of each image's intensities."""
    start = model.recipe(match.age, match.conditions)
    channels = [model.modalities.index(name) for name in scan.images]
    classes = list(range(len(model.modalities), len(model.modalities) + len(model.labels)))
    table = PointTable([scan.points], model.background[0])
    generator = torch.Generator().manual_seed(settings.seed)
    half_box = torch.tensor(model.box / 2, dtype=torch.float32, device=model.device)
    latents = start.latents[None].clone().requires_grad_(True)
    pose = match.pose[None].clone().requires_grad_(True)
    # Offset and factor of each image: another scanner's contrast differs at least by these.
    gain = torch.tensor([[0.0, 1.0]] * len(channels), device=model.device).requires_grad_(True)
    optimiser = torch.optim.Adam(
        [
            {"params": [latents], "lr": settings.latent_rate},
            {"params": [pose], "lr": settings.pose_rate},
            {"params": [gain], "lr": INTENSITY_RATE},
        ]
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, settings.steps)
    weights = LossWeights(segmentation=settings.segmentation_weight if scan.labelled else 0.0)
    losses = []
    for step in range(settings.steps):
        batch = table.sample(settings.points, None, settings.outside, generator)
        points = transform.apply(batch.points.to(model.device) / half_box, *transform.matrices(pose, half_box))
        decoder = model.decoder
        output = decoder(points, decoder.fold(decoder.latent_grid(latents), start.conditions[None]))[0]
        mapped = torch.cat([gain[:, 0] + gain[:, 1] * output[:, channels], output[:, classes]], dim=1)
        loss = atlas_loss(
            mapped,
            batch.intensities[0].to(model.device),
            batch.classes[0].to(model.device),
            weights,
            transforms=pose,
            latents=latents,
        )
        optimiser.zero_grad(set_to_none=True)
        loss["loss"].backward()
        optimiser.step()
        schedule.step()
        losses.append(float(loss["intensity"]))
        progress.update(step + 1, settings.steps)
    with torch.no_grad():
        linear, translation = transform.matrices(pose.detach(), half_box)
    recipe = replace(start, latents=latents.detach()[0], motion=(linear[0], translation[0]))
    last = losses[-max(len(losses) // 10, 1) :]
    return _Optimised(recipe, pose.detach()[0], gain.detach().cpu().numpy().astype(float), float(np.mean(last)))


@dataclass(frozen=True)
class _Facts:
    """Facts of a subject besides its volumes."""

    estimate: AgeEstimate
    known_age: float | None
    anchored: Match
    match: Match
    given: tuple[str, ...]
    at_bounds: tuple[str, ...]
    residuals: np.ndarray
    warnings: list[str]


def _rendered(
    model: TrainedAtlas, scan: SubjectScan, fitted: _Optimised, atlas: Recipe, facts: _Facts, progress: Progress
) -> FittedBrain:
    """Decode the brain's voxels twice, fitted and atlas, and put them into the scan's grid."""
    voxels = np.argwhere(scan.mask.array)
    points = torch.from_numpy((scan.points.world(voxels) / (model.box / 2)).astype(np.float32))
    own = model.decode_points(fitted.recipe, points, progress.part(0, 0.5))
    norm = model.decode_points(atlas, points, progress.part(0.5, 1))
    where = tuple(voxels.T)
    split = len(model.modalities)

    def volume(values: np.ndarray) -> Volume:
        array = np.zeros(scan.mask.shape, values.dtype)
        array[where] = values
        return scan.restored(scan.mask.with_array(array))

    reconstruction, rendered_atlas, deviation, intensity = {}, {}, {}, {}
    for channel, name in enumerate(model.modalities):
        if name in scan.images:
            index = list(scan.images).index(name)
            low, width = scan.points.scaling[index]
            offset = low + width * fitted.gain[index, 0]
            factor = width * fitted.gain[index, 1]
            values = scan.images[name].array[where].astype(np.float32)
            deviation[name] = volume(((values - (offset + factor * norm[:, channel])) / width).astype(np.float32))
            intensity[name] = (float(offset), float(factor))
        else:
            offset, factor = 0.0, 1.0
        reconstruction[name] = volume((offset + factor * own[:, channel]).astype(np.float32))
        rendered_atlas[name] = volume((offset + factor * norm[:, channel]).astype(np.float32))
    labels = volume(model.label_values(own[:, split:].argmax(1)))
    age = facts.known_age if facts.known_age is not None else facts.estimate.value
    conditions = facts.anchored.conditions
    tissues = tissue_deviations(model, tissue_volumes(model, labels), age, conditions)
    outside = outside_population(facts.match.residual, facts.residuals)
    if outside:
        tissues = [replace(tissue, z=None) for tissue in tissues]
    cautions = [outside, *facts.warnings] if outside else [*facts.warnings, *_roughness(tissues)]
    warnings = list(dict.fromkeys(cautions))
    return FittedBrain(
        labels,
        reconstruction,
        rendered_atlas,
        deviation,
        facts.estimate,
        facts.known_age,
        conditions,
        facts.given,
        facts.at_bounds,
        tissues,
        outside,
        _to_atlas(model, scan, fitted.recipe),
        intensity,
        fitted.recipe.latents.cpu().numpy(),
        facts.match,
        fitted.loss,
        warnings,
    )


def _to_atlas(model: TrainedAtlas, scan: SubjectScan, recipe: Recipe) -> np.ndarray:
    """Return (4, 4) scan RAS mm to atlas RAS mm from a motion in half boxes."""
    matrix = np.eye(4)
    if recipe.motion is not None:
        half = model.box / 2
        linear = recipe.motion[0].cpu().numpy().astype(float) * half[:, None] / half
        matrix[:3, :3] = linear
        matrix[:3, 3] = recipe.motion[1].cpu().numpy() * half - linear @ scan.points.centre
    return matrix


def outside_population(residual: float, residuals: np.ndarray) -> str:
    """Return a sentence where a scan differs from the atlas more than the atlas's own subjects do, else nothing.

    Parameters
    ----------
    residual:
        Mean absolute difference of the atlas from the scan in the brain, as a share of the range of intensities.
    residuals:
        (n,) those of the training subjects, each against the atlas of the others.
    """
    if not len(residuals) or residual <= residuals.max():
        return ""
    return (
        f"The scan is outside the atlas's population: the atlas differs from it by {residual:.0%} of the range of"
        f" intensities, from its own subjects by at most {residuals.max():.0%}. No z is given, and age and conditions"
        " are guesses."
    )


def conditions_at_bounds(
    model: TrainedAtlas, values: Mapping[str, float | str], known: Mapping[str, object]
) -> dict[str, str]:
    """Return a sentence for each condition that was found at an end of its trained range, by its name.

    Parameters
    ----------
    model, values:
        The atlas, and the value of each condition.
    known:
        Those that were given.
    """
    sentences = {}
    for one in model.conditions:
        value = values[one.name]
        if one.name in known or not isinstance(value, float):
            continue
        ends = {"lower": one.minimum, "upper": one.maximum}
        for side, end in ends.items():
            if abs(value - end) <= AT_BOUND * (one.maximum - one.minimum):
                sentences[one.name] = (
                    f"The best {one.name} is the {side} end of the trained range {one.describe()}:"
                    " the real value may lie beyond."
                )
    return sentences


def _age_cautions(model: TrainedAtlas, estimate: AgeEstimate, known_age: float | None) -> list[str]:
    unit = model.age_unit
    if known_age is not None:
        if estimate.low is None or estimate.high is None or estimate.low <= known_age <= estimate.high:
            return []
        return [
            f"The image looks like {estimate.value:.1f} {unit} (95 % interval {estimate.low:.1f} to"
            f" {estimate.high:.1f}), not like the {known_age:g} {unit} that were given."
        ]
    notes = []
    if estimate.at_end:
        low, high = model.age_range
        notes.append(
            f"The best age is an end of the trained range {low:g} to {high:g} {model.age_unit}: "
            "the real age may lie beyond."
        )
    if estimate.low is None:
        notes.append("The atlas has too few subjects to say how sure the age is.")
    elif estimate.n < FEW:
        notes.append(f"The interval of the age is rough: it rests on n = {estimate.n} subjects.")
    return notes


def _pose_cautions(pose: Tensor) -> list[str]:
    angle = float(np.rad2deg(np.linalg.norm(pose[:3].cpu().numpy())))
    degrees = min(angle, abs(360 - angle))  # a rotation by 185 degrees is one by 175 the other way
    if degrees <= ROTATED:
        return []
    return [f"The brain lies {degrees:.0f} degrees from where its header puts it; check the orientation."]


def _roughness(tissues: list[TissueDeviation]) -> list[str]:
    counts = {tissue.n for tissue in tissues if tissue.z is not None}
    if not counts:
        return ["The atlas does not know its subjects' volumes, or has too few: no z is given."]
    if min(counts) < FEW:
        return [f"The z values are rough: they rest on n = {min(counts)} subjects."]
    return []
