"""Headers of DICOM files: the series they belong to, and where each of their frames lies in space."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from NeuroGenLib.core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_FIRST_ELEMENTS = (b"\x02\x00\x00\x00", b"\x08\x00\x00\x00", b"\x08\x00\x05\x00", b"\x08\x00\x08\x00")
"""Group and element that old files without a preamble begin with, little endian."""

_UNCOMPRESSED = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2")
"""Transfer syntaxes in which the size of a file follows from its header."""

_DICOMDIR = "1.2.840.10008.1.3.10"

_TAGS = (
    "SOPClassUID",
    "SeriesInstanceUID",
    "SeriesNumber",
    "SeriesDescription",
    "Modality",
    "Rows",
    "Columns",
    "BitsAllocated",
    "SamplesPerPixel",
    "NumberOfFrames",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
    "ImageType",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "SliceThickness",
)

_VARIED = {
    "StackID": "stacks",
    "EchoTime": "echo times",
    "EffectiveEchoTime": "echo times",
    "EchoNumbers": "echoes",
    "TemporalPositionIndex": "time points",
    "TemporalPositionIdentifier": "time points",
    "DiffusionBValue": "diffusion weightings",
    "DiffusionGradientOrientation": "diffusion directions",
    "NominalCardiacTriggerDelayTime": "cardiac phases",
    "InversionTime": "inversion times",
    "InversionTimes": "inversion times",
    "FlipAngle": "flip angles",
    "ComplexImageComponent": "image components, such as magnitude and phase",
    "ImageType": "image types",
    "ReferencedSegmentNumber": "segments",
    "AcquisitionNumber": "acquisitions",
}
"""What can differ between images of one slice: the attribute of a file or of a functional group, and its name."""


@dataclass(frozen=True)
class Frame:
    """One slice of a file.

    Attributes
    ----------
    affine:
        4x4 from column, row and slice to LPS mm, the third column along the normal; None without a position.
    thickness:
        Slice thickness in mm, None where not recorded.
    slope, intercept:
        From stored to real values.
    varied:
        What can differ between images of one slice, by its name in plural.
    """

    affine: np.ndarray | None
    thickness: float | None
    slope: float
    intercept: float
    varied: dict[str, str]


@dataclass(frozen=True)
class DicomFile:
    """Header of one DICOM file.

    Attributes
    ----------
    path, series, number, description, modality:
        Of the file; SeriesInstanceUID, SeriesNumber and SeriesDescription, empty where absent; such as ``"MR"``.
    size:
        Columns and rows of a frame; None for an object without pixels, such as a report or a presentation state.
    is_mosaic:
        Whether the slices are tiles of one picture, as Siemens scanners store them.
    frames:
        Slices in the order of the file.
    """

    path: Path
    series: str
    number: str
    description: str
    modality: str
    size: tuple[int, int] | None
    is_mosaic: bool = False
    frames: list[Frame] = field(default_factory=list)


def is_dicom(path: Path) -> bool:
    """Whether a file has DICOM's mark after the preamble, or begins as old files without a preamble do."""
    with path.open("rb") as file:
        head = file.read(132)
    return head[128:] == b"DICM" or head[:4] in _FIRST_ELEMENTS


def read_header(path: Path) -> DicomFile:
    """Header of a DICOM file.

    Raises
    ------
    InputError
        When it is truncated, damaged, or contradicts itself.
    """
    import pydicom

    try:
        with path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of values that break the standard's rules and can be read all the same
            tags = [*_TAGS, *_VARIED]
            header = pydicom.dcmread(file, stop_before_pixels=True, force=True, specific_tags=tags)
            return _parsed(path, header, path.stat().st_size - file.tell())
    except InputError:
        raise
    except Exception as error:  # a parser of foreign bytes fails in many ways
        raise _damaged(path, str(error) or type(error).__name__) from error


def _damaged(path: Path, reason: str) -> InputError:
    return InputError(
        f"{path} is not a readable DICOM file: {' '.join(reason.split())[:200].rstrip('.')}.",
        "It may be truncated or damaged: copy or export it again.",
        code="file-damaged",
    )


def _parsed(path: Path, header: Any, rest: int) -> DicomFile:
    """Header of a file that has ``rest`` bytes behind it."""

    def text(keyword: str) -> str:
        return "".join(sign for sign in str(header.get(keyword) or "").strip() if sign.isprintable())

    # Spectra have rows and columns, but no bits of pixels.
    is_image = all(keyword in header for keyword in ("Rows", "Columns", "BitsAllocated"))
    _require_whole(path, header, rest, is_image=is_image)
    return DicomFile(
        path,
        text("SeriesInstanceUID"),
        text("SeriesNumber"),
        text("SeriesDescription"),
        text("Modality"),
        (int(header.Columns), int(header.Rows)) if is_image else None,
        is_mosaic="MOSAIC" in str(header.get("ImageType", "")).upper(),
        frames=list(_frames(path, header)) if is_image else [],
    )


def _require_whole(path: Path, header: Any, rest: int, *, is_image: bool) -> None:
    """Require what a truncated file lacks: pydicom reads as far as it comes, without an error."""
    from pydicom.uid import UID

    if is_image:
        syntax = getattr(getattr(header, "file_meta", None), "TransferSyntaxUID", "")
        values = int(header.Rows) * int(header.Columns) * int(header.get("SamplesPerPixel") or 1) * _number(header)
        claimed = values * int(header.BitsAllocated) // 8
        if syntax in _UNCOMPRESSED and claimed > rest:
            raise _damaged(path, f"its image takes {claimed} bytes, and {rest} follow its header")
        return
    kind = header.get("SOPClassUID") or getattr(header.file_meta, "MediaStorageSOPClassUID", "")
    if kind != _DICOMDIR and (not kind or UID(kind).name.endswith("Image Storage")):
        raise _damaged(path, "its header lacks the size of the image")


def _number(header: Any) -> int:
    return int(header.get("NumberOfFrames") or 1)


def _frames(path: Path, header: Any) -> Iterator[Frame]:
    number = _number(header)
    per_frame = header.get("PerFrameFunctionalGroupsSequence") or []
    if per_frame and len(per_frame) != number:
        raise _damaged(path, f"it has {number} frames, and positions of {len(per_frame)}")
    shared = list(header.get("SharedFunctionalGroupsSequence") or [])
    if not per_frame:
        # Several frames share what the file says, so it cannot say where each of them lies.
        yield from [_frame([header, *_groups(shared)], has_position=number == 1)] * number
        return
    common = [header, *_groups(shared)]
    for item in per_frame:
        yield _frame([*common, *_groups([item])], has_position=True)


def _groups(items: list[Any]) -> Iterator[Any]:
    """Functional groups: the first item of each sequence, and of the sequences in it (of diffusion)."""
    for item in items:
        for element in item:
            if element.VR == "SQ" and element.value:
                yield element.value[0]
                yield from (inner.value[0] for inner in element.value[0] if inner.VR == "SQ" and inner.value)


def _frame(sources: list[Any], *, has_position: bool) -> Frame:
    def value(keyword: str) -> Any:
        return next((found for source in reversed(sources) if (found := source.get(keyword)) is not None), None)

    def number(keyword: str, default: float) -> float:
        return default if value(keyword) in (None, "") else float(value(keyword))

    thickness = number("SliceThickness", math.nan)
    position, orientation, spacing = map(value, ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"))
    known = has_position and position and orientation and spacing
    return Frame(
        _affine(position, orientation, spacing, thickness) if known else None,
        thickness if math.isfinite(thickness) and thickness > 0 else None,
        number("RescaleSlope", 1.0) or 1.0,
        number("RescaleIntercept", 0.0),
        {name: str(value(keyword)) for keyword, name in _VARIED.items() if value(keyword) is not None},
    )


def _affine(position: Any, orientation: Any, spacing: Any, thickness: float) -> np.ndarray | None:
    """Affine to LPS mm, None where what is recorded is not a plane."""
    affine = np.eye(4)
    along_row, along_column = np.reshape(np.asarray(orientation, float), (2, 3))
    affine[:3, 0] = along_row * float(spacing[1])
    affine[:3, 1] = along_column * float(spacing[0])
    affine[:3, 2] = np.cross(along_row, along_column) * (thickness if thickness > 0 else 1.0)
    affine[:3, 3] = np.asarray(position, float)
    return affine if np.isfinite(affine).all() and abs(np.linalg.det(affine)) > 0 else None
