"""Public inference API for atlas models: brains of an age and condition, growth, fits to scans."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from NeuroGenLib.atlas.brain import AtlasBrain
from NeuroGenLib.atlas.config import FitConfig, GenerateConfig, RenderConfig
from NeuroGenLib.atlas.drawn_conditions import drawn_conditions, drawn_warnings
from NeuroGenLib.atlas.growth.maps import render_growth
from NeuroGenLib.atlas.published.rendering import render_as_published
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
    from NeuroGenLib.atlas.rendering.brain_search import BrainOutputs
    from NeuroGenLib.atlas.rendering.render import Grid

BRAIN_SHARE = 1 / 8
"""Share of the work that the brain takes where its growth is rendered too: a growth voxel costs about seven."""

PLANES = ("sagittal", "coronal", "axial")
"""The planes across world x, y and z."""


class AtlasModel(TrainedAtlas):
    """A trained atlas to render from and to fit to scans, opened by :func:`NeuroGenLib.models.open_model`."""

    def generate(
        self,
        age: float,
        conditions: Mapping[str, object] | None = None,
        spacing: float | Sequence[float] = 1.0,
        *,
        progress: Progress = SILENT,
        **options: Any,
    ) -> AtlasBrain:
        """Render the brain of an age and condition.

        Parameters
        ----------
        age, conditions, spacing, options:
            The fields of :class:`~NeuroGenLib.atlas.config.GenerateConfig`: ``box``, ``masked``, ``growth``,
            ``bandwidth``, ``regression`` and ``reference_compat`` are the options.
        progress:
            Progress callback.

        Raises
        ------
        InputError
            When no subject supports the age, or a condition, spacing or box is unusable.

        Examples
        --------
        >>> from NeuroGenLib import open_model
        >>> atlas = open_model("bundled:fetal-sba", device="cpu")
        >>> brain = atlas.generate(30.2, {"lv_volume_normed": 0.12}, spacing=12.0)
        >>> brain.image.shape
        (9, 11, 10)
        """
        return self.render(_config(age, conditions, spacing, options), progress)

    def growth(
        self,
        age: float,
        conditions: Mapping[str, object] | None = None,
        spacing: float | Sequence[float] = 1.0,
        *,
        progress: Progress = SILENT,
        **options: Any,
    ) -> AtlasGrowth:
        """Render the growth alone of the brain of an age and condition; arguments and errors as for :meth:`generate`.

        Returns
        -------
        AtlasGrowth
            Intensities and probabilities per unit of age, on the grid of :meth:`generate`. Summed over age they give
            the difference of the brains at both ends, voxel by voxel only in steps so small that no border of a tissue
            passes a voxel within one: for a fetal brain a twentieth of a week.
        """
        return self._render_growth(_config(age, conditions, spacing, {**options, "growth": True}), progress)

    def render(self, config: GenerateConfig, progress: Progress = SILENT) -> AtlasBrain:
        """Render the brain that a config describes, with its growth where that is asked for.

        Parameters
        ----------
        config:
            Age, conditions and how it is rendered.
        progress:
            Progress callback.

        Raises
        ------
        InputError
            As :meth:`generate`.
        """
        recipe = self.recipe_of(config)
        if config.reference_compat:
            return render_as_published(self, recipe, config.steps, masked=config.masked, progress=progress)
        share = BRAIN_SHARE if config.growth else 1.0
        grid = self.grid(config.steps, config.box)
        brain = self._render(recipe, grid, progress.part(0, share), masked=config.masked)
        if config.masked and config.box is None:
            drawn = drawn_conditions(self, brain)
            brain = replace(brain, drawn=drawn, warnings=[*brain.warnings, *drawn_warnings(self, brain, drawn)])
        if not config.growth:
            return brain
        return replace(brain, growth=self._render_growth(config, progress.part(share, 1)))

    def recipe_of(self, config: GenerateConfig) -> Recipe:
        """Return what the decoder needs for the brain of a config; it refuses what cannot be rendered.

        Raises
        ------
        InputError
            As :meth:`generate`.
        """
        return self.recipe(config.age, config.conditions, config.bandwidth, config.method)

    def _render_growth(self, config: GenerateConfig, progress: Progress) -> AtlasGrowth:
        width = self.bandwidth if config.bandwidth is None else config.bandwidth
        grid = self.grid(config.steps, config.box)
        recipe = self.recipe_of(config)
        return render_growth(
            self, recipe, width, config.method, grid, self.chunk, masked=config.masked, progress=progress
        )

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
        """Render a training subject from its own latents, in its own space.

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
                f"There is no training subject {subject}.",
                f"Rows run from 0 to {len(self.subjects) - 1}.",
                code="name-unknown",
            )
        recipe = self.subject_recipe(subject)
        steps = RenderConfig(spacing=_plain(spacing)).steps
        if reference_compat:
            return render_as_published(self, recipe, steps, masked=masked, progress=progress)
        brain = self._render(recipe, self.grid(steps), progress, masked=masked)
        return brain.moved_to(np.array(self.subjects[subject].get("centre", (0, 0, 0)), float))

    def slices(
        self,
        point: Sequence[float],
        age: float,
        conditions: Mapping[str, object] | None = None,
        spacing: float | Sequence[float] = 1.0,
        **options: Any,
    ) -> dict[str, AtlasBrain]:
        """Render the three orthogonal planes through a point.

        Parameters
        ----------
        point:
            x, y, z in mm from the atlas centre; a point outside the box takes its nearest planes.
        age, conditions, spacing, options:
            As for :meth:`generate`, but neither ``growth`` nor ``reference_compat``.

        Returns
        -------
        dict
            ``sagittal``, ``coronal`` and ``axial``: volumes one voxel thick, on the grid of :meth:`generate`.

        Raises
        ------
        InputError
            As :meth:`generate`; also when the point is not three numbers.
        """
        config = _config(age, conditions, spacing, options)
        if config.growth or config.reference_compat:
            raise InputError(
                "Planes are rendered without growth and not as published.",
                "Leave out growth and reference_compat.",
                code="value-conflict",
            )
        place = np.asarray(point, float)
        if place.shape != (3,) or not np.isfinite(place).all():
            raise InputError(
                f"The point {point} is not x, y, z in mm.", "Give three numbers, such as 0, 0, 0.", code="value-invalid"
            )
        recipe = self.recipe_of(config)
        grid = self.grid(config.steps, config.box)
        voxels = np.rint((place - grid.origin) / grid.spacing).clip(0, np.array(grid.shape) - 1).astype(int)
        search = self.brain_search(self.renderer(recipe, self.device, self.chunk))
        planes = {name: grid.plane(axis, int(voxels[axis])) for axis, name in enumerate(PLANES)}
        outputs = {name: search.evaluate(plane, masked=config.masked) for name, plane in planes.items()}
        return {name: self._brain(recipe, plane, outputs[name], masked=config.masked) for name, plane in planes.items()}

    def _render(self, recipe: Recipe, grid: Grid, progress: Progress, *, masked: bool) -> AtlasBrain:
        def work(device: torch.device, chunk: int) -> BrainOutputs:
            search = self.brain_search(self.renderer(recipe, device, chunk))
            return search.evaluate(grid, masked=masked, progress=progress)

        outputs = with_memory_fallback(work, self.device, self.chunk, warn=recipe.warnings.append)
        return self._brain(recipe, grid, outputs, masked=masked)

    def _brain(self, recipe: Recipe, grid: Grid, evaluated: BrainOutputs, *, masked: bool) -> AtlasBrain:
        """Put decoded voxels into volumes; everything else is background."""
        from scipy.special import softmax

        split = len(self.modalities)
        classes = np.full(grid.size, self.background[0])
        classes[evaluated.voxels] = evaluated.outputs[:, split:].argmax(1)
        kept = np.ones(len(evaluated.voxels), bool)
        if masked:
            volume = classes.reshape(grid.shape)
            mask = brain_mask(volume, grid.spacing, self.background, core=evaluated.core).ravel()
            classes[~mask] = self.background[0]
            kept = mask[evaluated.voxels]
        voxels, outputs = evaluated.voxels[kept], evaluated.outputs[kept]
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


def _config(
    age: float, conditions: Mapping[str, object] | None, spacing: float | Sequence[float], options: Mapping[str, Any]
) -> GenerateConfig:
    plain = {name: _plain(value) for name, value in options.items()}
    values: dict[str, Any] = dict(conditions or {})
    return GenerateConfig(age=age, conditions=values, spacing=_plain(spacing), **plain)


def _plain(value: Any) -> Any:
    """Return arrays as the lists that a config holds."""
    return value.tolist() if isinstance(value, np.ndarray) else value
