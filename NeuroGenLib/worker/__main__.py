"""Entry point of the child process: ``python -m NeuroGenLib.worker --scratch FOLDER``."""

from __future__ import annotations

import argparse
import faulthandler
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from NeuroGenLib.models.dotted import load_object
from NeuroGenLib.worker.jobs import JOBS
from NeuroGenLib.worker.scratch import Scratch
from NeuroGenLib.worker.server import Answers, Server

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve stdin and stdout until the parent asks to quit or is gone, or the system asks to stop (SIGTERM)."""
    parser = argparse.ArgumentParser(prog="python -m NeuroGenLib.worker", allow_abbrev=False)
    parser.add_argument("--scratch", required=True, type=Path, help="the folder through which arrays travel")
    parser.add_argument("--jobs", action="append", default=[], metavar="MODULE:TABLE", help="more jobs by name")
    options = parser.parse_args(arguments)
    jobs = dict(JOBS)
    for dotted in options.jobs:
        jobs.update(load_object(dotted))
    faulthandler.enable()
    requests, answers = _taken_pipes()
    server = Server(requests, Answers(answers), Scratch(options.scratch), jobs)
    signal.signal(signal.SIGTERM, lambda *_: server.stop())
    server.serve()


def _taken_pipes() -> tuple[BinaryIO, BinaryIO]:
    """Return the pipes of the protocol; from here on all that is printed goes to stderr, and stdin is empty."""
    sys.stdout.flush()
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 (the new file 0, for good)
    sys.stdout = sys.stderr
    return requests, answers


if __name__ == "__main__":
    main()
    sys.stderr.flush()
    os._exit(0)  # threads that a library left running do not delay the end
