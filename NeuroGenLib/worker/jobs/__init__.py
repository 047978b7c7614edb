"""The jobs of the worker: what each is given, and what it returns.

A job is a function of its arguments and a :class:`~NeuroGenLib.worker.context.Context`. Arguments and results are JSON
values, volumes and arrays; :mod:`NeuroGenLib.worker.server` carries them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from NeuroGenLib.core.config import from_mapping
from NeuroGenLib.core.provenance import RESEARCH_USE
from NeuroGenLib.models import Model
from NeuroGenLib.worker.jobs.atlas import atlas_facts, fit_job, generate_job, sequence_job, slices_job
from NeuroGenLib.worker.jobs.atlas_arguments import ModelArguments, group
from NeuroGenLib.worker.jobs.atlas_estimate import estimate_job
from NeuroGenLib.worker.jobs.registration import RUN as REGISTER
from NeuroGenLib.worker.jobs.registration import registration_estimate, registration_facts, run_registration_job
from NeuroGenLib.worker.jobs.superres import RUN as SUPER_RESOLVE
from NeuroGenLib.worker.jobs.superres import run_superres_job, superres_estimate, superres_facts
from NeuroGenLib.worker.run_command import run_job

if TYPE_CHECKING:
    from collections.abc import Callable

    from NeuroGenLib.worker.context import Context, Job

FACTS: Final[dict[str, Callable[[Any], dict[str, Any]]]] = {
    "atlas": atlas_facts,
    "registration": registration_facts,
    "superres": superres_facts,
}
"""What is told of a model beside what all models have, by its kind."""


ESTIMATES: Final[dict[str, Callable[[dict[str, Any], Context], dict[str, Any]]]] = {
    REGISTER: registration_estimate,
    SUPER_RESOLVE: superres_estimate,
}
"""What the jobs will take that are not of an atlas."""


def open_job(arguments: dict[str, Any], context: Context) -> dict[str, Any]:
    """``model.open``: open a model, keep it open, and tell what a panel shows of it.

    Returns
    -------
    dict
        ``reference``, ``revision``, ``kind``, ``name``, ``description``, ``licence`` (SPDX), ``citation``, ``notice``,
        ``research_use``, ``card`` (Markdown), ``size_bytes``, ``path``; and by the name of its kind what :data:`FACTS`
        gives.
    """
    wanted = from_mapping(ModelArguments, arguments)
    model = context.models.get(wanted.model, wanted.device, context.progress, Model)
    folder = model.folder
    facts = {
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
    return facts | {folder.kind: FACTS[folder.kind](model)} if folder.kind in FACTS else facts


def any_estimate_job(arguments: dict[str, Any], context: Context) -> dict[str, Any]:
    """``estimate``: what another job will take; see :func:`~NeuroGenLib.worker.jobs.atlas_estimate.estimate_job`."""
    estimate = ESTIMATES.get(str(arguments.get("job")))
    if estimate is not None and arguments.keys() <= {"job", "arguments"}:
        return estimate(group(arguments.get("arguments", {})), context)
    return estimate_job(arguments, context)


JOBS: Final[dict[str, Job]] = {
    "model.open": open_job,
    "atlas.slices": slices_job,
    "atlas.generate": generate_job,
    "atlas.sequence": sequence_job,
    "atlas.fit": fit_job,
    REGISTER: run_registration_job,
    SUPER_RESOLVE: run_superres_job,
    "estimate": any_estimate_job,
    "run": run_job,
}
"""What a worker can be asked for."""
