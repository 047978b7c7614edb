"""Quality of one registration: similarity, overlap, folds and inverse consistency."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from NeuroGenLib.alignment.prepared_image import first_channel
from NeuroGenLib.alignment.scan_similarity import foreground_points, values_at
from NeuroGenLib.core.progress import SILENT, Progress
from NeuroGenLib.registration.evaluation.measures import label_dice, label_hd95, ndv_percent
from NeuroGenLib.spatial.metrics import entropies
from NeuroGenLib.spatial.transforms.spatial_map import SpatialMap

if TYPE_CHECKING:
    from collections.abc import Mapping

    from NeuroGenLib.alignment.halfway import HalfwayStart
    from NeuroGenLib.alignment.prepared_image import PreparedImage
    from NeuroGenLib.spatial.volume import Volume

STAGES = ("headers", "start", "registered")
"""As the headers place the images, after the affine start, and at the end."""

_BINS = 32
"""Bins of each intensity in the joint histogram."""


@dataclass(frozen=True)
class Quality:
    """Numbers of one registration; those of labels are None without label maps of both images.

    Attributes
    ----------
    correlation, mutual_information:
        Over the fixed image's foreground, by stage of :data:`STAGES`: Pearson's correlation, and mutual information
        in nats. Correlation says nothing where the contrasts differ.
    dice:
        Overlap of each label by stage.
    hd95_mm:
        95th percentile of the surface distance of each label, mm, at the end; infinite where it is in one map only.
    folded_voxels:
        Voxels of the fixed image where the Jacobian determinant is not above zero.
    folded_percent:
        Their share.
    ndv_percent:
        Non-diffeomorphic volume (Liu et al., IJCV 2024) as a share of the grid of the transform.
    sd_log_jacobian:
        Standard deviation of the Jacobian's natural logarithm over the foreground.
    inverse_consistency_mm, inverse_consistency_max_mm:
        Mean and largest distance between a point of the foreground and where forward and inverse bring it.
    displacement_mm:
        Mean length of the displacement that comes on top of the affine start.

    Examples
    --------
    >>> stages = {"headers": 0.2, "start": 0.3, "registered": 0.1}
    >>> Quality(stages, stages, 0, 0.0, 0.0, 0.1, 0.02, 0.1, 1.5).remarks()
    ['The images are less similar after the registration than before: look at the result.']
    """

    correlation: dict[str, float]
    mutual_information: dict[str, float]
    folded_voxels: int
    folded_percent: float
    ndv_percent: float
    sd_log_jacobian: float
    inverse_consistency_mm: float
    inverse_consistency_max_mm: float
    displacement_mm: float
    dice: dict[str, dict[int, float]] | None = None
    hd95_mm: dict[int, float] | None = None

    def mean_dice(self, stage: str = "registered") -> float | None:
        """Return the mean overlap over the labels, None without labels."""
        return None if self.dice is None else float(np.mean(list(self.dice[stage].values())))

    def to_mapping(self) -> dict[str, Any]:
        """Return what ``quality.json`` holds; numbers that are not finite become None."""
        content: dict[str, Any] = {
            name: getattr(self, name)
            for name in (
                "correlation",
                "mutual_information",
                "folded_voxels",
                "folded_percent",
                "ndv_percent",
                "sd_log_jacobian",
                "inverse_consistency_mm",
                "inverse_consistency_max_mm",
                "displacement_mm",
            )
        }
        if self.dice is not None and self.hd95_mm is not None:
            content["dice"] = {
                stage: {
                    "mean": self.mean_dice(stage),
                    "labels": {str(label): value for label, value in by_label.items()},
                }
                for stage, by_label in self.dice.items()
            }
            content["hd95_mm"] = {str(label): value for label, value in self.hd95_mm.items()}
        return {name: _finite(value) for name, value in content.items()}

    def remarks(self) -> list[str]:
        """Return warnings about the result."""
        remarks = []
        if self.folded_voxels:
            remarks.append(f"The transform folds at {self.folded_voxels} voxels of the fixed image.")
        if self.mutual_information["registered"] < self.mutual_information["headers"]:
            remarks.append("The images are less similar after the registration than before: look at the result.")
        return remarks


class LabelMaps(NamedTuple):
    """Label maps of the fixed and the moving image, and the moving one pulled by the registration."""

    fixed: Volume
    moving: Volume
    warped: Volume


class RegistrationMaps(NamedTuple):
    """Maps of a finished registration: fixed to moving points, moving to fixed points, and the affine start."""

    forward: SpatialMap
    inverse: SpatialMap
    start: HalfwayStart

    def by_stage(self) -> dict[str, SpatialMap]:
        """Return the map from fixed to moving points at each stage of :data:`STAGES`."""
        identity = np.eye(4)
        return {
            "headers": SpatialMap(identity, None, identity),
            "start": SpatialMap(self.start.fixed_to_moving, None, identity),
            "registered": self.forward,
        }


def measure_quality(
    maps: RegistrationMaps,
    fixed: PreparedImage,
    moving: PreparedImage,
    jacobian: Volume,
    labels: LabelMaps | None = None,
    progress: Progress = SILENT,
) -> Quality:
    """Measure a registration.

    Parameters
    ----------
    maps:
        The registration.
    fixed, moving:
        The images; measured in the foreground of ``fixed``.
    jacobian:
        Determinant of ``maps.forward`` on the grid of ``fixed``.
    labels:
        Their label maps, where both have one.
    progress:
        Progress callback.
    """
    points = foreground_points(fixed)
    stages = maps.by_stage()
    values, second = values_at(first_channel(fixed.scan), points), first_channel(moving.scan)
    pairs = {stage: (values, values_at(second, stage_map.points(points))) for stage, stage_map in stages.items()}
    progress.update(1, 4, "measuring")
    mapped = maps.forward.points(points)
    consistency = np.linalg.norm(maps.inverse.points(mapped) - points, axis=1)
    determinants = values_at(jacobian, points)
    folded = int(np.count_nonzero(jacobian.array <= 0))
    dice, distances = _label_measures(stages, labels, progress)
    progress.update(4, 4, "measuring")
    return Quality(
        correlation={stage: _correlation(*pair) for stage, pair in pairs.items()},
        mutual_information={stage: _mutual_information(*pair) for stage, pair in pairs.items()},
        folded_voxels=folded,
        folded_percent=100 * folded / jacobian.array.size,
        ndv_percent=_ndv_percent(maps.forward),
        sd_log_jacobian=float(np.log(np.clip(determinants, 1e-9, None)).std()),
        inverse_consistency_mm=float(consistency.mean()),
        inverse_consistency_max_mm=float(consistency.max()),
        displacement_mm=float(np.linalg.norm(mapped - stages["start"].points(points), axis=1).mean()),
        dice=dice,
        hd95_mm=distances,
    )


def _label_measures(
    stages: Mapping[str, SpatialMap], labels: LabelMaps | None, progress: Progress
) -> tuple[dict[str, dict[int, float]] | None, dict[int, float] | None]:
    """Return the overlap of each label by stage and its surface distance at the end; None without labels."""
    if labels is None:
        return None, None
    progress.update(2, 4, "measuring")
    if not (labels.fixed.array.any() or labels.moving.array.any()):
        return None, None
    dice = {}
    for stage in STAGES:  # one label map at a time: they may be large
        warped = labels.warped
        if stage != STAGES[-1]:
            warped = stages[stage].pull(labels.moving, labels.fixed, order=0)
        dice[stage] = dict(label_dice(warped.array, labels.fixed.array).by_label)
    progress.update(3, 4, "measuring")
    distances = dict(label_hd95(labels.warped.array, labels.fixed.array, labels.fixed.spacing).by_label)
    return dice, distances


def _correlation(first: np.ndarray, second: np.ndarray) -> float:
    first, second = first - first.mean(dtype=np.float64), second - second.mean(dtype=np.float64)
    norm = float(np.linalg.norm(first) * np.linalg.norm(second))
    return float(np.vdot(first, second)) / norm if norm else 0.0


def _mutual_information(first: np.ndarray, second: np.ndarray) -> float:
    first_entropy, second_entropy, joint_entropy = entropies(first, second, _BINS)
    return first_entropy + second_entropy - joint_entropy


def _ndv_percent(forward: SpatialMap) -> float:
    if forward.field is None:
        return 0.0
    to_voxels = np.linalg.inv(forward.field.affine[:3, :3])
    return ndv_percent(np.tensordot(to_voxels, forward.field.array, axes=1).astype(np.float32))


def _finite(content: Any) -> Any:
    if isinstance(content, dict):
        return {name: _finite(value) for name, value in content.items()}
    return None if isinstance(content, float) and not np.isfinite(content) else content
