"""Sizes of the registration network: what its manifest says of it, readable without torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from NeuroGenLib.core.config import Config, Help, Range

if TYPE_CHECKING:
    from NeuroGenLib.registration.network.inversion import FixedPoint


@dataclass(frozen=True)
class SITRegConfig(Config):
    """The sizes of a registration network."""

    features: Annotated[tuple[int, ...], Range(1), Help("Feature channels a level, finest level first")]
    feature_convolutions: Annotated[tuple[int, ...], Range(0), Help("Convolutions a level")]
    stage_features: Annotated[
        tuple[int | None, ...],
        Range(1),
        Help("Channels of the stage that turns a level's features into a deformation; null where there is none"),
    ]
    stage_convolutions: Annotated[
        tuple[int | None, ...], Range(0), Help("Convolutions a stage; null where there is none")
    ]
    channels: Annotated[int, Range(1), Help("Channels of each image")] = 1
    factor: Annotated[
        tuple[float, float, float],
        Range(0, exclusive_low=True),
        Help("Voxels of the transform's grid are this many image voxels wide, per axis"),
    ] = (1.0, 1.0, 1.0)
    groups: Annotated[
        int | None, Range(0), Help("Groups of the group normalisation; 0 for instance normalisation, null for none")
    ] = 2
    normalise_stages: Annotated[bool, Help("Also normalise inside the stages")] = False
    negative_slope: Annotated[float, Help("Of the leaky ReLU; 0 is a ReLU")] = 0.0
    bound: Annotated[float, Help("Share of the largest control point that is known to be invertible")] = 0.99
    affine_inputs: Annotated[
        int | None,
        Range(1),
        Help("Voxels of the coarsest level when there is an affine stage, which fixes the size of the images"),
    ] = None
    chained_affine: Annotated[
        bool,
        Help(
            "Hidden layers of the affine stage follow one another; in published checkpoints each reads the input, so"
            " that only the last one counts"
        ),
    ] = True
    skipped_stages: Annotated[
        int,
        Range(0),
        Help(
            "Number of the finest stages that are skipped; the published program skips, and never trains, as many as"
            " there are coarse levels without a stage"
        ),
    ] = 0
    threshold: Annotated[float, Help("Of the fixed-point iteration, in voxels of the transform")] = 1e-2
    most_iterations: Annotated[int, Range(1), Help("Of the fixed-point iteration")] = 50
    memory: Annotated[int, Range(0), Help("Earlier iterates that the fixed-point iteration mixes")] = 4

    @property
    def stages(self) -> tuple[int, ...]:
        """The levels with a stage, finest first."""
        return tuple(level for level, width in enumerate(self.stage_features) if width is not None)

    @property
    def used_stages(self) -> tuple[int, ...]:
        """The levels whose stage counts, coarsest first."""
        return tuple(reversed(self.stages[self.skipped_stages :]))

    @property
    def fixed_point(self) -> FixedPoint:
        """How displacements are inverted."""
        from NeuroGenLib.registration.network.inversion import FixedPoint

        return FixedPoint(threshold=self.threshold, most=self.most_iterations, memory=self.memory)
