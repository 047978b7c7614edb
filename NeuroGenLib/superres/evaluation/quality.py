"""Quality of a super-resolved scan: agreement with its slices and with its guide, and warnings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from NeuroGenLib.spatial.metrics import normalised_information
from NeuroGenLib.superres.evaluation.guide_similarity import local_similarity

if TYPE_CHECKING:
    from collections.abc import Sequence

    from NeuroGenLib.alignment.halfway import HalfwayStart
    from NeuroGenLib.spatial.volume import Volume
    from NeuroGenLib.superres.stacks.stack import Stack

_BINS = 48
"""Bins of each intensity in the joint histogram."""
_MOST = 500_000
"""Pairs of values, about, that the histogram is made of."""
_LEAST_SIMILARITY = 1.6
"""Local similarity below which guide and scan may be of different people. In slices of 5 mm it was 2.0 to 3.2 for one
head (generated images of four adults, three fetal population averages) and 1.0 to 1.6 for two; averages of neighbouring
ages, which are similar, reach 1.9."""
_FAR_PERCENT = 5.0
"""Residual, in percent of the intensity range of the head, from which on there is a warning."""


@dataclass(frozen=True)
class StackQuality:
    """Geometry of one scan as it was used, and data consistency of the result with its slices.

    Attributes
    ----------
    direction:
        Axial, coronal or sagittal, the nearest.
    thickness_mm, gap_mm, header_distance_mm:
        As they were used; and the distance of slices by the header.
    rms, rms_interpolated:
        Root of the mean squared difference, in the head, between what was measured and what the result, or the
        interpolation alone, gives when sliced again; in the units of the (first) scan.
    percent:
        ``rms`` in percent of the range from the 1st to the 99th percentile of the head.
    moved_percent:
        Slices that moved, in percent; None for a single scan.
    """

    direction: str
    thickness_mm: float
    gap_mm: float
    header_distance_mm: float
    rms: float
    rms_interpolated: float
    percent: float
    moved_percent: float | None = None


@dataclass(frozen=True)
class GuideQuality:
    """Similarity of a scan and its guide: normalised mutual information, 0 to 1.

    Attributes
    ----------
    by_headers, aligned:
        Of the heads as the headers place them, and after the alignment.
    interpolated, result:
        Of the guide with the interpolated scan, and with the result, voxel by voxel in the head.
    likeness:
        Local similarity: how many times better small structures agree than when the guide is moved by 6 mm
        (:func:`~NeuroGenLib.superres.evaluation.guide_similarity.local_similarity`); None where too little of a head is
        seen.
    turn_degrees, shift_mm:
        Rotation angle of the alignment, and displacement of the middle of the head.
    """

    by_headers: float
    aligned: float
    interpolated: float
    result: float
    likeness: float | None
    turn_degrees: float
    shift_mm: float


@dataclass(frozen=True)
class Quality:
    """Measures of one result.

    Attributes
    ----------
    stacks, guide:
        Of each scan, in their order; of the guide, if any.
    spacing_mm:
        Voxel size of the result.
    head_ml:
        Volume of the head that was found.
    dark, bright:
        Intensities, in the units of the scan, that were 0 and 1 to the network: percentiles of the head.
    cut_sides:
        Sides where the head runs out of the field of view.
    """

    stacks: tuple[StackQuality, ...]
    guide: GuideQuality | None
    spacing_mm: float
    head_ml: float
    dark: float
    bright: float
    cut_sides: tuple[str, ...] = ()

    def to_mapping(self) -> dict[str, Any]:
        """Return the content of a JSON file, rounded to five digits."""
        import dataclasses

        return {name: _rounded(value) for name, value in dataclasses.asdict(self).items()}

    def remarks(self) -> list[str]:
        """Return warnings."""
        texts = []
        if self.cut_sides:
            texts.append(
                f"The head runs out of the field of view ({', '.join(self.cut_sides)}): what lies beyond is unknown, so"
                " that the outermost slices are less certain."
            )
        if self.guide is not None and self.guide.likeness is not None and self.guide.likeness < _LEAST_SIMILARITY:
            texts.append(
                "Scan and guide are hardly more similar than if they were misplaced"
                f" (local similarity {self.guide.likeness:.2f}): they may be of different people, or badly aligned."
                " Inspect both, or omit the guide."
            )
        for number, stack in enumerate(self.stacks, start=1):
            if stack.percent > _FAR_PERCENT:
                which = "the scan" if len(self.stacks) == 1 else f"scan {number}"
                texts.append(
                    f"The result does not reproduce the slices of {which}: they differ by {stack.percent:.1f} % of the"
                    " intensity range. Inspect the residual, and check thickness and gap."
                )
        return texts


def guide_quality(
    start: HalfwayStart, guide: Volume, interpolated: Volume, result: Volume, head: np.ndarray
) -> GuideQuality:
    """Measure a guide on the grid of the result; ``head`` is (i, j, k) bool."""
    middle = interpolated.voxel_to_world(np.argwhere(head).mean(axis=0))
    matrix = start.fixed_to_moving
    cosine = (np.trace(matrix[:3, :3]) - 1) / 2
    return GuideQuality(
        start.similarity_before,
        start.similarity_after,
        _shared_information(guide.array[head], interpolated.array[head]),
        _shared_information(guide.array[head], result.array[head]),
        local_similarity(interpolated, guide, interpolated.with_array(head)),
        float(np.degrees(np.arccos(np.clip(cosine, -1, 1)))),
        float(np.linalg.norm(matrix[:3, :3] @ middle + matrix[:3, 3] - middle)),
    )


def stack_quality(
    stack: Stack, header_distance: float, residuals: Sequence[Volume], head: Volume, extent: float, moved: float | None
) -> StackQuality:
    """Measure one stack.

    Parameters
    ----------
    stack, header_distance:
        As it was used, and the distance of its slices by the header, in mm.
    residuals:
        Of the result and of the interpolation, on the stack's grid.
    head:
        Boolean, in the world of the result.
    extent:
        From dark to bright, in the units of the residuals.
    moved:
        Part of the slices that moved, None where that was not measured.
    """
    inside = head.resample(like=residuals[0], order=0).array
    rms = [
        float(np.sqrt(np.mean(np.square(residual.array[inside], dtype=np.float64)))) if inside.any() else 0.0
        for residual in residuals
    ]
    return StackQuality(
        stack.direction,
        stack.thickness,
        stack.gap,
        header_distance,
        rms[0],
        rms[1],
        100 * rms[0] / extent,
        None if moved is None else 100 * moved,
    )


def _shared_information(first: np.ndarray, second: np.ndarray) -> float:
    """Return the normalised mutual information of paired values, (N,), thinned evenly."""
    step = max(1, -(-len(first) // _MOST))
    return normalised_information(first[::step], second[::step], _BINS)


def _rounded(content: Any) -> Any:
    if isinstance(content, dict):
        return {name: _rounded(value) for name, value in content.items()}
    if isinstance(content, list | tuple):
        return [_rounded(value) for value in content]
    return float(f"{content:.5g}") if isinstance(content, float) else content
