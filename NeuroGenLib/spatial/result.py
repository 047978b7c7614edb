"""Result of a job by name: converted to files, worker messages or Slicer nodes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from NeuroGenLib.core.files import write_json
from NeuroGenLib.core.provenance import RECORD
from NeuroGenLib.core.reports import write_table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from NeuroGenLib.spatial.transforms.spatial_map import SpatialMap
    from NeuroGenLib.spatial.volume import Volume


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
        The result, and an existing folder such as one of :func:`NeuroGenLib.core.files.staged_outputs`.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_result(Result(facts={"quality": {"dice": 0.9}}), Path(folder))
    ...     [file.name for file in Path(folder).iterdir()]
    ['quality.json']
    """
    for name, volume in {**result.volumes, **result.labels}.items():
        volume.save(folder / f"{name}.nii.gz")
    for name, rows in result.tables.items():
        write_table(folder / f"{name}.tsv", rows)
    for name, facts in result.facts.items():
        write_json(folder / f"{name}.json", facts)
    if result.record:
        write_json(folder / RECORD, dict(result.record))
