"""How far a brain can be from an atlas: in age and intensities, measured on the atlas's own subjects."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np

from NeuroGenLib.atlas.fit.age_search import Candidate, lowest, supported
from NeuroGenLib.core.progress import SILENT, Progress

if TYPE_CHECKING:
    from collections.abc import Iterable

    from NeuroGenLib.atlas.trained import TrainedAtlas

MOST_SUBJECTS = 40
"""More do not make the spread of the errors much better known."""

POINTS = 6000
STEPS = 13
REACH = 3.0
"""Ages are tried within this many bandwidths of a subject's own."""

FEW = 20
"""Numbers from fewer subjects are called rough."""

LEAST_SUBJECTS = 4

_measured: WeakKeyDictionary[TrainedAtlas, dict[frozenset[str], LeaveOneOut]] = WeakKeyDictionary()
"""Measured before: an evaluation fits one atlas to many subjects."""


@dataclass(frozen=True)
class AgeEstimate:
    """An age with its interval.

    Attributes
    ----------
    value:
        In the model's unit.
    low, high:
        95 % prediction interval; None where the atlas has too few subjects to tell.
    n:
        Training subjects whose errors it comes from.
    at_end:
        The best age is an end of the trained range: the real one may lie beyond.
    """

    value: float
    low: float | None
    high: float | None
    n: int
    at_end: bool

    @classmethod
    def of(cls, model: TrainedAtlas, value: float, errors: np.ndarray) -> AgeEstimate:
        """Return the estimate with the interval that leave-one-out errors give: Student's t times their RMS."""
        from scipy.stats import t

        ends = model.age_range
        at_end = min(abs(value - end) for end in ends) < 1e-3 * (ends[1] - ends[0])
        if len(errors) < LEAST_SUBJECTS:
            return cls(value, None, None, len(errors), at_end)
        count = len(errors)
        half = float(t.ppf(0.975, count - 1) * np.sqrt(np.mean(np.square(errors)) * (1 + 1 / count)))
        return cls(value, value - half, value + half, count, at_end)


@dataclass(frozen=True)
class LeaveOneOut:
    """Training subjects compared with the atlas of all others.

    Attributes
    ----------
    errors:
        (n,) age at which the atlas is most similar, less the true one; n is at most :data:`MOST_SUBJECTS`, and a
        subject that the others do not reach is skipped.
    residuals:
        (n,) mean absolute difference of the intensities in the brain at that age, as a share of their range.
    """

    errors: np.ndarray
    residuals: np.ndarray


def compare_left_out(model: TrainedAtlas, known: Iterable[str] = (), progress: Progress = SILENT) -> LeaveOneOut:
    """Compare each training subject with the atlas of all others.

    Each subject is rendered from its own latents and compared with the atlas of all others at random points.

    Parameters
    ----------
    model:
        The atlas.
    known:
        Conditions whose true value the comparison uses; the others take the typical value at the age tried.
    progress:
        Progress callback.
    """
    names = frozenset(known)
    if names not in _measured.setdefault(model, {}):
        _measured[model][names] = _left_out(model, names, progress)
    return _measured[model][names]


def _left_out(model: TrainedAtlas, known: frozenset[str], progress: Progress) -> LeaveOneOut:
    rows = np.argsort(model.ages, kind="stable")
    if len(rows) > MOST_SUBJECTS:
        rows = rows[np.linspace(0, len(rows) - 1, MOST_SUBJECTS).round().astype(int)]
    if len(model.ages) < LEAST_SUBJECTS:
        return LeaveOneOut(np.zeros(0), np.zeros(0))
    pairs = [_compared(model, int(row), known) for row in progress.track(rows.tolist(), "how sure the age is")]
    measured = np.array([pair for pair in pairs if pair is not None]).reshape(-1, 2)
    measured.flags.writeable = False  # it is kept
    return LeaveOneOut(measured[:, 0], measured[:, 1])


def _compared(model: TrainedAtlas, row: int, known: frozenset[str]) -> tuple[float, float] | None:
    """Return the error of the age and the least residual in the brain of one subject."""
    import torch

    others = model.without(row)
    own = model.subjects[row]
    true = float(own["age"])
    fixed = {name: own["conditions"][name] for name in known}
    ages = np.linspace(true - REACH * model.bandwidth, true + REACH * model.bandwidth, STEPS)
    low, high = others.age_range
    candidates = [Candidate(float(age), others.typical_conditions(age) | fixed) for age in ages if low <= age <= high]
    recipes = supported(others, candidates)
    if len(recipes) < 3:
        return None
    points = torch.rand(POINTS, 3, generator=torch.Generator().manual_seed(row)) * 2 - 1
    split = len(model.modalities)
    own_brain = model.decode_points(replace(model.subject_recipe(row), motion=None), points)
    inside = ~np.isin(own_brain[:, split:].argmax(1), model.background)
    differences = [np.abs(others.decode_points(one, points)[:, :split] - own_brain[:, :split]) for one in recipes]
    losses = np.array([float(difference.mean()) for difference in differences])
    residual = min(float(difference[inside].mean()) for difference in differences)
    return lowest(np.array([one.age for one in recipes]), losses) - true, residual
