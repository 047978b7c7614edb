"""Search of the age, conditions and pose at which an atlas is most similar to a scan.

The atlas itself is compared, not a free reconstruction: candidates of (age, conditions) are decoded at the scan's
points, moved by a pose, and scored by the mean absolute difference of the intensities (and of the labels' cross
entropy, where a label map was given).
"""

from __future__ import annotations

import itertools
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from NeuroGenLib.atlas import transform
from NeuroGenLib.atlas.data.points import PointTable
from NeuroGenLib.core.errors import InputError
from NeuroGenLib.core.progress import SILENT, Progress

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from NeuroGenLib.atlas.data.points import PointBatch
    from NeuroGenLib.atlas.fit.scan import SubjectScan
    from NeuroGenLib.atlas.trained import Recipe, TrainedAtlas

POSE_RATE = 0.03
LABEL_WEIGHT = 0.2
"""Of the cross entropy beside the absolute difference, in the search."""

COARSE_AGES = 9
STARTS = 6
"""Poses and ages that go from the coarse search into the refinement."""

UPRIGHT_BONUS = 0.9
"""Another orientation than the header's must fit this much better."""

PROFILE = 25
"""Ages over the trained range at which the fit is recorded."""

TILT = np.deg2rad(25.0)


@dataclass(frozen=True)
class Candidate:
    """An age, in the model's unit, and a value for each of its conditions, in table units."""

    age: float
    conditions: dict[str, float | str]


@dataclass(frozen=True)
class Match:
    """The best candidate.

    Attributes
    ----------
    age, conditions:
        Of the best candidate.
    pose:
        (P,) parameters of :func:`NeuroGenLib.atlas.transform.matrices`, rotation vector: scan to atlas.
    loss:
        Its score.
    residual:
        Mean absolute difference of its intensities in the brain, as a share of their range.
    ages, losses:
        The score over the trained range, all else as in the best candidate.
    """

    age: float
    conditions: dict[str, float | str]
    pose: Tensor
    loss: float
    residual: float
    ages: np.ndarray
    losses: np.ndarray


class Matcher:
    """Scores candidates against one scan.

    Parameters
    ----------
    model:
        The atlas.
    scan:
        The prepared subject.
    seed:
        Draws the points.
    points:
        Points of a score; the refinement of a pose samples a quarter of them each step.
    """

    def __init__(self, model: TrainedAtlas, scan: SubjectScan, seed: int, points: int) -> None:
        self._model = model
        self._channels = [model.modalities.index(name) for name in scan.images]
        self._labelled = scan.labelled
        self._table = PointTable([scan.points], model.background[0])
        self._generator = torch.Generator().manual_seed(seed)
        self._points = points
        self._sample = self._table.sample(points, None, 0.05, self._generator)
        self._half_box = torch.tensor(model.box / 2, dtype=torch.float32, device=model.device)

    def losses(self, recipes: Sequence[Recipe], poses: Tensor) -> np.ndarray:
        """Return the score (n,) of brains, each at its pose (n, P)."""
        with torch.no_grad():
            parts = [
                self._scores(_stacked([one]), pose[None], self._sample)
                for one, pose in zip(recipes, poses, strict=True)
            ]
        return torch.cat(parts).cpu().numpy().astype(float)

    def residual(self, recipe: Recipe, pose: Tensor) -> float:
        """Return the mean absolute difference of the intensities in the brain, for a brain at a pose (P,)."""
        batch = self._sample
        with torch.no_grad():
            output = self._outputs(_stacked([recipe]), pose[None], batch)
        difference = (output[..., self._channels] - batch.intensities.to(output)).abs()[0]
        return float(difference[batch.classes[0].to(output.device) != self._model.background[0]].mean())

    def rotations(self, recipes: Sequence[Recipe], vectors: np.ndarray, columns: int) -> np.ndarray:
        """Return the score of each brain at each rotation vector (n, 3), centres matched: (brains, n)."""
        few = self._table.sample(self._points // 8, None, 0.05, self._generator)
        poses = torch.zeros(len(vectors), columns, device=self._model.device)
        poses[:, :3] = torch.from_numpy(vectors).to(poses)
        with torch.no_grad():
            rows = [
                self._scores(tuple(one.expand(len(vectors), *one.shape[1:]) for one in _stacked([each])), poses, few)
                for each in recipes
            ]
        return torch.stack(rows).cpu().numpy().astype(float)

    def refined(self, recipes: Sequence[Recipe], poses: Tensor, steps: int, rate: float = POSE_RATE) -> Tensor:
        """Return the poses (n, P) after gradient steps, all brains at once."""
        latents = _stacked(recipes)
        moved = poses.detach().clone().requires_grad_(True)
        optimiser = torch.optim.Adam([moved], lr=rate)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps, 0.05 * rate)
        for _ in range(steps):
            batch = self._table.sample(self._points // 4, None, 0.05, self._generator)
            optimiser.zero_grad(set_to_none=True)
            self._scores(latents, moved, batch).sum().backward()
            optimiser.step()
            schedule.step()
        return moved.detach()

    def _scores(self, latents: tuple[Tensor, ...], poses: Tensor, batch: PointBatch) -> Tensor:
        """Return (n,) scores of n latent grids and conditions at n poses."""
        output = self._outputs(latents, poses, batch)
        difference = output[..., self._channels] - batch.intensities.to(output)
        score: Tensor = difference.abs().mean((1, 2))
        if self._labelled:
            classes = batch.classes.to(output.device).expand(len(poses), -1)
            logits = output[..., len(self._model.modalities) :].transpose(1, 2)
            score = score + LABEL_WEIGHT * cross_entropy(logits, classes, reduction="none").mean(1)
        return score

    def _outputs(self, latents: tuple[Tensor, ...], poses: Tensor, batch: PointBatch) -> Tensor:
        """Return (n, points, outputs) of n latent grids and conditions at n poses."""
        grids, conditions = latents
        decoder = self._model.decoder
        tables = decoder.fold(decoder.latent_grid(grids), conditions)
        points = (batch.points.to(self._model.device) / self._half_box).expand(len(poses), -1, -1)
        output: Tensor = decoder(transform.apply(points, *transform.matrices(poses, self._half_box)), tables)
        return output


def _stacked(recipes: Sequence[Recipe]) -> tuple[Tensor, Tensor]:
    return torch.stack([one.latents for one in recipes]), torch.stack([one.conditions for one in recipes])


def find_match(
    model: TrainedAtlas,
    scan: SubjectScan,
    *,
    age: float | None = None,
    conditions: Mapping[str, float | str] | None = None,
    start: Match | None = None,
    seed: int = 0,
    points: int = 8000,
    progress: Progress = SILENT,
) -> Match:
    """Search age, conditions and pose.

    Parameters
    ----------
    model, scan:
        The atlas and the prepared subject.
    age:
        In the model's unit where it is known; else it is searched over the trained range.
    conditions:
        Those that are known, in table units; the others are searched.
    start:
        An earlier match of the same scan, whose pose is near enough; else all orientations are tried.
    seed:
        Draws the points.
    points:
        Points of a score.
    progress:
        Progress callback; cancels between the rounds.

    Raises
    ------
    InputError
        When no training subject supports a known age or condition.
    """
    given = dict(conditions or {})
    matcher = Matcher(model, scan, seed, points)
    if start is None:
        candidate, pose = _start(model, matcher, age, given, progress.part(0, 0.5))
    else:
        candidate, pose = Candidate(start.age if age is None else age, {**start.conditions, **given}), start.pose
    searched = [one for one in model.conditions if one.name not in given]
    for rounds in range(3 if searched else 2):
        progress.update(0.5 + 0.15 * rounds, 1, "age, conditions and pose")
        span = 2.0 / (rounds + 1) if age is None else None
        if span is not None:
            candidate = _best_age(model, matcher, candidate, pose, span)
        for condition in searched:
            candidate = _best_condition(model, matcher, candidate, pose, condition.name, span)
        best = model.recipe(candidate.age, candidate.conditions)
        pose = matcher.refined([best], pose[None], 40, POSE_RATE / (2 + 2 * rounds))[0]
    if age is None:
        candidate = _best_age(model, matcher, candidate, pose, span=0.7)
    ages = np.linspace(*model.age_range, PROFILE)
    shown = supported(model, [replace(candidate, age=float(one)) for one in ages])
    losses = matcher.losses(shown, pose.expand(len(shown), -1))
    progress.update(1, 1)
    best = model.recipe(candidate.age, candidate.conditions)
    loss = float(matcher.losses([best], pose[None])[0])
    residual = matcher.residual(best, pose)
    ages = np.array([one.age for one in shown])
    return Match(candidate.age, candidate.conditions, pose, loss, residual, ages, losses)


def supported(model: TrainedAtlas, candidates: Sequence[Candidate]) -> list[Recipe]:
    """Return the recipes of the candidates that the atlas supports."""
    recipes = []
    for one in candidates:
        with suppress(InputError):
            recipes.append(model.recipe(one.age, one.conditions))
    return recipes


def lowest(values: np.ndarray, losses: np.ndarray) -> float:
    """Return where the parabola through the lowest loss and its neighbours is lowest; an end stays an end.

    Parameters
    ----------
    values:
        (n,) ascending.
    losses:
        (n,) finite.
    """
    index = int(np.argmin(losses))
    if index in (0, len(values) - 1):
        return float(values[index])
    near = slice(index - 1, index + 2)
    second, first, _ = np.polyfit(values[near] - values[index], losses[near], 2)
    if second <= 0:
        return float(values[index])
    return float(np.clip(values[index] - first / (2 * second), values[index - 1], values[index + 1]))


def _start(
    model: TrainedAtlas, matcher: Matcher, age: float | None, given: Mapping[str, float | str], progress: Progress
) -> tuple[Candidate, Tensor]:
    """Try ages and orientations, refine the best few, return the best."""
    ages = [age] if age is not None else np.linspace(*model.age_range, COARSE_AGES).tolist()
    coarse = [Candidate(one, {**model.typical_conditions(one), **given}) for one in ages]
    recipes = supported(model, coarse) if age is None else [model.recipe(age, coarse[0].conditions)]
    columns = max(6, model.pose_columns)
    vectors = start_rotations()
    progress.update(0, 1, "looking for the brain's age and pose")
    scores = matcher.rotations(recipes, vectors, columns)
    # The header is usually right about the orientation: three ages of it are always tried.
    chosen = [(int(row), 0) for row in np.argsort(scores[:, 0])[:3]]
    for flat in np.argsort(scores, axis=None)[: 2 * STARTS]:
        row, column = (int(part) for part in np.unravel_index(flat, scores.shape))
        if (row, column) not in chosen and len(chosen) < STARTS + 2:
            chosen.append((row, column))
    poses = torch.zeros(len(chosen), columns, device=model.device)
    poses[:, :3] = torch.from_numpy(vectors[[column for _, column in chosen]]).to(poses)
    started = [recipes[row] for row, _ in chosen]
    progress.update(0.2, 1)
    poses = matcher.refined(started, poses, 30, 2 * POSE_RATE)
    losses = matcher.losses(started, poses)
    upright = np.array([column == 0 for _, column in chosen])
    best = int(np.argmin(np.where(upright, UPRIGHT_BONUS * losses, losses)))
    progress.update(1, 1)
    return Candidate(started[best].age, started[best].values), poses[best]


def start_rotations() -> np.ndarray:
    """Return rotation vectors (n, 3) to start from: none, the other 23 of a cube, and tilts about each axis."""
    from scipy.spatial.transform import Rotation

    cube = []
    for order in itertools.permutations(range(3)):
        for signs in itertools.product((1, -1), repeat=3):
            matrix = np.eye(3)[list(order)] * signs
            if np.linalg.det(matrix) > 0:
                cube.append(Rotation.from_matrix(matrix).as_rotvec())
    cube.sort(key=lambda vector: float(np.linalg.norm(vector)))
    tilts = [sign * TILT * axis for axis in np.eye(3) for sign in (1, -1)]
    return np.array([*cube[:1], *tilts, *cube[1:]], np.float32)


def _best_age(model: TrainedAtlas, matcher: Matcher, best: Candidate, pose: Tensor, span: float) -> Candidate:
    """Return the candidate at its best age within ``span`` bandwidths, or half the coarse step where that is wider."""
    low, high = model.age_range
    reach = span * max(model.bandwidth, (high - low) / COARSE_AGES)
    ages = np.unique(np.clip(np.linspace(best.age - reach, best.age + reach, 9), low, high))
    return _along(matcher, model, [replace(best, age=float(age)) for age in ages], pose, lambda one: one.age,
                  lambda value: replace(best, age=value))  # fmt: skip


def _best_condition(
    model: TrainedAtlas, matcher: Matcher, best: Candidate, pose: Tensor, name: str, span: float | None
) -> Candidate:
    """Return the candidate with its best value of one condition; its age moves by ``span`` (None where it is known)."""
    condition = next(one for one in model.conditions if one.name == name)

    def changed(value: float | str) -> Candidate:
        return replace(best, conditions={**best.conditions, name: value})

    if condition.kind == "categoric":
        # Each word at its own best age: a group that is bigger at one age looks like another at a later one.
        words = [one for one in map(changed, condition.values) if supported(model, [one])]
        if span is not None:
            words = [_best_age(model, matcher, one, pose, span) for one in words]
        recipes = [model.recipe(one.age, one.conditions) for one in words]
        losses = matcher.losses(recipes, pose.expand(len(recipes), -1))
        return words[int(np.argmin(losses))]
    values = np.linspace(condition.minimum, condition.maximum, 9)
    return _along(matcher, model, [changed(float(value)) for value in values], pose,
                  lambda one: condition.number(one.values[name]), changed)  # fmt: skip


def _along(
    matcher: Matcher,
    model: TrainedAtlas,
    candidates: Sequence[Candidate],
    pose: Tensor,
    value_of: Callable[[Recipe], float],
    with_value: Callable[[float], Candidate],
) -> Candidate:
    """Return the candidate at the lowest point of a line of candidates."""
    recipes = supported(model, candidates)
    values = np.array([value_of(one) for one in recipes])
    losses = matcher.losses(recipes, pose.expand(len(recipes), -1))
    best = with_value(lowest(values, losses))
    # Between two ages that are supported there may be one that is not.
    return best if supported(model, [best]) else with_value(float(values[np.argmin(losses)]))
