"""The losses that the published registration program's settings name, in the words of NeuroGen's settings."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from NeuroGenLib.core.config import from_mapping
from NeuroGenLib.core.errors import InputError, nearest
from NeuroGenLib.registration.config import LossConfig
from NeuroGenLib.registration.published.settings_file import TRAINING, Settings

if TYPE_CHECKING:
    from NeuroGenLib.registration.network.sizes import SITRegConfig

_LOSS = f"{TRAINING}.loss"
_SIMILARITY = {
    "LocalNormalizedCrossCorrelationLoss": "ncc",
    "MeanSquaredError": "mse",
    "MutualInformationLoss": "mutual_information",
    "MultiResolutionLocalNormalizedCrossCorrelationLoss": "multiresolution_ncc",
}
_REGULARITY = {"GradientDeformationLoss": "gradient", "NDVLoss": "ndv"}
_SEGMENTATION = {"DiceLoss": "dice"}
_ARGUMENTS: dict[str, dict[str, str]] = {
    "ncc": {"window_size": "window"},
    "mse": {},
    "mutual_information": {"num_bins": "bins"},
    "multiresolution_ncc": {
        "window_sizes_per_resolution": "windows",
        "weights_per_resolution": "weights",
        "downsampling_factors_per_resolution": "pools",
    },
    "gradient": {},
    "ndv": {"ndv_threshold": "threshold"},
    "dice": {},
}
"""Published argument of a loss -> ours."""
_FIXED: dict[str, dict[str, Any]] = {
    "ncc": {"epsilon": 1e-5},
    "mutual_information": {"sigma_ratio": 0.5, "shift": 0.0, "normalization": 1.0, "epsilon": 1e-5},
    "multiresolution_ncc": {"epsilon": 1e-5, "n_dims": 3},
    "dice": {"smooth": 1e-5},
}
"""Arguments that cannot be chosen here, with the value they have."""
_IRRELEVANT = ("separable", "separable_per_resolution", "downsampling_kernel_sizes_per_resolution")
"""``separable`` sums windows axis by axis, which is always done; kernels of the pooling equal its factors."""


def translated_losses(
    keys: Settings, shape: SITRegConfig, items: int, start_epoch: int, epoch: int, remarks: list[str]
) -> tuple[dict[str, Any], set[str]]:
    """Return the section ``losses`` of NeuroGen's settings, and which of labels and landmarks it needs.

    Parameters
    ----------
    keys:
        The published settings.
    shape:
        The network: a level beyond its stages is the last one.
    items:
        Images of a step.
    start_epoch, epoch:
        Epochs trained already; steps of an epoch.
    remarks:
        Gets a sentence on what changes.

    Raises
    ------
    InputError
        When a loss is not known or has arguments that cannot be chosen.
    """
    used = len(shape.used_stages)
    factory = str(keys.get("application.training_factory", ""))
    needs: set[str] = set()
    losses: dict[str, Any] = {
        "similarity": _terms(keys, "similarity", _SIMILARITY, used),
        "regularity": _terms(keys, "regularity", _REGULARITY, used),
    }
    if "segmentation" in factory:
        losses["segmentation"] = _terms(keys, "segmentation", _SEGMENTATION, used)
        needs.add("labels")
    if "landmark" in factory:
        losses["landmark_weight"] = keys.number(f"{_LOSS}.landmark_weight")
        needs.add("landmarks")
    _require_different_names(keys, losses)
    if items == 3:
        weights = keys.numbers(f"{_LOSS}.consistency_loss_weight_per_epoch")
        losses["consistency"] = consistency_schedule(weights, start_epoch, epoch)
        remarks.append("losses.consistency counts steps of this run, the published weights epochs of all runs.")
    losses["regularize_with_affine"] = keys.flag(f"{_LOSS}.regularize_with_affine", default=True)
    losses["ignore_mask"] = keys.flag(f"{TRAINING}.ignore_mask", default=False)
    return losses, needs


def loss_config(keys: Settings, shape: SITRegConfig) -> LossConfig:
    """Return the losses of a step with two images; see :func:`translated_losses`."""
    return from_mapping(LossConfig, translated_losses(keys, shape, 2, 0, 1, [])[0])


def consistency_schedule(weights: list[float], start_epoch: int, epoch: int) -> list[list[float]]:
    """Return [step, weight] pairs, linear between them, for weights at whole epochs.

    The published program counts a step before it looks up the weight: step s of an epoch stands at (s + 1) / steps.
    """
    place = np.arange(len(weights))
    first = start_epoch + 1 / epoch
    knots = [[0.0, round(float(np.interp(first, place, weights)), 6)]]
    knots += [[float((at - start_epoch) * epoch - 1), float(weights[at])] for at in place.tolist() if at > first]
    # Points on a straight line between their neighbours say nothing.
    kept = [
        knot
        for index, knot in enumerate(knots)
        if index in (0, len(knots) - 1) or not _straight(knots[index - 1], knot, knots[index + 1])
    ]
    return kept[:-1] if len(kept) > 1 and kept[-1][1] == kept[-2][1] else kept


def _straight(before: list[float], here: list[float], after: list[float]) -> bool:
    slope = (after[1] - before[1]) / (after[0] - before[0])
    return math.isclose(before[1] + slope * (here[0] - before[0]), here[1], rel_tol=1e-4, abs_tol=1e-9)


def _terms(keys: Settings, group: str, kinds: dict[str, str], used: int) -> dict[str, Any]:
    terms: dict[str, Any] = {}
    for level, losses in enumerate(keys.levels(f"{_LOSS}.{group}")):
        for loss in losses:
            name, term = _term(keys.file, group, loss, kinds)
            name = f"{name}_{level}" if name in terms else name
            if name in terms:
                raise InputError(
                    f"Two losses of {keys.file} are named '{name}'.",
                    "Give every loss its own name.",
                    code="value-duplicate",
                )
            terms[name] = term | {"level": min(level, used)}
    if group == "segmentation":
        for term in terms.values():
            del term["kind"]
    return terms


def _term(file: str, group: str, loss: dict[str, Any], kinds: dict[str, str]) -> tuple[str, dict[str, Any]]:
    published = str(loss.get("type", ""))
    if published not in kinds:
        raise InputError(
            f"The {group} loss '{published}' of {file} has no counterpart.",
            nearest(published, kinds),
            code="name-unknown",
        )
    kind = kinds[published]
    arguments = loss.get("args") or {}
    if not isinstance(arguments, dict):
        raise InputError(
            f"'args' of the loss '{published}' in {file} are not given by name.",
            "Correct it there.",
            code="value-invalid",
        )
    term: dict[str, Any] = {"kind": kind, "weight": loss.get("weight", 1.0)}
    for name, value in arguments.items():
        if name in _ARGUMENTS[kind]:
            term[_ARGUMENTS[kind][name]] = value
        elif name in _FIXED.get(kind, {}):
            if value != _FIXED[kind][name]:
                raise InputError(
                    f"'{name}' of the loss '{published}' in {file} is {value!r:.40}; here it is {_FIXED[kind][name]}.",
                    "Leave it out there.",
                    code="value-invalid",
                )
        elif name not in _IRRELEVANT:
            raise InputError(
                f"The loss '{published}' of {file} has no argument '{name}'.",
                "Leave it out there.",
                code="name-unknown",
            )
    name = loss.get("name", kind)
    return (name if isinstance(name, str) and name else kind), term


def _require_different_names(keys: Settings, losses: dict[str, Any]) -> None:
    names = [name for group in ("similarity", "regularity", "segmentation") for name in losses.get(group, {})]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(
            f"Two losses of {keys.file} are named '{twice[0]}'.",
            "Give every loss its own name.",
            code="value-duplicate",
        )
