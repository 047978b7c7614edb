"""Parameters of the brain mask: how its network is trained."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from NeuroGenLib.core.config import Config, Help, Identifying, Range, Unit
from NeuroGenLib.core.errors import InputError
from NeuroGenLib.simulate.contrast import ContrastConfig
from NeuroGenLib.simulate.deformation import DeformationConfig
from NeuroGenLib.training.settings import TrainJobConfig

BUNDLED = "bundled:brain-mask"
"""The model that is used when none is named."""


@dataclass(frozen=True)
class MapsConfig(Config):
    """Label maps of whole heads, values after FreeSurfer, from which images are generated."""

    source: Annotated[Path, Help("Folder or table of label maps")] = Path("data/adult_labels")
    segmentation: Annotated[str | None, Help("Column of the table with the label maps, where it has several")] = None
    root: Annotated[
        Path | None,
        Identifying(blank=True),
        Help("Folder that relative paths of the table start from; the table's when not given"),
    ] = None
    include: Annotated[tuple[str, ...], Identifying(blank=True), Help("Ids to keep, * allowed; all when empty")] = ()
    exclude: Annotated[tuple[str, ...], Identifying(blank=True), Help("Ids to leave out, * allowed")] = ()


@dataclass(frozen=True)
class ViewConfig(Config):
    """What part of a head a training image shows, and how it is stored."""

    sides: Annotated[
        tuple[int, ...], Range(16), Unit("voxels"), Help("Lengths of an image's sides, each side drawn on its own")
    ] = (32, 48, 64, 80)
    offset: Annotated[
        float, Range(0, 500), Unit("mm"), Help("Largest distance, along each axis, of the brain from the middle")
    ] = 45.0
    mirrored: Annotated[float, Range(0, 1), Help("Chance that left and right are swapped")] = 0.5
    turned: Annotated[float, Range(0, 1), Help("Chance that the header lies: any order and direction of the axes")] = (
        0.05
    )
    cut: Annotated[float, Range(0, 1), Help("Chance, for each face, that the scan ends before the image does")] = 0.2
    cut_most: Annotated[float, Range(0, 0.5), Help("Largest part of a side that is cut off one face")] = 0.2


@dataclass(frozen=True)
class NetworkConfig(Config):
    """Sizes of the network."""

    features: Annotated[tuple[int, ...], Range(1, 1024), Help("Channels of each level, each half as fine")] = (
        8,
        24,
        48,
        64,
        64,
    )

    def check(self) -> None:
        """Refuse a network without levels."""
        if not self.features:
            raise InputError(
                "The network has no level.", "Give features, such as [8, 16, 32, 64].", code="value-invalid"
            )

    @property
    def multiple(self) -> int:
        """Sides of an image must be a multiple of this."""
        return int(2 ** (len(self.features) - 1))


@dataclass(frozen=True)
class OptimiserConfig(Config):
    """How the loss is minimised: Adam, cross-entropy plus soft Dice."""

    rate: Annotated[float, Range(0, 1), Help("Learning rate")] = 2e-3
    floor: Annotated[float, Range(0, 1), Help("Last rate of the cosine as a share of the first")] = 0.02
    warmup: Annotated[int, Range(0), Unit("steps"), Help("The rate rises for so long")] = 50
    clip: Annotated[float, Range(0, exclusive_low=True), Help("Largest norm of the gradient")] = 1.0
    batch: Annotated[int, Range(1), Help("Images per step and process")] = 1
    dice_weight: Annotated[float, Range(0), Help("Weight of soft Dice beside the cross-entropy")] = 1.0


@dataclass(frozen=True, kw_only=True)
class MaskTrainConfig(TrainJobConfig):
    """Everything a training run of the brain mask needs."""

    maps: MapsConfig = field(default_factory=MapsConfig)
    view: ViewConfig = field(default_factory=ViewConfig)
    contrast: ContrastConfig = field(default_factory=lambda: ContrastConfig(stripped=0.0))
    deformation: DeformationConfig = field(default_factory=DeformationConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)
    spacing: Annotated[
        float, Range(0.5, 10), Unit("mm"), Help("Voxel size of the images, in training and of scans")
    ] = 4.0
    name: Annotated[str, Help("Name of the model")] = "brain-mask"

    def check(self) -> None:
        """Refuse sides that the network cannot halve, and a precision that generated images do not have."""
        if not self.view.sides:
            raise InputError(
                "view.sides is empty.", "Give lengths of the sides in voxels, such as [64, 80].", code="value-missing"
            )
        for side in self.view.sides:
            if side % self.network.multiple:
                raise InputError(
                    f"A side of {side} voxels cannot be halved {len(self.network.features) - 1} times.",
                    f"Give view.sides multiples of {self.network.multiple}.",
                    code="value-conflict",
                )
        if self.contrast.stripped:
            raise InputError(
                "An image without skull teaches nothing about the skull.",
                "Set contrast.stripped to 0.",
                code="value-conflict",
            )
