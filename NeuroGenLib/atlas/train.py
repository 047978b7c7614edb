"""Training of the atlas: decoder, latents and transforms of all subjects, learned together."""

from __future__ import annotations

import dataclasses
import logging
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
from NeuroGenLib.atlas.initial_atlas import initialise, open_initial
from NeuroGenLib.atlas.losses import LossWeights, atlas_loss, class_weights
from NeuroGenLib.atlas.manifest import AtlasManifest
from NeuroGenLib.atlas.network import AtlasDecoder, DecoderConfig
from NeuroGenLib.atlas.regression import default_bandwidth
from NeuroGenLib.atlas.smoothness import neighbour_weights
from NeuroGenLib.core.errors import InputError
from NeuroGenLib.core.progress import SILENT, Progress
from NeuroGenLib.models.folder import ModelFolder, write_model
from NeuroGenLib.training.job import common_manifest, run_job
from NeuroGenLib.training.loop import StepModule
from NeuroGenLib.training.random_streams import step_generator
from NeuroGenLib.training.schedules import cosine_schedule

if TYPE_CHECKING:
    from pathlib import Path

    from lightning.pytorch import Callback, Trainer

    from NeuroGenLib.atlas.config import AtlasTrainConfig, OptimiserConfig
    from NeuroGenLib.atlas.data.points import PointBatch

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
        self.dataset = dataset
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
        self._neighbour_weights: Tensor | None
        neighbours = None
        if config.optimiser.smoothness_weight > 0:
            neighbours = neighbour_weights(dataset, config.bandwidth or default_bandwidth(dataset.ages))
        self.register_buffer("_neighbour_weights", neighbours, persistent=False)
        classes = class_weights(config.optimiser, dataset.labels.names)
        self._class_weights: Tensor | None
        self.register_buffer("_class_weights", classes, persistent=False)

    def step_loss(self, step: int) -> dict[str, Tensor]:
        """Sample points of the subjects, decode them in atlas space, compute the loss."""
        settings = self._optimiser
        batch = self._table.sample(
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
            expected=None
            if self._neighbour_weights is None
            else torch.tensordot(self._neighbour_weights[rows], self.latents, dims=1),
        )

    def configure_optimizers(self) -> Any:
        """AdamW with a group each for network, latents and transforms."""
        groups = parameter_groups(self.decoder, self.latents, self.transforms, self._optimiser)
        optimiser = torch.optim.AdamW(groups)
        if self._optimiser.schedule == "constant":
            return optimiser
        return [optimiser], [cosine_schedule(optimiser, self._steps, floors=self._optimiser.floor)]


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
            f"network.modulated names layer {beyond[0]}, but the last is {network.layers}.",
            "Correct the list.",
            code="value-invalid",
        )
    return DecoderConfig(
        intensities=len(config.data.modalities),
        classes=len(dataset.labels),
        conditions=sum(condition.width for condition in dataset.conditions),
        latent_channels=network.latent_channels,
        latent_grid=network.latent_grid,
        latent_kernel=network.latent_kernel,
        hidden=network.hidden,
        layers=network.layers,
        modulated=network.modulated,
        omega=network.omega,
    )


def train(config: AtlasTrainConfig, progress: Progress = SILENT) -> Path | None:
    """Train an atlas and return the path of its model; see :func:`NeuroGenLib.training.job.run_job`."""
    initial = None if config.train.init_from is None else open_initial(config.train.init_from)
    data = config.data
    if initial is not None and data.box is None:
        # The initial latents belong to its box.
        data = dataclasses.replace(data, box=initial.read_as(AtlasManifest).preparation.box)

    def write(module: AtlasModule, folder: Path) -> ModelFolder:
        return write_atlas(module, config, folder)

    def build(reading: Progress, training: Progress) -> tuple[AtlasModule, list[Callback]]:
        dataset = build_dataset(
            data,
            reading,
            reference_compat=config.reference_compat,
            motion=config.augmentation.motion,
            seed=config.train.seed,
        )
        module = AtlasModule(config, dataset)
        if initial is not None:
            initialise(module, dataset, initial, config.data.modalities)
        callbacks: list[Callback] = [_selection_writer(config, dataset)]
        if config.validation.every is not None:
            callbacks.append(Validation(config, dataset, write, training))
        return module, callbacks

    return run_job(config, build, write, progress)


def _selection_writer(config: AtlasTrainConfig, dataset: AtlasDataset) -> Callback:
    """Return the callback that logs and writes the selected subjects when the run starts."""

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


def write_atlas(module: AtlasModule, config: AtlasTrainConfig, path: Path) -> ModelFolder:
    """Write the trained atlas as a model folder."""
    tensors = {f"decoder.{name}": value for name, value in module.decoder.state_dict().items()}
    tensors["latents"] = module.latents
    if module.transforms.shape[1]:
        tensors["transforms"] = module.transforms
    manifest = _manifest(module, config)
    return write_model(path, "atlas", tensors, manifest, model_card(manifest))


def _manifest(module: AtlasModule, config: AtlasTrainConfig) -> dict[str, Any]:
    dataset, data = module.dataset, config.data
    fill = [subject.fill for subject in dataset.subjects]
    return common_manifest(config, config.train.steps) | {
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
            "background": dataset.background_names,
            "fill": np.mean(fill, axis=0).tolist(),
            "orientation": "RAS, origin at the centre of the brain's mass",
        },
        "regression": {"bandwidth": config.bandwidth or default_bandwidth(dataset.ages)},
        "transform": {"kind": config.optimiser.transform, "parametrisation": module.parametrisation},
        "subjects": dataset.subject_entries(store_ids=config.store_ids),
    }
