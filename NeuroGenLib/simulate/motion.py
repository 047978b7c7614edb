"""Head motion artefacts: lines of k-space from different poses of the head.

The magnitude image of these lines has the ghosts and the blur along the phase-encoding axis of a scan with motion.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from NeuroGenLib.core.errors import InputError
from NeuroGenLib.spatial.volume import Volume, require_3d

STILL_SHARE = 0.1
"""Share of the lines, at the centre of k-space, that are always read in the pose of the image: they hold most of the
signal and define the position of the head."""


@dataclass(frozen=True)
class HeadMotion:
    """Poses of the head during a scan, relative to the pose at the centre of k-space.

    Axes are those of the image in the order right, anterior, superior, whatever its stored orientation.

    Attributes
    ----------
    axis:
        0, 1 or 2: the phase-encoding axis, along which the lines of k-space are read one after another.
    starts:
        (n,) times of the moves, ascending, as shares (0 to 1) of the scan; n moves give n + 1 poses, of which the one
        at the middle of the scan is that of the image.
    degrees:
        (n, 3) rotation about each axis through the centre of the field of view, about the first axis first, of the
        other n poses, in order of time.
    millimetres:
        (n, 3) translation along each axis, after the rotation.

    Examples
    --------
    >>> motion = HeadMotion(axis=1, starts=[0.7], degrees=[[0, 0, 3]], millimetres=[[2, 0, 0]])
    >>> motion.millimetres.shape
    (1, 3)
    """

    axis: int
    starts: np.ndarray
    degrees: np.ndarray
    millimetres: np.ndarray

    def __post_init__(self) -> None:
        for name in ("starts", "degrees", "millimetres"):
            object.__setattr__(self, name, np.asarray(getattr(self, name), float))
        if self.axis not in (0, 1, 2):
            raise InputError(f"There is no axis {self.axis} in a volume.", "Choose 0, 1 or 2.", code="value-invalid")
        count = len(self.starts) if self.starts.ndim == 1 else -1
        if not self.degrees.shape == self.millimetres.shape == (count, 3):
            raise InputError(
                f"Moves at {self.starts.shape}, of {self.degrees.shape} degrees and {self.millimetres.shape} mm, do not"
                " match.",
                "Give n starts, and n rows of three degrees and of three millimetres.",
                code="value-conflict",
            )
        if not (np.isfinite(self.degrees).all() and np.isfinite(self.millimetres).all()):
            raise InputError("A move is not a finite number.", "Give degrees and millimetres.", code="value-invalid")
        if not ((self.starts >= 0).all() and (self.starts <= 1).all() and (np.diff(self.starts) >= 0).all()):
            raise InputError(
                f"The moves do not start one after the other within the scan: {self.starts.tolist()}.",
                "Give ascending shares between 0 and 1.",
                code="value-invalid",
            )


def sample_motion(
    rng: np.random.Generator, moves: int = 4, degrees: float = 5.0, millimetres: float = 5.0
) -> HeadMotion:
    """Sample a motion: angles and translations uniform between plus and minus their limit, times uniform over the scan.

    Parameters
    ----------
    rng:
        Source of randomness.
    moves:
        Number of moves.
    degrees, millimetres:
        Limits along each axis.

    Examples
    --------
    >>> sample_motion(np.random.default_rng(0), moves=2).degrees.shape
    (2, 3)
    """
    return HeadMotion(
        axis=int(rng.integers(3)),
        starts=np.sort(rng.uniform(0, 1, moves)),
        degrees=rng.uniform(-degrees, degrees, (moves, 3)),
        millimetres=rng.uniform(-millimetres, millimetres, (moves, 3)),
    )


def with_motion(image: Volume, motion: HeadMotion) -> Volume:
    """Simulate the motion artefacts of a scan.

    Parameters
    ----------
    image:
        (i, j, k) intensities; negative ones count as zero, as do those beyond the field of view.
    motion:
        Poses of the head.

    Returns
    -------
    The magnitude image, float, on the grid of ``image``.

    Raises
    ------
    InputError
        When the image has channels.

    Examples
    --------
    >>> image = Volume(np.ones((4, 4, 8)), np.eye(4))
    >>> still = HeadMotion(axis=2, starts=[0.9], degrees=[[0, 0, 0]], millimetres=[[0, 0, 0]])
    >>> np.allclose(with_motion(image, still).array, 1)
    True
    """
    from scipy import fft

    require_3d(image, "The image")
    # In one orientation, so that the result depends on the head and not on the stored orientation.
    still = image.reorient("RAS")
    kind = np.float64 if image.array.dtype == np.float64 else np.float32
    still = still.with_array(still.array.clip(min=0).astype(kind))
    poses = pose_of_lines(still.shape[motion.axis], motion.starts)
    # Transforms along the other two axes cancel line by line: one axis suffices.
    spectrum = fft.fft(still.array, axis=motion.axis)
    for pose in np.unique(poses[poses > 0]):
        moved = _in_pose(still, motion.degrees[pose - 1], motion.millimetres[pose - 1])
        lines = [np.s_[:], np.s_[:], np.s_[:]]
        lines[motion.axis] = poses == pose
        spectrum[tuple(lines)] = fft.fft(moved.array, axis=motion.axis)[tuple(lines)]
    magnitude = still.with_array(np.abs(fft.ifft(spectrum, axis=motion.axis)).astype(kind))
    return image.with_array(magnitude.reorient(image.axcodes).array)


def pose_of_lines(count: int, starts: np.ndarray) -> np.ndarray:
    """Return (count,) the pose in which each line is read: 0 that of the image, 1 to n the others in order of time.

    Lines are in the order of the discrete Fourier transform (frequency 0 first); they are read from the most negative
    frequency to the most positive one.

    Examples
    --------
    >>> pose_of_lines(8, np.array([0.75])).tolist()
    [0, 0, 1, 1, 0, 0, 0, 0]
    """
    times = np.fft.fftfreq(count) + 0.5
    poses = np.searchsorted(starts, times, side="right")
    middle = int(np.searchsorted(starts, 0.5, side="right"))
    poses = np.where(poses < middle, poses + 1, np.where(poses == middle, 0, poses))
    poses[np.abs(times - 0.5) <= STILL_SHARE / 2] = 0
    return poses


def _in_pose(image: Volume, degrees: np.ndarray, millimetres: np.ndarray) -> Volume:
    """Return the head rotated about the centre of the field of view and translated, on the same grid."""
    from scipy.spatial.transform import Rotation

    # The axes of the image; of a sheared image, the nearest orthogonal ones.
    left, _, right = np.linalg.svd(image.affine[:3, :3] / image.spacing)
    axes = left @ right
    rotation = axes @ Rotation.from_euler("xyz", degrees, degrees=True).as_matrix() @ axes.T
    rigid = np.eye(4)
    rigid[:3, :3] = rotation
    rigid[:3, 3] = image.centre - rotation @ image.centre + axes @ millimetres
    return Volume(image.array, rigid @ image.affine).resample(like=image, order=1)
