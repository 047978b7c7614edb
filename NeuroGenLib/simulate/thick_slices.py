"""Thick slices from thin ones: what a scan with a slice profile, gaps and noise would have measured."""

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
"""Voxels: the least width of a profile."""
_HAT_VARIANCE = 1 / 6
"""Voxels squared: what linear interpolation adds to the variance of a profile."""
_ROUNDING = 1e-9


@dataclass(frozen=True)
class SliceProfile:
    """How much each place across a slice contributes to it.

    Attributes
    ----------
    kind:
        ``gaussian``, or ``box`` where all of the slice counts alike.
    thickness:
        Full width at half maximum in mm.

    Raises
    ------
    InputError
        When there is no such kind, or the thickness is not a number above zero.
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
        When there is no such direction.
    """
    if direction not in DIRECTIONS:
        raise InputError(
            f"'{direction}' is not a direction of slices.", nearest(str(direction), DIRECTIONS), code="name-unknown"
        )
    return next(axis for axis, code in enumerate(volume.axcodes) if code in _TOWARDS[direction])


def slice_direction(volume: Volume, axis: int) -> Direction:
    """Return the direction of slices that lie across an array axis, the nearest when oblique."""
    return next(direction for direction in DIRECTIONS if slice_axis(volume, direction) == axis)


def thickest_axis(volume: Volume) -> int:
    """Return the array axis (0, 1, 2) with the largest spacing: that across the slices, as far as a header tells.

    Where spacings are equal to 0.1 %, it is the last of them.
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
    """Return where the centres of thick slices lie, (slices,), in voxels of the thin axis.

    Arguments and errors are those of :func:`slice_matrix`.
    """
    _require_axis(size, spacing)
    _require_positive(distance, "distance of slices")
    if not np.isfinite(offset):
        raise InputError(f"An offset of {offset} mm makes no sense.", "Give a number of mm.", code="value-invalid")
    length = size * spacing
    centred = max(1, int(length / distance + _ROUNDING))
    # The lattice of that many slices about the middle, moved; as far as it has centres inside.
    first = offset - (centred - 1) / 2 * distance
    step = np.arange(np.ceil((-length / 2 - first) / distance), np.floor((length / 2 - first) / distance) + 1)
    places = first + step * distance
    places = places[np.abs(places) < length / 2 * (1 - _ROUNDING)]
    if len(places) == 0:
        raise InputError(
            f"No slice of {profile.thickness:g} mm has its centre in a field of view of {length:g} mm"
            f" when slices are {distance:g} mm apart and moved by {offset:g} mm.",
            "Take thinner slices, or a smaller offset.",
            code="value-invalid",
        )
    return np.asarray(places / spacing + (size - 1) / 2)


def slice_matrix(
    size: int,
    spacing: float,
    profile: SliceProfile,
    distance: float,
    offset: float = 0.0,
    own: float | None = None,
) -> np.ndarray:
    """Return the (slices, size) matrix that scans one axis of thin voxels in thick slices; its rows add up to 1.

    Slices are centred on the field of view and moved by ``offset``; there are as many as have their centre inside.
    Profiles that reach beyond the field of view are cut there and scaled up.

    Parameters
    ----------
    size, spacing:
        Thin voxels along the axis, and their distance in mm.
    profile:
        Of a slice.
    distance:
        From slice to slice in mm: thickness and gap.
    offset:
        How far the slices are moved along the axis, in mm.
    own:
        Full width at half maximum in mm of what a thin voxel measures; when not given, ``spacing``. The profile is
        narrowed by it (in squares), so that thin voxels and profile together have the thickness.

    Raises
    ------
    InputError
        When a size or length is not above zero, or no slice has its centre inside the field of view.
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
        (slices,) in voxels of the thin axis, not further than half a voxel beyond the outermost ones.

    Raises
    ------
    InputError
        When a size or length is not above zero.
    """
    _require_axis(size, spacing)
    own = spacing if own is None else own
    if not (np.isfinite(own) and own >= 0):
        raise InputError(f"A resolution of {own} mm makes no sense.", "Give zero or more mm.", code="value-invalid")
    narrowed = (profile.thickness**2 - own**2) / spacing**2
    away = np.arange(size) - np.asarray(centres, dtype=np.float64)[:, None]
    if profile.kind == "gaussian":
        weights = _gaussian_weights(away, narrowed / FWHM_PER_SIGMA**2 - _HAT_VARIANCE)
    else:
        weights = _box_weights(away, narrowed + 1)
    normalised: np.ndarray = weights / weights.sum(axis=1, keepdims=True)
    return normalised


def thick_slices(
    volume: Volume, axis: int, profile: SliceProfile, distance: float, offset: float = 0.0, own: float | None = None
) -> Volume:
    """Return the volume as thick slices across one array axis, in the same place in the world.

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
        Float; its first voxel lies at the first slice's centre and its spacing along ``axis`` is ``distance``.

    Raises
    ------
    InputError
        As :func:`slice_matrix`, or when there is no such axis.
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
    """Return the volume with the noise of a scanner; the same draw for every order in which voxels are stored.

    Parameters
    ----------
    volume:
        (i, j, k) intensities.
    level:
        Standard deviation (of each of the two parts of the signal, for ``rician``), as a part of the 99th percentile
        of the image.
    rng:
        Source of randomness.
    kind:
        ``rician``, as of magnitude images, in which values below zero count as zero; or ``gaussian``.

    Raises
    ------
    InputError
        When the level is negative, there is no such kind, or the volume has channels.
    """
    require_3d(volume, "The image")
    if kind not in NOISES:
        raise InputError(f"'{kind}' is not a kind of noise.", nearest(str(kind), NOISES), code="name-unknown")
    if not (np.isfinite(level) and level >= 0):
        raise InputError(
            f"A noise level of {level} makes no sense.", "Give zero or more, such as 0.02.", code="value-invalid"
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


def _gaussian_weights(away: np.ndarray, variance: float) -> np.ndarray:
    """Return integrals of a Gaussian times the linear interpolation between voxels; all in voxels.

    Sampling the Gaussian instead would move slices that are about as thin as voxels towards the nearest one.
    """
    from scipy.special import ndtr

    sigma = max(np.sqrt(max(variance, 0.0)), _SHARPEST)

    def twice_integrated(place: np.ndarray) -> np.ndarray:
        scaled = place / sigma
        return np.asarray(place * ndtr(scaled) + sigma * np.exp(-0.5 * scaled**2) / np.sqrt(2 * np.pi))

    # Symmetric: the left half is free of the cancellation that the right one suffers.
    place = -np.abs(away)
    weights = twice_integrated(place + 1) - 2 * twice_integrated(place) + twice_integrated(place - 1)
    positive: np.ndarray = np.maximum(weights, 0)
    return positive


def _box_weights(away: np.ndarray, squared_width: float) -> np.ndarray:
    """Return how much of a box lies in each voxel; all in voxels."""
    half = max(np.sqrt(max(squared_width, 0.0)), _SHARPEST) / 2
    return np.asarray(np.maximum(np.minimum(away + 0.5, half) - np.maximum(away - 0.5, -half), 0))


def _require_axis(size: int, spacing: float) -> None:
    if size < 1:
        raise InputError(f"An axis of {size} voxels makes no sense.", "Give at least one voxel.", code="value-invalid")
    _require_positive(spacing, "spacing")


def _require_positive(length: float, name: str) -> None:
    if not (np.isfinite(length) and length > 0):
        raise InputError(f"A {name} of {length} mm makes no sense.", "Give a number above zero.", code="value-invalid")
