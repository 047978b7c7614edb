"""Arguments of the atlas jobs, typed and checked, and the model that they name."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Annotated, TypeAlias

from NeuroGenLib.atlas.config import FitConfig, GenerateConfig, RenderConfig, SubjectConfig
from NeuroGenLib.atlas.infer import AtlasModel
from NeuroGenLib.core.config import Help, Unit
from NeuroGenLib.core.errors import InputError
from NeuroGenLib.worker.jobs.arguments import ModelArguments

if TYPE_CHECKING:
    from NeuroGenLib.worker.context import Context


@dataclass(frozen=True, kw_only=True)
class ProbabilityArguments(ModelArguments):
    """Which probabilities come with a brain."""

    certainty: Annotated[str | None, Help("Also the probability of the label of this name")] = None
    probabilities: Annotated[bool, Help("Also the probabilities of all labels")] = False


@dataclass(frozen=True, kw_only=True)
class SlicesArguments(ProbabilityArguments, GenerateConfig):
    """Of ``atlas.slices``."""

    point: Annotated[tuple[float, float, float], Unit("mm"), Help("From the atlas centre")] = (0.0, 0.0, 0.0)


@dataclass(frozen=True, kw_only=True)
class GenerateArguments(ProbabilityArguments, GenerateConfig):
    """Of ``atlas.generate``."""


@dataclass(frozen=True, kw_only=True)
class SequenceArguments(ProbabilityArguments, RenderConfig):
    """Of ``atlas.sequence``."""

    ages: Annotated[tuple[float, ...], Help("In the model's unit")]
    conditions: Annotated[dict[str, str | float], Help("Values by name, in table units")] = field(default_factory=dict)

    def check(self) -> None:
        """Demand an age."""
        super().check()
        if not self.ages:
            raise InputError("A sequence needs at least one age.", "Give 'ages'.", code="value-missing")

    def at(self, age: float) -> GenerateArguments:
        """Return the arguments of one of its brains."""
        shared = {
            parameter.name: getattr(self, parameter.name)
            for kind in (ProbabilityArguments, RenderConfig)
            for parameter in fields(kind)
        }
        return GenerateArguments(age=age, conditions=self.conditions, **shared)


@dataclass(frozen=True, kw_only=True)
class FitArguments(ModelArguments, SubjectConfig):
    """Of ``atlas.fit``, but for its volumes."""

    settings: FitConfig = field(default_factory=FitConfig)


AtlasArguments: TypeAlias = SlicesArguments | GenerateArguments | SequenceArguments | FitArguments


def atlas_of(arguments: ModelArguments, context: Context) -> AtlasModel:
    """Return the atlas of a job, opened when it is not.

    Raises
    ------
    InputError
        When the model is not an atlas, or has no label of the name whose probability is asked for.
    """
    model = context.models.get(arguments.model, arguments.device, context.progress.part(0, 0.02), AtlasModel)
    if isinstance(arguments, ProbabilityArguments) and arguments.certainty is not None:
        model.labels.lookup(arguments.certainty)
    return model
