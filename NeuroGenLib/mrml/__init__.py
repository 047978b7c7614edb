"""Conversion between arrays and Slicer nodes and scenes: the one package that knows MRML.

Importing a module of this package loads Slicer's libraries (in Slicer: those of the application; elsewhere: the
package ``slicer-core``), which takes seconds; other packages of NeuroGenLib do not load them.

Coordinates are RAS mm throughout, as in Slicer. Arrays are i, j, k (channels first) here and k, j, i in Slicer.
"""

from __future__ import annotations

from NeuroGenLib.core.errors import NeuroGenError


class SlicerMissing(NeuroGenError):
    """Slicer's libraries are not installed; raised when a module of this package is imported."""
