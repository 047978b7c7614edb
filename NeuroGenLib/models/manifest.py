"""Typed content of ``neurogen.json`` that models of all kinds share; capabilities add their own fields."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Self

from NeuroGenLib.core.config import Config, Help, from_mapping

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, kw_only=True)
class Manifest(Config):
    """The fields that models of all kinds have; each capability's manifest derives from it.

    Examples
    --------
    >>> Manifest.read({"name": "fetal-sba", "license": "CC0-1.0", "labels": {}}).license
    'CC0-1.0'
    """

    name: Annotated[str, Help("Title")] = ""
    description: Annotated[str, Help("One paragraph on what the model does")] = ""
    notice: Annotated[str, Help("What every result of the model must say")] = ""
    license: Annotated[str, Help("SPDX identifier of the licence of the weights")] = ""
    citation: Annotated[tuple[str, ...], Help("Papers and data sets to cite")] = ()
    training: Annotated[dict[str, Any], Help("Data, command, settings, commit, steps and metrics")] = field(
        default_factory=dict
    )
    versions: Annotated[dict[str, Any], Help("Software that made it")] = field(default_factory=dict)

    @classmethod
    def read(cls, content: Mapping[str, Any]) -> Self:
        """Check and type the content of a manifest; entries without a value, and unknown ones, are passed over.

        Raises
        ------
        InputError
            When an entry is missing or does not fit.
        """
        entries = {name: value for name, value in content.items() if value is not None}
        return from_mapping(cls, entries, ignore_unknown=True)
