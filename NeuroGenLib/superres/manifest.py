"""Typed manifest of a super-resolution network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeAlias

from NeuroGenLib.core.config import Config, Help, Range, Unit
from NeuroGenLib.core.errors import InputError
from NeuroGenLib.models.manifest import Manifest

GuideNeed: TypeAlias = Literal["needed", "optional", "none"]
"""Whether a model needs a guide, can use one, or uses none."""


@dataclass(frozen=True)
class PreparationEntry(Config):
    """How scans are prepared for the network."""

    guide: Annotated[GuideNeed, Help("Whether a T1w of the same head is used")] = "optional"
    spacing: Annotated[
        tuple[float, ...] | None, Range(0, exclusive_low=True), Unit("mm"), Help("Voxel sizes of the training images")
    ] = None
    orientation: Annotated[str, Help("Directions of the array's axes")] = "RAS"
    interpolation: Annotated[str, Help("How slices are interpolated before the network")] = ""
    sharpened: Annotated[int, Range(0), Help("Data consistency corrections of the interpolation")] = 0
    window: Annotated[int | None, Range(1), Unit("voxels"), Help("Side of the windows in training")] = None
    thickness: Annotated[
        tuple[float, float] | None, Unit("mm"), Help("Least and largest slice thickness in training")
    ] = None
    several_stacks: Annotated[bool, Help("Whether several stacks in one image were trained")] = False
    padded: Annotated[
        tuple[int, int, int] | None, Unit("voxels"), Help("Shape after padding, of the published one")
    ] = None
    atlas: Annotated[str | None, Help("File with the infant atlas, of the published one")] = None


@dataclass(frozen=True, kw_only=True)
class SuperresManifest(Manifest):
    """What ``neurogen.json`` says of a super-resolution network.

    Examples
    --------
    >>> from NeuroGenLib.models import resolve
    >>> manifest = resolve("bundled:superres").read_as(SuperresManifest)
    >>> manifest.published, manifest.guide
    (False, 'optional')
    """

    modalities: Annotated[tuple[str, ...], Help("Names such as T2w, in channel order")] = ()
    network: Annotated[dict[str, Any], Help("Kind and sizes of the network")]
    preparation: PreparationEntry

    def check(self) -> None:
        """Refuse a network of unknown kind."""
        if "kind" not in self.network:
            raise InputError("'network.kind' is missing.", code="value-missing")

    @property
    def published(self) -> bool:
        """Whether the network is the published one."""
        return bool(self.network["kind"] == "published")

    @property
    def guide(self) -> GuideNeed:
        """Whether a T1w of the same head is needed, optional or not used; the published network needs it."""
        return "needed" if self.published else self.preparation.guide
