"""Result of a registration by name, and its files."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from NeuroGenLib.alignment.prepared_image import first_channel
from NeuroGenLib.core import provenance
from NeuroGenLib.core.files import staged_outputs
from NeuroGenLib.core.reports import PICTURE, PictureConfig, save_figure
from NeuroGenLib.registration.evaluation.overview_figure import registration_figure
from NeuroGenLib.registration.evaluation.quality import STAGES
from NeuroGenLib.spatial.files.spatial_maps import TRANSFORM_SUFFIXES, write_displacement_field, write_transform
from NeuroGenLib.spatial.result import Result, write_result

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from NeuroGenLib.registration.config import TransformFormat
    from NeuroGenLib.registration.evaluation.quality import Quality
    from NeuroGenLib.registration.infer import Registration, RegistrationModel
    from NeuroGenLib.spatial.files.landmarks import PointFile
    from NeuroGenLib.spatial.transforms.spatial_map import SpatialMap
    from NeuroGenLib.spatial.volume import Volume

FILES = (
    "warped.nii.gz",
    "warped_labels.nii.gz",
    "jacobian.nii.gz",
    "forward.*",
    "inverse.*",
    "quality.tsv",
    "quality.json",
    "points.*",
    "registration.png",
)
"""What a registration writes beside its record and masks that it computes; ``*`` for any letters."""

_DIRECTIONS = {
    "forward": "maps fixed to moving points; resampling with it brings the moving image onto the fixed grid",
    "inverse": "maps moving to fixed points",
}


@dataclass(frozen=True, eq=False)
class RegistrationInputs:
    """Images to register, their label maps and masks, and points of the moving image.

    ``found_masks`` are the roles whose masks were computed; they are written.
    """

    fixed: Volume
    moving: Volume
    fixed_labels: Volume | None = None
    moving_labels: Volume | None = None
    fixed_mask: Volume | None = None
    moving_mask: Volume | None = None
    points: PointFile | None = None
    found_masks: tuple[str, ...] = field(default=())


def registration_result(model: RegistrationModel, registration: Registration, parameters: Mapping[str, Any]) -> Result:
    """Return a registration by name: what is written to files, sent by the worker and shown in a scene.

    Parameters
    ----------
    model, registration:
        The network and its result.
    parameters:
        Of the job, for the record.

    Returns
    -------
    Result
        Volumes ``warped`` and ``jacobian`` and, with labels, the label map ``warped_labels``, all on the grid of the
        fixed image; maps ``forward`` and ``inverse``; the table and the facts ``quality``.
    """
    labels = registration.warped_labels
    return Result(
        volumes={"warped": registration.warped, "jacobian": registration.jacobian},
        labels={} if labels is None else {"warped_labels": labels},
        maps={"forward": registration.forward, "inverse": registration.inverse},
        tables={"quality": quality_rows(registration.quality)},
        facts={"quality": summary(registration)},
        warnings=registration.warnings,
        record=model.provenance("registration run", parameters, registration.warnings, transforms=_DIRECTIONS),
    )


def write_registration(
    result: Result,
    registration: Registration,
    inputs: RegistrationInputs,
    out: Path,
    transform_format: TransformFormat = "h5",
    picture: PictureConfig = PICTURE,
) -> list[Path]:
    """Write a registration, all or nothing, and return the files.

    What :func:`NeuroGenLib.spatial.result.write_result` writes; ``forward`` and ``inverse`` in ``transform_format``;
    ``points`` in the format they came in, mapped into the space of the fixed image; the masks that were found; and
    the overview figure ``registration.png``.

    Parameters
    ----------
    result, registration:
        Of :func:`registration_result`, and the registration for the overview figure.
    inputs:
        What was registered.
    out:
        The folder.
    transform_format:
        As a field (nrrd, nii.gz), ``forward`` lies on the grid of the fixed image and ``inverse`` on that of the moving
        one; both displace nothing outside of it.
    picture:
        Format and resolution of the figure.

    Raises
    ------
    InputError
        When a grid is sheared, which no file of transforms can hold, or something in the folder is in the way.
    NeuroGenError
        When the disk refuses.
    """
    with staged_outputs(out) as staging:
        write_result(result, staging)
        write_map(result.maps["forward"], inputs.fixed, staging / f"forward.{transform_format}")
        write_map(result.maps["inverse"], inputs.moving, staging / f"inverse.{transform_format}")
        if inputs.points is not None:
            in_fixed_space = result.maps["inverse"].points(inputs.points.points)
            inputs.points.with_points(in_fixed_space).write(staging / f"points{inputs.points.suffix}")
        for role, mask in (("fixed", inputs.fixed_mask), ("moving", inputs.moving_mask)):
            if mask is not None and role in inputs.found_masks:
                mask.save(staging / f"{role}_mask.nii.gz")
        images = first_channel(inputs.fixed), first_channel(inputs.moving)
        figure = registration_figure(registration, *images, result.record.get("shows") or "")
        save_figure(staging / "registration", figure, picture)
        files = sorted(path.relative_to(staging) for path in staging.rglob("*") if path.is_file())
    return [out / name for name in files]


def write_map(spatial_map: SpatialMap, grid: Volume, path: Path) -> None:
    """Write a map of space by the name's ending: a transform, or its displacements on ``grid``."""
    if path.name.endswith(TRANSFORM_SUFFIXES):
        write_transform(spatial_map, path)
    else:
        write_displacement_field(spatial_map.displacement(grid), path)


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
            _row("Dice", str(label), "", {stage: quality.dice[stage].get(label) for stage in STAGES})
            for label in labels
        ]
        rows += [_end("95 % surface distance", str(label), "mm", value) for label, value in quality.hd95_mm.items()]
    rows += [
        _end("folded voxels", "all", "voxels", quality.folded_voxels),
        _end("folded voxels", "all", "%", quality.folded_percent),
        _end("non-diffeomorphic volume", "all", "%", quality.ndv_percent),
        _end("SD of log Jacobian", "all", "", quality.sd_log_jacobian),
        _end("inverse consistency, mean", "all", "mm", quality.inverse_consistency_mm),
        _end("inverse consistency, largest", "all", "mm", quality.inverse_consistency_max_mm),
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
