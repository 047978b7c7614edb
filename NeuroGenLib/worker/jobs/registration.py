"""The job of a registration model: one image registered to another; and what that will take."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Final

import numpy as np

from NeuroGenLib.alignment.prepared_image import first_channel
from NeuroGenLib.core.config import Help, Range, from_mapping, to_mapping
from NeuroGenLib.core.errors import InputError
from NeuroGenLib.registration.config import RegisterConfig
from NeuroGenLib.registration.infer import MOST_FINE_VOXELS, RegistrationModel
from NeuroGenLib.registration.output import quality_rows, summary
from NeuroGenLib.worker.jobs.arguments import ModelArguments
from NeuroGenLib.worker.jobs.estimate import estimate_of_rate
from NeuroGenLib.worker.jobs.volumes import given_paths, given_volume

if TYPE_CHECKING:
    from NeuroGenLib.spatial.spatial_map import SpatialMap
    from NeuroGenLib.worker.context import Context, Job
    from NeuroGenLib.worker.jobs.estimate import Estimate

RUN: Final = "registration.run"

IMAGES: Final = ("fixed", "moving")
OPTIONAL: Final = ("fixed_labels", "moving_labels", "fixed_mask", "moving_mask")
"""Volumes of a registration beside its images."""

SECONDS_AT_FIRST: Final = 1.0
"""What a step of the optimisation takes on its largest grid where none was measured yet: on one core."""

OTHER_STEPS: Final = 40
"""Start, network and measuring take about as long as so many steps of the optimisation."""

LEAST_SHARE: Final = 0.1
"""Small images take this share of the largest grid's time at least."""


@dataclass(frozen=True, kw_only=True)
class RunArguments(ModelArguments):
    """Of ``registration.run``, but for its volumes."""

    settings: RegisterConfig = field(default_factory=RegisterConfig)


@dataclass(frozen=True, kw_only=True)
class EstimateArguments(RunArguments):
    """Of the estimate of ``registration.run``."""

    voxels: Annotated[int | None, Range(1), Help("Of the fixed image; a large one when not given")] = None


def facts(model: RegistrationModel) -> dict[str, Any]:
    """Return what a panel shows of a registration model: how many channels its images have, whether it needs masks."""
    return {"channels": model.channels, "needs_masks": bool(model.preparation.get("masked"))}


def run_job(arguments: dict[str, Any], context: Context) -> dict[str, Any]:
    """``registration.run``: the moving image registered to the fixed one.

    Parameters
    ----------
    arguments:
        ``model``, ``device``; ``fixed`` and ``moving``, and where there are any ``fixed_labels``, ``moving_labels``,
        ``fixed_mask`` and ``moving_mask``, each a volume or the path of a file; ``settings`` as
        :class:`~NeuroGenLib.registration.config.RegisterConfig`.
    context:
        Of the worker.

    Returns
    -------
    dict
        ``forward`` (fixed to moving points) and ``inverse``, each with ``before`` and ``after``, (4, 4) RAS mm, and
        ``field``, (3, i, j, k) in RAS mm, as :class:`~NeuroGenLib.spatial.spatial_map.SpatialMap`; ``warped``,
        ``warped_labels`` (None without labels) and ``jacobian`` on the grid of the fixed image; ``quality`` as
        ``quality.json`` has it, ``quality_rows`` as ``quality.tsv``; ``warnings``, ``notice``; ``provenance``.
    """
    sent = {name: arguments.get(name) for name in (*IMAGES, *OPTIONAL)}
    given = {name: value for name, value in arguments.items() if name not in sent}
    wanted = from_mapping(RunArguments, given)
    for role in IMAGES:
        if sent[role] is None:
            raise InputError(f"A registration needs a {role} image.", f"Give '{role}'.")
    fixed, moving = (given_volume(sent[role], role) for role in IMAGES)
    others = {name: None if sent[name] is None else given_volume(sent[name], name) for name in OPTIONAL}
    model = context.models.get(wanted.model, wanted.device, context.progress.part(0, 0.02), RegistrationModel)
    with context.rates.measured(_key(wanted), _work(wanted, int(np.prod(fixed.shape)))):
        found = model.register(
            fixed,
            moving,
            settings=wanted.settings,
            progress=context.progress,
            **others,
        )
    parameters = {**given_paths(sent), **to_mapping(wanted)}
    return {
        "forward": _sent_map(found.forward),
        "inverse": _sent_map(found.inverse),
        "warped": first_channel(found.warped),
        "warped_labels": found.warped_labels,
        "jacobian": found.jacobian,
        "quality": summary(found),
        "quality_rows": quality_rows(found.quality),
        "warnings": found.warnings,
        "notice": model.notice,
        "provenance": model.provenance(
            "registration run",
            {name: value for name, value in parameters.items() if name not in ("model", "device")},
            found.warnings,
        ),
    }


def estimate(arguments: dict[str, Any], context: Context) -> Estimate:
    """``estimate`` of ``registration.run``: seconds, from registrations that have run here.

    Parameters
    ----------
    arguments:
        Of the job, without its volumes; and ``voxels`` of the fixed image.
    context:
        Of the worker.
    """
    wanted = from_mapping(EstimateArguments, arguments)
    return estimate_of_rate(context, _key(wanted), _work(wanted, wanted.voxels), SECONDS_AT_FIRST)


def _key(wanted: RunArguments) -> tuple[str, ...]:
    return RUN, wanted.model, wanted.device


def _work(wanted: RunArguments, voxels: int | None) -> float:
    """Return steps of the optimisation on its largest grid, whose voxels are two image voxels wide."""
    share = 1.0 if voxels is None else np.clip(voxels / 8 / MOST_FINE_VOXELS, LEAST_SHARE, 1)
    return float(share) * (OTHER_STEPS + wanted.settings.refine)


def _sent_map(one: SpatialMap) -> dict[str, Any]:
    return {"before": one.before.tolist(), "field": one.field, "after": one.after.tolist()}


JOBS: Final[dict[str, Job]] = {RUN: run_job}
ESTIMATES: Final[dict[str, Job]] = {RUN: estimate}
