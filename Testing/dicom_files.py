"""DICOM series of volumes, for tests that read them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pydicom
import pydicom.dataset
import pydicom.uid
import SimpleITK

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from NeuroGenLib.spatial.volume import Volume


def write_dicom(
    folder: Path,
    volume: Volume,
    uid: str = "1.2.826.0.1.3680043.2.1125.1",
    description: str = "T2 HASTE",
    thickness: float | None = None,
    number: int | None = None,
) -> list[Path]:
    """Write slices along k, in names that do not follow their order; they touch unless ``thickness`` is given."""
    folder.mkdir(exist_ok=True)
    lps = np.diag([-1.0, -1, 1, 1]) @ volume.affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    direction = lps[:3, :3] / spacing
    writer = SimpleITK.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    files = []
    for k in range(volume.shape[2]):
        image = SimpleITK.GetImageFromArray(np.ascontiguousarray(volume.array[:, :, k].T))
        image.SetSpacing(spacing[:2].tolist())
        position = lps @ (0, 0, k, 1)
        tags = {
            "0008|0060": "MR",
            "0008|0016": "1.2.840.10008.5.1.4.1.1.4",
            "0008|0018": f"{uid}.{k + 1}",
            "0008|103e": description,
            "0020|000d": "1.2.826.0.1.3680043.2.1125",
            "0020|000e": uid,
            "0020|0013": str(k + 1),
            "0020|0032": "\\".join(f"{x:.10g}" for x in position[:3]),
            "0020|0037": "\\".join(f"{x:.10g}" for x in direction[:, :2].T.ravel()),
            "0018|0050": f"{spacing[2] if thickness is None else thickness:.10g}",
        }
        if number is not None:
            tags["0020|0011"] = str(number)
        for tag, text in tags.items():
            image.SetMetaData(tag, text)
        files.append(folder / f"{uid.rsplit('.', 1)[-1]}-{(7 * k) % 101:03d}.dcm")
        writer.SetFileName(str(files[-1]))
        writer.Execute(image)
    return files


def write_frames(
    path: Path, frames: Sequence[np.ndarray], affines: Sequence[np.ndarray], **more: Any
) -> pydicom.Dataset:
    """Write an enhanced MR file of one frame for each (i, j) array of uint16 and its affine to RAS mm.

    ``more`` are attributes of the file; those whose value is a list of the frames' length go into a functional group
    of each frame. Returns what was written, to be changed and saved again.
    """
    data = _object(path, "1.2.840.10008.5.1.4.1.1.4.1", Modality="MR")
    columns, rows = frames[0].shape
    data.Rows, data.Columns, data.NumberOfFrames = rows, columns, len(frames)
    data.SamplesPerPixel, data.PhotometricInterpretation, data.PixelRepresentation = 1, "MONOCHROME2", 0
    data.BitsAllocated, data.BitsStored, data.HighBit = 16, 16, 15
    data.SharedFunctionalGroupsSequence = pydicom.Sequence([pydicom.Dataset()])
    data.PerFrameFunctionalGroupsSequence = pydicom.Sequence([])
    for index, affine in enumerate(affines):
        lps = np.diag([-1.0, -1, 1, 1]) @ affine
        spacing = np.linalg.norm(lps[:3, :3], axis=0)
        groups = pydicom.Dataset()
        groups.PlanePositionSequence = _item(ImagePositionPatient=lps[:3, 3].round(6).tolist())
        plane = (lps[:3, :2] / spacing[:2]).T.ravel().round(8).tolist()
        groups.PlaneOrientationSequence = _item(ImageOrientationPatient=plane)
        measures = {"PixelSpacing": spacing[1::-1].round(6).tolist(), "SliceThickness": round(float(spacing[2]), 6)}
        groups.PixelMeasuresSequence = _item(**measures)
        values = {name: value[index] for name, value in more.items() if isinstance(value, list)}
        slope, intercept = values.pop("RescaleSlope", 1), values.pop("RescaleIntercept", 0)
        groups.PixelValueTransformationSequence = _item(
            RescaleSlope=slope, RescaleIntercept=intercept, RescaleType="US"
        )
        if "EffectiveEchoTime" in values:
            groups.MREchoSequence = _item(EffectiveEchoTime=values.pop("EffectiveEchoTime"))
        if "DiffusionGradientOrientation" in values:
            direction = _item(DiffusionGradientOrientation=values.pop("DiffusionGradientOrientation"))
            groups.MRDiffusionSequence = _item(DiffusionGradientDirectionSequence=direction)
        groups.FrameContentSequence = _item(**values)
        data.PerFrameFunctionalGroupsSequence.append(groups)
    for name, value in more.items():
        if not isinstance(value, list):
            setattr(data, name, value)
    data.PixelData = np.stack([frame.T for frame in frames]).astype("<u2").tobytes()
    data.save_as(path, enforce_file_format=True)
    return data


def write_object(path: Path, sop_class: str, modality: str) -> None:
    """Write a healthy DICOM object without pixels, such as a structured report."""
    _object(path, sop_class, Modality=modality, SeriesInstanceUID="1.2.826.0.1.3680043.2.1125.99").save_as(
        path, enforce_file_format=True
    )


def _object(path: Path, sop_class: str, **attributes: Any) -> pydicom.Dataset:
    data = pydicom.Dataset()
    data.file_meta = pydicom.dataset.FileMetaDataset()
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = sop_class
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = "1.2.826.0.1.3680043.2.1125.8"
    data.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    data.StudyInstanceUID, data.SeriesInstanceUID = "1.2.826.0.1.3680043.2.1125", "1.2.826.0.1.3680043.2.1125.7"
    data.SeriesNumber = 7
    for name, value in attributes.items():
        setattr(data, name, value)
    return data


def _item(**attributes: Any) -> pydicom.Sequence:
    item = pydicom.Dataset()
    for name, value in attributes.items():
        setattr(item, name, value)
    return pydicom.Sequence([item])
