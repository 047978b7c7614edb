"""Model card (Markdown) of an atlas."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from NeuroGenLib.atlas.conditions import Condition
from NeuroGenLib.atlas.manifest import AtlasManifest
from NeuroGenLib.models.card import MAKING, rendered_card

if TYPE_CHECKING:
    from collections.abc import Mapping


def model_card(manifest: Mapping[str, Any]) -> str:
    """Return the card in Markdown, with the front matter that model hubs read."""
    atlas = AtlasManifest.read(manifest)
    age, (youngest, oldest) = atlas.age, atlas.age.range
    conditions = [Condition.from_manifest(entry) for entry in atlas.conditions]
    rows = [
        ("Age", f"`{age.name}`, {youngest:g} to {oldest:g} {age.unit}"),
        *((f"Condition `{condition.name}`", condition.describe()) for condition in conditions),
        ("Images", ", ".join(atlas.modalities)),
        ("Labels", ", ".join(entry["name"] for entry in atlas.labels.values())),
        ("Subjects", str(len(atlas.subjects))),
        ("Box", " x ".join(f"{side:g}" for side in atlas.preparation.box) + " mm"),
        ("Training", _steps(atlas.training)),
    ]
    return rendered_card(atlas, "atlas", rows, making=MAKING)


def _steps(training: Mapping[str, Any]) -> str:
    config = training.get("config") or {}
    started = config.get("train", {}).get("init_from")
    length = f"{training['epochs']} epochs" if training.get("steps") is None else f"{training['steps']} steps"
    return f"{length}{', from trained weights' if started else ''}"
