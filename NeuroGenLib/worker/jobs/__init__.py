"""The jobs of the worker: what each is given, and what it returns.

A job is a function of its arguments and a :class:`~NeuroGenLib.worker.context.Context`. Arguments and results are JSON
values, volumes and arrays, which :mod:`NeuroGenLib.worker.server` passes through the scratch folder. A capability joins
by one line in :data:`CAPABILITIES`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol

from NeuroGenLib.core.config import from_mapping
from NeuroGenLib.core.provenance import RESEARCH_USE
from NeuroGenLib.models import Model
from NeuroGenLib.worker.jobs import atlas, registration, superres
from NeuroGenLib.worker.jobs.arguments import ModelArguments
from NeuroGenLib.worker.jobs.estimate import estimate_of
from NeuroGenLib.worker.run_command import run_job

if TYPE_CHECKING:
    from collections.abc import Mapping

    from NeuroGenLib.worker.context import Context, Job
    from NeuroGenLib.worker.jobs.estimate import Estimate


class CapabilityJobs(Protocol):
    """Interface of a capability's module of jobs."""

    @property
    def JOBS(self) -> Mapping[str, Job]:  # noqa: N802 (a constant of the module)
        """Its jobs by name, such as ``registration.run``."""

    @property
    def ESTIMATES(self) -> Mapping[str, Job]:  # noqa: N802
        """For each job that can be estimated a function of the job's arguments; see :class:`.estimate.Estimate`."""

    def facts(self, model: Any, /) -> dict[str, Any]:
        """Return what a panel shows of a model of this kind, beside what it shows of all models."""


CAPABILITIES: Final[dict[str, CapabilityJobs]] = {
    "atlas": atlas,
    "registration": registration,
    "superres": superres,
}
"""The capabilities that panels use, by the kind of their models."""

ESTIMATES: Final[dict[str, Job]] = {
    name: estimate for capability in CAPABILITIES.values() for name, estimate in capability.ESTIMATES.items()
}


def open_job(arguments: dict[str, Any], context: Context) -> dict[str, Any]:
    """``model.open``: open a model, keep it open, and describe it for a panel.

    Returns
    -------
    dict
        ``reference``, ``revision``, ``kind``, ``name``, ``description``, ``licence`` (SPDX), ``citation``, ``notice``,
        ``research_use``, ``card`` (Markdown), ``size_bytes``, ``path``; and by the name of its kind the facts of its
        capability.
    """
    settings = from_mapping(ModelArguments, arguments)
    model = context.models.get(settings.model, settings.device, context.progress, Model)
    folder = model.folder
    described = {
        "reference": folder.reference,
        "revision": folder.revision,
        "kind": folder.kind,
        "name": folder.about.name,
        "description": folder.about.description,
        "licence": folder.about.license,
        "citation": model.citation,
        "notice": model.notice,
        "research_use": RESEARCH_USE,
        "card": folder.card,
        "size_bytes": folder.size,
        "path": folder.path,
        "device": str(model.device),
    }
    capability = CAPABILITIES.get(folder.kind)
    return described if capability is None else {**described, folder.kind: capability.facts(model)}


def estimate_job(arguments: dict[str, Any], context: Context) -> Estimate:
    """``estimate``: time, memory and disk space of another job: ``job`` and its ``arguments``, without volumes."""
    return estimate_of(arguments, context, ESTIMATES)


JOBS: Final[dict[str, Job]] = {
    "model.open": open_job,
    "estimate": estimate_job,
    "run": run_job,
    **{name: job for capability in CAPABILITIES.values() for name, job in capability.JOBS.items()},
}
"""All jobs of the worker by name."""
