"""Brains of an atlas as results, and results as files."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from NeuroGenLib.atlas.conditions import as_word
from NeuroGenLib.atlas.growth.volumes import growth_figure, growth_row
from NeuroGenLib.core.config import to_mapping
from NeuroGenLib.core.errors import InputError
from NeuroGenLib.core.files import staged_outputs, write_json
from NeuroGenLib.core.progress import SILENT, Progress
from NeuroGenLib.core.provenance import RECORD
from NeuroGenLib.core.reports import PICTURE, PictureConfig, save_figure, write_table
from NeuroGenLib.spatial.files.volumes import write_frames
from NeuroGenLib.spatial.result import Result, inspected

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from NeuroGenLib.atlas.brain import AtlasBrain
    from NeuroGenLib.atlas.config import SeriesConfig
    from NeuroGenLib.atlas.infer import AtlasModel
    from NeuroGenLib.spatial.labels import LabelTable
    from NeuroGenLib.spatial.volume import Volume

PROBABILITY_STEP = 1 / 255
"""Tissue probabilities are stored as bytes, in steps of this: a quarter of the size of float32."""

MOST_AGES = 1000
"""A series of more ages is refused: each is a brain to render and to hold."""

PROBABILITIES = "probabilities"
GROWTH = "growth"
"""Name of the table; the growth maps' names begin with it."""
CERTAINTY = "certainty"
LABELS = "labels.tsv"
"""The table that every folder of brains has."""
ONLY_IMAGE = "image"
"""Name of the image of a model that has one."""


@dataclass(frozen=True)
class Written:
    """What was written, and what a person should know about it."""

    folder: Path
    files: list[Path]
    warnings: list[str]
    seconds: float


def atlas_facts(model: AtlasModel) -> dict[str, Any]:
    """Return what an atlas can render, as values that JSON can hold.

    Returns
    -------
    dict
        ``age`` (name, unit, minimum, maximum), ``bandwidth`` (in the unit of age), ``conditions`` (with ranges),
        ``modalities``, ``labels``, ``box`` (mm) and the training ``subjects`` (age, conditions, volumes in ml).
    """
    low, high = model.age_range
    classes = enumerate(model.labels)
    return {
        "age": {"name": model.age_name, "unit": model.age_unit, "minimum": low, "maximum": high},
        "bandwidth": model.bandwidth,
        "conditions": [{**asdict(condition), "middle": condition.middle} for condition in model.conditions],
        "modalities": model.modalities,
        "labels": [{**asdict(entry), "background": index in model.background} for index, entry in classes],
        "box": model.box.tolist(),
        "subjects": [
            {"age": subject["age"], "conditions": subject["conditions"], "volumes_ml": subject.get("volumes_ml")}
            for subject in model.subjects
        ],
    }


def image_name(modality: str, modalities: Sequence[str]) -> str:
    """Return the name of an image in results and files.

    Examples
    --------
    >>> image_name("T2w", ["T2w"]), image_name("T2w", ["T2w", "T1w"])
    ('image', 'T2w')
    """
    return ONLY_IMAGE if len(modalities) == 1 else plain_name(modality)


def brain_result(model: AtlasModel, brain: AtlasBrain, record: Mapping[str, Any] | None = None) -> Result:
    """Return a brain, and its growth where it has that, as a result.

    Parameters
    ----------
    model, brain:
        The atlas, and a brain of it.
    record:
        Its provenance.

    Returns
    -------
    Result
        Volumes: the images, by name of the modality (``image`` where there is one), ``probabilities`` (classes, i, j,
        k), and both again with ``growth_`` before their names, per unit of age; ``labels``. Table ``growth``: one row
        of tissue volumes. Fact ``brain``: age, conditions as asked and as drawn, realised age and effective n.
    """
    volumes = {image_name(name, model.modalities): image for name, image in brain.images.items()}
    volumes[PROBABILITIES] = brain.probabilities
    growth = brain.growth
    warnings = brain.warnings
    if growth is not None:
        rates = {image_name(name, model.modalities): image for name, image in growth.images.items()}
        rates[PROBABILITIES] = growth.probabilities
        volumes |= {f"{GROWTH}_{name}": rate for name, rate in rates.items()}
        warnings = [*warnings, *growth.warnings]
    facts = {
        "age": brain.age,
        "age_name": model.age_name,
        "age_unit": model.age_unit,
        "conditions": brain.conditions,
        "drawn_conditions": {name: round(value, 4) for name, value in brain.drawn.items()},
        "realised_age": brain.weights.realised_age,
        "effective_n": brain.weights.effective_n,
        "growth_unit": None if growth is None else growth.unit,
        "notice": model.notice,
    }
    return Result(
        volumes=volumes,
        labels={"labels": brain.labels},
        tables={GROWTH: [growth_row(model, brain)]},
        facts={"brain": facts},
        warnings=list(dict.fromkeys(warnings)),
        record=record or {},
    )


def generate_to_folder(
    model: AtlasModel, config: SeriesConfig, out: Path, progress: Progress = SILENT, picture: PictureConfig = PICTURE
) -> Written:
    """Generate brains and write them, all or none.

    One combination of condition values is written into ``out`` itself, several into a subfolder each, named
    after their values. Every folder gets ``image.nii.gz`` (one file per modality, named after it when there are
    several), ``labels.nii.gz``, ``probabilities.nii.gz``, ``labels.tsv``, ``growth.tsv`` and ``provenance.json``; with
    several ages the volumes are 4-D (the probabilities 5-D: i, j, k, age, class), and ``growth.png`` shows them.

    With growth there are ``growth_image.nii.gz`` (``growth_NAME.nii.gz`` when there are several modalities) and
    ``growth_probabilities.nii.gz``: change per unit of age, float32, of the same dimensions as what they are the growth
    of; ``growth.tsv`` has the tissues' rates. With certainty every class has its probabilities in
    ``certainty/LABEL.nii.gz`` as well.

    Raises
    ------
    InputError
        When an age, condition, spacing or box cannot be used.
    Cancelled
        When it was cancelled; nothing is written.
    """
    started = time.monotonic()
    combinations = config.combinations()
    _require_renderable(model, config, combinations)
    series: dict[str, list[Mapping[str, Any]]] = {}
    warnings: list[str] = []
    with staged_outputs(out) as staging:
        for number, conditions in enumerate(combinations):
            share = progress.part(number / len(combinations), (number + 1) / len(combinations))
            frames = _frames(model, config, conditions, share)
            folder = staging if len(combinations) == 1 else staging / folder_name(conditions)
            folder.mkdir(exist_ok=True)
            rows = [row for frame in frames for row in frame.tables[GROWTH]]
            series[_title(conditions) or "atlas"] = rows
            write_volumes(model, frames, folder)
            if config.certainty:
                write_certainty(model, frames, folder / CERTAINTY)
            write_table(folder / f"{GROWTH}.tsv", rows)
            warnings += [text for frame in frames for text in frame.warnings]
            warnings += [text for frame in frames for text in inspected({**frame.volumes, **frame.labels})]
            write_json(folder / RECORD, _record(model, config, frames))
        if len(combinations) > 1:
            record = model.provenance(
                "atlas generate",
                to_mapping(config),
                list(dict.fromkeys(warnings)),
                folders=list(map(folder_name, combinations)),
            )
            write_json(staging / RECORD, record)
        if len(config.ages) > 1:
            save_figure(staging / "growth", growth_figure(model, series), picture)
        files = sorted(path.relative_to(staging) for path in staging.rglob("*") if path.is_file())
    return Written(out, [out / name for name in files], list(dict.fromkeys(warnings)), time.monotonic() - started)


def write_volumes(model: AtlasModel, frames: Sequence[Result], folder: Path) -> None:
    """Write the volumes of frames on one grid, and the table of their labels.

    The age is the fourth axis where there are several; its step is in the header when the ages are evenly spaced.
    The probabilities must be bytes: :func:`as_bytes`.
    """
    stacks = [{**frame.volumes, **frame.labels} for frame in frames]
    for name in stacks[0]:
        slope = PROBABILITY_STEP if name == PROBABILITIES else None
        _write_stack(folder / f"{name}.nii.gz", frames, [stack[name] for stack in stacks], slope)
    model.labels.to_tsv(folder / LABELS)


def write_certainty(model: AtlasModel, frames: Sequence[Result], folder: Path) -> None:
    """Write the probabilities of every class, background too, into a file named after it, the age as fourth axis."""
    folder.mkdir()
    for index, name in enumerate(_file_names(model.labels)):
        volumes = [frame.volumes[PROBABILITIES] for frame in frames]
        single = [volume.with_array(volume.array[index]) for volume in volumes]
        _write_stack(folder / f"{name}.nii.gz", frames, single, PROBABILITY_STEP)


def _write_stack(path: Path, frames: Sequence[Result], volumes: Sequence[Volume], slope: float | None) -> None:
    step = _age_step([frame.facts["brain"]["age"] for frame in frames])
    arrays = [volume.array for volume in volumes]
    write_frames(path, arrays, volumes[0].affine, frame_spacing=step, slope=slope, squeeze=True)


def as_bytes(result: Result) -> Result:
    """Return a result with its probabilities as bytes; growth stays float32, since rates have no common range."""
    volume = result.volumes[PROBABILITIES]
    stored = volume.with_array(np.rint(volume.array / PROBABILITY_STEP).astype(np.uint8))
    return replace(result, volumes={**result.volumes, PROBABILITIES: stored})


def folder_name(conditions: Mapping[str, object]) -> str:
    """Return the name of a combination's folder, usable on every system: ``lv_volume_normed-0.12_sex-F``."""
    words = [f"{name}-{as_word(value)}" for name, value in conditions.items()]
    return plain_name("_".join(words))


def parse_ages(text: str) -> tuple[float, ...]:
    """Return the ages of ``A:B:STEP`` (both ends included), or of ``A,B,C``.

    Raises
    ------
    InputError
        When it is not of that form, or makes more than 1000 ages.

    Examples
    --------
    >>> parse_ages("25:26:0.5")
    (25.0, 25.5, 26.0)
    """
    form = InputError(
        f"'{text}' is not a range of ages.", "Write FIRST:LAST:STEP, such as 21:34:1.", code="value-invalid"
    )
    try:
        parts = [float(part) for part in text.replace(":", ",").split(",")]
    except ValueError:
        raise form from None
    if ":" not in text:
        return tuple(parts)
    if len(parts) != 3 or not np.isfinite(parts).all() or parts[2] <= 0 or parts[1] < parts[0]:
        raise form
    first, last, step = parts
    steps = (last - first) / step + 1e-9
    if not steps < MOST_AGES:
        raise InputError(f"'{text}' makes more than {MOST_AGES} ages.", "Choose a larger step.", code="value-invalid")
    return tuple(round(first + index * step, 9) for index in range(int(steps) + 1))


def _require_renderable(
    model: AtlasModel, config: SeriesConfig, combinations: Sequence[Mapping[str, str | float]]
) -> None:
    """Refuse an age or condition before the first brain is rendered: rendering all of them may take long."""
    names = [folder_name(conditions) for conditions in combinations]
    for name in names:
        if names.count(name) > 1:
            raise InputError(
                f"{name} is asked for twice.", "Give every value of a condition once.", code="value-duplicate"
            )
    for conditions, age in itertools.product(combinations, config.ages):
        model.recipe_of(config.brain(age, conditions))


def _frames(
    model: AtlasModel, config: SeriesConfig, conditions: Mapping[str, str | float], progress: Progress
) -> list[Result]:
    frames = []
    for index, age in enumerate(config.ages):
        message = f"{model.age_name.replace('_', ' ')} {age:g} {model.age_unit}"
        part = progress.part(index / len(config.ages), (index + 1) / len(config.ages), message)
        brain = model.render(config.brain(age, conditions), part)
        frames.append(as_bytes(brain_result(model, brain)))
    return frames


def _record(model: AtlasModel, config: SeriesConfig, frames: Sequence[Result]) -> dict[str, Any]:
    brains = [frame.facts["brain"] for frame in frames]
    first = brains[0]["conditions"]
    shared = {
        name: value for name, value in first.items() if all(brain["conditions"][name] == value for brain in brains)
    }
    return model.provenance(
        "atlas generate",
        {
            **to_mapping(config),
            "spacing": list(config.steps),
            "age": {"name": model.age_name, "unit": model.age_unit},
            "conditions": shared,
        },
        list(dict.fromkeys(text for frame in frames for text in frame.warnings)),
        ages=[
            {
                "asked": brain["age"],
                "realised": round(brain["realised_age"], 4),
                "conditions": brain["conditions"],
                "drawn_conditions": brain["drawn_conditions"],
                "effective_n": round(brain["effective_n"], 3),
            }
            for brain in brains
        ],
        growth_unit=brains[0]["growth_unit"],
        training_subjects=len(model.subjects),
    )


def _age_step(ages: Sequence[float]) -> float:
    steps = {round(later - earlier, 6) for earlier, later in itertools.pairwise(ages)}
    return steps.pop() if len(steps) == 1 and min(steps) > 0 else 1.0


def _title(conditions: Mapping[str, object]) -> str:
    return ", ".join(f"{name} = {as_word(value)}" for name, value in conditions.items())


def plain_name(name: str) -> str:
    """Return a name that is one file's on every system; a model's names are untrusted in a path."""
    return "".join(letter if letter.isalnum() or letter in "-_+." else "_" for letter in name)


def _file_names(labels: LabelTable) -> list[str]:
    """Return a file name for every label; where two are the same on some system, their values tell them apart."""
    names = [plain_name(name) for name in labels.names]
    alike = Counter(name.casefold() for name in names)
    return [
        name if alike[name.casefold()] == 1 else f"{name}-{value}"
        for name, value in zip(names, labels.values, strict=True)
    ]
