"""`neurogen registration train`: the same program as training/train_registration.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

from NeuroGenLib.commands_shared import notes_on_stderr
from NeuroGenLib.options import make_progress

if TYPE_CHECKING:
    from NeuroGenLib.progress import Progress


def train(arguments: list[str]) -> None:
    """`neurogen registration train`: the same program as training/train_registration.py."""
    description = (
        "Train a registration network: on a table of scans, on images generated from label maps, or on a published\n"
        "data set. Stop it whenever you like: the same command goes on where it was. Example: neurogen registration\n"
        "train --config training/configs/registration/bundled.yaml --train.out runs/registration"
    )
    run_training(arguments, "neurogen registration train", description, make_progress("bar"))


def run_training(arguments: list[str], program: str, description: str, progress: Progress) -> None:
    """Read the settings, train, say where the model is."""
    from NeuroGenLib.config import parse_config
    from NeuroGenLib.registration.config import RegistrationTrainConfig

    config = parse_config(RegistrationTrainConfig, arguments, program, description)
    from NeuroGenLib.registration.train import train as run

    with notes_on_stderr(progress, "NeuroGenLib.registration"):
        path = run(config, progress)
    if path is not None:
        print(f"The model is in {path}")
