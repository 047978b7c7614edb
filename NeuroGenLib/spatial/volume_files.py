"""File formats of :class:`NeuroGenLib.spatial.volume.Volume`: NIfTI, NRRD, MetaImage and DICOM.

Readers return ``(array, affine)``: the array in i,j,k order with channels first, the affine to RAS mm. ITK
(NRRD, MetaImage, DICOM) uses LPS and k,j,i; this module converts between the two.
"""

from __future__ import annotations

import gzip
import logging
import math
import re
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from NeuroGenLib.core.errors import InputError, nearest
from NeuroGenLib.core.files import atomic_file, existing_file

if TYPE_CHECKING:
    import io
    import os
    from collections.abc import Sequence

    import SimpleITK

log = logging.getLogger(__name__)

NIFTI_SUFFIXES = (".nii.gz", ".nii")
ITK_SUFFIXES = {".nrrd": "NrrdImageIO", ".nhdr": "NrrdImageIO", ".mha": "MetaImageIO", ".mhd": "MetaImageIO"}
WRITTEN_SUFFIXES = (".nii.gz", ".nii", ".nrrd")
FRAME_UNITS = ("unknown", "sec", "msec", "usec", "hz", "ppm", "rads")

_ITK_KINDS = {"NrrdImageIO": "NRRD", "MetaImageIO": "MetaImage", "GDCMImageIO": "DICOM"}
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_LARGEST_NIFTI_AXIS = 32767
_GZIP_LEVEL = 6
"""zlib's default, a compromise of time and size."""
_GZIP_MOST = 1040
"""Upper bound of gzip's compression ratio (1032 for deflate), with a margin for headers."""
_GZIP_MAGIC = b"\x1f\x8b"
_QFORM_TOLERANCE_MM = 0.01
_SHEAR_TOLERANCE = 1e-4
_SLICE_TOLERANCE = 0.05
"""Largest deviation of a slice from its position in an even stack, as a fraction of the slice step."""


def read(path: str | os.PathLike[str], series: str | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Read a file, or a folder with a DICOM series.

    Parameters
    ----------
    path:
        NIfTI, NRRD or MetaImage file by its suffix, a DICOM file, or a folder of DICOM files.
    series:
        SeriesInstanceUID, for a folder that holds several series.

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
        array, affine = _read_dicom_folder(path, series)
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
    suffix = _suffix(path)
    if suffix not in WRITTEN_SUFFIXES:
        raise InputError(
            f"{path} cannot be written: '{path.suffix}' is not a format NeuroGen writes.",
            f"End the name in {', '.join(WRITTEN_SUFFIXES)}.",
            code="file-type",
        )
    stored = _stored_values(array, dtype, path)
    if suffix == ".nrrd":
        _write_nrrd(path, stored, affine)
    else:
        data = np.moveaxis(stored, 0, -1) if stored.ndim == 4 else stored
        _write_nifti(path, data, affine, frame_spacing=frame_spacing, frame_unit=frame_unit)


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
    if _suffix(path) not in (".nii", ".nii.gz"):
        raise InputError(f"{path} cannot hold several frames.", "End the name in .nii.gz.", code="file-type")
    stored = [_stored_values(frame, None, path) for frame in frames]
    common = np.result_type(*stored)
    data = np.stack([np.moveaxis(frame, 0, -1) if frame.ndim == 4 else frame for frame in stored], axis=3)
    if squeeze and len(frames) == 1:
        data = data[:, :, :, 0]
    _write_nifti(
        path, data.astype(common, copy=False), affine, frame_spacing=frame_spacing, frame_unit=frame_unit, slope=slope
    )


def _suffix(path: Path) -> str:
    name = path.name.lower()
    return next((known for known in (*NIFTI_SUFFIXES, *ITK_SUFFIXES) if name.endswith(known)), path.suffix.lower())


def _read_file(path: Path) -> tuple[np.ndarray, np.ndarray]:
    suffix = _suffix(path)
    if suffix in NIFTI_SUFFIXES:
        return _read_nifti(path)
    if suffix in ITK_SUFFIXES:
        return _from_itk(_read_itk(path, ITK_SUFFIXES[suffix]), path)
    if _is_dicom(path):
        return _from_itk(_read_itk(path, "GDCMImageIO"), path)
    raise InputError(
        f"{path} is not a volume NeuroGen reads.",
        f"Give a DICOM folder or a file that ends in {', '.join((*NIFTI_SUFFIXES, *ITK_SUFFIXES))}.",
        code="file-type",
    )


def _unreadable(path: Path, kind: str, error: BaseException) -> InputError:
    # ITK puts the place in its source and the address of an object before the reason.
    reason = re.sub(r"^\w+\(0x\w+\):", "", str(error).split("ERROR:")[-1].strip())
    reason = " ".join(reason.split())[:200].rstrip(".") or type(error).__name__
    return InputError(
        f"{path} is not a readable {kind} file: {reason}.",
        "It may be truncated, damaged or of another format: copy or export it again.",
        code="file-damaged",
    )


# --- NIfTI ---------------------------------------------------------------------------------------------------------


def _read_nifti(path: Path) -> tuple[np.ndarray, np.ndarray]:
    from nibabel.filebasedimages import ImageFileError
    from nibabel.spatialimages import HeaderDataError
    from nibabel.wrapstruct import WrapStructError

    broken = (
        OSError,
        EOFError,
        ValueError,
        OverflowError,
        zlib.error,
        ImageFileError,
        HeaderDataError,
        WrapStructError,
    )
    try:
        with path.open("rb") as raw:
            # The content decides, not the name: gzipped files that end in .nii are common.
            stream: io.BufferedIOBase = raw
            room = path.stat().st_size
            if raw.peek(2)[:2] == _GZIP_MAGIC:
                stream = gzip.GzipFile(fileobj=raw, mode="rb")
                room *= _GZIP_MOST
            array, affine, header = _parse_nifti(stream, room)
            stream.read()  # to the end, where gzip keeps the checksum
    except MemoryError as error:
        raise InputError(
            f"{path} claims more voxels than there is memory for.",
            "Check its header, or use a machine with more memory.",
            code="image-too-large",
        ) from error
    except broken as error:
        raise _unreadable(path, "NIfTI", error) from error
    if not (header["sform_code"] or header["qform_code"]):
        log.warning("%s has neither an sform nor a qform: its position and its left and right are a guess.", path)
    return _channels_first(array, path), affine


def _parse_nifti(stream: io.BufferedIOBase, room: int) -> tuple[np.ndarray, np.ndarray, Any]:
    import nibabel

    kinds = {348: nibabel.Nifti1Image, 540: nibabel.Nifti2Image}
    start = stream.read(4)
    kind = kinds.get(int.from_bytes(start, "little")) or kinds.get(int.from_bytes(start, "big"))
    if kind is None:
        raise ValueError("it does not begin with a NIfTI header")
    stream.seek(0)
    # mmap would tie the array to the file, which may be replaced later (and cannot be on Windows).
    image = kind.from_file_map(kind.make_file_map({"image": stream}), mmap=False)
    size = math.prod(int(n) for n in image.shape) * image.get_data_dtype().itemsize
    if size > room:  # before memory is taken for what a damaged header claims
        raise ValueError(f"its header claims {size} bytes of voxels, the file holds fewer")
    return np.asanyarray(image.dataobj), np.asarray(image.affine, dtype=np.float64), image.header


def _channels_first(array: np.ndarray, path: Path) -> np.ndarray:
    if array.ndim == 2:
        return array[:, :, None]
    while array.ndim > 3 and array.shape[-1] == 1:
        array = array[..., 0]
    if array.ndim == 5 and array.shape[3] == 1:  # NIfTI keeps vectors on the fifth axis
        array = array[:, :, :, 0]
    if array.ndim not in (3, 4):
        raise InputError(
            f"{path} has {array.ndim} axes {array.shape}; a volume has three, and one more for channels.",
            "Extract a 3-D or 4-D part of it.",
            code="image-dimensions",
        )
    return array if array.ndim == 3 else np.moveaxis(array, -1, 0)


def _write_nifti(
    path: Path,
    data: np.ndarray,
    affine: np.ndarray,
    *,
    frame_spacing: float,
    frame_unit: str,
    slope: float | None = None,
) -> None:
    """Write stored values (i, j, k[, frame[, channel]]); readers multiply them by ``slope``."""
    import nibabel

    if frame_unit not in FRAME_UNITS:
        raise InputError(
            f"'{frame_unit}' is not a unit of NIfTI's fourth axis.",
            nearest(frame_unit, FRAME_UNITS),
            code="name-unknown",
        )
    if not (np.isfinite(frame_spacing) and frame_spacing > 0):
        raise InputError(
            f"The frame spacing {frame_spacing} is not a positive number.", "Give one, such as 1.", code="value-invalid"
        )
    if max(data.shape) > _LARGEST_NIFTI_AXIS:
        raise InputError(
            f"{path} cannot be written: NIfTI has at most {_LARGEST_NIFTI_AXIS} voxels along an axis.",
            "Save it as .nrrd.",
            code="image-too-large",
        )
    image = nibabel.Nifti1Image(data, affine, dtype=data.dtype)
    header = image.header
    header.set_xyzt_units("mm", frame_unit if data.ndim > 3 else "unknown")
    if data.ndim > 3:
        header.set_zooms((*header.get_zooms()[:3], frame_spacing, *header.get_zooms()[4:]))
    if slope is not None:
        header.set_slope_inter(slope, 0.0)
    image.set_sform(affine, code=1)
    _set_qform(header, affine, data.shape[:3])
    with atomic_file(path) as temporary, temporary.open("wb") as raw:
        if _suffix(path) == ".nii":
            image.to_stream(raw)
        else:
            # No name and no time in the gzip header: the same volume gives the same bytes.
            with gzip.GzipFile(filename="", mode="wb", compresslevel=_GZIP_LEVEL, fileobj=raw, mtime=0) as packed:
                image.to_stream(packed)


def _set_qform(header: Any, affine: np.ndarray, shape: tuple[int, ...]) -> None:
    """Write the qform where it equals the sform; a sheared affine has none."""
    header.set_qform(affine, code=1)
    corners = np.stack(np.meshgrid(*[(0, n - 1) for n in shape], [1.0], indexing="ij"), axis=-1).reshape(-1, 4)
    gap = np.linalg.norm((corners @ (header.get_qform() - affine).T)[:, :3], axis=1).max()
    if gap > _QFORM_TOLERANCE_MM:
        header["qform_code"] = 0


# --- NRRD, MetaImage ------------------------------------------------------------------------------------------------


def _read_itk(path: Path, reader: str) -> SimpleITK.Image:
    import SimpleITK

    try:
        return SimpleITK.ReadImage(str(path), imageIO=reader)
    except RuntimeError as error:
        raise _unreadable(path, _ITK_KINDS[reader], error) from error


def _from_itk(image: SimpleITK.Image, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Convert k,j,i(,c) to (c,)i,j,k and LPS to RAS."""
    import SimpleITK

    dimension = image.GetDimension()
    array = SimpleITK.GetArrayFromImage(image).T
    is_vector = array.ndim > dimension
    if dimension == 2:
        array = array[..., None]
    elif dimension == 4 and not is_vector:
        array = _channels_first(array, path)
    elif dimension != 3:
        raise InputError(
            f"{path} has {dimension} axes and {image.GetNumberOfComponentsPerPixel()} values a voxel.",
            "Give a 3-D volume, or one with a single further axis.",
            code="image-dimensions",
        )
    affine = np.eye(4)
    axes = min(dimension, 3)
    direction = np.reshape(image.GetDirection(), (dimension, dimension))
    affine[:axes, :axes] = direction[:axes, :axes] * np.asarray(image.GetSpacing())[:axes]
    affine[:axes, 3] = image.GetOrigin()[:axes]
    return array, _LPS_TO_RAS @ affine


def to_itk(array: np.ndarray, affine: np.ndarray, name: str) -> SimpleITK.Image:
    """Return an (i, j, k) or (c, i, j, k) array as a SimpleITK image in LPS.

    Raises
    ------
    InputError
        When the affine is sheared: the message calls the volume ``name``.
    """
    import SimpleITK

    lps = _LPS_TO_RAS @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    direction = lps[:3, :3] / spacing
    if np.abs(direction.T @ direction - np.eye(3)).max() > _SHEAR_TOLERANCE:
        raise InputError(
            f"{name} has a sheared affine, which NRRD and ITK would straighten.",
            "Save it as .nii.gz, which holds any affine, or resample it first.",
            code="geometry-invalid",
        )
    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(array.T), isVector=array.ndim == 4)
    image.SetSpacing(spacing.tolist())
    image.SetDirection(direction.ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    return image


def _write_nrrd(path: Path, array: np.ndarray, affine: np.ndarray) -> None:
    import SimpleITK

    image = to_itk(array, affine, str(path))
    with atomic_file(path) as temporary:
        try:
            SimpleITK.WriteImage(image, str(temporary), useCompression=True, imageIO="NrrdImageIO")
        except RuntimeError as error:
            raise OSError(str(error).strip().splitlines()[-1]) from error


# --- DICOM ----------------------------------------------------------------------------------------------------------


def _is_dicom(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def _read_dicom_folder(folder: Path, series: str | None) -> tuple[np.ndarray, np.ndarray]:
    import SimpleITK

    uids = SimpleITK.ImageSeriesReader.GetGDCMSeriesIDs(str(folder))
    files = {uid: SimpleITK.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), uid) for uid in uids}
    _require_readable(folder, {Path(name).name for names in files.values() for name in names})
    if not files:
        raise InputError(
            f"The folder {folder} holds no DICOM files.",
            "Give the folder that directly holds the slices of a series.",
            code="series-ambiguous",
        )
    if series is None and len(files) > 1:
        listing = "; ".join(f"{uid} ({_description(names[0])}, {len(names)} slices)" for uid, names in files.items())
        raise InputError(
            f"The folder {folder} holds {len(files)} series: {listing}.",
            "Choose one with series=UID.",
            code="series-ambiguous",
        )
    if series is not None and series not in files:
        raise InputError(f"The folder {folder} has no series '{series}'.", nearest(series, files), code="name-unknown")
    names = [Path(name) for name in files[series or uids[0]]]
    images = [_read_itk(name, "GDCMImageIO") for name in names]
    if len(images) == 1:
        return _from_itk(images[0], names[0])
    return _stack([_from_itk(image, name) for image, name in zip(images, names, strict=True)], folder)


def _require_readable(folder: Path, listed: set[str]) -> None:
    """Require that no DICOM file is missing from the listed series: GDCM skips damaged files silently."""
    rest = [file for file in sorted(folder.iterdir()) if file.is_file() and file.name not in listed]
    broken = [file.name for file in rest if file.name.upper() != "DICOMDIR" and _is_dicom(file)]
    if broken:
        raise InputError(
            f"{len(broken)} DICOM file(s) in {folder} cannot be read: {', '.join(broken[:5])}.",
            "They may be truncated or damaged: export the series again.",
            code="file-damaged",
        )


def _description(file: str) -> str:
    import SimpleITK

    reader = SimpleITK.ImageFileReader()
    reader.SetFileName(file)
    reader.SetImageIO("GDCMImageIO")
    key = "0008|103e"
    try:
        reader.ReadImageInformation()
    except RuntimeError:
        return "unreadable"
    return (reader.GetMetaData(key).strip() if reader.HasMetaDataKey(key) else "") or "no description"


def _stack(slices: list[tuple[np.ndarray, np.ndarray]], folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Stack single slices in the order of their positions; the third column of the affine is the measured step.

    The step comes from the positions, not from the slice thickness, so that gaps between thick slices and a
    tilted gantry (a sheared affine) are represented correctly.
    """
    first = slices[0][1]
    if any(
        array.shape != slices[0][0].shape or not np.allclose(affine[:3, :3], first[:3, :3], atol=1e-3)
        for array, affine in slices
    ):
        raise InputError(
            f"The slices of the series in {folder} differ in size, spacing or direction.",
            "Remove scouts and reformatted slices from the folder.",
            code="geometry-mismatch",
        )
    normal = np.cross(first[:3, 0], first[:3, 1])
    normal /= np.linalg.norm(normal)
    slices = sorted(slices, key=lambda item: float(item[1][:3, 3] @ normal))
    positions = np.stack([affine[:3, 3] for _, affine in slices])
    _require_even(positions, normal, folder)
    affine = slices[0][1].copy()
    affine[:3, 2] = (positions[-1] - positions[0]) / (len(slices) - 1)
    return np.concatenate([array for array, _ in slices], axis=-1), affine


def _require_even(positions: np.ndarray, normal: np.ndarray, folder: Path) -> None:
    depths = positions @ normal
    steps = np.diff(depths)
    step = float(np.median(steps))
    if steps.min() < 1e-3:
        raise InputError(
            f"The series in {folder} has several slices at one position ({depths[int(steps.argmin())]:.2f} mm).",
            "It holds several echoes, directions or time points: convert it with a tool that separates them.",
            code="series-ambiguous",
        )
    gap = int(steps.argmax())
    if steps[gap] > 1.5 * step:
        missing = round(float(steps[gap]) / step) - 1
        raise InputError(
            f"The series in {folder} lacks {missing} slice(s) between {depths[gap]:.2f} and {depths[gap + 1]:.2f} mm "
            f"along the stack (the step is {step:.2f} mm).",
            "Export the whole series again.",
            code="geometry-invalid",
        )
    expected = positions[0] + np.linspace(0.0, 1.0, len(positions))[:, None] * (positions[-1] - positions[0])
    deviation = float(np.linalg.norm(positions - expected, axis=1).max())
    if deviation > _SLICE_TOLERANCE * step:
        raise InputError(
            f"The series in {folder} is unevenly spaced: slices lie up to {deviation:.2f} mm off a step of {step:.2f}"
            " mm.",
            "Resample it to even slices first.",
            code="geometry-invalid",
        )


# --- values ---------------------------------------------------------------------------------------------------------


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
