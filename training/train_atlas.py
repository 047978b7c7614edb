"""Train a conditional atlas of a cohort.

python training/train_atlas.py --config training/configs/atlas/fetal_sba.yaml \
    --data.table DATA/participants.tsv --train.out runs/fetal-sba

Stop it whenever you like and run the same command again: it goes on where it was. The model folder appears in
<train.out>/model; draw from it with `neurogen atlas generate --model <train.out>/model --age 30 --out atlas`.
`neurogen atlas train` is the same program.
"""

from __future__ import annotations

import sys

from NeuroGenLib.atlas.config import AtlasTrainConfig
from NeuroGenLib.cli import run_safely
from NeuroGenLib.commands.shared import run_training


def main() -> None:
    """Read the settings, train, say where the model is."""
    run_training(AtlasTrainConfig, sys.argv[1:], "train_atlas.py", __doc__ or "")


if __name__ == "__main__":
    sys.exit(run_safely(main))
