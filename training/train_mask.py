"""Train a brain mask.

python training/train_mask.py --config training/configs/mask/bundled.yaml \
    --maps.source data/adult_labels --train.out runs/mask

Stop it whenever you like and run the same command again: it goes on where it was. The model folder appears in
<train.out>/model; use it with `neurogen mask scan.nii.gz --model <train.out>/model --out mask.nii.gz`.
`neurogen mask train` is the same program.
"""

from __future__ import annotations

import sys

from NeuroGenLib.cli import run_safely
from NeuroGenLib.commands.shared import run_training
from NeuroGenLib.mask.config import MaskTrainConfig


def main() -> None:
    """Read the settings, train, say where the model is."""
    run_training(MaskTrainConfig, sys.argv[1:], "train_mask.py", __doc__ or "")


if __name__ == "__main__":
    sys.exit(run_safely(main))
