"""Volumes in world space: an array with its affine, which every capability takes and returns."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from NeuroGenLib.core.errors import InputError
from NeuroGenLib.core.memory import free_memory
from NeuroGenLib.spatial.array_geometry import (
    DIRECTIONS,
    TIE,
    apply_affine,
    axcodes_of,
    corner_gap,
    corners,
    orientation_of,
    permutation,
    permuted,
    permuted_affine,
    resampled,
    shifted,
    unpermuted,
)
from NeuroGenLib.spatial.files import volumes as volume_io
from NeuroGenLib.spatial.files.plausible import require_plausible
from NeuroGenLib.spatial.files.reading import reading

if TYPE_CHECKING:
    import os

log = logging.getLogger(__name__)

Grid: TypeAlias = "Volume | tuple[Sequence[int], np.ndarray]"
"""A volume, or (shape, affine) where there is no array."""

Box: TypeAlias = Sequence[tuple[int, int]]
"""(start, stop) in voxels along i, j and k, as in a slice."""

_OBLIQUE_DEGREES = 0.1
"""Above the rounding of affines in file headers (float32), below the tilt of an oblique scan."""
_SAME_VOXELS, _EQUAL_VOXELS = 0.05, 0.001
"""Distances of two grids, in voxels: up to the first they are one grid (resampling would blur more), up to the
second the difference is rounding."""
_INDEX_BYTES = 9
"""Of a voxel while it is sampled: its place in the source, float64, and whether it lies inside."""
_MOST_VOXELS = 2**32
"""16 GiB of float32: beyond it a grid is a mistyped spacing."""


@dataclass(frozen=True, eq=False, repr=False)
class Volume:
    """A 3-D image, label map or multi-channel image in world space.

    Every method returns a new volume that shares no memory with this one, except :meth:`with_array`, which takes
    the array it is given.

    Parameters
    ----------
    array:
        (i, j, k) or channels first (c, i, j, k), of a boolean, integer or float type. float16 becomes float32,
        and foreign byte orders the native one.
    affine:
        4x4 matrix from voxel indices i, j, k (voxel centres at whole numbers) to RAS mm; rotated, left-handed,
        anisotropic and sheared affines are all valid.

    Raises
    ------
    InputError
        When the array has another number of axes, no voxels or no numbers, or the affine is not a finite,
        invertible 4x4 matrix with last row 0 0 0 1.

    Examples
    --------
    A T2w image of 4 x 5 x 6 voxels, 1 x 1 x 3 mm:

    >>> affine = np.diag([1.0, 1.0, 3.0, 1.0])
    >>> image = Volume(np.arange(120.0).reshape(4, 5, 6), affine)
    >>> image
    Volume(4x5x6 float64, 1x1x3 mm, RAS)
    >>> image.resample(1.0).shape
    (4, 5, 18)
    """

    array: np.ndarray
    affine: np.ndarray

    def __post_init__(self) -> None:
        object.__setattr__(self, "array", _valid_array(np.asarray(self.array)))
        object.__setattr__(self, "affine", _valid_affine(self.affine))

    def __repr__(self) -> str:
        size = "x".join(str(n) for n in self.shape)
        channels = "" if self.channels is None else f"{self.channels} channels of "
        spacing = "x".join(f"{mm:.4g}" for mm in self.spacing)
        oblique = " oblique" if self.is_oblique else ""
        return f"Volume({channels}{size} {self.array.dtype}, {spacing} mm, {''.join(self.axcodes)}{oblique})"

    @classmethod
    def load(cls, path: str | os.PathLike[str], series: str | None = None) -> Volume:
        """Read NIfTI, NRRD, MetaImage, a DICOM file or a folder with a DICOM series.

        Values come scaled as the file says; integer files keep their type. A 4-D NIfTI (i, j, k, c) and a
        multi-component NRRD become (c, i, j, k); a single channel becomes 3-D. The affine is the NIfTI's sform,
        else its qform; a warning is logged where they differ. Commands and jobs refuse implausible sizes, and have
        options for what is read (:mod:`NeuroGenLib.spatial.files.reading`).

        Parameters
        ----------
        path, series:
            File, or folder with DICOM slices; number, UID or beginning of the UID where a folder holds several series.

        Raises
        ------
        InputError
            When the file is missing, truncated, corrupt or of an unknown kind, the folder has no DICOM or several
            series (they are listed), or slices are missing.

        Examples
        --------
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     Volume(np.zeros((2, 3, 4), np.int16), np.eye(4)).save(f"{folder}/sub-01_T2w.nii.gz")
        ...     Volume.load(f"{folder}/sub-01_T2w.nii.gz")
        Volume(2x3x4 uint8, 1x1x1 mm, RAS)
        """
        array, affine = volume_io.read(path, series)
        try:
            volume = cls(array, affine)
        except InputError as error:
            raise error.within(f"{path} cannot be used") from error
        if not reading().any_size:
            require_plausible(volume.shape, volume.affine, path)
        return volume

    def save(
        self,
        path: str | os.PathLike[str],
        dtype: np.typing.DTypeLike | None = None,
        *,
        frame_spacing: float = 1.0,
        frame_unit: str = "unknown",
    ) -> None:
        """Write ``.nii``, ``.nii.gz`` or ``.nrrd``, whole or not at all; the same volume gives the same bytes.

        Parameters
        ----------
        path, dtype:
            Where to write; type of the stored values (by default floats stay as they are and whole numbers take
            the smallest integer type that holds them).
        frame_spacing, frame_unit:
            Step between channels and its unit (``sec``, ``msec``, ``usec``, ``hz``, ``ppm``, ``rads``,
            ``unknown``), for the fourth axis of a multi-channel NIfTI.

        Raises
        ------
        InputError
            When the suffix is unknown, ``dtype`` cannot hold the values, or a sheared volume is to be NRRD.
        NeuroGenError
            When the file cannot be written.

        Examples
        --------
        >>> import tempfile
        >>> mask = Volume(np.ones((2, 2, 2), bool), np.eye(4))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     mask.save(f"{folder}/mask.nrrd", dtype=np.int16)
        ...     Volume.load(f"{folder}/mask.nrrd").array.dtype
        dtype('int16')
        """
        volume_io.write(
            path,
            self.array,
            self.affine,
            dtype=None if dtype is None else np.dtype(dtype),
            frame_spacing=frame_spacing,
            frame_unit=frame_unit,
        )

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of voxels along i, j, k.

        Examples
        --------
        >>> Volume(np.zeros((3, 4, 5, 6)), np.eye(4)).shape  # three channels
        (4, 5, 6)
        """
        i, j, k = self.array.shape[-3:]
        return i, j, k

    @property
    def channels(self) -> int | None:
        """Number of channels, or None for a 3-D array.

        Examples
        --------
        >>> Volume(np.zeros((3, 4, 5, 6)), np.eye(4)).channels
        3
        """
        return self.array.shape[0] if self.array.ndim == 4 else None

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Distance in mm between neighbouring voxel centres along i, j, k.

        Examples
        --------
        >>> Volume(np.zeros((4, 5, 6)), np.diag([-0.5, 0.5, 3.0, 1.0])).spacing
        (0.5, 0.5, 3.0)
        """
        i, j, k = (float(mm) for mm in np.linalg.norm(self.affine[:3, :3], axis=0))
        return i, j, k

    @property
    def axcodes(self) -> tuple[str, str, str]:
        """Anatomical direction in which i, j and k grow; the nearest one when oblique.

        Examples
        --------
        >>> Volume(np.zeros((4, 5, 6)), np.diag([-1.0, 1.0, 1.0, 1.0])).axcodes
        ('L', 'A', 'S')
        """
        return axcodes_of(self.affine)

    @property
    def is_oblique(self) -> bool:
        """Whether an array axis is more than 0.1 degrees away from the nearest anatomical axis.

        Examples
        --------
        >>> Volume(np.zeros((4, 5, 6)), np.eye(4)).is_oblique
        False
        """
        axes, _ = orientation_of(self.affine)
        cosines = np.abs(self.affine[axes, range(3)]) / np.asarray(self.spacing)
        return bool(cosines.min() < np.cos(np.deg2rad(_OBLIQUE_DEGREES)))

    @property
    def voxel_volume_ml(self) -> float:
        """Volume of one voxel in ml.

        Examples
        --------
        >>> round(Volume(np.zeros((4, 5, 6)), np.diag([2.0, 2.0, 5.0, 1.0])).voxel_volume_ml, 6)
        0.02
        """
        return float(abs(np.linalg.det(self.affine[:3, :3]))) / 1000.0

    @property
    def centre(self) -> np.ndarray:
        """Centre of the field of view, (3,), RAS mm.

        Examples
        --------
        >>> Volume(np.zeros((5, 7, 9)), np.eye(4)).centre.tolist()
        [2.0, 3.0, 4.0]
        """
        return self.voxel_to_world((np.asarray(self.shape) - 1) / 2)

    @property
    def world_bounds(self) -> np.ndarray:
        """Least and largest R, A, S in mm of the field of view (outer voxel faces), (2, 3).

        Examples
        --------
        >>> Volume(np.zeros((5, 7, 9)), np.eye(4)).world_bounds.tolist()
        [[-0.5, -0.5, -0.5], [4.5, 6.5, 8.5]]
        """
        world = self.voxel_to_world(corners(self.shape))
        return np.stack([world.min(axis=0), world.max(axis=0)])

    def voxel_to_world(self, ijk: np.typing.ArrayLike) -> np.ndarray:
        """Convert voxel indices (..., 3) to RAS mm (..., 3).

        Examples
        --------
        >>> image = Volume(np.zeros((4, 5, 6)), np.diag([1.0, 1.0, 3.0, 1.0]))
        >>> image.voxel_to_world((1, 2, 3)).tolist()
        [1.0, 2.0, 9.0]
        """
        return apply_affine(self.affine, ijk)

    def world_to_voxel(self, xyz: np.typing.ArrayLike) -> np.ndarray:
        """Convert RAS mm (..., 3) to voxel indices (..., 3), not rounded.

        Examples
        --------
        >>> image = Volume(np.zeros((4, 5, 6)), np.diag([1.0, 1.0, 2.0, 1.0]))
        >>> image.world_to_voxel([[1, 2, 3]]).tolist()
        [[1.0, 2.0, 1.5]]
        """
        return apply_affine(np.linalg.inv(self.affine), xyz)

    def same_space(self, other: Grid, tolerance: float | None = None) -> bool:
        """Whether ``other`` has the same shape and every corner of its field of view within ``tolerance`` mm.

        The default is a twentieth of the smallest voxel side: headers are often rounded to a few digits.

        Examples
        --------
        >>> image = Volume(np.zeros((4, 5, 6)), np.eye(4))
        >>> image.same_space(((4, 5, 6), np.eye(4))), image.same_space(image.reorient("LAS"))
        (True, False)
        """
        shape, affine = _grid(other)
        most = _SAME_VOXELS * min(self.spacing) if tolerance is None else tolerance
        return shape == self.shape and corner_gap(shape, affine, self.affine) <= most

    def with_array(self, array: np.ndarray) -> Volume:
        """Return ``array``, (i, j, k) or (c, i, j, k), in this volume's space.

        Raises
        ------
        InputError
            When its spatial shape differs from that of this volume.

        Examples
        --------
        >>> image = Volume(np.zeros((4, 5, 6)), np.eye(4))
        >>> image.with_array(image.array > 0)
        Volume(4x5x6 bool, 1x1x1 mm, RAS)
        """
        result = Volume(array, self.affine)
        if result.shape != self.shape:
            raise InputError(
                f"An array of {result.shape} voxels does not fit {self.shape}.",
                "Keep the volume's grid.",
                code="geometry-mismatch",
            )
        return result

    def reorient(self, axcodes: str | Sequence[str]) -> Volume:
        """Return the same voxels stored in another orientation: axes permuted and flipped, the affine to match.

        Parameters
        ----------
        axcodes:
            Directions in which i, j, k are to grow, such as ``"RAS"``; of an oblique volume the nearest axes.

        Raises
        ------
        InputError
            When these are not three different anatomical directions.

        Examples
        --------
        >>> image = Volume(np.arange(24).reshape(2, 3, 4), np.eye(4))
        >>> sagittal = image.reorient("PIR")
        >>> sagittal.shape, sagittal.voxel_to_world((0, 0, 0)).tolist()
        ((3, 4, 2), [0.0, 2.0, 3.0])
        """
        order, flipped = permutation(self.affine, _codes(axcodes))
        array = permuted(self.array, order, flipped)
        return Volume(np.array(array, order="C"), permuted_affine(self.shape, self.affine, order, flipped))

    def resample(
        self,
        spacing: float | Sequence[float] | None = None,
        *,
        like: Grid | None = None,
        order: int = 1,
        fill: float = 0,
    ) -> Volume:
        """Resample this volume to another grid.

        Parameters
        ----------
        spacing, like:
            Either the new spacing in mm, one number or one along each of i, j, k (directions and the centre of the
            field of view are kept, its outer faces to within half a voxel), or the grid to sample on, a volume or
            (shape, affine).
        order:
            0 takes the nearest voxel and keeps the type (for labels), 1 is linear, 3 a cubic spline. With 1 and 3
            the result is float, and axes that get coarser are smoothed first (Gaussian, so that the full width at
            half maximum grows from the old voxel size to the new one).
        fill:
            Value outside this volume's field of view.

        Raises
        ------
        InputError
            When the spacing is not positive, the grid is invalid or too large, or ``fill`` does not fit the type.

        Examples
        --------
        >>> image = Volume(np.arange(8.0).reshape(8, 1, 1), np.eye(4))
        >>> image.resample((2.0, 1.0, 1.0)).shape
        (4, 1, 1)
        >>> labels = Volume(np.array([0, 0, 3, 3]).reshape(4, 1, 1), np.eye(4))
        >>> labels.resample(like=((3, 1, 1), np.diag([1.4, 1.0, 1.0, 1.0])), order=0).array.ravel().tolist()
        [0, 0, 3]
        """
        if (spacing is None) == (like is None):
            raise InputError(
                "Resampling needs either a spacing or a grid.", "Give one of spacing= and like=.", code="value-conflict"
            )
        if order not in (0, 1, 3):
            raise InputError(
                f"{order} is not an order of interpolation.",
                "Choose 0 (nearest), 1 (linear), 3 (cubic).",
                code="value-invalid",
            )
        shape, affine = _grid(like) if like is not None else self._grid_with(spacing)
        _require_memory(shape, self.channels or 1)
        if order == 0:
            _require_fitting(fill, self.array.dtype)
        # Both grids in RAS order: the result depends on where voxels are, not on how they are stored.
        source = self.reorient("RAS")
        axes, flipped = permutation(affine, "RAS")
        grid_shape = [shape[axis] for axis in axes]
        to_source = np.linalg.inv(source.affine) @ permuted_affine(shape, affine, axes, flipped)
        layers = source.array if source.array.ndim == 4 else source.array[None]
        sampled = np.stack([resampled(layer, to_source, grid_shape, order, fill) for layer in layers])
        array = np.ascontiguousarray(unpermuted(sampled, axes, flipped))
        return Volume(array if self.channels is not None else array[0], affine)

    def crop(self, box: Box) -> Volume:
        """Return the voxels of ``box``, (start, stop) along i, j, k; each keeps its world coordinates.

        Raises
        ------
        InputError
            When the box is empty or reaches outside.

        Examples
        --------
        >>> part = Volume(np.zeros((4, 5, 6)), np.eye(4)).crop([(1, 3), (0, 5), (2, 6)])
        >>> part.shape, part.voxel_to_world((0, 0, 0)).tolist()
        ((2, 5, 4), [1.0, 0.0, 2.0])
        """
        limits = [(int(start), int(stop)) for start, stop in box]
        if len(limits) != 3 or any(not 0 <= a < b <= n for (a, b), n in zip(limits, self.shape, strict=True)):
            raise InputError(
                f"The box {limits} does not lie in a volume of {self.shape} voxels.",
                "Give (start, stop) for i, j and k, with 0 <= start < stop <= size.",
                code="value-invalid",
            )
        (i, i_end), (j, j_end), (k, k_end) = limits
        array = self.array[..., i:i_end, j:j_end, k:k_end]
        return Volume(np.array(array, order="C"), shifted(self.affine, (i, j, k)))

    def crop_to(self, mask: Volume, margin_mm: float = 0.0) -> Volume:
        """Crop to the bounding box of the nonzero voxels of ``mask`` with a margin.

        The margin, in mm, is rounded up to whole voxels and ends at the border of the volume.

        Raises
        ------
        InputError
            When the mask is in another space, has channels or is empty, or the margin is negative.

        Examples
        --------
        >>> image = Volume(np.zeros((9, 9, 9)), np.eye(4))
        >>> brain = np.zeros((9, 9, 9), bool)
        >>> brain[4, 4, 3:6] = True
        >>> image.crop_to(image.with_array(brain), margin_mm=2).shape
        (5, 5, 7)
        """
        require_3d(mask, "The mask")
        require_same_space({"the volume": self, "the mask": mask})
        if not (np.isfinite(margin_mm) and margin_mm >= 0):
            raise InputError(f"A margin of {margin_mm} mm is invalid.", "Give zero or more mm.", code="value-invalid")
        filled = mask.array != 0
        if not filled.any():
            raise InputError("The mask is empty.", "Check that it is the right file and threshold.", code="image-empty")
        box = []
        for axis, (size, mm) in enumerate(zip(self.shape, self.spacing, strict=True)):
            inside = np.flatnonzero(filled.any(axis=tuple({0, 1, 2} - {axis})))
            margin = int(np.ceil(margin_mm / mm - TIE))
            box.append((max(0, int(inside[0]) - margin), min(size, int(inside[-1]) + 1 + margin)))
        return self.crop(box)

    def pad(self, margin: int | Sequence[int] | Sequence[tuple[int, int]], fill: float = 0) -> Volume:
        """Return this volume with voxels of value ``fill`` added around it.

        Parameters
        ----------
        margin, fill:
            Voxels to add (one number, one along each of i, j, k, or (before, after) along each) and their value.

        Raises
        ------
        InputError
            When a margin is negative, or ``fill`` does not fit the type.

        Examples
        --------
        >>> padded = Volume(np.ones((2, 2, 2)), np.eye(4)).pad([(1, 0), (0, 0), (0, 3)])
        >>> padded.shape, padded.voxel_to_world((0, 0, 0)).tolist()
        ((3, 2, 5), [-1.0, 0.0, 0.0])
        """
        try:
            pairs = np.broadcast_to(np.asarray(margin).reshape(-1, 1) if np.ndim(margin) < 2 else margin, (3, 2))
        except ValueError as error:
            raise InputError(
                f"{margin} is not a margin.", "Give one number, three, or three pairs.", code="value-invalid"
            ) from error
        if (pairs < 0).any() or (pairs != np.trunc(pairs)).any():
            raise InputError(
                f"The margin {margin} is not a number of voxels from 0.",
                "To remove voxels, use crop.",
                code="value-invalid",
            )
        _require_fitting(fill, self.array.dtype)
        widths = [(int(before), int(after)) for before, after in pairs]
        array = np.pad(self.array, [(0, 0)] * (self.array.ndim - 3) + widths, constant_values=fill)
        return Volume(array, shifted(self.affine, [-before for before, _ in widths]))

    def paste_into(self, whole: Grid, fill: float = 0) -> Volume:
        """Return this volume on the grid that it was cropped from: the inverse of crop, pad and reorient.

        Parameters
        ----------
        whole, fill:
            The original volume or its (shape, affine); the value of its other voxels. What lies outside is dropped.

        Raises
        ------
        InputError
            When the two grids do not coincide voxel by voxel or do not overlap, or ``fill`` does not fit the type.

        Examples
        --------
        >>> image = Volume(np.ones((4, 4, 4), np.uint8), np.eye(4))
        >>> part = image.crop([(0, 2), (0, 4), (0, 4)]).reorient("LPS")
        >>> int(part.paste_into(image).array.sum())
        32
        """
        shape, affine = _grid(whole)
        part = self.reorient(axcodes_of(affine))
        start = np.round(apply_affine(np.linalg.inv(affine), part.affine[:3, 3])).astype(int)
        if corner_gap(part.shape, shifted(affine, start), part.affine) > 1e-3:
            raise InputError(
                "The two grids do not coincide voxel by voxel.",
                "Resample with like= instead.",
                code="geometry-mismatch",
            )
        first, stop = np.maximum(start, 0), np.minimum(start + part.shape, shape)
        if (first >= stop).any():
            raise InputError(
                "The two grids do not overlap.", "Check that they belong to the same scan.", code="geometry-mismatch"
            )
        inside = part.crop(np.stack([first - start, stop - start], axis=1).tolist())
        return Volume(inside.pad(np.stack([first, shape - stop], axis=1).tolist(), fill).array, affine)

    def _grid_with(self, spacing: float | Sequence[float] | None) -> tuple[tuple[int, int, int], np.ndarray]:
        """Return the grid with another spacing about the same centre."""
        widths = np.asarray(spacing, dtype=np.float64)
        if widths.shape not in ((), (3,)) or not (np.isfinite(widths) & (widths > 1e-6)).all():
            raise InputError(
                f"A spacing of {spacing} mm is invalid.",
                "Give one positive number of mm, or three.",
                code="value-invalid",
            )
        factor = widths / np.asarray(self.spacing)
        shape = np.maximum(1, np.floor(np.asarray(self.shape) / factor + 0.5 + TIE))
        affine = self.affine.copy()
        affine[:3, :3] *= factor
        affine[:3, 3] = self.centre - affine[:3, :3] @ ((shape - 1) / 2)
        i, j, k = (int(n) for n in shape)
        return (i, j, k), affine


def require_same_space(volumes: Mapping[str, Volume]) -> None:
    """Require that all ``volumes`` (name to volume) share one grid: see :meth:`Volume.same_space`.

    A warning is logged where two lie more than a thousandth of a voxel apart.

    Raises
    ------
    InputError
        Naming the first two that differ, and how.

    Examples
    --------
    >>> image = Volume(np.zeros((4, 5, 6)), np.eye(4))
    >>> require_same_space({"the image": image, "the mask": image.with_array(image.array > 0)})
    """
    for (name_a, a), (name_b, b) in combinations(volumes.items(), 2):
        gap = corner_gap(a.shape, a.affine, b.affine)
        if a.same_space(b):
            if gap > _EQUAL_VOXELS * min(a.spacing):
                log.warning(
                    "%s and %s lie up to %.2g mm apart; they were taken to share one grid.", name_a, name_b, gap
                )
            continue
        if a.shape != b.shape:
            how = f"{a.shape} and {b.shape} voxels"
        else:
            how = f"up to {gap:.3g} mm apart; {''.join(a.axcodes)} and {''.join(b.axcodes)}"
        raise InputError(
            f"{name_a} and {name_b} are not in the same space ({how}).",
            "Resample one like the other.",
            code="geometry-mismatch",
        )


def require_finite(volume: Volume, name: str) -> None:
    """Require that every voxel of ``volume`` is a finite number.

    Raises
    ------
    InputError
        Naming ``name`` and the number of voxels that are NaN or infinite.

    Examples
    --------
    >>> require_finite(Volume(np.zeros((4, 5, 6)), np.eye(4)), "The image")
    """
    bad = int(volume.array.size - np.isfinite(volume.array).sum())
    if bad:
        raise InputError(
            f"{name} has {bad} voxel{'s' if bad > 1 else ''} that {'are' if bad > 1 else 'is'} NaN or infinite.",
            "Replace them, for instance by 0, or make the image again.",
            code="image-not-finite",
        )


def require_3d(volume: Volume, name: str) -> None:
    """Require that ``volume`` has no channels.

    Raises
    ------
    InputError
        Naming ``name`` and the number of channels.

    Examples
    --------
    >>> require_3d(Volume(np.zeros((4, 5, 6)), np.eye(4)), "The image")
    """
    if volume.channels is not None:
        raise InputError(
            f"{name} has {volume.channels} channels or time points; a 3-D volume is needed.",
            "Extract one of them, or average them, and save it as a 3-D file.",
            code="image-dimensions",
        )


# --- checks ---------------------------------------------------------------------------------------------------------


def _valid_array(array: np.ndarray) -> np.ndarray:
    if array.dtype.kind not in "biuf":
        what = "colours" if array.dtype.fields else f"values of type {array.dtype}"
        raise InputError(
            f"The volume holds {what}, not plain numbers.", "Export it as a grey-value image.", code="value-invalid"
        )
    if array.ndim not in (3, 4):
        raise InputError(
            f"The array has {array.ndim} axes; a volume has three, and channels before them.",
            "Give (i, j, k) or (c, i, j, k).",
            code="image-dimensions",
        )
    if array.size == 0:
        raise InputError(
            f"The array of shape {array.shape} holds no voxels.",
            "Check the file or the crop that made it.",
            code="image-empty",
        )
    if array.dtype == np.float16:
        return array.astype(np.float32)
    if array.dtype.itemsize > 8:
        return array.astype(np.float64)
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _valid_affine(affine: np.ndarray) -> np.ndarray:
    matrix = np.array(affine, dtype=np.float64)
    remedy = "Repair the header, or export the image again from its source."
    if matrix.shape != (4, 4):
        raise InputError(f"The affine has shape {matrix.shape}, not (4, 4).", remedy, code="geometry-invalid")
    if not np.isfinite(matrix).all():
        raise InputError("The affine holds NaN or infinite numbers.", remedy, code="geometry-invalid")
    if not np.array_equal(matrix[3], (0, 0, 0, 1)):
        raise InputError(
            f"The last row of the affine is {matrix[3].tolist()}, not 0 0 0 1.", remedy, code="geometry-invalid"
        )
    lengths = np.linalg.norm(matrix[:3, :3], axis=0)
    if not lengths.all() or abs(np.linalg.det(matrix[:3, :3] / lengths)) < 1e-6:
        raise InputError(
            "The affine is flat: it maps the volume onto a plane, a line or a point.", remedy, code="geometry-invalid"
        )
    matrix.flags.writeable = False
    return matrix


def _grid(grid: Grid) -> tuple[tuple[int, int, int], np.ndarray]:
    if isinstance(grid, Volume):
        return grid.shape, grid.affine
    shape, affine = grid
    if len(shape) != 3 or any(n != int(n) or n < 1 for n in shape):
        raise InputError(
            f"{tuple(shape)} is not the shape of a grid.",
            "Give three positive numbers of voxels.",
            code="value-invalid",
        )
    i, j, k = (int(n) for n in shape)
    return (i, j, k), _valid_affine(affine)


def _require_memory(shape: Sequence[int], channels: int) -> None:
    """Require that a grid is of a plausible size, and that there is memory to sample it."""
    voxels = float(np.prod(shape, dtype=np.float64))
    needed, free = voxels * (_INDEX_BYTES + channels * np.float32().itemsize), free_memory()
    if voxels > _MOST_VOXELS or (free is not None and needed > free):
        raise InputError(
            f"A grid of {tuple(shape)} voxels is too large: it needs {needed / 2**30:.3g} GiB of memory.",
            "Ask for a coarser spacing or a smaller box; check the voxel sizes in the header.",
            code="image-too-large",
        )


def _require_fitting(fill: float, dtype: np.dtype) -> None:
    if dtype.kind == "f":
        return
    try:
        fits = bool(dtype.type(fill) == fill)
    except (OverflowError, ValueError):
        fits = False
    if not fits:
        raise InputError(
            f"The fill value {fill} is not a {dtype}.",
            "Choose one that the volume's type can hold.",
            code="value-invalid",
        )


def _codes(axcodes: str | Sequence[str]) -> tuple[str, ...]:
    codes = tuple(str(code).upper() for code in axcodes)
    if sorted(DIRECTIONS.get(code, (-1,))[0] for code in codes) != [0, 1, 2]:
        raise InputError(
            f"'{''.join(str(code) for code in axcodes)}' is not an orientation.",
            "Take one letter each of R or L, A or P, S or I, such as RAS.",
            code="value-invalid",
        )
    return codes
