"""Public inference API for super-resolution models: scans in thick slices become one isotropic scan."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from NeuroGenLib.core.errors import InputError
from NeuroGenLib.core.progress import SILENT, Progress
from NeuroGenLib.models import Model, open_model
from NeuroGenLib.spatial.volume import Volume
from NeuroGenLib.superres.correction import residual_correction, slices_along
from NeuroGenLib.superres.evaluation.quality import Quality, guide_quality, stack_quality
from NeuroGenLib.superres.guide import AlignedGuide, align_guide
from NeuroGenLib.superres.head import HeadMask, cut_sides, find_head
from NeuroGenLib.superres.intensity import head_range
from NeuroGenLib.superres.manifest import SuperresManifest
from NeuroGenLib.superres.published.atlas_pose import atlas_pose, correction_at_pose
from NeuroGenLib.superres.published.reference import WINDOW, reference_super_resolve
from NeuroGenLib.superres.run_config import BUNDLED, SuperresConfig
from NeuroGenLib.superres.stacks.data_consistency import (
    back_projection,
    data_consistent,
    null_space_component,
    sharpened,
    slice_residual,
)
from NeuroGenLib.superres.stacks.initial_image import InitialImage, initial_image
from NeuroGenLib.superres.stacks.preprocessing import chosen_spacing, thick_stacks

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    import torch

    from NeuroGenLib.models.folder import ModelFolder
    from NeuroGenLib.superres.network import SuperresNetwork
    from NeuroGenLib.superres.published.unet import FoldedUNet
    from NeuroGenLib.superres.stacks.stack import Stack


_SPACINGS_MM = (0.8, 1.0)
"""Voxel sizes of the usual training data, for models whose manifest has none."""


@dataclass(frozen=True, eq=False)
class SuperResolution:
    """Isotropic scan with its residual and quality.

    Attributes
    ----------
    image:
        (i, j, k) float32, isotropic, in the world and the units of the first scan.
    residual:
        (i, j, k) float32 on the same grid: the measured slices less the acquisition simulated from the image.
    head:
        Boolean, on the same grid.
    interpolated:
        (i, j, k) float32 on the same grid: the cubic interpolation (or fusion) that was corrected.
    quality:
        Measures of agreement with slices and guide.
    warnings:
        What a person should know about this result.
    transforms:
        (4, 4) RAS mm to RAS mm: ``scan_to_guide``, ``scan_to_atlas``, ``scan_2_to_scan`` and so on, those there are.
    """

    image: Volume
    residual: Volume
    head: Volume
    interpolated: Volume
    quality: Quality
    warnings: list[str]
    transforms: dict[str, np.ndarray]


class SuperresModel(Model):
    """Trained super-resolution model, opened by :func:`NeuroGenLib.models.open_model`.

    Attributes
    ----------
    folder:
        The model's files.
    device:
        Where it computes.
    published:
        Whether its network is the published one, which was trained at one voxel size, orientation and pose.

    Examples
    --------
    >>> from NeuroGenLib.models import open_model
    >>> model = open_model("bundled:superres", device="cpu")
    >>> model.guide, model.published
    ('optional', False)
    """

    kind = "superres"
    title = "a super-resolution"

    def __init__(self, folder: ModelFolder, network: SuperresNetwork | FoldedUNet, device: torch.device) -> None:
        super().__init__(folder, device)
        manifest = folder.read_as(SuperresManifest)
        self.published = manifest.published
        self._preparation = manifest.preparation
        self._guide = manifest.guide
        self._network: Any = network

    @classmethod
    def build(cls, folder: ModelFolder, tensors: Mapping[str, torch.Tensor], device: torch.device) -> SuperresModel:
        """Make the model from its manifest and its weights."""
        from NeuroGenLib.superres import network
        from NeuroGenLib.superres.published import unet as published_network

        manifest = folder.read_as(SuperresManifest)
        of_kind = published_network if manifest.published else network
        return cls(folder, of_kind.network_from_tensors(manifest.network, tensors), device)

    @property
    def guide(self) -> str:
        """Whether a guide is ``needed``, ``optional`` or not used (``none``)."""
        return self._guide

    @property
    def spacings(self) -> tuple[float, float]:
        """Least and largest voxel size, in mm, that the network was trained at."""
        known = [float(mm) for mm in self._preparation.spacing or _SPACINGS_MM]
        return min(known), max(known)

    @property
    def traits(self) -> list[str]:
        """Voxel sizes it was trained at, and whether it uses a guide."""
        low, high = self.spacings
        return [f"{low:g} mm" if low == high else f"{low:g} to {high:g} mm", f"guide {self.guide}"]

    def super_resolve(
        self,
        scans: Volume | Sequence[Volume],
        *,
        guide: Volume | None = None,
        settings: SuperresConfig | None = None,
        like: Volume | None = None,
        progress: Progress = SILENT,
    ) -> SuperResolution:
        """Turn scans in thick slices into one isotropic scan, in the world and the units of the first.

        Parameters
        ----------
        scans:
            A 3-D scan, or several of one head along different directions; any orientation and spacing.
        guide:
            An isotropic scan of the same head in another contrast, such as T1w; it may lie anywhere.
        settings:
            Parameters; the defaults when not given.
        like:
            Isotropic grid of the result; that of :func:`NeuroGenLib.superres.stacks.fusion.fused_grid` when not given.
            For a single scan.
        progress:
            Progress callback.

        Raises
        ------
        AlreadyIsotropic
            When a single scan has no thick slices and nothing finer is asked for.
        InputError
            When a scan or the guide cannot be used, or the model needs a guide and there is none.
        NeuroGenError
            When there is not enough memory.
        Cancelled
            When ``progress`` was cancelled.
        """
        settings = settings or SuperresConfig()
        scans = [scans] if isinstance(scans, Volume) else list(scans)
        guide, guide_warnings = self._usable_guide(guide)
        stacks, stack_warnings = thick_stacks(scans, settings)
        spacing, spacing_warnings = chosen_spacing(stacks, settings.spacing, self.spacings)
        initial = initial_image(stacks, spacing, like, align=settings.align, progress=progress.part(0, 0.2))
        head = find_head(initial.image)
        aligned = None
        if guide is not None:
            aligned = align_guide(
                initial.image, guide, align=settings.align, progress=progress.part(0.2, 0.35, "guide")
            )
        correction = self._correction(initial, aligned, head, progress.part(0.35, 0.9))
        image = _corrected(initial, correction.volume, head, settings.back_projection, progress.part(0.9, 0.95))
        progress.update(0.95, 1, "measuring")
        residuals = [slice_residual(image, *pair) for pair in zip(initial.stacks, initial.scales, strict=True)]
        quality = _quality(scans, initial, residuals, image, head, aligned)
        progress.update(1, 1, "super-resolved")
        warnings = [*guide_warnings, *stack_warnings, *self._thickness_warnings(stacks), *spacing_warnings]
        warnings += [*initial.warnings, *(aligned.start.notes if aligned else ()), *correction.warnings]
        axcodes = (scans[0] if like is None else like).axcodes
        return SuperResolution(
            image.reorient(axcodes),
            image.with_array(back_projection(residuals, image)).reorient(axcodes),
            head.mask.reorient(axcodes),
            initial.image.reorient(axcodes),
            quality,
            list(dict.fromkeys([*warnings, *quality.remarks()])),
            {**_transforms(initial, aligned), **correction.transforms},
        )

    def reference(self, scan: Volume, guide: Volume | None, progress: Progress = SILENT) -> Volume:
        """Run the published pipeline number for number; see :mod:`NeuroGenLib.superres.published.reference`.

        Parameters
        ----------
        scan, guide:
            Interpolated T2w and T1w on one grid, registered to the infant atlas.
        progress:
            Progress callback.

        Returns
        -------
        Volume
            float64 in normalised units, on the padded grid.

        Raises
        ------
        InputError
            When the model is not the published one, there is no guide, or the volumes lie on another grid.
        Cancelled
            When ``progress`` was cancelled.
        """
        if not self.published or self._network.window != WINDOW:
            raise InputError(
                f"The model {self.folder.reference} is not the published one, whose pipeline is asked for.",
                "Omit --reference, or give --model hf:almalennartsson/baby-ai.",
                code="model-kind",
            )
        guide, _ = self._usable_guide(guide)
        padded = self._preparation.padded
        if guide is None or padded is None:  # the published network has both
            raise ValueError("no guide, or no shape to pad to")
        network = self._network.to(self.device)
        return reference_super_resolve(guide, scan, network, padded, progress=progress)

    # --- steps ------------------------------------------------------------------------------------------------------

    def _usable_guide(self, guide: Volume | None) -> tuple[Volume | None, list[str]]:
        """Return the guide if the model uses one, and a warning if it does not."""
        if guide is None and self.guide == "needed":
            raise InputError(
                f"The model {self.folder.reference} needs a T1w of the same head as guide.",
                f"Give it as guide, or use a model that needs none, such as {BUNDLED}.",
                code="value-missing",
            )
        if guide is not None and self.guide == "none":
            return None, [f"The model {self.folder.reference} takes no guide: yours is not used."]
        return guide, []

    def _thickness_warnings(self, stacks: Sequence[Stack]) -> list[str]:
        known = self._preparation.thickness
        if known is None:
            return []
        return [
            f"The model was trained with slices of {known[0]:g} to {known[1]:g} mm, and the {stack.direction} ones are"
            f" {stack.thickness:.3g} mm: compare the result with the slices."
            for stack in stacks
            if not 0.9 * known[0] <= stack.thickness <= 1.1 * known[1]
        ]

    def _correction(
        self, initial: InitialImage, guide: AlignedGuide | None, head: HeadMask, progress: Progress
    ) -> _Correction:
        """Return what the network adds to the initial image."""
        if self.published and guide is not None:
            return self._published_correction(initial, guide, head, progress)
        return self._residual_correction(initial, guide, head, progress)

    def _published_correction(
        self, initial: InitialImage, guide: AlignedGuide, head: HeadMask, progress: Progress
    ) -> _Correction:
        """Return the correction of the published network, computed in the pose of its atlas."""
        pose = atlas_pose(self.folder, initial.stacks, guide.volume, guide.from_scan, progress.part(0, 0.2))
        volume, warnings = correction_at_pose(
            pose,
            self._network,
            initial,
            guide.volume,
            guide.from_scan,
            head.mask,
            self.device,
            progress.part(0.2, 1),
        )
        transforms = {"scan_to_atlas": np.linalg.inv(pose.pose)} if pose.is_atlas else {}
        return _Correction(volume, [*pose.warnings, *warnings], transforms)

    def _residual_correction(
        self, initial: InitialImage, guide: AlignedGuide | None, head: HeadMask, progress: Progress
    ) -> _Correction:
        """Return the sharpening of a single stack and the correction of the residual network.

        The fusion of several stacks is better than what the network was trained on: of its correction only the
        null-space component is added.
        """
        fused = len(initial.stacks) > 1
        steps = 0 if fused else self._preparation.sharpened
        sharp = sharpened(initial.image, initial.stacks[0], steps)
        warnings: list[str] = []
        added = residual_correction(
            self._network,
            sharp,
            None if guide is None else guide.image,
            head.mask,
            head.weight.with_array(head.weight.array > 0),
            slices_along(initial.stacks, sharp),
            self.device,
            warnings.append,
            progress,
        )
        if fused:
            added = null_space_component(added, initial.stacks)
        return _Correction(initial.image.with_array(sharp.array - initial.image.array + added.array), warnings)


@dataclass(frozen=True, eq=False)
class _Correction:
    """Difference to the initial image, on its grid, with warnings and transforms that it took."""

    volume: Volume
    warnings: list[str]
    transforms: dict[str, np.ndarray] = field(default_factory=dict)


def super_resolve(
    scans: Volume | Sequence[Volume],
    model: str | os.PathLike[str] = BUNDLED,
    *,
    guide: Volume | None = None,
    settings: SuperresConfig | None = None,
    device: str = "auto",
    progress: Progress = SILENT,
) -> SuperResolution:
    """Open a model and let it :meth:`~SuperresModel.super_resolve`; errors are those of both.

    Parameters
    ----------
    scans, guide, settings:
        See :meth:`SuperresModel.super_resolve`.
    model:
        A folder, ``bundled:NAME`` or ``hf:org/repo``.
    device:
        ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
    progress:
        Progress callback.

    Examples
    --------
    A head in slices of 10 mm, at 5 mm to be quick:

    >>> import numpy as np
    >>> from NeuroGenLib import Volume
    >>> distance = np.linalg.norm(np.indices((16, 16, 8)).T * (5, 5, 10) - 40, axis=-1).T
    >>> scan = Volume(100 * np.exp(-((distance / 28) ** 4)), np.diag([5.0, 5, 10, 1]))
    >>> found = super_resolve(scan, settings=SuperresConfig(spacing=5), device="cpu")
    >>> found.image.shape, found.quality.stacks[0].direction
    ((16, 16, 16), 'axial')
    """
    opened = open_model(model, SuperresModel, device=device, progress=progress.part(0, 0.05))
    return opened.super_resolve(scans, guide=guide, settings=settings, progress=progress.part(0.05, 1))


def _corrected(initial: InitialImage, correction: Volume, head: HeadMask, steps: int, progress: Progress) -> Volume:
    """Return the initial image plus the correction in the head, made consistent with the slices."""
    image = initial.image.with_array(initial.image.array + head.weight.array * correction.array)
    image = data_consistent(
        image, initial.stacks, head.weight.array, steps, initial.scales, initial.slice_weights, progress
    )
    # A spline or network may fall below the darkest value of a scan, which of a magnitude image is never below 0.
    return image.with_array(np.maximum(image.array, initial.image.array.min()))


def _quality(
    scans: Sequence[Volume],
    initial: InitialImage,
    residuals: Sequence[Volume],
    image: Volume,
    head: HeadMask,
    guide: AlignedGuide | None,
) -> Quality:
    """Measure a result."""
    dark, bright = head_range(initial.image.array, head.mask.array, "The scan")
    stacks = []
    for scan, stack, scale, residual, moved in zip(
        scans, initial.stacks, initial.scales, residuals, initial.moved, strict=True
    ):
        interpolation_residual = slice_residual(initial.image, stack, scale)
        distance = scan.spacing[stack.axis]
        stacks.append(
            stack_quality(stack, distance, (residual, interpolation_residual), head.mask, bright - dark, moved)
        )
    of_guide = None
    if guide is not None:
        of_guide = guide_quality(guide.start, guide.image, initial.image, image, head.mask.array)
    head_ml = int(head.mask.array.sum()) * head.mask.voxel_volume_ml
    return Quality(tuple(stacks), of_guide, image.spacing[0], head_ml, dark, bright, cut_sides(head.mask))


def _transforms(initial: InitialImage, guide: AlignedGuide | None) -> dict[str, np.ndarray]:
    """Return the transforms from scans to scan and from scan to guide by name, (4, 4) RAS mm."""
    transforms = {f"scan_{number}_to_scan": stack.pose for number, stack in enumerate(initial.stacks[1:], start=2)}
    return transforms if guide is None else {"scan_to_guide": guide.from_scan, **transforms}
