"""Bad DICOM folders, as every input that is an image."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from NeuroGenLib.spatial.volume import Volume
from Testing.dicom_files import write_dicom, write_frames, write_object
from Testing.hostile.inputs import hostile

if TYPE_CHECKING:
    from pathlib import Path

    from Testing.hostile.workspace import Workspace

IMAGES = ("head", "thick_scan", "guide_scan", "thin_scan", "brain", "fixed_scan", "moving_scan")


def stack() -> Volume:
    """Six slices."""
    return Volume(np.arange(8 * 9 * 6, dtype=np.int16).reshape(8, 9, 6), np.diag([1.0, 1.0, 3.0, 1.0]))


@hostile(*IMAGES, says=("several-series", "2 series", "--series"))
def a_folder_with_two_series(made: Workspace) -> Path:
    folder = made.folder / "several-series"
    for number in (1, 2):
        write_dicom(folder, stack(), f"1.2.826.0.1.3680043.2.1125.{number}", number=number)
    return folder


@hostile(*IMAGES, says=("two-echoes", "2 echo times"))
def a_file_with_two_images_of_each_slice(made: Workspace) -> Path:
    folder, slices = made.folder / "two-echoes", stack()
    folder.mkdir()
    frames = [slices.array[:, :, k].astype(np.uint16) for k in range(6)] * 2
    affines = []
    for k in range(6):
        affine = slices.affine.copy()
        affine[:3, 3] = slices.voxel_to_world((0, 0, k))
        affines.append(affine)
    write_frames(folder / "enhanced.dcm", frames, affines * 2, EffectiveEchoTime=[30.0] * 6 + [90.0] * 6)
    return folder


@hostile(*IMAGES, says=("only-reports", "SR"))
def a_folder_of_reports(made: Workspace) -> Path:
    folder = made.folder / "only-reports"
    folder.mkdir()
    write_object(folder / "report", "1.2.840.10008.5.1.4.1.1.88.22", "SR")
    return folder
