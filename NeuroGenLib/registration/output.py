"""Writes what a registration found into a folder."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from NeuroGenLib.alignment.prepared_image import first_channel
from NeuroGenLib.core import provenance
from NeuroGenLib.core.files import staged_outputs, write_json
from NeuroGenLib.core.reports import save_figure, write_table
from NeuroGenLib.registration.evaluation.overview_figure import registration_figure
from NeuroGenLib.registration.evaluation.quality import STAGES
from NeuroGenLib.spatial.spatial_map_files import TRANSFORM_SUFFIXES, write_displacement_field, write_transform

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from NeuroGenLib.registration.evaluation.quality import Quality
    from NeuroGenLib.registration.infer import Registration, RegistrationModel
    from NeuroGenLib.spatial.landmark_files import PointFile
    from NeuroGenLib.spatial.spatial_map import SpatialMap
    from NeuroGenLib.spatial.volume import Volume

FORMATS = ("h5", "tfm", "nrrd", "nii.gz")
"""How transforms are written: as ITK composites, or as displacement fields."""


@dataclass(frozen=True, eq=False)
class Scans:
    """What was registered: images, their label maps and masks, and points of the moving image.

    ``found_masks`` says whose masks were not given but found; they are written.
    """

    fixed: Volume
    moving: Volume
    fixed_labels: Volume | None = None
    moving_labels: Volume | None = None
    fixed_mask: Volume | None = None
    moving_mask: Volume | None = None
    points: PointFile | None = None
    found_masks: tuple[str, ...] = field(default=())


def write_result(
    model: RegistrationModel,
    registration: Registration,
    scans: Scans,
    out: Path,
    parameters: Mapping[str, Any],
    form: str = "h5",
) -> list[Path]:
    """Write a registration, all or nothing, and return the files.

    ``warped.nii.gz``, ``jacobian.nii.gz`` and, with labels, ``warped_labels.nii.gz`` on the grid of the fixed image;
    ``forward`` and ``inverse`` in the format ``form``; ``points`` in the format they came in, carried into the space of
    the fixed image; the masks that were found; ``quality.json``, ``quality.tsv``, ``registration.png`` and
    ``provenance.json``.

    Parameters
    ----------
    model, registration, scans:
        What registered, what it found, and in what.
    out:
        The folder.
    parameters:
        Of the job, for the record.
    form:
        One of :data:`FORMATS`. As a field, ``forward`` lies on the grid of the fixed image and ``inverse`` on that of
        the moving one; both move nothing outside of it.

    Raises
    ------
    InputError
        When a grid is sheared, which no file of transforms can hold, or something in the folder is in the way.
    NeuroGenError
        When the disk refuses.
    """
    with staged_outputs(out) as staging:
        registration.warped.save(staging / "warped.nii.gz")
        if registration.warped_labels is not None:
            registration.warped_labels.save(staging / "warped_labels.nii.gz")
        registration.jacobian.save(staging / "jacobian.nii.gz")
        write_map(registration.forward, scans.fixed, staging / f"forward.{form}")
        write_map(registration.inverse, scans.moving, staging / f"inverse.{form}")
        if scans.points is not None:
            moved = registration.inverse.points(scans.points.points)
            scans.points.with_points(moved).write(staging / f"points{scans.points.suffix}")
        for role, mask in (("fixed", scans.fixed_mask), ("moving", scans.moving_mask)):
            if mask is not None and role in scans.found_masks:
                mask.save(staging / f"{role}_mask.nii.gz")
        write_json(staging / "quality.json", summary(registration))
        write_table(staging / "quality.tsv", quality_rows(registration.quality))
        figure = registration_figure(
            registration, first_channel(scans.fixed), first_channel(scans.moving), model.notice
        )
        save_figure(staging / "registration.png", figure)
        write_json(staging / "provenance.json", _record(model, registration, parameters))
        files = sorted(path.relative_to(staging) for path in staging.rglob("*") if path.is_file())
    return [out / name for name in files]


def write_map(one: SpatialMap, grid: Volume, path: Path) -> None:
    """Write a map of space by the name's ending: a transform, or its displacements on ``grid``."""
    if path.name.endswith(TRANSFORM_SUFFIXES):
        write_transform(one, path)
    else:
        write_displacement_field(one.displacement(grid), path)


def summary(registration: Registration) -> dict[str, Any]:
    """Return what ``quality.json`` holds."""
    start = registration.start
    return {
        **registration.quality.to_mapping(),
        "start": {
            "fixed_to_moving": np.round(start.fixed_to_moving, 6).tolist(),
            "disagreement_mm": round(start.disagreement_mm, 4),
        },
        "warnings": registration.warnings,
        "research_use": provenance.RESEARCH_USE,
    }


def quality_rows(quality: Quality) -> list[dict[str, object]]:
    """Return the table for people: a measure a row, by stage where it was measured more than once."""
    rows = [
        _row("correlation", "all", "", quality.correlation),
        _row("mutual information", "all", "nats", quality.mutual_information),
    ]
    if quality.dice is not None and quality.hd95_mm is not None:
        means = {stage: quality.mean_dice(stage) for stage in STAGES}
        rows.append(_row("Dice", "mean", "", means))
        labels = quality.dice["registered"]
        rows += [
            _row("Dice", str(one), "", {stage: quality.dice[stage].get(one) for stage in STAGES}) for one in labels
        ]
        rows += [_end("95 % surface distance", str(one), "mm", value) for one, value in quality.hd95_mm.items()]
    rows += [
        _end("folded voxels", "all", "voxels", quality.folded_voxels),
        _end("folded voxels", "all", "%", quality.folded_percent),
        _end("non-diffeomorphic volume", "all", "%", quality.ndv_percent),
        _end("SD of log Jacobian", "all", "", quality.sd_log_jacobian),
        _end("there and back, mean", "all", "mm", quality.inverse_consistency_mm),
        _end("there and back, largest", "all", "mm", quality.inverse_consistency_max_mm),
        _end("displacement after the start, mean", "all", "mm", quality.displacement_mm),
    ]
    return rows


def _row(measure: str, label: str, unit: str, by_stage: Mapping[str, float | None]) -> dict[str, object]:
    cells = {stage: _cell(by_stage.get(stage)) for stage in STAGES}
    return {"measure": measure, "label": label, **cells, "unit": unit or "n/a"}


def _end(measure: str, label: str, unit: str, value: float) -> dict[str, object]:
    return _row(measure, label, unit, {"registered": value})


def _cell(value: float | None) -> str:
    return "n/a" if value is None or not math.isfinite(value) else f"{value:.4g}"


def _record(model: RegistrationModel, registration: Registration, parameters: Mapping[str, Any]) -> dict[str, Any]:
    return model.provenance(
        "registration run",
        parameters,
        registration.warnings,
        transforms={
            "forward": "maps fixed to moving points; resampling with it brings the moving image onto the fixed grid",
            "inverse": "maps moving to fixed points",
        },
    )
