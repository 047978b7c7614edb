"""`neurogen registration train`: the same program as training/train_registration.py."""

from __future__ import annotations

from NeuroGenLib.commands.shared import run_training
from NeuroGenLib.registration.config import RegistrationTrainConfig


def train(arguments: list[str]) -> None:
    """`neurogen registration train`: the same program as training/train_registration.py."""
    description = (
        "Train a registration network: on a table of scans, on images generated from label maps, or on a published\n"
        "data set. Stop it whenever you like: the same command goes on where it was.\n\nexample:\n"
        "  neurogen registration train --config training/configs/registration/bundled.yaml \\\n"
        "      --train.out runs/registration"
    )
    run_training(RegistrationTrainConfig, arguments, "neurogen registration train", description)
