"""Guide: another contrast of the same head; whether a model needs one, and its rigid alignment to the scan."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from NeuroGenLib.alignment.halfway import halfway_start
from NeuroGenLib.alignment.prepared_image import PreparedImage
from NeuroGenLib.core.errors import InputError
from NeuroGenLib.core.progress import SILENT, Progress
from NeuroGenLib.spatial.volume import require_3d, require_finite
from NeuroGenLib.superres.stacks.preprocessing import interpolated

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

    from NeuroGenLib.alignment.halfway import HalfwayStart
    from NeuroGenLib.spatial.volume import Volume

GuideNeed: TypeAlias = Literal["needed", "optional", "none"]
"""Whether a model cannot do without a guide, can, or takes none."""


def guide_need(manifest: Mapping[str, Any]) -> GuideNeed:
    """Return whether a model needs a guide, by its manifest (``neurogen.json``).

    Examples
    --------
    >>> guide_need({"network": {"kind": "residual"}, "preparation": {}})
    'optional'
    """
    if manifest["network"]["kind"] == "published":  # which has both images as input
        return "needed"
    need: GuideNeed = manifest["preparation"].get("guide", "optional")
    return need


@dataclass(frozen=True, eq=False)
class AlignedGuide:
    """A guide after its rigid alignment to the scan.

    Attributes
    ----------
    volume:
        As it was measured.
    start:
        The alignment and its mutual information before and after.
    image:
        (i, j, k) float32: the guide on the grid of the scan.
    """

    volume: Volume
    start: HalfwayStart
    image: Volume

    @property
    def from_scan(self) -> np.ndarray:
        """(4, 4) RAS mm of the scan to RAS mm of the guide."""
        return self.start.fixed_to_moving


def align_guide(image: Volume, guide: Volume, *, align: bool = True, progress: Progress = SILENT) -> AlignedGuide:
    """Align the guide to the scan by mutual information, however far apart the headers place them.

    Parameters
    ----------
    image, guide:
        The interpolated scan, and another contrast of the same head.
    align:
        Whether to register at all; without it the headers are trusted.
    progress:
        Progress callback.

    Raises
    ------
    InputError
        When the guide has channels, NaN or infinite voxels or no contrast, or the two do not overlap.
    """
    require_3d(guide, "The guide")
    require_finite(guide, "The guide")
    if guide.array.min() == guide.array.max():
        raise InputError(
            "The guide has the same value everywhere.", "Check that it is the right file.", code="image-empty"
        )
    try:
        images = PreparedImage.of(image, name="The fixed"), PreparedImage.of(guide, name="The moving")
        start = halfway_start(*images, "rigid" if align else "none", progress)
    except InputError as error:
        raise InputError(
            "The scan and its guide could not be brought to overlap.",
            "Check that both show the same head; omit the guide, or align it by hand and trust the headers.",
            code="geometry-mismatch",
        ) from error
    return AlignedGuide(guide, start, interpolated(guide, image, start.fixed_to_moving))
