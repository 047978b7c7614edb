"""Parameters of registration: how one pair is registered, how the network is trained."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from NeuroGenLib.alignment.halfway import StartKind
from NeuroGenLib.core.config import Config, Help, Identifying, Option, Range, Unit
from NeuroGenLib.core.errors import InputError
from NeuroGenLib.registration.published.datasets.config import LayoutConfig
from NeuroGenLib.simulate.contrast import ContrastConfig
from NeuroGenLib.simulate.deformation import DeformationConfig
from NeuroGenLib.training.settings import TrainJobConfig

Three = tuple[float, float, float]
TransformFormat = Literal["h5", "tfm", "nrrd", "nii.gz"]

BUNDLED = "bundled:registration"
"""The model that is used when none is named."""


@dataclass(frozen=True)
class TableConfig(Config):
    """Scans of a cohort table: which columns are read, which scans form pairs, how they are prepared."""

    table: Annotated[Path, Help("Cohort table (tsv or csv), or a folder of volumes")] = Path("participants.tsv")
    images: Annotated[tuple[str, ...], Help("Columns with the images, one per channel")] = ("T2w",)
    segmentation: Annotated[str | None, Help("Column with label maps, for a loss on them")] = None
    mask: Annotated[str | None, Help("Column with masks: only inside them the images count")] = None
    landmarks: Annotated[
        str | None, Help("Column with tables of landmarks: columns x, y, z in RAS mm, in the same order for all scans")
    ] = None
    root: Annotated[
        Path | None, Help("Folder that relative paths of the table start from; the table's when not given")
    ] = None
    include: Annotated[tuple[str, ...], Identifying(), Help("Subject ids to keep, * allowed; all when empty")] = ()
    exclude: Annotated[tuple[str, ...], Identifying(), Help("Subject ids to exclude, * allowed")] = ()
    pairs: Annotated[
        Path | None, Help("Table with the columns moving and fixed, ids of scans; all pairs when not given")
    ] = None
    pair_column: Annotated[str | None, Help("Numeric column in which the scans of a pair must be near")] = None
    pair_range: Annotated[
        float, Range(0), Help("Largest difference of a pair in that column, in the column's unit")
    ] = 0.0
    labels: Annotated[tuple[int, ...], Help("Label values that count; those of the first scan but 0 when empty")] = ()
    placement: Annotated[
        Literal["world", "centre", "foreground"],
        Help(
            "How scans come to the grid: world keeps their places in mm (scans that are aligned already), centre puts"
            " the middle of each field of view into the middle, foreground the box around the mask, the labels or what"
            " is brighter than the background, scaled to fill the grid as registration does it"
        ),
    ] = "foreground"
    shape: Annotated[
        tuple[int, int, int] | None, Range(8), Unit("voxels"), Help("Grid; that of the first scan when not given")
    ] = None
    spacing: Annotated[
        Three | None, Range(0, exclusive_low=True), Unit("mm"), Help("Voxel size; the first scan's when not given")
    ] = None
    fill: Annotated[
        float, Range(0.1, 1), Help("Share of the tightest axis that the foreground takes, of that placement")
    ] = 0.84
    normalisation: Annotated[
        Literal["percentile", "minmax", "none"],
        Help("How intensities are scaled: 0.1 and 99.9 percentile to 0 and 1 and clipped, least and largest, not"),
    ] = "percentile"

    def check(self) -> None:
        """Refuse two rules for pairs, and a range without its column."""
        if self.pairs is not None and self.pair_column is not None:
            raise InputError(
                "Both pairs and pair_column say which scans form pairs.", "Give one of them.", code="value-conflict"
            )
        if self.pair_range and self.pair_column is None:
            raise InputError(
                "pair_range needs pair_column, the column it is about.", "Give both, or none.", code="value-missing"
            )


@dataclass(frozen=True)
class MapsConfig(Config):
    """A group of label maps that images are generated from; pairs are formed inside a group."""

    source: Annotated[Path, Help("Table with a column of label maps, or a folder of them")]
    segmentation: Annotated[
        str | None,
        Help("Column with the label maps, or how their names end; not needed where there is one kind of file"),
    ] = None
    root: Annotated[
        Path | None, Help("Folder that relative paths of the table start from; the table's when not given")
    ] = None
    include: Annotated[tuple[str, ...], Identifying(), Help("Ids to keep, * allowed; all when empty")] = ()
    exclude: Annotated[tuple[str, ...], Identifying(), Help("Ids to exclude, * allowed")] = ()
    tissues: Annotated[
        Literal["freesurfer", "fetal", "unknown"], Help("What the label values mean; unknown: all but 0 is brain")
    ] = "unknown"
    pair_column: Annotated[str | None, Help("Numeric column in which the two maps of a pair must be near")] = None
    pair_range: Annotated[float, Range(0), Help("Largest difference of a pair, in the column's unit")] = 0.0
    weight: Annotated[float, Range(0, exclusive_low=True), Help("How often the group is drawn, relative to others")] = (
        1.0
    )


@dataclass(frozen=True)
class GeneratedConfig(Config):
    """Images generated from label maps: no scan is needed, and every contrast is trained."""

    groups: Annotated[dict[str, MapsConfig], Help("Groups of label maps, by name")] = field(default_factory=dict)
    shape: Annotated[tuple[int, int, int], Range(8), Unit("voxels"), Help("Grid, of cubic voxels")] = (80, 96, 80)
    fill: Annotated[
        float, Range(0.1, 1), Help("Share of the tightest axis of the grid that the brain takes before deformation")
    ] = 0.84
    aligned: Annotated[
        bool, Help("Place the brains of a group on each other first, as the affine start does before the network")
    ] = False
    same_map: Annotated[
        float, Range(0, 1), Help("Chance that both images of a pair show one head, whose true map is then known")
    ] = 0.35
    least_voxels: Annotated[int, Range(1), Unit("voxels"), Help("Structures that are smaller do not count")] = 40
    contrast: ContrastConfig = field(default_factory=ContrastConfig)
    deformation: DeformationConfig = field(default_factory=DeformationConfig)


@dataclass(frozen=True)
class DataConfig(Config):
    """Where the pairs come from."""

    source: Annotated[
        Literal["table", "generated", "layout"], Help("A cohort table, label maps, or a published data set")
    ] = "table"
    items_per_step: Annotated[int, Range(2, 3), Help("2 for pairs, 3 for rounds of three (losses.consistency)")] = 2
    batch: Annotated[int, Range(1), Help("Pairs (or threes) per step of one process")] = 1
    labels_per_step: Annotated[
        int | None,
        Range(0),
        Help("Structures whose overlap counts in a step, drawn from those its images have; all when not given"),
    ] = None
    cache_gib: Annotated[float, Range(0), Unit("GiB"), Help("Memory for prepared scans; others are read each time")] = (
        4.0
    )
    table: TableConfig = field(default_factory=TableConfig)
    generated: GeneratedConfig = field(default_factory=GeneratedConfig)
    layout: LayoutConfig = field(default_factory=LayoutConfig)

    def check(self) -> None:
        """Refuse generated images without label maps, or in threes."""
        if self.source == "generated" and not self.generated.groups:
            raise InputError(
                "data.generated.groups names no label maps.", "Give at least one group.", code="value-missing"
            )
        if self.source == "generated" and self.items_per_step != 2:
            raise InputError("Generated images come in pairs.", "Set items_per_step to 2.", code="value-conflict")


@dataclass(frozen=True)
class NetworkConfig(Config):
    """Sizes of the network, finest level first; see :class:`NeuroGenLib.registration.network.sitreg.SITRegConfig`."""

    channels: Annotated[int, Range(1, 64), Help("Channels of an image")] = 1
    features: Annotated[tuple[int, ...], Range(1, 4096), Help("Feature channels of each level")] = (
        8,
        16,
        32,
        32,
        32,
        32,
    )
    feature_convolutions: Annotated[tuple[int, ...], Range(0, 16), Help("Convolutions of each level")] = (
        0,
        2,
        2,
        2,
        2,
        2,
    )
    stage_features: Annotated[
        tuple[int | None, ...], Range(1, 4096), Help("Channels of each level's stage; none for a level without one")
    ] = (None, 24, 32, 48, 48, 48)
    stage_convolutions: Annotated[tuple[int | None, ...], Range(1, 16), Help("Convolutions of each stage")] = (
        None,
        2,
        2,
        2,
        2,
        2,
    )
    factor: Annotated[
        Three, Range(1, 64), Help("Width of a voxel of the transform's grid in image voxels, per axis")
    ] = (2.0, 2.0, 2.0)
    affine: Annotated[bool, Help("Find an affine map first; the images then always have the same size")] = False
    chained_affine: Annotated[
        bool, Help("Hidden layers of the affine stage follow one another; off as in the published program")
    ] = True
    groups: Annotated[
        int | None, Range(0), Help("Groups of the group normalisation, 0 for instance normalisation, none for neither")
    ] = 4
    normalise_stages: Annotated[bool, Help("Also normalise inside the stages")] = False
    negative_slope: Annotated[float, Range(0, 1), Help("Slope of the leaky ReLU below zero; 0 is a ReLU")] = 0.0
    bound: Annotated[
        float, Range(0, 1, exclusive_low=True), Help("Share of the largest control point that cannot fold")
    ] = 0.99
    skipped_stages: Annotated[
        int, Range(0), Help("Finest stages that are skipped, as the published program does without a note")
    ] = 0
    threshold: Annotated[
        float, Range(0, 1, exclusive_low=True), Unit("voxels"), Help("When an inversion counts as converged")
    ] = 1e-2
    most_iterations: Annotated[int, Range(2), Help("Largest number of iterations of an inversion")] = 50
    memory: Annotated[int, Range(1, 16), Help("Earlier iterates that an inversion mixes")] = 4

    def check(self) -> None:
        """Refuse lists that differ in length, stages that cannot be, and groups that do not divide the channels."""
        lists = (self.features, self.feature_convolutions, self.stage_features, self.stage_convolutions)
        if len({len(levels) for levels in lists}) != 1:
            raise InputError(
                f"features, feature_convolutions, stage_features and stage_convolutions have"
                f" {', '.join(str(len(levels)) for levels in lists)} levels.",
                "Give each list one entry per level, none for a level without a stage.",
                code="value-conflict",
            )
        for level, (width, count) in enumerate(zip(self.stage_features, self.stage_convolutions, strict=True)):
            if (width is None) != (count is None):
                raise InputError(
                    f"Level {level} has only one of stage_features and stage_convolutions.",
                    "Give both or none of them.",
                    code="value-conflict",
                )
            if width is not None and any(round(2**level / factor) < 1 for factor in self.factor):
                raise InputError(
                    f"The stage of level {level} is finer than the transform's grid (factor {max(self.factor):g}).",
                    "Set its stage_features and stage_convolutions to none, or make the factor smaller.",
                    code="value-conflict",
                )
        if self.skipped_stages >= sum(width is not None for width in self.stage_features):
            raise InputError(
                "The network has no stage that counts.", "Give a level stage_features.", code="value-invalid"
            )
        self._check_groups()

    def _check_groups(self) -> None:
        if not self.groups:
            return
        normalised = [n for n, count in zip(self.features, self.feature_convolutions, strict=True) if count]
        normalised += [width for width in self.stage_features if width is not None] if self.normalise_stages else []
        for width in normalised:
            if width % self.groups:
                raise InputError(
                    f"{width} channels cannot be divided into {self.groups} groups.",
                    "Choose groups that divide all features.",
                    code="value-conflict",
                )


Level = Annotated[
    int,
    Range(0),
    Help("How many of the finest stages the map is without that is looked at; 0 is the whole map"),
]


@dataclass(frozen=True)
class SimilarityConfig(Config):
    """How alike the warped and the other image must be."""

    kind: Annotated[Literal["ncc", "mse", "mutual_information", "multiresolution_ncc"], Help("What is measured")] = (
        "ncc"
    )
    level: Level = 0
    weight: Annotated[float, Range(0), Help("Weight in the loss")] = 1.0
    window: Annotated[int, Range(1), Unit("voxels"), Help("Side of the window of ncc, odd")] = 7
    windows: Annotated[tuple[int, ...], Range(1), Help("The same for each resolution of multiresolution_ncc")] = (3, 5)
    pools: Annotated[tuple[int, ...], Range(1), Help("Averaging before each of its resolutions")] = (1, 2)
    weights: Annotated[tuple[float, ...], Range(0), Help("Weight of each of its resolutions")] = (0.5, 0.5)
    bins: Annotated[int, Range(2), Help("Bins of mutual_information")] = 23
    normalise: Annotated[
        Literal["all", "valid"], Help("Mean of ncc and mse over all voxels, as published, or over the mask")
    ] = "all"

    def check(self) -> None:
        """Refuse windows without a middle, and lists that differ in length."""
        if any(side % 2 == 0 for side in (self.window, *self.windows)):
            raise InputError(
                "A window with an even side has no middle.", "Choose odd windows, such as 7.", code="value-invalid"
            )
        if not len(self.windows) == len(self.pools) == len(self.weights):
            raise InputError(
                "windows, pools and weights differ in length.",
                "Give one of each for every resolution.",
                code="value-conflict",
            )


@dataclass(frozen=True)
class RegularityConfig(Config):
    """How smooth the map must be."""

    kind: Annotated[Literal["gradient", "ndv"], Help("Mean squared slope, or folded volume")] = "gradient"
    level: Level = 0
    weight: Annotated[float, Range(0), Help("Weight in the loss")] = 1.0
    threshold: Annotated[float, Help("Jacobian determinants below it count as folded, of ndv")] = 0.0


@dataclass(frozen=True)
class SegmentationConfig(Config):
    """How much the label maps must overlap (soft Dice)."""

    level: Level = 0
    weight: Annotated[float, Range(0), Help("Weight in the loss")] = 1.0


@dataclass(frozen=True)
class LossConfig(Config):
    """What is minimised; of a pair, the mean of both directions."""

    similarity: Annotated[dict[str, SimilarityConfig], Help("Similarity of the images, by name")] = field(
        default_factory=lambda: {"ncc": SimilarityConfig()}
    )
    regularity: Annotated[dict[str, RegularityConfig], Help("Smoothness of the map, by name")] = field(
        default_factory=lambda: {"gradient": RegularityConfig()}
    )
    segmentation: Annotated[dict[str, SegmentationConfig], Help("Overlap of the label maps, by name")] = field(
        default_factory=dict
    )
    landmark_weight: Annotated[float, Range(0), Help("Weight of the landmarks' squared distance in voxels")] = 0.0
    truth_weight: Annotated[
        float, Range(0), Help("Weight of the squared distance to the true map, in voxels of the grid of the losses")
    ] = 0.0
    consistency: Annotated[
        tuple[tuple[float, float], ...],
        Help("Weight of the round through three images: [step, weight] pairs, linear between them"),
    ] = ()
    regularize_with_affine: Annotated[bool, Help("The affine part of the map counts as roughness too")] = True
    ignore_mask: Annotated[bool, Help("Compare images outside their masks too; beyond the field of view never")] = False
    grid: Annotated[
        Literal["image", "transform"],
        Help("Where images, labels and truth are compared: on their own grid, or averaged to the transform's (quick)"),
    ] = "image"

    def levels(self) -> dict[str, int]:
        """Return the level of each loss by name."""
        levels = {name: term.level for name, term in self.similarity.items()}
        levels |= {name: term.level for name, term in self.regularity.items()}
        return levels | {name: term.level for name, term in self.segmentation.items()}

    def check(self) -> None:
        """Refuse two losses of one name, no loss at all, and steps that do not rise."""
        names = [*self.similarity, *self.regularity, *self.segmentation]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise InputError(
                f"Two losses are named '{twice[0]}'.", "Give every loss its own name.", code="value-duplicate"
            )
        reserved = sorted({"loss", "landmarks", "truth", "consistency"} & {*names})
        if reserved:
            raise InputError(
                f"The name '{reserved[0]}' is taken.", "Give that loss another name.", code="value-duplicate"
            )
        if not (self.similarity or self.segmentation or self.landmark_weight or self.truth_weight):
            raise InputError(
                "No loss makes the images similar.",
                "Give a similarity, segmentation, landmark or truth loss.",
                code="value-missing",
            )
        steps = [step for step, _ in self.consistency]
        if any(later <= earlier for earlier, later in itertools.pairwise(steps)):
            raise InputError(
                "The steps of consistency do not rise.", "List them from the first to the last.", code="value-invalid"
            )
        if any(weight < 0 or step < 0 for step, weight in self.consistency):
            raise InputError(
                "consistency has a number below 0.", "Give steps and weights from 0 on.", code="value-invalid"
            )


@dataclass(frozen=True)
class OptimiserConfig(Config):
    """How the losses are minimised: Adam."""

    rate: Annotated[float, Range(0, 1), Help("Learning rate")] = 1e-4
    betas: Annotated[tuple[float, float], Range(0, 0.99999), Help("Decay of Adam's two running means")] = (0.9, 0.999)
    clip: Annotated[
        float | None, Range(0, exclusive_low=True), Help("Largest norm of the gradient; no limit when not given")
    ] = None
    schedule: Annotated[Literal["constant", "cosine"], Help("How the rate changes over the run")] = "constant"
    floor: Annotated[float, Range(0, 1), Help("Last rate of the cosine as a share of the first")] = 0.02
    continue_from: Annotated[
        Path | None,
        Help(
            "Folder of another run whose newest checkpoint gives the weights and Adam's running means to start from;"
            " train.init_from gives weights alone"
        ),
    ] = None
    rate_on_resume: Annotated[
        Literal["config", "checkpoint"],
        Help(
            "Which rate counts after continue_from: the one above, or that of the other run, as the published program"
            " takes it whatever its settings say"
        ),
    ] = "config"


@dataclass(frozen=True)
class AffineAugmentationConfig(Config):
    """Random affine maps of the images, each on its own; standard deviations of normal distributions per axis."""

    probability: Annotated[float, Range(0, 1), Help("Chance of every image; 0 is off")] = 0.0
    translation_stds: Annotated[Three, Range(0, 1), Unit("half of the image's longest side"), Help("Shift")] = (
        0.0,
        0.0,
        0.0,
    )
    rotation_stds: Annotated[Three, Range(0, 90), Unit("degrees"), Help("Rotation")] = (0.0, 0.0, 0.0)
    logscale_stds: Annotated[Three, Range(0, 1), Help("Natural logarithm of the scale")] = (0.0, 0.0, 0.0)
    logshear_stds: Annotated[Three, Range(0, 1), Help("Natural logarithm of the shear")] = (0.0, 0.0, 0.0)


@dataclass(frozen=True, kw_only=True)
class RegistrationTrainConfig(TrainJobConfig):
    """Everything a training run of the registration network needs."""

    data: DataConfig = field(default_factory=DataConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    losses: LossConfig = field(default_factory=LossConfig)
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)
    augmentation: AffineAugmentationConfig = field(default_factory=AffineAugmentationConfig)
    name: Annotated[str, Help("Name of the model")] = "registration"

    def shareable(self) -> dict[str, Any]:
        """Return the parameters that a model's manifest lists, of the source of data in use alone."""
        settings = super().shareable()
        unused = {"table", "generated", "layout"} - {self.data.source}
        settings["data"] = {name: value for name, value in settings["data"].items() if name not in unused}
        return settings

    def check(self) -> None:
        """Refuse losses for which the data or the network have nothing."""
        self._check_data()
        self._check_losses()
        if self.train.precision != "32":
            raise InputError(
                f"Displacement fields do not survive the precision {self.train.precision}.",
                "Set train.precision to 32.",
                code="value-conflict",
            )
        if self.train.init_from is not None and self.optimiser.continue_from is not None:
            raise InputError(
                "Both train.init_from and optimiser.continue_from say what to start from.",
                "Give one of them.",
                code="value-conflict",
            )

    def _check_data(self) -> None:
        losses, data = self.losses, self.data
        channels = len(data.table.images) if data.source == "table" else 1
        if self.network.channels != channels:
            raise InputError(
                f"The images have {channels} channel(s), and network.channels is {self.network.channels}.",
                f"Set network.channels to {channels}.",
                code="value-conflict",
            )
        if losses.landmark_weight and data.source == "table" and data.table.landmarks is None:
            raise InputError(
                "losses.landmark_weight needs landmarks.",
                "Name their column as data.table.landmarks.",
                code="value-missing",
            )
        if losses.segmentation and data.source == "table" and data.table.segmentation is None:
            raise InputError(
                "losses.segmentation needs label maps.",
                "Name their column as data.table.segmentation.",
                code="value-missing",
            )
        if losses.truth_weight and data.source != "generated":
            raise InputError(
                "The true map is known of generated images alone.",
                "Set losses.truth_weight to 0.",
                code="value-conflict",
            )
        if self.augmentation.probability and data.source == "generated":
            raise InputError(
                "Generated images have deformations of their own.",
                "Set augmentation.probability to 0.",
                code="value-conflict",
            )

    def _check_losses(self) -> None:
        losses, network = self.losses, self.network
        if losses.consistency and self.data.items_per_step != 3:
            raise InputError(
                "losses.consistency needs three images a step.", "Set data.items_per_step to 3.", code="value-conflict"
            )
        if losses.grid == "transform" and any(not math.isclose(factor, round(factor)) for factor in network.factor):
            raise InputError(
                "losses.grid 'transform' averages whole voxels, and network.factor is not whole.",
                "Choose the grid 'image', or a whole factor.",
                code="value-conflict",
            )
        stages = sum(width is not None for width in network.stage_features) - network.skipped_stages
        for name, level in losses.levels().items():
            if level > stages:
                raise InputError(
                    f"The loss '{name}' is for level {level}, and the network has {stages} stages.",
                    f"Choose a level from 0 to {stages}.",
                    code="value-invalid",
                )


@dataclass(frozen=True)
class RegisterConfig(Config):
    """How one pair is registered.

    Examples
    --------
    >>> RegisterConfig(refine=0).start
    'affine'
    """

    start: Annotated[StartKind, Help("Affine initialisation before the network; none trusts the headers")] = "affine"
    refine: Annotated[
        int,
        Range(0, 10_000),
        Unit("steps"),
        Help("Optimisation on this very pair after the network; 0 for the network alone"),
        Option(metavar="STEPS"),
    ] = 120


@dataclass(frozen=True)
class RegisterRunConfig(RegisterConfig):
    """How one pair is registered and written to files.

    Examples
    --------
    >>> RegisterRunConfig(mask="auto").format
    'h5'
    """

    mask: Annotated[
        Literal["auto"] | None,
        Help("Find the masks that are not given: adult heads; they are written, look at them"),
    ] = None
    format: Annotated[
        TransformFormat, Help("Format of forward and inverse: ITK transforms (h5, tfm), or displacement fields")
    ] = "h5"
