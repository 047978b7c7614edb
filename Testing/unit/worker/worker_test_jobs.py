"""Jobs that behave well and badly, for the tests of the worker: ``worker_test_jobs:TABLE``."""

from __future__ import annotations

import faulthandler
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from NeuroGenLib.core import provenance
from NeuroGenLib.spatial.volume import Volume

if TYPE_CHECKING:
    from NeuroGenLib.worker.context import Context

Arguments = dict[str, Any]

HEART = "import sys, time\nwhile True:\n    open(sys.argv[1], 'ab').write(b'.')\n    time.sleep(0.05)"


def echo(arguments: Arguments, context: Context) -> Any:
    return arguments


def recorded(arguments: Arguments, context: Context) -> list[str]:
    """Reads an image and returns the warnings of its record."""
    Volume.load(arguments["path"])
    return list(provenance.record("test", parameters={})["warnings"])


def count(arguments: Arguments, context: Context) -> int:
    """Checks its progress a hundred times a second."""
    for _ in context.progress.track(range(arguments["steps"]), "counting"):
        time.sleep(0.01)
    return int(arguments["steps"])


def stuck(arguments: Arguments, context: Context) -> None:
    """Starts a process that makes a file grow, and never checks its progress again."""
    with subprocess.Popen([sys.executable, "-c", HEART, arguments["heart"]]):
        while not os.path.exists(arguments["heart"]):  # noqa: PTH110
            time.sleep(0.01)
        time.sleep(0.1)  # progress lines in faster succession are dropped
        context.progress.update(1, 2, "stuck")
        time.sleep(600)


def die(arguments: Arguments, context: Context) -> None:
    print("the reactor is on fire", file=sys.stderr, flush=True)
    os._exit(7)


def crash(arguments: Arguments, context: Context) -> None:
    faulthandler._sigsegv()  # type: ignore[attr-defined]


def memory(arguments: Arguments, context: Context) -> None:
    np.empty(2**59, np.uint8)


def noisy(arguments: Arguments, context: Context) -> str:
    """Prints by every way there is, and tries to read the requests."""
    print('{"id": 1, "result": "printed"}', flush=True)
    os.write(1, b"by the file descriptor\n")
    subprocess.run([sys.executable, "-c", "print('by a process')"], check=True)
    return sys.stdin.read()


def untravelled(arguments: Arguments, context: Context) -> dict[str, Any]:
    return {"kept": context.keep(np.zeros(3)), "no": object()}


def brain(arguments: Arguments, context: Context) -> Volume:
    return Volume(np.full((40, 50, 60), arguments["value"], np.float32), np.diag([2.0, 2, 2, 1]))


TABLE = {
    one.__name__: one for one in (echo, recorded, count, stuck, die, crash, memory, noisy, untravelled, brain)
}  # fmt: skip
