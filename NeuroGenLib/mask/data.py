"""Training data: simulated images of heads with their brain masks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from NeuroGenLib.cohort.scans import read_cohort
from NeuroGenLib.core.errors import InputError
from NeuroGenLib.core.progress import SILENT, Progress
from NeuroGenLib.mask.intensity import rescaled
from NeuroGenLib.simulate.contrast import random_image
from NeuroGenLib.simulate.deformation import sample_deformation, warped_to
from NeuroGenLib.simulate.random_numbers import chance, random_index, uniform
from NeuroGenLib.simulate.tissues import CSF, freesurfer_tissues
from NeuroGenLib.spatial.labels import as_label_map
from NeuroGenLib.spatial.volume import Volume

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from NeuroGenLib.mask.config import MapsConfig, MaskTrainConfig, ViewConfig

MAP_SPACING = 2.0
"""Voxel size in mm at which label maps are kept: finer than what the network sees, a thirtieth of the memory."""


@dataclass(frozen=True)
class LabelledHead:
    """A label map and its brain, along R, A, S with cubic voxels of :data:`MAP_SPACING`.

    Attributes
    ----------
    labels:
        (I, J, K) int16 or int32; nothing but background on the outermost voxels.
    brain:
        (I, J, K) bool.
    centre:
        Voxel coordinates of the middle of the brain's box.
    """

    labels: torch.Tensor
    brain: torch.Tensor
    centre: tuple[float, float, float]


class GeneratedHeads:
    """Simulated images of heads with their brain masks; all label maps are read at once and kept.

    Parameters
    ----------
    config:
        The maps, and what is random.
    progress:
        Progress callback.

    Raises
    ------
    InputError
        When the folder, a column or a map is missing or unusable, or a map holds no brain.
    """

    def __init__(self, config: MaskTrainConfig, progress: Progress = SILENT) -> None:
        self._config = config
        self.heads = read_heads(config.maps, progress)
        self._on_device: dict[torch.device, tuple[LabelledHead, ...]] = {}

    def sample(self, generator: torch.Generator, batch: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return ``batch`` images and the share of brain in their voxels, by the generator's numbers alone.

        Both are (B, 1, I, J, K) float32 from 0 to 1, on the generator's device; the shape is sampled for all of them.
        """
        import torch

        heads = self._heads(generator.device)
        sides = self._config.view.sides
        i, j, k = (sides[random_index(generator, len(sides))] for _ in range(3))
        pairs = [self._sample(heads[random_index(generator, len(heads))], (i, j, k), generator) for _ in range(batch)]
        return torch.stack([image for image, _ in pairs]), torch.stack([brain for _, brain in pairs])

    def _heads(self, device: torch.device) -> tuple[LabelledHead, ...]:
        if device not in self._on_device:
            self._on_device[device] = tuple(
                LabelledHead(head.labels.to(device), head.brain.to(device), head.centre) for head in self.heads
            )
        return self._on_device[device]

    def _sample(
        self, head: LabelledHead, shape: tuple[int, int, int], generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return an image and the share of brain, each (1, I, J, K)."""
        view = self._config.view
        order, flipped = _storage(view, generator)
        # The head is seen upright; the axes are turned at the end.
        upright = tuple(shape[order.index(axis)] for axis in range(3))
        points = self._points(head, upright, generator)
        labels = warped_to(head.labels, points, order=0)
        brain = warped_to(head.brain.float(), points, order=1)[None]
        image = random_image(labels, generator, self._config.contrast, freesurfer_tissues())
        image, brain = (_stored(volume, order, flipped) for volume in (image, brain))
        view_box = _field_of_view(shape, view, generator)
        inside = image[:, view_box[0], view_box[1], view_box[2]]
        framed, share = image.new_zeros(image.shape), image.new_zeros(image.shape)
        framed[:, view_box[0], view_box[1], view_box[2]] = rescaled(inside)
        share[:, view_box[0], view_box[1], view_box[2]] = brain[:, view_box[0], view_box[1], view_box[2]]
        return framed, share

    def _points(self, head: LabelledHead, shape: Sequence[int], generator: torch.Generator) -> torch.Tensor:
        """Return where the voxels of an image lie in the label map, (1, 3, I, J, K) voxel coordinates of the map."""
        import torch

        from NeuroGenLib.spatial.transforms.displacement import voxel_grid

        config = self._config
        deformation = sample_deformation(shape, generator, config.deformation)
        offset = [uniform(generator, -config.view.offset, config.view.offset) / config.spacing for _ in range(3)]
        middle = [(side - 1) / 2 + shift for side, shift in zip(shape, offset, strict=True)]
        moved = deformation.forward(voxel_grid(shape, deformation.flow))
        origin, centre = (
            torch.tensor(point, device=moved.device).view(1, 3, 1, 1, 1) for point in (middle, head.centre)
        )
        return (moved - origin) * (config.spacing / MAP_SPACING) + centre


def read_heads(config: MapsConfig, progress: Progress = SILENT) -> tuple[LabelledHead, ...]:
    """Read the label maps of whole heads.

    Raises
    ------
    InputError
        When the folder, a column or a file is missing or unusable, or a map holds no brain.
    """
    import torch

    columns = None if config.segmentation is None else [config.segmentation]
    cohort = read_cohort(config.source, columns, config.root, config.include, config.exclude)
    if len(cohort.modalities) > 1:
        raise InputError(
            f"{config.source} has several kinds of files: {', '.join(cohort.modalities)}.",
            "Name the one with the label maps as maps.segmentation.",
            code="value-missing",
        )
    cohort.require_files()
    heads = []
    for subject in progress.track(cohort.subjects, "reading label maps"):
        (path,) = subject.paths.values()
        labels = as_label_map(Volume.load(path), str(path)).reorient("RAS")
        labels = labels.resample(spacing=MAP_SPACING, order=0).pad(1)
        brain = brain_of(labels, str(path))
        filled = np.argwhere(brain)
        i, j, k = ((filled.min(axis=0) + filled.max(axis=0)) / 2).tolist()
        small = labels.array.max() <= np.iinfo(np.int16).max
        array = labels.array.astype(np.int16 if small else np.int32)
        heads.append(LabelledHead(torch.from_numpy(array), torch.from_numpy(brain), (i, j, k)))
    return tuple(heads)


def brain_of(labels: Volume, name: str = "The label map") -> np.ndarray:
    """Return where the brain is in a label map of a head: what a brain mask shall hold.

    That is all tissue of the brain and the fluid in and around it, down to where its lowest tissue ends (the fluid
    around the spinal cord does not count), without holes.

    Parameters
    ----------
    labels:
        Values after FreeSurfer, axes along R, A, S.
    name:
        What an error calls it.

    Returns
    -------
    ndarray
        (I, J, K) bool.

    Raises
    ------
    InputError
        When it holds no brain.
    """
    from scipy import ndimage

    tissues = freesurfer_tissues()
    values = [int(value) for value in np.unique(labels.array) if tissues.is_brain(int(value))]
    solid = np.isin(labels.array, [value for value in values if tissues.tissue(value) != CSF])
    if not solid.any():
        raise InputError(
            f"{name} has no label of the brain.", "Give label maps with FreeSurfer's values.", code="labels-invalid"
        )
    brain = np.isin(labels.array, values)
    lowest = int(np.flatnonzero(solid.any(axis=(0, 1)))[0])
    brain[:, :, :lowest] = False
    return np.asarray(ndimage.binary_fill_holes(brain))


def _storage(view: ViewConfig, generator: torch.Generator) -> tuple[tuple[int, ...], tuple[bool, ...]]:
    """Return which axis of the head each axis of the image is, and which axes of the image run backwards."""
    import torch

    mirrored, turned = chance(generator, view.mirrored), chance(generator, view.turned)
    if not turned:
        return (0, 1, 2), (mirrored, False, False)
    order = tuple(torch.randperm(3, generator=generator, device=generator.device).tolist())
    return order, tuple(chance(generator, 0.5) for _ in range(3))


def _stored(image: torch.Tensor, order: Sequence[int], flipped: Sequence[bool]) -> torch.Tensor:
    turned = image.permute(0, *(axis + 1 for axis in order))
    return turned.flip([axis + 1 for axis in range(3) if flipped[axis]])


def _field_of_view(shape: Sequence[int], view: ViewConfig, generator: torch.Generator) -> list[slice]:
    """Return the box of the image that the scan shows."""
    box = []
    for size in shape:
        most = view.cut_most * size
        first, last = (int(uniform(generator, 0, most)) if chance(generator, view.cut) else 0 for _ in range(2))
        box.append(slice(first, size - last))
    return box
