"""``neurogen`` inside Slicer, without a window.

Slicer --no-splash --no-main-window --python-script neurogen_batch.py -- atlas generate --age 30.2 --out o --scene o.mrb

takes the same subcommands and options as ``neurogen`` and ends with its exit code. The script runs in plain Python as
well, where ``--scene`` needs the package slicer-core.
"""

from __future__ import annotations

import sys
from pathlib import Path

try:
    import NeuroGenLib  # noqa: F401
except ImportError:  # a source checkout: the library is not beside this file
    sys.path.append(str(Path(__file__).resolve().parents[1]))


def main() -> int:
    """Run what follows ``--``, or all arguments, and return the exit code."""
    from NeuroGenLib.cli import main as neurogen

    arguments = sys.argv[1:]
    if "--" in arguments:
        arguments = arguments[arguments.index("--") + 1 :]
    return int(neurogen(arguments) or 0)


def leave(code: int) -> None:
    """End this process; in Slicer, whose event loop would go on, end Slicer."""
    slicer = sys.modules.get("slicer")
    if slicer is not None and hasattr(slicer, "app"):
        slicer.util.exit(code)
    else:
        sys.exit(code)


if __name__ == "__main__":
    leave(main())
