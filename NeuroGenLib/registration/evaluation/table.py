"""How well a model registers pairs of scans: overlap, distances, folds, agreement of both directions, and cost."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from NeuroGenLib.core.batch import work_on_each
from NeuroGenLib.core.config import to_mapping
from NeuroGenLib.core.errors import InputError
from NeuroGenLib.core.files import read_json, require_folder_place, staged_outputs, write_json
from NeuroGenLib.core.progress import SILENT, Progress
from NeuroGenLib.core.reports import PICTURE, PictureConfig, one_line, save_figure, write_table
from NeuroGenLib.registration.data.table import read_points
from NeuroGenLib.registration.evaluation.cost import Cost
from NeuroGenLib.registration.evaluation.figure import evaluation_figure
from NeuroGenLib.registration.evaluation.results import END_METRICS, METRICS, SUFFIXES, Evaluation, Row, stage_columns
from NeuroGenLib.spatial.volume import Volume
from NeuroGenLib.version import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from NeuroGenLib.registration.config import RegisterConfig
    from NeuroGenLib.registration.evaluation.pairs import PairFiles
    from NeuroGenLib.registration.infer import Registration, RegistrationModel

FILES = ("pairs.tsv", "labels.tsv", "summary.json", "evaluation.png")
"""What an evaluation writes beside its record."""

DONE = "done"
"""Folder of the pairs that are finished, inside that of the results."""
MISSING = "n/a"
_SCHEMA = 1


def evaluate_to_folder(
    model: RegistrationModel,
    pairs: Sequence[PairFiles],
    out: Path,
    settings: RegisterConfig,
    progress: Progress = SILENT,
    *,
    command: str = "registration evaluate",
    picture: PictureConfig = PICTURE,
) -> Evaluation:
    """Register every pair; write ``pairs.tsv``, ``labels.tsv``, ``summary.json``, ``evaluation.png``.

    A pair that fails becomes a row with its reason. Each pair is kept in the folder ``done`` as soon as it is
    finished, and is not registered again unless its files, the model or the settings change: an evaluation that was
    stopped goes on.

    Parameters
    ----------
    model, settings:
        The network, and how each pair is registered.
    pairs:
        See :func:`~NeuroGenLib.registration.evaluation.pairs.read_pairs`.
    out:
        Folder of the results.
    progress:
        Progress callback; a cancelled one ends the work, finished pairs stay.
    command:
        What the record of the results calls this.
    picture:
        Format and resolution of the figure.

    Raises
    ------
    InputError, NeuroGenError
        When no pair could be registered: the first one's reason. When the folder cannot be written.
    Cancelled
        When ``progress`` was cancelled.
    """
    require_folder_place(out)
    what = {
        "schema": _SCHEMA,
        "version": __version__,
        "model": model.folder.manifest["files"],
        "settings": to_mapping(settings),
    }

    def work(pair: PairFiles, part: Progress) -> tuple[Row, list[Row]]:
        place = out / DONE / f"{pair.fingerprint(what)}.json"
        finished = _finished(place)
        if finished is None:
            finished = evaluate_pair(model, pair, settings, part)
            write_json(place, {"row": finished[0], "labels": finished[1]})
        return finished

    outcomes = work_on_each(pairs, work, lambda pair: pair.name, "registered", progress)
    results = [outcome.output or (_failed(outcome.item, outcome.reason), []) for outcome in outcomes]
    rows, labels = [row for row, _ in results], [row for _, of_pair in results for row in of_pair]
    evaluation = Evaluation(rows, labels, _summary(rows))
    write_evaluation(evaluation, model, out, {**what, "pairs": [list(pair.named) for pair in pairs]}, command, picture)
    return evaluation


def evaluate_pair(
    model: RegistrationModel, pair: PairFiles, settings: RegisterConfig, progress: Progress = SILENT
) -> tuple[Row, list[Row]]:
    """Register one pair; return its row, and a row for each label.

    Time and memory are those of :meth:`RegistrationModel.register`, measuring included, files not.

    Raises
    ------
    InputError
        When a file cannot be used, or the landmarks do not correspond.
    Cancelled
        When ``progress`` was cancelled.
    """
    fixed, moving = Volume.load(pair.fixed), Volume.load(pair.moving)
    paths = {name: getattr(pair, name) for name in ("fixed_labels", "moving_labels", "fixed_mask", "moving_mask")}
    volumes = {name: None if path is None else Volume.load(path) for name, path in paths.items()}
    landmarks = _landmarks(pair)
    with Cost(model.device) as cost:
        registration = model.register(fixed, moving, settings=settings, progress=progress, **volumes)
    row: Row = {"fixed": pair.named[0], "moving": pair.named[1], "kind": pair.kind or None, "status": "done"}
    row |= dict.fromkeys(METRICS) | _quality(registration)
    if landmarks is not None:
        row |= _landmark_errors(registration, *landmarks)
    row |= {name: _finite(getattr(cost, name)) for name in ("wall_s", "cpu_s", "peak_memory_mib", "peak_gpu_mib")}
    row["remarks"] = one_line(" ".join(registration.warnings)) or None
    return row, _label_rows(pair, registration)


def write_evaluation(
    evaluation: Evaluation,
    model: RegistrationModel,
    out: Path,
    parameters: Mapping[str, Any],
    command: str,
    picture: PictureConfig,
) -> None:
    """Write tables, summary, picture and record; all appear, or none."""
    with staged_outputs(out) as staging:
        write_table(staging / "pairs.tsv", [_for_people(row) for row in evaluation.rows])
        if evaluation.labels:
            write_table(staging / "labels.tsv", [_for_people(row) for row in evaluation.labels])
        write_json(staging / "summary.json", evaluation.summary)
        save_figure(staging / "evaluation", evaluation_figure(evaluation), picture)
        record = model.provenance(
            command,
            {name: value for name, value in parameters.items() if name in ("settings", "pairs")},
            (),
            results=evaluation.summary,
        )
        write_json(staging / "provenance.json", record)


def _quality(registration: Registration) -> Row:
    quality = registration.quality
    row: Row = {}
    for stage, suffix in SUFFIXES.items():
        row[f"mutual_information{suffix}"] = _finite(quality.mutual_information[stage])
        row[f"correlation{suffix}"] = _finite(quality.correlation[stage])
        row[f"dice{suffix}"] = _finite(quality.mean_dice(stage))
    for name in END_METRICS[2:9]:
        row[name] = _finite(getattr(quality, name))
    if quality.hd95_mm is not None:
        finite = [value for value in quality.hd95_mm.values() if math.isfinite(value)]
        row["hd95_mm"] = float(np.mean(finite)) if finite else None
        row["labels_in_one_map"] = len(quality.hd95_mm) - len(finite)
    return row


def _label_rows(pair: PairFiles, registration: Registration) -> list[Row]:
    dice, distances = registration.quality.dice, registration.quality.hd95_mm
    if dice is None or distances is None:
        return []
    rows = []
    for label in sorted({label for by_label in dice.values() for label in by_label}):
        row: Row = {"fixed": pair.named[0], "moving": pair.named[1], "label": label}
        row |= {f"dice{suffix}": _finite(dice[stage].get(label)) for stage, suffix in SUFFIXES.items()}
        distance = distances.get(label)
        row["hd95_mm"] = "inf" if distance is not None and math.isinf(distance) else _finite(distance)
        rows.append(row)
    return rows


def _landmarks(pair: PairFiles) -> tuple[np.ndarray, np.ndarray] | None:
    if pair.fixed_landmarks is None or pair.moving_landmarks is None:
        return None
    fixed, moving = read_points(pair.fixed_landmarks), read_points(pair.moving_landmarks)
    if len(fixed) != len(moving):
        raise InputError(
            f"{pair.fixed_landmarks} has {len(fixed)} landmarks, and {pair.moving_landmarks} {len(moving)}.",
            "Give the same landmarks for both, in the same order.",
            code="table-invalid",
        )
    return fixed, moving


def _landmark_errors(registration: Registration, fixed: np.ndarray, moving: np.ndarray) -> Row:
    """Return the mean distance, mm, of where fixed landmarks come to from the same landmarks of the moving image."""
    affine = registration.start.fixed_to_moving
    places = (fixed, fixed @ affine[:3, :3].T + affine[:3, 3], registration.forward.points(fixed))
    return {
        column: float(np.linalg.norm(mapped - moving, axis=1).mean())
        for column, mapped in zip(stage_columns("tre_mm"), places, strict=True)
    }


def _summary(rows: Sequence[Row]) -> dict[str, Any]:
    summary = _summarised(rows)
    kinds = dict.fromkeys(row["kind"] for row in rows if row["kind"] is not None)
    summary["kinds"] = {kind: _summarised([row for row in rows if row["kind"] == kind]) for kind in kinds}
    return summary


def _summarised(rows: Sequence[Row]) -> dict[str, Any]:
    metrics = {}
    for name in METRICS:
        values = [row[name] for row in rows if row[name] is not None]
        if values:
            metrics[name] = {"mean": float(np.mean(values)), "sd": float(np.std(values)), "pairs": len(values)}
    return {"pairs": len(rows), "failed": sum(row["status"] == "failed" for row in rows), "metrics": metrics}


def _finished(place: Path) -> tuple[Row, list[Row]] | None:
    """Return what an earlier evaluation found, None when there is nothing or it is damaged."""
    if not place.is_file():
        return None
    try:
        content = read_json(place)
        return content["row"], content["labels"]
    except (InputError, KeyError, TypeError):
        return None


def _failed(pair: PairFiles, reason: str) -> Row:
    row: Row = {"fixed": pair.named[0], "moving": pair.named[1], "kind": pair.kind or None, "status": "failed"}
    return row | dict.fromkeys(METRICS) | {"remarks": reason}


def _for_people(row: Row) -> Row:
    return {name: MISSING if value is None else value for name, value in row.items()}


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else value
