"""Result of a brain mask's job: the label map, its measures and its record."""

from __future__ import annotations

from typing import TYPE_CHECKING

from NeuroGenLib.spatial.result import Result

if TYPE_CHECKING:
    from collections.abc import Mapping

    from NeuroGenLib.mask.infer import BrainMask, MaskModel


def mask_result(model: MaskModel, brain: BrainMask, parameters: Mapping[str, object]) -> Result:
    """Return the label map ``mask``, the facts of ``brain`` and the provenance.

    Parameters
    ----------
    model, brain:
        The model and what it found.
    parameters:
        Of the job, for the record.
    """
    certainty = None if brain.confidence is None else round(brain.confidence, 3)
    measures = {"volume_ml": round(brain.volume_ml, 1), "certainty": certainty}
    return Result(
        labels={"mask": brain.mask},
        facts={"brain": measures},
        warnings=brain.warnings,
        record=model.provenance("mask", parameters, brain.warnings, **measures),
    )
