"""The job of a super-resolution model: thick slices in, an isotropic scan out; and what that will take."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Final

from NeuroGenLib.core.config import Help, Range, from_mapping, to_mapping
from NeuroGenLib.core.errors import InputError
from NeuroGenLib.superres.evaluation.quality_table import quality_rows
from NeuroGenLib.superres.infer import SuperresModel
from NeuroGenLib.superres.output import summary
from NeuroGenLib.superres.run_config import SuperresConfig
from NeuroGenLib.superres.stacks.preprocessing import AlreadyIsotropic
from NeuroGenLib.superres.stacks.slice_geometry import slice_geometry
from NeuroGenLib.worker.jobs.arguments import ModelArguments
from NeuroGenLib.worker.jobs.estimate import estimate_of_rate
from NeuroGenLib.worker.jobs.volumes import given_paths, given_volume

if TYPE_CHECKING:
    from NeuroGenLib.spatial.volume import Volume
    from NeuroGenLib.worker.context import Context, Job
    from NeuroGenLib.worker.jobs.estimate import Estimate

RUN: Final = "superres.run"

USUAL_VOXELS: Final = 6_000_000
"""Of a head at 1 mm, for an estimate without a scan."""

SECONDS_AT_FIRST: Final = 1e-5
"""What a voxel of the result takes where none was measured yet."""

PLACING_VOXELS: Final = 1_500_000
"""To register a guide or a further scan takes about as long as so many voxels."""


@dataclass(frozen=True, kw_only=True)
class RunArguments(ModelArguments):
    """Of ``superres.run``, but for its volumes."""

    settings: SuperresConfig = field(default_factory=SuperresConfig)


@dataclass(frozen=True, kw_only=True)
class EstimateArguments(RunArguments):
    """Of the estimate of ``superres.run``."""

    voxels: Annotated[int, Range(1), Help("Of the result")] = USUAL_VOXELS
    placed: Annotated[int, Range(0), Help("Images that are registered: further scans, and the guide")] = 0


def facts(model: SuperresModel) -> dict[str, Any]:
    """Return what a panel shows of a super-resolution model: its need of a ``guide``, its ``spacings`` in mm."""
    return {"guide": model.guide, "spacings": list(model.spacings)}


def run_job(arguments: dict[str, Any], context: Context) -> dict[str, Any]:
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
    dict
        ``nothing_to_do``: a sentence where the scan is isotropic already, and nothing else. Otherwise it is None, and
        there are ``image``, ``interpolated`` and ``residual`` on one grid in the world and units of the first scan;
        ``head`` (boolean, there too); ``across``, the direction of its slices by anatomy; ``dark`` and ``bright``;
        ``quality`` as ``quality.json`` has it; ``quality_rows``; ``warnings``, ``notice``; ``provenance``.
    """
    sent: dict[str, Any] = {"scans": arguments.get("scans"), "guide": arguments.get("guide")}
    wanted = from_mapping(RunArguments, {name: value for name, value in arguments.items() if name not in sent})
    if wanted.settings.reference:
        raise InputError(
            "The published pipeline number for number does not run as a job.",
            "Use 'neurogen superres run --reference'.",
        )
    scans = _given_scans(sent["scans"])
    guide = None if sent["guide"] is None else given_volume(sent["guide"], "guide")
    model = context.models.get(wanted.model, wanted.device, context.progress.part(0, 0.02), SuperresModel)
    work = _work(_expected_voxels(scans, wanted.settings), len(scans) - (guide is None))
    try:
        with context.rates.measured(_key(wanted), work):
            found = model.super_resolve(scans, guide=guide, settings=wanted.settings, progress=context.progress)
    except AlreadyIsotropic as nothing:
        return {"nothing_to_do": str(nothing)}
    named = {f"scan_{number}": value for number, value in enumerate(sent["scans"], start=1)}
    kept = {**given_paths({"scans": named, "guide": sent["guide"]}), **to_mapping(wanted)}
    return {
        "nothing_to_do": None,
        "image": found.image,
        "interpolated": found.interpolated,
        "residual": found.residual,
        "head": found.head,
        "across": found.quality.stacks[0].direction,
        "dark": found.quality.dark,
        "bright": found.quality.bright,
        "quality": summary(found),
        "quality_rows": quality_rows(found.quality),
        "warnings": found.warnings,
        "notice": model.notice,
        "provenance": model.provenance(
            "superres run",
            {name: value for name, value in kept.items() if name not in ("model", "device")},
            found.warnings,
        ),
    }


def estimate(arguments: dict[str, Any], context: Context) -> Estimate:
    """``estimate`` of ``superres.run``: seconds, from super-resolutions that have run here.

    Parameters
    ----------
    arguments:
        Of the job, without its volumes; ``voxels`` of the result, and how many images are ``placed``.
    context:
        Of the worker.
    """
    wanted = from_mapping(EstimateArguments, arguments)
    return estimate_of_rate(context, _key(wanted), _work(wanted.voxels, wanted.placed), SECONDS_AT_FIRST)


def _key(wanted: RunArguments) -> tuple[str, ...]:
    return RUN, wanted.model, wanted.device


def _work(voxels: int, placed: int) -> float:
    """Return voxels of the result, or what takes as long."""
    return float(voxels + PLACING_VOXELS * placed)


def _expected_voxels(scans: list[Volume], settings: SuperresConfig) -> int:
    return slice_geometry(scans[0].shape, scans[0].affine, settings).voxels_of_result(settings.spacing)


def _given_scans(sent: object) -> list[Volume]:
    if not isinstance(sent, list) or not sent:
        raise InputError("A super-resolution needs a scan.", "Give 'scans', a list of at least one.")
    return [given_volume(one, f"scan {number}") for number, one in enumerate(sent, start=1)]


JOBS: Final[dict[str, Job]] = {RUN: run_job}
ESTIMATES: Final[dict[str, Job]] = {RUN: estimate}
