"""How much each training subject counts for an atlas of a given age.

The atlas at age ``t`` is the decoder run on a weighted mean of the subjects' latents. The published weights are
Gaussian in age; their mean age is not ``t`` at the ends of the range or where ages are unevenly spread. The default is
local-linear regression (Fan & Gijbels 1996): the weights of a straight line fitted around ``t``, whose mean age is
``t`` itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from NeuroGenLib.core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

Method = Literal["local-linear", "gaussian"]

REACH = 3.0
"""A subject further than this many bandwidths from an age does not support it."""

PUBLISHED_REACH = 14.0
"""The same for the published Gaussian weights, which become 0/0 beyond it."""

LEAST_N = 0.3
"""An effective n below this is an extrapolation that no data supports."""

KEPT_N = 0.5
"""Share of the effective n that the correction for the conditions must leave."""

STIFF = 1e6
"""A ridge that leaves nothing of the correction."""

RATE_STEP = 1e-3
"""Step of the difference that gives the weights' rates, in bandwidths."""

RIDGE = 0.005
"""Shrinks the slope on the conditions (in units of the kernel's total weight, conditions running from -1 to 1)."""


@dataclass(frozen=True)
class SubjectWeights:
    """The weights of one age.

    Attributes
    ----------
    weights:
        (S,) summing to one; may be negative beyond or near the ends of the range.
    realised_age:
        Weighted mean age of the subjects; that of the published weights is not the age asked for.
    effective_n:
        1 / sum of squared weights: how many equally weighted subjects this is worth.
    """

    weights: np.ndarray
    realised_age: float
    effective_n: float


def subject_weights(
    ages: np.ndarray,
    age: float,
    bandwidth: float,
    method: Method = "local-linear",
    conditions: np.ndarray | None = None,
) -> SubjectWeights:
    """Return the weights of the subjects for one age.

    Parameters
    ----------
    ages:
        (S,) ages of the training subjects.
    age:
        The age asked for, in the same unit.
    bandwidth:
        Standard deviation of the Gaussian kernel, in the same unit. (The published ``gaussian_span`` is twice this.)
    method:
        ``local-linear``, or ``gaussian`` as published.
    conditions:
        (S, c) how far each subject's conditions, in -1..1, are from those asked for; local-linear regression then
        corrects for them as well, by a ridge slope: a subject's latents hold what its conditions do. The ridge
        (:data:`RIDGE` or more) keeps :data:`KEPT_N` of the effective n, so that nothing is extrapolated wildly.

    Raises
    ------
    InputError
        When no subject lies within :data:`REACH` bandwidths of the age (:data:`PUBLISHED_REACH` for ``gaussian``), or
        the effective n is below :data:`LEAST_N`.
    """
    ages = np.asarray(ages, float)
    reach = PUBLISHED_REACH if method == "gaussian" else REACH
    if not np.isfinite(age) or np.abs(ages - age).min() > reach * bandwidth:
        raise _unsupported(ages, age)
    kernel = gaussian_weights(ages, age, bandwidth)
    weights = kernel if method == "gaussian" else _local_linear(kernel, ages - age)
    if effective_n(weights) < LEAST_N:
        raise _unsupported(ages, age)
    if method == "local-linear" and conditions is not None:
        weights = _corrected(kernel, ages - age, np.asarray(conditions, float))
    return SubjectWeights(weights, float(weights @ ages), effective_n(weights))


def weight_rates(
    ages: np.ndarray,
    age: float,
    bandwidth: float,
    method: Method = "local-linear",
    conditions: np.ndarray | None = None,
) -> np.ndarray:
    """Return how fast each subject's weight changes with the age asked for, (S,) per unit of age; they sum to zero.

    Parameters are those of :func:`subject_weights`. The rates are central differences, since the correction's ridge is
    searched, not a formula; at the ends of the supported range they are one-sided, to the same order. Only
    subjects that count at ``age`` are used: that another one joins the nearest is a jump, not growth.

    Raises
    ------
    InputError
        As :func:`subject_weights`.
    """
    ages = np.asarray(ages, float)
    subject_weights(ages, age, bandwidth, method, conditions)
    kept = gaussian_weights(ages, age, bandwidth) > 0
    offsets = None if conditions is None else np.asarray(conditions, float)[kept]
    step = RATE_STEP * min(bandwidth, float(np.ptp(ages)) or bandwidth)

    def at(steps: int) -> np.ndarray:
        return subject_weights(ages[kept], age + steps * step, bandwidth, method, offsets).weights

    rates = np.zeros(len(ages))
    rates[kept] = _difference(at) / step
    return rates


def _difference(at: Callable[[int], np.ndarray]) -> np.ndarray:
    """Return the change a step around 0, exact for parabolas; forward or backward where one side is not supported."""
    try:
        before = at(-1)
    except InputError:
        forward: np.ndarray = (4 * at(1) - at(2) - 3 * at(0)) / 2
        return forward
    try:
        after = at(1)
    except InputError:
        backward: np.ndarray = (3 * at(0) - 4 * before + at(-2)) / 2
        return backward
    central: np.ndarray = (after - before) / 2
    return central


def effective_n(weights: np.ndarray) -> float:
    """Return how many equally weighted subjects the weights are worth: 1 / sum of squares."""
    return float(1 / np.square(weights).sum())


def gaussian_weights(ages: np.ndarray, age: float, bandwidth: float, most: int = 100) -> np.ndarray:
    """Return Gaussian weights (S,) that sum to one; only the ``most`` largest are kept (as published).

    The exponents are shifted by the largest, so that an age far from all subjects does not give 0/0.
    """
    exponent = -0.5 * np.square((np.asarray(ages, float) - age) / bandwidth)
    weights = np.exp(exponent - exponent.max())
    if len(weights) > most:
        weights[np.argsort(weights, kind="stable")[:-most]] = 0
    normalised: np.ndarray = weights / weights.sum()
    return normalised


def default_bandwidth(ages: np.ndarray, target_n: float = 4.0) -> float:
    """Return the narrowest bandwidth that gives, at half of the ages or more, an effective n of ``target_n``.

    Wider keeps less of the change with age, narrower more of the single subjects' traits. With fewer than eight
    subjects half of them are enough, but two cannot do with one: between them nothing would be supported.
    """
    ages = np.asarray(ages, float)
    span = float(np.ptp(ages)) or 1.0
    target = min(target_n, max(len(ages) / 2, 1.5))
    for bandwidth in np.geomspace(span / 200, span, 60):
        reached = [subject_weights(ages, age, bandwidth).effective_n for age in ages]
        if np.median(reached) >= target:
            return float(f"{bandwidth:.4g}")
    return span


def _unsupported(ages: np.ndarray, age: float) -> InputError:
    return InputError(
        f"No training subject supports the age {age:g}.",
        f"Ask for an age between {ages.min():g} and {ages.max():g}.",
        code="model-range",
    )


def _corrected(kernel: np.ndarray, offset: np.ndarray, conditions: np.ndarray) -> np.ndarray:
    """Return local-linear weights that correct for the conditions as far as :data:`KEPT_N` allows.

    The ridge is the smallest, from :data:`RIDGE` on, that keeps this share of the effective n.
    """
    least = KEPT_N * effective_n(_local_linear(kernel, offset))
    low, high = RIDGE, STIFF
    if effective_n(_local_linear(kernel, offset, conditions, low)) >= least:
        return _local_linear(kernel, offset, conditions, low)
    for _ in range(40):
        middle = np.sqrt(low * high)
        enough = effective_n(_local_linear(kernel, offset, conditions, middle)) >= least
        low, high = (low, middle) if enough else (middle, high)
    return _local_linear(kernel, offset, conditions, high)


def _local_linear(
    kernel: np.ndarray, offset: np.ndarray, conditions: np.ndarray | None = None, shrinkage: float = RIDGE
) -> np.ndarray:
    """Return the weights of the intercept of a kernel-weighted plane over age and, shrunk, conditions.

    Where all ages coincide the slope on age is omitted.
    """
    count = len(kernel)
    columns = [np.ones(count)]
    ridge = [0.0]
    mean = kernel @ offset
    if kernel @ np.square(offset - mean) > 1e-9:
        columns.append(offset)
        ridge.append(0.0)
    for column in np.zeros((0, count)) if conditions is None else conditions.T:
        columns.append(column)
        ridge.append(shrinkage)
    design = np.stack(columns, 1)
    normal = design.T @ (kernel[:, None] * design) + np.diag(ridge)
    first = np.zeros(len(columns))
    first[0] = 1
    return kernel * (design @ np.linalg.solve(normal, first))
