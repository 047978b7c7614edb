"""Rigid alignment of two images of one head, by SimpleITK."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from NeuroGenLib.spatial.volume import require_3d
from NeuroGenLib.spatial.volume_files import to_itk

if TYPE_CHECKING:
    import SimpleITK

    from NeuroGenLib.spatial.volume import Grid, Volume

FINEST_MM = 1.6
"""Voxel size of the last resolution: finer ones move a rigid transform by a small part of a voxel."""

_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def rigid_alignment(fixed: Volume, moving: Volume, start: np.ndarray | None = None) -> np.ndarray:
    """Return the rigid transform that maps points of ``fixed`` to the same place in ``moving``.

    Correlation of the intensities is maximised over three resolutions; images with a zero background work best.

    Parameters
    ----------
    fixed, moving:
        3-D images.
    start:
        (4, 4) RAS mm to RAS mm, where the search begins; the centres of mass are matched when not given.

    Returns
    -------
    np.ndarray
        (4, 4) RAS mm of ``fixed`` to RAS mm of ``moving``.
    """
    import SimpleITK

    require_3d(fixed, "The fixed image")
    require_3d(moving, "The moving image")
    if start is None:
        start = np.eye(4)
        start[:3, 3] = centre_of_mass(moving) - centre_of_mass(fixed)
    transform = SimpleITK.Euler3DTransform()
    lps = _LPS @ start @ _LPS
    transform.SetCenter((_LPS[:3, :3] @ centre_of_mass(fixed)).tolist())
    transform.SetMatrix(lps[:3, :3].ravel().tolist(), tolerance=1e-6)
    transform.SetTranslation((lps[:3, 3] + (lps[:3, :3] - np.eye(3)) @ np.array(transform.GetCenter())).tolist())
    method = SimpleITK.ImageRegistrationMethod()
    method.SetMetricAsCorrelation()
    method.SetMetricSamplingStrategy(method.REGULAR)
    method.SetMetricSamplingPercentage(0.25, seed=1)
    method.SetInterpolator(SimpleITK.sitkLinear)
    # Plain gradient descent stops millimetres away: rotation and translation of a round head trade off.
    method.SetOptimizerAsConjugateGradientLineSearch(
        learningRate=1.0,
        numberOfIterations=40,
        convergenceMinimumValue=1e-6,
        convergenceWindowSize=8,
        lineSearchUpperLimit=2.0,
        lineSearchMaximumIterations=10,
    )
    method.SetOptimizerScalesFromPhysicalShift()
    finest = max(1, round(FINEST_MM / min(fixed.spacing)))
    factors = [4 * finest, 2 * finest, finest]
    method.SetShrinkFactorsPerLevel(factors)
    method.SetSmoothingSigmasPerLevel([0.5 * factor * min(fixed.spacing) if factor > 1 else 0.0 for factor in factors])
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
    method.SetInitialTransform(transform, inPlace=True)
    method.Execute(_as_float(fixed, "The fixed image"), _as_float(moving, "The moving image"))
    ras: np.ndarray = _LPS @ _matrix(transform) @ _LPS
    return ras


def aligned(moving: Volume, transform: np.ndarray, like: Grid, order: int = 1, fill: float = 0) -> Volume:
    """Return ``moving`` on the grid of ``like``, pulled through a transform from ``like`` to ``moving``.

    Parameters
    ----------
    moving, transform, like:
        What is pulled; (4, 4) RAS mm to RAS mm; a volume, or (shape, affine).
    order, fill:
        As for :meth:`NeuroGenLib.spatial.volume.Volume.resample`.
    """
    placed = type(moving)(moving.array, np.linalg.inv(transform) @ moving.affine)
    return placed.resample(like=like, order=order, fill=fill)


def centre_of_mass(volume: Volume) -> np.ndarray:
    """Return the intensity-weighted centre, (3,) RAS mm; values below zero do not count."""
    weights = np.clip(volume.array, 0, None).astype(np.float64)
    total = weights.sum()
    if total == 0:
        return volume.centre
    axes = [weights.sum(axis=tuple(other for other in range(3) if other != axis)) for axis in range(3)]
    index = [float(line @ np.arange(len(line)) / total) for line in axes]
    return volume.voxel_to_world(index)


def _as_float(volume: Volume, name: str) -> SimpleITK.Image:
    return to_itk(volume.array.astype(np.float32), volume.affine, name)


def _matrix(transform: SimpleITK.Euler3DTransform) -> np.ndarray:
    linear = np.reshape(transform.GetMatrix(), (3, 3))
    centre = np.array(transform.GetCenter())
    matrix = np.eye(4)
    matrix[:3, :3] = linear
    matrix[:3, 3] = np.array(transform.GetTranslation()) + centre - linear @ centre
    return matrix
