"""Finds code by its dotted name, so that a capability is imported only when a model needs it."""

from __future__ import annotations

import importlib
from typing import Any

from NeuroGenLib.core.errors import NeuroGenError


def load_object(dotted: str) -> Any:
    """Return ``name`` of ``package.module:name``.

    Raises
    ------
    NeuroGenError
        When the module, something it needs, or the name in it is missing.
    """
    module, _, name = dotted.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except ImportError as error:
        missing = error.name or module
        if missing.partition(".")[0] == "NeuroGenLib":
            raise NeuroGenError(
                f"'{module}' is not part of this version of NeuroGen.", "Update NeuroGen.", code="installation-damaged"
            ) from error
        raise NeuroGenError(
            f"The Python package '{missing}' is missing.",
            f"Install it: pip install {missing}",
            code="package-missing",
        ) from error
    except AttributeError as error:
        raise NeuroGenError(
            f"'{dotted}' is not part of this version of NeuroGen.", "Update NeuroGen.", code="installation-damaged"
        ) from error
