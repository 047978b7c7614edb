"""A brain rendered from an atlas."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from NeuroGenLib.spatial.volume import Volume

if TYPE_CHECKING:
    import numpy as np

    from NeuroGenLib.atlas.growth.maps import AtlasGrowth
    from NeuroGenLib.atlas.regression import SubjectWeights


@dataclass(frozen=True)
class AtlasBrain:
    """One brain of an atlas; all volumes share one grid, whose world origin is the atlas centre.

    Attributes
    ----------
    images:
        One volume per modality, in the model's units.
    labels:
        Label values of the model's table.
    probabilities:
        (classes, i, j, k), in the order of the model's label table; they sum to one.
    age, conditions:
        Those of the brain, in table units.
    weights:
        Weight of each training subject.
    warnings:
        What a person should know about this result.
    growth:
        How fast it changes, where that was asked for.
    drawn:
        What the whole brain has of the conditions that are a tissue's share of it.
    """

    images: dict[str, Volume]
    labels: Volume
    probabilities: Volume
    age: float
    conditions: dict[str, float | str]
    weights: SubjectWeights
    warnings: list[str] = field(default_factory=list)
    growth: AtlasGrowth | None = None
    drawn: dict[str, float] = field(default_factory=dict)

    @property
    def image(self) -> Volume:
        """The first modality."""
        return next(iter(self.images.values()))

    def moved_to(self, centre: np.ndarray) -> AtlasBrain:
        """Return this brain with its origin at ``centre`` (RAS mm)."""

        def at(volume: Volume) -> Volume:
            affine = volume.affine.copy()
            affine[:3, 3] += centre
            return Volume(volume.array, affine)

        images = {name: at(volume) for name, volume in self.images.items()}
        return replace(self, images=images, labels=at(self.labels), probabilities=at(self.probabilities))
