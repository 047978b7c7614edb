"""Estimates of the atlas jobs: seconds as measured on this machine, and bytes."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from NeuroGenLib.core.config import from_mapping
from NeuroGenLib.worker.jobs.atlas_arguments import (
    AtlasArguments,
    FitArguments,
    GenerateArguments,
    SequenceArguments,
    SlicesArguments,
    atlas_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from NeuroGenLib.atlas.infer import AtlasModel
    from NeuroGenLib.worker.context import Context
    from NeuroGenLib.worker.jobs.arguments import ModelArguments
    from NeuroGenLib.worker.jobs.estimate import Estimate

COSTS: Final = {"slices": 1.0, "brain": 1.0, "growth": 8.0, "fit": 30_000.0}
"""Time of a unit of work (a voxel of the planes, of a brain, of a brain with its growth, a step of a fit) where it was
not measured yet, as a multiple of a brain's voxel."""

FIT_SEARCH_STEPS: Final = 350
"""The search before a fit takes about as long as this number of its steps."""

PROBE_MM: Final = 4.0
"""Voxel size of the brain that is rendered to measure how fast this machine is."""


def estimate(kind: type[AtlasArguments], arguments: dict[str, Any], context: Context) -> Estimate:
    """``estimate`` of an atlas job, a fit's without its volumes.

    As long as none has run here, a coarse brain is rendered once to measure the machine's speed.
    """
    asked = from_mapping(kind, arguments)
    model = atlas_of(asked, context)
    work = _work(model, asked)
    rates = {what: context.rates.seconds_per_unit(_key(what, asked)) for what in work}
    guessed = None in rates.values()
    probe = _probe(model, asked, context) if guessed else 0.0
    seconds = sum(units * (rates[what] or COSTS[what] * probe) for what, units in work.items())
    memory, disk = _space(model, asked)
    return {"seconds": seconds, "memory_bytes": memory, "scratch_bytes": disk, "measured": not guessed}


def _key(what: str, asked: ModelArguments) -> tuple[str, ...]:
    return what, asked.model, asked.device


@contextmanager
def measured(context: Context, model: AtlasModel, asked: AtlasArguments, what: str) -> Iterator[None]:
    """Measure a block that renders one frame, or fits one scan."""
    with context.rates.measured(_key(what, asked), _work(model, asked)[what] / _frames(asked)):
        yield


def render_unit(asked: GenerateArguments | SequenceArguments) -> str:
    """Return the name in :data:`COSTS` of a rendered voxel."""
    return "growth" if asked.growth else "brain"


def _frames(asked: AtlasArguments) -> int:
    return len(asked.ages) if isinstance(asked, SequenceArguments) else 1


def _voxels(model: AtlasModel, asked: SlicesArguments | GenerateArguments | SequenceArguments) -> int:
    """Return the voxels of one frame."""
    grid = model.grid(asked.steps, asked.box)
    if not isinstance(asked, SlicesArguments):
        return grid.size
    x, y, z = grid.shape
    return x * y + y * z + z * x


def _work(model: AtlasModel, asked: AtlasArguments) -> dict[str, int]:
    """Return the work of a job, in the units of :data:`COSTS`."""
    if isinstance(asked, FitArguments):
        return {"fit": FIT_SEARCH_STEPS + asked.settings.steps}
    unit = "slices" if isinstance(asked, SlicesArguments) else render_unit(asked)
    return {unit: _voxels(model, asked) * _frames(asked)}


def _space(model: AtlasModel, asked: AtlasArguments) -> tuple[int | None, int | None]:
    """Return the bytes that a job takes in memory, and its result in the scratch folder; None where that is unknown."""
    if isinstance(asked, FitArguments):
        return None, None
    voxels = _voxels(model, asked)
    # At the worst moment: outputs, their softmax and the volumes, each of four bytes, and a few indices.
    memory = voxels * (16 * (len(model.modalities) + len(model.labels)) + 48)
    maps = len(model.modalities) + (asked.certainty is not None) + len(model.labels) * asked.probabilities
    kept = 4 * maps * (1 + asked.growth) + 1  # a byte for the label, which growth does not have
    return memory, voxels * _frames(asked) * kept


def _probe(model: AtlasModel, asked: ModelArguments, context: Context) -> float:
    """Return the seconds that a voxel takes: of brains rendered before, else of a coarse one, rendered once."""
    known = context.rates.seconds_per_unit(_key("brain", asked))
    if known is not None:
        return known
    key, age, steps = _key("probe", asked), float(np.median(model.ages)), (PROBE_MM,) * 3
    if context.rates.seconds_per_unit(key) is None:
        model.generate(age, spacing=2 * PROBE_MM)  # the first brain also loads libraries
        with context.rates.measured(key, model.grid(steps).size):
            model.generate(age, spacing=steps, progress=context.progress)
    return context.rates.seconds_per_unit(key) or 0.0
