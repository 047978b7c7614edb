"""Writes what a super-resolution found into a folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from NeuroGenLib.core import provenance
from NeuroGenLib.core.files import staged_outputs, write_json
from NeuroGenLib.core.reports import save_figure
from NeuroGenLib.superres.evaluation.figure import superres_figure

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from NeuroGenLib.spatial.volume import Volume
    from NeuroGenLib.superres.infer import SuperresModel, SuperResolution

IMAGE, RECORD = "superres.nii.gz", "provenance.json"


def write_result(
    model: SuperresModel,
    found: SuperResolution,
    scan: Volume,
    out: Path,
    parameters: Mapping[str, Any],
    **more: Any,
) -> list[Path]:
    """Write a result, all or nothing, and return the files.

    ``superres.nii.gz`` and ``residual.nii.gz`` (what was measured less what the result gives when sliced again), in the
    space and units of the first scan; ``superres.png``, ``quality.json`` and ``provenance.json``.

    Parameters
    ----------
    model, found, scan:
        What did it, what it found, and the (first) scan.
    out:
        The folder.
    parameters, more:
        Of the job, and what else the record shall hold.

    Raises
    ------
    InputError
        When something in the folder is in the way.
    NeuroGenError
        When the disk refuses.
    """
    with staged_outputs(out) as staging:
        found.image.save(staging / IMAGE)
        found.residual.save(staging / "residual.nii.gz")
        save_figure(staging / "superres.png", superres_figure(found, scan, model.notice))
        write_json(staging / "quality.json", summary(found))
        write_json(staging / RECORD, _record(model, parameters, found.warnings, more))
        files = sorted(path.name for path in staging.iterdir())
    return [out / name for name in files]


def write_reference(model: SuperresModel, image: Volume, out: Path, parameters: Mapping[str, Any]) -> list[Path]:
    """Write what the published pipeline found, in normalised units on its padded grid, and return the files."""
    with staged_outputs(out) as staging:
        image.save(staging / IMAGE)
        write_json(staging / RECORD, _record(model, parameters, [], {"units": "normalised, as published"}))
    return [out / IMAGE, out / RECORD]


def summary(found: SuperResolution) -> dict[str, Any]:
    """Return what ``quality.json`` holds."""
    return {
        **found.quality.to_mapping(),
        "transforms": {name: np.round(matrix, 6).tolist() for name, matrix in found.transforms.items()},
        "warnings": found.warnings,
        "research_use": provenance.RESEARCH_USE,
    }


def _record(
    model: SuperresModel, parameters: Mapping[str, Any], warnings: list[str], more: Mapping[str, Any]
) -> dict[str, Any]:
    return model.provenance("superres run", parameters, warnings, **more)
