"""Parameters of super-resolution: how its network is trained."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from NeuroGenLib.core.config import Config, Help, Identifying, Range, Unit
from NeuroGenLib.core.errors import InputError
from NeuroGenLib.simulate.contrast import ContrastConfig
from NeuroGenLib.simulate.deformation import DeformationConfig
from NeuroGenLib.training.settings import TrainJobConfig

Interval = tuple[float, float]
Tissues = Literal["freesurfer", "fetal", "unknown"]


@dataclass(frozen=True)
class ScansConfig(Config):
    """Scans with isotropic voxels: the targets of the network."""

    source: Annotated[Path | None, Help("Table or folder of scans; none trains on label maps alone")] = None
    images: Annotated[str, Help("Column with the isotropic T2w scans")] = "T2w"
    guide: Annotated[str | None, Help("Column with T1w scans on the grid of the T2w, if there are any")] = None
    segmentation: Annotated[
        str | None, Help("Column with label maps on that grid, from which guides and images are generated")
    ] = None
    low: Annotated[
        str | None, Help("Column with the anisotropic T2w scans, enlarged to the grid: for network.kind published")
    ] = None
    tissues: Annotated[Tissues, Help("What the values of the label maps mean")] = "fetal"
    root: Annotated[
        Path | None,
        Identifying(blank=True),
        Help("Folder that relative paths of the table start from; the table's when not given"),
    ] = None
    include: Annotated[tuple[str, ...], Identifying(blank=True), Help("Ids to keep, * allowed; all when empty")] = ()
    exclude: Annotated[tuple[str, ...], Identifying(blank=True), Help("Ids to exclude, * allowed")] = ()
    generated: Annotated[
        float, Range(0, 1), Help("Chance that a scan's label map is given another contrast, where there is one")
    ] = 0.4
    weight: Annotated[float, Range(0), Help("How often scans are drawn, beside maps.weight")] = 1.0


@dataclass(frozen=True)
class MapsConfig(Config):
    """Label maps without scans: images are generated from them."""

    source: Annotated[Path | None, Help("Table or folder of label maps; none trains on scans alone")] = None
    segmentation: Annotated[str | None, Help("Column of the table with the label maps, where it has several")] = None
    tissues: Annotated[Tissues, Help("What the values of the label maps mean")] = "freesurfer"
    root: Annotated[
        Path | None,
        Identifying(blank=True),
        Help("Folder that relative paths of the table start from; the table's when not given"),
    ] = None
    include: Annotated[tuple[str, ...], Identifying(blank=True), Help("Ids to keep, * allowed; all when empty")] = ()
    exclude: Annotated[tuple[str, ...], Identifying(blank=True), Help("Ids to exclude, * allowed")] = ()
    weight: Annotated[float, Range(0), Help("How often label maps are drawn, beside scans.weight")] = 1.0


@dataclass(frozen=True)
class SplitConfig(Config):
    """Who is trained on, and who is only validated or tested with; all sessions of a person stay together."""

    kind: Annotated[
        Literal["random", "order", "named"],
        Help(
            "random: by split.seed; order: 70, 15, 15 % of the files in the table's order, as the published program;"
            " named: validated with split.validation, trained on the others"
        ),
    ] = "random"
    fractions: Annotated[
        tuple[float, float, float], Range(0, 1), Help("For random: shares trained on, validated and tested with")
    ] = (0.70, 0.15, 0.15)
    seed: Annotated[int, Range(0), Help("Start of the random split")] = 0
    validation: Annotated[
        tuple[str, ...], Identifying(blank=True), Help("Ids that are validated with, * allowed, for named")
    ] = ()

    def check(self) -> None:
        """Refuse fractions that are none, and names for a split that takes none."""
        if abs(sum(self.fractions) - 1) > 1e-6 or min(self.fractions[:2]) <= 0:
            raise InputError(
                f"The fractions {self.fractions} are not a split.",
                "Give three that sum to 1, the first two above 0.",
                code="value-invalid",
            )
        if bool(self.validation) != (self.kind == "named"):
            raise InputError(
                f"split.validation names {len(self.validation)} ids, and split.kind is {self.kind}.",
                "Name ids with split.kind named, and with no other.",
                code="value-conflict",
            )


@dataclass(frozen=True)
class SlicesConfig(Config):
    """The thick slices that the network shall undo; of an interval, a number is drawn uniformly for each image."""

    thickness: Annotated[Interval, Range(0.5, 30), Unit("mm"), Help("Thickness that the header tells")] = (2.0, 8.0)
    width: Annotated[Interval, Range(0.3, 3), Help("Width of the profile at half maximum, in thicknesses")] = (0.8, 1.2)
    box: Annotated[float, Range(0, 1), Help("Chance that the profile is a box, not a Gaussian")] = 0.15
    gap_chance: Annotated[float, Range(0, 1), Help("Chance of a gap between slices")] = 0.2
    gap: Annotated[Interval, Range(0, 2), Help("Gap between slices, in thicknesses")] = (0.05, 0.3)
    several: Annotated[
        float, Range(0, 1), Help("Chance that two or three stacks, along axes of their own, were combined")
    ] = 0.2
    noise: Annotated[Interval, Range(0, 1), Help("Standard deviation of noise, as a share of the intensity range")] = (
        0.0,
        0.04,
    )

    def check(self) -> None:
        """Refuse intervals the wrong way round."""
        _require_rising(self)


@dataclass(frozen=True)
class ImagesConfig(Config):
    """What is random of images, besides what :class:`ContrastConfig` draws for generated ones."""

    turned: Annotated[float, Range(0, 1), Help("Chance of any order and direction of the axes")] = 0.5
    guide_dropped: Annotated[float, Range(0, 1), Help("Chance that the guide is not there")] = 0.4
    guide_shift: Annotated[float, Range(0, 10), Unit("mm"), Help("Largest error of the guide's place on an axis")] = 0.5
    guide_turn: Annotated[float, Range(0, 10), Unit("degrees"), Help("Largest error of its angle about an axis")] = 0.5
    gain: Annotated[float, Range(0, 1), Help("Largest natural logarithm of the gain, to either side of 0")] = 0.15
    offset: Annotated[float, Range(0, 0.5), Help("Largest shift of the intensities, to either side of 0")] = 0.05
    log_gamma: Annotated[float, Range(0, 1), Help("Largest natural logarithm of a scan's gamma")] = 0.2
    bias: Annotated[Interval, Range(0, 1), Help("Standard deviation of the logarithm of a scan's bias field")] = (
        0.0,
        0.2,
    )

    def check(self) -> None:
        """Refuse intervals the wrong way round."""
        _require_rising(self)


@dataclass(frozen=True)
class NetworkConfig(Config):
    """Sizes of the network."""

    kind: Annotated[
        Literal["residual", "published"], Help("residual: corrects the interpolation; published: BABY-AI's U-Net")
    ] = "residual"
    features: Annotated[
        tuple[int, ...], Range(1, 2048), Help("Channels of each level, each half as fine as the one before")
    ] = (16, 32, 64, 96)
    convolutions: Annotated[int, Range(1, 20), Help("Convolutions of each coarser level, on the way down")] = 2
    residual_units: Annotated[int, Range(1, 50), Help("Convolutions of each level of the published network")] = 10

    def check(self) -> None:
        """Refuse a network without coarser levels."""
        if len(self.features) < 2:
            raise InputError(
                f"network.features {self.features} has no coarser level.",
                "Give at least two, such as [16, 32, 64].",
                code="value-invalid",
            )


@dataclass(frozen=True)
class OptimiserConfig(Config):
    """How the loss is minimised."""

    kind: Annotated[Literal["adamw", "adam"], Help("adam at a constant rate is the published one")] = "adamw"
    loss: Annotated[
        Literal["relative", "mse", "charbonnier"],
        Help("The mean squared error, beside that of each window's interpolation or not, or a smooth L1"),
    ] = "relative"
    gradient_weight: Annotated[
        float, Range(0), Help("Weight of the loss of neighbouring voxels' differences, beside charbonnier")
    ] = 0.5
    outside_weight: Annotated[float, Range(0, 1), Help("How much a voxel outside the head counts")] = 0.05
    rate: Annotated[float, Range(0, 1), Help("Learning rate")] = 8e-4
    betas: Annotated[tuple[float, float], Range(0, 1), Help("Decay of adamw's two means of the gradient")] = (0.9, 0.99)
    schedule: Annotated[Literal["cosine", "constant"], Help("How the rate changes")] = "cosine"
    floor: Annotated[float, Range(0, 1), Help("Last rate of the cosine as a share of the first")] = 0.02
    warmup: Annotated[int, Range(0), Unit("steps"), Help("Steps over which the rate rises")] = 50
    decay: Annotated[float, Range(0, 1), Help("Weight decay of adamw")] = 1e-4
    clip: Annotated[float | None, Range(0, exclusive_low=True), Help("Largest norm of the gradient")] = 1.0
    batch: Annotated[int, Range(1), Help("Windows per step and process")] = 2


@dataclass(frozen=True)
class ValidationConfig(Config):
    """Validation on held-out subjects during training."""

    every: Annotated[
        int | None,
        Range(1),
        Unit("steps"),
        Help("Steps between two validations, the last one at the end; 1000 when not given, published: every epoch"),
    ] = None
    thicknesses: Annotated[
        tuple[float, ...], Range(0.5, 30), Unit("mm"), Help("Thick slices of these, along each of the three axes")
    ] = (4.0,)
    most: Annotated[int, Range(1), Help("Subjects at most, evenly chosen by rank")] = 4
    patience: Annotated[
        int | None, Range(1), Help("Validations without a better loss after which to stop; none never stops")
    ] = None
    min_delta: Annotated[float, Range(0), Help("By how much a loss must be lower to count as better")] = 0.0
    keep: Annotated[Literal["last", "best"], Help("Which weights become the model")] = "last"


@dataclass(frozen=True)
class PublishedPatchesConfig(Config):
    """How the published program cuts volumes; for network.kind published."""

    target_shape: Annotated[
        tuple[int, int, int], Range(1), Unit("voxels"), Help("Volumes are padded with zeros to this")
    ] = (192, 224, 192)
    patch: Annotated[int, Range(2), Unit("voxels"), Help("Side of a patch")] = 32
    stride: Annotated[int, Range(1), Unit("voxels"), Help("Distance of patches")] = 16


@dataclass(frozen=True, kw_only=True)
class SuperresTrainConfig(TrainJobConfig):
    """Everything a training run of super-resolution needs."""

    unshared: ClassVar = ("note",)

    scans: ScansConfig = field(default_factory=ScansConfig)
    maps: MapsConfig = field(default_factory=MapsConfig)
    split: SplitConfig = field(default_factory=SplitConfig)
    slices: SlicesConfig = field(default_factory=SlicesConfig)
    images: ImagesConfig = field(default_factory=ImagesConfig)
    target: Annotated[ContrastConfig, Help("What generated T2w images look like, before the slices")] = field(
        default_factory=lambda: ContrastConfig(kind="t2w", blur=(0.3, 0.7), thick=0, noise=(0, 0), bias=(0, 0.2))
    )
    guide: Annotated[ContrastConfig, Help("What generated T1w guides look like")] = field(
        default_factory=lambda: ContrastConfig(kind="t1w", blur=(0.3, 0.8), thick=0, stripped=0, noise=(0, 0.04))
    )
    deformation: DeformationConfig = field(
        default_factory=lambda: DeformationConfig(
            rotation=15, log_scale=0.15, translation=0, scales=(16.0, 8.0), amplitudes=(1.5, 0.5)
        )
    )
    network: NetworkConfig = field(default_factory=NetworkConfig)
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)
    validation: ValidationConfig = field(default_factory=ValidationConfig)
    published: PublishedPatchesConfig = field(default_factory=PublishedPatchesConfig)
    window: Annotated[int, Range(8), Unit("voxels"), Help("Side of the cubic windows")] = 64
    maps_spacing: Annotated[float, Range(0.3, 5), Unit("mm"), Help("Voxel size that label maps are brought to")] = 1.0
    name: Annotated[str, Help("Name of the model")] = "superres"
    note: Annotated[str, Help("A word on this run, for training_info.csv")] = ""

    def check(self) -> None:
        """Refuse a run without data, a window that cannot be halved, and settings of one network for the other."""
        if self.scans.source is None and self.maps.source is None:
            raise InputError("There is nothing to train on.", "Give scans.source or maps.source.", code="value-missing")
        if self.network.kind == "published":
            self._check_published()
            return
        halved = 2 ** (len(self.network.features) - 1)
        if self.window % halved:
            raise InputError(
                f"A window of {self.window} voxels cannot be halved {len(self.network.features) - 1} times.",
                f"Give a window that is a multiple of {halved}.",
                code="value-conflict",
            )
        if self.scans.low is not None:
            raise InputError(
                "scans.low names thick slices, which this network's training makes itself.",
                "Leave scans.low out.",
                code="value-conflict",
            )

    def _check_published(self) -> None:
        for name, value in (("source", self.scans.source), ("guide", self.scans.guide), ("low", self.scans.low)):
            if value is None:
                raise InputError(
                    f"The published network's training needs scans.{name}.", "Give it.", code="value-missing"
                )
        if self.maps.source is not None:
            raise InputError(
                "The published network is trained on scans alone.", "Leave maps.source out.", code="value-conflict"
            )


def _require_rising(config: Config) -> None:
    for parameter in dataclasses.fields(config):
        value = getattr(config, parameter.name)
        if isinstance(value, tuple) and value[0] > value[1]:
            raise InputError(
                f"{parameter.name} goes from {value[0]:g} down to {value[1]:g}.",
                "Give the smaller first.",
                code="value-invalid",
            )
