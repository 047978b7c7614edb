"""Quality of a super-resolution as rows of a table, for Slicer's scene and the panel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from NeuroGenLib.superres.evaluation.quality import Quality

STAGES: Final = ("interpolated", "result")
"""Columns with numbers: of the interpolation (or fusion) alone, and of the result."""

_DIGITS = 4


def quality_rows(quality: Quality) -> list[dict[str, Any]]:
    """Return rows with ``measure``, ``label`` (which scan; ``all``), ``interpolated``, ``result`` and ``unit``.

    Numbers are texts of four digits, for people; unknown ones are None.
    """
    rows = [_row("voxel size", "all", None, quality.spacing_mm, "mm")]
    for number, stack in enumerate(quality.stacks, start=1):
        label = stack.direction if len(quality.stacks) == 1 else f"scan {number}, {stack.direction}"
        percent = stack.percent / stack.rms if stack.rms else 0.0
        rows += [
            _row("slice thickness", label, None, stack.thickness_mm, "mm"),
            _row("gap between slices", label, None, stack.gap_mm, "mm"),
            _row(
                "slices not reproduced", label, percent * stack.rms_interpolated, stack.percent, "% of intensity range"
            ),
        ]
        if stack.moved_percent is not None:
            rows.append(_row("slices that moved", label, None, stack.moved_percent, "%"))
    if quality.guide is not None:
        rows.append(_row("similarity to the guide", "all", quality.guide.interpolated, quality.guide.result, "0 to 1"))
    rows.append(_row("head", "all", None, quality.head_ml, "ml"))
    return rows


def _row(measure: str, label: str, interpolated: float | None, result: float, unit: str) -> dict[str, Any]:
    texts = [None if value is None else f"{value + 0.0:.{_DIGITS}g}" for value in (interpolated, result)]
    return {"measure": measure, "label": label, **dict(zip(STAGES, texts, strict=True)), "unit": unit}
