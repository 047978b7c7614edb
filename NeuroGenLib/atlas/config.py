"""Parameters of the atlas: training, generation and fits."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, TypeAlias

from NeuroGenLib.atlas.regression import Method
from NeuroGenLib.cohort.subjects import BinaryConstraint, CategoricConstraint, NumericConstraint
from NeuroGenLib.core.config import Config, Help, Identifying, Option, Range, Unit
from NeuroGenLib.core.errors import InputError
from NeuroGenLib.core.reports import PICTURE, PictureConfig
from NeuroGenLib.training.settings import TrainJobConfig

if TYPE_CHECKING:
    from collections.abc import Mapping

BUNDLED = "bundled:fetal-sba"
"""The model that is used when none is named."""


@dataclass(frozen=True)
class ConditionConfig(Config):
    """One condition of the atlas besides age: a column of the table."""

    kind: Annotated[Literal["numeric", "categoric"], Help("A number, or one of several words")] = "numeric"
    minimum: Annotated[float | None, Help("Value that maps to -scale; the cohort's smallest when not given")] = None
    maximum: Annotated[float | None, Help("Value that maps to +scale; the cohort's largest when not given")] = None
    values: Annotated[tuple[str, ...], Help("Words of a categoric condition; those of the cohort when empty")] = ()
    unit: Annotated[str, Help("Unit of a numeric condition, for people")] = ""
    scale: Annotated[float, Range(0, exclusive_low=True), Help("Size of the value inside the network")] = 0.5

    def check(self) -> None:
        """Refuse an empty range."""
        if self.minimum is not None and self.maximum is not None and self.minimum >= self.maximum:
            raise InputError(
                f"minimum ({self.minimum:g}) is not below maximum ({self.maximum:g}).",
                "Give the smaller one as minimum.",
                code="value-invalid",
            )


@dataclass(frozen=True)
class DataConfig(Config):
    """The cohort and how its volumes become training points."""

    table: Annotated[Path, Help("Cohort table (tsv or csv), or a folder of volumes")]
    modalities: Annotated[tuple[str, ...], Help("Intensity columns of the table")] = ("T2w",)
    segmentation: Annotated[str, Help("Column with the label maps")] = "Seg"
    labels: Annotated[Path | None, Help("Label table (BIDS dseg.tsv); label names from the values when not given")] = (
        None
    )
    root: Annotated[
        Path | None, Help("Folder that relative paths of the table start from; the table's when not given")
    ] = None
    splits: Annotated[
        Path | None, Help("YAML file with the ids of train, val and test; file.yaml#dataset where it lists several")
    ] = None
    split: Annotated[str, Help("Which split of that file to train on")] = "train"
    include: Annotated[tuple[str, ...], Identifying(), Help("Subject ids to keep, * allowed; all when empty")] = ()
    exclude: Annotated[tuple[str, ...], Identifying(), Help("Subject ids to exclude, * allowed")] = ()
    constraints: Annotated[
        dict[str, NumericConstraint | CategoricConstraint | BinaryConstraint], Help("Rows to keep, by column")
    ] = field(default_factory=dict)
    subjects: Annotated[int | None, Range(1), Help("How many subjects to choose; all when not given")] = None
    age: Annotated[str, Help("Column with the age")] = "scan_age"
    age_unit: Annotated[
        Literal["weeks", "months", "years", "days"] | None,
        Help("Unit of that column; by its name or from participants.json when not given"),
    ] = None
    conditions: Annotated[dict[str, ConditionConfig], Help("Conditions besides age, by column")] = field(
        default_factory=dict
    )
    normalisation: Annotated[Literal["percentile", "minmax", "zscore"], Help("How intensities are scaled")] = (
        "percentile"
    )
    mask: Annotated[bool, Help("Set intensities outside the labels to zero")] = True
    halo: Annotated[float, Range(0, 50), Unit("mm"), Help("Width of the background margin around the brain")] = 4.0
    box: Annotated[
        tuple[float, float, float] | None,
        Range(1),
        Unit("mm"),
        Help("Sides of the atlas box; from the cohort when not given"),
    ] = None
    background: Annotated[str | None, Help("Label of the margin; the one of value 0 when not given")] = None


@dataclass(frozen=True)
class NetworkConfig(Config):
    """Sizes of the decoder; see :class:`NeuroGenLib.atlas.network.DecoderConfig`."""

    latent_channels: Annotated[int, Range(1, 4096), Help("Length of each latent vector")] = 64
    latent_grid: Annotated[tuple[int, int, int], Range(1, 64), Help("Latent vectors along x, y, z")] = (3, 3, 3)
    latent_kernel: Annotated[int, Range(0, 15), Help("Side of the convolution over the latent grid, 0 for none")] = 0
    hidden: Annotated[int, Range(1, 8192), Help("Width of the sine layers")] = 256
    layers: Annotated[int, Range(1, 64), Help("Sine layers after the first")] = 3
    modulated: Annotated[
        tuple[int, ...], Range(0, 64), Help("Sine layers that the latents modulate, 0 is the first")
    ] = (
        1,
        3,
    )
    omega: Annotated[
        tuple[float, float], Range(0, exclusive_low=True), Help("Frequency of the first and the other layers")
    ] = (
        30.0,
        30.0,
    )
    centred: Annotated[bool, Help("Start modulated layers as plain sine layers (scale 1); off as published")] = True


@dataclass(frozen=True)
class OptimiserConfig(Config):
    """What is minimised, and how."""

    points: Annotated[int, Range(1), Help("Points per step, shared by the subjects of the step")] = 12_000
    subjects_per_step: Annotated[int | None, Range(1), Help("Subjects per step; all when not given")] = None
    outside: Annotated[float, Range(0, 0.9), Help("Share of points far outside the brain")] = 0.05
    rate: Annotated[float, Range(0, 1), Help("Learning rate of the network")] = 5e-4
    latent_rate: Annotated[float, Range(0, 1), Help("Learning rate of the latents")] = 2e-3
    transform_rate: Annotated[float, Range(0, 1), Help("Learning rate of the transforms")] = 2e-3
    weight_decay: Annotated[float, Range(0, 1), Help("Weight decay of the network")] = 0.0
    latent_decay: Annotated[float, Range(0, 1), Help("Weight decay of the latents")] = 0.0
    transform_decay: Annotated[float, Range(0, 1), Help("Weight decay of the transforms")] = 0.0
    schedule: Annotated[Literal["cosine", "constant"], Help("How the rates change over the run")] = "cosine"
    floor: Annotated[float, Range(0, 1), Help("Last rate of the cosine as a share of the first")] = 0.02
    loss: Annotated[Literal["l1", "mse"], Help("Loss of the intensities")] = "l1"
    segmentation_weight: Annotated[float, Range(0), Help("Weight of the label loss")] = 1.0
    class_weights: Annotated[
        dict[str, float], Range(0), Help("Weight of a label in its loss, by name; 1 when not named")
    ] = field(default_factory=dict)
    transform_weight: Annotated[float, Range(0), Help("Penalty on the transforms' squares")] = 0.0
    latent_weight: Annotated[float, Range(0), Help("Penalty on the latents' squares")] = 0.0
    smoothness_weight: Annotated[
        float,
        Range(0),
        Help("Penalty on latents unlike what the other subjects lead to expect at that age and condition"),
    ] = 0.0
    transform: Annotated[
        Literal["none", "rigid", "rigid+scale", "affine"], Help("Transform that each subject learns")
    ] = "rigid"
    latent_spread: Annotated[float, Range(0), Help("Standard deviation of the first latents")] = 0.01


@dataclass(frozen=True)
class ChanceConfig(Config):
    """What all augmentations have: how often they happen."""

    probability: Annotated[
        float, Range(0, 1), Help("Chance of every subject in every step; 0 is off, the published program has 0.3")
    ] = 0.0


@dataclass(frozen=True)
class DeformationConfig(ChanceConfig):
    """A smooth random displacement of where points lie; intensity and class move with the point."""

    control_points: Annotated[int, Range(4, 32), Help("Control points of the cubic B-spline along each side")] = 7
    displacement: Annotated[
        float,
        Range(0, 50),
        Unit("mm"),
        Help("Largest displacement along each axis; anatomy folds from 0.4 of the distance of control points on"),
    ] = 7.5


@dataclass(frozen=True)
class MotionConfig(ChanceConfig):
    """Head motion during the scan, simulated in k-space; see :mod:`NeuroGenLib.simulate.motion`."""

    rotation: Annotated[float, Range(0, 45), Unit("degrees"), Help("Largest rotation about each axis")] = 5.0
    translation: Annotated[float, Range(0, 50), Unit("mm"), Help("Largest shift along each axis")] = 5.0
    moves: Annotated[int, Range(1, 32), Help("How often the head moves in one scan")] = 4
    variants: Annotated[
        int,
        Range(1, 16),
        Help(
            "Corrupted copies made of each image at every start, of which a step draws one; each takes 4 bytes of"
            " memory per point and modality, and about 4 s for an image of 7 million voxels"
        ),
    ] = 2


@dataclass(frozen=True)
class NoiseConfig(ChanceConfig):
    """Gaussian noise."""

    size: Annotated[
        float, Range(0, 1), Help("Largest standard deviation, as a share of the subject's intensity range")
    ] = 0.05


@dataclass(frozen=True)
class BiasConfig(ChanceConfig):
    """A smooth factor on the intensities: exp of a cubic polynomial without constant, positions from -1 to 1."""

    coefficient: Annotated[float, Range(0, 5), Help("Largest coefficient of the polynomial")] = 1.0


@dataclass(frozen=True)
class GammaConfig(ChanceConfig):
    """A change of contrast: intensities from 0 to 1, to the power of gamma."""

    log_gamma: Annotated[float, Range(0, 3), Help("Largest natural logarithm of gamma, to either side of 0")] = 0.4


@dataclass(frozen=True)
class AugmentationConfig(Config):
    """Random changes of the training points, all off unless asked for; not used in the publication."""

    deformation: DeformationConfig = field(default_factory=DeformationConfig)
    motion: MotionConfig = field(default_factory=MotionConfig)
    noise: NoiseConfig = field(default_factory=NoiseConfig)
    bias: BiasConfig = field(default_factory=BiasConfig)
    gamma: GammaConfig = field(default_factory=GammaConfig)


Spacing: TypeAlias = Annotated[
    float | tuple[float, float, float],
    Range(0, exclusive_low=True),
    Unit("mm"),
    Help("Voxel size, one number or x,y,z"),
    Option(metavar="MM"),
]


Bandwidth: TypeAlias = Annotated[
    float | None,
    Range(0, exclusive_low=True),
    Help("Kernel width of the age regression, in the unit of age; the model's when not given"),
    Option(metavar="B"),
]
Regression: TypeAlias = Annotated[
    Method | None,
    Help("How the subjects' latents are averaged; local-linear when not given, gaussian with reference-compat"),
]


@dataclass(frozen=True, kw_only=True)
class RenderConfig(Config):
    """How brains of an atlas are rendered, at any age and condition.

    Raises
    ------
    InputError
        When growth or a box is asked for as published, or the box is empty.

    Examples
    --------
    >>> RenderConfig(spacing=(1, 1, 2)).steps
    (1.0, 1.0, 2.0)
    """

    spacing: Spacing = 1.0
    box: Annotated[
        tuple[float, float, float, float, float, float] | None,
        Unit("mm"),
        Help("Bounds around the atlas centre; the model's box when not given"),
        Option(metavar="X0,X1,Y0,Y1,Z0,Z1"),
    ] = None
    masked: Annotated[
        bool, Help("Zero outside the brain and its margin; --no-mask keeps what lies there"), Option("mask")
    ] = True
    growth: Annotated[bool, Help("Also how fast images and tissues change, per week or year")] = False
    bandwidth: Bandwidth = None
    regression: Regression = None
    reference_compat: Annotated[bool, Help("As the published program renders, defects included")] = False

    def check(self) -> None:
        """Refuse what the published program does not have, and an empty box."""
        if self.reference_compat and self.growth:
            raise InputError(
                "The published program has no growth maps.",
                "Leave out --growth or --reference-compat.",
                code="value-conflict",
            )
        if self.reference_compat and self.box is not None:
            raise InputError(
                "The published grid fills the model's box.",
                "Leave out --box or --reference-compat.",
                code="value-conflict",
            )
        if self.box is not None and any(low >= high for low, high in zip(self.box[0::2], self.box[1::2], strict=True)):
            raise InputError(
                f"The box {self.box} is not x0, x1, y0, y1, z0, z1 in mm with x0 < x1.",
                "Give six numbers.",
                code="value-invalid",
            )

    @property
    def steps(self) -> tuple[float, float, float]:
        """The spacing along x, y and z, mm."""
        return self.spacing if isinstance(self.spacing, tuple) else (self.spacing,) * 3

    @property
    def method(self) -> Method:
        """The age regression that is used."""
        return self.regression or ("gaussian" if self.reference_compat else "local-linear")


@dataclass(frozen=True, kw_only=True)
class GenerateConfig(RenderConfig):
    """One brain of an atlas: of an age and of one value for each condition.

    Examples
    --------
    >>> GenerateConfig(age=30.2, conditions={"lv_volume_normed": 0.12}, growth=True).method
    'local-linear'
    """

    age: Annotated[float, Help("In the model's unit; beyond the trained range with a warning")]
    conditions: Annotated[
        dict[str, str | float],
        Help("Values by name, in table units; the middle of its range, with a warning, where one is not given"),
    ] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class SeriesConfig(RenderConfig):
    """Brains of an atlas, of every age for every combination of condition values.

    Examples
    --------
    >>> config = SeriesConfig(ages=(25, 30), conditions={"sex": ["F", "M"]})
    >>> config.combinations()
    [{'sex': 'F'}, {'sex': 'M'}]
    >>> config.brain(25, {"sex": "M"}).conditions
    {'sex': 'M'}
    """

    ages: Annotated[
        tuple[float, ...], Help("Ages from A to B, both included, in the model's unit"), Option(metavar="A:B:STEP")
    ]
    conditions: Annotated[
        dict[str, tuple[str | float, ...]],
        Help("A condition; several values make several atlases"),
        Option("set", "NAME=VALUE[,VALUE...]"),
    ] = field(default_factory=dict)
    certainty: Annotated[bool, Help("Also the probabilities of every label as a file")] = False

    def check(self) -> None:
        """Demand an age."""
        super().check()
        if not self.ages:
            raise InputError("A series needs at least one age.", "Give 'ages'.", code="value-missing")

    def combinations(self) -> list[dict[str, str | float]]:
        """Return every combination of condition values, the first name slowest."""
        return [
            dict(zip(self.conditions, values, strict=True)) for values in itertools.product(*self.conditions.values())
        ]

    def brain(self, age: float, conditions: Mapping[str, str | float]) -> GenerateConfig:
        """Return what renders one of the brains."""
        shared = {parameter.name: getattr(self, parameter.name) for parameter in fields(RenderConfig)}
        return GenerateConfig(age=age, conditions=dict(conditions), **shared)


@dataclass(frozen=True, kw_only=True)
class SubjectConfig(Config):
    """What is known of a subject before the atlas is fitted to it.

    Examples
    --------
    >>> SubjectConfig(age=27.4, conditions={"lv_volume_normed": 0.13}).age
    27.4
    """

    age: Annotated[
        float | None,
        Help("The subject's age where it is known, in the model's unit: deviations are against it"),
        Option(metavar="A"),
    ] = None
    conditions: Annotated[
        dict[str, str | float], Help("A known condition; the others are found from the image"), Option("set")
    ] = field(default_factory=dict)


@dataclass(frozen=True)
class FitConfig(Config):
    """How an atlas is fitted to a scan.

    Examples
    --------
    >>> FitConfig(steps=50).points
    4000
    """

    steps: Annotated[int, Range(1, 100_000), Help("Gradient steps on the latents")] = 300
    points: Annotated[int, Range(1), Help("Points per step")] = 4000
    outside: Annotated[float, Range(0, 0.9), Help("Share of points far outside the brain")] = 0.05
    latent_rate: Annotated[float, Range(0, 1), Help("Learning rate of the latents")] = 0.01
    pose_rate: Annotated[float, Range(0, 1), Help("Learning rate of the pose")] = 0.01
    segmentation_weight: Annotated[float, Range(0), Help("Weight of the label loss, where labels are given")] = 1.0
    seed: Annotated[int, Range(0), Help("Seed of the sampled points")] = 0


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig(Config):
    """How an atlas is compared with subjects held out of its training.

    Examples
    --------
    >>> EvaluateConfig(fit=FitConfig(steps=50)).segmentation
    'Seg'
    """

    segmentation: Annotated[str, Help("Column with the label maps"), Option(metavar="NAME")] = "Seg"
    fitted: Annotated[bool, Help("Compare the atlas alone, fit nothing"), Option("fit")] = True
    fit: FitConfig = field(default_factory=FitConfig)
    regression: Regression = None
    bandwidth: Bandwidth = None
    volumes: Annotated[bool, Help("Also each subject's fit, in a folder of its name")] = False
    picture: PictureConfig = PICTURE


@dataclass(frozen=True)
class ValidationConfig(Config):
    """Validation while the atlas is trained: fits to held-out subjects."""

    every: Annotated[
        int | None, Range(1), Unit("steps"), Help("Steps between two validations; none when not given")
    ] = None
    split: Annotated[str, Help("Which split of data.splits to fit")] = "val"
    subjects: Annotated[tuple[str, ...], Help("Ids to fit instead of a split; they must not be trained on")] = ()
    most: Annotated[int, Range(1), Help("Largest number of subjects to fit, spread over age")] = 4
    steps: Annotated[int, Range(1), Help("Gradient steps of each fit")] = 150
    trained: Annotated[int, Range(0), Help("Number of training subjects to reconstruct too, spread over age")] = 3
    volumes: Annotated[bool, Help("Keep the reconstructions and label maps")] = True


@dataclass(frozen=True, kw_only=True)
class AtlasTrainConfig(TrainJobConfig):
    """Everything a training run of the atlas needs."""

    unshared: ClassVar = ("validation", "bandwidth", "reference_compat")

    data: DataConfig
    network: NetworkConfig = field(default_factory=NetworkConfig)
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    validation: ValidationConfig = field(default_factory=ValidationConfig)
    name: Annotated[str, Help("Name of the model")] = "atlas"
    bandwidth: Annotated[
        float | None, Range(0, exclusive_low=True), Help("Kernel width of the age regression, in the unit of age")
    ] = None
    reference_compat: Annotated[
        bool,
        Help("Train as the published code does: label weight squared, Euler angles in box units, margin in voxels"),
    ] = False
