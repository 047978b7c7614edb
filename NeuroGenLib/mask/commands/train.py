"""`neurogen mask train`: the same program as training/train_mask.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

from NeuroGenLib.options import make_progress

if TYPE_CHECKING:
    from NeuroGenLib.progress import Progress


def train(arguments: list[str]) -> None:
    """`neurogen mask train`: the same program as training/train_mask.py."""
    description = (
        "Train a brain mask on images generated from label maps of whole heads. Stop it whenever you like: the same\n"
        "command goes on where it was. Example: neurogen mask train --config training/configs/mask/bundled.yaml\n"
        "--maps.source data/adult_labels --train.out runs/mask"
    )
    run_training(arguments, "neurogen mask train", description, make_progress("bar"))


def run_training(arguments: list[str], program: str, description: str, progress: Progress) -> None:
    """Read the settings, train, say where the model is."""
    from NeuroGenLib.config import parse_config
    from NeuroGenLib.mask.config import MaskTrainConfig
    from NeuroGenLib.progress import TerminalProgress

    config = parse_config(MaskTrainConfig, arguments, program, description)
    from NeuroGenLib.mask.train import train as run

    path = run(config, progress)
    if isinstance(progress, TerminalProgress):
        progress.close()
    if path is not None:
        print(f"The model is in {path}")
