"""NRRD and MetaImage files by ITK, and its images: LPS and k,j,i there, RAS and i,j,k with channels first here."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from NeuroGenLib.core.errors import InputError
from NeuroGenLib.core.files import atomic_file, require_content, utf8_name
from NeuroGenLib.spatial.files.formats import channels_first, unreadable

if TYPE_CHECKING:
    from pathlib import Path

    import SimpleITK

_ITK_KINDS = {"NrrdImageIO": "NRRD", "MetaImageIO": "MetaImage", "GDCMImageIO": "DICOM"}
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_SHEAR_TOLERANCE = 1e-4
"""Cosine between two axes above which a grid is sheared: above the rounding of float32 headers."""


def read_itk(path: Path, reader: str) -> SimpleITK.Image:
    """Image read by the named reader of ITK."""
    import SimpleITK

    try:
        return SimpleITK.ReadImage(utf8_name(path), imageIO=reader)
    except RuntimeError as error:
        raise unreadable(path, _ITK_KINDS[reader], error) from error


def from_itk(image: SimpleITK.Image, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Convert k,j,i(,c) to (c,)i,j,k and LPS to RAS."""
    import SimpleITK

    dimension = image.GetDimension()
    array = SimpleITK.GetArrayFromImage(image).T
    is_vector = array.ndim > dimension
    if dimension == 2:
        array = array[..., None]
    elif dimension == 4 and not is_vector:
        array = channels_first(array, path)
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
    return array, LPS_TO_RAS @ affine


def is_sheared(affine: np.ndarray) -> bool:
    """Whether the axes of an affine are not at right angles, which ITK, NRRD and files of transforms cannot hold.

    Examples
    --------
    >>> is_sheared(np.diag([1.0, -1.0, 3.0, 1.0]))
    False
    """
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return bool(np.abs(axes.T @ axes - np.eye(3)).max() > _SHEAR_TOLERANCE)


def to_itk(array: np.ndarray, affine: np.ndarray, name: str) -> SimpleITK.Image:
    """Return an (i, j, k) or (c, i, j, k) array as a SimpleITK image in LPS.

    Raises
    ------
    InputError
        When the affine is sheared: the message calls the volume ``name``.
    """
    import SimpleITK

    lps = LPS_TO_RAS @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    direction = lps[:3, :3] / spacing
    if is_sheared(affine):
        raise sheared(name)
    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(array.T), isVector=array.ndim == 4)
    image.SetSpacing(spacing.tolist())
    image.SetDirection(direction.ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    return image


def sheared(name: str) -> InputError:
    """Error of a file that would have to hold a sheared affine."""
    return InputError(
        f"{name} has a sheared affine, which NRRD and ITK would straighten.",
        "Save it as .nii.gz, which holds any affine, or resample it first.",
        code="geometry-invalid",
    )


def write_nrrd(path: Path, array: np.ndarray, affine: np.ndarray) -> None:
    """Write (i, j, k) or (c, i, j, k) as compressed NRRD, whole or not at all."""
    import SimpleITK

    image = to_itk(array, affine, str(path))
    with atomic_file(path) as temporary:
        try:
            SimpleITK.WriteImage(image, utf8_name(temporary), useCompression=True, imageIO="NrrdImageIO")
        except RuntimeError as error:
            raise OSError(str(error).strip().splitlines()[-1]) from error
        require_content(temporary)
