"""DICOM series of volumes, for tests that read them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import SimpleITK

if TYPE_CHECKING:
    from pathlib import Path

    from NeuroGenLib.spatial.volume import Volume


def write_dicom(
    folder: Path,
    volume: Volume,
    uid: str = "1.2.826.0.1.3680043.2.1125.1",
    description: str = "T2 HASTE",
    thickness: float | None = None,
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
        for tag, text in tags.items():
            image.SetMetaData(tag, text)
        files.append(folder / f"{uid.rsplit('.', 1)[-1]}-{(7 * k) % 101:03d}.dcm")
        writer.SetFileName(str(files[-1]))
        writer.Execute(image)
    return files
