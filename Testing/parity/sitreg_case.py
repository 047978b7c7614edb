"""Reads the recorded runs of the published registration program."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from cases import parity_root

from NeuroGenLib.registration.network.sitreg import SITReg
from NeuroGenLib.registration.published.checkpoint import own_state, published_shape

if TYPE_CHECKING:
    from pathlib import Path

    from NeuroGenLib.registration.network.sitreg import Shape

CASES = sorted((parity_root() / "sitreg").glob("case_*"))
PRIMITIVES = sorted((parity_root() / "sitreg").glob("primitives*"))

each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
each_set = pytest.mark.parametrize("primitives", PRIMITIVES, ids=lambda folder: folder.name)


def arrays(folder: Path, name: str) -> dict[str, np.ndarray]:
    with np.load(folder / f"{name}.npz") as content:
        return {key: content[key] for key in content.files}


def tensors(folder: Path, name: str) -> dict[str, torch.Tensor]:
    return {key: torch.from_numpy(value.astype(np.float32)) for key, value in arrays(folder, name).items()}


def values(folder: Path, name: str = "values") -> dict[str, Any]:
    return json.loads((folder / f"{name}.json").read_text())


def settings(case: Path) -> dict[str, Any]:
    return values(case, "training_config")["application"]["config"]


def spacing_of(case: Path) -> tuple[float, float, float]:
    return tuple(settings(case)["model"]["voxel_size"])


def checkpoint(case: Path) -> dict[str, torch.Tensor]:
    return torch.load(case / "model_epoch_001.pt", weights_only=True)["registration_network"]


def shape_of(case: Path, *, legacy_levels: bool = True) -> Shape:
    return published_shape(settings(case)["model"], legacy_levels=legacy_levels)


def network_of(case: Path, shape: Shape | None = None) -> SITReg:
    shape = shape or shape_of(case)
    network = SITReg(shape)
    network.load_state_dict(own_state(checkpoint(case), shape))
    return network


def images_of(case: Path) -> tuple[torch.Tensor, torch.Tensor]:
    given = tensors(case, "inputs")
    return given["image_1"], given["image_2"]
