"""The results of an evaluation: rows, columns and summary."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from NeuroGenLib.registration.evaluation.quality import STAGES

Row = dict[str, Any]
"""Numbers and words by column; None for what was not measured."""
SUFFIXES = dict(zip(STAGES, ("_headers", "_start", ""), strict=True))
"""End of a column by stage; the end of the registration has the column without a suffix."""
STAGE_METRICS = ("dice", "tre_mm", "mutual_information", "correlation")
END_METRICS = (
    "hd95_mm",
    "labels_in_one_map",
    "folded_voxels",
    "folded_percent",
    "ndv_percent",
    "sd_log_jacobian",
    "inverse_consistency_mm",
    "inverse_consistency_max_mm",
    "displacement_mm",
    "wall_s",
    "cpu_s",
    "peak_memory_mib",
    "peak_gpu_mib",
)


def stage_columns(metric: str) -> list[str]:
    """Return the columns of a metric as the headers place the images, after the affine start, and at the end."""
    return [f"{metric}{suffix}" for suffix in SUFFIXES.values()]


METRICS = (*(column for metric in STAGE_METRICS for column in stage_columns(metric)), *END_METRICS)
"""All columns with numbers."""


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found.

    Attributes
    ----------
    rows:
        One a pair: ``fixed``, ``moving``, ``kind``, ``status`` (done or failed), the numbers of :data:`METRICS`,
        ``remarks``.
    labels:
        One a pair and label: Dice by stage, and the 95 % Hausdorff distance in mm at the end.
    summary:
        Number of pairs, of those that failed, and for each metric mean, standard deviation (of the population) and
        number of pairs that have it; over all pairs, and for each kind.
    """

    rows: list[Row]
    labels: list[Row]
    summary: dict[str, Any]

    @property
    def failed(self) -> list[Row]:
        """The rows of the pairs that could not be registered."""
        return [row for row in self.rows if row["status"] == "failed"]

    def mean(self, metric: str, kind: str | None = None) -> float | None:
        """Return the mean of a metric, None when no pair (of that kind) has it."""
        part = self.summary if kind is None else self.summary["kinds"].get(kind, {"metrics": {}})
        return part["metrics"][metric]["mean"] if metric in part["metrics"] else None
