"""What a user does with a trained atlas: draw the brain of an age and condition."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from NeuroGenLib.atlas.conditions import Condition, beyond_neighbours, complete, encode_all
from NeuroGenLib.atlas.regression import Method, SubjectWeights, subject_weights
from NeuroGenLib.atlas.rendering.brain import brain_mask
from NeuroGenLib.atlas.rendering.brain_search import BrainSearch, Drawn
from NeuroGenLib.core.device import with_memory_fallback
from NeuroGenLib.core.errors import InputError
from NeuroGenLib.core.progress import SILENT, Progress
from NeuroGenLib.spatial.labels import LabelTable
from NeuroGenLib.spatial.volume import Volume

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import torch

    from NeuroGenLib.atlas.config import FitConfig
    from NeuroGenLib.atlas.fit.fit import FittedBrain
    from NeuroGenLib.atlas.growth.maps import AtlasGrowth
    from NeuroGenLib.atlas.network import AtlasDecoder, Shape
    from NeuroGenLib.atlas.rendering.render import Grid, Renderer
    from NeuroGenLib.models.folder import ModelFolder

CUDA_CHUNK = 2**18
NEAR = 2.0
"""Training subjects within this many bandwidths of an age are near it."""
PLANES = ("sagittal", "coronal", "axial")
"""The planes across world x, y and z."""


@dataclass(frozen=True)
class AtlasBrain:
    """One brain drawn from an atlas; all volumes share one grid, whose world origin is the atlas centre.

    Attributes
    ----------
    images:
        One volume per modality, in the model's units.
    labels:
        Label values of the model's table.
    probabilities:
        (classes, i, j, k), in the order of the model's label table; they sum to one.
    age, conditions:
        What was asked for, in table units.
    weights:
        How much each training subject counted.
    warnings:
        What a person should know about this result.
    """

    images: dict[str, Volume]
    labels: Volume
    probabilities: Volume
    age: float
    conditions: dict[str, float | str]
    weights: SubjectWeights
    warnings: list[str] = field(default_factory=list)

    @property
    def image(self) -> Volume:
        """The first modality."""
        return next(iter(self.images.values()))


class AtlasModel:
    """A trained atlas, opened by :func:`NeuroGenLib.models.open_model`.

    Attributes
    ----------
    labels:
        The label table; a class is a position in it.
    background:
        The classes that are not brain.
    modalities:
        Names of the intensity channels.
    conditions:
        The conditions besides age.
    ages:
        (S,) ages of the training subjects, in :attr:`age_unit`.
    box:
        (3,) sides of the atlas box in mm, world x, y, z; the atlas centre is its middle.
    """

    def __init__(
        self,
        folder: ModelFolder,
        decoder: AtlasDecoder,
        latents: torch.Tensor,
        transforms: torch.Tensor | None,
        device: torch.device,
    ) -> None:
        manifest = folder.manifest
        preparation = manifest["preparation"]
        self.folder = folder
        self.device = device
        self.labels = LabelTable.from_mapping(manifest["labels"])
        self.background = tuple(self.labels.names.index(name) for name in preparation["background"])
        self.modalities: tuple[str, ...] = tuple(manifest["modalities"])
        self.conditions = tuple(Condition.from_manifest(entry) for entry in manifest["conditions"])
        self.age_name: str = manifest["age"]["name"]
        self.age_unit: str = manifest["age"]["unit"]
        self.subjects: list[dict[str, Any]] = manifest["subjects"]
        self.ages = np.array([subject["age"] for subject in self.subjects], float)
        self.box = np.array(preparation["box"], float)
        self.bandwidth = float(manifest["regression"]["bandwidth"])
        self._fill = [float(value) for value in preparation["fill"]]
        self._decoders = {device: decoder}
        self._latents = latents
        self._transforms = transforms
        self._parametrisation = manifest["transform"]["parametrisation"]

    @classmethod
    def from_folder(cls, folder: ModelFolder, device: torch.device) -> AtlasModel:
        """Open a model folder of kind ``atlas``.

        Raises
        ------
        InputError
            When its weights do not fit what its manifest says.
        """
        from NeuroGenLib.atlas.network import decoder_from_tensors
        from NeuroGenLib.models.folder import load_tensors

        tensors = load_tensors(folder, device)
        transformed = folder.manifest.get("transform", {}).get("kind", "none") != "none"
        try:
            decoder = decoder_from_tensors(folder.manifest["network"], tensors).to(device)
            model = cls(folder, decoder, tensors["latents"], tensors["transforms"] if transformed else None, device)
            model._require_fitting_weights(decoder.shape)
            return model
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise InputError(
                f"The model {folder.reference} is not a complete atlas ({error}).", "Download or train it again."
            ) from error

    def _require_fitting_weights(self, shape: Shape) -> None:
        """Raise ValueError when the manifest names more or fewer things than the weights have outputs or rows for."""
        for what, named, held in (
            ("images", len(self.modalities), shape.intensities),
            ("fill values", len(self._fill), shape.intensities),
            ("labels", len(self.labels), shape.classes),
            ("condition values", sum(one.width for one in self.conditions), shape.conditions),
            ("subjects", len(self.subjects), len(self._latents)),
        ):
            if named != held:
                raise ValueError(f"it names {named} {what}, the weights have {held}")

    @property
    def age_range(self) -> tuple[float, float]:
        """Youngest and oldest training subject, in :attr:`age_unit`."""
        return float(self.ages.min()), float(self.ages.max())

    @property
    def latents(self) -> torch.Tensor:
        """(S, C, nz, ny, nx) latents of the training subjects, on :attr:`device`."""
        return self._latents

    @property
    def decoder(self) -> AtlasDecoder:
        """The network, on :attr:`device`."""
        return self._decoders[self.device]

    @property
    def pose_columns(self) -> int:
        """Number of parameters of a training subject's transform; see :mod:`NeuroGenLib.atlas.transform`."""
        return 0 if self._transforms is None else self._transforms.shape[1]

    @property
    def notice(self) -> str:
        """What every output must say of the brains this model shows."""
        return str(self.folder.manifest.get("notice", ""))

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
            from NeuroGenLib.atlas.published.checkpoint import decode_as_published

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
        from NeuroGenLib.atlas.growth.maps import draw_growth

        method = regression or "local-linear"
        recipe = self.recipe(age, conditions, bandwidth, method)
        width = self.bandwidth if bandwidth is None else bandwidth
        grid = self.grid(_three(spacing), box)
        return draw_growth(self, recipe, width, method, grid, _chunk(self.device), masked=masked, progress=progress)

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
        from NeuroGenLib.atlas.config import FitConfig
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
            from NeuroGenLib.atlas.published.checkpoint import decode_as_published

            return decode_as_published(self, recipe, _three(spacing), masked=masked, progress=progress)
        brain = self._draw(recipe, self.grid(_three(spacing)), progress, masked=masked)
        return _moved(brain, np.array(self.subjects[subject].get("centre", (0, 0, 0)), float))

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
        search = self._brain_search(self._renderer(recipe, self.device, _chunk(self.device)))
        planes = {name: grid.plane(axis, int(voxels[axis])) for axis, name in enumerate(PLANES)}
        drawn = {name: search.draw(plane, masked=masked) for name, plane in planes.items()}
        return {name: self._paint(recipe, plane, drawn[name], masked=masked) for name, plane in planes.items()}

    def recipe(
        self,
        age: float,
        conditions: Mapping[str, object] | None = None,
        bandwidth: float | None = None,
        regression: Method = "local-linear",
    ) -> Recipe:
        """Return the latents and network conditions of an age and condition, with warnings.

        Raises
        ------
        InputError
            When no subject supports the age, or a condition is unknown or unusable.
        """
        import torch

        values, warnings = complete(self.conditions, conditions or {})
        low, high = self.age_range
        age = float(age)
        if not low <= age <= high:
            warnings.append(
                f"{self.age_name} {age:g} is outside the trained range {low:g} to {high:g} {self.age_unit}: "
                "the result is a guess."
            )
        encoded = encode_all(self.conditions, values)
        width = self.bandwidth if bandwidth is None else bandwidth
        weights = subject_weights(self.ages, age, width, regression, self._offsets(encoded))
        if abs(weights.realised_age - age) > 0.05:
            warnings.append(f"The weighted mean age is {weights.realised_age:.2f}, not the {age:g} asked for.")
        if weights.effective_n < 1:
            warnings.append(f"{self.age_name} {age:g} rests on little data: effective n {weights.effective_n:.1f}.")
        near = [subject["conditions"] for subject in self.subjects if abs(subject["age"] - age) <= NEAR * width]
        for phrase in beyond_neighbours(self.conditions, values, near):
            warnings.append(f"No training subject near {self.age_name} {age:g} resembles {phrase}: a guess.")
        factors = torch.as_tensor(weights.weights, dtype=self._latents.dtype, device=self._latents.device)
        latents = torch.tensordot(factors, self._latents, dims=1)
        return Recipe(latents, torch.from_numpy(encoded).to(latents.device), age, values, weights, warnings)

    def subject_recipe(self, row: int) -> Recipe:
        """Return what draws a training subject from its own latents, moved by its own transform."""
        import torch

        from NeuroGenLib.atlas import transform

        entry = self.subjects[row]
        only = np.zeros(len(self.subjects))
        only[row] = 1
        motion = None
        if self._transforms is not None:
            half_box = torch.tensor(self.box / 2, dtype=torch.float32, device=self.device)
            linear, translation = transform.matrices(self._transforms[row][None], half_box, self._parametrisation)
            motion = (linear[0], translation[0])
        return Recipe(
            self._latents[row],
            torch.from_numpy(encode_all(self.conditions, entry["conditions"])).to(self.device),
            float(entry["age"]),
            dict(entry["conditions"]),
            SubjectWeights(only, float(entry["age"]), float(entry["age"]), 1.0),
            [],
            motion,
        )

    def grid(self, spacing: tuple[float, float, float], box: Sequence[float] | None = None) -> Grid:
        """Return the voxel grid of a box (the model's when None).

        Raises
        ------
        InputError
            When the spacing or the box is empty, not finite or needs more voxels than anybody can use.
        """
        from NeuroGenLib.atlas.rendering.render import grid_in_box

        if box is None:
            low, high = -self.box / 2, self.box / 2
        else:
            bounds = np.asarray(box, float)
            if bounds.shape != (6,) or not np.isfinite(bounds).all() or (bounds[0::2] >= bounds[1::2]).any():
                raise InputError("The box is not x0, x1, y0, y1, z0, z1 in mm with x0 < x1.", "Give six numbers.")
            low, high = bounds[0::2], bounds[1::2]
        voxels = np.prod((high - low) / spacing)
        if voxels > 1e9:
            raise InputError(f"This box and spacing make {voxels:.1g} voxels.", "Choose a coarser spacing.")
        return grid_in_box(low, high, spacing)

    def _offsets(self, encoded: np.ndarray) -> np.ndarray | None:
        """Return how far each subject's conditions are from the encoded ones, (S, c) in units of -1..1."""
        if not self.conditions:
            return None
        own = np.stack([encode_all(self.conditions, subject["conditions"]) for subject in self.subjects])
        scale = np.concatenate([np.full(one.width, one.scale) for one in self.conditions])
        offsets: np.ndarray = (own - encoded) / scale
        return offsets

    def _decoder(self, device: torch.device) -> AtlasDecoder:
        if device not in self._decoders:
            self._decoders[device] = copy.deepcopy(self._decoders[self.device]).to(device)
        return self._decoders[device]

    def _renderer(self, recipe: Recipe, device: torch.device, chunk: int) -> Renderer:
        from NeuroGenLib.atlas.rendering.render import Renderer

        motion = None if recipe.motion is None else (recipe.motion[0].to(device), recipe.motion[1].to(device))
        return Renderer(self._decoder(device), recipe.latents.to(device), recipe.conditions.to(device), chunk, motion)

    def _brain_search(self, renderer: Renderer) -> BrainSearch:
        return BrainSearch(renderer, self.box / 2, len(self.modalities), self.background)

    def without(self, row: int) -> AtlasModel:
        """Return the atlas of all training subjects but one; the network has still seen it."""
        kept = [index for index in range(len(self.subjects)) if index != row]
        other = copy.copy(self)
        other.subjects = [self.subjects[index] for index in kept]
        other.ages = self.ages[kept]
        other._latents = self._latents[kept]
        other._transforms = None if self._transforms is None else self._transforms[kept]
        return other

    def decode(self, recipe: Recipe, grid: Grid, progress: Progress = SILENT) -> np.ndarray:
        """Return raw outputs (n, outputs) at every voxel of a grid, in C order."""
        return self.decode_points(recipe, grid.points(self.box / 2), progress)

    def decode_points(self, recipe: Recipe, points: torch.Tensor, progress: Progress = SILENT) -> np.ndarray:
        """Return raw outputs (n, outputs), intensities then class logits, at points (n, 3) in half boxes."""

        def work(device: torch.device, chunk: int) -> np.ndarray:
            return self._renderer(recipe, device, chunk)(points, progress).cpu().numpy()

        return with_memory_fallback(work, self.device, _chunk(self.device), warn=recipe.warnings.append)

    def _draw(self, recipe: Recipe, grid: Grid, progress: Progress, *, masked: bool) -> AtlasBrain:
        def work(device: torch.device, chunk: int) -> Drawn:
            search = self._brain_search(self._renderer(recipe, device, chunk))
            return search.draw(grid, masked=masked, progress=progress)

        drawn = with_memory_fallback(work, self.device, _chunk(self.device), warn=recipe.warnings.append)
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

    def label_values(self, classes: np.ndarray) -> np.ndarray:
        """Return label values of classes; every background class becomes 0."""
        values = np.array(self.labels.values)
        values[list(self.background)] = 0
        labels: np.ndarray = values.astype(np.min_scalar_type(int(values.max())))[classes]
        return labels


@dataclass(frozen=True)
class Recipe:
    """What the decoder needs for one brain; ``motion`` takes points from the brain's own space to atlas space."""

    latents: torch.Tensor
    conditions: torch.Tensor
    age: float
    values: dict[str, float | str]
    weights: SubjectWeights
    warnings: list[str]
    motion: tuple[torch.Tensor, torch.Tensor] | None = None


def _moved(brain: AtlasBrain, centre: np.ndarray) -> AtlasBrain:
    """Return the brain with its origin at ``centre`` (RAS mm)."""

    def at(volume: Volume) -> Volume:
        affine = volume.affine.copy()
        affine[:3, 3] += centre
        return Volume(volume.array, affine)

    images = {name: at(volume) for name, volume in brain.images.items()}
    return replace(brain, images=images, labels=at(brain.labels), probabilities=at(brain.probabilities))


def _chunk(device: torch.device) -> int:
    from NeuroGenLib.atlas.rendering.render import CHUNK

    return CHUNK if device.type == "cpu" else CUDA_CHUNK


def _three(spacing: float | Sequence[float]) -> tuple[float, float, float]:
    steps = np.broadcast_to(np.asarray(spacing, float), (3,)) if np.size(spacing) in (1, 3) else np.zeros(3)
    if not (np.isfinite(steps).all() and (steps > 0).all()):
        raise InputError(f"The spacing {spacing} is not one or three positive numbers in mm.", "Give --spacing 1.0.")
    first, second, third = (float(step) for step in steps)
    return first, second, third
