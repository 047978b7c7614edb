"""How well a result fits: overlap of labels, folds of the field. All files are read by SimpleITK, in LPS mm."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from NeuroGenLib.spatial.metrics import mean_dice

if TYPE_CHECKING:
    import SimpleITK
    from numpy.typing import NDArray
    from peers.job import Job


def overlap_before(job: Job) -> float:
    """Return mean Dice of the labels where the headers put them."""
    import SimpleITK

    return _overlap_through(job, SimpleITK.Transform(3, SimpleITK.sitkIdentity))


def result_scores(job: Job) -> dict[str, Any]:
    """Return ``dice``, ``dice_of_field`` and ``folded_voxels`` of a finished job.

    The second comes from labels pulled through the displacement field: when it differs from the first, the field is not
    the map that the program used, and the folds are not that map's.
    """
    import SimpleITK

    field = SimpleITK.ReadImage(str(job.displacement), SimpleITK.sitkVectorFloat64)
    folded = folded_voxels(grid_displacement(field))
    return {
        "dice": mean_dice(_labels(job.warped_labels), _labels(job.fixed_labels)),
        "dice_of_field": _overlap_through(job, SimpleITK.DisplacementFieldTransform(field)),
        "folded_voxels": folded,
    }


def grid_displacement(field: SimpleITK.Image) -> NDArray[np.float32]:
    """Return a displacement field (LPS mm) in voxels of its own grid: (3, I, J, K), channel c along array axis c."""
    import SimpleITK

    vectors = SimpleITK.GetArrayViewFromImage(field)
    direction = np.reshape(field.GetDirection(), (3, 3))
    to_voxels = np.linalg.inv(direction * np.array(field.GetSpacing()))
    return np.einsum("cd,kjid->cijk", to_voxels, vectors).astype(np.float32)


def folded_voxels(displacement: NDArray[np.floating]) -> int:
    """Return at how many voxels the map x + displacement(x) does not keep its orientation.

    Parameters
    ----------
    displacement:
        (3, I, J, K) in voxels, channel c along array axis c.

    Returns
    -------
    int
        Voxels with a determinant of 0 or below, by central differences; the outermost layer, which lacks a neighbour,
        does not count.
    """
    inner = slice(1, -1)
    columns = []
    for axis in range(3):
        ahead: list[slice] = [inner] * 3
        behind: list[slice] = [inner] * 3
        ahead[axis], behind[axis] = slice(2, None), slice(None, -2)
        column = (displacement[:, *ahead] - displacement[:, *behind]) / 2
        column[axis] += 1
        columns.append(column)
    determinant = np.einsum("cijk,cijk->ijk", columns[0], np.cross(columns[1], columns[2], axis=0))
    return int(np.count_nonzero(determinant <= 0))


def _labels(path: Any) -> NDArray:
    import SimpleITK

    return SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path)))


def _overlap_through(job: Job, transform: SimpleITK.Transform) -> float:
    """Return mean Dice of the moving labels, pulled through a transform of fixed to moving points."""
    import SimpleITK

    fixed, moving = (SimpleITK.ReadImage(str(path)) for path in (job.fixed_labels, job.moving_labels))
    warped = SimpleITK.Resample(moving, fixed, transform, SimpleITK.sitkNearestNeighbor, 0)
    return mean_dice(SimpleITK.GetArrayViewFromImage(warped), SimpleITK.GetArrayViewFromImage(fixed))
