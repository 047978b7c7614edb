"""Model card (Markdown) of a super-resolution network, rendered from its manifest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from NeuroGenLib.models.card import rendered_card
from NeuroGenLib.superres.manifest import SuperresManifest

if TYPE_CHECKING:
    from collections.abc import Mapping

LIMITS = (
    "What it adds is likely, not measured: fine structures and small lesions may be smoothed, changed or invented. Do"
    " not diagnose on its images; compare them with the slices, and look where the result does not reproduce them."
)
_GUIDES = {
    "optional": "T2w alone, or with a T1w of the same head",
    "needed": "T2w and a T1w of the same head",
    "none": "T2w alone",
}


def model_card(manifest: Mapping[str, Any]) -> str:
    """Return the card in Markdown, with the front matter that model hubs read."""
    superres = SuperresManifest.read(manifest)
    rows = _published(superres) if superres.published else _residual(superres)
    rows += [("Training", f"{superres.training['steps']} steps")]
    return rendered_card(superres, "super-resolution", rows, limits=LIMITS)


def _residual(manifest: SuperresManifest) -> list[tuple[str, str]]:
    preparation = manifest.preparation
    thin, thick = preparation.thickness or (0.0, 0.0)
    rounds = preparation.sharpened
    sharpened = f", corrected {rounds} times by what it does not reproduce of the slices" if rounds else ""
    stacks = ", or several stacks in one" if preparation.several_stacks else ""
    return [
        ("Inputs", _GUIDES[preparation.guide] + stacks),
        ("Slices", f"{thin:g} to {thick:g} mm thick, along any axis"),
        ("Interpolation before it", preparation.interpolation + sharpened),
        ("Intensities", "from the 1st percentile to the 99th of the head, to 0 and 1"),
        ("Windows", f"{preparation.window} voxels a side, or larger"),
        ("Network", f"residual U-Net, {', '.join(map(str, manifest.network['features']))} channels"),
    ]


def _published(manifest: SuperresManifest) -> list[tuple[str, str]]:
    network, preparation = manifest.network, manifest.preparation
    spacing, padded = preparation.spacing or (0.0,), preparation.padded or ()
    return [
        ("Inputs", "T1w and thick-slice T2w of the same head, both needed"),
        ("Voxels", f"{spacing[0]:g} mm, padded to {' x '.join(map(str, padded))}"),
        ("Windows", f"{network['window']} voxels a side, no other"),
        ("Network", f"residual U-Net, {', '.join(map(str, network['channels']))} channels, folded"),
    ]
