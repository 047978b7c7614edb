"""Typed manifest of a registration network."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from NeuroGenLib.core.config import Config, Help, Range, Unit
from NeuroGenLib.core.errors import InputError
from NeuroGenLib.models.manifest import Manifest
from NeuroGenLib.registration.network.sizes import SITRegConfig


@dataclass(frozen=True)
class PreparationEntry(Config):
    """How images come to the network: their grid, their placement on it and their intensities."""

    grid: Annotated[tuple[int, int, int], Range(1), Unit("voxels"), Help("Shape of the images in training")]
    spacing: Annotated[
        tuple[float, float, float] | None, Range(0, exclusive_low=True), Unit("mm"), Help("Voxel size, without fill")
    ] = None
    fill: Annotated[
        float | None,
        Range(0, exclusive_low=True),
        Help("Share of the grid's tightest axis that the brain takes; null: voxels have the size spacing"),
    ] = None
    placement: Annotated[Literal["foreground", "world", "centre"], Help("What comes to the middle of the grid")] = (
        "foreground"
    )
    orientation: Annotated[str, Help("Where i, j and k of the images grow to, such as LIA")] = "RAS"
    normalisation: Annotated[Literal["percentile", "minmax", "fixed", "none"], Help("How intensities are scaled")] = (
        "percentile"
    )
    clip: Annotated[tuple[float | None, float | None] | None, Help("Least and largest intensity, when fixed")] = None
    shift: Annotated[float, Help("Subtracted from the intensities, when fixed")] = 0.0
    scale: Annotated[float, Range(0, exclusive_low=True), Help("Divides the shifted intensities, when fixed")] = 1.0
    masked: Annotated[bool, Help("Whether images are zero outside a mask, which is needed")] = False
    data: Annotated[str, Help("Published data set, where it was trained on one")] = ""
    steps: Annotated[dict[str, Any], Help("What was done to the files of that data set")] = field(default_factory=dict)

    def check(self) -> None:
        """Refuse a grid without a voxel size, and directions that are not three axes."""
        if self.fill is None and self.spacing is None:
            raise InputError("'fill' and 'spacing' are both missing.", code="value-missing")
        if sorted("LRPAIS".find(letter) // 2 for letter in self.orientation) != [0, 1, 2]:
            raise InputError(
                f"'orientation' is '{self.orientation}'; it must be three letters such as RAS.", code="value-invalid"
            )


@dataclass(frozen=True, kw_only=True)
class RegistrationManifest(Manifest):
    """What ``neurogen.json`` says of a registration network.

    Examples
    --------
    >>> from NeuroGenLib.models import resolve
    >>> resolve("bundled:registration").read_as(RegistrationManifest).preparation.grid
    (64, 80, 64)
    """

    network: SITRegConfig
    preparation: PreparationEntry
