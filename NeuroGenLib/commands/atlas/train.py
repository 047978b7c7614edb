"""`neurogen atlas train`: the same program as training/train_atlas.py."""

from __future__ import annotations

from NeuroGenLib.atlas.config import AtlasTrainConfig
from NeuroGenLib.commands.shared import run_training


def train(arguments: list[str]) -> None:
    """`neurogen atlas train`: the same program as training/train_atlas.py."""
    description = (
        "Train a conditional atlas on a cohort: a table with one image column per modality, one label-map column, the\n"
        "age and any conditions. Stop it whenever you like: the same command goes on where it was.\n\nexample:\n"
        "  neurogen atlas train --config training/configs/atlas/fetal_sba.yaml --data.table participants.tsv \\\n"
        "      --train.out runs/mine"
    )
    run_training(AtlasTrainConfig, arguments, "neurogen atlas train", description)
