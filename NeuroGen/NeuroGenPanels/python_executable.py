"""Python executable of Slicer's child processes."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import slicer


def python_executable() -> str:
    """Return PythonSlicer where this is Slicer, else this Python."""
    name = "PythonSlicer.exe" if os.name == "nt" else "PythonSlicer"
    beside = Path(slicer.app.slicerHome) / "bin" / name
    return str(beside) if beside.is_file() else shutil.which(name) or sys.executable
