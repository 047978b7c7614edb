"""Training of the brain mask."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from NeuroGenLib.core.progress import SILENT, Progress
from NeuroGenLib.mask.card import model_card
from NeuroGenLib.mask.data import GeneratedHeads
from NeuroGenLib.mask.infer import MaskModel
from NeuroGenLib.mask.losses import mask_loss
from NeuroGenLib.mask.network import BrainNetwork, BrainNetworkConfig
from NeuroGenLib.models.folder import ModelFolder, load_tensors, write_model
from NeuroGenLib.models.opening import require_kind, resolve
from NeuroGenLib.training.initial_weights import load_initial
from NeuroGenLib.training.job import common_manifest, run_job
from NeuroGenLib.training.loop import StepModule
from NeuroGenLib.training.random_streams import seeded_weights
from NeuroGenLib.training.schedules import cosine_schedule

if TYPE_CHECKING:
    from pathlib import Path

    from lightning.pytorch import Callback
    from torch.optim import Optimizer

    from NeuroGenLib.mask.config import MaskTrainConfig


class MaskModule(StepModule):
    """The network and its training step.

    Parameters
    ----------
    config:
        The job.
    heads:
        Generator of the images.
    """

    def __init__(self, config: MaskTrainConfig, heads: GeneratedHeads) -> None:
        super().__init__()
        self._config = config
        self._heads = heads
        with seeded_weights(config.train.seed):
            self.network = BrainNetwork(BrainNetworkConfig(config.network.features))

    def step_loss(self, step: int) -> dict[str, Tensor]:
        """Generate images, predict the brain, compute the loss."""
        settings = self._config.optimiser
        images, brain = self._heads.sample(self.generator(step, "heads", self.device), settings.batch)
        return mask_loss(self.network(images), brain, settings.dice_weight)

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:  # noqa: ARG002
        """Limit the norm of the gradient."""
        nn.utils.clip_grad_norm_(self.network.parameters(), self._config.optimiser.clip)

    def configure_optimizers(self) -> Any:
        """Adam, its rate after a cosine."""
        settings, steps = self._config.optimiser, self._config.train.steps
        optimiser = torch.optim.Adam(self.network.parameters(), lr=settings.rate)
        warmup = min(settings.warmup, steps - 1)
        return [optimiser], [cosine_schedule(optimiser, steps, warmup, floors=settings.floor)]


def train(config: MaskTrainConfig, progress: Progress = SILENT) -> Path | None:
    """Train a network and return the path of its model; see :func:`NeuroGenLib.training.job.run_job`."""
    initial = None if config.train.init_from is None else require_kind(resolve(config.train.init_from), MaskModel)

    def build(reading: Progress, training: Progress) -> tuple[MaskModule, list[Callback]]:  # noqa: ARG001
        module = MaskModule(config, GeneratedHeads(config, reading))
        if initial is not None:
            tensors = {name: tensor.float() for name, tensor in load_tensors(initial).items()}
            load_initial(module.network.state_dict(), tensors)
        return module, []

    def write(module: MaskModule, folder: Path) -> ModelFolder:
        return write_mask_model(module.network, config, folder)

    return run_job(config, build, write, progress)


def write_mask_model(network: BrainNetwork, config: MaskTrainConfig, path: Path) -> ModelFolder:
    """Write a trained network as a model folder; weights in half precision, which is precise enough for a mask."""
    manifest = common_manifest(config, config.train.steps) | {
        "network": dataclasses.asdict(network.config),
        "preparation": {"spacing": config.spacing, "orientation": "RAS", "normalisation": "percentile"},
    }
    weights = {name: tensor.half() for name, tensor in network.state_dict().items()}
    return write_model(path, MaskModel.kind, weights, manifest, model_card(manifest))
