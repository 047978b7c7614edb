"""Parameters of the jobs of super-resolution: a run, its evaluation, and the simulation of thick slices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from NeuroGenLib.core.config import Config, Help, Option, Range, Unit
from NeuroGenLib.core.errors import InputError
from NeuroGenLib.simulate.thick_slices import DIRECTIONS, Direction, ProfileKind

BUNDLED = "bundled:superres"
"""The model that is used when none is named."""

SLICE_OPTIONS = ("spacing", "thickness", "gap", "direction", "profile", "align", "back_projection")
"""Parameters of a run that are options of its commands; ``recorded`` is read from the files."""

BackProjection = Annotated[
    int,
    Range(0, 20),
    Option(metavar="N"),
    Help("Data consistency: how often what the result does not reproduce of the slices is projected back"),
]


@dataclass(frozen=True)
class SuperresConfig(Config):
    """How thick slices become an isotropic scan.

    Examples
    --------
    >>> SuperresConfig(spacing=0.8, gap=0.4).back_projection
    1
    >>> SuperresConfig(thickness=-4)
    Traceback (most recent call last):
    NeuroGenLib.core.errors.InputError: 'thickness' is -4; it must be a number at least 0.1 and at most 50 mm. ...
    """

    spacing: Annotated[
        float | None,
        Range(0.2, 5),
        Unit("mm"),
        Option(metavar="MM"),
        Help("Voxel size of the result; when not given, that within the slices, in the range the model was trained at"),
    ] = None
    thickness: Annotated[
        float | None,
        Range(0.1, 50),
        Unit("mm"),
        Option(metavar="MM"),
        Help(
            "Slice thickness; when not given, as DICOM or the BIDS file beside the scan records it, else their distance"
        ),
    ] = None
    gap: Annotated[
        float | None,
        Range(-50, 50),
        Unit("mm"),
        Option(metavar="MM"),
        Help("Gap between slices, below 0 where they overlap; when not given, what thickness and header leave"),
    ] = None
    recorded: Annotated[
        tuple[float, ...],
        Range(0, 1000),
        Unit("mm"),
        Help("Thickness of each scan's slices as DICOM or BIDS records it, 0 where unknown; thickness overrides it"),
    ] = ()
    direction: Annotated[
        Direction | None,
        Help("Direction of the slices of a single scan, by anatomy; when not given, that of the largest voxel side"),
    ] = None
    profile: Annotated[ProfileKind, Help("Slice profile: how each place across a slice contributes to it")] = "gaussian"
    align: Annotated[bool, Help("Register guide and further scans to the first one; --no-align trusts the headers")] = (
        True
    )
    back_projection: BackProjection = 1
    reference: Annotated[
        bool, Help("The published pipeline number for number, for scans on the grid of the infant atlas")
    ] = False

    def check(self) -> None:
        """Refuse settings of the default pipeline beside the published one."""
        if self.reference:
            own = {"spacing": self.spacing, "thickness": self.thickness, "gap": self.gap, "direction": self.direction}
            for name in (name for name, value in own.items() if value is not None):
                raise InputError(
                    f"The published pipeline has no {name}.", f"Omit {name}, or reference.", code="value-conflict"
                )


@dataclass(frozen=True)
class EvaluateConfig(Config):
    """How a model is compared with interpolation, on simulated thick slices of isotropic scans.

    Examples
    --------
    >>> EvaluateConfig(thicknesses=(4.0,)).directions
    ('axial', 'coronal', 'sagittal')
    """

    thicknesses: Annotated[
        tuple[float, ...],
        Range(0, exclusive_low=True),
        Unit("mm"),
        Option("thickness", "MM", several=True),
        Help("Slice thicknesses to simulate"),
    ] = (2.0, 3.0, 4.0, 5.0)
    directions: Annotated[
        tuple[Direction, ...],
        Option("direction", "DIRECTION", several=True),
        Help("Directions of the slices, by anatomy"),
    ] = DIRECTIONS
    noise: Annotated[
        float, Range(0), Option(metavar="LEVEL"), Help("Rician noise as a part of the 99th percentile, such as 0.02")
    ] = 0.0
    seed: Annotated[int, Range(0), Option(metavar="N"), Help("Seed of the noise")] = 0
    back_projection: BackProjection = 1
    most: Annotated[
        int | None, Range(1), Option(metavar="N"), Help("Largest number of scans, the first of the source")
    ] = None


@dataclass(frozen=True)
class SimulateConfig(Config):
    """How a scan in thin slices becomes one in thick slices: as a scanner measures, or as the published program does.

    Examples
    --------
    >>> SimulateConfig(thickness=4.0, direction="all").directions
    ('axial', 'coronal', 'sagittal')
    >>> SimulateConfig(reference=True, factor=4).applied()
    {'factor': 4, 'start': 0}
    """

    thickness: Annotated[
        float | None,
        Range(0, exclusive_low=True),
        Unit("mm"),
        Option(metavar="MM"),
        Help("Slice thickness: full width at half maximum of the slice profile"),
    ] = None
    gap: Annotated[float, Range(0), Unit("mm"), Option(metavar="MM"), Help("Gap between slices")] = 0.0
    direction: Annotated[
        Literal["axial", "coronal", "sagittal", "all"], Help("Direction of the slices, by anatomy")
    ] = "axial"
    profile: Annotated[ProfileKind, Help("Slice profile")] = "gaussian"
    noise: Annotated[
        float, Range(0), Option(metavar="LEVEL"), Help("Rician noise as a part of the 99th percentile, such as 0.02")
    ] = 0.0
    seed: Annotated[int, Range(0), Option(metavar="N"), Help("Seed of the noise")] = 0
    offset: Annotated[
        float, Unit("mm"), Option(metavar="MM"), Help("Shifts the slices towards right, anterior or superior")
    ] = 0.0
    spacing: Annotated[
        float | None,
        Range(0, exclusive_low=True),
        Unit("mm"),
        Option(metavar="MM"),
        Help("Voxel size within the slices; the scan's when not given"),
    ] = None
    reference: Annotated[bool, Help("Decimation, as the published program does it: slices are dropped")] = False
    factor: Annotated[int | None, Range(2), Option(metavar="K"), Help("With --reference: every K-th slice is kept")] = (
        None
    )
    start: Annotated[int, Range(0), Option(metavar="K"), Help("With --reference: the first slice that is kept")] = 0

    @property
    def directions(self) -> tuple[Direction, ...]:
        """The directions to simulate."""
        return DIRECTIONS if self.direction == "all" else (self.direction,)

    def applied(self) -> dict[str, object]:
        """Return the parameters that this way of simulating has, by name; for the record."""
        names = _DECIMATION if self.reference else _ACQUISITION
        return {name: getattr(self, name) for name in names}

    def check(self) -> None:
        """Demand the parameter that has no default, and refuse those of the other way of simulating."""
        needed, example = ("factor", "4") if self.reference else ("thickness", "4")
        for name in _ACQUISITION if self.reference else _DECIMATION:
            if getattr(self, name) != type(self).__dataclass_fields__[name].default:
                which = "does not go with" if self.reference else "goes only with"
                raise InputError(f"'{name}' {which} 'reference'.", "Omit one of the two.", code="value-conflict")
        if getattr(self, needed) is None:
            raise InputError(
                f"'{needed}' is missing.", f"Add, for instance, --{needed} {example}.", code="value-missing"
            )


_ACQUISITION = ("thickness", "gap", "profile", "noise", "seed", "offset", "spacing")
_DECIMATION = ("factor", "start")
