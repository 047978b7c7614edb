"""Shared parts of the volume readers and writers: known suffixes, channels first, the error of an unreadable file."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from NeuroGenLib.core.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

NIFTI_SUFFIXES = (".nii.gz", ".nii")
ITK_SUFFIXES = {".nrrd": "NrrdImageIO", ".nhdr": "NrrdImageIO", ".mha": "MetaImageIO", ".mhd": "MetaImageIO"}
WRITTEN_SUFFIXES = (".nii.gz", ".nii", ".nrrd")


def volume_suffix(path: Path) -> str:
    """Suffix of a volume's file name in lower case, ``.nii.gz`` as one."""
    name = path.name.lower()
    return next((known for known in (*NIFTI_SUFFIXES, *ITK_SUFFIXES) if name.endswith(known)), path.suffix.lower())


def unreadable(path: Path, kind: str, error: BaseException) -> InputError:
    """Error of a file that its library cannot read, with the library's reason."""
    # ITK puts the place in its source and the address of an object before the reason.
    reason = re.sub(r"^\w+\(0x\w+\):", "", str(error).split("ERROR:")[-1].strip())
    reason = " ".join(reason.split())[:200].rstrip(".") or type(error).__name__
    return InputError(
        f"{path} is not a readable {kind} file: {reason}.",
        "It may be truncated, damaged or of another format: copy or export it again.",
        code="file-damaged",
    )


def channels_first(array: np.ndarray, path: Path) -> np.ndarray:
    """Array of a file (i, j, k[, c]) as (i, j, k) or (c, i, j, k)."""
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
