"""A trained atlas: its weights, the age regression that picks latents, and decoding on a grid."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from NeuroGenLib.atlas.conditions import Condition, as_word, beyond_neighbours, complete, encode_all
from NeuroGenLib.atlas.manifest import AtlasManifest
from NeuroGenLib.atlas.regression import Method, SubjectWeights, gaussian_weights, subject_weights
from NeuroGenLib.atlas.rendering.brain_search import BrainSearch
from NeuroGenLib.core.device import with_memory_fallback
from NeuroGenLib.core.errors import InputError
from NeuroGenLib.core.progress import SILENT, Progress
from NeuroGenLib.models import Model
from NeuroGenLib.spatial.labels import LabelTable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Self

    import torch

    from NeuroGenLib.atlas.network import AtlasDecoder, DecoderConfig
    from NeuroGenLib.atlas.rendering.render import Grid, Renderer
    from NeuroGenLib.models.folder import ModelFolder

CUDA_CHUNK = 2**18
"""Points that a GPU decodes at a time: speed against memory."""
NEAR = 2.0
"""Training subjects within this many bandwidths of an age are near it."""


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


class TrainedAtlas(Model):
    """The weights of an atlas and what its manifest says of them.

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

    kind = "atlas"
    title = "an atlas"

    def __init__(
        self,
        folder: ModelFolder,
        decoder: AtlasDecoder,
        latents: torch.Tensor,
        transforms: torch.Tensor | None,
        device: torch.device,
    ) -> None:
        manifest = folder.read_as(AtlasManifest)
        preparation = manifest.preparation
        super().__init__(folder, device)
        self.labels = LabelTable.from_mapping(manifest.labels)
        self.background = tuple(self.labels.names.index(name) for name in preparation.background)
        self.modalities = manifest.modalities
        self.conditions = tuple(Condition.from_manifest(entry) for entry in manifest.conditions)
        self.age_name = manifest.age.name
        self.age_unit = manifest.age.unit
        self.subjects = list(manifest.subjects)
        self.ages = np.array([subject["age"] for subject in self.subjects], float)
        self.box = np.array(preparation.box, float)
        self.bandwidth = manifest.regression.bandwidth
        self._fill = list(preparation.fill)
        self._decoders = {device: decoder}
        self._latents = latents
        self._transforms = transforms
        self._parametrisation = manifest.transform.parametrisation

    @classmethod
    def build(cls, folder: ModelFolder, tensors: Mapping[str, torch.Tensor], device: torch.device) -> Self:
        """Make the model from its manifest and its weights."""
        from NeuroGenLib.atlas.network import decoder_from_tensors

        manifest = folder.read_as(AtlasManifest)
        transformed = manifest.transform.kind != "none"
        tensors = {name: tensor.to(device) for name, tensor in tensors.items()}
        decoder = decoder_from_tensors(manifest.network, tensors).to(device)
        model = cls(folder, decoder, tensors["latents"], tensors["transforms"] if transformed else None, device)
        model._require_fitting_weights(decoder.shape)
        return model

    def _require_fitting_weights(self, shape: DecoderConfig) -> None:
        """Raise ValueError when the manifest names more or fewer things than the weights have outputs or rows for."""
        for what, named, held in (
            ("images", len(self.modalities), shape.intensities),
            ("fill values", len(self._fill), shape.intensities),
            ("labels", len(self.labels), shape.classes),
            ("condition values", sum(condition.width for condition in self.conditions), shape.conditions),
            ("subjects", len(self.subjects), len(self._latents)),
        ):
            if named != held:
                raise ValueError(f"it names {named} {what}, the weights have {held}")

    @property
    def traits(self) -> list[str]:
        """Images, labels, ages and conditions."""
        low, high = self.age_range
        return [
            "+".join(self.modalities),
            f"{len(self.labels)} labels",
            f"{self.age_name} {low:g} to {high:g} {self.age_unit}",
            *(f"{condition.name} {condition.describe()}" for condition in self.conditions),
        ]

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
    def chunk(self) -> int:
        """Points decoded at once on :attr:`device`."""
        from NeuroGenLib.atlas.rendering.render import CHUNK

        return CHUNK if self.device.type == "cpu" else CUDA_CHUNK

    @property
    def pose_columns(self) -> int:
        """Number of parameters of a training subject's transform; see :mod:`NeuroGenLib.atlas.transform`."""
        return 0 if self._transforms is None else self._transforms.shape[1]

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

        Notes
        -----
        Conditions that are not given take the values of :meth:`typical_conditions`.
        """
        import torch

        age = float(age)
        width = self.bandwidth if bandwidth is None else bandwidth
        subject_weights(self.ages, age, width, regression)  # refuses an age before conditions are expected of it
        values, warnings = complete(self.conditions, conditions or {}, self.typical_conditions(age))
        low, high = self.age_range
        if not low <= age <= high:
            warnings.append(
                f"{self.age_name} {age:g} is outside the trained range {low:g} to {high:g} {self.age_unit}: "
                "the result is a guess."
            )
        encoded = encode_all(self.conditions, values)
        weights = subject_weights(self.ages, age, width, regression, self.condition_offsets(encoded))
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

    def typical_conditions(self, age: float) -> dict[str, float | str]:
        """Return what training subjects of an age have: the kernel-weighted mean, or the word with most weight."""
        weights = gaussian_weights(self.ages, age, self.bandwidth)
        values: dict[str, float | str] = {}
        for condition in self.conditions:
            own = [subject["conditions"][condition.name] for subject in self.subjects]
            if condition.kind == "numeric":
                mean = float(weights @ [condition.number(value) for value in own])
                values[condition.name] = min(max(mean, condition.minimum), condition.maximum)
            else:
                total = {
                    word: sum(w for w, v in zip(weights, own, strict=True) if as_word(v) == word)
                    for word in condition.values
                }
                values[condition.name] = max(total, key=lambda word: total[word])
        return values

    def subject_recipe(self, row: int) -> Recipe:
        """Return the recipe of a training subject: its own latents, under its own transform."""
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
            SubjectWeights(only, float(entry["age"]), 1.0),
            [],
            motion,
        )

    def without(self, row: int) -> Self:
        """Return the atlas of all training subjects but one; the network was trained on it too."""
        kept = [index for index in range(len(self.subjects)) if index != row]
        reduced = copy.copy(self)
        reduced.subjects = [self.subjects[index] for index in kept]
        reduced.ages = self.ages[kept]
        reduced._latents = self._latents[kept]
        reduced._transforms = None if self._transforms is None else self._transforms[kept]
        return reduced

    def grid(self, spacing: tuple[float, float, float], box: Sequence[float] | None = None) -> Grid:
        """Return the voxel grid of a box (the model's when None).

        Raises
        ------
        InputError
            When box and spacing make more than 1e9 voxels.
        """
        from NeuroGenLib.atlas.rendering.render import grid_in_box

        bounds = np.stack([-self.box / 2, self.box / 2], 1) if box is None else np.reshape(box, (3, 2)).astype(float)
        low, high = bounds.T
        voxels = np.prod((high - low) / spacing)
        if voxels > 1e9:
            raise InputError(
                f"This box and spacing make {voxels:.1g} voxels.", "Choose a coarser spacing.", code="image-too-large"
            )
        return grid_in_box(low, high, spacing)

    def decode(self, recipe: Recipe, grid: Grid, progress: Progress = SILENT) -> np.ndarray:
        """Return raw outputs (n, outputs) at every voxel of a grid, in C order."""
        return self.decode_points(recipe, grid.points(self.box / 2), progress)

    def decode_points(self, recipe: Recipe, points: torch.Tensor, progress: Progress = SILENT) -> np.ndarray:
        """Return raw outputs (n, outputs), intensities then class logits, at points (n, 3) in half boxes."""

        def work(device: torch.device, chunk: int) -> np.ndarray:
            return self.renderer(recipe, device, chunk)(points, progress).cpu().numpy()

        return with_memory_fallback(work, self.device, self.chunk, warn=recipe.warnings.append)

    def label_values(self, classes: np.ndarray) -> np.ndarray:
        """Return label values of classes; every background class becomes 0."""
        values = np.array(self.labels.values)
        values[list(self.background)] = 0
        labels: np.ndarray = values.astype(np.min_scalar_type(int(values.max())))[classes]
        return labels

    def decoder_on(self, device: torch.device) -> AtlasDecoder:
        """Return the network on a device; it is copied there once."""
        if device not in self._decoders:
            self._decoders[device] = copy.deepcopy(self._decoders[self.device]).to(device)
        return self._decoders[device]

    def renderer(self, recipe: Recipe, device: torch.device, chunk: int) -> Renderer:
        """Return what decodes the points of a recipe on a device, ``chunk`` points at once."""
        from NeuroGenLib.atlas.rendering.render import Renderer

        motion = None if recipe.motion is None else (recipe.motion[0].to(device), recipe.motion[1].to(device))
        return Renderer(self.decoder_on(device), recipe.latents.to(device), recipe.conditions.to(device), chunk, motion)

    def brain_search(self, renderer: Renderer) -> BrainSearch:
        """Return the search of the brain's voxels with a renderer."""
        return BrainSearch(renderer, self.box / 2, len(self.modalities), self.background)

    def condition_offsets(self, encoded: np.ndarray) -> np.ndarray | None:
        """Return how far each subject's conditions are from the encoded ones, (S, c) in units of -1..1."""
        if not self.conditions:
            return None
        own = np.stack([encode_all(self.conditions, subject["conditions"]) for subject in self.subjects])
        scale = np.concatenate([np.full(condition.width, condition.scale) for condition in self.conditions])
        offsets: np.ndarray = (own - encoded) / scale
        return offsets
