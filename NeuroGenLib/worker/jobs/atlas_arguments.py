"""What the atlas jobs are asked, typed and checked, and the model they ask."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

import numpy as np

from NeuroGenLib.atlas.config import FitConfig
from NeuroGenLib.atlas.infer import AtlasModel
from NeuroGenLib.core.config import Help, Range, Unit
from NeuroGenLib.core.errors import InputError
from NeuroGenLib.worker.jobs.arguments import ModelArguments

if TYPE_CHECKING:
    from NeuroGenLib.worker.context import Context


@dataclass(frozen=True, kw_only=True)
class BrainArguments(ModelArguments):
    """What all drawings of an atlas have in common; as for :meth:`AtlasModel.generate`."""

    conditions: Annotated[dict[str, float | str], Help("Values by name, in table units")] = field(default_factory=dict)
    spacing: Annotated[float | tuple[float, float, float], Range(0, exclusive_low=True), Unit("mm")] = 1.0
    masked: Annotated[bool, Help("Zero outside the brain and its rim")] = True
    bandwidth: Annotated[float | None, Range(0, exclusive_low=True), Help("Of the age regression")] = None
    certainty: Annotated[str | None, Help("Also the probability of the label of this name")] = None

    @property
    def steps(self) -> tuple[float, float, float]:
        """The spacing along x, y and z, mm."""
        x, y, z = (float(step) for step in np.broadcast_to(np.asarray(self.spacing), (3,)))
        return x, y, z


@dataclass(frozen=True, kw_only=True)
class SlicesArguments(BrainArguments):
    """Of ``atlas.slices``."""

    age: Annotated[float, Help("In the model's unit")]
    point: Annotated[tuple[float, float, float], Unit("mm"), Help("From the atlas centre")] = (0.0, 0.0, 0.0)


@dataclass(frozen=True, kw_only=True)
class VolumeArguments(BrainArguments):
    """What ``atlas.generate`` and ``atlas.sequence`` have in common."""

    box: Annotated[tuple[float, float, float, float, float, float] | None, Unit("mm")] = None
    regression: Literal["local-linear", "gaussian"] | None = None
    reference_compat: Annotated[bool, Help("As the published code draws")] = False
    probabilities: Annotated[bool, Help("Also the probabilities of all labels")] = False
    growth: Annotated[bool, Help("Also the growth maps")] = False

    def check(self) -> None:
        """Refuse growth as published."""
        if self.growth and self.reference_compat:
            raise InputError("The published program has no growth maps.", "Leave out growth or reference_compat.")


@dataclass(frozen=True, kw_only=True)
class GenerateArguments(VolumeArguments):
    """Of ``atlas.generate``."""

    age: Annotated[float, Help("In the model's unit")]


@dataclass(frozen=True, kw_only=True)
class SequenceArguments(VolumeArguments):
    """Of ``atlas.sequence``."""

    ages: Annotated[tuple[float, ...], Help("In the model's unit")]

    def check(self) -> None:
        """Demand an age."""
        super().check()
        if not self.ages:
            raise InputError("A sequence needs at least one age.", "Give 'ages'.")


@dataclass(frozen=True, kw_only=True)
class FitArguments(ModelArguments):
    """Of ``atlas.fit``, but for its volumes."""

    age: Annotated[float | None, Help("In the model's unit, where it is known")] = None
    conditions: Annotated[dict[str, float | str], Help("Known values, in table units")] = field(default_factory=dict)
    settings: FitConfig = field(default_factory=FitConfig)


Asked: TypeAlias = SlicesArguments | GenerateArguments | SequenceArguments | FitArguments


def asked_atlas(arguments: ModelArguments, context: Context) -> AtlasModel:
    """Return the atlas that was asked, opened when it is not.

    Raises
    ------
    InputError
        When the model is no atlas, or has no label of the name whose certainty was asked for.
    """
    model = context.models.get(arguments.model, arguments.device, context.progress.part(0, 0.02), AtlasModel)
    if isinstance(arguments, BrainArguments) and arguments.certainty is not None:
        model.labels.lookup(arguments.certainty)
    return model
