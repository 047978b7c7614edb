"""Public inference API for atlas models: brains of an age and condition, growth, fits to scans."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from NeuroGenLib.atlas.brain import AtlasBrain
from NeuroGenLib.atlas.config import FitConfig
from NeuroGenLib.atlas.growth.maps import render_growth
from NeuroGenLib.atlas.published.checkpoint import decode_as_published
from NeuroGenLib.atlas.rendering.brain import brain_mask
from NeuroGenLib.atlas.trained import Recipe, TrainedAtlas
from NeuroGenLib.core.device import with_memory_fallback
from NeuroGenLib.core.errors import InputError
from NeuroGenLib.core.progress import SILENT, Progress
from NeuroGenLib.spatial.volume import Volume

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import torch

    from NeuroGenLib.atlas.fit.fit import FittedBrain
    from NeuroGenLib.atlas.growth.maps import AtlasGrowth
    from NeuroGenLib.atlas.regression import Method
    from NeuroGenLib.atlas.rendering.brain_search import Drawn
    from NeuroGenLib.atlas.rendering.render import Grid

PLANES = ("sagittal", "coronal", "axial")
"""The planes across world x, y and z."""


class AtlasModel(TrainedAtlas):
    """A trained atlas to draw from and to fit, opened by :func:`NeuroGenLib.models.open_model`."""

    def generate(
        self,
        age: float,
        conditions: Mapping[str, object] | None = None,
        spacing: float | Sequence[float] = 1.0,
        *,
        box: Sequence[float] | None = None,
        masked: bool = True,
        bandwidth: float | None = None,
        regression: Method | None = None,
        reference_compat: bool = False,
        progress: Progress = SILENT,
    ) -> AtlasBrain:
        """Draw the brain of an age and condition.

        Parameters
        ----------
        age:
            In the model's unit; beyond the trained range with a warning.
        conditions:
            Values by name, in table units; one that is not given takes the middle of its range, with a warning.
        spacing:
            Voxel size in mm, one number or three.
        box:
            x0, x1, y0, y1, z0, z1 in mm around the atlas centre; the model's box when not given.
        masked:
            Zero outside the brain and its rim.
        bandwidth, regression:
            Kernel width (in the unit of age; the model's when not given) and kind of the age regression: local-linear,
            but Gaussian with ``reference_compat``.
        reference_compat:
            Grid, intensity stretch, mask and label map as the published code makes them, defects included.
        progress:
            Told about the points evaluated.

        Raises
        ------
        InputError
            When no subject supports the age, or a condition, spacing or box is unusable.
        """
        usual: Method = "gaussian" if reference_compat else "local-linear"
        recipe = self.recipe(age, conditions, bandwidth, regression or usual)
        if reference_compat:
            if box is not None:
                raise InputError("The published grid fills the model's box.", "Leave out --box or --reference-compat.")
            return decode_as_published(self, recipe, _three(spacing), masked=masked, progress=progress)
        return self._draw(recipe, self.grid(_three(spacing), box), progress, masked=masked)

    def growth(
        self,
        age: float,
        conditions: Mapping[str, object] | None = None,
        spacing: float | Sequence[float] = 1.0,
        *,
        box: Sequence[float] | None = None,
        masked: bool = True,
        bandwidth: float | None = None,
        regression: Method | None = None,
        progress: Progress = SILENT,
    ) -> AtlasGrowth:
        """Draw how fast the brain of an age and condition changes; arguments and errors as for :meth:`generate`.

        Returns
        -------
        AtlasGrowth
            Intensities and probabilities per unit of age, on the grid of :meth:`generate`. Summed over age they give
            the difference of the brains at both ends, voxel by voxel only in steps so small that no border of a tissue
            passes a voxel within one: for a fetal brain a twentieth of a week.
        """
        method = regression or "local-linear"
        recipe = self.recipe(age, conditions, bandwidth, method)
        width = self.bandwidth if bandwidth is None else bandwidth
        grid = self.grid(_three(spacing), box)
        return render_growth(self, recipe, width, method, grid, self.chunk, masked=masked, progress=progress)

    def fit(
        self,
        images: Volume | Mapping[str, Volume],
        *,
        mask: Volume | None = None,
        labels: Volume | None = None,
        age: float | None = None,
        conditions: Mapping[str, object] | None = None,
        settings: FitConfig | None = None,
        progress: Progress = SILENT,
    ) -> FittedBrain:
        """Fit the atlas to a scan: labels, age and deviation in the scan's own space.

        Parameters
        ----------
        images:
            The scan as the model's first image, or several by the names of the model's images.
        mask, labels, age, conditions, progress:
            As for :func:`NeuroGenLib.atlas.fit.fit.fit_scan`.
        settings:
            Steps and rates; the defaults when not given.

        Raises
        ------
        InputError
            As :func:`NeuroGenLib.atlas.fit.fit.fit_scan`.
        """
        from NeuroGenLib.atlas.fit.fit import fit_scan

        return fit_scan(
            self,
            {self.modalities[0]: images} if isinstance(images, Volume) else images,
            mask=mask,
            labels=labels,
            age=age,
            conditions=conditions,
            settings=settings or FitConfig(),
            progress=progress,
        )

    def reconstruct(
        self,
        subject: int,
        spacing: float | Sequence[float] = 1.0,
        *,
        masked: bool = True,
        reference_compat: bool = False,
        progress: Progress = SILENT,
    ) -> AtlasBrain:
        """Draw a training subject from its own latents, in its own space.

        Parameters
        ----------
        subject:
            Its row in :attr:`subjects`.
        spacing, masked, reference_compat, progress:
            As for :meth:`generate`.

        Returns
        -------
        AtlasBrain
            In the subject's RAS mm where the model knows the subject's centre, else around zero.
        """
        if not 0 <= subject < len(self.subjects):
            raise InputError(
                f"There is no training subject {subject}.", f"Rows run from 0 to {len(self.subjects) - 1}."
            )
        recipe = self.subject_recipe(subject)
        if reference_compat:
            return decode_as_published(self, recipe, _three(spacing), masked=masked, progress=progress)
        brain = self._draw(recipe, self.grid(_three(spacing)), progress, masked=masked)
        return brain.moved_to(np.array(self.subjects[subject].get("centre", (0, 0, 0)), float))

    def slices(
        self,
        point: Sequence[float],
        age: float,
        conditions: Mapping[str, object] | None = None,
        spacing: float | Sequence[float] = 1.0,
        *,
        masked: bool = True,
        bandwidth: float | None = None,
    ) -> dict[str, AtlasBrain]:
        """Draw the three orthogonal planes through a point: what a slider shows while it moves.

        Parameters
        ----------
        point:
            x, y, z in mm from the atlas centre; a point outside the box takes its nearest planes.
        age, conditions, spacing, masked, bandwidth:
            As for :meth:`generate`.

        Returns
        -------
        dict
            ``sagittal``, ``coronal`` and ``axial``: volumes one voxel thick, on the grid of :meth:`generate`.

        Raises
        ------
        InputError
            As :meth:`generate`; also when the point is not three numbers.
        """
        place = np.asarray(point, float)
        if place.shape != (3,) or not np.isfinite(place).all():
            raise InputError(f"The point {point} is not x, y, z in mm.", "Give three numbers, such as 0, 0, 0.")
        recipe = self.recipe(age, conditions, bandwidth)
        grid = self.grid(_three(spacing))
        voxels = np.rint((place - grid.origin) / grid.spacing).clip(0, np.array(grid.shape) - 1).astype(int)
        search = self.brain_search(self.renderer(recipe, self.device, self.chunk))
        planes = {name: grid.plane(axis, int(voxels[axis])) for axis, name in enumerate(PLANES)}
        drawn = {name: search.draw(plane, masked=masked) for name, plane in planes.items()}
        return {name: self._paint(recipe, plane, drawn[name], masked=masked) for name, plane in planes.items()}

    def _draw(self, recipe: Recipe, grid: Grid, progress: Progress, *, masked: bool) -> AtlasBrain:
        def work(device: torch.device, chunk: int) -> Drawn:
            search = self.brain_search(self.renderer(recipe, device, chunk))
            return search.draw(grid, masked=masked, progress=progress)

        drawn = with_memory_fallback(work, self.device, self.chunk, warn=recipe.warnings.append)
        return self._paint(recipe, grid, drawn, masked=masked)

    def _paint(self, recipe: Recipe, grid: Grid, drawn: Drawn, *, masked: bool) -> AtlasBrain:
        """Put decoded voxels into volumes; everything else is background."""
        from scipy.special import softmax

        split = len(self.modalities)
        classes = np.full(grid.size, self.background[0])
        classes[drawn.voxels] = drawn.outputs[:, split:].argmax(1)
        kept = np.ones(len(drawn.voxels), bool)
        if masked:
            volume = classes.reshape(grid.shape)
            mask = brain_mask(volume, grid.spacing, self.background, core=drawn.core).ravel()
            classes[~mask] = self.background[0]
            kept = mask[drawn.voxels]
        voxels, outputs = drawn.voxels[kept], drawn.outputs[kept]
        images = {}
        for channel, name in enumerate(self.modalities):
            values = np.full(grid.size, self._fill[channel], np.float32)
            values[voxels] = outputs[:, channel]
            images[name] = Volume(values.reshape(grid.shape), grid.affine)
        probabilities = np.zeros((len(self.labels.names), grid.size), np.float32)
        probabilities[self.background[0]] = 1
        probabilities[:, voxels] = softmax(outputs[:, split:], axis=1).T
        return AtlasBrain(
            images,
            Volume(self.label_values(classes).reshape(grid.shape), grid.affine),
            Volume(probabilities.reshape(-1, *grid.shape), grid.affine),
            recipe.age,
            recipe.values,
            recipe.weights,
            recipe.warnings,
        )


def _three(spacing: float | Sequence[float]) -> tuple[float, float, float]:
    steps = np.broadcast_to(np.asarray(spacing, float), (3,)) if np.size(spacing) in (1, 3) else np.zeros(3)
    if not (np.isfinite(steps).all() and (steps > 0).all()):
        raise InputError(f"The spacing {spacing} is not one or three positive numbers in mm.", "Give --spacing 1.0.")
    first, second, third = (float(step) for step in steps)
    return first, second, third
