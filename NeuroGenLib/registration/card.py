"""The card of a registration network: its manifest, told to people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from NeuroGenLib.core.provenance import RESEARCH_USE

if TYPE_CHECKING:
    from collections.abc import Mapping

_MAKING = ("command", "config_file", "commit", "data")


def model_card(manifest: Mapping[str, Any]) -> str:
    """Return the card in Markdown, with the front matter that model hubs read."""
    network, preparation, training = (manifest[name] for name in ("network", "preparation", "training"))
    rows = [
        ("Grid", _grid(preparation)),
        ("Intensities", str(preparation.get("normalisation", "as the data set has them"))),
        ("Channels", str(network["channels"])),
        ("Levels", f"{len(network['features'])}, {', '.join(map(str, network['features']))} features"),
        ("Transform", "every " + " x ".join(f"{factor:g}" for factor in network["factor"]) + " voxels"),
        ("Affine stage", "yes" if network["affine_inputs"] is not None else "no"),
        ("Training", _steps(training)),
        ("Licence of the weights", manifest["license"]),
    ]
    licence = str(manifest["license"]).lower()
    parts = [
        f"---\nlicense: {licence}\nlibrary_name: neurogen\ntags: [neuroimaging, image-registration]\n---",
        f"# {manifest['name']}",
        manifest["description"],
        "It registers two images by maps that swap exactly when the images do, whose inverse is given, and that do not"
        " fold by construction.",
        f"**{manifest['notice']}**" if manifest["notice"] else "",
        f"**{RESEARCH_USE}**",
        "## What it is\n\n| | |\n|---|---|\n" + "\n".join(f"| {name} | {text} |" for name, text in rows),
        _metrics(training.get("metrics")),
        _making(training),
        "## Cite\n\n" + "\n".join(f"- {entry}" for entry in manifest["citation"]) if manifest["citation"] else "",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _grid(preparation: Mapping[str, Any]) -> str:
    voxels = " x ".join(str(size) for size in preparation["grid"]) + " voxels"
    if preparation.get("fill") is not None:
        return f"{voxels}, of which the brain fills {100 * preparation['fill']:g} % along the tightest axis"
    if preparation.get("spacing") is not None:
        return f"{voxels} of {' x '.join(f'{width:g}' for width in preparation['spacing'])} mm"
    return voxels


def _steps(training: Mapping[str, Any]) -> str:
    config = training.get("config") or {}
    started = config.get("train", {}).get("init_from") or config.get("optimiser", {}).get("continue_from")
    source = {"generated": "images generated from label maps", "layout": "a published data set"}.get(
        config.get("data", {}).get("source"), "scans"
    )
    return f"{training['steps']} steps on {source}{', from trained weights' if started else ''}"


def _metrics(metrics: Mapping[str, Any] | None) -> str:
    if not metrics:
        return ""
    return "## Measured\n\n" + "\n\n".join(f"{part['text']}\n\n{part['table']}" for part in metrics.values())


def _making(training: Mapping[str, Any]) -> str:
    lines = [f"- {name.replace('_', ' ').capitalize()}: `{training[name]}`" for name in _MAKING if training.get(name)]
    return "## How it was made\n\n" + "\n".join(lines) if lines else ""
