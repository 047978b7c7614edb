"""Result of a super-resolution by name, and its files."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from NeuroGenLib.core import provenance
from NeuroGenLib.core.files import staged_outputs
from NeuroGenLib.core.provenance import RECORD
from NeuroGenLib.core.reports import PICTURE, PictureConfig, save_figure
from NeuroGenLib.spatial.result import Result, write_result
from NeuroGenLib.superres.evaluation.figure import superres_figure
from NeuroGenLib.superres.evaluation.quality_table import quality_rows

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from NeuroGenLib.spatial.volume import Volume
    from NeuroGenLib.superres.infer import SuperresModel, SuperResolution

IMAGE = "superres.nii.gz"
FILES = (IMAGE, "residual.nii.gz", "superres.png", "quality.json")
"""What a super-resolution writes beside its record."""
_WRITTEN = ("superres", "residual")


def superres_result(
    model: SuperresModel, super_resolution: SuperResolution, parameters: Mapping[str, Any], **more: Any
) -> Result:
    """Return a super-resolution by name: what is written to files, sent by the worker and shown in a scene.

    Parameters
    ----------
    model, super_resolution:
        The model and its super-resolution.
    parameters, more:
        Of the job, and further entries of the record.

    Returns
    -------
    Result
        Volumes ``superres``, ``residual`` and ``interpolated`` and the boolean label map ``head`` on one grid, in the
        space and units of the first scan; the table and the facts ``quality``.
    """
    return Result(
        volumes={
            "superres": super_resolution.image,
            "residual": super_resolution.residual,
            "interpolated": super_resolution.interpolated,
        },
        labels={"head": super_resolution.head},
        tables={"quality": quality_rows(super_resolution.quality)},
        facts={"quality": summary(super_resolution)},
        warnings=super_resolution.warnings,
        record=model.provenance("superres run", parameters, super_resolution.warnings, **more),
    )


def write_superres(result: Result, scan: Volume, out: Path, picture: PictureConfig = PICTURE) -> list[Path]:
    """Write a super-resolution, all or nothing, and return the files.

    ``superres.nii.gz`` and ``residual.nii.gz`` (the slices less the acquisition simulated from the result), in the
    space and units of the first scan; ``superres.png``, ``quality.json`` and ``provenance.json``.

    Parameters
    ----------
    result, scan:
        Of :func:`superres_result`, and the (first) scan.
    out:
        The folder.
    picture:
        Format and resolution of the figure.

    Raises
    ------
    InputError
        When a folder lies where a file goes.
    NeuroGenError
        When the files cannot be written.
    """
    volumes = {name: result.volumes[name] for name in _WRITTEN}
    with staged_outputs(out) as staging:
        write_result(replace(result, volumes=volumes, labels={}, tables={}), staging)
        save_figure(staging / "superres", superres_figure(result, scan), picture)
        files = sorted(path.name for path in staging.iterdir())
    return [out / name for name in files]


def write_reference(model: SuperresModel, image: Volume, out: Path, parameters: Mapping[str, Any]) -> list[Path]:
    """Write the image of the published pipeline, in normalised units on its padded grid, and return the files."""
    record = model.provenance("superres run", parameters, units="normalised, as published")
    with staged_outputs(out) as staging:
        write_result(Result(volumes={"superres": image}, record=record), staging)
    return [out / IMAGE, out / RECORD]


def summary(super_resolution: SuperResolution) -> dict[str, Any]:
    """Return the content of ``quality.json``."""
    return {
        **super_resolution.quality.to_mapping(),
        "transforms": {name: np.round(matrix, 6).tolist() for name, matrix in super_resolution.transforms.items()},
        "warnings": super_resolution.warnings,
        "research_use": provenance.RESEARCH_USE,
    }
