"""Typed manifest of an atlas."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from NeuroGenLib.core.config import Config, Help, Range, Unit
from NeuroGenLib.models.manifest import Manifest


@dataclass(frozen=True)
class AgeEntry(Config):
    """The age that an atlas depends on."""

    name: Annotated[str, Help("Column of the cohort table")]
    unit: Annotated[str, Help("weeks, months, years or days")]
    range: Annotated[tuple[float, float], Help("Youngest and oldest training subject, in that unit")]


@dataclass(frozen=True)
class PreparationEntry(Config):
    """How volumes become training points."""

    box: Annotated[tuple[float, float, float], Range(0, exclusive_low=True), Unit("mm"), Help("Sides of the atlas box")]
    background: Annotated[tuple[str, ...], Help("Labels outside the brain, the one of the margin first")]
    fill: Annotated[tuple[float, ...], Help("Intensity outside the brain, by modality")]
    normalisation: Annotated[Literal["percentile", "minmax", "zscore"], Help("How intensities are scaled")] = (
        "percentile"
    )
    mask: Annotated[bool, Help("Whether intensities outside the labels are zero")] = True
    halo: Annotated[float | None, Unit("mm"), Help("Width of the background margin around the brain")] = None


@dataclass(frozen=True)
class RegressionEntry(Config):
    """Kernel regression of the latents over age."""

    bandwidth: Annotated[float, Range(0, exclusive_low=True), Help("Kernel width, in the unit of age")]


@dataclass(frozen=True)
class TransformEntry(Config):
    """The transform of each training subject to the atlas."""

    parametrisation: Annotated[Literal["rotation-vector", "euler-zxz"], Help("How rotations are written")]
    kind: Annotated[str, Help("none, rigid, rigid+scale or affine")] = "none"


@dataclass(frozen=True, kw_only=True)
class AtlasManifest(Manifest):
    """What ``neurogen.json`` says of an atlas.

    Examples
    --------
    >>> from NeuroGenLib.models import resolve
    >>> resolve("bundled:fetal-sba").read_as(AtlasManifest).age
    AgeEntry(name='scan_age', unit='weeks', range=(21.0, 34.0))
    """

    labels: Annotated[dict[str, Any], Help("The classes of a label map: value, name, colour")]
    modalities: Annotated[tuple[str, ...], Help("Names such as T2w, in channel order")]
    conditions: Annotated[tuple[dict[str, Any], ...], Help("Conditions besides age: name, unit, kind, range or values")]
    age: AgeEntry
    network: Annotated[dict[str, Any], Help("Sizes of the decoder")]
    preparation: PreparationEntry
    regression: RegressionEntry
    transform: TransformEntry
    subjects: Annotated[tuple[dict[str, Any], ...], Help("Age, conditions and label volumes of the training subjects")]
