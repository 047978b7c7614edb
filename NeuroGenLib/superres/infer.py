"""What a user does with a super-resolution model: scans in thick slices become one isotropic scan."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from NeuroGenLib.core.errors import InputError
from NeuroGenLib.core.progress import SILENT, Progress
from NeuroGenLib.models import Model, open_model
from NeuroGenLib.spatial.volume import Volume
from NeuroGenLib.superres.correction import residual_correction, slices_along
from NeuroGenLib.superres.evaluation.quality import Quality, guide_quality, stack_quality
from NeuroGenLib.superres.guide import align_guide, guide_need
from NeuroGenLib.superres.head import HeadMask, find_head
from NeuroGenLib.superres.intensity import head_range
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
from NeuroGenLib.superres.stacks.preprocessing import chosen_spacing, interpolated, thick_stacks

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    import torch

    from NeuroGenLib.models.folder import ModelFolder
    from NeuroGenLib.superres.network import SuperresNetwork
    from NeuroGenLib.superres.published.unet import FoldedUNet
    from NeuroGenLib.superres.stacks.stack import Stack


_SPACINGS_MM = (0.8, 1.0)
"""Voxel sizes of the usual training data, for models that do not say theirs."""


@dataclass(frozen=True, eq=False)
class SuperResolution:
    """An isotropic scan, and how far it can be believed.

    Attributes
    ----------
    image:
        (i, j, k) float32, isotropic, in the world and the units of the first scan.
    residual:
        (i, j, k) float32 on the same grid: what was measured less what the image gives when sliced again.
    head:
        Boolean, on the same grid.
    interpolated:
        (i, j, k) float32 on the same grid: the cubic interpolation (or fusion) that was corrected.
    quality:
        What was measured.
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
    """A trained super-resolution, opened by :func:`NeuroGenLib.models.open_model`.

    Attributes
    ----------
    folder:
        The model's files.
    device:
        Where it computes.
    published:
        Whether its network is the published one, which knows one voxel size, orientation and pose.
    """

    kind = "superres"
    title = "a super-resolution"

    def __init__(self, folder: ModelFolder, network: SuperresNetwork | FoldedUNet, device: torch.device) -> None:
        super().__init__(folder, device)
        self.published = folder.manifest["network"]["kind"] == "published"
        self._preparation = folder.manifest["preparation"]
        self._network: Any = network

    @classmethod
    def build(cls, folder: ModelFolder, tensors: Mapping[str, torch.Tensor], device: torch.device) -> SuperresModel:
        """Make the model from its manifest and its weights."""
        from NeuroGenLib.superres import network
        from NeuroGenLib.superres.published import unet as published_network

        entry = folder.manifest["network"]
        of_kind = published_network if entry["kind"] == published_network.KIND else network
        return cls(folder, of_kind.network_from_tensors(entry, tensors), device)

    @property
    def guide(self) -> str:
        """Whether a guide is ``needed``, ``optional`` or taken by none (``none``)."""
        return guide_need(self.folder.manifest)

    @property
    def spacings(self) -> tuple[float, float]:
        """Least and largest voxel size, in mm, that the network was trained at."""
        known = [float(mm) for mm in self._preparation.get("spacing") or _SPACINGS_MM]
        return min(known), max(known)

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
            How; the usual way when not given.
        like:
            Isotropic grid of the result; that of :func:`NeuroGenLib.superres.stacks.fusion.fused_grid` when not given.
            For a single scan.
        progress:
            Told how far it is.

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
        given = [scans] if isinstance(scans, Volume) else list(scans)
        guide, guide_warnings = self._usable_guide(guide)
        stacks, stack_warnings = thick_stacks(given, settings)
        spacing, spacing_warnings = chosen_spacing(stacks, settings.spacing, self.spacings)
        seen = initial_image(stacks, spacing, like, align=settings.align, progress=progress.part(0, 0.2))
        warnings = [*guide_warnings, *stack_warnings, *self._thickness_warnings(stacks), *spacing_warnings]
        warnings += seen.warnings
        image = seen.image
        head = find_head(image)
        start = on_grid = None
        transforms: dict[str, np.ndarray] = {}
        if guide is not None:
            start = align_guide(image, guide, align=settings.align, progress=progress.part(0.2, 0.35, "guide"))
            warnings += start.notes
            transforms["scan_to_guide"] = start.fixed_to_moving
            on_grid = interpolated(guide, image, start.fixed_to_moving)
        correcting = progress.part(0.35, 0.9)
        if self.published and guide is not None and start is not None:
            place = atlas_pose(self.folder, seen.stacks, guide, start.fixed_to_moving, correcting.part(0, 0.2))
            found, more = correction_at_pose(
                place,
                self._network,
                seen,
                guide,
                start.fixed_to_moving,
                head.mask,
                self.device,
                correcting.part(0.2, 1),
            )
            warnings += [*place.warnings, *more]
            if place.is_atlas:
                transforms["scan_to_atlas"] = np.linalg.inv(place.pose)
        else:
            sharper = self._sharpened(seen)
            added, more = self._residual(sharper, seen, on_grid, head, correcting)
            warnings += more
            if len(stacks) > 1:  # a fusion is better than what any network saw: it adds what no scan tells
                added = null_space_component(added, seen.stacks)
            found = image.with_array(sharper.array - image.array + added.array)
        better = image.with_array(image.array + head.weight.array * found.array)
        better = data_consistent(
            better,
            seen.stacks,
            head.weight.array,
            settings.back_projection,
            seen.scales,
            seen.slice_weights,
            progress.part(0.9, 0.95),
        )
        # A spline or network may fall below the darkest value of a scan, which of a magnitude image is never below 0.
        result = better.with_array(np.maximum(better.array, image.array.min()))
        progress.update(0.95, 1, "measuring")
        residuals = [slice_residual(result, *pair) for pair in zip(seen.stacks, seen.scales, strict=True)]
        quality = _quality(given, seen, residuals, result, head)
        if start is not None and on_grid is not None:
            quality = replace(quality, guide=guide_quality(start, on_grid, image, result, head.mask.array))
        for number, stack in enumerate(seen.stacks[1:], start=2):
            transforms[f"scan_{number}_to_scan"] = stack.pose
        progress.update(1, 1, "super-resolved")
        codes = (given[0] if like is None else like).axcodes
        return SuperResolution(
            result.reorient(codes),
            result.with_array(back_projection(residuals, result)).reorient(codes),
            head.mask.reorient(codes),
            image.reorient(codes),
            quality,
            list(dict.fromkeys([*warnings, *quality.remarks()])),
            transforms,
        )

    def reference(self, scan: Volume, guide: Volume | None, progress: Progress = SILENT) -> Volume:
        """Run the published pipeline number for number; see :mod:`NeuroGenLib.superres.published.reference`.

        Parameters
        ----------
        scan, guide:
            Interpolated T2w and T1w on one grid, registered to the infant atlas.
        progress:
            Told after every batch.

        Returns
        -------
        Volume
            float64 in normalised units, on the padded grid.

        Raises
        ------
        InputError
            When the model is no published one, there is no guide, or the volumes lie on another grid.
        Cancelled
            When ``progress`` was cancelled.
        """
        if not self.published or self._network.window != WINDOW:
            raise InputError(
                f"The model {self.folder.reference} is not the published one, whose pipeline is asked for.",
                "Leave --reference out, or give --model hf:almalennartsson/baby-ai.",
            )
        guide, _ = self._usable_guide(guide)
        if guide is None:  # the published network never takes none
            raise ValueError("no guide")
        network = self._network.to(self.device)
        return reference_super_resolve(guide, scan, network, self._preparation["padded"], progress=progress)

    # --- steps ------------------------------------------------------------------------------------------------------

    def _usable_guide(self, guide: Volume | None) -> tuple[Volume | None, list[str]]:
        """Return the guide that the model takes, and a sentence where it takes none."""
        if guide is None and self.guide == "needed":
            raise InputError(
                f"The model {self.folder.reference} needs a T1w of the same head as guide.",
                f"Give it as --guide, or use a model that needs none, such as {BUNDLED}.",
            )
        if guide is not None and self.guide == "none":
            return None, [f"The model {self.folder.reference} takes no guide: the one that was given is not used."]
        return guide, []

    def _thickness_warnings(self, stacks: Sequence[Stack]) -> list[str]:
        known = self._preparation.get("thickness")
        if known is None:
            return []
        return [
            f"The model was trained with slices of {known[0]:g} to {known[1]:g} mm, and the {stack.direction} ones are"
            f" {stack.thickness:.3g} mm: compare the result with the slices."
            for stack in stacks
            if not 0.9 * known[0] <= stack.thickness <= 1.1 * known[1]
        ]

    def _sharpened(self, seen: InitialImage) -> Volume:
        """Return a scan as the residual network saw those it was trained with; the fusion of several is sharp."""
        if len(seen.stacks) > 1:
            return seen.image
        return sharpened(seen.image, seen.stacks[0], int(self._preparation.get("sharpened", 0)))

    def _residual(
        self, image: Volume, seen: InitialImage, guide: Volume | None, head: HeadMask, progress: Progress
    ) -> tuple[Volume, list[str]]:
        """Return what the residual network adds to an image, and warnings; ``guide`` lies on its grid."""
        warnings: list[str] = []
        wanted = head.weight.with_array(head.weight.array > 0)
        along = slices_along(seen.stacks, image)
        network, device = self._network, self.device
        warn = warnings.append
        return residual_correction(network, image, guide, head.mask, wanted, along, device, warn, progress), warnings


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
        Told how far it is.
    """
    opened = open_model(model, SuperresModel, device=device, progress=progress.part(0, 0.05))
    return opened.super_resolve(scans, guide=guide, settings=settings, progress=progress.part(0.05, 1))


def _quality(
    given: Sequence[Volume], seen: InitialImage, residuals: Sequence[Volume], result: Volume, head: HeadMask
) -> Quality:
    """Measure a result; the guide comes later."""
    dark, bright = head_range(seen.image.array, head.mask.array, "The scan")
    rows = []
    for scan, stack, scale, residual, moved in zip(given, seen.stacks, seen.scales, residuals, seen.moved, strict=True):
        plain = slice_residual(seen.image, stack, scale)
        distance = scan.spacing[stack.axis]
        rows.append(stack_quality(stack, distance, (residual, plain), head.mask, bright - dark, moved))
    head_ml = int(head.mask.array.sum()) * head.mask.voxel_volume_ml
    return Quality(tuple(rows), None, result.spacing[0], head_ml, dark, bright)
