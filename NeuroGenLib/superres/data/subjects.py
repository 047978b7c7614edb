"""Scans and label maps of a training, read once and kept in memory; split of the subjects."""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from NeuroGenLib.cohort.scans import read_cohort
from NeuroGenLib.core.errors import InputError, nearest
from NeuroGenLib.core.progress import SILENT, Progress
from NeuroGenLib.simulate.tissues import TissueTable, fetal_tissues, freesurfer_tissues, unknown_tissues
from NeuroGenLib.spatial.foreground import foreground
from NeuroGenLib.spatial.intensity import rescale
from NeuroGenLib.spatial.labels import as_label_map
from NeuroGenLib.spatial.volume import Volume, require_3d, require_finite, require_same_space
from NeuroGenLib.superres.intensity import head_range
from NeuroGenLib.superres.published.reference import published_split

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import torch

    from NeuroGenLib.cohort.subjects import Cohort, Subject
    from NeuroGenLib.superres.config import MapsConfig, ScansConfig, SplitConfig, SuperresTrainConfig

TISSUES = {"freesurfer": freesurfer_tissues, "fetal": fetal_tissues, "unknown": unknown_tissues}
_MOST_ANISOTROPIC = 1.05
"""Ratio of the largest voxel side to the smallest above which a scan cannot serve as truth."""
_AROUND = 8
"""Voxels of air that are kept around a head."""
_CENTRES = 20_000
"""Centres of windows kept for a scan, about: memory against variety."""


@dataclass(frozen=True)
class Example:
    """A scan or a label map, or both on one grid; axes along R, A, S, isotropic voxels.

    Attributes
    ----------
    id:
        Of the scan.
    spacing:
        Voxel size in mm.
    image, guide:
        (I, J, K) float16, 0 and 1 being the 1st and 99th percentile of the head.
    air:
        What an intensity of 0 in the file became in ``image``.
    labels:
        (I, J, K) int16 or int32.
    head:
        (I, J, K) bool.
    centres:
        (N, 3) voxels of the head, about which windows are cut.
    tissues:
        What the labels mean.
    """

    id: str
    spacing: float
    head: torch.Tensor
    centres: np.ndarray
    image: torch.Tensor | None = None
    guide: torch.Tensor | None = None
    air: float = 0.0
    labels: torch.Tensor | None = None
    tissues: TissueTable | None = None

    def to(self, device: torch.device) -> Example:
        """Return it on a device."""
        image, guide, labels = (
            None if tensor is None else tensor.to(device) for tensor in (self.image, self.guide, self.labels)
        )
        return replace(self, head=self.head.to(device), image=image, guide=guide, labels=labels)


@dataclass(frozen=True)
class Examples:
    """What a run reads.

    Attributes
    ----------
    scans, maps:
        Trained on.
    validation:
        Left out, to measure with.
    sizes:
        Scans, or maps where there are no scans: trained on, validated with, kept for a test.
    """

    scans: tuple[Example, ...]
    maps: tuple[Example, ...]
    validation: tuple[Example, ...]
    sizes: tuple[int, int, int]

    @property
    def spacings(self) -> tuple[float, float]:
        """Least and largest voxel size of what is trained on, in mm."""
        sizes = [example.spacing for example in (*self.scans, *self.maps)]
        return round(min(sizes), 3), round(max(sizes), 3)


def read_examples(config: SuperresTrainConfig, progress: Progress = SILENT) -> Examples:
    """Read what a run needs; the split is of the scans, and of the label maps where there are no scans.

    Raises
    ------
    InputError
        When a table, column or file is missing or unusable, no scan is left to train on or to validate with, or a scan
        is not isotropic.
    """
    scans = None if config.scans.source is None else scan_cohort(config.scans)
    maps = None if config.maps.source is None else map_cohort(config.maps)
    whole = scans if scans is not None else maps
    if whole is None:
        raise InputError("There is nothing to train on.", "Give scans.source or maps.source.", code="value-missing")
    parts = split(whole, config.split)
    chosen = _evenly(parts["validation"], config.validation.most)

    def read_scan(subject: Subject) -> Example:
        return _scan(subject, config.scans, config.window)

    def read_map(subject: Subject) -> Example:
        return _map(subject, config.maps, config.maps_spacing, config.window)

    first = read_map if scans is None else read_scan
    trained = _read(first, parts["train"], progress.part(0, 0.5))
    validation = _read(first, chosen, progress.part(0.5, 0.6))
    more = () if scans is None or maps is None else _read(read_map, tuple(maps), progress.part(0.6, 1))
    sizes = (len(parts["train"]), len(parts["validation"]), len(parts["test"]))
    return Examples(() if scans is None else trained, trained if scans is None else more, validation, sizes)


def scan_cohort(config: ScansConfig) -> Cohort:
    """Return the scans of the table, with the files of every column that is named.

    Raises
    ------
    InputError
        When the table, a column or a file is missing, or no scan is left.
    """
    columns = [column for column in (config.images, config.guide, config.segmentation, config.low) if column]
    if config.source is None:
        raise InputError("scans.source is not given.", "Give the table or the folder of scans.", code="value-missing")
    cohort = read_cohort(config.source, columns, config.root, config.include, config.exclude)
    cohort.require_files()
    return cohort


def map_cohort(config: MapsConfig) -> Cohort:
    """Return the label maps of the table or folder.

    Raises
    ------
    InputError
        When the table, a column or a file is missing, no label map is left, or it is not clear which column is meant.
    """
    columns = None if config.segmentation is None else [config.segmentation]
    if config.source is None:
        raise InputError(
            "maps.source is not given.", "Give the table or the folder of label maps.", code="value-missing"
        )
    cohort = read_cohort(config.source, columns, config.root, config.include, config.exclude)
    if len(cohort.modalities) > 1:
        raise InputError(
            f"{config.source} has several kinds of files: {', '.join(cohort.modalities)}.",
            "Name the one with the label maps as maps.segmentation.",
            code="value-missing",
        )
    cohort.require_files()
    return cohort


def split(cohort: Cohort, config: SplitConfig) -> dict[str, tuple[Subject, ...]]:
    """Deal the subjects out to ``train``, ``validation`` and ``test``.

    Raises
    ------
    InputError
        When no scan is left to train on or to validate with, or a name fits none.
    """
    everybody = tuple(cohort)
    if config.kind == "named":
        for pattern in config.validation:
            if not fnmatch.filter(cohort.ids, pattern):
                raise InputError(
                    f"No scan of {cohort.name} is named '{pattern}'.", nearest(pattern, cohort.ids), code="name-unknown"
                )
        left_out = {name for pattern in config.validation for name in fnmatch.filter(cohort.ids, pattern)}
        parts = [tuple(subject for subject in everybody if (subject.id in left_out) is out) for out in (False, True)]
        parts.append(())
    elif config.kind == "order":
        ends = np.cumsum(published_split(len(everybody)))
        parts = [everybody[: ends[0]], everybody[ends[0] : ends[1]], everybody[ends[1] :]]
    else:
        people = list(dict.fromkeys(cohort.ids))
        order = np.random.default_rng(config.seed).permutation(len(people))
        validated = max(1, round(config.fractions[1] * len(people)))
        tested = round(config.fractions[2] * len(people))
        ends = np.cumsum([max(0, len(people) - validated - tested), validated])
        dealt = [{people[index] for index in part} for part in np.split(order, ends)]
        parts = [tuple(subject for subject in everybody if subject.id in part) for part in dealt]
    for name, part in zip(("train on", "validate with"), parts, strict=False):
        if not part:
            raise InputError(
                f"Of the {len(everybody)} scans of {cohort.name}, none is left to {name}.",
                "Give more scans, or change the split.",
                code="table-empty",
            )
    return dict(zip(("train", "validation", "test"), parts, strict=True))


def _read(read: Callable[[Subject], Example], subjects: Sequence[Subject], progress: Progress) -> tuple[Example, ...]:
    return tuple(read(subject) for subject in progress.track(subjects, "reading scans"))


def _evenly(subjects: Sequence[Subject], most: int) -> tuple[Subject, ...]:
    places = np.linspace(0, len(subjects) - 1, min(most, len(subjects))).round().astype(int)
    return tuple(subjects[place] for place in places)


def _scan(subject: Subject, config: ScansConfig, window: int) -> Example:
    import torch

    paths = subject.paths
    names = [config.images] if config.guide is None else [config.images, config.guide]
    images = {str(paths[name]): _image(paths[name]) for name in names}
    labels = None
    if config.segmentation is not None:
        path = paths[config.segmentation]
        labels = as_label_map(Volume.load(path), str(path))
    require_same_space({**images, **({} if labels is None else {str(paths[config.segmentation or ""]): labels})})
    scan = images[str(paths[config.images])]
    if max(scan.spacing) > _MOST_ANISOTROPIC * min(scan.spacing):
        sides = " x ".join(f"{mm:.3g}" for mm in scan.spacing)
        raise InputError(
            f"{paths[config.images]} has voxels of {sides} mm, which are not isotropic.",
            "Train on isotropic scans; thick slices are made from them.",
            code="geometry-invalid",
        )
    head = foreground(scan).resample(like=scan, order=0) if labels is None else labels.with_array(labels.array != 0)
    scaled = []
    for name, image in images.items():
        # Outside of the head there may be anything; the mask of a scan is rough.
        low, high = head_range(image.array, head.array, name)
        values = rescale(image.array.astype(np.float32), low, high, clip=False)
        scaled.append((image.with_array(values), -low / (high - low)))
    kept = _around(head, window)
    tensors = [torch.from_numpy(kept(image, air).array).half() for image, air in scaled]
    inside = kept(head).array
    return Example(
        id=subject.key,
        spacing=float(np.mean(scan.spacing)),
        head=torch.from_numpy(inside),
        centres=_centres(inside),
        image=tensors[0],
        guide=tensors[1] if len(tensors) > 1 else None,
        air=scaled[0][1],
        labels=None if labels is None else torch.from_numpy(_compact(kept(labels).array)),
        tissues=None if labels is None else TISSUES[config.tissues](),
    )


def _map(subject: Subject, config: MapsConfig, spacing: float, window: int) -> Example:
    import torch

    (path,) = subject.paths.values()
    labels = as_label_map(Volume.load(path), str(path)).resample(spacing=spacing, order=0)
    head = labels.with_array(labels.array != 0)
    if not head.array.any():
        raise InputError(
            f"{path} has no label besides the background.", "Check that it is the right file.", code="labels-invalid"
        )
    kept = _around(head, window)
    inside = kept(head).array
    return Example(
        id=subject.key,
        spacing=spacing,
        head=torch.from_numpy(inside),
        centres=_centres(inside),
        labels=torch.from_numpy(_compact(kept(labels).array)),
        tissues=TISSUES[config.tissues](),
    )


def _around(head: Volume, window: int) -> Callable[..., Volume]:
    """Return what brings volumes to R, A, S and cuts them around the head; at least a window, air where a scan ends."""
    upright = head.reorient("RAS")
    filled = [np.flatnonzero(upright.array.any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3)]
    box = [
        (max(0, int(inside[0]) - _AROUND), min(size, int(inside[-1]) + 1 + _AROUND))
        for inside, size in zip(filled, upright.shape, strict=True)
    ]
    missing = [max(0, window - (stop - start)) for start, stop in box]
    margins = [(less // 2, less - less // 2) for less in missing]

    def kept(volume: Volume, fill: float = 0) -> Volume:
        return volume.reorient("RAS").crop(box).pad(margins, fill=fill)

    return kept


def _centres(head: np.ndarray) -> np.ndarray:
    places = np.argwhere(head)
    return places[:: max(1, len(places) // _CENTRES)].astype(np.int32)


def _compact(labels: np.ndarray) -> np.ndarray:
    return labels.astype(np.int16 if labels.max() <= np.iinfo(np.int16).max else np.int32)


def _image(path: Path) -> Volume:
    volume = Volume.load(path)
    require_3d(volume, str(path))
    require_finite(volume, str(path))
    return volume
