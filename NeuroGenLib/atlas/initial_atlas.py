"""Initial weights of an atlas from a trained one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch

from NeuroGenLib.atlas.infer import AtlasModel
from NeuroGenLib.atlas.regression import subject_weights
from NeuroGenLib.core.errors import InputError
from NeuroGenLib.models.folder import load_tensors
from NeuroGenLib.models.opening import require_kind, resolve
from NeuroGenLib.training.initial_weights import load_initial

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor, nn

    from NeuroGenLib.atlas.data.dataset import AtlasDataset
    from NeuroGenLib.atlas.network import AtlasDecoder
    from NeuroGenLib.atlas.transform import Parametrisation
    from NeuroGenLib.models.folder import ModelFolder


class Trained(Protocol):
    """What is trained: decoder, latents (S, C, nz, ny, nx) and transforms (S, P) with their parametrisation."""

    decoder: AtlasDecoder
    latents: nn.Parameter
    transforms: nn.Parameter
    parametrisation: Parametrisation


def open_initial(reference: str) -> ModelFolder:
    """Return the checked folder of the atlas that a run starts from.

    Raises
    ------
    InputError
        When the model is not an atlas, or is an incomplete one.
    """
    folder = require_kind(resolve(reference), AtlasModel)
    AtlasModel.from_folder(folder, torch.device("cpu"))
    return folder


def initialise(module: Trained, dataset: AtlasDataset, folder: ModelFolder, modalities: Sequence[str]) -> None:
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
        ("modalities", folder.manifest["modalities"], list(modalities)),
        ("box", folder.manifest["preparation"]["box"], dataset.box.tolist()),
    ):
        if theirs != own:
            raise InputError(
                f"The {key} of {folder.reference} and of this run differ.",
                f"Give the same {key} (and ranges) in the config, or start without it.",
                code="value-conflict",
            )
    tensors = load_tensors(folder)
    decoder = {name[8:]: value for name, value in tensors.items() if name.startswith("decoder.")}
    load_initial(module.decoder.state_dict(), decoder)
    _initialise_subjects(module, dataset, folder.manifest, tensors)


@torch.no_grad()
def _initialise_subjects(
    module: Trained, dataset: AtlasDataset, manifest: Mapping[str, Any], tensors: Mapping[str, Tensor]
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
    """Return the weights of an age, or of the nearest end of the range when no subject supports it."""
    try:
        weights = subject_weights(ages, age, bandwidth)
    except InputError:
        weights = subject_weights(ages, float(np.clip(age, ages.min(), ages.max())), bandwidth)
    return torch.from_numpy(weights.weights).float()
