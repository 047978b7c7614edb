"""Parameters of the atlas: how it is trained and what is generated from it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from NeuroGenLib.cohort.subjects import BinaryConstraint, CategoricConstraint, NumericConstraint
from NeuroGenLib.core.config import Config, Help, Identifying, Range, Unit
from NeuroGenLib.core.errors import InputError
from NeuroGenLib.training.settings import TrainJobConfig

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
                "Give the range the right way.",
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
    exclude: Annotated[tuple[str, ...], Identifying(), Help("Subject ids to leave out, * allowed")] = ()
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
    halo: Annotated[float, Range(0, 50), Unit("mm"), Help("Width of the background rim around the brain")] = 4.0
    box: Annotated[
        tuple[float, float, float] | None,
        Range(1),
        Unit("mm"),
        Help("Sides of the atlas box; from the cohort when not given"),
    ] = None
    background: Annotated[str | None, Help("Label that the rim gets; the one of value 0 when not given")] = None


@dataclass(frozen=True)
class NetworkConfig(Config):
    """Sizes of the decoder; see :class:`NeuroGenLib.atlas.network.Shape`."""

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

    rotation: Annotated[float, Range(0, 45), Unit("degrees"), Help("Largest turn about each axis")] = 5.0
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


@dataclass(frozen=True)
class FitConfig(Config):
    """How the atlas is fitted to a scan that it has not seen."""

    steps: Annotated[int, Range(1, 100_000), Help("Gradient steps on the latents")] = 300
    points: Annotated[int, Range(1), Help("Points per step")] = 4000
    outside: Annotated[float, Range(0, 0.9), Help("Share of points far outside the brain")] = 0.05
    latent_rate: Annotated[float, Range(0, 1), Help("Learning rate of the latents")] = 0.01
    pose_rate: Annotated[float, Range(0, 1), Help("Learning rate of the pose")] = 0.01
    segmentation_weight: Annotated[float, Range(0), Help("Weight of the label loss, where labels are given")] = 1.0
    seed: Annotated[int, Range(0), Help("Draws the points")] = 0


@dataclass(frozen=True)
class ValidationConfig(Config):
    """What is looked at while the atlas is trained: fits to subjects it does not train on."""

    every: Annotated[
        int | None, Range(1), Unit("steps"), Help("Validate every so many steps; never when not given")
    ] = None
    split: Annotated[str, Help("Which split of data.splits to fit")] = "val"
    subjects: Annotated[tuple[str, ...], Help("Ids to fit instead of a split; they must not be trained on")] = ()
    most: Annotated[int, Range(1), Help("Fit at most so many subjects, spread over age")] = 4
    steps: Annotated[int, Range(1), Help("Gradient steps of each fit")] = 150
    trained: Annotated[int, Range(0), Help("Also reconstruct so many training subjects, spread over age")] = 3
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
        bool, Help("Train as the published code does: label weight squared, Euler angles in box units, rim in voxels")
    ] = False
