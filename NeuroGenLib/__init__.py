"""NeuroGen: generative neuroimaging, in plain Python, on a cluster and in 3D Slicer.

The few names most people need::

    from NeuroGenLib import Volume, open_model
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from NeuroGenLib.version import __version__

if TYPE_CHECKING:
    from NeuroGenLib.core.errors import InputError, NeuroGenError
    from NeuroGenLib.models import open_model
    from NeuroGenLib.spatial.volume import Volume

__all__ = ["InputError", "NeuroGenError", "Volume", "__version__", "open_model"]

_HOMES = {
    "InputError": "NeuroGenLib.core.errors",
    "NeuroGenError": "NeuroGenLib.core.errors",
    "Volume": "NeuroGenLib.spatial.volume",
    "open_model": "NeuroGenLib.models",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that importing the package costs nothing."""
    if name not in _HOMES:
        raise AttributeError(f"module 'NeuroGenLib' has no attribute '{name}'")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)
