"""Transforms on disk: ITK composites (.h5, .tfm) and displacement fields (.nrrd, .nii.gz), written and read.

ITK's files speak LPS mm and map fixed to moving points, the direction that resampling needs; Slicer shows such a
transform as *from parent*. Everything that leaves this module speaks RAS mm.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from NeuroGenLib.core.errors import InputError
from NeuroGenLib.core.files import atomic_file, existing_file, require_content, utf8_name
from NeuroGenLib.spatial.files import volumes
from NeuroGenLib.spatial.files.itk import is_sheared, to_itk
from NeuroGenLib.spatial.transforms.spatial_map import point_rows, require_displacements, require_order
from NeuroGenLib.spatial.volume import Grid, Volume

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    import SimpleITK

    from NeuroGenLib.spatial.transforms.spatial_map import SpatialMap

TRANSFORM_SUFFIXES = (".h5", ".tfm")
"""What is written as a transform."""
FIELD_SUFFIXES = (".nrrd", ".nii.gz", ".nii")
"""What is written as a displacement field."""
READ_TRANSFORMS = (*TRANSFORM_SUFFIXES, ".hdf5", ".hdf", ".txt", ".mat", ".xfm")
READ_FIELDS = (*FIELD_SUFFIXES, ".nhdr", ".mha", ".mhd")

_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
_FIELD_KIND = "displacement field type"
"""Slicer's key in NRRD files: "resampling" maps fixed to moving points, "modeling" the other way."""
_VECTOR_RAS, _VECTOR_RAW = 1006, 1007
"""NIfTI intents. ITK turns vectors of the first between RAS and LPS, and writes LPS as the second."""


@dataclass(frozen=True, eq=False)
class FileTransform:
    """A transform of any kind that ITK reads, with the methods of :class:`~.transform.SpatialMap`.

    Parameters
    ----------
    itk:
        ``SimpleITK.Transform``, LPS mm of fixed to LPS mm of moving points.
    name:
        What messages call it.
    """

    itk: SimpleITK.Transform
    name: str

    def points(self, xyz: np.typing.ArrayLike) -> np.ndarray:
        """Return where points go: (N, 3) RAS mm to (N, 3) RAS mm.

        Raises
        ------
        InputError
            When these are not rows of three finite numbers.
        """
        flip = np.array([-1.0, -1.0, 1.0])
        moved = [self.itk.TransformPoint(point) for point in (point_rows(xyz) * flip).tolist()]
        ras: np.ndarray = np.array(moved, dtype=np.float64).reshape(-1, 3) * flip
        return ras

    def pull(self, volume: Volume, like: Grid, order: int = 1, fill: float = 0) -> Volume:
        """Return ``volume`` on the grid of ``like``: the value at ``y`` is that of ``volume`` at the mapped ``y``.

        It is sampled once by SimpleITK, without smoothing.

        Parameters
        ----------
        volume, like:
            (i, j, k) or (c, i, j, k); a volume, or (shape, affine).
        order:
            0 takes the nearest voxel and keeps the type (for labels), 1 is linear, 3 a cubic spline (both give float).
        fill:
            Value where the mapped point lies outside ``volume``.

        Raises
        ------
        InputError
            When the order is another.
        """
        import SimpleITK

        require_order(order)
        interpolator = {0: SimpleITK.sitkNearestNeighbor, 1: SimpleITK.sitkLinear, 3: SimpleITK.sitkBSpline}[order]
        shape, affine = (like.shape, like.affine) if isinstance(like, Volume) else like
        # From voxels to voxels, on grids without geometry: those of ITK's images cannot be sheared.
        to_voxels = SimpleITK.CompositeTransform(3)  # the transform that is added last is applied first
        to_voxels.AddTransform(_lps_affine(np.linalg.inv(_LPS @ volume.affine)))
        to_voxels.AddTransform(self.itk)
        to_voxels.AddTransform(_lps_affine(_LPS @ affine))
        kept = order == 0 or volume.array.dtype == np.float64
        array = volume.array if kept else volume.array.astype(np.float32)
        layers = (array if volume.channels is not None else array[None]).view(_viewed(array.dtype))
        pulled = []
        for layer in layers:
            source = SimpleITK.GetImageFromArray(np.ascontiguousarray(layer.T))
            image = SimpleITK.Resample(
                source,
                [int(n) for n in shape],
                to_voxels,
                interpolator,
                source.GetOrigin(),
                source.GetSpacing(),
                source.GetDirection(),
                float(fill),
            )
            pulled.append(np.ascontiguousarray(SimpleITK.GetArrayViewFromImage(image).T))
        stacked = np.stack(pulled).view(array.dtype)
        return Volume(stacked if volume.channels is not None else stacked[0], affine)

    def coverage(self, volume: Volume, like: Grid) -> Volume:
        """Return where voxels of the grid of ``like`` are mapped into ``volume``, (i, j, k) bool."""
        return self.pull(Volume(np.ones(volume.shape, bool), volume.affine), like, order=0)


def write_transform(transform: SpatialMap, path: str | os.PathLike[str]) -> None:
    """Write the map as an ITK transform, whole or not at all: affine, displacement field, affine.

    Where there is no field it is one affine transform. The field keeps its own grid, in double precision, the only
    one that SimpleITK's transforms have.

    Parameters
    ----------
    transform, path:
        The map from fixed to moving points; a name that ends in ``.h5`` (small) or ``.tfm`` (text).

    Raises
    ------
    InputError
        When the suffix is another, or the grid of the field is sheared.
    NeuroGenError
        When the disk refuses.
    """
    import SimpleITK

    path = Path(path)
    _require_suffix(path, TRANSFORM_SUFFIXES, "a transform")
    if transform.field is not None:
        require_right_angles(transform.field, "The displacement field")
    if transform.field is None:
        itk: SimpleITK.Transform = _affine(transform.after @ transform.before)
    else:
        # The transform that is added last is applied first.
        itk = SimpleITK.CompositeTransform(3)
        itk.AddTransform(_affine(transform.after))
        itk.AddTransform(_displacement_transform(transform.field, str(path)))
        itk.AddTransform(_affine(transform.before))
    with atomic_file(path) as temporary:
        try:
            SimpleITK.WriteTransform(itk, utf8_name(temporary))
        except RuntimeError as error:
            raise OSError(_reason(error)) from error
        require_content(temporary)


def write_displacement_field(field: Volume, path: str | os.PathLike[str]) -> None:
    """Write displacements from fixed to moving points as ITK, Slicer and nibabel understand them, whole or not at all.

    Parameters
    ----------
    field:
        (3, i, j, k) along R, A, S in mm, such as :meth:`SpatialMap.displacement` on the fixed image's grid.
    path:
        ``.nrrd``: LPS vectors, marked as a field for resampling. ``.nii.gz`` or ``.nii``: (i, j, k, 1, 3), RAS
        vectors, intent 1006 (displacement vector); ITK before version 5 may read their x and y with the wrong sign.

    Raises
    ------
    InputError
        When the suffix is another, the field has not three finite channels, or its grid is sheared.
    NeuroGenError
        When the disk refuses.
    """
    path = Path(path)
    _require_suffix(path, FIELD_SUFFIXES, "a displacement field")
    require_displacements(field, "The displacement field")
    require_right_angles(field, "The displacement field")
    if path.name.lower().endswith(".nrrd"):
        _write_nrrd(field, path)
    else:
        _write_nifti(field, path)


def require_right_angles(volume: Volume, name: str) -> None:
    """Require a grid that files of displacement fields can hold; ask it of an image before the work.

    Raises
    ------
    InputError
        Naming ``name``, when its grid is sheared.
    """
    if is_sheared(volume.affine):
        raise InputError(
            f"{name} has a sheared grid, which no file of displacements can hold.",
            "Write the transform as .h5, or resample the image onto a grid with right angles.",
            code="geometry-invalid",
        )


def read_transform(path: str | os.PathLike[str]) -> FileTransform:
    """Read an ITK transform file, or a displacement field, that maps fixed to moving points.

    Parameters
    ----------
    path:
        ``.h5``, ``.hdf5``, ``.tfm``, ``.txt``, ``.mat`` or ``.xfm`` with any transform of ITK; or a field of three
        components in mm: ``.nrrd``, ``.nhdr``, ``.mha``, ``.mhd`` with LPS vectors, ``.nii`` or ``.nii.gz`` with intent
        1006 (RAS vectors) or 1007 (LPS vectors, as SimpleITK and ANTs write them).

    Raises
    ------
    InputError
        When the file is missing, unreadable or no 3-D transform, its field maps the other way (Slicer's "modeling"), or
        the vectors of a NIfTI file are in no known coordinates.
    """
    path = existing_file(path)
    name = path.name.lower()
    if name.endswith(READ_FIELDS):
        return FileTransform(_displacement_transform(_read_field(path), str(path)), str(path))
    if not name.endswith(READ_TRANSFORMS):
        raise InputError(
            f"{path} is not a transform NeuroGen reads.",
            f"Give a file that ends in {', '.join((*READ_TRANSFORMS, *READ_FIELDS))}.",
            code="file-type",
        )
    import SimpleITK

    try:
        itk = SimpleITK.ReadTransform(utf8_name(path))
    except RuntimeError as error:
        raise InputError(
            f"{path} is not a readable ITK transform: {_reason(error)}.",
            "It may be truncated, damaged or of another program: write it again as .h5 or .tfm.",
            code="file-damaged",
        ) from error
    if itk.GetDimension() != 3:
        raise InputError(
            f"{path} transforms {itk.GetDimension()}-D points.",
            "Give a transform of 3-D images.",
            code="transform-invalid",
        )
    return FileTransform(itk, str(path))


def _affine(matrix: np.ndarray) -> SimpleITK.AffineTransform:
    """Return a RAS matrix as ITK's affine transform in LPS."""
    return _lps_affine(_LPS @ matrix @ _LPS)


def _lps_affine(lps: np.ndarray) -> SimpleITK.AffineTransform:
    import SimpleITK

    transform = SimpleITK.AffineTransform(3)
    transform.SetMatrix(lps[:3, :3].ravel().tolist())
    transform.SetTranslation(lps[:3, 3].tolist())
    return transform


def _displacement_transform(field: Volume, name: str) -> SimpleITK.DisplacementFieldTransform:
    """Return a field of RAS mm as ITK's transform; on a right-handed grid, as Slicer's transforms need it."""
    import SimpleITK

    field = field.reorient("RAS")
    return SimpleITK.DisplacementFieldTransform(to_itk(_to_lps(field.array).astype(np.float64), field.affine, name))


def _to_lps(vectors: np.ndarray) -> np.ndarray:
    """Turn (3, i, j, k) from RAS to LPS, or back."""
    flipped: np.ndarray = vectors * np.array([-1, -1, 1], dtype=vectors.dtype).reshape(3, 1, 1, 1)
    return flipped


def _write_nrrd(field: Volume, path: Path) -> None:
    import SimpleITK

    image = to_itk(_to_lps(field.array.astype(np.float32)), field.affine, str(path))
    image.SetMetaData(_FIELD_KIND, "resampling")
    with atomic_file(path) as temporary:
        try:
            SimpleITK.WriteImage(image, utf8_name(temporary), useCompression=True, imageIO="NrrdImageIO")
        except RuntimeError as error:
            raise OSError(_reason(error)) from error
        require_content(temporary)


def _write_nifti(field: Volume, path: Path) -> None:
    import nibabel

    vectors = np.moveaxis(field.array.astype(np.float32), 0, -1)[:, :, :, None]
    image = nibabel.Nifti1Image(vectors, field.affine)
    image.header.set_intent(_VECTOR_RAS)
    image.header.set_xyzt_units("mm")
    image.set_qform(field.affine, code=1)
    image.set_sform(field.affine, code=1)
    with atomic_file(path) as temporary:
        nibabel.save(image, temporary)


def _read_field(path: Path) -> Volume:
    """Return the displacement field of a file in RAS mm."""
    remedy = "Give a field with displacements along x, y and z in mm."
    array, affine = volumes.read(path)  # not Volume.load: the grid of a field may be coarser than that of an image
    volume = Volume(array, affine)
    if volume.channels != 3:
        raise InputError(
            f"{path} is an image of {volume.channels or 1} channel(s), no displacement field.",
            remedy,
            code="image-dimensions",
        )
    require_displacements(volume, str(path))
    if path.name.lower().endswith((".nii", ".nii.gz")):
        return volume if _nifti_is_ras(path) else volume.with_array(_to_lps(volume.array))
    if _field_kind(path) not in ("", "resampling"):
        raise InputError(
            f"{path} is a field for '{_field_kind(path)}': it maps moving to fixed points.",
            "Invert it in Slicer's Transforms module and save it again.",
            code="transform-invalid",
        )
    return volume.with_array(_to_lps(volume.array))


def _nifti_is_ras(path: Path) -> bool:
    import nibabel

    header: Mapping[str, Any] = nibabel.load(path).header  # type: ignore[assignment]  # nibabel names the base class
    code = int(header["intent_code"])
    if code not in (_VECTOR_RAS, _VECTOR_RAW):
        raise InputError(
            f"{path} does not say whether its vectors are RAS or LPS (intent code {code}).",
            f"Set the intent code to {_VECTOR_RAS} for RAS or {_VECTOR_RAW} for LPS vectors, or save it as .nrrd.",
            code="transform-invalid",
        )
    return code == _VECTOR_RAS


def _field_kind(path: Path) -> str:
    """Return what an NRRD file says about the direction of its field; empty where it says nothing."""
    import SimpleITK

    reader = SimpleITK.ImageFileReader()
    reader.SetFileName(utf8_name(path))
    reader.ReadImageInformation()
    return str(reader.GetMetaData(_FIELD_KIND)).strip().lower() if reader.HasMetaDataKey(_FIELD_KIND) else ""


def _viewed(dtype: np.dtype) -> np.dtype:
    """Return the type in which SimpleITK holds the values: it has no booleans."""
    return np.dtype(np.uint8) if dtype.kind == "b" else dtype


def _require_suffix(path: Path, suffixes: tuple[str, ...], what: str) -> None:
    if not path.name.lower().endswith(suffixes):
        raise InputError(
            f"{path} cannot be written as {what}.", f"End the name in {' or '.join(suffixes)}.", code="file-type"
        )


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split("ERROR:")[-1].split())
    return text[:200].rstrip(".") or type(error).__name__
