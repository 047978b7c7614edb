"""Scans of a cohort table, put on one grid for training."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from NeuroGenLib.cohort.scans import read_cohort
from NeuroGenLib.cohort.subjects import Cohort, read_table
from NeuroGenLib.core.errors import InputError, nearest
from NeuroGenLib.registration.data.pairs import Prepared, ScanFiles, ScanPairs, pairs_from_table, pairs_within
from NeuroGenLib.spatial.foreground import foreground
from NeuroGenLib.spatial.grids import centred_affine, filled_grid
from NeuroGenLib.spatial.intensity import intensity_range, rescale
from NeuroGenLib.spatial.labels import as_label_map
from NeuroGenLib.spatial.volume import Volume, require_3d, require_finite, require_same_space

if TYPE_CHECKING:
    from collections.abc import Mapping

    from NeuroGenLib.cohort.subjects import Subject
    from NeuroGenLib.registration.config import TableConfig
    from NeuroGenLib.spatial.grids import Shape3

_PERCENTILES = (0.1, 99.9)
"""Intensities that become 0 and 1 under the normalisation 'percentile'."""
_POINT_COLUMNS = ("x", "y", "z")


class TablePairs(ScanPairs):
    """Pairs of the scans of a table; errors are those of reading it and of :class:`ScanPairs`.

    Parameters
    ----------
    config:
        The table and its rules.
    items, most_labels, cache_gib:
        See :class:`ScanPairs`.
    """

    def __init__(
        self, config: TableConfig, *, items: int = 2, most_labels: int | None = None, cache_gib: float = 4.0
    ) -> None:
        columns = [config.segmentation, config.mask, config.landmarks]
        files = [*config.images, *(column for column in columns[:2] if column is not None)]
        cohort = read_cohort(config.table, files, config.root, config.include, config.exclude)
        cohort.require_files()
        scans = [_scan(subject, config) for subject in cohort]
        super().__init__(
            scans,
            OnGrid(config, scans[0]),
            _pairs(config, cohort),
            items=items,
            labels=tuple((value,) for value in config.labels) or None,
            most_labels=most_labels if config.segmentation is not None else 0,
            cache_gib=cache_gib,
        )


class OnGrid:
    """Reorients a scan to RAS, puts it on the grid of the first scan's or the given size, scales its intensities.

    Parameters
    ----------
    config:
        Grid, placement and normalisation.
    first:
        The scan that decides what the settings leave open.
    """

    def __init__(self, config: TableConfig, first: ScanFiles) -> None:
        self._config = config
        volume = Volume.load(first.images[0]).reorient("RAS")
        self._shape: Shape3 = config.shape or volume.shape
        self._spacing = config.spacing or volume.spacing
        self._world = centred_affine(volume, volume.centre, self._shape, self._spacing)

    @property
    def record(self) -> Mapping[str, Any]:
        """Grid, placement and normalisation."""
        filled = self._config.placement == "foreground"
        return {
            "grid": list(self._shape),
            "spacing": None if filled else list(self._spacing),
            "fill": self._config.fill if filled else None,
            "placement": self._config.placement,
            "normalisation": self._config.normalisation,
            "orientation": "RAS",
        }

    def __call__(self, scan: ScanFiles) -> Prepared:
        """Read and prepare a scan.

        Raises
        ------
        InputError
            When a file is missing or unusable, or the files of the scan lie on different grids.
        """
        images = [_image(path) for path in scan.images]
        labels = None if scan.labels is None else as_label_map(Volume.load(scan.labels), str(scan.labels))
        mask = None if scan.mask is None else _image(scan.mask)
        named = {str(path): image for path, image in zip(scan.images, images, strict=True)}
        named |= {str(scan.labels): labels} if labels is not None else {}
        named |= {str(scan.mask): mask} if mask is not None else {}
        require_same_space(named)
        images = [image.reorient("RAS") for image in images]
        labels, mask = (volume if volume is None else volume.reorient("RAS") for volume in (labels, mask))
        grid = (self._shape, self._affine(images[0], labels, mask))
        inside = None if mask is None else mask.with_array((mask.array != 0).astype(np.uint8))
        return Prepared(
            image=np.stack([self._scaled(image.resample(like=grid).array, scan.id) for image in images]),
            affine=grid[1],
            labels=None if labels is None else labels.resample(like=grid, order=0).array,
            mask=None if inside is None else inside.resample(like=grid, order=0).array != 0,
            landmarks=None if scan.landmarks is None else _voxels(read_points(scan.landmarks), grid[1]),
        )

    def _affine(self, image: Volume, labels: Volume | None, mask: Volume | None) -> np.ndarray:
        if self._config.placement == "world":
            return self._world
        if self._config.placement == "centre":
            return centred_affine(image, image.centre, self._shape, self._spacing)
        region = labels if mask is None else mask
        if region is None:
            region = foreground(image)
        return filled_grid(region, self._shape, self._config.fill)[1]

    def _scaled(self, values: np.ndarray, name: str) -> np.ndarray:
        values = values.astype(np.float32)
        if self._config.normalisation == "none":
            return values
        percentiles = _PERCENTILES if self._config.normalisation == "percentile" else (0, 100)
        low, high = intensity_range(values, percentiles)
        if high <= low:
            raise InputError(
                f"An image of {name} has the same value everywhere.",
                "Check that it is the right file.",
                code="image-empty",
            )
        return rescale(values.astype(np.float64), low, high).astype(np.float32)


def read_points(path: Path) -> np.ndarray:
    """Read landmarks, (N, 3) RAS mm, from a table with the columns x, y and z.

    Raises
    ------
    InputError
        When a column is missing or a cell is not a number.
    """
    columns, rows = read_table(path)
    for column in _POINT_COLUMNS:
        if column not in columns:
            raise InputError(f"There is no column '{column}' in {path}.", nearest(column, columns), code="name-unknown")
    try:
        points = np.array([[float(row[column]) for column in _POINT_COLUMNS] for row in rows])
    except ValueError as error:
        raise InputError(
            f"{path} has a landmark that is not a number ({error}).", "Correct the table.", code="table-invalid"
        ) from error
    if not np.isfinite(points).all():
        raise InputError(f"{path} has a landmark that is NaN or infinite.", "Correct the table.", code="table-invalid")
    return points


def near_pairs(cohort: Cohort, column: str | None, most: float) -> np.ndarray | None:
    """Return the pairs whose values in a column differ by ``most`` at most, (P, 2), or None without a column.

    Raises
    ------
    InputError
        When the column is missing or holds no numbers.
    """
    return None if column is None else pairs_within(cohort.column(column), most)


def _pairs(config: TableConfig, cohort: Cohort) -> np.ndarray | None:
    if config.pairs is not None:
        return pairs_from_table(config.pairs, [subject.key for subject in cohort])
    return near_pairs(cohort, config.pair_column, config.pair_range)


def _scan(subject: Subject, config: TableConfig) -> ScanFiles:
    landmarks = None
    if config.landmarks is not None:
        name = subject.values.get(config.landmarks)
        if not isinstance(name, str):
            raise InputError(
                f"{subject.key} has no file in the column '{config.landmarks}'.",
                "Fill it in, or leave the scan out.",
                code="value-missing",
            )
        landmarks = (Path(config.table).parent if config.root is None else config.root) / name
    return ScanFiles(
        subject.key,
        tuple(subject.paths[column] for column in config.images),
        labels=None if config.segmentation is None else subject.paths[config.segmentation],
        mask=None if config.mask is None else subject.paths[config.mask],
        landmarks=landmarks,
    )


def _image(path: Path) -> Volume:
    volume = Volume.load(path)
    require_3d(volume, str(path))
    require_finite(volume, str(path))
    return volume


def _voxels(points: np.ndarray, affine: np.ndarray) -> np.ndarray:
    inverse = np.linalg.inv(affine)
    return (points @ inverse[:3, :3].T + inverse[:3, 3]).astype(np.float32)
