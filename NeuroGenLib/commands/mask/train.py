"""`neurogen mask train`: the same program as training/train_mask.py."""

from __future__ import annotations

from NeuroGenLib.commands.shared import run_training
from NeuroGenLib.mask.config import MaskTrainConfig


def train(arguments: list[str]) -> None:
    """`neurogen mask train`: the same program as training/train_mask.py."""
    description = (
        "Train a brain mask on images generated from label maps of whole heads. Stop it whenever you like: the same\n"
        "command goes on where it was.\n\nexample:\n"
        "  neurogen mask train --config training/configs/mask/bundled.yaml --maps.source data/adult_labels \\\n"
        "      --train.out runs/mask"
    )
    run_training(MaskTrainConfig, arguments, "neurogen mask train", description)
