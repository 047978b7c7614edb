"""Parameters of super-resolution: how a scan is turned into an isotropic one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from NeuroGenLib.core.config import Config, Help, Range, Unit
from NeuroGenLib.core.errors import InputError

BUNDLED = "bundled:superres"
"""The model that is used when none is named."""


@dataclass(frozen=True)
class SuperresConfig(Config):
    """How thick slices become an isotropic scan."""

    spacing: Annotated[
        float | None,
        Range(0.2, 5),
        Unit("mm"),
        Help("Voxel size of the result; when not given that within the slices, in the range the model was trained at"),
    ] = None
    thickness: Annotated[
        float | None, Range(0.1, 50), Unit("mm"), Help("Of the slices; their distance in the header when not given")
    ] = None
    gap: Annotated[
        float | None,
        Range(-50, 50),
        Unit("mm"),
        Help("Between slices, below 0 where they overlap; what the header leaves when not given"),
    ] = None
    recorded: Annotated[
        tuple[float, ...],
        Range(0, 1000),
        Unit("mm"),
        Help(
            "Thickness of each scan's slices as DICOM or BIDS records it, 0 where unknown; one that is given goes first"
        ),
    ] = ()
    direction: Annotated[
        Literal["axial", "coronal", "sagittal"] | None,
        Help("Of the slices of a single scan, by anatomy; that of the largest distance when not given"),
    ] = None
    profile: Annotated[Literal["gaussian", "box"], Help("How each place across a slice contributes to it")] = "gaussian"
    align: Annotated[
        bool, Help("Register guide and further scans to the first one; without it headers are trusted")
    ] = True
    back_projection: Annotated[
        int, Range(0, 20), Help("How often the result is corrected by what it does not reproduce of the slices")
    ] = 1
    reference: Annotated[
        bool, Help("The published pipeline number for number: for inputs on the grid of the infant atlas")
    ] = False

    def check(self) -> None:
        """Refuse settings of the default way beside the published one."""
        if self.reference:
            own = {"spacing": self.spacing, "thickness": self.thickness, "gap": self.gap, "direction": self.direction}
            given = [name for name, value in own.items() if value is not None]
            if given:
                raise InputError(f"The published pipeline knows no {given[0]}.", f"Leave {given[0]} out, or reference.")
