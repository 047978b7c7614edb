"""NIfTI files: reading with the checks of a damaged header, writing with both forms of the affine."""

from __future__ import annotations

import gzip
import logging
import math
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np

from NeuroGenLib.core.errors import InputError, nearest
from NeuroGenLib.core.files import atomic_file
from NeuroGenLib.core.memory import free_memory
from NeuroGenLib.spatial.array_geometry import apply_affine, corner_gap
from NeuroGenLib.spatial.files.formats import channels_first, unreadable, volume_suffix
from NeuroGenLib.spatial.files.nifti_geometry import APART_VOXELS, affine_of
from NeuroGenLib.spatial.files.reading import reading

if TYPE_CHECKING:
    import io
    from pathlib import Path

log = logging.getLogger(__name__)

FRAME_UNITS = ("unknown", "sec", "msec", "usec", "hz", "ppm", "rads")

_LARGEST_NIFTI_AXIS = 32767
_GZIP_LEVEL = 6
"""zlib's default, a compromise of time and size."""
_GZIP_MOST = 1040
"""Upper bound of gzip's compression ratio (1032 for deflate), with a margin for headers."""
_GZIP_MAGIC = b"\x1f\x8b"
_EXTENSION_MARK = 4
"""Bytes between the header and what follows it in a file: voxels begin at byte 352, in NIfTI-2 at 544."""


def read_nifti(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Array with channels first and affine to RAS mm of a NIfTI-1 or NIfTI-2 file."""
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
            stream = _unpacked(raw)
            room = path.stat().st_size * (1 if stream is raw else _GZIP_MOST)
            array, affine = _parse_nifti(stream, room, path)
            stream.read()  # to the end, where gzip keeps the checksum
    except MemoryError as error:
        raise InputError(
            f"{path} claims more voxels than there is memory for.",
            "Check its header, close other programs, or use a machine with more memory.",
            code="image-too-large",
        ) from error
    except broken as error:
        raise unreadable(path, "NIfTI", error) from error
    return channels_first(array, path), affine


def frame_step(path: Path) -> tuple[float, str]:
    """Return the step along the fourth axis of a NIfTI that can be read, such as its repetition time, and its unit.

    The unit is one of :data:`FRAME_UNITS`. A step that is not positive, as of files without one, is given as 1 of
    unknown unit.
    """
    with path.open("rb") as raw:
        header = _header(_unpacked(raw))
    step = float(header["pixdim"][4])
    if not (math.isfinite(step) and step > 0):
        return 1.0, "unknown"
    try:
        return step, str(header.get_xyzt_units()[1])
    except KeyError:  # a code that NIfTI does not have
        return step, "unknown"


def _unpacked(raw: io.BufferedReader) -> io.BufferedIOBase:
    """Return the bytes of a file, unpacked by its content, not its name: gzipped files that end in .nii are common."""
    return gzip.GzipFile(fileobj=raw, mode="rb") if raw.peek(2)[:2] == _GZIP_MAGIC else raw


def _header(stream: io.BufferedIOBase) -> Any:
    import nibabel

    kinds: dict[int, Any] = {348: nibabel.Nifti1Header, 540: nibabel.Nifti2Header}
    start = stream.read(4)
    kind = kinds.get(int.from_bytes(start, "little")) or kinds.get(int.from_bytes(start, "big"))
    if kind is None:
        raise ValueError("it does not begin with a NIfTI header")
    # Its block alone: nibabel's readers of whole files refuse what is repaired here.
    return kind(start + stream.read(kind.template_dtype.itemsize - 4), check=False)


def _parse_nifti(stream: io.BufferedIOBase, room: int, path: Path) -> tuple[np.ndarray, np.ndarray]:
    from nibabel.arrayproxy import ArrayProxy

    header = _header(stream)
    _repair(header, path)
    header.check_fix()
    size = math.prod(int(n) for n in header.get_data_shape()) * header.get_data_dtype().itemsize
    if header.get_data_offset() + size > room:  # before memory is taken for what a damaged header claims
        raise ValueError(f"its header claims {size} bytes of voxels, the file holds fewer")
    free = free_memory()
    if free is not None and size > free and not reading().any_size:
        raise MemoryError
    affine = affine_of(header, path)
    # mmap would tie the array to the file, which may be replaced later (and cannot be on Windows).
    return np.asanyarray(ArrayProxy(stream, header, mmap=False)), affine


def _repair(header: Any, path: Path) -> None:
    """Correct what other programs read past: axes of no voxels after the third, and voxels inside the header."""
    dimensions = header["dim"].copy()
    dimensions[4:] = np.maximum(dimensions[4:], 1)
    header["dim"] = dimensions
    first = int(header["sizeof_hdr"]) + _EXTENSION_MARK
    offset = float(header["vox_offset"])
    if not offset >= first:
        header["vox_offset"] = first
        log.warning(
            "%s says that its voxels begin at byte %g, inside its header: they were read from byte %d on.",
            path,
            offset,
            first,
        )


def write_nifti(
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
    _set_qform(header, affine, data.shape[:3], path)
    with atomic_file(path) as temporary, temporary.open("wb") as raw:
        if volume_suffix(path) == ".nii":
            image.to_stream(raw)
        else:
            # No name and no time in the gzip header: the same volume gives the same bytes.
            with gzip.GzipFile(filename="", mode="wb", compresslevel=_GZIP_LEVEL, fileobj=raw, mtime=0) as packed:
                image.to_stream(packed)


def _set_qform(header: Any, affine: np.ndarray, shape: tuple[int, ...], path: Path) -> None:
    """Write the nearest qform, about the centre of the volume: ITK and Slicer refuse a sheared sform without one."""
    header.set_qform(affine, code=1)
    rigid = header.get_qform()
    centre = (np.asarray(shape) - 1) / 2
    shift = apply_affine(affine, centre) - apply_affine(rigid, centre)
    for axis, mm in zip("xyz", shift, strict=True):
        header[f"qoffset_{axis}"] += mm
    gap = corner_gap(shape, header.get_qform(), affine)
    if gap > APART_VOXELS * np.linalg.norm(affine[:3, :3], axis=0).min():
        log.warning(
            "%s has a sheared affine: ITK and Slicer, which cannot hold it, show it up to %.3g mm off.", path, gap
        )
