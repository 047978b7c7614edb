"""Writes what an atlas generates into a folder."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from NeuroGenLib.atlas.conditions import as_word
from NeuroGenLib.atlas.growth.volumes import growth_figure, growth_row
from NeuroGenLib.core.errors import InputError
from NeuroGenLib.core.files import staged_outputs, write_json
from NeuroGenLib.core.progress import SILENT, Progress
from NeuroGenLib.core.reports import save_figure, write_table
from NeuroGenLib.spatial.volume_files import write_frames

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from NeuroGenLib.atlas.brain import AtlasBrain
    from NeuroGenLib.atlas.growth.maps import AtlasGrowth
    from NeuroGenLib.atlas.infer import AtlasModel
    from NeuroGenLib.atlas.regression import Method, SubjectWeights
    from NeuroGenLib.spatial.labels import LabelTable

PROBABILITY_STEP = 1 / 255
"""Tissue probabilities are stored as bytes, in steps of this."""


MOST_AGES = 1000


@dataclass(frozen=True)
class Request:
    """What to generate: brains of every age for every combination of condition values.

    ``conditions`` holds one or more values by name, in table units; ``options`` goes to
    :meth:`~NeuroGenLib.atlas.infer.AtlasModel.generate`. ``growth`` adds the growth maps, ``certainty`` a file for
    every class.
    """

    ages: tuple[float, ...]
    conditions: Mapping[str, Sequence[object]]
    spacing: tuple[float, ...]
    options: Mapping[str, Any]
    growth: bool = False
    certainty: bool = False

    def combinations(self) -> list[dict[str, object]]:
        """Return every combination of condition values, the first name slowest."""
        return [
            dict(zip(self.conditions, values, strict=True)) for values in itertools.product(*self.conditions.values())
        ]


@dataclass(frozen=True)
class Written:
    """What was written, and what a person should know about it."""

    folder: Path
    files: list[Path]
    warnings: list[str]
    seconds: float


def generate_to_folder(model: AtlasModel, request: Request, out: Path, progress: Progress = SILENT) -> Written:
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
        When an age, condition, spacing or box cannot be used, or growth is asked for as published.
    Cancelled
        When it was cancelled; nothing is written.
    """
    started = time.monotonic()
    combinations = request.combinations()
    _require_drawable(model, request, combinations)
    series: dict[str, list[dict[str, float | str]]] = {}
    warnings: list[str] = []
    with staged_outputs(out) as staging:
        for number, conditions in enumerate(combinations):
            share = progress.part(number / len(combinations), (number + 1) / len(combinations))
            frames = _generate(model, request, conditions, share)
            folder = staging if len(combinations) == 1 else staging / folder_name(conditions)
            folder.mkdir(exist_ok=True)
            series[_title(conditions) or "atlas"] = [frame.row for frame in frames]
            write_volumes(model, frames, folder)
            if request.certainty:
                write_certainty(model, frames, folder / "certainty")
            write_table(folder / "growth.tsv", [frame.row for frame in frames])
            warnings += [text for frame in frames for text in frame.warnings]
            write_json(folder / "provenance.json", _record(model, request, frames))
        if len(request.ages) > 1:
            save_figure(staging / "growth.png", growth_figure(model, series))
        files = sorted(path.relative_to(staging) for path in staging.rglob("*") if path.is_file())
    return Written(out, [out / name for name in files], list(dict.fromkeys(warnings)), time.monotonic() - started)


@dataclass(frozen=True)
class Frame:
    """A brain as it is written: the probabilities as bytes, a quarter of their size, since many ages may wait here.

    Growth stays float32: how large a rate can be depends on the model and its unit of age.
    """

    images: dict[str, np.ndarray]
    labels: np.ndarray
    probabilities: np.ndarray
    affine: np.ndarray
    row: dict[str, float | str]
    age: float
    conditions: dict[str, float | str]
    weights: SubjectWeights
    warnings: list[str]
    growth: AtlasGrowth | None = None

    @classmethod
    def of(cls, model: AtlasModel, brain: AtlasBrain, growth: AtlasGrowth | None = None) -> Frame:
        """Take what is written of a brain."""
        return cls(
            images={name: volume.array for name, volume in brain.images.items()},
            labels=brain.labels.array,
            probabilities=np.rint(brain.probabilities.array / PROBABILITY_STEP).astype(np.uint8),
            affine=brain.labels.affine,
            row=growth_row(model, brain, growth),
            age=brain.age,
            conditions=brain.conditions,
            weights=brain.weights,
            warnings=brain.warnings + ([] if growth is None else growth.warnings),
            growth=growth,
        )


def write_volumes(model: AtlasModel, frames: Sequence[Frame], folder: Path) -> None:
    """Write the volumes of frames on one grid, and the table of their labels.

    The age is the fourth axis where there are several; its step is in the header when the ages are evenly spaced.
    """
    affine = frames[0].affine
    step = _age_step([frame.age for frame in frames])
    stacks: dict[str, list[np.ndarray]] = {}
    for name in model.modalities:
        file = "image.nii.gz" if len(model.modalities) == 1 else f"{plain_name(name)}.nii.gz"
        stacks[file] = [frame.images[name] for frame in frames]
        rates = [frame.growth.images[name].array for frame in frames if frame.growth]
        if rates:
            stacks[f"growth_{file}"] = rates
    stacks["labels.nii.gz"] = [frame.labels for frame in frames]
    rates = [frame.growth.probabilities.array for frame in frames if frame.growth]
    if rates:
        stacks["growth_probabilities.nii.gz"] = rates
    for file, arrays in stacks.items():
        write_frames(folder / file, arrays, affine, frame_spacing=step, squeeze=True)
    write_frames(
        folder / "probabilities.nii.gz",
        [frame.probabilities for frame in frames],
        affine,
        frame_spacing=step,
        slope=PROBABILITY_STEP,
        squeeze=True,
    )
    model.labels.to_tsv(folder / "labels.tsv")


def write_certainty(model: AtlasModel, frames: Sequence[Frame], folder: Path) -> None:
    """Write the probabilities of every class, background too, into a file named after it, the age as fourth axis."""
    folder.mkdir()
    step = _age_step([frame.age for frame in frames])
    for index, name in enumerate(_file_names(model.labels)):
        write_frames(
            folder / f"{name}.nii.gz",
            [frame.probabilities[index] for frame in frames],
            frames[0].affine,
            frame_spacing=step,
            slope=PROBABILITY_STEP,
            squeeze=True,
        )


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
    """
    form = InputError(f"'{text}' is no range of ages.", "Write FIRST:LAST:STEP, such as 21:34:1.")
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
        raise InputError(f"'{text}' makes more than {MOST_AGES} ages.", "Choose a larger step.")
    return tuple(round(first + index * step, 9) for index in range(int(steps) + 1))


def _require_drawable(model: AtlasModel, request: Request, combinations: Sequence[Mapping[str, object]]) -> None:
    """Refuse an age or condition before the first brain is drawn: drawing all of them may take long."""
    options = request.options
    if request.growth and options.get("reference_compat"):
        raise InputError("The published program has no growth maps.", "Leave out --growth or --reference-compat.")
    usual: Method = "gaussian" if options.get("reference_compat") else "local-linear"
    names = [folder_name(conditions) for conditions in combinations]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"{name} is asked for twice.", "Give every value of a condition once.")
    for conditions, age in itertools.product(combinations, request.ages):
        method: Method = options.get("regression") or usual
        model.recipe(age, conditions, options.get("bandwidth"), method)


def _generate(model: AtlasModel, request: Request, conditions: Mapping[str, object], progress: Progress) -> list[Frame]:
    frames = []
    growing = {name: value for name, value in request.options.items() if name != "reference_compat"}
    drawn = 0.3 if request.growth else 1.0
    for index, age in enumerate(request.ages):
        message = f"{model.age_name.replace('_', ' ')} {age:g} {model.age_unit}"
        part = progress.part(index / len(request.ages), (index + 1) / len(request.ages), message)
        brain = model.generate(age, conditions, request.spacing, progress=part.part(0, drawn), **request.options)
        growth = None
        if request.growth:
            growth = model.growth(age, conditions, request.spacing, progress=part.part(drawn, 1), **growing)
        frames.append(Frame.of(model, brain, growth))
    return frames


def _record(model: AtlasModel, request: Request, frames: Sequence[Frame]) -> dict[str, Any]:
    growth = frames[0].growth
    return model.provenance(
        "atlas generate",
        {
            "ages": list(request.ages),
            "age": {"name": model.age_name, "unit": model.age_unit},
            "conditions": frames[0].conditions,
            "spacing": list(request.spacing),
            **request.options,
            "growth": request.growth,
            "certainty": request.certainty,
        },
        list(dict.fromkeys(text for frame in frames for text in frame.warnings)),
        ages=[
            {
                "asked": frame.age,
                "realised": round(frame.weights.realised_age, 4),
                "effective_n": round(frame.weights.effective_n, 3),
            }
            for frame in frames
        ],
        growth_unit=growth.unit if growth else None,
        training_subjects=len(model.subjects),
    )


def _age_step(ages: Sequence[float]) -> float:
    steps = {round(later - earlier, 6) for earlier, later in itertools.pairwise(ages)}
    return steps.pop() if len(steps) == 1 and min(steps) > 0 else 1.0


def _title(conditions: Mapping[str, object]) -> str:
    return ", ".join(f"{name} = {as_word(value)}" for name, value in conditions.items())


def plain_name(name: str) -> str:
    """Return a name that is one file's on every system; a model's names are not to be trusted with a path."""
    return "".join(letter if letter.isalnum() or letter in "-_+." else "_" for letter in name)


def _file_names(labels: LabelTable) -> list[str]:
    """Return a file name for every label; where two are the same on some system, their values tell them apart."""
    names = [plain_name(name) for name in labels.names]
    alike = Counter(name.casefold() for name in names)
    return [
        name if alike[name.casefold()] == 1 else f"{name}-{value}"
        for name, value in zip(names, labels.values, strict=True)
    ]
