"""Samples that a bundled model draws, as they are or as a scanner would store them."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from NeuroGenLib.atlas.infer import AtlasModel
from NeuroGenLib.atlas.output import plain_name
from NeuroGenLib.core.files import write_json
from NeuroGenLib.core.progress import SILENT, Progress
from NeuroGenLib.models import open_model
from NeuroGenLib.simulate.thick_slices import SliceProfile, thick_slices

if TYPE_CHECKING:
    from pathlib import Path

    from NeuroGenLib.atlas.brain import AtlasBrain
    from NeuroGenLib.samples.registry import Sample, Storage
    from NeuroGenLib.spatial.volume import Volume

MARGIN_MM = 8.0
"""What a stored scan shows around the brain."""


@dataclass(frozen=True)
class Drawn:
    """What was drawn: the model's notice on what it shows, and what to know about this brain."""

    notice: str
    warnings: list[str]


def write_drawn(sample: Sample, folder: Path, progress: Progress = SILENT) -> Drawn:
    """Draw a sample and write its images, label map, label table and record.

    They are ``T2w.nii.gz`` (each modality by its name), ``guide.nii.gz`` where it is asked for, ``labels.nii.gz``,
    ``labels.tsv`` and ``provenance.json``.

    Parameters
    ----------
    sample:
        Of the kind ``"drawn"``.
    folder:
        Exists; the caller makes sure that its files appear together.
    progress:
        Of the drawing.

    Raises
    ------
    InputError
        When the model is not an atlas, or does not know the age or a condition.
    Cancelled
        When it was cancelled.
    """
    model = open_model(sample.model, AtlasModel, device="cpu", progress=progress.part(0, 0.05))
    part = progress.part(0.05, 0.9, f"drawing {sample.name}")
    brain = model.generate(sample.age, sample.conditions, sample.spacing, progress=part)
    images, labels = dict(brain.images), brain.labels
    guide = reversed_intensities(next(iter(images.values())), labels) if sample.guide else None
    if sample.stored is not None:
        images, labels = stored_scan(images, labels, sample.stored)
    progress.update(0.9, 1, f"writing {sample.name}")
    for name, image in images.items():
        image.save(folder / f"{plain_name(name)}.nii.gz")
    if guide is not None:
        guide.save(folder / "guide.nii.gz")
    labels.save(folder / "labels.nii.gz")
    model.labels.to_tsv(folder / "labels.tsv")
    write_json(folder / "provenance.json", _record(sample, model, brain))
    progress.update(1, 1, "drawn")
    return Drawn(model.notice, brain.warnings)


def stored_scan(images: dict[str, Volume], labels: Volume, storage: Storage) -> tuple[dict[str, Volume], Volume]:
    """Return images and label map, all on one grid, as a scanner stores them: on a tilted grid, in another order.

    The head stays where it is in the world. The result is as large as the brain and 8 mm around it; outside the given
    field of view it is 0.
    """
    if storage.thickness is not None:
        return _in_thick_slices(images, labels, storage, storage.thickness)
    grid = tilted_grid(labels, storage)
    tilted_labels = labels.resample(like=grid, order=0)
    tilted = {name: image.resample(like=grid, order=1) for name, image in images.items()}

    def stored(volume: Volume) -> Volume:
        return volume.crop_to(tilted_labels, MARGIN_MM).reorient(storage.axcodes)

    return {name: stored(image) for name, image in tilted.items()}, stored(tilted_labels)


def reversed_intensities(image: Volume, labels: Volume) -> Volume:
    """Return the image with bright and dark exchanged where there are labels, 0 elsewhere: a T2w roughly as a T1w."""
    brain = labels.array != 0
    brightest = image.array[brain].max() if brain.any() else 0
    return image.with_array(np.where(brain, brightest - image.array, 0).astype(np.float32))


def _in_thick_slices(
    images: dict[str, Volume], labels: Volume, storage: Storage, thickness: float
) -> tuple[dict[str, Volume], Volume]:
    """Scan with a slice profile: on thin slices first, whose voxels are as long as they are wide."""
    wide, high, distance = storage.spacing
    thin = replace(storage, spacing=(wide, high, min(wide, high)), axcodes="RAS", thickness=None)
    tilted, tilted_labels = stored_scan(images, labels, thin)
    profile = SliceProfile("gaussian", thickness)
    scans = {name: thick_slices(image, 2, profile, distance) for name, image in tilted.items()}
    grid = next(iter(scans.values()))
    stored = {name: scan.reorient(storage.axcodes) for name, scan in scans.items()}
    return stored, tilted_labels.resample(like=grid, order=0).reorient(storage.axcodes)


def tilted_grid(volume: Volume, storage: Storage) -> tuple[tuple[int, int, int], np.ndarray]:
    """Return (shape, affine to RAS mm) of the tilted grid about the same centre that holds the whole field of view."""
    from scipy.spatial.transform import Rotation

    turn = Rotation.from_rotvec(storage.tilt, degrees=True).as_matrix()
    signs = np.stack(np.meshgrid(*[(-0.5, 0.5)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    corners = signs @ (volume.affine[:3, :3] * volume.shape).T
    reach = np.ptp(corners @ turn, axis=0)
    i, j, k = (int(n) for n in np.ceil(reach / storage.spacing - 1e-6))
    affine = np.eye(4)
    affine[:3, :3] = turn * storage.spacing
    affine[:3, 3] = volume.centre - affine[:3, :3] @ ((np.array([i, j, k]) - 1) / 2)
    return (i, j, k), affine


def _record(sample: Sample, model: AtlasModel, brain: AtlasBrain) -> dict[str, Any]:
    stored = sample.stored
    return model.provenance(
        "samples get",
        {
            "sample": sample.name,
            "age": sample.age,
            "conditions": brain.conditions,
            "spacing": sample.spacing,
            "stored": stored and {name: value for name, value in asdict(stored).items() if value is not None},
            **({"guide": "the intensities reversed"} if sample.guide else {}),
        },
        brain.warnings,
        title=sample.title,
        licence=sample.licence,
    )
