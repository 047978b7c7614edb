"""Training of the atlas: decoder, latents and transforms of all subjects, learned together."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from lightning.pytorch.callbacks import LambdaCallback
from torch import Tensor, nn

from NeuroGenLib.atlas import transform
from NeuroGenLib.atlas.card import model_card
from NeuroGenLib.atlas.conditions import encode_all
from NeuroGenLib.atlas.data.augment import Augmentation
from NeuroGenLib.atlas.data.dataset import AtlasDataset, build_dataset
from NeuroGenLib.atlas.data.points import PointTable
from NeuroGenLib.atlas.data.selection import summary, write_selection
from NeuroGenLib.atlas.evaluation.validation import Validation
from NeuroGenLib.atlas.infer import AtlasModel
from NeuroGenLib.atlas.losses import LossWeights, atlas_loss
from NeuroGenLib.atlas.network import AtlasDecoder, DecoderConfig
from NeuroGenLib.atlas.regression import default_bandwidth, subject_weights
from NeuroGenLib.core.config import parameters, to_mapping
from NeuroGenLib.core.errors import InputError, nearest
from NeuroGenLib.core.files import require_folder_place
from NeuroGenLib.core.progress import SILENT, Progress
from NeuroGenLib.core.provenance import checkout_commit, software_versions
from NeuroGenLib.models import resolve
from NeuroGenLib.models.folder import ModelFolder, load_tensors, write_model
from NeuroGenLib.training.initial_weights import load_initial
from NeuroGenLib.training.loop import StepModule, is_first_process
from NeuroGenLib.training.random_streams import step_generator
from NeuroGenLib.training.run import fit
from NeuroGenLib.training.schedules import cosine_schedule

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lightning.pytorch import Callback, Trainer

    from NeuroGenLib.atlas.config import AtlasTrainConfig, OptimiserConfig
    from NeuroGenLib.atlas.data.points import PointBatch
    from NeuroGenLib.core.config import Config

log = logging.getLogger(__name__)


class AtlasModule(StepModule):
    """Decoder, latents (S, C, nz, ny, nx) and transforms (S, P) of a cohort.

    Parameters
    ----------
    config:
        The job.
    dataset:
        The prepared cohort.
    """

    def __init__(self, config: AtlasTrainConfig, dataset: AtlasDataset) -> None:
        super().__init__()
        self._optimiser = config.optimiser
        self._steps = config.train.steps
        self.parametrisation: transform.Parametrisation = "euler-zxz" if config.reference_compat else "rotation-vector"
        label_weight = config.optimiser.segmentation_weight
        # The published program applies this weight twice.
        self._label_weight = label_weight**2 if config.reference_compat else label_weight
        self._table = PointTable(dataset.subjects, dataset.background)
        self._augmentation = Augmentation(config.augmentation, dataset.subjects, dataset.box)
        generator = step_generator(config.train.seed, 0, purpose="initial atlas")
        self.decoder = AtlasDecoder(network_shape(config, dataset), generator)
        if config.network.centred and not config.reference_compat:
            self.decoder.centre_modulation()
        count, columns = len(dataset.subjects), transform.PARAMETERS[config.optimiser.transform]
        first = torch.randn(count, *self.decoder.shape.latent_shape, generator=generator)
        self.latents = nn.Parameter(first * config.optimiser.latent_spread)
        self.transforms = nn.Parameter(torch.zeros(count, columns), requires_grad=columns > 0)
        conditions = np.stack([encode_all(dataset.conditions, values) for values in dataset.values])
        self.conditions: Tensor
        self.half_box: Tensor
        self.register_buffer("conditions", torch.from_numpy(conditions), persistent=False)
        self.register_buffer("half_box", torch.tensor(dataset.box / 2, dtype=torch.float32), persistent=False)
        self._others: Tensor | None
        others = None
        if config.optimiser.smoothness_weight > 0:
            others = weights_of_others(dataset, config.bandwidth or default_bandwidth(dataset.ages))
        self.register_buffer("_others", others, persistent=False)
        classes = class_weights(config.optimiser, dataset.labels.names)
        self._class_weights: Tensor | None
        self.register_buffer("_class_weights", classes, persistent=False)

    def step_loss(self, step: int) -> dict[str, Tensor]:
        """Draw points of the subjects, decode them in atlas space, compare."""
        settings = self._optimiser
        batch = self._table.draw(
            settings.points, settings.subjects_per_step, settings.outside, self.generator(step, "points")
        )
        batch = self._augmentation(batch, self.generator(step, "augmentation"))
        rows = batch.subjects.to(self.device)
        # Mixed precision (train.precision) covers this convolution alone: half precision breaks sine layers.
        grid = self.decoder.latent_grid(self.latents[rows])
        with torch.autocast(self.device.type, enabled=False):
            return self._loss(batch, rows, grid.float())

    def _loss(self, batch: PointBatch, rows: Tensor, grid: Tensor) -> dict[str, Tensor]:
        settings = self._optimiser
        transforms = self.transforms[rows]
        points = batch.points.to(self.device) / self.half_box
        if settings.transform != "none":
            points = transform.apply(points, *transform.matrices(transforms, self.half_box, self.parametrisation))
        output = self.decoder(points, self.decoder.fold(grid, self.conditions[rows]))
        weights = LossWeights(
            settings.loss,
            self._label_weight,
            settings.transform_weight,
            settings.latent_weight,
            self._class_weights,
            settings.smoothness_weight,
        )
        return atlas_loss(
            output.flatten(0, 1),
            batch.intensities.flatten(0, 1).to(self.device),
            batch.classes.flatten().to(self.device),
            weights,
            transforms=transforms,
            latents=self.latents[rows],
            expected=None if self._others is None else torch.tensordot(self._others[rows], self.latents, dims=1),
        )

    def configure_optimizers(self) -> Any:
        """AdamW with a group each for network, latents and transforms."""
        groups = parameter_groups(self.decoder, self.latents, self.transforms, self._optimiser)
        optimiser = torch.optim.AdamW(groups)
        if self._optimiser.schedule == "constant":
            return optimiser
        return [optimiser], [cosine_schedule(optimiser, self._steps, floors=self._optimiser.floor)]


def weights_of_others(dataset: AtlasDataset, bandwidth: float) -> Tensor:
    """Return (S, S) weights of the other subjects in the atlas at each subject's age and conditions.

    A subject whose age the others do not support counts for itself.
    """
    encoded = np.stack([encode_all(dataset.conditions, values) for values in dataset.values])
    scale = np.concatenate([np.full(one.width, one.scale) for one in dataset.conditions] or [np.zeros(0)])
    count = len(dataset.ages)
    weights = np.zeros((count, count))
    for row in range(count):
        others = np.flatnonzero(np.arange(count) != row)
        offsets = (encoded[others] - encoded[row]) / scale if dataset.conditions else None
        try:
            found = subject_weights(dataset.ages[others], dataset.ages[row], bandwidth, conditions=offsets)
            weights[row, others] = found.weights
        except (InputError, ValueError):
            weights[row, row] = 1
    return torch.from_numpy(weights).float()


def parameter_groups(
    decoder: AtlasDecoder, latents: Tensor, transforms: Tensor, settings: OptimiserConfig
) -> list[dict[str, Any]]:
    """Return the optimiser's parameter groups with their rates and decays."""
    groups = [
        {"params": [latents], "lr": settings.latent_rate, "weight_decay": settings.latent_decay},
        {"params": list(decoder.parameters()), "lr": settings.rate, "weight_decay": settings.weight_decay},
    ]
    if transforms.requires_grad and transforms.shape[1]:
        groups.append({"params": [transforms], "lr": settings.transform_rate, "weight_decay": settings.transform_decay})
    return groups


def class_weights(settings: OptimiserConfig, names: tuple[str, ...]) -> Tensor | None:
    """Return (classes,) weights of the label loss, or None when all are 1.

    Raises
    ------
    InputError
        When a weight is for a label that is not in the table, or no weight is above zero.
    """
    for name in settings.class_weights:
        if name not in names:
            raise InputError(f"optimiser.class_weights names '{name}', which is no label.", nearest(name, names))
    if not settings.class_weights:
        return None
    weights = torch.tensor([settings.class_weights.get(name, 1.0) for name in names])
    if not (weights > 0).any():
        raise InputError("All class weights are zero.", "Give at least one label a weight.")
    return weights


def network_shape(config: AtlasTrainConfig, dataset: AtlasDataset) -> DecoderConfig:
    """Return the decoder's sizes for a cohort.

    Raises
    ------
    InputError
        When a modulated layer does not exist.
    """
    network = config.network
    beyond = [index for index in network.modulated if index > network.layers]
    if beyond:
        raise InputError(
            f"network.modulated names layer {beyond[0]}, but the last is {network.layers}.", "Correct the list."
        )
    return DecoderConfig(
        intensities=len(config.data.modalities),
        classes=len(dataset.labels),
        conditions=sum(one.width for one in dataset.conditions),
        latent_channels=network.latent_channels,
        latent_grid=network.latent_grid,
        latent_kernel=network.latent_kernel,
        hidden=network.hidden,
        layers=network.layers,
        modulated=network.modulated,
        omega=network.omega,
    )


def train(config: AtlasTrainConfig, progress: Progress = SILENT) -> Path | None:
    """Train an atlas, write it to ``<out>/model``, and return that path (None in all processes but the first).

    A run that was stopped goes on when this is called again with the same config.

    Raises
    ------
    InputError
        When the data or a setting is unusable.
    NeuroGenError
        When the run folder may not be written into.
    Cancelled
        When it was stopped; the run folder holds a checkpoint.
    """
    require_folder_place(config.train.out)
    # With several processes each runs this function; one of them speaks and writes.
    first = is_first_process()
    shown = progress if first else SILENT
    initial = None if config.train.init_from is None else _open_initial(config.train.init_from)
    data = config.data
    if initial is not None and data.box is None:
        # The initial latents belong to its box.
        width, depth, height = initial.manifest["preparation"]["box"]
        data = dataclasses.replace(data, box=(width, depth, height))
    dataset = build_dataset(
        data,
        shown.part(0.0, 0.05),
        reference_compat=config.reference_compat,
        motion=config.augmentation.motion,
        seed=config.train.seed,
    )
    module = AtlasModule(config, dataset)

    def write(trained: AtlasModule, folder: Path) -> ModelFolder:
        return write_atlas(trained, config, dataset, folder)

    if initial is not None:
        _initialise(module, dataset, config, initial)
    callbacks: list[Callback] = [_selection_writer(config, dataset)]
    if config.validation.every is not None:
        callbacks.append(Validation(config, dataset, write, shown))
    fit(module, config.train, shown.part(0.05, 0.99, "training"), callbacks, job=config)
    if not first:
        return None
    path = Path(config.train.out) / "model"
    write(module, path)
    progress.update(1, 1, f"model written to {path}")
    return path


def _selection_writer(config: AtlasTrainConfig, dataset: AtlasDataset) -> Callback:
    """Return what says and records, when the run starts, who was chosen."""

    def write(trainer: Trainer, _: AtlasModule) -> None:
        if trainer.is_global_zero:
            log.info(summary(dataset.candidates, dataset.cohort, config.data.age, dataset.age_unit))
            write_selection(
                config.train.out,
                dataset.candidates,
                dataset.cohort,
                config.data,
                dataset.age_unit,
                store_ids=config.store_ids,
            )

    return LambdaCallback(on_train_start=write)


def write_atlas(module: AtlasModule, config: AtlasTrainConfig, dataset: AtlasDataset, path: Path) -> ModelFolder:
    """Write the trained atlas as a model folder."""
    tensors = {f"decoder.{name}": value for name, value in module.decoder.state_dict().items()}
    tensors["latents"] = module.latents
    if module.transforms.shape[1]:
        tensors["transforms"] = module.transforms
    manifest = _manifest(module, config, dataset)
    return write_model(path, "atlas", tensors, manifest, model_card(manifest))


def _manifest(module: AtlasModule, config: AtlasTrainConfig, dataset: AtlasDataset) -> dict[str, Any]:
    data = config.data
    fill = [subject.fill for subject in dataset.subjects]
    return {
        "name": config.name,
        "description": config.description,
        "notice": config.notice,
        "license": config.license,
        "citation": list(config.attribution),
        "labels": dataset.labels.to_mapping(),
        "modalities": list(data.modalities),
        "conditions": [condition.to_manifest() for condition in dataset.conditions],
        "age": {
            "name": data.age,
            "unit": dataset.age_unit,
            "range": [float(dataset.ages.min()), float(dataset.ages.max())],
        },
        "network": dataclasses.asdict(module.decoder.shape),
        "preparation": {
            "normalisation": data.normalisation,
            "mask": data.mask,
            "halo": data.halo,
            "box": dataset.box.tolist(),
            "background": _background_names(dataset),
            "fill": np.mean(fill, axis=0).tolist(),
            "orientation": "RAS, origin at the centre of the brain's mass",
        },
        "regression": {"bandwidth": config.bandwidth or default_bandwidth(dataset.ages)},
        "transform": {"kind": config.optimiser.transform, "parametrisation": module.parametrisation},
        "subjects": _subjects(config, dataset),
        "training": {
            "config": _shareable(config),
            "steps": config.train.steps,
            "commit": checkout_commit(),
        },
        "versions": software_versions(),
    }


def _shareable(config: AtlasTrainConfig) -> dict[str, Any]:
    """Return the settings without what tells of people or of the maker's disk: ids, and the folders of paths."""
    sections = ("data", "network", "optimiser", "augmentation", "train")
    settings = {name: _without_folders(getattr(config, name)) for name in sections}
    if not config.store_ids:
        for name in ("include", "exclude"):
            settings["data"].pop(name)
    return settings


def _without_folders(config: Config) -> dict[str, Any]:
    paths = {parameter.name for parameter in parameters(type(config)) if parameter.type is Path}
    return {
        name: Path(value).name if name in (*paths, "init_from") and value is not None else value
        for name, value in to_mapping(config).items()
    }


def _background_names(dataset: AtlasDataset) -> list[str]:
    """Return the label of the rim first, then the label of value 0 where that is another."""
    names = [dataset.labels.names[dataset.background]]
    if 0 in dataset.labels.values:
        names.append(dataset.labels.names[dataset.labels.values.index(0)])
    return list(dict.fromkeys(names))


def _subjects(config: AtlasTrainConfig, dataset: AtlasDataset) -> list[dict[str, Any]]:
    entries = []
    rows = zip(dataset.cohort, dataset.subjects, dataset.ages, dataset.values, dataset.volumes_ml, strict=True)
    for subject, points, age, values, volumes in rows:
        entry: dict[str, Any] = {"id": subject.key} if config.store_ids else {}
        entry |= {
            "age": float(age),
            "conditions": values,
            "volumes_ml": {name: round(volume, 3) for name, volume in volumes.items()},
            "centre": points.centre.tolist(),
            "scaling": points.scaling.tolist(),
        }
        entries.append(entry)
    return entries


def _open_initial(reference: str) -> ModelFolder:
    """Open the atlas that a run starts from.

    Raises
    ------
    InputError
        When the model is no atlas, or an incomplete one.
    """
    folder = resolve(reference)
    if folder.kind != "atlas":
        raise InputError(f"{reference} is no atlas but of kind '{folder.kind}'.", "Give an atlas to start from.")
    AtlasModel.from_folder(folder, torch.device("cpu"))
    return folder


def _initialise(module: AtlasModule, dataset: AtlasDataset, config: AtlasTrainConfig, folder: ModelFolder) -> None:
    """Start from a trained atlas: its network, and its latents and transforms where a subject's id is known.

    A new subject starts from the atlas at its age.

    Raises
    ------
    InputError
        When its network has other sizes, or its labels, conditions, modalities or box differ.
    """
    for key, theirs, own in (
        ("labels", folder.manifest["labels"], dataset.labels.to_mapping()),
        ("conditions", folder.manifest["conditions"], [condition.to_manifest() for condition in dataset.conditions]),
        ("modalities", folder.manifest["modalities"], list(config.data.modalities)),
        ("box", folder.manifest["preparation"]["box"], dataset.box.tolist()),
    ):
        if theirs != own:
            raise InputError(
                f"The {key} of {folder.reference} and of this run differ.",
                f"Give the same {key} (and ranges) in the config, or start without it.",
            )
    tensors = load_tensors(folder)
    decoder = {name[8:]: value for name, value in tensors.items() if name.startswith("decoder.")}
    load_initial(module.decoder.state_dict(), decoder)
    _initialise_subjects(module, dataset, folder.manifest, tensors)


@torch.no_grad()
def _initialise_subjects(
    module: AtlasModule, dataset: AtlasDataset, manifest: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> None:
    known = {entry.get("id"): row for row, entry in enumerate(manifest["subjects"])}
    ages = np.array([entry["age"] for entry in manifest["subjects"]])
    bandwidth = manifest["regression"]["bandwidth"]
    same_transform = (
        "transforms" in tensors
        and tensors["transforms"].shape[1] == module.transforms.shape[1]
        and manifest["transform"]["parametrisation"] == module.parametrisation
    )
    for row, subject in enumerate(dataset.cohort):
        if subject.key in known:
            module.latents[row] = tensors["latents"][known[subject.key]]
            if same_transform:
                module.transforms[row] = tensors["transforms"][known[subject.key]]
        else:
            weights = _start_weights(ages, float(dataset.ages[row]), bandwidth)
            module.latents[row] = torch.tensordot(weights, tensors["latents"], dims=1)


def _start_weights(ages: np.ndarray, age: float, bandwidth: float) -> Tensor:
    """Return the weights of an age, or of the nearest end of the range when nobody supports it."""
    try:
        weights = subject_weights(ages, age, bandwidth)
    except InputError:
        weights = subject_weights(ages, float(np.clip(age, ages.min(), ages.max())), bandwidth)
    return torch.from_numpy(weights.weights).float()
