"""Model card (Markdown) of a registration network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from NeuroGenLib.models.card import MAKING, rendered_card
from NeuroGenLib.registration.manifest import PreparationEntry, RegistrationManifest

if TYPE_CHECKING:
    from collections.abc import Mapping

_PURPOSE = (
    "It registers two images by maps that swap exactly when the images do, whose inverse is given, and that do not"
    " fold by construction."
)


def model_card(manifest: Mapping[str, Any]) -> str:
    """Return the card in Markdown, with the front matter that model hubs read."""
    registration = RegistrationManifest.read(manifest)
    network, preparation = registration.network, registration.preparation
    rows = [
        ("Grid", _grid(preparation)),
        ("Intensities", preparation.normalisation),
        ("Channels", str(network.channels)),
        ("Levels", f"{len(network.features)}, {', '.join(map(str, network.features))} features"),
        ("Transform", "every " + " x ".join(f"{factor:g}" for factor in network.factor) + " voxels"),
        ("Affine stage", "yes" if network.affine_inputs is not None else "no"),
        ("Training", _steps(registration.training)),
    ]
    return rendered_card(registration, "image-registration", rows, purpose=_PURPOSE, making=MAKING)


def _grid(preparation: PreparationEntry) -> str:
    voxels = " x ".join(str(size) for size in preparation.grid) + " voxels"
    if preparation.fill is not None:
        return f"{voxels}, of which the brain fills {100 * preparation.fill:g} % along the tightest axis"
    if preparation.spacing is not None:
        return f"{voxels} of {' x '.join(f'{width:g}' for width in preparation.spacing)} mm"
    return voxels


def _steps(training: Mapping[str, Any]) -> str:
    config = training.get("config") or {}
    started = config.get("train", {}).get("init_from") or config.get("optimiser", {}).get("continue_from")
    source = {"generated": "images generated from label maps", "layout": "a published data set"}.get(
        config.get("data", {}).get("source"), "scans"
    )
    return f"{training['steps']} steps on {source}{', from trained weights' if started else ''}"
