"""Training of the brain mask."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from NeuroGenLib.core.config import to_mapping
from NeuroGenLib.core.errors import InputError
from NeuroGenLib.core.files import require_folder_place
from NeuroGenLib.core.progress import SILENT, Progress
from NeuroGenLib.core.provenance import checkout_commit, software_versions
from NeuroGenLib.mask.card import model_card
from NeuroGenLib.mask.data import GeneratedHeads
from NeuroGenLib.mask.network import BrainNetwork, BrainNetworkConfig
from NeuroGenLib.models import resolve
from NeuroGenLib.models.folder import ModelFolder, load_tensors, write_model
from NeuroGenLib.training.initial_weights import load_initial
from NeuroGenLib.training.loop import StepModule, is_first_process
from NeuroGenLib.training.random_streams import seeded_weights
from NeuroGenLib.training.run import fit
from NeuroGenLib.training.schedules import cosine_schedule

if TYPE_CHECKING:
    from torch.optim import Optimizer

    from NeuroGenLib.mask.config import MaskTrainConfig, NetworkConfig

KIND = "mask"


class MaskModule(StepModule):
    """The network, and how a step of its training goes.

    Parameters
    ----------
    config:
        The job.
    heads:
        Draws the images.
    """

    def __init__(self, config: MaskTrainConfig, heads: GeneratedHeads) -> None:
        super().__init__()
        self._config = config
        self._heads = heads
        with seeded_weights(config.train.seed):
            self.network = BrainNetwork(network_shape(config.network))

    def step_loss(self, step: int) -> dict[str, Tensor]:
        """Draw images, find the brain in them, compare."""
        settings = self._config.optimiser
        images, brain = self._heads.draw(self.generator(step, "heads", self.device), settings.batch)
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


def mask_loss(logits: Tensor, brain: Tensor, dice_weight: float) -> dict[str, Tensor]:
    """Return the loss and its parts.

    Parameters
    ----------
    logits, brain:
        (B, 1, I, J, K) of the network, and the share of brain in each voxel, 0 to 1.
    dice_weight:
        Weight of ``1 - soft Dice`` beside the mean cross-entropy.
    """
    entropy = functional.binary_cross_entropy_with_logits(logits.float(), brain)
    probability = torch.sigmoid(logits.float())
    axes = (1, 2, 3, 4)
    # With squares in the denominator a mask is best where it equals the shares, also at the border.
    sizes = probability.square().sum(axes) + brain.square().sum(axes)
    dice = (2 * (probability * brain).sum(axes) + 1) / (sizes + 1)
    distance = 1 - dice.mean()
    return {"loss": entropy + dice_weight * distance, "entropy": entropy, "dice": 1 - distance}


def network_shape(config: NetworkConfig) -> BrainNetworkConfig:
    """Return the sizes of the network."""
    return BrainNetworkConfig(config.features)


def train(config: MaskTrainConfig, progress: Progress = SILENT) -> Path | None:
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
    heads = GeneratedHeads(config, shown.part(0, 0.02))
    module = MaskModule(config, heads)
    if initial is not None:
        tensors = {name: tensor.float() for name, tensor in load_tensors(initial).items()}
        load_initial(module.network.state_dict(), tensors)
    fit(module, config.train, shown.part(0.02, 0.99, "training"), job=config)
    if not first:
        return None
    write_mask_model(module.network, config, out / "model")
    progress.update(1, 1, f"model written to {out / 'model'}")
    return out / "model"


def write_mask_model(network: BrainNetwork, config: MaskTrainConfig, path: Path) -> ModelFolder:
    """Write a trained network as a model folder; weights in half precision, which is precise enough for a mask."""
    manifest = {
        "name": config.name,
        "description": config.description,
        "notice": config.notice,
        "license": config.license,
        "citation": list(config.attribution),
        "network": dataclasses.asdict(network.config),
        "preparation": {"spacing": config.spacing, "orientation": "RAS", "normalisation": "percentile"},
        "training": {"config": shareable(config), "steps": config.train.steps, "commit": checkout_commit()},
        "versions": software_versions(),
    }
    weights = {name: tensor.half() for name, tensor in network.state_dict().items()}
    return write_model(path, KIND, weights, manifest, model_card(manifest))


def shareable(config: MaskTrainConfig) -> dict[str, Any]:
    """Return the settings without what tells of people or of the maker's disk: ids, and the folders of paths."""
    settings = to_mapping(config)
    maps, run = settings["maps"], settings["train"]
    maps["source"], maps["root"] = config.maps.source.name, None
    run["out"] = config.train.out.name
    if run["init_from"] is not None:
        run["init_from"] = Path(run["init_from"]).name
    if not config.store_ids:
        maps["include"] = maps["exclude"] = []
    sections = ("maps", "view", "contrast", "deformation", "network", "optimiser", "spacing", "train")
    return {name: settings[name] for name in sections}


def _open_initial(reference: str) -> ModelFolder:
    """Open the network that a run starts from.

    Raises
    ------
    InputError
        When the model is of another kind.
    """
    folder = resolve(reference)
    if folder.kind != KIND:
        raise InputError(f"{reference} is no brain mask but of kind '{folder.kind}'.", "Give one to start from.")
    return folder
