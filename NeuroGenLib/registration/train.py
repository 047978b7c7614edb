"""Training of the registration network."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from NeuroGenLib.core.config import Config
from NeuroGenLib.core.errors import InputError
from NeuroGenLib.core.files import require_folder_place
from NeuroGenLib.core.progress import SILENT, Progress
from NeuroGenLib.core.provenance import checkout_commit, software_versions
from NeuroGenLib.models import resolve
from NeuroGenLib.models.folder import ModelFolder, load_tensors, write_model
from NeuroGenLib.registration.card import model_card
from NeuroGenLib.registration.data.augment import augmented
from NeuroGenLib.registration.data.sources import pair_source
from NeuroGenLib.registration.network.grids import Grids
from NeuroGenLib.registration.network.sitreg import Mappings, SITReg, SITRegConfig
from NeuroGenLib.registration.objective import Objective, pairs_of
from NeuroGenLib.training.checkpoint import newest_checkpoint
from NeuroGenLib.training.initial_weights import load_initial
from NeuroGenLib.training.loop import StepModule, is_first_process
from NeuroGenLib.training.random_streams import seeded_weights
from NeuroGenLib.training.run import fit
from NeuroGenLib.training.run_folder import checkpoints_folder
from NeuroGenLib.training.schedules import cosine_schedule

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch.optim import Optimizer

    from NeuroGenLib.registration.config import NetworkConfig, OptimiserConfig, RegistrationTrainConfig
    from NeuroGenLib.registration.data.pairs import PairBatch, PairSource

log = logging.getLogger(__name__)

_CONFIG_SECTIONS = ("data", "network", "losses", "optimiser", "augmentation", "train")


@dataclasses.dataclass(frozen=True)
class OtherRun:
    """Where another run stands: weights by name, Adam's state, steps."""

    weights: Mapping[str, Tensor]
    adam: Mapping[str, Any]
    step: int


class RegistrationModule(StepModule):
    """The network, and how a step of its training goes.

    Parameters
    ----------
    config:
        The job.
    source:
        Where the pairs come from.
    other:
        A run whose state the optimiser goes on from; the weights are the caller's business.
    """

    def __init__(self, config: RegistrationTrainConfig, source: PairSource, other: OtherRun | None = None) -> None:
        super().__init__()
        self._config = config
        self._source = source
        self._other = other
        self._objective = Objective(config.losses)
        with seeded_weights(config.train.seed):
            self.network = SITReg(network_shape(config.network, source.record["grid"]))
        freeze_unused(self.network, self._objective.levels)

    def step_loss(self, step: int) -> dict[str, Tensor]:
        """Draw pairs, register them, and compare."""
        batch = self._source.draw(self.generator(step, "pairs", self.device), self._config.data.batch)
        batch = augmented(batch, self._config.augmentation, self.generator(step, "augmentation", self.device))
        return self._objective(self.registered(batch), batch, step)

    def registered(self, batch: PairBatch) -> dict[int, Mappings]:
        """Return the mappings of the pairs of a batch that the losses need, by level."""
        moving, fixed = pairs_of(batch)
        wanted = self._objective.levels
        if wanted == {0}:
            return {0: self.network(moving.image, fixed.image, batch.spacing)}
        found = list(self.network.levels(moving.image, fixed.image, batch.spacing))
        return {level: found[-1 - level] for level in wanted}

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:  # noqa: ARG002
        """Limit the norm of the gradient."""
        if self._config.optimiser.clip is not None:
            nn.utils.clip_grad_norm_(self.network.parameters(), self._config.optimiser.clip)

    def configure_optimizers(self) -> Any:
        """Adam."""
        settings = self._config.optimiser
        trained = [parameter for parameter in self.network.parameters() if parameter.requires_grad]
        optimiser = torch.optim.Adam(trained, lr=settings.rate, betas=settings.betas)
        if self._other is not None:
            note = continue_adam(optimiser, self._other, settings)
            if self.global_rank == 0:
                log.info(note)
        if settings.schedule == "constant":
            return optimiser
        return [optimiser], [cosine_schedule(optimiser, self._config.train.steps, floors=settings.floor)]


def network_shape(config: NetworkConfig, grid: Sequence[int]) -> SITRegConfig:
    """Return the sizes of the network for images on a grid of (I, J, K) voxels."""
    i, j, k = grid
    coarsest = Grids((i, j, k)).level_shape(len(config.features) - 1)
    return SITRegConfig(
        channels=config.channels,
        features=config.features,
        feature_convolutions=config.feature_convolutions,
        stage_features=config.stage_features,
        stage_convolutions=config.stage_convolutions,
        factor=config.factor,
        groups=config.groups,
        normalise_stages=config.normalise_stages,
        negative_slope=config.negative_slope,
        bound=config.bound,
        affine_inputs=coarsest[0] * coarsest[1] * coarsest[2] if config.affine else None,
        chained_affine=config.chained_affine,
        skipped_stages=config.skipped_stages,
        threshold=config.threshold,
        most_iterations=config.most_iterations,
        memory=config.memory,
    )


def freeze_unused(network: SITReg, levels: frozenset[int]) -> None:
    """Exclude from training what no loss depends on; processes that train together would wait for its gradient."""
    config = network.config
    used = config.used_stages[: len(config.used_stages) - min(levels)]
    unused: list[nn.Module] = [stage for name, stage in network.stages.items() if int(name) not in used]
    if network.affine is None:
        coarsest = max(used, default=0)
        pyramid = network.pyramid
        unused += [*pyramid.blocks[coarsest + 1 :], *pyramid.reductions[coarsest:], *pyramid.shortcuts[coarsest:]]
    elif not config.chained_affine:
        unused += [*network.affine.hidden[:-1]]
    for module in unused:
        module.requires_grad_(requires_grad=False)


def continue_adam(optimiser: torch.optim.Adam, other: OtherRun, settings: OptimiserConfig) -> str:
    """Give Adam the running means of another run, and return a sentence on which learning rate counts.

    Raises
    ------
    InputError
        When that run optimises other parameters.
    """
    try:
        optimiser.load_state_dict(dict(other.adam))
    except (ValueError, KeyError) as error:
        raise InputError(
            f"The optimiser's state in {settings.continue_from} is of other parameters ({error}).",
            "Use the same network and losses as that run, or give its model as train.init_from.",
        ) from error
    (group,) = optimiser.param_groups
    before = group["lr"]
    if settings.rate_on_resume == "config":
        group["lr"], group["betas"] = settings.rate, settings.betas
    group.pop("initial_lr", None)  # of that run's schedule
    counted = "the settings" if settings.rate_on_resume == "config" else "that run"
    return (
        f"Adam goes on from step {other.step} of {settings.continue_from} with the learning rate {group['lr']:g} of"
        f" {counted}; that run had {before:g}, the settings say {settings.rate:g}."
    )


def train(config: RegistrationTrainConfig, progress: Progress = SILENT) -> Path | None:
    """Train a network, write it to ``<out>/model``, and return that path (None in all processes but the first).

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
    out = Path(config.train.out)
    require_folder_place(out)
    # With several processes each runs this function; one of them speaks and writes.
    first = is_first_process()
    shown = progress if first else SILENT
    initial = None if config.train.init_from is None else _open_initial(config.train.init_from)
    other = None if config.optimiser.continue_from is None else read_other_run(config.optimiser.continue_from)
    source = pair_source(config, shown.part(0.0, 0.05))
    _require_whole_voxels(config, source.record["grid"])
    module = RegistrationModule(config, source, other)
    if initial is not None:
        _compare_preparation(initial, source.record)
        load_initial(module.network.state_dict(), load_tensors(initial))
    if other is not None:
        load_initial(module.network.state_dict(), other.weights)
    fit(module, config.train, shown.part(0.05, 0.99, "training"), job=config)
    if not first:
        return None
    write_registration(module.network, config, source.record, out / "model")
    progress.update(1, 1, f"model written to {out / 'model'}")
    return out / "model"


def write_registration(
    network: SITReg, config: RegistrationTrainConfig, preparation: Mapping[str, Any], path: Path
) -> ModelFolder:
    """Write a trained network as a model folder."""
    manifest = {
        "name": config.name,
        "description": config.description,
        "notice": config.notice,
        "license": config.license,
        "citation": list(config.attribution),
        "network": dataclasses.asdict(network.config),
        "preparation": dict(preparation),
        "training": {"config": shareable(config), "steps": config.train.steps, "commit": checkout_commit()},
        "versions": software_versions(),
    }
    return write_model(path, "registration", network.state_dict(), manifest, model_card(manifest))


def read_other_run(folder: Path) -> OtherRun:
    """Read the newest checkpoint of a run.

    Raises
    ------
    InputError
        When the folder holds no run of a registration network.
    NeuroGenError
        When no checkpoint can be read.
    """
    found = newest_checkpoint(checkpoints_folder(Path(folder)))
    if found is None:
        raise InputError(f"There is no checkpoint of a run in {folder}.", "Give the run folder, train.out of that run.")
    step, _, state = found
    weights = {
        name.removeprefix("network."): value
        for name, value in state.get("state_dict", {}).items()
        if name.startswith("network.")
    }
    optimisers = state.get("optimizer_states", [])
    if not weights or len(optimisers) != 1:
        raise InputError(f"The run in {folder} trains no registration network.", "Give the folder of one that does.")
    return OtherRun(weights, optimisers[0], step)


def shareable(config: RegistrationTrainConfig) -> dict[str, Any]:
    """Return the settings without what tells of people or of the maker's disk: ids, and the folders of paths."""
    hidden = () if config.store_ids else ("include", "exclude")
    settings = {name: _without_folders(getattr(config, name), hidden) for name in _CONFIG_SECTIONS}
    sources = {"table", "generated", "layout"} - {config.data.source}
    settings["data"] = {name: value for name, value in settings["data"].items() if name not in sources}
    if config.train.init_from is not None:
        settings["train"]["init_from"] = Path(config.train.init_from).name
    return settings


def _without_folders(value: Any, hidden: Sequence[str]) -> Any:
    if isinstance(value, Config):
        names = [field.name for field in dataclasses.fields(value) if field.name not in hidden]
        return {name: _without_folders(getattr(value, name), hidden) for name in names}
    if isinstance(value, dict):
        return {name: _without_folders(item, hidden) for name, item in value.items()}
    if isinstance(value, tuple | list):
        return [_without_folders(item, hidden) for item in value]
    return value.name if isinstance(value, Path) else value


def _require_whole_voxels(config: RegistrationTrainConfig, grid: Sequence[int]) -> None:
    if config.losses.grid != "transform":
        return
    for size, factor in zip(grid, config.network.factor, strict=True):
        if size % round(factor):
            raise InputError(
                f"A grid of {tuple(grid)} voxels cannot be averaged to every {factor:g}.",
                "Choose a shape that network.factor divides, or losses.grid image.",
            )


def _compare_preparation(initial: ModelFolder, record: Mapping[str, Any]) -> None:
    """Warn when the first weights saw images that were prepared in another way."""
    theirs = initial.manifest.get("preparation") or {}
    differing = [name for name in record if name in theirs and theirs[name] != record[name]]
    if differing:
        log.warning("The images of %s were prepared otherwise: %s differ.", initial.reference, ", ".join(differing))


def _open_initial(reference: str) -> ModelFolder:
    """Open the network that a run starts from.

    Raises
    ------
    InputError
        When the model is of another kind.
    """
    folder = resolve(reference)
    if folder.kind != "registration":
        raise InputError(
            f"{reference} is no registration network but of kind '{folder.kind}'.", "Give one to start from."
        )
    return folder
