"""The `neurogen` command."""

from __future__ import annotations
from NeuroGenLib.errors import NeuroGenError
import sys


def run_safely(main):
    main()
    return 0
