"""Reads the recorded runs of the published super-resolution program."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING

import numpy as np
import torch
from cases import BUNDLED, folders

from NeuroGenLib.superres.published.training_info import settings_of_row
from NeuroGenLib.superres.published.unet import PublishedUNet, PublishedUNetConfig

if TYPE_CHECKING:
    from pathlib import Path

RECORDED = [path for folder in folders("babyai") for path in sorted(folder.iterdir())]
WEIGHTS = "mini_weights.pth"


def named(path: Path) -> str:
    """Return how tests call a recording: by its name, and whether it is bundled."""
    return f"bundled {path.name}" if BUNDLED in path.parents else path.name


def arrays(file: Path) -> dict[str, np.ndarray]:
    with np.load(file) as content:
        return {name: content[name] for name in content.files}


def published_row(folder: Path) -> dict[str, str]:
    """Return the row that the program wrote of its training."""
    with (folder / "training_info.csv").open(newline="", encoding="utf-8") as file:
        return next(csv.DictReader(file))


def seeded_weights(folder: Path, made: Path) -> Path:
    """Return the recorded checkpoint; where it is too large to come along, one of the same seed, in ``made``."""
    if (folder / WEIGHTS).exists():
        return folder / WEIGHTS
    network = settings_of_row(published_row(folder))["network"]
    torch.manual_seed(json.loads((folder / "meta.json").read_text())["seed"])
    state = PublishedUNet(PublishedUNetConfig(tuple(network["features"]), network["residual_units"])).state_dict()
    torch.save(state, made / WEIGHTS)
    return made / WEIGHTS
