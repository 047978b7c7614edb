"""The guide: another contrast of the same head; whether a model needs one, and its rigid alignment to the scan."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from NeuroGenLib.alignment.halfway import halfway_start
from NeuroGenLib.alignment.prepared_image import PreparedImage
from NeuroGenLib.core.errors import InputError
from NeuroGenLib.core.progress import SILENT, Progress
from NeuroGenLib.spatial.volume import require_3d, require_finite

if TYPE_CHECKING:
    from collections.abc import Mapping

    from NeuroGenLib.alignment.halfway import HalfwayStart
    from NeuroGenLib.spatial.volume import Volume

GuideNeed: TypeAlias = Literal["needed", "optional", "none"]
"""Whether a model cannot do without a guide, can, or takes none."""


def guide_need(manifest: Mapping[str, Any]) -> GuideNeed:
    """Return whether a model needs a guide, by its manifest (``neurogen.json``)."""
    if manifest["network"]["kind"] == "published":  # which knows both images alone
        return "needed"
    need: GuideNeed = manifest["preparation"].get("guide", "optional")
    return need


def align_guide(image: Volume, guide: Volume, *, align: bool, progress: Progress = SILENT) -> HalfwayStart:
    """Find where the guide lies to the scan, by mutual information, however far apart the headers place them.

    Parameters
    ----------
    image, guide:
        The interpolated scan, and another contrast of the same head.
    align:
        Whether to look at all; without it the headers are trusted.
    progress:
        Told of every stage.

    Raises
    ------
    InputError
        When the guide has channels, NaN or infinite voxels or no contrast, or the two do not overlap.
    """
    require_3d(guide, "The guide")
    require_finite(guide, "The guide")
    if guide.array.min() == guide.array.max():
        raise InputError("The guide has the same value everywhere.", "Check that it is the right file.")
    try:
        images = PreparedImage.of(image, name="The fixed"), PreparedImage.of(guide, name="The moving")
        return halfway_start(*images, "rigid" if align else "none", progress)
    except InputError as error:
        raise InputError(
            "The scan and its guide could not be brought to overlap.",
            "Check that both show the same head; leave the guide out, or align it by hand and trust the headers.",
        ) from error
