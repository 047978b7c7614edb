"""Head motion during a scan: the lines of k-space are read while the head lies in one place after another.

The magnitude image made of these lines has the ghosts and the blur along one axis that radiologists know.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from NeuroGenLib.core.errors import InputError
from NeuroGenLib.spatial.volume import Volume, require_3d

STILL_SHARE = 0.1
"""Share of the lines, the middle ones, during which the head always is where the image shows it."""


@dataclass(frozen=True)
class HeadMotion:
    """Where the head lay during a scan, relative to where it lay when the middle of k-space was read.

    Axes are the image's own in the order right, anterior, superior, whichever way it is stored.

    Attributes
    ----------
    axis:
        0, 1 or 2: the axis along which the lines of k-space follow each other in time.
    starts:
        (n,) when the head moves, ascending, as shares (0 to 1) of the scan; n moves make n + 1 places, of which the one
        held at the middle of the scan is that of the image.
    degrees:
        (n, 3) rotation about each axis through the centre of the field of view, about the first axis first, in the
        other n places, in order of time.
    millimetres:
        (n, 3) shift along each axis, after the rotation.
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
                " belong together.",
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
    """Draw a motion: every angle and shift uniform up to its limit in either direction, at times uniform over the scan.

    Parameters
    ----------
    rng:
        Source of randomness.
    moves:
        How often the head moves.
    degrees, millimetres:
        The limits, for each axis.
    """
    return HeadMotion(
        axis=int(rng.integers(3)),
        starts=np.sort(rng.uniform(0, 1, moves)),
        degrees=rng.uniform(-degrees, degrees, (moves, 3)),
        millimetres=rng.uniform(-millimetres, millimetres, (moves, 3)),
    )


def with_motion(image: Volume, motion: HeadMotion) -> Volume:
    """Return the image that a scan of the same head in motion would give.

    Parameters
    ----------
    image:
        (i, j, k) intensities; below zero they count as zero, and beyond the field of view is nothing.
    motion:
        The motion.

    Returns
    -------
    The magnitude image, float, on the grid of ``image``.

    Raises
    ------
    InputError
        When the image has channels.
    """
    from scipy import fft

    require_3d(image, "The image")
    # In one order of axes, so that the result depends on the head and not on how the image is stored.
    still = image.reorient("RAS")
    kind = np.float64 if image.array.dtype == np.float64 else np.float32
    still = still.with_array(still.array.clip(min=0).astype(kind))
    places = pose_of_lines(still.shape[motion.axis], motion.starts)
    # The transforms along the other two axes are undone line by line: one axis is enough.
    spectrum = fft.fft(still.array, axis=motion.axis)
    for place in np.unique(places[places > 0]):
        turned = _moved(still, motion.degrees[place - 1], motion.millimetres[place - 1])
        lines = [np.s_[:], np.s_[:], np.s_[:]]
        lines[motion.axis] = places == place
        spectrum[tuple(lines)] = fft.fft(turned.array, axis=motion.axis)[tuple(lines)]
    magnitude = still.with_array(np.abs(fft.ifft(spectrum, axis=motion.axis)).astype(kind))
    return image.with_array(magnitude.reorient(image.axcodes).array)


def pose_of_lines(count: int, starts: np.ndarray) -> np.ndarray:
    """Return (count,) the place in which each line is read: 0 that of the image, 1 to n the others in order of time.

    Lines are in the order of the discrete Fourier transform (frequency 0 first); they are read from the most negative
    frequency to the most positive one.
    """
    times = np.fft.fftfreq(count) + 0.5
    places = np.searchsorted(starts, times, side="right")
    middle = int(np.searchsorted(starts, 0.5, side="right"))
    places = np.where(places < middle, places + 1, np.where(places == middle, 0, places))
    places[np.abs(times - 0.5) <= STILL_SHARE / 2] = 0
    return places


def _moved(image: Volume, degrees: np.ndarray, millimetres: np.ndarray) -> Volume:
    """Return the head turned about the centre of the field of view and shifted, on the same grid."""
    from scipy.spatial.transform import Rotation

    # The image's own axes; of a sheared image, the nearest three at right angles.
    left, _, right = np.linalg.svd(image.affine[:3, :3] / image.spacing)
    axes = left @ right
    turn = axes @ Rotation.from_euler("xyz", degrees, degrees=True).as_matrix() @ axes.T
    move = np.eye(4)
    move[:3, :3] = turn
    move[:3, 3] = image.centre - turn @ image.centre + axes @ millimetres
    return Volume(image.array, move @ image.affine).resample(like=image, order=1)
