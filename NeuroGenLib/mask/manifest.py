"""Typed manifest of a brain mask."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from NeuroGenLib.core.config import Config, Help, Range, Unit
from NeuroGenLib.models.manifest import Manifest


@dataclass(frozen=True)
class PreparationEntry(Config):
    """How a scan is prepared for the network."""

    spacing: Annotated[float, Range(0, exclusive_low=True), Unit("mm"), Help("Voxel size along every axis")]
    orientation: Annotated[str, Help("Directions of the array's axes")] = "RAS"
    normalisation: Annotated[str, Help("How intensities are scaled")] = "percentile"


@dataclass(frozen=True, kw_only=True)
class MaskManifest(Manifest):
    """What ``neurogen.json`` says of a brain mask.

    Examples
    --------
    >>> from NeuroGenLib.models import resolve
    >>> resolve("bundled:brain-mask").read_as(MaskManifest).preparation.spacing
    4.0
    """

    network: Annotated[dict[str, Any], Help("Channels of each level")]
    preparation: PreparationEntry
