"""`neurogen registration train`: the same program as training/train_registration.py."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from NeuroGenLib.options import make_progress

if TYPE_CHECKING:
    from collections.abc import Iterator

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

    with notes_on_stderr(progress):
        path = run(config, progress)
    if path is not None:
        print(f"The model is in {path}")


@contextmanager
def notes_on_stderr(progress: Progress) -> Iterator[None]:
    """Print what the training notes, warnings and plain facts alike, as lines on stderr; a bar ends before them."""
    import logging

    from NeuroGenLib.progress import TerminalProgress

    class Lines(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if isinstance(progress, TerminalProgress):
                progress.close()
            print(record.getMessage(), file=sys.stderr, flush=True)

    logger = logging.getLogger("NeuroGenLib.registration")
    handler, level = Lines(logging.INFO), logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
