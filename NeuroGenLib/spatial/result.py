"""Result of a job by name: converted to files, worker messages or Slicer nodes."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from NeuroGenLib.core.errors import InputError, NeuroGenError
from NeuroGenLib.core.files import write_json
from NeuroGenLib.core.provenance import RECORD
from NeuroGenLib.core.reports import write_table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from NeuroGenLib.spatial.transforms.spatial_map import SpatialMap
    from NeuroGenLib.spatial.volume import Volume

log = logging.getLogger(__name__)

_LITTLE_OVERLAP = 0.1
"""Share of the smaller field of view: below it, images of one head are rarely meant."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Result:
    """Volumes, label maps, spatial maps, tables and facts of a job, each by its name.

    A name is a file's name without its suffix; a node and a field of the worker's message have the same name.

    Attributes
    ----------
    volumes, labels:
        Images, and label maps, in the space of the input they came from.
    maps:
        Spatial maps, RAS mm.
    tables:
        Rows by column.
    facts:
        Values that JSON can hold, such as metrics.
    warnings:
        Sentences for the person who reads this result.
    record:
        Provenance.

    Examples
    --------
    >>> Result(tables={"quality": [{"measure": "Dice", "value": 0.9}]}).tables["quality"][0]["value"]
    0.9
    """

    volumes: Mapping[str, Volume] = field(default_factory=dict)
    labels: Mapping[str, Volume] = field(default_factory=dict)
    maps: Mapping[str, SpatialMap] = field(default_factory=dict)
    tables: Mapping[str, Sequence[Mapping[str, object]]] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    warnings: Sequence[str] = ()
    record: Mapping[str, Any] = field(default_factory=dict)


def write_result(result: Result, folder: Path) -> None:
    """Write a result's volumes, label maps, tables, facts and record into a folder.

    ``NAME.nii.gz`` for images and label maps, ``NAME.tsv`` for tables, ``NAME.json`` for facts, ``provenance.json``.
    Spatial maps have formats to choose from: :mod:`NeuroGenLib.spatial.files.spatial_maps` writes them.

    Parameters
    ----------
    result, folder:
        The result, and an existing folder such as one of :func:`NeuroGenLib.core.files.staged_outputs`. What
        :func:`inspected` remarks about the volumes is logged, and among the warnings of the record.

    Raises
    ------
    NeuroGenError
        When a volume holds no finite number, or the disk refuses.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_result(Result(facts={"quality": {"dice": 0.9}}), Path(folder))
    ...     [file.name for file in Path(folder).iterdir()]
    ['quality.json']
    """
    volumes = {**result.volumes, **result.labels}
    remarks = inspected(volumes)
    for text in remarks:
        log.warning(text)
    for name, volume in volumes.items():
        volume.save(folder / f"{name}.nii.gz")
    for name, rows in result.tables.items():
        write_table(folder / f"{name}.tsv", rows)
    for name, facts in result.facts.items():
        write_json(folder / f"{name}.json", facts)
    if result.record:
        write_json(folder / RECORD, with_warnings(result.record, remarks))


def inspected(volumes: Mapping[str, Volume]) -> list[str]:
    """Take a last look at volumes before they are written; return a sentence on each that is doubtful.

    Parameters
    ----------
    volumes:
        By the name that the sentence calls them.

    Raises
    ------
    NeuroGenError
        When no voxel of one is a finite number.

    Examples
    --------
    >>> from NeuroGenLib.spatial.volume import Volume
    >>> inspected({"warped": Volume(np.zeros((2, 3, 4)), np.eye(4))})
    ['The result warped has the same value everywhere (0).']
    """
    remarks = []
    for name, volume in volumes.items():
        lost = int(volume.array.size - np.isfinite(volume.array).sum())
        if lost == volume.array.size:
            raise NeuroGenError(
                f"No voxel of the result {name} is a finite number; nothing was written.",
                "Check the inputs for voxels that are NaN or infinite.",
                code="image-not-finite",
            )
        if lost:
            voxels = "1 voxel that is" if lost == 1 else f"{lost} voxels that are"
            remarks.append(f"The result {name} has {voxels} NaN or infinite.")
        elif volume.array.min() == volume.array.max():
            remarks.append(f"The result {name} has the same value everywhere ({volume.array.flat[0]:g}).")
    return remarks


def overlap_remarks(covered: Volume, volume: Volume, name: str) -> list[str]:
    """Return a sentence where a volume and the grid that it was brought to hardly overlap.

    Parameters
    ----------
    covered:
        (i, j, k), nonzero in voxels of the grid that the volume covers.
    volume, name:
        The volume, and how messages call it.

    Raises
    ------
    InputError
        When it covers none of them.

    Examples
    --------
    >>> from NeuroGenLib.spatial.volume import Volume
    >>> grid = Volume(np.arange(1000).reshape(10, 10, 10) < 50, np.eye(4))
    >>> overlap_remarks(grid, grid, "moving.nii.gz")
    ['moving.nii.gz overlaps the grid of the result by 5 % only; the rest of the result is 0.']
    """
    if not covered.array.any():
        raise InputError(
            f"{name} does not overlap the grid of the result: every voxel of it would be 0.",
            "Check that the images and the transform belong together, and that its direction is right.",
            code="geometry-mismatch",
        )
    voxels = [float(np.prod(each.shape)) * each.voxel_volume_ml for each in (covered, volume)]
    share = float(covered.array.mean()) * voxels[0] / min(voxels)
    if share >= _LITTLE_OVERLAP:
        return []
    return [f"{name} overlaps the grid of the result by {100 * share:.2g} % only; the rest of the result is 0."]


def with_warnings(record: Mapping[str, Any], remarks: Sequence[str]) -> dict[str, Any]:
    """Return a record with further warnings.

    Examples
    --------
    >>> with_warnings({"action": "mask"}, ["The mask is empty."])
    {'action': 'mask', 'warnings': ['The mask is empty.']}
    """
    if not remarks:
        return dict(record)
    return {**record, "warnings": list(dict.fromkeys([*record.get("warnings", ()), *remarks]))}
