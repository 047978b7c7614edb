"""A scan to fit an atlas to: its brain, and the points that the atlas is compared with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from NeuroGenLib.atlas.data.dataset import classes_of
from NeuroGenLib.atlas.data.points import SubjectPoints, prepare
from NeuroGenLib.atlas.manifest import AtlasManifest
from NeuroGenLib.core.errors import InputError, nearest
from NeuroGenLib.spatial.labels import as_label_map
from NeuroGenLib.spatial.volume import Volume, require_3d, require_finite, require_same_space

if TYPE_CHECKING:
    from collections.abc import Mapping

    from NeuroGenLib.atlas.trained import TrainedAtlas
    from NeuroGenLib.spatial.labels import LabelTable

ROOM_MM = 15.0
"""Kept around the brain: background that the fit includes."""

TOO_LARGE, TOO_SMALL = 2.0, 0.4
"""A brain mask beyond these factors of the largest and smallest training brain is none."""

LEAST_BACKGROUND = 0.05
"""Share of voxels that must be exactly zero for an image to count as brain alone."""

HOW_TO_MASK = (
    "Give --mask, a brain mask on the same grid: HD-BET, SynthStrip or ANTs make one of a head, a fetal brain "
    "extraction tool of a scan inside the mother; or give an image that is exactly zero outside the brain."
)

OTHER_BRAINS = (
    "Check that it shows the whole brain and nothing else, that its voxel size is in mm, "
    "and that this atlas is one of such brains."
)


@dataclass(frozen=True)
class SubjectScan:
    """A subject's images, ready to be compared with an atlas.

    Attributes
    ----------
    whole:
        The grid that results go back into: the first image as it was given.
    images:
        By modality, stored as RAS and cut to the brain and some room around it.
    mask:
        The brain on that grid, 0 or 1.
    points:
        The points that the fit samples; its classes are those of the label map, or 1 in the brain when there is none.
    labelled:
        Whether a label map was given.
    """

    whole: Volume
    images: dict[str, Volume]
    mask: Volume
    points: SubjectPoints
    labelled: bool

    def restored(self, volume: Volume) -> Volume:
        """Return a volume of the cut grid in the subject's own grid, zero elsewhere."""
        canonical = self.whole.reorient("RAS")
        stored = volume.paste_into(canonical).reorient("".join(self.whole.axcodes))
        return self.whole.with_array(stored.array)  # the affine to the last bit


def read_scan(
    model: TrainedAtlas, images: Mapping[str, Volume], mask: Volume | None = None, labels: Volume | None = None
) -> SubjectScan:
    """Check a subject's volumes and prepare them as the model's training data were.

    Parameters
    ----------
    model:
        The atlas it will be compared with.
    images:
        One or more of the model's modalities by name, on one grid, of any orientation.
    mask:
        Where it is not zero is brain. Without it: where the first image is not exactly zero, its holes filled.
    labels:
        A label map that follows the model's table; the fit then uses it as well, and what it labels is the brain.

    Raises
    ------
    InputError
        When a volume has channels, holds NaN or infinity, or lies on another grid; a name is not one of its images;
        an image is constant in the brain; there is no brain mask; the mask does not fit the brains of this atlas; or
        the label map is empty or follows another table.
    """
    for name, image in images.items():
        if name not in model.modalities:
            raise InputError(f"The model has no image '{name}'.", nearest(name, model.modalities), code="name-unknown")
        require_3d(image, f"The {name}")
        require_finite(image, f"The {name}")
    named = {f"the {name}": image for name, image in images.items()}
    if mask is not None:
        require_3d(mask, "The mask")
        require_finite(mask, "The mask")
        named["the mask"] = mask
    if labels is not None:
        labels = as_label_map(labels, "The label map")
        require_known_labels(labels, model.labels, "The label map")
        named["the label map"] = labels
    require_same_space(named)
    first = next(iter(images.values()))
    brain = _brain(model, first, mask, labels)
    return _prepared(model, images, brain, labels, first)


def require_known_labels(labels: Volume, table: LabelTable, name: str) -> None:
    """Demand that a label map is not empty and follows the model's table.

    Raises
    ------
    InputError
        Naming ``name`` and the values that the table lacks.
    """
    found = set(np.unique(labels.array).tolist()) - {0}
    if not found:
        raise InputError(f"{name} is empty.", "Every voxel is 0; give a segmentation of the brain.", code="image-empty")
    unknown = sorted(found - set(table.values))
    if unknown:
        raise InputError(
            f"{name} holds the label values {', '.join(map(str, unknown[:8]))}, which the model lacks.",
            "Give label maps that follow the model's table; 'neurogen atlas info' names its labels.",
            code="labels-invalid",
        )


def _brain(model: TrainedAtlas, image: Volume, mask: Volume | None, labels: Volume | None) -> np.ndarray:
    """Return the brain (i, j, k) bool, checked against the sizes that the model knows."""
    remedy = OTHER_BRAINS
    found: np.ndarray
    if labels is not None:
        found, source = labels.array != 0, "The label map"
        if mask is not None:
            found, source = found & (mask.array != 0), "The label map inside the mask"
    elif mask is not None:
        found, source = mask.array != 0, "The mask"
    else:
        found, source, remedy = image.array != 0, "The part of the image that is not zero", HOW_TO_MASK
        if not found.any():
            raise InputError("The image is zero everywhere.", "Check that it is the right file.", code="image-empty")
        if found.mean() > 1 - LEAST_BACKGROUND:
            raise InputError(
                "The image has no background that is exactly zero, so its brain is not known.",
                HOW_TO_MASK,
                code="value-missing",
            )
        found = _largest_piece(found)
    if not found.any():
        raise InputError(f"{source} is empty.", "Check that it is the right file, and threshold.", code="image-empty")
    volume = float(found.sum()) * image.voxel_volume_ml
    sizes = _training_volumes(model)
    if sizes and not TOO_SMALL * min(sizes) <= volume <= TOO_LARGE * max(sizes):
        raise InputError(
            f"{source} holds {volume:.1f} ml; the brains of this atlas have {min(sizes):.0f} to {max(sizes):.0f} ml.",
            remedy if volume > max(sizes) else OTHER_BRAINS,  # what surrounds a brain makes it larger, never smaller
            code="model-range",
        )
    return found


def _largest_piece(found: np.ndarray) -> np.ndarray:
    """Return the largest connected piece with its holes filled: zeros inside a brain are brain."""
    from scipy import ndimage

    pieces, _ = ndimage.label(found)
    filled: np.ndarray = ndimage.binary_fill_holes(pieces == 1 + int(np.argmax(np.bincount(pieces.ravel())[1:])))
    return filled


def _training_volumes(model: TrainedAtlas) -> list[float]:
    """Return the whole brain's volume in ml of each training subject, where the model knows it."""
    return [sum(subject["volumes_ml"].values()) for subject in model.subjects if subject.get("volumes_ml")]


def _prepared(
    model: TrainedAtlas, images: Mapping[str, Volume], brain: np.ndarray, labels: Volume | None, whole: Volume
) -> SubjectScan:
    # Stored as RAS: the points are sampled in one order however the file is stored.
    mask = whole.with_array(brain.astype(np.uint8)).reorient("RAS")
    cut = mask.crop_to(mask, ROOM_MM)
    held = {name: image.reorient("RAS").crop_to(mask, ROOM_MM) for name, image in images.items()}
    for name, image in held.items():
        values = image.array[cut.array > 0]
        if values.max() <= max(values.min(), 0):  # negative intensities count as zero
            raise InputError(
                f"The {name} is constant in the brain.",
                "Check that image and mask belong together.",
                code="image-empty",
            )
    classes = cut.array
    if labels is not None:
        inside = labels.with_array(labels.array * brain).reorient("RAS").crop_to(mask, ROOM_MM)
        classes = classes_of(inside, model.labels, "The label map")
    preparation = model.folder.read_as(AtlasManifest).preparation
    stack = np.stack([image.array for image in held.values()]).astype(np.float32)
    points = prepare(
        stack,
        classes,
        cut.affine,
        background=model.background[0],
        halo_mm=preparation.halo or 4.0,
        normalisation=preparation.normalisation,
    )
    return SubjectScan(whole, held, cut, points, labels is not None)
