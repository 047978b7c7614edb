"""`neurogen superres train`: the same program as training/train_superresolution.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

from NeuroGenLib.options import make_progress

if TYPE_CHECKING:
    from NeuroGenLib.progress import Progress


def train(arguments: list[str]) -> None:
    """`neurogen superres train`: the same program as training/train_superresolution.py."""
    description = (
        "Train super-resolution on isotropic scans, on label maps, or both; thick slices are made on the way. Stop it\n"
        "whenever you like: the same command goes on where it was. Example: neurogen superres train --config\n"
        "training/configs/superres/table_example.yaml --scans.source participants.tsv --train.out runs/superres"
    )
    run_training(arguments, "neurogen superres train", description, make_progress("bar"))


def run_training(arguments: list[str], program: str, description: str, progress: Progress) -> None:
    """Read the settings, train, say where the model is."""
    from NeuroGenLib.config import parse_config
    from NeuroGenLib.progress import TerminalProgress
    from NeuroGenLib.superres.config import SuperresTrainConfig

    config = parse_config(SuperresTrainConfig, arguments, program, description)
    from NeuroGenLib.superres.train import train as run

    path = run(config, progress)
    if isinstance(progress, TerminalProgress):
        progress.close()
    if path is not None:
        print(f"The model is in {path}")
