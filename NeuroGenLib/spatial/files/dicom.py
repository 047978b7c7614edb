"""DICOM series: one folder, one stack of slices in the order of their positions."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from NeuroGenLib.core.errors import InputError, nearest
from NeuroGenLib.core.job import note_input
from NeuroGenLib.spatial.files.itk import from_itk, read_itk

_SLICE_TOLERANCE = 0.05
"""Largest deviation of a slice from its position in an even stack, as a fraction of the slice step."""


def is_dicom(path: Path) -> bool:
    """Whether a file carries DICOM's mark after the preamble."""
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def read_folder(folder: Path, series: str | None) -> tuple[np.ndarray, np.ndarray]:
    """Array and affine to RAS mm of the one series in a folder, or of the series with this UID."""
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
    note_input(folder, names)
    images = [read_itk(name, "GDCMImageIO") for name in names]
    if len(images) == 1:
        return from_itk(images[0], names[0])
    return _stack([from_itk(image, name) for image, name in zip(images, names, strict=True)], folder)


def _require_readable(folder: Path, listed: set[str]) -> None:
    """Require that no DICOM file is missing from the listed series: GDCM skips damaged files silently."""
    rest = [file for file in sorted(folder.iterdir()) if file.is_file() and file.name not in listed]
    broken = [file.name for file in rest if file.name.upper() != "DICOMDIR" and is_dicom(file)]
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
