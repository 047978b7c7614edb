"""Train super-resolution.

python training/train_superresolution.py --config training/configs/superres/table_example.yaml \
    --scans.source participants.tsv --train.out runs/superres

Stop it whenever you like and run the same command again: it goes on where it was. The model folder appears in
<train.out>/model; training_info.csv beside it holds the losses. `neurogen superres train` is the same program.
"""

from __future__ import annotations

import sys

from NeuroGenLib.cli import run_safely
from NeuroGenLib.commands.shared import run_training
from NeuroGenLib.superres.config import SuperresTrainConfig


def main() -> None:
    """Read the settings, train, say where the model is."""
    run_training(SuperresTrainConfig, sys.argv[1:], "train_superresolution.py", __doc__ or "")


if __name__ == "__main__":
    sys.exit(run_safely(main))
