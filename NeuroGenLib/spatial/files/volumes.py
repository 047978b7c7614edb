"""File formats of :class:`NeuroGenLib.spatial.volume.Volume`: NIfTI, NRRD, MetaImage and DICOM.

Readers return ``(array, affine)``: the array in i,j,k order with channels first, the affine to RAS mm.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from NeuroGenLib.core.errors import InputError
from NeuroGenLib.core.files import existing_file
from NeuroGenLib.spatial.files import dicom
from NeuroGenLib.spatial.files.dicom_headers import is_dicom
from NeuroGenLib.spatial.files.formats import ITK_SUFFIXES, NIFTI_SUFFIXES, WRITTEN_SUFFIXES, volume_suffix
from NeuroGenLib.spatial.files.itk import from_itk, is_sheared, read_itk, sheared, write_nrrd
from NeuroGenLib.spatial.files.itk_geometry import warn_of_missing_geometry
from NeuroGenLib.spatial.files.nifti import read_nifti, write_nifti
from NeuroGenLib.spatial.files.reading import reading

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence


def read(path: str | os.PathLike[str], series: str | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Read a file, or a folder with a DICOM series.

    Parameters
    ----------
    path:
        NIfTI, NRRD or MetaImage file by its suffix, a DICOM file, or a folder of DICOM files.
    series:
        For a folder that holds several: SeriesInstanceUID, the beginning of one, or a series number.

    Returns
    -------
    array, affine:
        (i, j, k) or (c, i, j, k), C-contiguous; 4x4 to RAS mm.

    Raises
    ------
    InputError
        When the file is missing, truncated, corrupt, of another kind, or the series is ambiguous or incomplete.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write(f"{folder}/labels.nii.gz", np.zeros((2, 3, 4), np.int16), np.eye(4))
    ...     array, affine = read(f"{folder}/labels.nii.gz")
    >>> array.shape, array.dtype
    ((2, 3, 4), dtype('uint8'))
    """
    path = Path(path)
    if path.is_dir():
        array, affine = dicom.read_folder(path, series or reading().series)
    elif series is not None:
        raise InputError(
            f"{path} is not a folder, so it has no DICOM series to choose.",
            "Leave the series out.",
            code="value-conflict",
        )
    else:
        array, affine = _read_file(existing_file(path))
    return np.ascontiguousarray(array), affine


def write(
    path: str | os.PathLike[str],
    array: np.ndarray,
    affine: np.ndarray,
    *,
    dtype: np.dtype | None = None,
    frame_spacing: float = 1.0,
    frame_unit: str = "unknown",
) -> None:
    """Write an (i, j, k) or (c, i, j, k) array as NIfTI or NRRD, whole or not at all.

    Raises
    ------
    InputError
        When the suffix is not one that is written, ``dtype`` cannot hold the values, the frame unit is unknown,
        or the affine is sheared and the file is NRRD.
    NeuroGenError
        When the file cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write(f"{folder}/displacement.nrrd", np.zeros((3, 4, 5, 6), np.float32), np.eye(4))
    ...     read(f"{folder}/displacement.nrrd")[0].shape
    (3, 4, 5, 6)
    """
    path = Path(path)
    require_writable(path, affine)
    stored = _stored_values(array, dtype, path)
    if volume_suffix(path) == ".nrrd":
        write_nrrd(path, stored, affine)
    else:
        data = np.moveaxis(stored, 0, -1) if stored.ndim == 4 else stored
        write_nifti(path, data, affine, frame_spacing=frame_spacing, frame_unit=frame_unit)


def require_writable(path: Path, affine: np.ndarray) -> None:
    """Require that a file of this name can hold a volume with this affine; ask it before the work.

    Raises
    ------
    InputError
        When the suffix is not one that is written, or the file is NRRD and the affine sheared.
    """
    suffix = volume_suffix(path)
    if suffix not in WRITTEN_SUFFIXES:
        raise InputError(
            f"{path} cannot be written: '{path.suffix}' is not a format NeuroGen writes.",
            f"End the name in {', '.join(WRITTEN_SUFFIXES)}.",
            code="file-type",
        )
    if suffix == ".nrrd" and is_sheared(affine):
        raise sheared(str(path))


def write_frames(
    path: str | os.PathLike[str],
    frames: Sequence[np.ndarray],
    affine: np.ndarray,
    *,
    frame_spacing: float = 1.0,
    frame_unit: str = "unknown",
    slope: float | None = None,
    squeeze: bool = False,
) -> None:
    """Write arrays of one grid as the frames of one NIfTI file, over ages or over classes.

    Parameters
    ----------
    path:
        ``.nii`` or ``.nii.gz``.
    frames:
        (i, j, k) each, which gives (i, j, k, frame); or (c, i, j, k) each, which gives (i, j, k, frame, c).
    affine:
        Voxel to RAS mm.
    frame_spacing, frame_unit:
        Step between frames and its unit, as for :meth:`NeuroGenLib.spatial.volume.Volume.save`.
    slope:
        Factor by which readers multiply the stored values; the frames hold the stored values.
    squeeze:
        Omit the frame axis when there is one frame.

    Raises
    ------
    InputError
        When the name does not end in ``.nii`` or ``.nii.gz``.
    NeuroGenError
        When the file cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_frames(f"{folder}/ages.nii.gz", [np.zeros((2, 3, 4)), np.ones((2, 3, 4))], np.eye(4))
    ...     read(f"{folder}/ages.nii.gz")[0].shape
    (2, 2, 3, 4)
    """
    path = Path(path)
    if volume_suffix(path) not in (".nii", ".nii.gz"):
        raise InputError(f"{path} cannot hold several frames.", "End the name in .nii.gz.", code="file-type")
    stored = [_stored_values(frame, None, path) for frame in frames]
    common = np.result_type(*stored)
    data = np.stack([np.moveaxis(frame, 0, -1) if frame.ndim == 4 else frame for frame in stored], axis=3)
    if squeeze and len(frames) == 1:
        data = data[:, :, :, 0]
    write_nifti(
        path, data.astype(common, copy=False), affine, frame_spacing=frame_spacing, frame_unit=frame_unit, slope=slope
    )


def _read_file(path: Path) -> tuple[np.ndarray, np.ndarray]:
    suffix = volume_suffix(path)
    if suffix in NIFTI_SUFFIXES:
        return read_nifti(path)
    if suffix in ITK_SUFFIXES:
        image = read_itk(path, ITK_SUFFIXES[suffix])
        warn_of_missing_geometry(path)
        return from_itk(image, path)
    if is_dicom(path):
        return dicom.read_file(path)
    raise InputError(
        f"{path} is not a volume NeuroGen reads.",
        f"Give a DICOM folder or a file that ends in {', '.join((*NIFTI_SUFFIXES, *ITK_SUFFIXES))}.",
        code="file-type",
    )


def _stored_values(array: np.ndarray, dtype: np.dtype | None, path: Path) -> np.ndarray:
    """Return ``array`` in the type to write; whole numbers take the smallest type that holds them."""
    if dtype is None:
        if array.dtype.kind == "f":
            return array
        if array.dtype.kind == "b":
            return array.astype(np.uint8)
        low, high = int(array.min()), int(array.max())
        return array.astype(np.min_scalar_type(high if low >= 0 else min(low, -high - 1)))
    dtype = np.dtype(dtype)
    if dtype.kind not in "iuf" or dtype.itemsize not in (1, 2, 4, 8) or dtype == np.float16:
        raise InputError(
            f"{path} cannot be written as {dtype}.",
            "Choose uint8, int16, uint16, int32, float32 or float64.",
            code="value-invalid",
        )
    with np.errstate(all="ignore"):
        stored = array.astype(dtype)
    both_float = dtype.kind == "f" and array.dtype.kind == "f"
    kept = np.isfinite(stored) == np.isfinite(array) if both_float else stored == array
    if not kept.all():
        raise InputError(
            f"{path} cannot be written as {dtype}: {int((~kept).sum())} voxels hold values that it cannot hold.",
            "Choose a float type, or round the values first.",
            code="value-invalid",
        )
    return stored
