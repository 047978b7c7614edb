"""Model card (Markdown) of a brain mask, rendered from its manifest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from NeuroGenLib.mask.manifest import MaskManifest
from NeuroGenLib.models.card import rendered_card

if TYPE_CHECKING:
    from collections.abc import Mapping

_PURPOSE = (
    "The mask holds the brain, the stem down to where the spinal cord begins, and the fluid in and around the"
    " brain up to the skull's inner side."
)
LIMITS = (
    "For heads of adults that a scan shows from outside to inside, of any contrast, orientation and voxel size. It"
    " does not find a fetus inside its mother (give a mask for that), and has not seen children, heads with large"
    " lesions or after surgery, or CT. Look at the mask before you use it."
)


def model_card(manifest: Mapping[str, Any]) -> str:
    """Return the card in Markdown, with the front matter that model hubs read."""
    mask = MaskManifest.read(manifest)
    rows = [
        ("Voxels", f"{mask.preparation.spacing:g} mm along every axis"),
        ("Intensities", "from the 1st percentile to the 99th of what is above the mean, to 0 and 1"),
        ("Network", f"U-Net, {', '.join(map(str, mask.network['features']))} channels"),
        ("Training", f"{mask.training['steps']} steps on images generated from label maps"),
    ]
    return rendered_card(mask, "brain-extraction", rows, purpose=_PURPOSE, limits=LIMITS)
