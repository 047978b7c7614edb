"""The jobs of an atlas: planes, brains, sequences of brains, fits."""

from __future__ import annotations

from dataclasses import fields, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from NeuroGenLib.atlas.config import RenderConfig
from NeuroGenLib.atlas.output import CERTAINTY, GROWTH, PROBABILITIES, atlas_facts, brain_result
from NeuroGenLib.core.config import from_mapping, to_mapping
from NeuroGenLib.core.errors import InputError
from NeuroGenLib.worker.jobs.arguments import group
from NeuroGenLib.worker.jobs.atlas_arguments import (
    FitArguments,
    GenerateArguments,
    ProbabilityArguments,
    SequenceArguments,
    SlicesArguments,
    atlas_of,
)
from NeuroGenLib.worker.jobs.atlas_estimate import estimate, measured, render_unit
from NeuroGenLib.worker.jobs.volumes import read_volume, recorded_paths

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from NeuroGenLib.atlas.infer import AtlasModel
    from NeuroGenLib.core.progress import Progress
    from NeuroGenLib.spatial.result import Result
    from NeuroGenLib.worker.context import Context, Job


OPTIONS = tuple(field.name for field in fields(RenderConfig) if field.name != "spacing")


def facts(model: AtlasModel) -> dict[str, Any]:
    """Return what a panel shows of an atlas: ages, conditions with ranges, labels, training subjects."""
    return atlas_facts(model)


def slices_job(arguments: dict[str, Any], context: Context) -> dict[str, Result]:
    """``atlas.slices``: the three planes through a point by name; each as :func:`generate_job` returns a brain."""
    asked = from_mapping(SlicesArguments, arguments)
    model = atlas_of(asked, context)
    options = {name: getattr(asked, name) for name in OPTIONS}
    with measured(context, model, asked, "slices"):
        planes = model.slices(asked.point, asked.age, asked.conditions, asked.steps, **options)
    return {name: _selected(model, brain_result(model, plane), asked) for name, plane in planes.items()}


def generate_job(arguments: dict[str, Any], context: Context) -> Result:
    """``atlas.generate``: one brain.

    Returns
    -------
    Result
        As :func:`~NeuroGenLib.atlas.output.brain_result`, with the volumes ``certainty`` (of the label that was named)
        and ``probabilities`` where asked for; of the growth likewise.
    """
    asked = from_mapping(GenerateArguments, arguments)
    model = atlas_of(asked, context)
    return _generated(model, asked, context, context.progress)


def sequence_job(arguments: dict[str, Any], context: Context) -> list[Result]:
    """``atlas.sequence``: one brain for each of ``ages``, as :func:`generate_job` returns it."""
    asked = from_mapping(SequenceArguments, arguments)
    model = atlas_of(asked, context)
    brains = [asked.at(age) for age in asked.ages]
    for brain in brains:  # refuses an age before the first brain is rendered
        model.recipe_of(brain)
    frames = []
    for index, brain in enumerate(brains):
        message = f"{model.age_name.replace('_', ' ')} {brain.age:g} {model.age_unit}"
        share = context.progress.part(index / len(brains), (index + 1) / len(brains), message)
        frames.append(context.keep(_generated(model, brain, context, share)))
    return frames


def fit_job(arguments: dict[str, Any], context: Context) -> Result:
    """``atlas.fit``: an atlas fitted to a scan.

    Parameters
    ----------
    arguments:
        ``model``, ``device``; ``images`` by the names of the model's images, ``mask`` and ``labels``, each a volume or
        the path of a file; ``age`` and ``conditions`` where they are known; ``settings`` as
        :class:`~NeuroGenLib.atlas.config.FitConfig`.
    context:
        Of the worker.

    Returns
    -------
    Result
        As :func:`~NeuroGenLib.atlas.fit.output.fit_result`.
    """
    from NeuroGenLib.atlas.fit.output import fit_result

    sent = {name: arguments.get(name) for name in ("images", "mask", "labels")}
    if not sent["images"]:
        raise InputError(
            "A fit needs an image.", "Give 'images' by the names of the model's images.", code="value-missing"
        )
    images = {name: read_volume(value, f"images.{name}") for name, value in group(sent["images"]).items()}
    mask, labels = (None if sent[name] is None else read_volume(sent[name], name) for name in ("mask", "labels"))
    asked = from_mapping(FitArguments, {name: value for name, value in arguments.items() if name not in sent})
    model = atlas_of(asked, context)
    with measured(context, model, asked, "fit"):
        fitted = model.fit(
            images,
            mask=mask,
            labels=labels,
            age=asked.age,
            conditions=asked.conditions,
            settings=asked.settings,
            progress=context.progress,
        )
    record = _record("atlas fit", model, {**recorded_paths(sent), **to_mapping(asked)}, fitted.warnings)
    return fit_result(model, fitted, record)


def _generated(model: AtlasModel, asked: GenerateArguments, context: Context, progress: Progress) -> Result:
    with measured(context, model, asked, render_unit(asked)):
        brain = model.render(asked, progress)
    parameters = {**to_mapping(asked), "conditions": brain.conditions}
    result = brain_result(model, brain)
    unit = result.facts["brain"]["growth_unit"]
    record = _record("atlas generate", model, parameters, result.warnings, growth_unit=unit)
    return replace(_selected(model, result, asked), record=record)


def _selected(model: AtlasModel, result: Result, asked: ProbabilityArguments) -> Result:
    """Return a brain with those of its probabilities (classes, i, j, k) that are asked for."""
    volumes = dict(result.volumes)
    for prefix in ("", f"{GROWTH}_"):
        name = f"{prefix}{PROBABILITIES}"
        if name not in volumes:
            continue
        every = volumes[name]
        if asked.certainty is not None:
            index = model.labels.names.index(asked.certainty)
            volumes[f"{prefix}{CERTAINTY}"] = every.with_array(every.array[index])
        if not asked.probabilities:
            del volumes[name]
    return replace(result, volumes=volumes)


def _record(
    action: str, model: AtlasModel, parameters: Mapping[str, Any], warnings: Sequence[str], **more: Any
) -> dict[str, Any]:
    return model.provenance(
        action,
        {name: value for name, value in parameters.items() if name not in ("model", "device")},
        warnings,
        training_subjects=len(model.subjects),
        **more,
    )


JOBS: Final[dict[str, Job]] = {
    "atlas.slices": slices_job,
    "atlas.generate": generate_job,
    "atlas.sequence": sequence_job,
    "atlas.fit": fit_job,
}

ESTIMATES: Final[dict[str, Job]] = {
    "atlas.slices": partial(estimate, SlicesArguments),
    "atlas.generate": partial(estimate, GenerateArguments),
    "atlas.sequence": partial(estimate, SequenceArguments),
    "atlas.fit": partial(estimate, FitArguments),
}
