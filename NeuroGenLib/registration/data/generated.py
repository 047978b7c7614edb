"""Pairs of generated images: random contrasts and deformations of label maps, so that no scan is needed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from NeuroGenLib.cohort.scans import read_cohort
from NeuroGenLib.core.errors import InputError
from NeuroGenLib.core.progress import SILENT, Progress
from NeuroGenLib.registration.data.group_alignment import affine_to_mean
from NeuroGenLib.registration.data.pairs import Item, PairBatch, Truth, drawn, one_hot
from NeuroGenLib.registration.data.table import near_pairs
from NeuroGenLib.simulate.pair import simulate_pair
from NeuroGenLib.simulate.random_numbers import chance, random_index, uniform
from NeuroGenLib.simulate.tissues import CSF, TissueTable, fetal_tissues, freesurfer_tissues, unknown_tissues
from NeuroGenLib.spatial.grids import filled_grid
from NeuroGenLib.spatial.labels import as_label_map
from NeuroGenLib.spatial.volume import Volume

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import torch

    from NeuroGenLib.cohort.subjects import Cohort
    from NeuroGenLib.registration.config import GeneratedConfig, MapsConfig
    from NeuroGenLib.registration.data.pairs import LabelGroups
    from NeuroGenLib.simulate.pair import SimulatedPair
    from NeuroGenLib.spatial.grids import Shape3

_TABLES = {"freesurfer": freesurfer_tissues, "fetal": fetal_tissues, "unknown": unknown_tissues}
# The stem goes down as far as the scan does. Fetal maps label the fluid as part of the brain, with a clear outline.
_NOT_IN_THE_BOX = {"freesurfer": {CSF, "brain_stem"}}
_NOT_COMPARED = {"freesurfer": {CSF}}


@dataclass(frozen=True)
class Maps:
    """The label maps of a group on the common grid.

    Attributes
    ----------
    ids:
        Of the S maps.
    labels:
        S tensors (I, J, K), int16 or int32.
    partners:
        For each map, with which others it forms pairs.
    tissues:
        What the values mean.
    compared:
        The values whose overlap may count in the loss.
    weight:
        How often the group is drawn.
    """

    ids: tuple[str, ...]
    labels: tuple[torch.Tensor, ...]
    partners: tuple[tuple[int, ...], ...]
    tissues: TissueTable
    compared: frozenset[int]
    weight: float


class GeneratedPairs:
    """Draws pairs of generated images; a :class:`~NeuroGenLib.registration.data.pairs.PairSource`.

    All label maps are read at once and kept, on each device that draws.

    Parameters
    ----------
    config:
        The groups of label maps, the grid, and what is random.
    most_labels:
        Structures of a step at most, drawn from those that both images of a pair have; all when not given.
    progress:
        Reports after every map.

    Raises
    ------
    InputError
        When a table, column or map is missing or unusable, or a map holds no brain.
    """

    def __init__(self, config: GeneratedConfig, most_labels: int | None = None, progress: Progress = SILENT) -> None:
        self._config = config
        self._most_labels = most_labels
        parts = len(config.groups)
        self._groups = [
            read_maps(
                group,
                config.shape,
                config.fill,
                progress.part(number / parts, (number + 1) / parts, name),
                aligned=config.aligned,
            )
            for number, (name, group) in enumerate(config.groups.items())
        ]
        self._on_device: dict[tuple[torch.device, int, int], torch.Tensor] = {}

    @property
    def record(self) -> Mapping[str, Any]:
        """How images must be prepared for the trained network."""
        return {
            "grid": list(self._config.shape),
            "fill": self._config.fill,
            "normalisation": "percentile",
            "orientation": "RAS",
        }

    def sample(self, generator: torch.Generator, batch: int) -> PairBatch:
        """Return ``batch`` pairs, on the generator's device; images are 0 to 1, voxels are cubic."""
        import torch

        samples = [self._sample(generator) for _ in range(batch)]
        pairs = [pair for pair, _ in samples]
        structures = self._structures(samples, generator)
        items = [
            Item(
                torch.stack([pair.image_1 if first else pair.image_2 for pair in pairs]),
                None
                if structures is None
                else torch.cat(
                    [
                        one_hot((pair.labels_1 if first else pair.labels_2)[None], groups)
                        for pair, groups in zip(pairs, structures, strict=True)
                    ]
                ),
            )
            for first in (True, False)
        ]
        return PairBatch((items[0], items[1]), (1.0, 1.0, 1.0), _truth(samples))

    def _sample(self, generator: torch.Generator) -> tuple[SimulatedPair, Maps]:
        point = uniform(generator, 0.0, sum(group.weight for group in self._groups))
        place = 0
        while place + 1 < len(self._groups) and point >= self._groups[place].weight:
            point -= self._groups[place].weight
            place += 1
        group = self._groups[place]
        first = random_index(generator, len(group.labels))
        partners = group.partners[first]
        same = chance(generator, self._config.same_map) or not partners
        second = None if same else partners[random_index(generator, len(partners))]
        pair = simulate_pair(
            self._map(place, first, generator.device),
            None if second is None else self._map(place, second, generator.device),
            generator=generator,
            contrast=self._config.contrast,
            deformation=self._config.deformation,
            tissues=group.tissues,
        )
        return pair, group

    def _map(self, place: int, index: int, device: torch.device) -> torch.Tensor:
        key = (device, place, index)
        if key not in self._on_device:
            self._on_device[key] = self._groups[place].labels[index].to(device)
        return self._on_device[key]

    def _structures(
        self, samples: list[tuple[SimulatedPair, Maps]], generator: torch.Generator
    ) -> list[LabelGroups] | None:
        """Return the structures of each sample, as many in each; None where a sample has none."""
        common = [self._common(pair, group) for pair, group in samples]
        count = min(len(values) for values in common)
        count = count if self._most_labels is None else min(count, self._most_labels)
        if count == 0:
            return None
        return [drawn([(value,) for value in values], count, generator) for values in common]

    def _common(self, pair: SimulatedPair, group: Maps) -> list[int]:
        least = self._config.least_voxels
        sizes = []
        for labels in (pair.labels_1, pair.labels_2):
            values, counts = labels.unique(return_counts=True)
            sizes.append(dict(zip(values.tolist(), counts.tolist(), strict=True)))
        return [
            value
            for value, size in sizes[0].items()
            if value in group.compared and min(size, sizes[1].get(value, 0)) >= least
        ]


def read_maps(
    config: MapsConfig, shape: Shape3, fill: float, progress: Progress = SILENT, *, aligned: bool = False
) -> Maps:
    """Read the label maps of a group and put each on the common grid, along R, A, S.

    The box of the brain's labels comes into the middle and takes ``fill`` of the tightest axis. When ``aligned``, the
    brains of the group are then placed on each other by affine maps.

    Raises
    ------
    InputError
        When a table, column or file is missing or unusable, or a map holds no brain.
    """
    columns = None if config.segmentation is None else [config.segmentation]
    cohort = read_cohort(config.source, columns, config.root, config.include, config.exclude)
    if len(cohort.modalities) > 1:
        raise InputError(
            f"{config.source} has several kinds of files: {', '.join(cohort.modalities)}.",
            "Name the one with the label maps as segmentation.",
            code="value-missing",
        )
    cohort.require_files()
    tissues = _TABLES[config.tissues]()
    outside = _NOT_IN_THE_BOX.get(config.tissues, set())
    ignored = _NOT_COMPARED.get(config.tissues, set())
    volumes, grids, compared = [], [], set()
    for subject in progress.track(cohort.subjects, "reading label maps"):
        (path,) = subject.paths.values()
        volume = as_label_map(Volume.load(path), str(path)).reorient("RAS")
        values = [int(value) for value in np.unique(volume.array) if tissues.is_brain(int(value))]
        box = [value for value in values if tissues.tissue(value) not in outside]
        try:
            grids.append(filled_grid(volume.with_array(np.isin(volume.array, box)), shape, fill))
        except InputError as error:
            raise InputError(
                f"{path} has no label of the brain for tissues '{config.tissues}'.",
                "Check the file, or choose other tissues.",
                code="labels-invalid",
            ) from error
        volumes.append(volume)
        compared |= {value for value in values if tissues.tissue(value) not in ignored}
    maps = _placed(volumes, grids)
    if aligned:
        matrices = affine_to_mean(_tissues_of(maps, tissues))
        grids = [(shape, affine @ matrix) for (_, affine), matrix in zip(grids, matrices, strict=True)]
        maps = _placed(volumes, grids)
    return Maps(cohort.ids, tuple(maps), _partners(config, cohort), tissues, frozenset(compared), config.weight)


def _placed(volumes: Sequence[Volume], grids: Sequence[tuple[Shape3, np.ndarray]]) -> list[torch.Tensor]:
    import torch

    placed = [volume.resample(like=grid, order=0).array for volume, grid in zip(volumes, grids, strict=True)]
    return [
        torch.from_numpy(labels.astype(np.int16 if labels.max() <= np.iinfo(np.int16).max else np.int32))
        for labels in placed
    ]


def _tissues_of(maps: Sequence[torch.Tensor], table: TissueTable) -> torch.Tensor:
    """Return (S, C, I, J, K): 1 where a map has a tissue of the brain."""
    import torch

    values: dict[str | None, list[int]] = {}
    for value in sorted({int(value) for labels in maps for value in labels.unique()}):
        if table.is_brain(value):
            values.setdefault(table.tissue(value), []).append(value)
    groups = tuple(tuple(group) for group in values.values())
    return torch.cat([one_hot(labels[None], groups) for labels in maps])


def _partners(config: MapsConfig, cohort: Cohort) -> tuple[tuple[int, ...], ...]:
    everyone = range(len(cohort))
    pairs = near_pairs(cohort, config.pair_column, config.pair_range)
    if pairs is None:
        return tuple(tuple(partner for partner in everyone if partner != subject) for subject in everyone)
    return tuple(tuple(pairs[pairs[:, 0] == subject, 1].tolist()) for subject in everyone)


def _truth(samples: list[tuple[SimulatedPair, Maps]]) -> Truth | None:
    """Return the known maps of a batch and where they count: inside the brain."""
    import torch

    if all(pair.forward is None for pair, _ in samples):
        return None
    forward, inverse, moving, fixed = [], [], [], []
    for pair, group in samples:
        known = pair.forward is not None and pair.inverse is not None
        nothing = pair.image_1.new_zeros((1, 3, *pair.labels_1.shape))
        forward.append(nothing if pair.forward is None else pair.forward)
        inverse.append(nothing if pair.inverse is None else pair.inverse)
        moving.append(_brain(pair.labels_1, group) * known)
        fixed.append(_brain(pair.labels_2, group) * known)
    return Truth(torch.cat(forward), torch.cat(inverse), torch.cat(moving), torch.cat(fixed))


def _brain(labels: torch.Tensor, group: Maps) -> torch.Tensor:
    values = [int(value) for value in labels.unique() if group.tissues.is_brain(int(value))]
    return one_hot(labels[None], (tuple(values),))
