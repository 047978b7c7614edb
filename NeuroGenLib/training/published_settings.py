"""Training settings translated from those of a published program: names of files, reasons, texts for comments."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from NeuroGenLib.core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_UNKNOWN = "it is no setting of the published program that NeuroGen knows"


def require_new_settings_file(out: Path) -> None:
    """Refuse a name that does not end in .yaml or .yml, or that exists.

    Raises
    ------
    InputError
        When it is refused.
    """
    if out.suffix not in (".yaml", ".yml"):
        raise InputError(f"{out} is no name of a settings file.", "End it in .yaml.", code="file-type")
    if out.exists():
        raise InputError(f"{out} exists already.", "Choose another name, or delete it.", code="file-occupied")


def reason_for(key: str, reasons: Mapping[str, str]) -> str:
    """Return why a dotted key has no counterpart: the reason of the key, or of the nearest section around it."""
    parts = key.split(".")
    known = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
    return next((reasons[name] for name in known if name in reasons), _UNKNOWN)


def shown(value: Any) -> str:
    """Return a value as JSON, shortened to 60 characters."""
    text = json.dumps(value, default=str, skipkeys=True)
    return text if len(text) <= 60 else f"{text[:57]}..."


def plain(text: str) -> str:
    """Return a text of another file so that it can stand in a comment and on a terminal."""
    return json.dumps(" ".join(str(text).split()), ensure_ascii=True)[1:-1].replace('\\"', '"')
