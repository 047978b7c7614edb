"""What an atlas job will take: seconds as measured on this machine, and bytes."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from NeuroGenLib.core.config import from_mapping
from NeuroGenLib.core.errors import InputError, nearest
from NeuroGenLib.worker.jobs.atlas_arguments import (
    Asked,
    BrainArguments,
    FitArguments,
    GenerateArguments,
    ModelArguments,
    SequenceArguments,
    SlicesArguments,
    VolumeArguments,
    asked_atlas,
    group,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from NeuroGenLib.atlas.infer import AtlasModel
    from NeuroGenLib.worker.context import Context

COSTS: Final = {"slices": 1.0, "draw": 1.0, "growth": 7.0, "fit": 30_000.0}
"""How long a unit of work (a voxel of the planes, of a brain or of its growth, a step of a fit) takes where it was not
measured yet, as a multiple of a drawn voxel."""

FIT_SEARCH_STEPS: Final = 350
"""The search before a fit takes about as long as so many of its steps."""

PROBE_MM: Final = 4.0
"""Voxel size of the brain that is drawn to learn how fast this machine is."""


def estimate_job(arguments: dict[str, Any], context: Context) -> dict[str, Any]:
    """``estimate``: what another job will take.

    Parameters
    ----------
    arguments:
        ``job`` and its ``arguments`` (a fit's without its volumes).
    context:
        Of the worker.

    Returns
    -------
    dict
        ``seconds``; ``memory_bytes`` beside the model's, None for a fit; ``scratch_bytes`` on disk for the result;
        ``measured``: whether such a job has run here. Else a coarse brain is drawn once to learn the machine's speed.
    """
    given = dict(arguments)
    job, inner = given.pop("job", None), group(given.pop("arguments", {}))
    if given:
        raise InputError(f"An estimate has no setting '{next(iter(given))}'.", "Give 'job' and its 'arguments'.")
    if job not in _ESTIMATED:
        raise InputError(f"There is no estimate of the job '{job}'.", nearest(str(job), _ESTIMATED))
    wanted = from_mapping(_ESTIMATED[job], inner)
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


_ESTIMATED: Final[dict[str, type[Asked]]] = {
    "atlas.slices": SlicesArguments,
    "atlas.generate": GenerateArguments,
    "atlas.sequence": SequenceArguments,
    "atlas.fit": FitArguments,
}
