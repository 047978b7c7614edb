"""DICOM: the slices of one series, of many files or of one file with many frames, in the order of their positions."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING

import numpy as np

from NeuroGenLib.core.errors import InputError, NeuroGenError
from NeuroGenLib.core.files import files_in
from NeuroGenLib.core.job import note_input
from NeuroGenLib.spatial.files.dicom_headers import DicomFile, Frame, is_dicom, read_header
from NeuroGenLib.spatial.files.itk import LPS_TO_RAS, from_itk, read_itk

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from NeuroGenLib.core.errors import Code

_SLICE_TOLERANCE = 0.05
"""Largest deviation of a slice from its position in an even stack, as a fraction of the slice step."""
_ONE_POSITION = 1e-3
"""Slices nearer to each other than this, in mm, show the same place."""
_SEPARATE = "Convert it with a tool that separates them, such as dcm2niix."

_Slice = tuple[np.ndarray, np.ndarray, Frame]
"""Array (i, j, 1) or (c, i, j, 1), affine to RAS mm, and header."""


def read_file(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Array and affine to RAS mm of one DICOM file, which holds a slice or a stack of frames."""
    header = read_header(path)
    if header.size is None:
        raise InputError(
            f"{path} is a DICOM object without an image ({header.modality or 'of unknown modality'}).",
            "Give the folder that directly holds the slices of a series.",
            code="file-type",
        )
    return _stack(_slices(header), f"{path}")


def read_folder(folder: Path, series: str | None) -> tuple[np.ndarray, np.ndarray]:
    """Array and affine to RAS mm of the one series in a folder, or of the series that is named.

    Parameters
    ----------
    folder:
        Holds the files directly; objects without pixels, such as reports, are passed over.
    series:
        SeriesInstanceUID, the beginning of one, or a series number.
    """
    files = _chosen_files(folder, series)
    note_input(folder, [file.path for file in files])
    return _stack([slice_ for file in files for slice_ in _slices(file)], f"The series in {folder}")


def slice_thickness(path: Path, series: str | None = None) -> float | None:
    """Slice thickness in mm that a DICOM file, or a series in a folder, records; None where it records none."""
    try:
        if not path.is_dir() and not is_dicom(path):
            return None
        files = _chosen_files(path, series) if path.is_dir() else [read_header(path)]
    except (NeuroGenError, OSError):
        return None
    return next((frame.thickness for file in files for frame in file.frames), None)


def _chosen_files(folder: Path, series: str | None) -> list[DicomFile]:
    headers, broken = [], []
    for path in files_in(folder):
        try:
            if is_dicom(path):
                headers.append(read_header(path))
        except (InputError, OSError):
            broken.append(path.name)
    if broken:
        raise InputError(
            f"{len(broken)} DICOM file(s) in {folder} cannot be read: {', '.join(broken[:5])}.",
            "They may be truncated or damaged: export the series again.",
            code="file-damaged",
        )
    by_uid: dict[str, list[DicomFile]] = defaultdict(list)
    for header in headers:
        if header.size is not None:
            by_uid[header.series].append(header)
    if not by_uid:
        kinds = ", ".join(sorted({header.modality or "unknown" for header in headers}))
        content = f"DICOM objects without images ({kinds})" if headers else "no DICOM files"
        raise InputError(
            f"The folder {folder} holds {content}.",
            "Give the folder that directly holds the slices of a series.",
            code="series-ambiguous",
        )
    return by_uid[_chosen_uid(folder, by_uid, series)]


def _chosen_uid(folder: Path, by_uid: dict[str, list[DicomFile]], series: str | None) -> str:
    uids = list(by_uid)
    code: Code = "series-ambiguous"
    if series is not None:
        numbered = [uid for uid in uids if by_uid[uid][0].number == series]
        fitting = [uid for uid in uids if uid == series] or numbered or [uid for uid in uids if uid.startswith(series)]
        if len(fitting) == 1:
            return fitting[0]
        if fitting:
            uids, problem = fitting, f"'{series}' fits {len(fitting)} series of"
        else:
            code, problem = "name-unknown", f"There is no series '{series}' in"
    elif len(uids) == 1:
        return uids[0]
    else:
        problem = f"There are {len(uids)} series in"
    repeated = Counter(by_uid[uid][0].number for uid in uids)
    listing = "; ".join(_described(by_uid[uid], with_uid=repeated[by_uid[uid][0].number] > 1) for uid in uids)
    raise InputError(
        f"{problem} the folder {folder}: {listing}.",
        "Choose one with --series and its number, its UID, or how its UID begins (in Python, with series=).",
        code=code,
    )


def _described(files: Sequence[DicomFile], *, with_uid: bool) -> str:
    """Number, description and size of a series; the UID too where it is needed to tell it from others."""
    first, frames = files[0], [frame for file in files for frame in file.frames]
    size = f"{len(frames)} slices of {' x '.join(map(str, first.size or ()))}"
    if frames[0].affine is not None:
        spacing = list(np.linalg.norm(frames[0].affine[:3, :3], axis=0))
        depths = np.sort([_depth(frame.affine, frames[0].affine) for frame in frames if frame.affine is not None])
        steps = np.diff(depths)
        if (steps > _ONE_POSITION).any():
            spacing[2] = float(np.median(steps[steps > _ONE_POSITION]))
        size += f", {' x '.join(f'{value:.3g}' for value in spacing)} mm"
    uid = f", UID {first.series}" if with_uid or not first.number else ""
    return f"{first.number or 'no number'} '{first.description or 'no description'}' ({size}{uid})"


def _slices(file: DicomFile) -> list[_Slice]:
    if file.is_mosaic:
        raise InputError(f"{file.path} is a mosaic: its slices are tiles of one picture.", _SEPARATE, code="file-type")
    array, affine = from_itk(read_itk(file.path, "GDCMImageIO"), file.path)
    if array.shape[-1] != len(file.frames):
        raise InputError(
            f"{file.path} says that it has {len(file.frames)} frames, and it holds {array.shape[-1]}.",
            "It may be damaged: copy or export it again.",
            code="file-damaged",
        )
    if len(file.frames) == 1 and file.frames[0].affine is None:
        return [(array, affine, file.frames[0])]
    values = _rescaled(array, file.frames)
    slices = []
    for index, frame in enumerate(file.frames):
        if frame.affine is None:
            raise InputError(
                f"{file.path} has {len(file.frames)} frames ({file.modality}) and does not say where they lie.",
                "Convert it with a tool that knows the scanner, such as dcm2niix.",
                code="geometry-invalid",
            )
        slices.append((values[..., index : index + 1], LPS_TO_RAS @ frame.affine, frame))
    return slices


def _rescaled(array: np.ndarray, frames: Sequence[Frame]) -> np.ndarray:
    """Values of every frame by its own slope and intercept: GDCM applies the first frame's to all of them."""
    first = frames[0]
    if all((frame.slope, frame.intercept) == (first.slope, first.intercept) for frame in frames):
        return array
    stored = (array.astype(np.float64) - first.intercept) / first.slope
    slopes, intercepts = np.array([(frame.slope, frame.intercept) for frame in frames]).T
    scaled: np.ndarray = stored * slopes + intercepts
    return scaled.astype(np.float32)


def _depth(affine: np.ndarray, first: np.ndarray) -> float:
    """Position in mm along the normal of the first slice."""
    normal = np.cross(first[:3, 0], first[:3, 1])
    return float(affine[:3, 3] @ normal / np.linalg.norm(normal))


def _stack(slices: list[_Slice], where: str) -> tuple[np.ndarray, np.ndarray]:
    """Stack single slices in the order of their positions; the third column of the affine is the measured step.

    The step comes from the positions, not from the slice thickness, so that gaps between thick slices and a
    tilted gantry (a sheared affine) are represented correctly.
    """
    array, first, _ = slices[0]
    if len(slices) == 1:
        return array, first
    if any(
        values.shape != array.shape or not np.allclose(affine[:3, :2], first[:3, :2], atol=1e-3)
        for values, affine, _ in slices
    ):
        raise InputError(
            f"{where} has slices that differ in size, spacing or direction.",
            "Remove scouts and reformatted slices, or convert it with a tool that separates them, such as dcm2niix.",
            code="geometry-mismatch",
        )
    slices = sorted(slices, key=lambda item: _depth(item[1], first))
    positions = np.stack([affine[:3, 3] for _, affine, _ in slices])
    depths = np.array([_depth(affine, first) for _, affine, _ in slices])
    _require_one_image_each(depths, [frame for _, _, frame in slices], where)
    _require_even(positions, depths, where)
    affine = slices[0][1].copy()
    affine[:3, 2] = (positions[-1] - positions[0]) / (len(slices) - 1)
    return np.concatenate([values for values, _, _ in slices], axis=-1), affine


def _require_one_image_each(depths: np.ndarray, frames: list[Frame], where: str) -> None:
    """Require one image at each position; say what the several images of a position are."""
    places = np.concatenate([[0], np.cumsum(np.diff(depths) >= _ONE_POSITION)])
    if places[-1] + 1 == len(frames):
        return
    counts: dict[str, int] = {}
    for place in np.unique(places):
        here = [frames[index].varied for index in np.flatnonzero(places == place)]
        for name in dict.fromkeys(name for varied in here for name in varied):
            counts[name] = max(counts.get(name, 1), len({varied.get(name) for varied in here}))
    content = ", ".join(f"{number} {name}" for name, number in counts.items() if number > 1)
    repeated = int(np.argmax(np.bincount(places)))
    raise InputError(
        f"{where} has {len(frames)} slices at {places[-1] + 1} positions, several at "
        f"{depths[places == repeated][0]:.2f} mm: {content or 'copies, or several volumes'}.",
        _SEPARATE,
        code="series-ambiguous",
    )


def _require_even(positions: np.ndarray, depths: np.ndarray, where: str) -> None:
    steps = np.diff(depths)
    step = float(np.median(steps))
    gap = int(steps.argmax())
    if steps[gap] > 1.5 * step:
        missing = round(float(steps[gap]) / step) - 1
        raise InputError(
            f"{where} lacks {missing} slice(s) between {depths[gap]:.2f} and {depths[gap + 1]:.2f} mm along the stack"
            f" (the step is {step:.2f} mm).",
            "Export the whole series again.",
            code="geometry-invalid",
        )
    expected = positions[0] + np.linspace(0.0, 1.0, len(positions))[:, None] * (positions[-1] - positions[0])
    deviation = float(np.linalg.norm(positions - expected, axis=1).max())
    if deviation > _SLICE_TOLERANCE * step:
        raise InputError(
            f"{where} is unevenly spaced: slices lie up to {deviation:.2f} mm off a step of {step:.2f} mm.",
            "Resample it to even slices first.",
            code="geometry-invalid",
        )
