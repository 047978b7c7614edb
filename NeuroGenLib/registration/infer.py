"""Public inference API for registration models."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from NeuroGenLib.alignment.halfway import halfway_start
from NeuroGenLib.alignment.prepared_image import PreparedImage
from NeuroGenLib.alignment.scan_similarity import less_similar, scan_similarity
from NeuroGenLib.core.device import with_memory_fallback
from NeuroGenLib.core.errors import InputError
from NeuroGenLib.core.progress import SILENT, Progress
from NeuroGenLib.models import Model
from NeuroGenLib.registration.config import RegisterConfig
from NeuroGenLib.registration.evaluation.quality import LabelMaps, Quality, RegistrationMaps, measure_quality
from NeuroGenLib.registration.manifest import RegistrationManifest
from NeuroGenLib.registration.prepare import fine_grids, network_grid, prepared_sides, transform_affine
from NeuroGenLib.spatial.labels import as_label_map
from NeuroGenLib.spatial.transforms.affine import Affine
from NeuroGenLib.spatial.transforms.spatial_map import SpatialMap
from NeuroGenLib.spatial.volume import require_3d, require_finite, require_same_space

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch

    from NeuroGenLib.alignment.halfway import HalfwayStart
    from NeuroGenLib.models.folder import ModelFolder
    from NeuroGenLib.registration.network.sitreg import Mappings, SITReg
    from NeuroGenLib.registration.prepare import Side
    from NeuroGenLib.registration.refine import HalfMaps
    from NeuroGenLib.spatial.transforms.displacement import Displacement
    from NeuroGenLib.spatial.volume import Volume

MOST_FINE_VOXELS = 1_200_000
"""Largest number of voxels of the optimisation's fine grid, a trade of detail against time: a step on it takes about
a second on one core."""
_MARGIN_MM = 8.0
_COARSE_SHARE = 2 / 3
"""Share of the optimisation's steps at the coarse grid."""


@dataclass(frozen=True, eq=False)
class Registration:
    """A finished registration.

    Attributes
    ----------
    forward:
        Fixed points to moving points, RAS mm: it pulls the moving image onto the fixed one.
    inverse:
        Moving points to fixed points.
    start:
        Affine initialisation.
    warped:
        The moving image on the fixed image's grid.
    warped_labels:
        The moving labels there, when given.
    jacobian:
        Determinant of ``forward`` on the fixed image's grid: above 1 where the moving image is shrunk to fit.
    quality:
        Its measures.
    foreground:
        Head of the fixed image, boolean, in its space on a coarser grid.
    warnings:
        What the person should know about this result.
    """

    forward: SpatialMap
    inverse: SpatialMap
    start: HalfwayStart
    warped: Volume
    warped_labels: Volume | None
    jacobian: Volume
    quality: Quality
    foreground: Volume
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class _Deformation:
    """Deformation between the images in halfway space, and the affine maps from there to the images.

    Images with voxels smaller than ``finest``, mm, would have had the same grid. ``notes`` say how the grids were
    limited.
    """

    forward: Displacement
    inverse: Displacement
    to_fixed: Affine
    to_moving: Affine
    finest: float
    notes: tuple[str, ...] = ()

    def maps(self) -> tuple[SpatialMap, SpatialMap]:
        """Return the map from fixed to moving points, and its inverse."""
        return (
            self.forward.spatial_map(self.to_fixed.inverse(), self.to_moving),
            self.inverse.spatial_map(self.to_moving.inverse(), self.to_fixed),
        )


class RegistrationModel(Model):
    """A trained registration network, opened by :func:`NeuroGenLib.models.open_model`.

    Attributes
    ----------
    folder:
        Its model folder.
    channels:
        Images that it compares at once; more than one are the channels of a volume.
    """

    kind = "registration"
    title = "a registration network"

    def __init__(self, folder: ModelFolder, network: SITReg, device: torch.device) -> None:
        super().__init__(folder, device)
        self.preparation = folder.read_as(RegistrationManifest).preparation
        self.network_config = network.config
        self._network = network

    @classmethod
    def build(cls, folder: ModelFolder, tensors: Mapping[str, torch.Tensor], device: torch.device) -> RegistrationModel:
        """Make the model from its manifest and its weights."""
        from NeuroGenLib.registration.network.sitreg import SITReg

        network = SITReg(folder.read_as(RegistrationManifest).network)
        network.load_state_dict(dict(tensors))
        return cls(folder, network.eval().requires_grad_(requires_grad=False), device)

    @property
    def channels(self) -> int:
        """Images that the network compares at once."""
        return self.network_config.channels

    @property
    def traits(self) -> list[str]:
        """Grid of its network, and the images it compares where they are more than one."""
        grid = " x ".join(map(str, self.preparation.grid))
        return [f"grid of {grid} voxels", *([f"{self.channels} channels"] if self.channels > 1 else [])]

    def register(
        self,
        fixed: Volume,
        moving: Volume,
        *,
        settings: RegisterConfig | None = None,
        fixed_labels: Volume | None = None,
        moving_labels: Volume | None = None,
        fixed_mask: Volume | None = None,
        moving_mask: Volume | None = None,
        progress: Progress = SILENT,
    ) -> Registration:
        """Register ``moving`` to ``fixed``.

        Parameters
        ----------
        fixed, moving:
            Scans in any grid, orientation and place; of any contrast that the model knows.
        settings:
            Start and optimisation; the defaults when not given.
        fixed_labels, moving_labels:
            Label maps in the space of their image. The moving ones are warped; with both, overlap is measured.
            They do not guide the registration.
        fixed_mask, moving_mask:
            Nonzero where the image counts, in its space.
        progress:
            Progress callback; a cancelled one ends the work.

        Raises
        ------
        InputError
            When an image, a mask or a label map cannot be used, or the images cannot be brought to overlap.
        Cancelled
            When ``progress`` was cancelled.

        Examples
        --------
        With files of your own::

            from NeuroGenLib import Volume, open_model

            model = open_model("bundled:registration")
            result = model.register(Volume.load("fixed.nii.gz"), Volume.load("moving.nii.gz"))
            result.warped.save("warped.nii.gz")
            result.inverse.points([[10.0, 20.0, 30.0]])  # points of the moving image, RAS mm, in the fixed one
        """
        chosen = settings or RegisterConfig()
        fixed = _usable(fixed, "The fixed image", self.channels)
        moving = _usable(moving, "The moving image", self.channels)
        _check_mask(fixed_mask, fixed, "fixed")
        _check_mask(moving_mask, moving, "moving")
        fixed_labels = _label_map(fixed_labels, fixed, "fixed")
        moving_labels = _label_map(moving_labels, moving, "moving")
        images = PreparedImage.of(fixed, fixed_mask, "The fixed"), PreparedImage.of(moving, moving_mask, "The moving")
        start = halfway_start(*images, chosen.start, progress.part(0, 0.2))
        warnings = [*_mask_warnings(fixed_mask, moving_mask), *start.notes]
        ready = prepared_sides(*images, start, self.preparation)

        def deform(device: torch.device, _: int) -> _Deformation:
            return self._deformation(*ready, chosen, device, progress.part(0.2, 0.8))

        deformation = with_memory_fallback(deform, self.device, 1, warn=warnings.append)
        warnings += [*deformation.notes, *_reduction_warnings(images, deformation.finest)]
        forward, inverse, rejection = _better_maps(start, *deformation.maps(), images)
        warnings += rejection
        warped = forward.pull(moving, fixed, order=1, progress=progress.part(0.8, 0.85))
        labels = None if moving_labels is None else forward.pull(moving_labels, fixed, order=0)
        jacobian = forward.jacobian(fixed, progress.part(0.86, 0.92))
        maps = None
        if fixed_labels is not None and moving_labels is not None and labels is not None:
            maps = LabelMaps(fixed_labels, moving_labels, labels)
        quality = measure_quality(
            RegistrationMaps(forward, inverse, start), *images, jacobian, maps, progress.part(0.92, 1)
        )
        warnings = list(dict.fromkeys([*warnings, *quality.remarks()]))
        inside = images[0].foreground
        return Registration(forward, inverse, start, warped, labels, jacobian, quality, inside, warnings)

    def _deformation(
        self, fixed: Side, moving: Side, settings: RegisterConfig, device: torch.device, progress: Progress
    ) -> _Deformation:
        import torch

        from NeuroGenLib.registration.refine import HalfMaps
        from NeuroGenLib.spatial.transforms.displacement import Displacement

        with torch.inference_mode():
            grid = network_grid(fixed, moving, self.preparation, exact=self.network_config.affine_inputs is not None)
            network = self._network.to(device)
            spacing = tuple(float(size) for size in np.linalg.norm(grid.affine[:3, :3], axis=0))
            mappings = network(
                moving.on(grid).to(device), fixed.on(grid).to(device), spacing, progress=progress.part(0, 0.2)
            )
            affine = transform_affine(grid, self.network_config.factor, mappings.grids.transform_shape)
            mappings, half_to_fixed, half_to_moving = _without_affine(mappings, affine)
            fixed = replace(fixed, to_image=fixed.to_image @ half_to_fixed)
            moving = replace(moving, to_image=moving.to_image @ half_to_moving)
            if not settings.refine:
                forward, inverse = (Displacement(values, affine) for values in (mappings.forward, mappings.inverse))
                return _Deformation(forward, inverse, fixed.to_image, moving.to_image, min(spacing))
            half_maps = mappings.half_maps()
        # Copies are no longer bound to inference mode.
        left, right, left_inverse, right_inverse = (values.clone() for values in half_maps)
        maps = HalfMaps(left, right, left_inverse, right_inverse, affine)
        return _optimised(fixed, moving, maps, settings.refine, progress.part(0.2, 1))


def _optimised(fixed: Side, moving: Side, maps: HalfMaps, steps: int, progress: Progress) -> _Deformation:
    """Improve the half-way maps on a coarse and on a fine grid."""
    from NeuroGenLib.registration.refine import refine

    device = maps.left.device
    grids = fine_grids(fixed, moving, MOST_FINE_VOXELS, _MARGIN_MM)
    notes = tuple(grid.note for grid in grids if grid.note)
    coarse = round(steps * _COARSE_SHARE)
    for grid, count, part in zip(grids, (coarse, steps - coarse), ((0, 0.3), (0.3, 1)), strict=True):
        maps = maps.on_grid(grid.shape, grid.affine)
        maps = refine(moving.on(grid).to(device), fixed.on(grid).to(device), maps, count, progress=progress.part(*part))
    # The fine grid has voxels of two image voxels, or larger ones where there would be too many.
    finest = float(np.linalg.norm(maps.affine[:3, 0])) / 2
    return _Deformation(*maps.polished().total(), fixed.to_image, moving.to_image, finest, notes)


def _without_affine(mappings: Mappings, affine: np.ndarray) -> tuple[Mappings, Affine, Affine]:
    """Return the mappings without the network's affine stage, and its halves: to the fixed, to the moving image.

    Displacements end at the border of their grid, and a matrix goes on: kept apart, the affine part holds for the
    whole image. The deformation then lies in the space ``deformed``, from which the halves lead to halfway space.
    ``affine``, (4, 4), leads from voxels of the transform's grid to mm.
    """
    if mappings.half_affine is None:
        return mappings, Affine(np.eye(4), "deformed", "halfway"), Affine(np.eye(4), "deformed", "halfway")
    dense = replace(mappings, forward=mappings.dense_forward, inverse=mappings.dense_inverse, half_affine=None)
    size = np.array(mappings.grids.factor) * np.array(mappings.grids.world_spacing)
    to_world = np.diag([*size, 1.0])  # the network's: from the centre of the grid, half its longest side is 1
    to_world[:3, 3] = -size * (np.array(mappings.grids.transform_shape) - 1) / 2
    to_mm = affine @ np.linalg.inv(to_world)
    to_moving, to_fixed = (
        Affine(to_mm @ half[0].double().cpu().numpy() @ np.linalg.inv(to_mm), "deformed", "halfway")
        for half in mappings.half_affine
    )
    return dense, to_fixed, to_moving


def _better_maps(
    start: HalfwayStart, forward: SpatialMap, inverse: SpatialMap, images: tuple[PreparedImage, PreparedImage]
) -> tuple[SpatialMap, SpatialMap, list[str]]:
    """Return the maps of the registration, or those of its start and a warning where that is more similar."""
    matrix, identity = start.fixed_to_moving, np.eye(4)
    kept = SpatialMap(matrix, None, identity), SpatialMap(np.linalg.inv(matrix), None, identity)
    before, after = (scan_similarity(*images, maps[0].points, maps[1].points) for maps in (kept, (forward, inverse)))
    if not less_similar(after, before):
        return forward, inverse, []
    basis = "the placement by the headers" if np.array_equal(matrix, identity) else "the start"
    warning = (
        f"The deformation made the images less similar (normalised mutual information {before:.3f}, then {after:.3f}):"
        f" {basis} was kept, and nothing is deformed."
    )
    return *kept, [warning]


def _reduction_warnings(images: tuple[PreparedImage, PreparedImage], finest: float) -> list[str]:
    """Return a sentence for each image that was reduced, where that limits the registration."""
    width = float(np.prod([*images[0].volume.spacing, *images[1].volume.spacing]) ** (1 / 6))
    if width < finest * (1 - 1e-6):
        return []
    return [
        f"{image.name} image is huge: the registration sees means over blocks of "
        f"{' x '.join(f'{side:.2f}' for side in image.volume.spacing)} mm. Cropped to the head it would show more."
        for image in images
        if image.volume is not image.scan
    ]


def _mask_warnings(fixed_mask: Volume | None, moving_mask: Volume | None) -> list[str]:
    """Return a sentence where only one image has a mask."""
    if (fixed_mask is None) == (moving_mask is None):
        return []
    masked, unmasked = ("moving", "fixed") if fixed_mask is None else ("fixed", "moving")
    return [
        f"Only the {masked} image has a mask: unless the {unmasked} one shows the brain alone, "
        "give a mask for both, or none, or they may be misaligned by many mm."
    ]


def _label_map(labels: Volume | None, image: Volume, role: str) -> Volume | None:
    if labels is None:
        return None
    require_same_space({f"the {role} image": image, f"the {role} label map": labels})
    return as_label_map(labels, f"The {role} label map")


def _check_mask(mask: Volume | None, image: Volume, role: str) -> None:
    if mask is not None:
        require_3d(mask, f"The {role} mask")
        require_finite(mask, f"The {role} mask")
        require_same_space({f"the {role} image": image, f"the {role} mask": mask})


def _usable(volume: Volume, name: str, channels: int) -> Volume:
    """Return an image whose type can be computed with."""
    require_finite(volume, name)
    count = volume.channels or 1
    if count != channels:
        raise InputError(
            f"{name} has {count} image(s) in it, and the model compares {channels}.",
            "Give one 3-D image." if channels == 1 else "Stack the images as channels of one volume.",
            code="image-dimensions",
        )
    if min(volume.shape) < 2:
        raise InputError(
            f"{name} has {volume.shape} voxels: it is flat.", "Give a volume, not a slice.", code="image-dimensions"
        )
    return volume.with_array(volume.array.astype(np.uint8)) if volume.array.dtype == bool else volume
