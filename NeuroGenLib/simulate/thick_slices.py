"""Thick slices from thin ones: slice profile, gaps and noise of an acquisition."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from NeuroGenLib.core.errors import InputError, nearest
from NeuroGenLib.spatial.volume import Volume, require_3d

ProfileKind: TypeAlias = Literal["gaussian", "box"]
Direction: TypeAlias = Literal["axial", "coronal", "sagittal"]
NoiseKind: TypeAlias = Literal["rician", "gaussian"]

PROFILES: tuple[ProfileKind, ...] = ("gaussian", "box")
DIRECTIONS: tuple[Direction, ...] = ("axial", "coronal", "sagittal")
NOISES: tuple[NoiseKind, ...] = ("rician", "gaussian")

FWHM_PER_SIGMA = float(np.sqrt(8 * np.log(2)))

_TOWARDS: dict[Direction, str] = {"axial": "SI", "coronal": "AP", "sagittal": "RL"}
_SHARPEST = 1e-3
"""Least width of a profile in voxels; a narrower one counts as a point."""
_HAT_VARIANCE = 1 / 6
"""Variance of linear interpolation in voxels squared, by which it widens a profile."""
_ROUNDING = 1e-9


@dataclass(frozen=True)
class SliceProfile:
    """Sensitivity across a slice.

    Attributes
    ----------
    kind:
        ``gaussian``, or ``box`` for a constant sensitivity.
    thickness:
        Full width at half maximum in mm.

    Raises
    ------
    InputError
        When the kind is unknown, or the thickness is not a number above zero.

    Examples
    --------
    >>> SliceProfile("box", 4.5).thickness
    4.5
    """

    kind: ProfileKind = "gaussian"
    thickness: float = 4.0

    def __post_init__(self) -> None:
        if self.kind not in PROFILES:
            raise InputError(
                f"'{self.kind}' is not a slice profile.", nearest(str(self.kind), PROFILES), code="name-unknown"
            )
        _require_positive(self.thickness, "slice thickness")


def slice_axis(volume: Volume, direction: Direction) -> int:
    """Return the array axis (0, 1, 2) across the slices of a direction: nearest to S, A or R by anatomy.

    Raises
    ------
    InputError
        When the direction is unknown.

    Examples
    --------
    >>> slice_axis(Volume(np.zeros((4, 5, 6)), np.eye(4)), "coronal")
    1
    """
    if direction not in DIRECTIONS:
        raise InputError(
            f"'{direction}' is not a direction of slices.", nearest(str(direction), DIRECTIONS), code="name-unknown"
        )
    return next(axis for axis, code in enumerate(volume.axcodes) if code in _TOWARDS[direction])


def slice_direction(volume: Volume, axis: int) -> Direction:
    """Return the direction of slices that are stacked along an array axis, the nearest when oblique.

    Examples
    --------
    >>> slice_direction(Volume(np.zeros((4, 5, 6)), np.eye(4)), 2)
    'axial'
    """
    return next(direction for direction in DIRECTIONS if slice_axis(volume, direction) == axis)


def thickest_axis(volume: Volume) -> int:
    """Return the array axis (0, 1, 2) with the largest spacing: by the header, that across the slices.

    Where spacings are equal to 0.1 %, it is the last of them.

    Examples
    --------
    >>> thickest_axis(Volume(np.zeros((4, 5, 6)), np.diag([1.0, 4.0, 1.0, 1.0])))
    1
    """
    spacing = np.asarray(volume.spacing)
    return int(np.flatnonzero(spacing >= 0.999 * spacing.max())[-1])


def slice_positions(
    size: int,
    spacing: float,
    profile: SliceProfile,
    distance: float,
    offset: float = 0.0,
) -> np.ndarray:
    """Return the centres of thick slices, (slices,), in voxels of the thin axis.

    Arguments and errors are those of :func:`slice_matrix`.

    Examples
    --------
    >>> slice_positions(12, 1.0, SliceProfile("box", 4.0), distance=4.0).tolist()
    [1.5, 5.5, 9.5]
    """
    _require_axis(size, spacing)
    _require_positive(distance, "distance of slices")
    if not np.isfinite(offset):
        raise InputError(f"An offset of {offset} mm is invalid.", "Give a number of mm.", code="value-invalid")
    length = size * spacing
    centred = max(1, int(length / distance + _ROUNDING))
    # The lattice of these slices about the middle, moved by the offset; of it, the centres inside.
    first = offset - (centred - 1) / 2 * distance
    step = np.arange(np.ceil((-length / 2 - first) / distance), np.floor((length / 2 - first) / distance) + 1)
    centres = first + step * distance
    centres = centres[np.abs(centres) < length / 2 * (1 - _ROUNDING)]
    if len(centres) == 0:
        raise InputError(
            f"No slice of {profile.thickness:g} mm has its centre in a field of view of {length:g} mm"
            f" when slices are {distance:g} mm apart and moved by {offset:g} mm.",
            "Take thinner slices, or a smaller offset.",
            code="value-invalid",
        )
    return np.asarray(centres / spacing + (size - 1) / 2)


def slice_matrix(
    size: int,
    spacing: float,
    profile: SliceProfile,
    distance: float,
    offset: float = 0.0,
    own: float | None = None,
) -> np.ndarray:
    """Return the (slices, size) matrix from thin voxels along one axis to thick slices; its rows add up to 1.

    Slices are centred on the field of view and moved by ``offset``; those with their centre inside are kept.
    Profiles that reach beyond the field of view are truncated and renormalised.

    Parameters
    ----------
    size, spacing:
        Thin voxels along the axis, and their distance in mm.
    profile:
        Profile of a slice.
    distance:
        From slice to slice in mm: thickness and gap.
    offset:
        Shift of the slices along the axis, in mm.
    own:
        Full width at half maximum in mm of the sensitivity of a thin voxel; ``spacing`` by default. The profile is
        narrowed by it (in squares), so that thin voxels and profile together have the thickness.

    Raises
    ------
    InputError
        When a size or length is not above zero, or no slice has its centre inside the field of view.

    Examples
    --------
    >>> slice_matrix(6, 1.0, SliceProfile("box", 3.0), distance=3.0).round(3).tolist()
    [[0.333, 0.333, 0.333, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.333, 0.333, 0.333]]
    """
    centres = slice_positions(size, spacing, profile, distance, offset)
    return profile_matrix(size, spacing, centres, profile, own)


def profile_matrix(
    size: int, spacing: float, centres: np.ndarray, profile: SliceProfile, own: float | None = None
) -> np.ndarray:
    """Return the (slices, size) weights of thin voxels in slices at ``centres``; rows add up to 1.

    Parameters
    ----------
    size, spacing, profile, own:
        As for :func:`slice_matrix`.
    centres:
        (slices,) in voxels of the thin axis, at most half a voxel beyond the outermost ones.

    Raises
    ------
    InputError
        When a size or length is not above zero.

    Examples
    --------
    >>> profile_matrix(5, 1.0, np.array([2.0]), SliceProfile("box", 3.0)).round(3).tolist()
    [[0.0, 0.333, 0.333, 0.333, 0.0]]
    """
    _require_axis(size, spacing)
    own = spacing if own is None else own
    if not (np.isfinite(own) and own >= 0):
        raise InputError(f"A resolution of {own} mm is invalid.", "Give zero or more mm.", code="value-invalid")
    narrowed = (profile.thickness**2 - own**2) / spacing**2
    distance = np.arange(size) - np.asarray(centres, dtype=np.float64)[:, None]
    if profile.kind == "gaussian":
        weights = _gaussian_weights(distance, narrowed / FWHM_PER_SIGMA**2 - _HAT_VARIANCE)
    else:
        weights = _box_weights(distance, narrowed + 1)
    normalised: np.ndarray = weights / weights.sum(axis=1, keepdims=True)
    return normalised


def thick_slices(
    volume: Volume, axis: int, profile: SliceProfile, distance: float, offset: float = 0.0, own: float | None = None
) -> Volume:
    """Simulate thick slices across one array axis, in the space of the volume.

    Parameters
    ----------
    volume:
        (i, j, k) or (c, i, j, k) intensities.
    axis:
        0, 1 or 2: the array axis across the slices.
    profile, distance, offset, own:
        As for :func:`slice_matrix`, in mm along that axis.

    Returns
    -------
    Volume
        Float; its first voxel is at the centre of the first slice, and its spacing along ``axis`` is ``distance``.

    Raises
    ------
    InputError
        As :func:`slice_matrix`, or when the axis is not 0, 1 or 2.

    Examples
    --------
    >>> thin = Volume(np.ones((8, 8, 12)), np.eye(4))
    >>> thick_slices(thin, 2, SliceProfile("gaussian", 4.0), distance=4.0)
    Volume(8x8x3 float64, 1x1x4 mm, RAS)
    """
    if axis not in (0, 1, 2):
        raise InputError(f"There is no axis {axis} in a volume.", "Choose 0, 1 or 2.", code="value-invalid")
    size, spacing = volume.shape[axis], volume.spacing[axis]
    centres = slice_positions(size, spacing, profile, distance, offset)
    values = _as_float(volume.array)
    matrix = profile_matrix(size, spacing, centres, profile, own).astype(values.dtype)
    array = np.moveaxis(np.moveaxis(values, axis - 3, -1) @ matrix.T, -1, axis - 3)
    affine = volume.affine.copy()
    affine[:3, 3] += centres[0] * affine[:3, axis]
    affine[:3, axis] *= distance / spacing
    return Volume(np.ascontiguousarray(array), affine)


def with_noise(volume: Volume, level: float, rng: np.random.Generator, kind: NoiseKind = "rician") -> Volume:
    """Add noise of a scanner; the same sample for every stored orientation.

    Parameters
    ----------
    volume:
        (i, j, k) intensities.
    level:
        Standard deviation (for ``rician``, of the real and of the imaginary part), relative to the 99th percentile of
        the image.
    rng:
        Source of randomness.
    kind:
        ``rician``, as in magnitude images, where negative values count as zero; or ``gaussian``.

    Raises
    ------
    InputError
        When the level is negative, the kind is unknown, or the volume has channels.

    Examples
    --------
    >>> image = Volume(np.full((8, 8, 8), 100.0), np.eye(4))
    >>> noisy = with_noise(image, 0.02, np.random.default_rng(0))
    >>> bool(1 < noisy.array.std() < 3)
    True
    """
    require_3d(volume, "The image")
    if kind not in NOISES:
        raise InputError(f"'{kind}' is not a kind of noise.", nearest(str(kind), NOISES), code="name-unknown")
    if not (np.isfinite(level) and level >= 0):
        raise InputError(
            f"A noise level of {level} is invalid.", "Give zero or more, such as 0.02.", code="value-invalid"
        )
    still = volume.reorient("RAS")
    values = _as_float(still.array)
    deviation = level * float(np.percentile(values, 99))
    noisy = values + deviation * rng.standard_normal(values.shape)
    if kind == "rician":
        noisy = np.hypot(noisy - values.clip(max=0), deviation * rng.standard_normal(values.shape))
    return still.with_array(noisy.astype(values.dtype)).reorient(volume.axcodes)


def _as_float(array: np.ndarray) -> np.ndarray:
    return array if array.dtype.kind == "f" else array.astype(np.float32)


def _gaussian_weights(distance: np.ndarray, variance: float) -> np.ndarray:
    """Return integrals of a Gaussian times the linear interpolation between voxels; all in voxels.

    Sampling the Gaussian instead would move slices that are about as thin as voxels towards the nearest one.
    """
    from scipy.special import ndtr

    sigma = max(np.sqrt(max(variance, 0.0)), _SHARPEST)

    def twice_integrated(place: np.ndarray) -> np.ndarray:
        scaled = place / sigma
        return np.asarray(place * ndtr(scaled) + sigma * np.exp(-0.5 * scaled**2) / np.sqrt(2 * np.pi))

    # Symmetric: the left half has no cancellation, unlike the right one.
    place = -np.abs(distance)
    weights = twice_integrated(place + 1) - 2 * twice_integrated(place) + twice_integrated(place - 1)
    positive: np.ndarray = np.maximum(weights, 0)
    return positive


def _box_weights(distance: np.ndarray, squared_width: float) -> np.ndarray:
    """Return the overlap of a box with each voxel; all in voxels."""
    half = max(np.sqrt(max(squared_width, 0.0)), _SHARPEST) / 2
    return np.asarray(np.maximum(np.minimum(distance + 0.5, half) - np.maximum(distance - 0.5, -half), 0))


def _require_axis(size: int, spacing: float) -> None:
    if size < 1:
        raise InputError(f"An axis of {size} voxels is invalid.", "Give at least one voxel.", code="value-invalid")
    _require_positive(spacing, "spacing")


def _require_positive(length: float, name: str) -> None:
    if not (np.isfinite(length) and length > 0):
        raise InputError(f"A {name} of {length} mm is invalid.", "Give a number above zero.", code="value-invalid")
