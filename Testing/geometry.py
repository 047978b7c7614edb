"""The geometry that every capability is tested with: a phantom, and the ways in which scanners store it.

Orientations are made by nibabel and the phantom from formulas, so that they do not rest on the code under test.
"""

from __future__ import annotations

from itertools import permutations, product
from typing import TYPE_CHECKING, NamedTuple

import nibabel
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from NeuroGenLib.spatial.volume import Volume

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ALL_ORIENTATIONS = tuple(
    "".join(codes) for axes in permutations(("RL", "AP", "SI")) for codes in product(*(tuple(axis) for axis in axes))
)
"""The 48 ways to store a volume."""

FEW_ORIENTATIONS = ("RAS", "LAS", "RSA", "LIP", "ALS", "PSL", "SRP", "SPL")
"""Every order of the axes, half of them left-handed."""

SWEEP = [pytest.param(codes, marks=[] if codes in FEW_ORIENTATIONS else pytest.mark.slow) for codes in ALL_ORIENTATIONS]
"""The 48 as parameters of a test: the few in the quick tier, the others slow."""

ORIENTATIONS = ("RAS", "LPS", "LAS", "RSA", "PIR", "ILA")
"""Scanner's, DICOM's, FSL's and sagittal or coronal storage; half of them left-handed."""

ANISOTROPIC_MM = (1.5, 2.0, 5.0)


class Phantom(NamedTuple):
    """A head: float32 image, and uint8 label map with the values of ``fetal-tissues.tsv``."""

    image: Volume
    labels: Volume


class _Ellipsoid(NamedTuple):
    label: int
    centre: tuple[float, float, float]
    radii: tuple[float, float, float]
    intensity: float


_HEAD = (
    _Ellipsoid(4, (0, 0, 0), (29, 37, 27), 900),
    _Ellipsoid(5, (0, 1, 1), (26, 34, 24), 450),
    _Ellipsoid(1, (0, 2, 2), (22, 29, 19), 600),
    _Ellipsoid(6, (1, 1, -3), (12, 13, 8), 400),
    _Ellipsoid(8, (0, 4, 11), (5, 14, 3.5), 700),
    _Ellipsoid(2, (-8, -3, 5), (5, 14, 5), 950),
    _Ellipsoid(2, (7, -1, 4), (3.5, 11, 4), 950),
    _Ellipsoid(3, (3, -22, -13), (13, 9, 8), 500),
    _Ellipsoid(7, (0, -11, -15), (5, 5, 9), 550),
)
_SOFTNESS_MM = 2.0


def a_brain_phantom(
    shape: Sequence[int] = (40, 48, 36), spacing: float = 2.0, affine: np.ndarray | None = None
) -> Phantom:
    """Draw an asymmetric head of nested ellipsoids, 58 x 74 x 54 mm about the world's origin.

    It is a function of the world position alone: drawn on another grid it is the exact result of resampling. The
    grid is RAS about the origin with ``spacing`` mm, or what ``affine`` says.
    """
    if affine is None:
        affine = np.diag([spacing, spacing, spacing, 1.0])
        affine[:3, 3] = -spacing * (np.asarray(shape) - 1) / 2
    indices = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), axis=-1)
    world = indices @ affine[:3, :3].T + affine[:3, 3]
    image = np.zeros(tuple(shape))
    labels = np.zeros(tuple(shape), dtype=np.uint8)
    for part in _HEAD:
        depth = 1 - np.linalg.norm((world - part.centre) / part.radii, axis=-1)
        weight = 1 / (1 + np.exp(-depth * min(part.radii) / _SOFTNESS_MM))
        image = image * (1 - weight) + part.intensity * weight
        labels[depth > 0] = part.label
    image *= 1 + world @ (0.002, -0.001, 0.003)
    return Phantom(Volume(image.astype(np.float32), affine), Volume(labels, affine))


def reoriented(volume: Volume, axcodes: str) -> Volume:
    """Store ``volume`` in another orientation, by nibabel."""
    orientations = nibabel.orientations
    move = orientations.ornt_transform(
        orientations.io_orientation(volume.affine), orientations.axcodes2ornt(tuple(axcodes))
    )
    array = volume.array if volume.channels is None else np.moveaxis(volume.array, 0, -1)
    array = orientations.apply_orientation(array, move)
    affine = volume.affine @ orientations.inv_ornt_aff(move, volume.shape)
    return Volume(np.ascontiguousarray(array if volume.channels is None else np.moveaxis(array, -1, 0)), affine)


def orientations(volume: Volume, axcodes: Sequence[str] = ORIENTATIONS) -> Iterator[tuple[str, Volume]]:
    """Yield (name, the same volume stored in that orientation); pass ``ALL_ORIENTATIONS`` for all 48."""
    for codes in axcodes:
        yield codes, reoriented(volume, codes)


def rotation(degrees: float, centre: Sequence[float] | np.ndarray, axis: Sequence[float] = (1, 2, 3)) -> np.ndarray:
    """Return the 4x4 rotation about ``axis`` through ``centre`` (RAS mm)."""
    direction = np.asarray(axis, dtype=float) / np.linalg.norm(axis)
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_rotvec(np.deg2rad(degrees) * direction).as_matrix()
    matrix[:3, 3] = np.asarray(centre) - matrix[:3, :3] @ np.asarray(centre)
    return matrix


def oblique(volume: Volume, degrees: float = 20.0) -> Volume:
    """Return the same array under an affine rotated about its centre: the head itself is turned."""
    return Volume(volume.array, rotation(degrees, volume.centre) @ volume.affine)


def rotated_copy(volume: Volume, degrees: float = 20.0, order: int = 1) -> Volume:
    """Return the same head in the same place, sampled on a grid rotated about the centre."""
    grid = oblique(volume, degrees)
    return volume.resample(like=(grid.shape, grid.affine), order=order)


def anisotropic(volume: Volume, spacing: Sequence[float] = ANISOTROPIC_MM, order: int = 1) -> Volume:
    """Return the volume with other voxel sizes, by default thick slices."""
    return volume.resample(spacing=spacing, order=order)


def same_in_world(a: Volume, b: Volume, tolerance: float = 1e-5) -> bool:
    """Whether two volumes hold the same values, to ``tolerance``, at the same places, however they are stored."""
    b = reoriented(b, "".join(nibabel.aff2axcodes(a.affine)))
    if a.array.shape != b.array.shape or not np.allclose(a.affine, b.affine, rtol=0, atol=1e-3):
        return False
    return bool(np.allclose(a.array.astype(float), b.array.astype(float), rtol=0, atol=tolerance, equal_nan=True))


def dice(a: Volume, b: Volume) -> float:
    """Return the mean Dice overlap of all labels but 0 of two label maps on one grid."""
    values = np.union1d(a.array, b.array)
    overlaps = [
        2.0 * ((a.array == value) & (b.array == value)).sum() / ((a.array == value).sum() + (b.array == value).sum())
        for value in values[values != 0]
    ]
    return float(np.mean(overlaps))
