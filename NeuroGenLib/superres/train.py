"""Training of super-resolution: the residual network, and the published one by the published recipe."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from NeuroGenLib.core.errors import InputError
from NeuroGenLib.core.progress import SILENT, Progress
from NeuroGenLib.models.folder import ModelFolder, load_tensors, write_model
from NeuroGenLib.models.opening import require_kind, resolve
from NeuroGenLib.superres.card import model_card
from NeuroGenLib.superres.data.degradation import SHARPENED
from NeuroGenLib.superres.data.subjects import read_examples
from NeuroGenLib.superres.data.windows import Windows
from NeuroGenLib.superres.evaluation.validation import HeldOutWindows, PublishedValidation, Validation
from NeuroGenLib.superres.infer import SuperresModel
from NeuroGenLib.superres.intensity import PERCENTILES
from NeuroGenLib.superres.losses import superres_loss
from NeuroGenLib.superres.manifest import SuperresManifest
from NeuroGenLib.superres.network import ResidualUNetConfig, SuperresNetwork
from NeuroGenLib.superres.published import reference
from NeuroGenLib.superres.published import unet as published_network
from NeuroGenLib.superres.published.patches import PublishedPatches, raster
from NeuroGenLib.training.initial_weights import load_initial
from NeuroGenLib.training.job import common_manifest, model_folder, run_job
from NeuroGenLib.training.loop import StepModule
from NeuroGenLib.training.random_streams import seeded_weights
from NeuroGenLib.training.schedules import cosine_schedule

if TYPE_CHECKING:
    from pathlib import Path

    from lightning.pytorch import Callback
    from torch.optim import Optimizer

    from NeuroGenLib.superres.config import NetworkConfig, SuperresTrainConfig
    from NeuroGenLib.superres.data.subjects import Examples
    from NeuroGenLib.superres.evaluation.validation import Judge

_EVERY = 1000
"""Default steps between two validations."""


class SuperresModule(StepModule):
    """A network and its optimiser; subclasses define the training step.

    Parameters
    ----------
    config:
        The job.
    network:
        With its initial weights.

    Attributes
    ----------
    spacings:
        Least and largest voxel size of the training images in mm, where the network is made for several.
    """

    def __init__(self, config: SuperresTrainConfig, network: nn.Module) -> None:
        super().__init__()
        self._config = config
        self.network = network
        self.spacings: tuple[float, float] | None = None

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:  # noqa: ARG002
        """Limit the norm of the gradient."""
        if self._config.optimiser.clip is not None:
            nn.utils.clip_grad_norm_(self.network.parameters(), self._config.optimiser.clip)

    def configure_optimizers(self) -> Any:
        """AdamW or Adam, its rate after a cosine or constant."""
        settings, steps = self._config.optimiser, self._config.train.steps
        optimiser: Optimizer
        if settings.kind == "adamw":
            optimiser = torch.optim.AdamW(
                self.network.parameters(), lr=settings.rate, betas=settings.betas, weight_decay=settings.decay
            )
        else:
            optimiser = torch.optim.Adam(self.network.parameters(), lr=settings.rate)
        if settings.schedule == "constant":
            return optimiser
        warmup = min(settings.warmup, steps - 1)
        return [optimiser], [cosine_schedule(optimiser, steps, warmup, floors=settings.floor)]


class ResidualModule(SuperresModule):
    """The residual network, which corrects interpolated windows.

    Parameters
    ----------
    config:
        The job.
    examples:
        Scans and label maps.
    """

    def __init__(self, config: SuperresTrainConfig, examples: Examples) -> None:
        with seeded_weights(config.train.seed):
            network = SuperresNetwork(ResidualUNetConfig(config.network.features, config.network.convolutions))
        super().__init__(config, network)
        self.spacings = examples.spacings
        self._windows = Windows(config, examples)

    def step_loss(self, step: int) -> dict[str, Tensor]:
        """Sample windows, correct them, compute the loss."""
        settings = self._config.optimiser
        batch = self._windows.sample(self.generator(step, "windows", self.device), settings.batch)
        images = self.network(batch.low, batch.guide, batch.slices)
        return superres_loss(batch.consistent(images), batch, settings)


class PublishedModule(SuperresModule):
    """The published network on patches in raster order.

    Parameters
    ----------
    config:
        The job.
    patches:
        Source of the patches.
    """

    def __init__(self, config: SuperresTrainConfig, patches: PublishedPatches) -> None:
        with seeded_weights(config.train.seed):
            network = published_network.published_network(published_shape(config.network))
        super().__init__(config, network)
        self._patches = patches

    def step_loss(self, step: int) -> dict[str, Tensor]:
        """Take the next batch, compute the loss."""
        images, target = raster(self._patches, step, self.global_rank, self.trainer.world_size)
        prediction = self.network(images.to(self.device))
        return {"loss": functional.mse_loss(prediction.float(), target.to(self.device))}


def published_shape(config: NetworkConfig) -> published_network.PublishedUNetConfig:
    """Return the sizes of the published network."""
    return published_network.PublishedUNetConfig(config.features, config.residual_units)


def train(config: SuperresTrainConfig, progress: Progress = SILENT) -> Path | None:
    """Train a network and return the path of its model; see :func:`NeuroGenLib.training.job.run_job`."""
    initial = None if config.train.init_from is None else _open_initial(config.train.init_from, config.network.kind)

    def build(reading: Progress, training: Progress) -> tuple[SuperresModule, list[Callback]]:
        module: SuperresModule
        judge: Judge
        if config.network.kind == "published":
            patches = PublishedPatches(config)
            module, judge, sizes = PublishedModule(config, patches), PublishedValidation(patches), patches.sizes
            every = config.validation.every or patches.batches("train")
        else:
            examples = read_examples(config, reading)
            module, sizes = ResidualModule(config, examples), examples.sizes
            judge, every = HeldOutWindows(config, examples.validation), config.validation.every or _EVERY
        if initial is not None:
            tensors = {name: tensor.float() for name, tensor in load_tensors(initial).items()}
            load_initial(module.network.state_dict(), tensors)
        return module, [Validation(config, judge, every, sizes, write_after, training)]

    def write_after(module: SuperresModule, steps: int) -> None:
        write_superres_model(module.network, config, steps, model_folder(config), module.spacings)

    def write(module: SuperresModule, folder: Path) -> None:
        if not folder.exists():  # the only validation was cancelled
            write_after(module, config.train.steps)

    return run_job(config, build, write, progress)


def write_superres_model(
    network: nn.Module,
    config: SuperresTrainConfig,
    steps: int,
    path: Path,
    spacings: tuple[float, float] | None = None,
) -> ModelFolder:
    """Write a trained network as a model folder.

    The residual one in half precision, which is precise enough for a correction; the published one folded to the taps
    that its windows reach.

    Parameters
    ----------
    network, config, steps, path:
        What was trained, how, for how long, and the folder.
    spacings:
        Least and largest voxel size, in mm, that a residual network saw; inference works within them.
    """
    manifest = common_manifest(config, steps) | {"modalities": ["T1w", "T2w"]}
    if isinstance(network, SuperresNetwork):
        manifest["network"] = {"kind": "residual", **dataclasses.asdict(network.config)}
        manifest["preparation"] = preparation_record(config, spacings)
        weights = {name: tensor.half() for name, tensor in network.state_dict().items()}
    else:
        shape, window = published_shape(config.network), config.published.patch
        manifest["network"] = published_network.network_record(shape, window)
        manifest["preparation"] = reference.preparation_record() | {
            "padded": list(config.published.target_shape),
            "window": window,
            "stride": config.published.stride,
            "atlas": None,
        }
        weights = published_network.fold(network.state_dict().items(), shape, window)
    return write_model(path, SuperresModel.kind, weights, manifest, model_card(manifest))


def preparation_record(config: SuperresTrainConfig, spacings: tuple[float, float] | None) -> dict[str, Any]:
    """Return how images get ready for a residual network; ``spacings`` in mm are what it was trained at."""
    from_maps = config.maps.source is not None or config.scans.segmentation is not None
    guided = config.images.guide_dropped < 1 and (config.scans.guide is not None or from_maps)
    return {
        "kind": "interpolated",
        "interpolation": "cubic B-spline",
        "sharpened": SHARPENED,
        "normalisation": {"percentiles": list(PERCENTILES), "of": "head", "clip": None},
        "orientation": "RAS",
        "window": config.window,
        "thickness": list(config.slices.thickness),
        "guide": ("optional" if config.images.guide_dropped > 0 else "needed") if guided else "none",
        "several_stacks": config.slices.several > 0,
    } | ({} if spacings is None else {"spacing": list(spacings)})


def _open_initial(reference: str, network: str) -> ModelFolder:
    """Return the checked folder of the network that a run starts from.

    Raises
    ------
    InputError
        When the model is of another kind, or its network cannot be trained.
    """
    folder = require_kind(resolve(reference), SuperresModel)
    held = folder.read_as(SuperresManifest).network
    if held.get("kind") != network or held.get("folded"):
        raise InputError(
            f"{reference} holds a network of another kind ({held.get('kind')}) or only part of one.",
            "Start from a residual network, with network.kind residual.",
            code="model-kind",
        )
    return folder
