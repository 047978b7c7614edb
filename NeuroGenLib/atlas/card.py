"""The card of an atlas: its manifest, told to people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from NeuroGenLib.atlas.conditions import Condition
from NeuroGenLib.core.provenance import RESEARCH_USE

if TYPE_CHECKING:
    from collections.abc import Mapping


_MAKING = ("command", "config_file", "commit", "data")


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
        ("Licence of the weights", manifest["license"]),
    ]
    parts = [
        f"---\nlicense: {manifest['license'].lower()}\nlibrary_name: neurogen\ntags: [neuroimaging, atlas]\n---",
        f"# {manifest['name']}",
        manifest["description"],
        f"**{manifest['notice']}**" if manifest["notice"] else "",
        f"**{RESEARCH_USE}**",
        "## What it is\n\n| | |\n|---|---|\n" + "\n".join(f"| {name} | {text} |" for name, text in rows),
        _metrics(manifest["training"].get("metrics")),
        _making(manifest["training"]),
        "## Cite\n\n" + "\n".join(f"- {entry}" for entry in manifest["citation"]) if manifest["citation"] else "",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _steps(training: Mapping[str, Any]) -> str:
    config = training.get("config") or {}
    started = config.get("train", {}).get("init_from")
    length = f"{training['epochs']} epochs" if training.get("steps") is None else f"{training['steps']} steps"
    return f"{length}{', from trained weights' if started else ''}"


def _metrics(metrics: Mapping[str, Any] | None) -> str:
    if not metrics:
        return ""
    return "## Measured\n\n" + "\n\n".join(f"{part['text']}\n\n{part['table']}" for part in metrics.values())


def _making(training: Mapping[str, Any]) -> str:
    lines = [f"- {name.replace('_', ' ').capitalize()}: `{training[name]}`" for name in _MAKING if training.get(name)]
    return "## How it was made\n\n" + "\n".join(lines) if lines else ""
