"""What ``neurogen.json`` says of a model of any kind, typed; capabilities add their own fields."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any

from NeuroGenLib.core.config import Config, Help


@dataclass(frozen=True, kw_only=True)
class Manifest(Config):
    """The fields that models of all kinds have; each capability's manifest derives from it.

    Examples
    --------
    >>> Manifest(name="fetal-sba", license="CC0-1.0").license
    'CC0-1.0'
    """

    name: Annotated[str, Help("Title")] = ""
    description: Annotated[str, Help("One paragraph on what the model does")] = ""
    notice: Annotated[str, Help("What every result of the model must say")] = ""
    license: Annotated[str, Help("SPDX identifier of the licence of the weights")] = ""
    citation: Annotated[tuple[str, ...], Help("Papers and data sets to cite")] = ()
    modalities: Annotated[tuple[str, ...], Help("Names such as T2w, in channel order")] = ()
    training: Annotated[dict[str, Any], Help("Data, command, settings, commit, steps and metrics")] = field(
        default_factory=dict
    )
    versions: Annotated[dict[str, Any], Help("Software that made it")] = field(default_factory=dict)
