"""A subject's tissue volumes against those of the atlas's own subjects at its age and conditions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from NeuroGenLib.atlas.conditions import encode_all
from NeuroGenLib.atlas.growth.volumes import subject_volume

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.figure import Figure

    from NeuroGenLib.atlas.trained import TrainedAtlas

QUADRATIC_FROM = 8
"""Subjects per further column of the regression from which on age enters squared as well."""

SPARE = 3
"""Subjects that a regression needs beyond its columns."""

LEAST_SPREAD = 1e-6
"""Of log volume: less is rounding, and nothing to compare a subject with."""


@dataclass(frozen=True)
class VolumeNorm:
    """Regression of log volume on age (up to its square) and conditions over the training subjects.

    Attributes
    ----------
    coefficients:
        Of the columns that :func:`_design` makes.
    spread:
        Root mean square of the leave-one-out residuals of log volume.
    centre, scale:
        Mean and standard deviation of age, which the columns are made with.
    squared:
        Whether age enters squared.
    n:
        Training subjects.
    """

    coefficients: np.ndarray
    spread: float
    centre: float
    scale: float
    squared: bool
    n: int

    @classmethod
    def fit(cls, ages: np.ndarray, conditions: np.ndarray, volumes: np.ndarray) -> VolumeNorm | None:
        """Fit the regression; None where there are too few subjects.

        Parameters
        ----------
        ages:
            (S,).
        conditions:
            (S, c), in -1..1.
        volumes:
            (S,) ml; subjects without this tissue (0) do not count.
        """
        present = volumes > 0
        ages, conditions, log = ages[present], conditions[present], np.log(volumes[present])
        count, width = len(ages), conditions.shape[1]
        if count < 2 + width + SPARE:
            return None
        squared = count >= QUADRATIC_FROM + width
        centre, scale = float(ages.mean()), float(ages.std()) or 1.0
        design = _design((ages - centre) / scale, conditions, squared=squared)
        inverse = np.linalg.pinv(design)
        coefficients = inverse @ log
        leverage = np.einsum("ij,ji->i", design, inverse).clip(max=1 - 1e-9)
        residuals = (log - design @ coefficients) / (1 - leverage)
        return cls(coefficients, float(np.sqrt(np.mean(residuals**2))), centre, scale, squared, count)

    def expected(self, age: float, conditions: np.ndarray) -> float:
        """Return the volume in ml that subjects of this age and conditions have (their geometric mean)."""
        row = _design(np.array([(age - self.centre) / self.scale]), conditions[None], squared=self.squared)
        return float(np.exp(row @ self.coefficients)[0])

    def z(self, volume: float, age: float, conditions: np.ndarray) -> float | None:
        """Return the residual of log volume over the spread of the leave-one-out residuals, None if either is 0."""
        if volume <= 0 or self.spread < LEAST_SPREAD:
            return None
        return float((np.log(volume) - np.log(self.expected(age, conditions))) / self.spread)


@dataclass(frozen=True)
class TissueDeviation:
    """One tissue of a subject; ``expected_ml`` and ``z`` are None where the atlas cannot tell."""

    name: str
    volume_ml: float
    expected_ml: float | None
    z: float | None
    n: int


def tissue_deviations(
    model: TrainedAtlas, volumes: Mapping[str, float], age: float, conditions: Mapping[str, object]
) -> list[TissueDeviation]:
    """Compare tissue volumes (ml, by name, with ``total``) with those of the model's subjects.

    Parameters
    ----------
    model:
        The atlas; models without recorded volumes give no expectation.
    volumes:
        From :func:`NeuroGenLib.atlas.growth.volumes.tissue_volumes`.
    age, conditions:
        The subject's, in the units of the model's table.
    """
    position = _relative(model, conditions)
    found = []
    for name, volume in volumes.items():
        norm = volume_norm(model, name)
        if norm is None:
            found.append(TissueDeviation(name, volume, None, None, 0))
        else:
            z = norm.z(volume, age, position)
            found.append(TissueDeviation(name, volume, norm.expected(age, position), z, norm.n))
    return found


def volume_norm(model: TrainedAtlas, name: str) -> VolumeNorm | None:
    """Return the regression of one tissue (or ``total``) over the model's subjects, if it knows their volumes."""
    rows = [(subject, subject_volume(subject, name)) for subject in model.subjects]
    known = [(subject, volume) for subject, volume in rows if volume is not None]
    if not known:
        return None
    ages = np.array([subject["age"] for subject, _ in known], float)
    conditions = np.stack([_relative(model, subject["conditions"]) for subject, _ in known])
    return VolumeNorm.fit(ages, conditions, np.array([volume for _, volume in known], float))


def deviation_figure(
    model: TrainedAtlas, tissues: list[TissueDeviation], age: float, conditions: Mapping[str, object]
) -> Figure:
    """Draw each tissue's volume against age: training subjects, expectation with +-2 SD, and the subject's dot."""
    from matplotlib.figure import Figure

    position = _relative(model, conditions)
    low, high = model.age_range
    ages = np.linspace(min(low, age), max(high, age), 60)
    columns = 3
    rows = -(-len(tissues) // columns)
    figure = Figure(figsize=(11, 2.6 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis, tissue in zip(axes.flat, tissues, strict=False):
        _plot_tissue(axis, model, tissue, age, ages, position)
    for axis in axes.flat[len(tissues) :]:
        axis.set_axis_off()
    figure.supxlabel(f"{model.age_name.replace('_', ' ')} ({model.age_unit})", fontsize=10)
    figure.supylabel("volume (ml)", fontsize=10)
    axes.flat[0].legend(fontsize=7, frameon=False)
    return figure


def _plot_tissue(
    axis: object, model: TrainedAtlas, tissue: TissueDeviation, age: float, ages: np.ndarray, position: np.ndarray
) -> None:
    plot = axis.plot  # type: ignore[attr-defined]
    dots = [(subject["age"], subject_volume(subject, tissue.name)) for subject in model.subjects]
    known = [(own, volume) for own, volume in dots if volume is not None]
    if known:
        plot(*zip(*known, strict=True), "o", color="0.65", markersize=4, label=f"training subjects (n = {len(known)})")
    norm = volume_norm(model, tissue.name)
    if norm is not None:
        middle = np.array([norm.expected(one, position) for one in ages])
        plot(ages, middle, color="#31688e", label="expected")
        band = np.exp(2 * norm.spread)
        axis.fill_between(ages, middle / band, middle * band, color="#31688e", alpha=0.15, linewidth=0)  # type: ignore[attr-defined]
    plot([age], [tissue.volume_ml], "D", color="#d1495b", markersize=7, label="this subject")
    z = "" if tissue.z is None else f"  (z = {tissue.z:+.1f})"
    axis.set_title(f"{tissue.name.replace('_', ' ')}{z}", fontsize=10)  # type: ignore[attr-defined]
    axis.spines[["top", "right"]].set_visible(False)  # type: ignore[attr-defined]
    axis.set_ylim(bottom=0)  # type: ignore[attr-defined]


def _relative(model: TrainedAtlas, conditions: Mapping[str, object]) -> np.ndarray:
    """Return the conditions as (c,) numbers in -1..1."""
    if not model.conditions:
        return np.zeros(0)
    scale = np.concatenate([np.full(one.width, one.scale) for one in model.conditions])
    scaled: np.ndarray = encode_all(model.conditions, conditions) / scale
    return scaled


def _design(age: np.ndarray, conditions: np.ndarray, *, squared: bool) -> np.ndarray:
    columns = [np.ones(len(age)), age, *([age**2] if squared else []), *conditions.T]
    return np.stack(columns, 1)
