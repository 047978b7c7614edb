"""Arguments that the jobs of all capabilities share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from NeuroGenLib.core.config import Config, Help
from NeuroGenLib.core.errors import InputError


@dataclass(frozen=True, kw_only=True)
class ModelArguments(Config):
    """Model and device of a job."""

    model: Annotated[str, Help("A folder, bundled:NAME or hf:org/repo@revision")]
    device: Annotated[str, Help("auto, cpu, cuda, cuda:N or mps")] = "auto"


def group(value: object) -> dict[str, Any]:
    """Return settings by name.

    Raises
    ------
    InputError
        When it is not a group of settings.

    Examples
    --------
    >>> group({"spacing": 0.8})
    {'spacing': 0.8}
    """
    if not isinstance(value, dict):
        raise InputError(f"{value!r} is not a group of settings by name.", "Send a JSON object.", code="value-invalid")
    return value
