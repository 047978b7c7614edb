"""Model card of an atlas, from its manifest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from NeuroGenLib.atlas.conditions import Condition
from NeuroGenLib.models.card import MAKING, rendered_card

if TYPE_CHECKING:
    from collections.abc import Mapping


def model_card(manifest: Mapping[str, Any]) -> str:
    """Return the card in Markdown, with the front matter that model hubs read."""
    age = manifest["age"]
    conditions = [Condition.from_manifest(entry) for entry in manifest["conditions"]]
    rows = [
        ("Age", f"`{age['name']}`, {age['range'][0]:g} to {age['range'][1]:g} {age['unit']}"),
        *((f"Condition `{one.name}`", one.describe()) for one in conditions),
        ("Images", ", ".join(manifest["modalities"])),
        ("Labels", ", ".join(entry["name"] for entry in manifest["labels"].values())),
        ("Subjects", str(len(manifest["subjects"]))),
        ("Box", " x ".join(f"{side:g}" for side in manifest["preparation"]["box"]) + " mm"),
        ("Training", _steps(manifest["training"])),
    ]
    return rendered_card(manifest, "atlas", rows, making=MAKING)


def _steps(training: Mapping[str, Any]) -> str:
    config = training.get("config") or {}
    started = config.get("train", {}).get("init_from")
    length = f"{training['epochs']} epochs" if training.get("steps") is None else f"{training['steps']} steps"
    return f"{length}{', from trained weights' if started else ''}"
