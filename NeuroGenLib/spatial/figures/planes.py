"""Axial, coronal and sagittal planes through a head, cut along the axes of the world.

They are radiological, like Slicer's views: the patient's left is on the right of axial and coronal planes, anterior on
the left of sagittal ones. What they show depends on where voxels are, not on how the volume is stored.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from NeuroGenLib.spatial.array_geometry import corners
from NeuroGenLib.spatial.transforms.spatial_map import SpatialMap

if TYPE_CHECKING:
    from NeuroGenLib.spatial.volume import Volume

PlaneName = Literal["axial", "coronal", "sagittal"]
PLANES: tuple[PlaneName, ...] = get_args(PlaneName)

MARGIN_MM = 8.0
"""Around the head."""

_AXES: dict[PlaneName, int] = {"axial": 2, "coronal": 1, "sagittal": 0}
"""Axis of RAS that a plane is perpendicular to."""
_LETTERS: dict[PlaneName, tuple[str, str, str, str]] = {
    "axial": ("R", "L", "A", "P"),
    "coronal": ("R", "L", "S", "I"),
    "sagittal": ("A", "P", "S", "I"),
}
_MOST_PIXELS = 400
"""Pixels along a side; planes of finer scans are thinned."""
_TIE = 1e-6
"""Pixels that rounding may move an edge of the window by."""
_IDENTITY = SpatialMap(np.eye(4), None, np.eye(4))


@dataclass(frozen=True, eq=False)
class Plane:
    """A grid of one voxel along one axis of the world, in RAS order.

    Attributes
    ----------
    name:
        Which plane it is.
    shape, affine:
        (i, j, k), and (4, 4) to RAS mm.
    """

    name: PlaneName
    shape: tuple[int, int, int]
    affine: np.ndarray

    @property
    def letters(self) -> tuple[str, str, str, str]:
        """Anatomical directions of the left, right, upper and lower edge, such as R, L, A, P."""
        return _LETTERS[self.name]

    @property
    def size_mm(self) -> tuple[float, float]:
        """Width and height in mm."""
        sizes = np.diag(self.affine)[:3] * self.shape
        across, up = (float(sizes[axis]) for axis in range(3) if axis != _AXES[self.name])
        return across, up

    def cut(self, volume: Volume, order: int = 1, fill: float = 0, through: SpatialMap = _IDENTITY) -> np.ndarray:
        """Sample a volume on this plane.

        Parameters
        ----------
        volume:
            (i, j, k), stored in any way.
        order:
            0 takes the nearest voxel (for labels), 1 is linear.
        fill:
            Value outside the volume.
        through:
            Map from RAS mm of this plane to RAS mm of the volume.

        Returns
        -------
        np.ndarray
            (rows, columns) as shown: the upper row first, the left column first.
        """
        values = through.pull(volume, (self.shape, self.affine), order=order, fill=fill).array
        picture: np.ndarray = values.take(0, axis=_AXES[self.name])[::-1].T[::-1]
        return picture


@dataclass(frozen=True, eq=False)
class HeadWindow:
    """The box around a head and the point in it that planes go through, in RAS mm.

    Attributes
    ----------
    low, high, centre:
        (3,) RAS mm.
    spacing:
        (3,) size in mm of the pixels along R, A and S.

    Examples
    --------
    >>> from NeuroGenLib.spatial.volume import Volume
    >>> head = np.zeros((40, 50, 60), np.float32)
    >>> head[12:18, 10:40, 20:30] = 1  # on the patient's left
    >>> volume = Volume(head, np.eye(4)).reorient("LPS")
    >>> plane = HeadWindow.of(volume).plane("axial")
    >>> plane.letters, plane.cut(volume).shape
    (('R', 'L', 'A', 'P'), (50, 40))
    >>> int(plane.cut(volume).any(axis=0).nonzero()[0][0])  # columns from the patient's right
    22
    """

    low: np.ndarray
    high: np.ndarray
    centre: np.ndarray
    spacing: np.ndarray

    @classmethod
    def of(cls, reference: Volume, inside: Volume | None = None) -> HeadWindow:
        """Return the window of a volume.

        Parameters
        ----------
        reference:
            Gives the size of the pixels and the field of view.
        inside:
            Nonzero in the head, on any grid; planes go through its middle. The whole volume when not given, or empty.
        """
        image = reference.reorient("RAS")
        ends = image.voxel_to_world(corners(image.shape))
        low, high = ends.min(axis=0), ends.max(axis=0)
        middle = (np.array(image.shape) - 1) / 2
        voxels = np.zeros((0, 3)) if inside is None else np.argwhere(inside.reorient("RAS").array)
        if inside is not None and len(voxels):
            head = inside.reorient("RAS").voxel_to_world(voxels)
            low = np.maximum(low, head.min(axis=0) - MARGIN_MM)
            high = np.minimum(high, head.max(axis=0) + MARGIN_MM)
            middle = image.world_to_voxel(head.mean(axis=0))
        # Through the centre of a voxel: pixels of a volume that is not oblique are then its voxels.
        centre = image.voxel_to_world(np.floor(middle + 0.5 - _TIE))
        return cls(low, high, centre, np.array(image.spacing))

    def plane(self, name: PlaneName) -> Plane:
        """Return the plane of this name through the centre."""
        first = np.ceil((self.low - self.centre) / self.spacing - _TIE)
        last = np.floor((self.high - self.centre) / self.spacing + _TIE)
        step = np.maximum(1, -(-(last - first + 1) // _MOST_PIXELS))
        count = np.maximum(1, (last - first) // step + 1)
        normal = _AXES[name]
        first[normal], step[normal], count[normal] = 0, 1, 1
        affine = np.diag([*(self.spacing * step), 1.0])
        affine[:3, 3] = self.centre + first * self.spacing
        i, j, k = (int(size) for size in count)
        return Plane(name, (i, j, k), affine)
