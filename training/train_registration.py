"""Train a registration network.

python training/train_registration.py --config training/configs/registration/bundled.yaml --train.out runs/registration

Stop it whenever you like and run the same command again: it goes on where it was. The model folder appears in
<train.out>/model. `neurogen registration train` is the same program.
"""

from __future__ import annotations

import sys

from NeuroGenLib.cli import run_safely
from NeuroGenLib.commands.shared import run_training
from NeuroGenLib.registration.config import RegistrationTrainConfig


def main() -> None:
    """Read the settings, train, say where the model is."""
    run_training(RegistrationTrainConfig, sys.argv[1:], "train_registration.py", __doc__ or "")


if __name__ == "__main__":
    sys.exit(run_safely(main))
