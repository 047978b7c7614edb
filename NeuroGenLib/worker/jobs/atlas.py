"""The jobs of an atlas: planes, brains, sequences of brains, fits."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from NeuroGenLib.atlas.growth.volumes import growth_row
from NeuroGenLib.core.config import from_mapping, to_mapping
from NeuroGenLib.core.errors import InputError
from NeuroGenLib.worker.jobs.arguments import group
from NeuroGenLib.worker.jobs.atlas_arguments import (
    BrainArguments,
    FitArguments,
    GenerateArguments,
    SequenceArguments,
    SlicesArguments,
    VolumeArguments,
    asked_atlas,
)
from NeuroGenLib.worker.jobs.atlas_estimate import COSTS, estimate, measured
from NeuroGenLib.worker.jobs.volumes import given_paths, given_volume

if TYPE_CHECKING:
    from collections.abc import Mapping

    from NeuroGenLib.atlas.brain import AtlasBrain
    from NeuroGenLib.atlas.growth.maps import AtlasGrowth
    from NeuroGenLib.atlas.infer import AtlasModel
    from NeuroGenLib.core.progress import Progress
    from NeuroGenLib.spatial.volume import Volume
    from NeuroGenLib.worker.context import Context, Job


def facts(model: AtlasModel) -> dict[str, Any]:
    """Return what a panel shows of an atlas: ages, conditions with ranges, labels, training subjects."""
    low, high = model.age_range
    classes = enumerate(model.labels)
    return {
        "age": {"name": model.age_name, "unit": model.age_unit, "minimum": low, "maximum": high},
        "bandwidth": model.bandwidth,
        "conditions": [{**asdict(one), "middle": one.middle} for one in model.conditions],
        "modalities": model.modalities,
        "labels": [{**asdict(entry), "background": index in model.background} for index, entry in classes],
        "box": model.box.tolist(),
        "subjects": [
            {"age": one["age"], "conditions": one["conditions"], "volumes_ml": one.get("volumes_ml")}
            for one in model.subjects
        ],
    }


def slices_job(arguments: dict[str, Any], context: Context) -> dict[str, Any]:
    """``atlas.slices``: the three planes through a point, under ``planes`` by name; each as a brain."""
    wanted = from_mapping(SlicesArguments, arguments)
    model = asked_atlas(wanted, context)
    with measured(context, model, wanted, "slices"):
        drawn = model.slices(
            wanted.point,
            wanted.age,
            wanted.conditions,
            wanted.steps,
            masked=wanted.masked,
            bandwidth=wanted.bandwidth,
        )
    planes = {
        name: {**_volumes(model, plane.images, plane.probabilities, wanted), "labels": plane.labels}
        for name, plane in drawn.items()
    }
    return {"planes": planes, **_support(model, next(iter(drawn.values())))}


def generate_job(arguments: dict[str, Any], context: Context) -> dict[str, Any]:
    """``atlas.generate``: one brain.

    Returns
    -------
    dict
        ``images`` by modality, ``labels``, ``certainty`` (of the label that was named) and ``probabilities`` where
        asked for; ``growth`` likewise, per unit of age; ``row`` of the growth table; ``age``, ``conditions``,
        ``realised_age``, ``effective_n``, ``warnings``, ``notice``; ``provenance``.
    """
    wanted = from_mapping(GenerateArguments, arguments)
    model = asked_atlas(wanted, context)
    return _drawn(model, wanted, wanted.age, context, context.progress)


def sequence_job(arguments: dict[str, Any], context: Context) -> dict[str, Any]:
    """``atlas.sequence``: ``frames``, one brain for each of ``ages``, as ``atlas.generate`` returns it."""
    wanted = from_mapping(SequenceArguments, arguments)
    model = asked_atlas(wanted, context)
    method = wanted.regression or ("gaussian" if wanted.reference_compat else "local-linear")
    for age in wanted.ages:  # refuses an age before the first brain is drawn
        model.recipe(age, wanted.conditions, wanted.bandwidth, method)
    frames = []
    for index, age in enumerate(wanted.ages):
        message = f"{model.age_name.replace('_', ' ')} {age:g} {model.age_unit}"
        share = context.progress.part(index / len(wanted.ages), (index + 1) / len(wanted.ages), message)
        frames.append(context.keep(_drawn(model, wanted, age, context, share)))
    return {"frames": frames, "age": {"name": model.age_name, "unit": model.age_unit}}


def fit_job(arguments: dict[str, Any], context: Context) -> dict[str, Any]:
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
    dict
        ``labels``, and by image ``reconstruction``, ``atlas`` and ``deviation``, on the scan's grid; ``to_atlas``
        (4, 4) scan RAS mm to atlas RAS mm; ``summary`` as ``fit.json`` has it; ``warnings``, ``notice``;
        ``provenance``.
    """
    from NeuroGenLib.atlas.fit.output import summary

    sent = {name: arguments.get(name) for name in ("images", "mask", "labels")}
    given = {name: value for name, value in arguments.items() if name not in sent}
    if not sent["images"]:
        raise InputError("A fit needs an image.", "Give 'images' by the names of the model's images.")
    images = {name: given_volume(value, f"images.{name}") for name, value in group(sent["images"]).items()}
    mask, labels = (None if sent[name] is None else given_volume(sent[name], name) for name in ("mask", "labels"))
    wanted = from_mapping(FitArguments, given)
    model = asked_atlas(wanted, context)
    with measured(context, model, wanted, "fit"):
        fitted = model.fit(
            images,
            mask=mask,
            labels=labels,
            age=wanted.age,
            conditions=wanted.conditions,
            settings=wanted.settings,
            progress=context.progress,
        )
    return {
        "labels": fitted.labels,
        "reconstruction": fitted.reconstruction,
        "atlas": fitted.atlas,
        "deviation": fitted.deviation,
        "to_atlas": fitted.to_atlas.tolist(),
        "summary": summary(model, fitted),
        "warnings": fitted.warnings,
        "notice": model.notice,
        "provenance": _record("atlas fit", model, {**given_paths(sent), **to_mapping(wanted)}, fitted.warnings),
    }


def _drawn(
    model: AtlasModel, wanted: GenerateArguments | SequenceArguments, age: float, context: Context, progress: Progress
) -> dict[str, Any]:
    share = 1 / (1 + COSTS["growth"]) if wanted.growth else 1.0
    with measured(context, model, wanted, "draw"):
        brain = model.generate(
            age,
            wanted.conditions,
            wanted.steps,
            box=wanted.box,
            masked=wanted.masked,
            bandwidth=wanted.bandwidth,
            regression=wanted.regression,
            reference_compat=wanted.reference_compat,
            progress=progress.part(0, share),
        )
    growth = _growth(model, wanted, age, context, progress.part(share, 1)) if wanted.growth else None
    result = {**_volumes(model, brain.images, brain.probabilities, wanted), "labels": brain.labels}
    if growth is not None:
        maps = _volumes(model, growth.images, growth.probabilities, wanted)
        result["growth"] = {**maps, "unit": growth.unit, "warnings": growth.warnings}
    parameters = {**to_mapping(wanted), "age": age, "conditions": brain.conditions}
    return {
        **result,
        **_support(model, brain),
        "row": growth_row(model, brain, growth),
        "provenance": _record("atlas generate", model, parameters, brain.warnings),
    }


def _growth(
    model: AtlasModel, wanted: GenerateArguments | SequenceArguments, age: float, context: Context, progress: Progress
) -> AtlasGrowth:
    with measured(context, model, wanted, "growth"):
        return model.growth(
            age,
            wanted.conditions,
            wanted.steps,
            box=wanted.box,
            masked=wanted.masked,
            bandwidth=wanted.bandwidth,
            regression=wanted.regression,
            progress=progress,
        )


def _volumes(
    model: AtlasModel, images: dict[str, Volume], probabilities: Volume, wanted: BrainArguments
) -> dict[str, Any]:
    """Return images and what was asked for of probabilities (classes, i, j, k), of a brain or of its growth."""
    asked: dict[str, Any] = {"images": images}
    if wanted.certainty is not None:
        asked["certainty"] = probabilities.with_array(probabilities.array[model.labels.names.index(wanted.certainty)])
    if isinstance(wanted, VolumeArguments) and wanted.probabilities:
        asked["probabilities"] = probabilities
    return asked


def _support(model: AtlasModel, brain: AtlasBrain) -> dict[str, Any]:
    return {
        "age": brain.age,
        "conditions": brain.conditions,
        "realised_age": brain.weights.realised_age,
        "effective_n": brain.weights.effective_n,
        "warnings": brain.warnings,
        "notice": model.notice,
    }


def _record(action: str, model: AtlasModel, parameters: Mapping[str, Any], warnings: list[str]) -> dict[str, Any]:

    return model.provenance(
        action,
        {name: value for name, value in parameters.items() if name not in ("model", "device")},
        warnings,
        training_subjects=len(model.subjects),
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
