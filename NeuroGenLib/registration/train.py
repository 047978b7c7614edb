"""Training of the registration network."""

from __future__ import annotations

import dataclasses
import logging
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from NeuroGenLib.core.config import from_mapping
from NeuroGenLib.core.errors import InputError
from NeuroGenLib.core.progress import SILENT, Progress
from NeuroGenLib.models.folder import ModelFolder, load_tensors, write_model
from NeuroGenLib.models.opening import require_kind, resolve
from NeuroGenLib.registration.card import model_card
from NeuroGenLib.registration.data.augment import augmented
from NeuroGenLib.registration.data.sources import pair_source
from NeuroGenLib.registration.earlier_run import EarlierRun, continue_adam, read_earlier_run
from NeuroGenLib.registration.infer import RegistrationModel
from NeuroGenLib.registration.manifest import PreparationEntry, RegistrationManifest
from NeuroGenLib.registration.network.configured import freeze_unused, network_shape
from NeuroGenLib.registration.network.sitreg import Mappings, SITReg
from NeuroGenLib.registration.objective import Objective, pairs_of
from NeuroGenLib.training.initial_weights import load_initial
from NeuroGenLib.training.job import common_manifest, run_job
from NeuroGenLib.training.loop import StepModule
from NeuroGenLib.training.random_streams import seeded_weights
from NeuroGenLib.training.schedules import cosine_schedule

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from lightning.pytorch import Callback
    from torch.optim import Optimizer

    from NeuroGenLib.registration.config import RegistrationTrainConfig
    from NeuroGenLib.registration.data.pairs import PairBatch, PairSource

log = logging.getLogger(__name__)


class RegistrationModule(StepModule):
    """The network and its training step.

    Parameters
    ----------
    config:
        The job.
    source:
        Source of the pairs.
    earlier:
        A run whose optimiser state is continued; loading its weights is up to the caller.

    Attributes
    ----------
    preparation:
        How the images are prepared, for the manifest.
    """

    def __init__(self, config: RegistrationTrainConfig, source: PairSource, earlier: EarlierRun | None = None) -> None:
        super().__init__()
        self._config = config
        self._source = source
        self.preparation = source.record
        self._earlier = earlier
        self._objective = Objective(config.losses)
        with seeded_weights(config.train.seed):
            self.network = SITReg(network_shape(config.network, source.record["grid"]))
        freeze_unused(self.network, self._objective.levels)

    def step_loss(self, step: int) -> dict[str, Tensor]:
        """Sample pairs, register them, compute the losses."""
        batch = self._source.sample(self.generator(step, "pairs", self.device), self._config.data.batch)
        batch = augmented(batch, self._config.augmentation, self.generator(step, "augmentation", self.device))
        return self._objective(self.registered(batch), batch, step)

    def registered(self, batch: PairBatch) -> dict[int, Mappings]:
        """Return the mappings of the pairs of a batch that the losses need, by level."""
        moving, fixed = pairs_of(batch)
        levels = self._objective.levels
        if levels == {0}:
            return {0: self.network(moving.image, fixed.image, batch.spacing)}
        maps = list(self.network.levels(moving.image, fixed.image, batch.spacing))
        return {level: maps[-1 - level] for level in levels}

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:  # noqa: ARG002
        """Limit the norm of the gradient."""
        if self._config.optimiser.clip is not None:
            nn.utils.clip_grad_norm_(self.network.parameters(), self._config.optimiser.clip)

    def configure_optimizers(self) -> Any:
        """Adam."""
        settings = self._config.optimiser
        trained = [parameter for parameter in self.network.parameters() if parameter.requires_grad]
        optimiser = torch.optim.Adam(trained, lr=settings.rate, betas=settings.betas)
        if self._earlier is not None:
            note = continue_adam(optimiser, self._earlier, settings)
            if self.global_rank == 0:
                log.info(note)
        if settings.schedule == "constant":
            return optimiser
        return [optimiser], [cosine_schedule(optimiser, self._config.train.steps, floors=settings.floor)]


def train(config: RegistrationTrainConfig, progress: Progress = SILENT) -> Path | None:
    """Train a network and return the path of its model; see :func:`NeuroGenLib.training.job.run_job`."""
    start = config.train.init_from
    initial = None if start is None else require_kind(resolve(start), RegistrationModel)
    earlier = None if config.optimiser.continue_from is None else read_earlier_run(config.optimiser.continue_from)

    def build(reading: Progress, training: Progress) -> tuple[RegistrationModule, list[Callback]]:  # noqa: ARG001
        source = pair_source(config, reading)
        _require_whole_voxels(config, source.record["grid"])
        module = RegistrationModule(config, source, earlier)
        if initial is not None:
            _compare_preparation(initial, source.record)
            load_initial(module.network.state_dict(), load_tensors(initial))
        if earlier is not None:
            load_initial(module.network.state_dict(), earlier.weights)
        return module, []

    def write(module: RegistrationModule, folder: Path) -> ModelFolder:
        return write_registration(module.network, config, module.preparation, folder)

    return run_job(config, build, write, progress)


def write_registration(
    network: SITReg, config: RegistrationTrainConfig, preparation: Mapping[str, Any], path: Path
) -> ModelFolder:
    """Write a trained network as a model folder."""
    manifest = common_manifest(config, config.train.steps) | {
        "network": dataclasses.asdict(network.config),
        "preparation": dict(preparation),
    }
    return write_model(path, RegistrationModel.kind, network.state_dict(), manifest, model_card(manifest))


def _require_whole_voxels(config: RegistrationTrainConfig, grid: Sequence[int]) -> None:
    if config.losses.grid != "transform":
        return
    for size, factor in zip(grid, config.network.factor, strict=True):
        if size % round(factor):
            raise InputError(
                f"A grid of {tuple(grid)} voxels cannot be averaged to every {factor:g}.",
                "Choose a shape that network.factor divides, or losses.grid image.",
                code="value-conflict",
            )


def _compare_preparation(initial: ModelFolder, record: Mapping[str, Any]) -> None:
    """Warn when the initial weights were trained on images that were prepared in another way."""
    theirs, ours = initial.read_as(RegistrationManifest).preparation, from_mapping(PreparationEntry, record)
    differing = [name for name in record if getattr(theirs, name) != getattr(ours, name)]
    if differing:
        log.warning(
            "The images of %s were prepared in another way: %s differ.", initial.reference, ", ".join(differing)
        )
