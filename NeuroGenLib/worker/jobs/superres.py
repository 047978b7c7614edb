"""Job of a super-resolution model, and the estimate of its time."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Final

from NeuroGenLib.core.config import Help, Range, from_mapping, to_mapping
from NeuroGenLib.core.errors import InputError
from NeuroGenLib.spatial.result import Result
from NeuroGenLib.superres.infer import SuperresModel
from NeuroGenLib.superres.output import superres_result
from NeuroGenLib.superres.run_config import SuperresConfig
from NeuroGenLib.superres.stacks.preprocessing import AlreadyIsotropic
from NeuroGenLib.superres.stacks.slice_geometry import slice_geometry
from NeuroGenLib.worker.jobs.arguments import ModelArguments
from NeuroGenLib.worker.jobs.estimate import estimate_of_rate
from NeuroGenLib.worker.jobs.volumes import read_volume, recorded_paths

if TYPE_CHECKING:
    from NeuroGenLib.spatial.volume import Volume
    from NeuroGenLib.worker.context import Context, Job
    from NeuroGenLib.worker.jobs.estimate import Estimate

RUN: Final = "superres.run"

USUAL_VOXELS: Final = 6_000_000
"""Voxels of a head at 1 mm, for an estimate without a scan."""

SECONDS_AT_FIRST: Final = 1e-5
"""Seconds per voxel of the result until one was measured."""

ALIGNMENT_VOXELS: Final = 1_500_000
"""Voxels of the result that take about as long as the alignment of a guide or a further scan."""


@dataclass(frozen=True, kw_only=True)
class RunArguments(ModelArguments):
    """Arguments of ``superres.run`` other than its volumes."""

    settings: SuperresConfig = field(default_factory=SuperresConfig)


@dataclass(frozen=True, kw_only=True)
class EstimateArguments(RunArguments):
    """Arguments of the estimate of ``superres.run``."""

    voxels: Annotated[int, Range(1), Help("Of the result")] = USUAL_VOXELS
    placed: Annotated[int, Range(0), Help("Images that are registered: further scans, and the guide")] = 0


def facts(model: SuperresModel) -> dict[str, Any]:
    """Return what a panel shows of a super-resolution model: its need of a ``guide``, its ``spacings`` in mm."""
    return {"guide": model.guide, "spacings": list(model.spacings)}


def run_job(arguments: dict[str, Any], context: Context) -> Result:
    """``superres.run``: scans in thick slices become an isotropic one.

    Parameters
    ----------
    arguments:
        ``model``, ``device``; ``scans``, a list of volumes or paths of files, and where there is one ``guide``;
        ``settings`` as :class:`~NeuroGenLib.superres.run_config.SuperresConfig`.
    context:
        Of the worker.

    Returns
    -------
    Result
        Of :func:`~NeuroGenLib.superres.output.superres_result`. Where the scan is isotropic already it holds nothing
        but the fact ``nothing_to_do``, a sentence.
    """
    volumes: dict[str, Any] = {"scans": arguments.get("scans"), "guide": arguments.get("guide")}
    run = from_mapping(RunArguments, {name: value for name, value in arguments.items() if name not in volumes})
    if run.settings.reference:
        raise InputError(
            "The published pipeline number for number does not run as a job.",
            "Use 'neurogen superres run --reference'.",
            code="value-conflict",
        )
    scans = _read_scans(volumes["scans"])
    guide = None if volumes["guide"] is None else read_volume(volumes["guide"], "guide")
    model = context.models.get(run.model, run.device, context.progress.part(0, 0.02), SuperresModel)
    work = _work(_expected_voxels(scans, run.settings), len(scans) - (guide is None))
    try:
        with context.rates.measured(_key(run), work):
            super_resolution = model.super_resolve(scans, guide=guide, settings=run.settings, progress=context.progress)
    except AlreadyIsotropic as nothing:
        return Result(facts={"nothing_to_do": str(nothing)})
    named = {f"scan_{number}": value for number, value in enumerate(volumes["scans"], start=1)}
    parameters = {**recorded_paths({"scans": named, "guide": volumes["guide"]}), **to_mapping(run)}
    del parameters["model"], parameters["device"]  # the record has both already
    return superres_result(model, super_resolution, parameters)


def estimate(arguments: dict[str, Any], context: Context) -> Estimate:
    """``estimate`` of ``superres.run``: seconds, from super-resolutions that have run here.

    Parameters
    ----------
    arguments:
        Of the job, without its volumes; ``voxels`` of the result, and how many images are ``placed``.
    context:
        Of the worker.
    """
    run = from_mapping(EstimateArguments, arguments)
    return estimate_of_rate(context, _key(run), _work(run.voxels, run.placed), SECONDS_AT_FIRST)


def _key(run: RunArguments) -> tuple[str, ...]:
    return RUN, run.model, run.device


def _work(voxels: int, placed: int) -> float:
    """Return voxels of the result, or what takes as long."""
    return float(voxels + ALIGNMENT_VOXELS * placed)


def _expected_voxels(scans: list[Volume], settings: SuperresConfig) -> int:
    return slice_geometry(scans[0].shape, scans[0].affine, settings).voxels_of_result(settings.spacing)


def _read_scans(sent: object) -> list[Volume]:
    if not isinstance(sent, list) or not sent:
        raise InputError(
            "A super-resolution needs a scan.", "Give 'scans', a list of at least one.", code="value-missing"
        )
    return [read_volume(scan, f"scan {number}") for number, scan in enumerate(sent, start=1)]


JOBS: Final[dict[str, Job]] = {RUN: run_job}
ESTIMATES: Final[dict[str, Job]] = {RUN: estimate}
