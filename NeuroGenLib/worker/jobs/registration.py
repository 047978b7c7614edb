"""Job of a registration model, and the estimate of its time."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Final

import numpy as np

from NeuroGenLib.core.config import Help, Range, from_mapping, to_mapping
from NeuroGenLib.core.errors import InputError
from NeuroGenLib.registration.config import RegisterConfig
from NeuroGenLib.registration.infer import MOST_FINE_VOXELS, RegistrationModel
from NeuroGenLib.registration.output import registration_result
from NeuroGenLib.worker.jobs.arguments import ModelArguments
from NeuroGenLib.worker.jobs.estimate import estimate_of_rate
from NeuroGenLib.worker.jobs.volumes import read_volume, recorded_paths

if TYPE_CHECKING:
    from NeuroGenLib.spatial.result import Result
    from NeuroGenLib.worker.context import Context, Job
    from NeuroGenLib.worker.jobs.estimate import Estimate

RUN: Final = "registration.run"

IMAGES: Final = ("fixed", "moving")
OPTIONAL: Final = ("fixed_labels", "moving_labels", "fixed_mask", "moving_mask")
"""Volumes of a registration beside its images."""

SECONDS_AT_FIRST: Final = 1.0
"""Seconds of a step of the optimisation on its largest grid until one was measured; on one core."""

OTHER_STEPS: Final = 40
"""Steps of the optimisation that take about as long as start, network and measuring together."""

LEAST_SHARE: Final = 0.1
"""Small images take this share of the largest grid's time at least."""


@dataclass(frozen=True, kw_only=True)
class RunArguments(ModelArguments):
    """Arguments of ``registration.run`` other than its volumes."""

    settings: RegisterConfig = field(default_factory=RegisterConfig)


@dataclass(frozen=True, kw_only=True)
class EstimateArguments(RunArguments):
    """Arguments of the estimate of ``registration.run``."""

    voxels: Annotated[int | None, Range(1), Help("Of the fixed image; a large one when not given")] = None


def facts(model: RegistrationModel) -> dict[str, Any]:
    """Return what a panel shows of a registration model: how many channels its images have, whether it needs masks."""
    return {"channels": model.channels, "needs_masks": model.preparation.masked}


def run_job(arguments: dict[str, Any], context: Context) -> Result:
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
    Result
        Of :func:`~NeuroGenLib.registration.output.registration_result`.
    """
    volumes = {name: arguments.get(name) for name in (*IMAGES, *OPTIONAL)}
    run = from_mapping(RunArguments, {name: value for name, value in arguments.items() if name not in volumes})
    for role in IMAGES:
        if volumes[role] is None:
            raise InputError(f"A registration needs a {role} image.", f"Give '{role}'.", code="value-missing")
    fixed, moving = (read_volume(volumes[role], role) for role in IMAGES)
    optional = {name: None if volumes[name] is None else read_volume(volumes[name], name) for name in OPTIONAL}
    model = context.models.get(run.model, run.device, context.progress.part(0, 0.02), RegistrationModel)
    with context.rates.measured(_key(run), _work(run, int(np.prod(fixed.shape)))):
        registration = model.register(fixed, moving, settings=run.settings, progress=context.progress, **optional)
    parameters = {**recorded_paths(volumes), **to_mapping(run)}
    del parameters["model"], parameters["device"]  # the record has both already
    return registration_result(model, registration, parameters)


def estimate(arguments: dict[str, Any], context: Context) -> Estimate:
    """``estimate`` of ``registration.run``: seconds, from registrations that have run here.

    Parameters
    ----------
    arguments:
        Of the job, without its volumes; and ``voxels`` of the fixed image.
    context:
        Of the worker.
    """
    run = from_mapping(EstimateArguments, arguments)
    return estimate_of_rate(context, _key(run), _work(run, run.voxels), SECONDS_AT_FIRST)


def _key(run: RunArguments) -> tuple[str, ...]:
    return RUN, run.model, run.device


def _work(run: RunArguments, voxels: int | None) -> float:
    """Return steps of the optimisation on its largest grid, whose voxels are two image voxels wide."""
    share = 1.0 if voxels is None else np.clip(voxels / 8 / MOST_FINE_VOXELS, LEAST_SHARE, 1)
    return float(share) * (OTHER_STEPS + run.settings.refine)


JOBS: Final[dict[str, Job]] = {RUN: run_job}
ESTIMATES: Final[dict[str, Job]] = {RUN: estimate}
