"""Reads the recorded runs of the published registration program."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from cases import each_sitreg_case, folders

from NeuroGenLib.registration.network.sitreg import SITReg
from NeuroGenLib.registration.published import loss_config
from NeuroGenLib.registration.published.checkpoint import own_state
from NeuroGenLib.registration.published.model import preparation_of
from NeuroGenLib.registration.published.network_config import shape_of as imported_shape
from NeuroGenLib.registration.published.settings_file import FILE, Settings

if TYPE_CHECKING:
    from pathlib import Path

    from NeuroGenLib.registration.config import LossConfig
    from NeuroGenLib.registration.network.sizes import SITRegConfig

PRIMITIVES = [found for folder in folders("sitreg") for found in sorted(folder.glob("primitives*"))]

each_case = each_sitreg_case()
each_set = pytest.mark.parametrize("primitives", PRIMITIVES, ids=lambda folder: folder.name)


def arrays(folder: Path, name: str) -> dict[str, np.ndarray]:
    with np.load(folder / f"{name}.npz") as content:
        return {key: content[key] for key in content.files}


def tensors(folder: Path, name: str) -> dict[str, torch.Tensor]:
    return {key: torch.from_numpy(value.astype(np.float32)) for key, value in arrays(folder, name).items()}


def values(folder: Path, name: str = "values") -> dict[str, Any]:
    return json.loads((folder / f"{name}.json").read_text())


def settings(case: Path) -> Settings:
    return Settings.load(case / FILE)


def spacing_of(case: Path) -> tuple[float, float, float]:
    return tuple(preparation_of(settings(case), "RAS")["spacing"])


def checkpoint_of(case: Path) -> Path:
    return sorted(case.glob("model_epoch_*.pt"))[-1]


def checkpoint(case: Path) -> dict[str, torch.Tensor]:
    return torch.load(checkpoint_of(case), weights_only=True)["registration_network"]


def shape_of(case: Path, *, legacy_levels: bool = True) -> SITRegConfig:
    return imported_shape(settings(case), legacy_levels=legacy_levels)


def losses_of(case: Path) -> LossConfig:
    return loss_config.loss_config(settings(case), shape_of(case))


def network_of(case: Path, shape: SITRegConfig | None = None) -> SITReg:
    shape = shape or shape_of(case)
    network = SITReg(shape)
    network.load_state_dict(own_state(checkpoint(case), shape))
    return network


def images_of(case: Path) -> tuple[torch.Tensor, torch.Tensor]:
    given = tensors(case, "inputs")
    return given["image_1"], given["image_2"]
