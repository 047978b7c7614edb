"""Whether this machine has what the stand-in is made of."""

from __future__ import annotations

import functools
from importlib import import_module
from importlib.util import find_spec

PARTS = {"PySide6": "PySide6_Essentials", "slicer": "slicer-core"}
"""Import name -> package to install."""


@functools.cache
def missing_parts() -> str:
    """Return why panels cannot run here, as one sentence for a skipped test; empty when they can."""
    missing = [package for name, package in PARTS.items() if find_spec(name) is None]
    if missing:
        return f"panels need {' and '.join(missing)}: pip install {' '.join(missing)}"
    try:
        import_module("PySide6.QtWidgets")
    except ImportError as error:
        return f"panels need Qt, which lacks a library of the system: {error}"
    return ""
