"""`neurogen superres train`: the same program as training/train_superresolution.py."""

from __future__ import annotations

from NeuroGenLib.commands.shared import run_training
from NeuroGenLib.superres.config import SuperresTrainConfig


def train(arguments: list[str]) -> None:
    """`neurogen superres train`: the same program as training/train_superresolution.py."""
    description = (
        "Train super-resolution on isotropic scans, on label maps, or both; thick slices are made on the way. Stop it\n"
        "whenever you like: the same command goes on where it was.\n\nexample:\n"
        "  neurogen superres train --config training/configs/superres/table_example.yaml \\\n"
        "      --scans.source participants.tsv --train.out runs/superres"
    )
    run_training(SuperresTrainConfig, arguments, "neurogen superres train", description)
