"""What an atlas job will take: seconds as measured on this machine, and bytes."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from NeuroGenLib.core.config import from_mapping
from NeuroGenLib.worker.jobs.atlas_arguments import (
    Asked,
    BrainArguments,
    FitArguments,
    SequenceArguments,
    SlicesArguments,
    VolumeArguments,
    asked_atlas,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from NeuroGenLib.atlas.infer import AtlasModel
    from NeuroGenLib.worker.context import Context
    from NeuroGenLib.worker.jobs.arguments import ModelArguments
    from NeuroGenLib.worker.jobs.estimate import Estimate

COSTS: Final = {"slices": 1.0, "draw": 1.0, "growth": 7.0, "fit": 30_000.0}
"""How long a unit of work (a voxel of the planes, of a brain or of its growth, a step of a fit) takes where it was not
measured yet, as a multiple of a drawn voxel."""

FIT_SEARCH_STEPS: Final = 350
"""The search before a fit takes about as long as so many of its steps."""

PROBE_MM: Final = 4.0
"""Voxel size of the brain that is drawn to learn how fast this machine is."""


def estimate(kind: type[Asked], arguments: dict[str, Any], context: Context) -> Estimate:
    """``estimate`` of an atlas job, a fit's without its volumes.

    As long as none has run here, a coarse brain is rendered once to measure the machine's speed.
    """
    wanted = from_mapping(kind, arguments)
    model = asked_atlas(wanted, context)
    work = _work(model, wanted)
    rates = {what: context.rates.seconds_per_unit(_key(what, wanted)) for what in work}
    guessed = None in rates.values()
    probe = _probe(model, wanted, context) if guessed else 0.0
    seconds = sum(units * (rates[what] or COSTS[what] * probe) for what, units in work.items())
    memory, disk = _space(model, wanted)
    return {"seconds": seconds, "memory_bytes": memory, "scratch_bytes": disk, "measured": not guessed}


def _key(what: str, wanted: ModelArguments) -> tuple[str, ...]:
    return what, wanted.model, wanted.device


@contextmanager
def measured(context: Context, model: AtlasModel, wanted: Asked, what: str) -> Iterator[None]:
    """Measure a block that draws one frame, or fits one scan."""
    with context.rates.measured(_key(what, wanted), _work(model, wanted)[what] / _frames(wanted)):
        yield


def _frames(wanted: Asked) -> int:
    return len(wanted.ages) if isinstance(wanted, SequenceArguments) else 1


def _voxels(model: AtlasModel, wanted: BrainArguments) -> int:
    """Return the voxels of one frame."""
    if isinstance(wanted, VolumeArguments):
        return model.grid(wanted.steps, wanted.box).size
    x, y, z = model.grid(wanted.steps).shape
    return x * y + y * z + z * x


def _work(model: AtlasModel, wanted: Asked) -> dict[str, int]:
    """Return what a job does, in the units of :data:`COSTS`."""
    if isinstance(wanted, FitArguments):
        return {"fit": FIT_SEARCH_STEPS + wanted.settings.steps}
    voxels = _voxels(model, wanted) * _frames(wanted)
    if isinstance(wanted, SlicesArguments):
        return {"slices": voxels}
    return {"draw": voxels, "growth": voxels} if wanted.growth else {"draw": voxels}


def _space(model: AtlasModel, wanted: Asked) -> tuple[int | None, int | None]:
    """Return the bytes that a job takes in memory, and its result in the scratch folder; None where that is unknown."""
    if isinstance(wanted, FitArguments):
        return None, None
    voxels, work = _voxels(model, wanted), _work(model, wanted)
    # At the worst moment: outputs, their softmax and the volumes, each of four bytes, and a few indices.
    memory = voxels * (16 * (len(model.modalities) + len(model.labels)) + 48)
    everything = isinstance(wanted, VolumeArguments) and wanted.probabilities
    maps = len(model.modalities) + (wanted.certainty is not None) + (len(model.labels) if everything else 0)
    kept = sum(4 * maps + (what != "growth") for what in work)  # a byte for the label, which growth has not
    return memory, voxels * _frames(wanted) * kept


def _probe(model: AtlasModel, wanted: ModelArguments, context: Context) -> float:
    """Return the seconds that a voxel takes: of brains drawn before, else of a coarse one, drawn once."""
    known = context.rates.seconds_per_unit(_key("draw", wanted))
    if known is not None:
        return known
    key, age, steps = _key("probe", wanted), float(np.median(model.ages)), (PROBE_MM,) * 3
    if context.rates.seconds_per_unit(key) is None:
        model.generate(age, spacing=2 * PROBE_MM)  # the first brain also loads libraries
        with context.rates.measured(key, model.grid(steps).size):
            model.generate(age, spacing=steps, progress=context.progress)
    return context.rates.seconds_per_unit(key) or 0.0
