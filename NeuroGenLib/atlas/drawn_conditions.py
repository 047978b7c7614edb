"""Conditions that say what share of the brain a tissue has: measured on a brain that was rendered for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from NeuroGenLib.atlas.growth.volumes import subject_volume, tissue_volumes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from NeuroGenLib.atlas.brain import AtlasBrain
    from NeuroGenLib.atlas.trained import TrainedAtlas

COARSEST_MM = 3.0
"""Larger voxels do not tell a share: the bundled atlas's ventricles change by a tenth from 3 to 4 mm."""
NOTICED = 0.1
"""Share of a condition's trained range from which on a difference is said: as near as a neighbour must be."""

_SAME = 0.01
"""Share of a condition's range by which the tables of training subjects may round it."""


def tissue_shares(model: TrainedAtlas) -> dict[str, str]:
    """Return the tissue whose share of the brain a condition is, by name of the condition.

    It is found in the training subjects, all of whose volumes must agree with their conditions.
    """
    shares = {}
    tissues = [name for index, name in enumerate(model.labels.names) if index not in model.background]
    for condition in model.conditions:
        if condition.kind != "numeric":
            continue
        values = np.array([condition.number(subject["conditions"][condition.name]) for subject in model.subjects])
        for tissue in tissues:
            pairs = [(subject_volume(subject, tissue), subject_volume(subject, "total")) for subject in model.subjects]
            measured = np.array([part / whole if part is not None and whole else np.nan for part, whole in pairs])
            if (np.abs(measured - values) <= _SAME * (condition.maximum - condition.minimum)).all():
                shares[condition.name] = tissue
    return shares


def drawn_conditions(model: TrainedAtlas, brain: AtlasBrain) -> dict[str, float]:
    """Return what a brain has of each condition that is a tissue's share; none where its voxels are too coarse."""
    shares = tissue_shares(model)
    if not shares or max(brain.labels.spacing) > COARSEST_MM:
        return {}
    volumes = tissue_volumes(model, brain.labels)
    return {name: volumes[tissue] / volumes["total"] for name, tissue in shares.items() if volumes["total"]}


def drawn_warnings(model: TrainedAtlas, brain: AtlasBrain, drawn: Mapping[str, float]) -> list[str]:
    """Return a sentence for each condition of which a brain has another value than it was rendered for."""
    sentences = []
    for condition in model.conditions:
        asked = brain.conditions[condition.name]
        if condition.name not in drawn or not isinstance(asked, float):
            continue
        if abs(drawn[condition.name] - asked) > NOTICED * (condition.maximum - condition.minimum):
            sentences.append(
                f"{condition.name} of the rendered brain is {drawn[condition.name]:.3g}, not the {asked:.3g} asked for:"
                f" training subjects near {model.age_name} {brain.age:g} do not reach it."
            )
    return sentences
