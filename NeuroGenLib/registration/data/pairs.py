"""What training reads: scans, the pairs they form, and the batches a step gets.

This is the contract between training and where its pairs come from. A data set is a list of :class:`ScanFiles`, a
:class:`Preparation` that puts a scan on the common grid, and which scans form pairs; :class:`ScanPairs` draws from it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from NeuroGenLib.cohort.tables import few, read_table, repeated
from NeuroGenLib.core.errors import InputError, nearest
from NeuroGenLib.core.progress import SILENT, Progress
from NeuroGenLib.simulate.random_numbers import random_index

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import torch

    from NeuroGenLib.registration.network.grids import Triple

LabelGroups = tuple[tuple[int, ...], ...]
"""Label values that count as one structure, for every structure."""

PAIR_COLUMNS = ("moving", "fixed")
"""Columns of a table that lists pairs, with ids of scans."""

_LARGEST_HALF = 2048.0
"""Intensities up to here are kept in half precision, which then errs by 1/2048 of them at most."""


@dataclass(frozen=True)
class Item:
    """One image of every sample of a batch, with what is known of it.

    Attributes
    ----------
    image:
        (B, C, I, J, K) float32.
    labels:
        (B, L, I, J, K) float32, 0 or 1 for each of L structures; the same structures in all items of a batch.
    mask:
        (B, 1, I, J, K) float32, 1 where the image counts.
    landmarks:
        (B, N, 3) voxel coordinates; row n is the same place in all items of a batch.
    """

    image: torch.Tensor
    labels: torch.Tensor | None = None
    mask: torch.Tensor | None = None
    landmarks: torch.Tensor | None = None


@dataclass(frozen=True)
class PairBatch:
    """Batch of image pairs for one training step.

    Attributes
    ----------
    items:
        Two, registered as a pair: the moving image (``image_1`` of the published program), then the fixed one
        (``image_2``). Or three, registered in a circle: 1 with 2, 2 with 3, 3 with 1.
    spacing:
        Voxel size along i, j, k in mm.
    truth:
        The maps between the two images of a pair, where they are known.
    """

    items: tuple[Item, ...]
    spacing: Triple
    truth: Truth | None = None


@dataclass(frozen=True)
class Truth:
    """The true maps of the samples of a batch whose two images show one head.

    Attributes
    ----------
    forward, inverse:
        (B, 3, I, J, K) voxels; see :class:`PairBatch`. Zero where the map of a sample is not known.
    moving, fixed:
        (B, 1, I, J, K) float32, 1 where the maps count: ``inverse`` inside ``moving``, ``forward`` inside ``fixed``.
        Zero where the map of a sample is not known.
    """

    forward: torch.Tensor
    inverse: torch.Tensor
    moving: torch.Tensor
    fixed: torch.Tensor


class PairSource(Protocol):
    """Where the batches of a training come from."""

    @property
    def record(self) -> Mapping[str, Any]:
        """How images must be prepared for the trained network: what its manifest says under ``preparation``."""

    def sample(self, generator: torch.Generator, batch: int) -> PairBatch:
        """Return ``batch`` samples, on the generator's device and by its random numbers alone.

        The generator is a function of (seed, step, rank), so that a resumed run repeats the uninterrupted one.
        """


@dataclass(frozen=True)
class ScanFiles:
    """The files of one image to register.

    Attributes
    ----------
    id:
        What messages and pair lists call it.
    images:
        One file per channel.
    labels, mask, landmarks:
        Label map, mask of where the image counts, landmarks, where there are any.
    """

    id: str
    images: tuple[Path, ...]
    labels: Path | None = None
    mask: Path | None = None
    landmarks: Path | None = None


@dataclass(frozen=True)
class Prepared:
    """A scan on the grid of the network.

    Attributes
    ----------
    image:
        (C, I, J, K) float32.
    affine:
        (4, 4) of that grid, to RAS mm.
    labels:
        (I, J, K) whole numbers.
    mask:
        (I, J, K) bool.
    landmarks:
        (N, 3) float32, voxel coordinates of that grid.
    """

    image: np.ndarray
    affine: np.ndarray
    labels: np.ndarray | None = None
    mask: np.ndarray | None = None
    landmarks: np.ndarray | None = None


class Preparation(Protocol):
    """Reads a scan and puts it on the grid of the network; all scans of a data set get the same shape."""

    @property
    def record(self) -> Mapping[str, Any]:
        """What is done, for the manifest of a model: plain values by name, see :class:`PairSource`."""

    def __call__(self, scan: ScanFiles) -> Prepared:
        """Return the prepared scan.

        Raises
        ------
        InputError
            When a file is missing or unusable.
        """


class ScanPairs:
    """Sampler of pairs (or threes) of scans; a :class:`PairSource`.

    Parameters
    ----------
    scans:
        The scans, with different ids.
    preparation:
        Puts them on one grid.
    pairs:
        (P, 2) positions in ``scans`` of moving and fixed images, sampled evenly; without it any two different scans.
    items:
        2, or 3 for threes of which every two form a pair (in either order).
    labels:
        The structures that the batches hold; without it every value but 0 of the first scan's label map.
    most_labels:
        Largest number of structures in a step, sampled from those that all its images have; all when not given.
    cache_gib:
        Memory for prepared scans; beyond it they are read again.

    Raises
    ------
    InputError
        When there are too few scans, two with one id, or no three scans that form pairs.
    """

    def __init__(
        self,
        scans: Sequence[ScanFiles],
        preparation: Preparation,
        pairs: np.ndarray | None = None,
        *,
        items: int = 2,
        labels: LabelGroups | None = None,
        most_labels: int | None = None,
        cache_gib: float = 4.0,
    ) -> None:
        twice = repeated([scan.id for scan in scans])
        if twice:
            raise InputError(
                f"Several scans are named {few(twice)}.", "Give every scan its own id.", code="value-duplicate"
            )
        if len(scans) < items:
            raise InputError(
                f"Training on {items} images at a time needs {items} scans, there are {len(scans)}.",
                "Give more scans.",
                code="table-empty",
            )
        if pairs is not None and len(pairs) == 0:
            raise InputError(
                "No two scans form a pair.", "Loosen the rule of the pairs, or give more scans.", code="table-empty"
            )
        self.scans = tuple(scans)
        self.items = items
        self._preparation = preparation
        self._pairs = pairs
        self._partners = None if pairs is None or items == 2 else _partners(pairs, self.scans)
        self._labels = labels
        self._most_labels = most_labels
        self._room = cache_gib * 2**30
        self._kept: dict[int, Prepared] = {}

    @property
    def record(self) -> Mapping[str, Any]:
        """How the scans are prepared."""
        return self._preparation.record

    def sample(self, generator: torch.Generator, batch: int) -> PairBatch:
        """Return ``batch`` pairs or threes.

        Raises
        ------
        InputError
            When a scan cannot be used, lies on another grid than the others, or landmarks do not correspond.
        """
        chosen = [self._choose(generator) for _ in range(batch)]
        samples = [[self.prepared(index) for index in sample] for sample in chosen]
        self._require_same_shape(chosen)
        structures = self._structures(samples, generator)
        rows = _common_rows(samples, [[self.scans[index].id for index in sample] for sample in chosen], generator)
        items = tuple(
            _item([sample[place] for sample in samples], structures, rows, generator.device)
            for place in range(self.items)
        )
        i, j, k = np.linalg.norm(samples[0][0].affine[:3, :3], axis=0).tolist()
        return PairBatch(items, (i, j, k))

    def preload(self, progress: Progress = SILENT) -> None:
        """Read scans until the memory for them is full, so that what is wrong with them is met before the first step.

        Raises
        ------
        InputError
            When a scan cannot be used.
        """
        for index in progress.track(range(len(self.scans)), "reading scans"):
            self.prepared(index)
            if index not in self._kept:
                break

    def prepared(self, index: int) -> Prepared:
        """Return a prepared scan, from memory when it is there.

        Raises
        ------
        InputError
            When the scan cannot be used.
        """
        if index in self._kept:
            return self._kept[index]
        scan = self.scans[index]
        try:
            prepared = _compact(self._preparation(scan))
        except InputError as error:
            raise error.within(f"The scan {scan.id} cannot be used") from error
        size = _bytes(prepared)
        if size <= self._room:
            self._room -= size
            self._kept[index] = prepared
        return prepared

    def _choose(self, generator: torch.Generator) -> tuple[int, ...]:
        if self._pairs is None:
            rest = list(range(len(self.scans)))
            return tuple(rest.pop(random_index(generator, len(rest))) for _ in range(self.items))
        moving, fixed = (int(index) for index in self._pairs[random_index(generator, len(self._pairs))])
        if self._partners is None:
            return moving, fixed
        third = sorted(self._partners[moving] & self._partners[fixed])
        if not third:  # this pair stands alone: draw another
            return self._choose(generator)
        return moving, fixed, third[random_index(generator, len(third))]

    def _require_same_shape(self, chosen: Sequence[Sequence[int]]) -> None:
        indices = list(dict.fromkeys(index for sample in chosen for index in sample))
        first = self.prepared(indices[0])
        for index in indices[1:]:
            prepared = self.prepared(index)
            if prepared.image.shape != first.image.shape:
                raise InputError(
                    f"The prepared scans {self.scans[indices[0]].id} and {self.scans[index].id} have"
                    f" {first.image.shape} and {prepared.image.shape} channels and voxels.",
                    "Give the shape of a common grid.",
                    code="geometry-mismatch",
                )

    def _structures(self, samples: Sequence[Sequence[Prepared]], generator: torch.Generator) -> LabelGroups | None:
        """Return the structures of a step, or None where a scan has no labels or the scans share no structure."""
        maps = [scan.labels for sample in samples for scan in sample]
        if self._most_labels == 0 or any(labels is None for labels in maps):
            return None
        if self._labels is None:
            first = self.prepared(0).labels
            values = [] if first is None else np.unique(first).tolist()
            self._labels = tuple((value,) for value in values if value != 0)
        if self._most_labels is None:
            return self._labels or None
        present = [set(np.unique(labels).tolist()) for labels in maps if labels is not None]
        shared = [group for group in self._labels if all(values.intersection(group) for values in present)]
        return drawn(shared, self._most_labels, generator) or None


def drawn(groups: Sequence[tuple[int, ...]], most: int, generator: torch.Generator) -> LabelGroups:
    """Return a limited number of the groups, in their order."""
    import torch

    order = torch.randperm(len(groups), generator=generator, device=generator.device)[:most]
    return tuple(groups[index] for index in sorted(order.tolist()))


def one_hot(labels: torch.Tensor, groups: LabelGroups) -> torch.Tensor:
    """Return (B, L, I, J, K) float32, 1 where labels (B, I, J, K) belong to each of L groups of values."""
    import torch

    members = [torch.tensor(group, device=labels.device, dtype=labels.dtype) for group in groups]
    return torch.stack([torch.isin(labels, values) for values in members], dim=1).float()


def pairs_from_table(path: Path, ids: Sequence[str]) -> np.ndarray:
    """Read the pairs that a table lists in its columns ``moving`` and ``fixed``, as (P, 2) positions in ``ids``.

    Raises
    ------
    InputError
        When a column or an id is not there, or a scan forms a pair with itself.
    """
    columns, rows = read_table(path)
    for column in PAIR_COLUMNS:
        if column not in columns:
            raise InputError(f"There is no column '{column}' in {path}.", nearest(column, columns), code="name-unknown")
    position = {name: index for index, name in enumerate(ids)}
    pairs = []
    for row in rows:
        moving, fixed = (row[column] for column in PAIR_COLUMNS)
        for name in (moving, fixed):
            if name not in position:
                raise InputError(
                    f"{path} names '{name}', which is not a scan.", nearest(name, ids), code="name-unknown"
                )
        if moving == fixed:
            raise InputError(f"{path} pairs '{moving}' with itself.", "Delete the row.", code="value-conflict")
        pairs.append((position[moving], position[fixed]))
    return np.array(pairs, dtype=np.int32)


def pairs_within(values: np.ndarray, most: float) -> np.ndarray:
    """Return (P, 2) positions of two scans, in either order, whose values (S,) differ by ``most`` at most."""
    near = np.abs(values[:, None] - values[None, :]) <= most
    np.fill_diagonal(near, val=False)
    return np.argwhere(near).astype(np.int32)


def _partners(pairs: np.ndarray, scans: Sequence[ScanFiles]) -> list[set[int]]:
    """Return with which scans each scan forms a pair."""
    partners: list[set[int]] = [set() for _ in scans]
    for first, second in pairs.tolist():
        partners[first].add(second)
        partners[second].add(first)
    if not any(partners[first] & partners[second] for first, second in pairs.tolist()):
        raise InputError(
            "There are no three scans of which every two form a pair.",
            "Loosen the rule of the pairs, or train on two images at a time.",
            code="table-empty",
        )
    return partners


def _compact(scan: Prepared) -> Prepared:
    """Return the scan in small types: the same whether it is kept in memory or read again."""
    small = float(np.abs(scan.image).max(initial=0)) <= _LARGEST_HALF
    labels = scan.labels
    if labels is not None and np.iinfo(np.int16).max >= int(labels.max()):
        labels = labels.astype(np.int16)
    return replace(
        scan,
        image=scan.image.astype(np.float16 if small else np.float32),
        labels=labels,
        mask=None if scan.mask is None else scan.mask.astype(bool),
    )


def _bytes(scan: Prepared) -> int:
    arrays = (scan.image, scan.labels, scan.mask, scan.landmarks)
    return sum(array.nbytes for array in arrays if array is not None)


def _common_rows(
    samples: Sequence[Sequence[Prepared]], names: Sequence[Sequence[str]], generator: torch.Generator
) -> list[np.ndarray] | None:
    """Return for each sample which landmarks are used, as many in each; None where a scan has no landmarks."""
    import torch

    counts = []
    for sample, ids in zip(samples, names, strict=True):
        sizes = [len(scan.landmarks) for scan in sample if scan.landmarks is not None]
        if len(sizes) < len(sample) or 0 in sizes:
            return None
        if len(set(sizes)) > 1:
            raise InputError(
                f"The scans {few(list(ids))} have {', '.join(map(str, sizes))} landmarks.",
                "List the same landmarks in the same order for all of them.",
                code="table-invalid",
            )
        counts.append(sizes[0])
    rows = []
    for count in counts:
        order = torch.randperm(count, generator=generator, device=generator.device)[: min(counts)]
        rows.append(np.sort(order.cpu().numpy()))
    return rows


def _item(
    scans: Sequence[Prepared], structures: LabelGroups | None, rows: Sequence[np.ndarray] | None, device: torch.device
) -> Item:
    import torch

    def stacked(arrays: Sequence[np.ndarray]) -> torch.Tensor:
        return torch.from_numpy(np.stack(arrays)).to(device)

    masks = [np.ones(scan.image.shape[1:], bool) if scan.mask is None else scan.mask for scan in scans]
    labels = None
    if structures is not None:
        labels = one_hot(stacked([scan.labels for scan in scans if scan.labels is not None]), structures)
    points = None
    if rows is not None:
        chosen = zip(scans, rows, strict=True)
        points = stacked([scan.landmarks[row] for scan, row in chosen if scan.landmarks is not None]).float()
    return Item(
        image=stacked([scan.image for scan in scans]).float(),
        labels=labels,
        mask=stacked(masks)[:, None].float() if any(scan.mask is not None for scan in scans) else None,
        landmarks=points,
    )
