"""Atlases that other programs published as plain files: 4-D NIfTI, a frame for each age."""

from __future__ import annotations

import itertools
import math
import re
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from NeuroGenLib.atlas.growth.volumes import growth_figure
from NeuroGenLib.core import provenance
from NeuroGenLib.core.checksums import sha256_of
from NeuroGenLib.core.errors import InputError, nearest
from NeuroGenLib.core.files import existing_file, read_json, staged_outputs, write_json
from NeuroGenLib.core.progress import SILENT, Progress
from NeuroGenLib.core.reports import PICTURE, PictureConfig, save_figure, write_table
from NeuroGenLib.spatial.files.volumes import write_frames
from NeuroGenLib.spatial.labels import LabelTable, as_label_map, label_volumes_ml
from NeuroGenLib.spatial.volume import Volume, require_finite

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from NeuroGenLib.atlas.infer import AtlasModel

FILES = ("image.nii.gz", "labels.nii.gz", "labels.tsv", "growth.tsv", "growth.png", "probabilities.nii.gz")
"""What :func:`export` writes beside its record."""

RIM_NAMES = ("bg", "background")
"""Names, in small letters, of the margin that the published program labels around the brain."""

PROBABILITY_STEP = 1 / 255
"""Tissue probabilities are written as bytes, in steps of this."""

_NAME = re.compile(r"^(?P<what>.+?)_ga=(?P<first>\d+(?:\.\d+)?)-(?P<last>\d+(?:\.\d+)?)(?=_|\.nii)")
_SECONDS = {"sec": 1.0, "msec": 1e-3, "usec": 1e-6}
_SECONDS_A_WEEK = 604_800.0
_GZIP_MOST = 1040
"""Gzip cannot make anything smaller by a larger factor."""
_SAME_MM = 1e-3
"""Difference of positions, mm, or of probabilities from 0 and 1, that counts as rounding."""


@dataclass(frozen=True)
class FrameFile:
    """A 4-D NIfTI file, read a frame at a time.

    Attributes
    ----------
    path:
        The file.
    shape:
        Voxels along i, j, k.
    frames:
        How many frames.
    affine:
        (4, 4) voxel to RAS mm, as the header has it.
    dtype:
        Type of the stored values.
    weeks:
        First frame and step in weeks where the header gives a start and a unit of time, else None.
    placed:
        Whether the header says where and how the volume lies.
    """

    path: Path
    shape: tuple[int, int, int]
    frames: int
    affine: np.ndarray
    dtype: np.dtype
    weeks: tuple[float, float] | None
    placed: bool

    @classmethod
    def open(cls, path: Path) -> FrameFile:
        """Read the header.

        Raises
        ------
        InputError
            When the file is missing, no NIfTI, not 4-D, or smaller than its header says.
        """
        image = _opened(existing_file(path))
        if len(image.shape) != 4:
            raise InputError(
                f"{path} has {len(image.shape)} axes {image.shape}; a precomputed atlas has four, the last for age.",
                "Give the 4-D file; single volumes need no 'atlas open'.",
                code="image-dimensions",
            )
        dtype = image.get_data_dtype()
        size = math.prod(int(n) for n in image.shape) * dtype.itemsize
        if not 0 < size <= path.stat().st_size * _GZIP_MOST:
            raise _unreadable(path, f"its header claims {size} bytes of voxels, the file has others")
        i, j, k, frames = (int(n) for n in image.shape)
        header = image.header
        affine = np.asarray(image.affine, dtype=np.float64)
        placed = bool(header["sform_code"] or header["qform_code"])
        return cls(path, (i, j, k), frames, affine, dtype, _weeks(header), placed)

    def frame(self, index: int) -> Volume:
        """Return one frame as the file has it, float32 where it stores scaled values.

        Raises
        ------
        InputError
            When the file is truncated or damaged.
        """
        from nibabel.spatialimages import HeaderDataError

        try:
            array = np.asanyarray(_opened(self.path).dataobj[..., index])
        except (OSError, EOFError, ValueError, OverflowError, zlib.error, HeaderDataError) as error:
            raise _unreadable(self.path, str(error) or type(error).__name__) from error
        try:
            return Volume(array.astype(np.float32) if array.dtype == np.float64 else array, self.affine)
        except InputError as error:
            raise error.within(f"{self.path} cannot be used") from error


class PrecomputedAtlas:
    """A published atlas that is a 4-D file; volumes are read when they are asked for.

    Made by :meth:`open`.

    Attributes
    ----------
    name:
        What the images show, from the file's name: ``T2w``.
    ages:
        Age of each frame, ascending, in :attr:`age_unit`.
    age_name, age_unit:
        Such as ``scan_age`` and ``weeks``.
    affine:
        (4, 4) voxel to RAS mm of every volume.
    table:
        The label table, without the margin; None without a segmentation.
    warnings:
        What a person should know about these files.
    corrections:
        What differs from the files, a sentence each.
    """

    subjects: tuple[dict[str, Any], ...] = ()
    """Files list no training subjects: :func:`~NeuroGenLib.atlas.growth.volumes.growth_figure` plots none."""

    def __init__(
        self,
        image: FrameFile,
        ages: tuple[float, ...],
        age: tuple[str, str],
        affine: np.ndarray,
        segmentation: FrameFile | None,
        certainty: dict[str, FrameFile],
    ) -> None:
        match = _NAME.match(image.path.name)
        self.name = match["what"] if match else image.path.name.partition(".")[0]
        self.ages = ages
        self.age_name, self.age_unit = age
        self.affine = affine
        self.table: LabelTable | None = None
        self.warnings: list[str] = []
        self.corrections: list[str] = []
        self._image = image
        self._segmentation = segmentation
        self._certainty = certainty
        self._margin: tuple[int, ...] = ()

    @classmethod
    def open(
        cls,
        path: Path,
        ages: Sequence[float] | None = None,
        segmentation: Path | None = None,
        labels: Path | None = None,
        *,
        fix_origin: bool = False,
        certainty: Sequence[Path] = (),
    ) -> PrecomputedAtlas:
        """Open the files of an atlas; nothing but their headers and the segmentation's values is read.

        Parameters
        ----------
        path:
            4-D NIfTI, a frame for each age.
        ages:
            Age of each frame in weeks. Else they are evenly spaced over the ages in the name
            (``..._ga=21-37_...``), or those of NeuroGen's ``provenance.json`` beside the file, or the header's, where
            it has a start and a unit of time.
        segmentation:
            4-D label maps on the same grid; whole values, of any type.
        labels:
            Their table (BIDS ``dseg.tsv``); ``labels.tsv`` beside them when not given.
        fix_origin:
            Put the centre of the box at (0, 0, 0): the origin becomes -(n - 1) / 2 voxels along each axis, the
            directions stay. For files whose header has the origin 0.
        certainty:
            4-D probabilities on the same grid, one file a label, named ``<label>_ga=...`` or ``<label>.nii.gz``.

        Raises
        ------
        InputError
            When a file is missing, damaged or not 4-D, files do not fit together, the ages are unknown, not
            ascending or not as many as frames, or the origin is to be fixed but already somewhere else.
        """
        image = FrameFile.open(Path(path))
        known, source, age = _ages(image, ages)
        maps = {_label_of(Path(file)): FrameFile.open(Path(file)) for file in certainty}
        if len(maps) < len(certainty):
            raise InputError(
                "Two certainty maps are named after the same label.",
                "Give one file for each label.",
                code="value-duplicate",
            )
        segmented = None if segmentation is None else FrameFile.open(Path(segmentation))
        for companion in (*([segmented] if segmented else []), *maps.values()):
            _require_same_grid(image, companion)
        atlas = cls(image, known, age, centred(image) if fix_origin else image.affine, segmented, maps)
        atlas._note(source, fix_origin=fix_origin)
        if segmented is not None:
            atlas._name_labels(_table_beside(segmented.path) if labels is None else Path(labels))
        return atlas

    @property
    def classes(self) -> tuple[str, ...]:
        """The labels that :meth:`probabilities` has, in that order: the table's, without the margin."""
        return tuple(self._certainty)

    def nearest(self, age: float) -> int:
        """Return the frame of the stored age nearest to ``age``, the younger of two.

        Raises
        ------
        InputError
            When ``age`` lies outside the stored ages: there is nothing to show.
        """
        if not self.ages[0] <= age <= self.ages[-1]:
            raise InputError(
                f"The age {age:g} lies outside the atlas, {self.ages[0]:g} to {self.ages[-1]:g} {self.age_unit}.",
                "Ask for an age inside.",
                code="model-range",
            )
        return min(range(len(self.ages)), key=lambda frame: abs(self.ages[frame] - age))

    def image(self, age: float) -> Volume:
        """Return the image (i, j, k) of the stored age nearest to ``age``.

        Raises
        ------
        InputError
            When the age lies outside, the file is damaged, or the frame holds NaN or infinity.
        """
        return self._frame(self._image, self.nearest(age))

    def labels(self, age: float) -> Volume:
        """Return the label map (i, j, k), integer, of the stored age nearest to ``age``; the margin around it is 0.

        Raises
        ------
        InputError
            When there is no segmentation, the age lies outside, or the frame is not a label map.
        """
        index = self.nearest(age)
        if self._segmentation is None:
            raise InputError(
                f"{self._image.path.name} was opened without label maps.",
                "Give the segmentation.",
                code="value-missing",
            )
        volume = self._label_frame(self._segmentation, index)
        array = np.where(np.isin(volume.array, self._margin), 0, volume.array)
        return Volume(array.astype(np.min_scalar_type(int(array.max()))), self.affine)

    def probabilities(self, age: float) -> Volume:
        """Return (class, i, j, k), the probabilities of :attr:`classes` at the stored age nearest to ``age``.

        Raises
        ------
        InputError
            When there are none, the age lies outside, or a map has values that are not probabilities.
        """
        index = self.nearest(age)
        if not self._certainty:
            raise InputError(
                f"{self._image.path.name} was opened without certainty maps.",
                "Give the certainty maps.",
                code="value-missing",
            )
        maps = []
        for file in self._certainty.values():
            array = self._frame(file, index).array
            if array.min() < -_SAME_MM or array.max() > 1 + _SAME_MM:
                raise InputError(
                    f"{file.path} holds values from {array.min():g} to {array.max():g}, which are not probabilities.",
                    "Give the certainty maps, not label maps or images.",
                    code="value-invalid",
                )
            maps.append(np.clip(array, 0, 1))
        return Volume(np.stack(maps), self.affine)

    def growth(self) -> Iterator[dict[str, float | str]]:
        """Yield, for each age, the volume in ml of every label (``<label>_ml``) and of all together (``total_ml``)."""
        for age in self.ages:
            volumes = {} if self.table is None else label_volumes_ml(self.labels(age), self.table)
            row = {f"{name}_ml": round(value, 3) for name, value in volumes.items()}
            yield {self.age_name: age, **row, "total_ml": round(sum(volumes.values()), 3)}

    def summary(self, progress: Progress = SILENT) -> dict[str, Any]:
        """Return what the files hold, by name, ready for JSON; every frame is read."""
        low, high = math.inf, -math.inf
        for age in progress.track(self.ages, "reading frames"):
            array = self.image(age).array
            low, high = min(low, float(array.min())), max(high, float(array.max()))
        spacing = np.linalg.norm(self.affine[:3, :3], axis=0)
        facts: dict[str, Any] = {
            "image": self.name,
            "frames": len(self.ages),
            "ages": list(self.ages),
            "age_unit": self.age_unit,
            "voxels": list(self._image.shape),
            "spacing_mm": [round(float(step), 6) for step in spacing],
            "origin_mm": [round(float(place), 6) for place in self.affine[:3, 3]],
            "range": [low, high],
        }
        if self.table is not None:
            rows = list(self.growth())
            facts["volumes_ml"] = {
                name[:-3]: [rows[0][name], rows[-1][name]] for name in rows[0] if name != self.age_name
            }
        return facts | {"certainty": list(self.classes), "warnings": self.warnings}

    def inputs(self) -> list[tuple[str, Path]]:
        """Return the files that were opened, each with its role."""
        files = [("image", self._image), *(("certainty", file) for file in self._certainty.values())]
        files += [("segmentation", self._segmentation)] if self._segmentation else []
        return [(role, file.path) for role, file in files]

    def _frame(self, file: FrameFile, index: int) -> Volume:
        volume = file.frame(index)
        require_finite(volume, f"{file.path}, age {self.ages[index]:g},")
        return Volume(volume.array, self.affine)

    def _label_frame(self, file: FrameFile, index: int) -> Volume:
        return as_label_map(file.frame(index), f"{file.path}, age {self.ages[index]:g},")

    def _note(self, source: str, *, fix_origin: bool) -> None:
        if source:
            self.warnings.append(source)
        if not self._image.placed:
            self.warnings.append(
                f"{self._image.path.name} says nothing of its orientation: left and right are a guess."
            )
        old, new = self._image.affine[:3, 3], self.affine[:3, 3]
        if not np.allclose(old, new, rtol=0, atol=_SAME_MM):
            self.corrections.append(f"The origin was moved from {_place(old)} to {_place(new)} mm.")
        elif not fix_origin and np.allclose(old, 0, rtol=0, atol=_SAME_MM):
            self.warnings.append(
                "The header's origin is (0, 0, 0), a corner of the box: --fix-origin puts its centre there."
            )

    def _name_labels(self, path: Path | None) -> None:
        """Find the label values, name them by the table, and remove the margin."""
        file = cast("FrameFile", self._segmentation)
        maps = (self._label_frame(file, index).array for index in range(len(self.ages)))
        values = {int(value) for frame in maps for value in np.unique(frame)}
        if file.dtype.kind == "f":
            self.corrections.append(f"The labels were stored as {file.dtype} and are integers now.")
        mapping: dict[str, Any] = {"0": "background"} if path is None else LabelTable.from_tsv(path).to_mapping()
        unnamed = sorted(value for value in values - {0} if str(value) not in mapping)
        if unnamed:
            where = "there is no label table" if path is None else f"{path.name} lacks them"
            self.warnings.append(f"The label values {', '.join(map(str, unnamed))} are named label_N: {where}.")
        table = LabelTable.from_mapping(mapping | {str(value): f"label_{value}" for value in unnamed})
        for name in self.classes:
            if name not in table.names:
                problem = f"The certainty map of '{name}' belongs to no label of the table."
                raise InputError(problem, nearest(name, table.names), code="name-unknown")
        margin = [entry for entry in table if entry.value and entry.name.lower() in RIM_NAMES]
        self._margin = tuple(entry.value for entry in margin)
        self.corrections += [
            f"Label {label.value} ({label.name}), the margin around the brain, is 0 now." for label in margin
        ]
        kept = (entry for entry in table if entry not in margin)
        self.table = LabelTable(tuple(sorted(kept, key=lambda entry: entry.value)))
        self._certainty = {name: self._certainty[name] for name in self.table.names if name in self._certainty}


def centred(file: FrameFile) -> np.ndarray:
    """Return the affine with the centre of the box, (n - 1) / 2 voxels from the first, at (0, 0, 0).

    Raises
    ------
    InputError
        When the origin is neither 0 nor there already.
    """
    affine = file.affine.copy()
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(file.shape) - 1) / 2)
    old = file.affine[:3, 3]
    if not np.allclose(old, 0, rtol=0, atol=_SAME_MM) and not np.allclose(old, affine[:3, 3], rtol=0, atol=_SAME_MM):
        raise InputError(
            f"{file.path} has the origin {_place(old)} mm, so it was placed on purpose.",
            "Leave out --fix-origin.",
            code="value-conflict",
        )
    return affine


def export(
    atlas: PrecomputedAtlas, out: Path, progress: Progress = SILENT, picture: PictureConfig = PICTURE
) -> list[Path]:
    """Write an opened atlas as `neurogen atlas generate` writes one, all files or none; the inputs stay as they are.

    ``image.nii.gz`` and, where they were opened, ``labels.nii.gz`` with ``labels.tsv``, ``growth.tsv`` and
    ``growth.png``, ``probabilities.nii.gz`` (i, j, k, age, class); always ``provenance.json``.

    Returns
    -------
    list of Path:
        The files.

    Raises
    ------
    InputError
        When a frame cannot be read or used.
    NeuroGenError
        When the disk refuses.
    """
    step = _even_step(atlas.ages)
    with staged_outputs(out) as staging:
        images = [atlas.image(age).array for age in progress.part(0, 0.4).track(atlas.ages, "images")]
        write_frames(staging / "image.nii.gz", images, atlas.affine, frame_spacing=step)
        del images
        if atlas.table is not None:
            maps = [atlas.labels(age).array for age in progress.part(0.4, 0.6).track(atlas.ages, "labels")]
            write_frames(staging / "labels.nii.gz", maps, atlas.affine, frame_spacing=step)
            atlas.table.to_tsv(staging / "labels.tsv")
            rows = list(atlas.growth())
            write_table(staging / "growth.tsv", rows)
            if len(rows) > 1:
                # The figure needs no more of a model than the name and unit of its age, and its subjects.
                figure = growth_figure(cast("AtlasModel", atlas), {atlas.name: rows})
                save_figure(staging / "growth", figure, picture)
        if atlas.classes:
            bytes_ = [
                np.rint(atlas.probabilities(age).array / PROBABILITY_STEP).astype(np.uint8)
                for age in progress.part(0.6, 0.9).track(atlas.ages, "probabilities")
            ]
            write_frames(
                staging / "probabilities.nii.gz", bytes_, atlas.affine, frame_spacing=step, slope=PROBABILITY_STEP
            )
        write_json(staging / "provenance.json", _record(atlas))
        return [out / path.name for path in sorted(staging.iterdir())]


def _record(atlas: PrecomputedAtlas) -> dict[str, Any]:
    return provenance.record(
        "atlas open",
        parameters={"ages": list(atlas.ages), "age": {"name": atlas.age_name, "unit": atlas.age_unit}},
        inputs=[{"role": role, "name": path.name, "sha256": sha256_of(path)} for role, path in atlas.inputs()],
        image=atlas.name,
        probabilities=list(atlas.classes),
        corrections=atlas.corrections,
        warnings=atlas.warnings,
    )


def _ages(file: FrameFile, stated: Sequence[float] | None) -> tuple[tuple[float, ...], str, tuple[str, str]]:
    """Return the ages, a sentence on where they come from (none when given), and their name and unit."""
    age = ("scan_age", "weeks")
    match = _NAME.match(file.path.name)
    recorded = None if stated is not None or match else _recorded(file.path.with_name("provenance.json"))
    if stated is not None:
        ages, source = tuple(float(value) for value in stated), ""
    elif match:
        first, last = float(match["first"]), float(match["last"])
        ages = (first,) if first == last else tuple(float(value) for value in np.linspace(first, last, file.frames))
        source = f"The ages are spaced evenly from {first:g} to {last:g} weeks, as the file's name says."
        if file.frames == 1 and first != last:
            raise InputError(
                f"{file.path} has one frame, but its name says {first:g} to {last:g}.",
                "Give --ages.",
                code="value-missing",
            )
    elif recorded is not None:
        ages, age = recorded
        source = "The ages are those of the provenance.json beside the file."
    elif file.weeks is not None:
        ages = tuple(file.weeks[0] + frame * file.weeks[1] for frame in range(file.frames))
        source = "The ages are those of the header."
    else:
        raise InputError(
            f"Nothing says which ages the {file.frames} frames of {file.path} have.",
            "Give --ages FIRST:LAST:STEP.",
            code="value-missing",
        )
    if len(ages) != file.frames:
        raise InputError(
            f"{len(ages)} ages were given for the {file.frames} frames of {file.path}.",
            "Give one each.",
            code="value-conflict",
        )
    if not np.isfinite(ages).all() or any(later <= earlier for earlier, later in itertools.pairwise(ages)):
        raise InputError(
            f"The ages of {file.path} do not ascend: {_few(ages)}.",
            "Give --ages in the order of frames.",
            code="value-invalid",
        )
    return ages, source, age


def _recorded(path: Path) -> tuple[tuple[float, ...], tuple[str, str]] | None:
    """Return ages, and their name and unit, from NeuroGen's record of how a file was made."""
    record = read_json(existing_file(path)) if path.is_file() else None
    try:
        if record is None or record["action"] not in ("atlas generate", "atlas open"):
            return None
        parameters = record["parameters"]
        name, unit = parameters["age"]["name"], parameters["age"]["unit"]
        return tuple(float(age) for age in parameters["ages"]), (str(name), str(unit))
    except (KeyError, TypeError, ValueError):
        return None  # some other program's record


def _weeks(header: Any) -> tuple[float, float] | None:
    try:
        unit = header.get_xyzt_units()[1]
    except KeyError:
        return None
    first, step = float(header["toffset"]), float(header.get_zooms()[3])
    # Many programs write seconds without meaning them; a start that is not 0 is meant.
    if unit not in _SECONDS or not (math.isfinite(first) and first > 0 and step > 0):
        return None
    scale = _SECONDS[unit] / _SECONDS_A_WEEK
    return round(first * scale, 6), round(step * scale, 6)


def _require_same_grid(image: FrameFile, companion: FrameFile) -> None:
    problem = ""
    if (*image.shape, image.frames) != (*companion.shape, companion.frames):
        problem = f"{(*image.shape, image.frames)} and {(*companion.shape, companion.frames)} voxels and frames"
    elif not np.allclose(image.affine, companion.affine, rtol=0, atol=_SAME_MM):
        problem = f"origins {_place(image.affine[:3, 3])} and {_place(companion.affine[:3, 3])} mm, or other directions"
    if problem:
        raise InputError(
            f"{image.path} and {companion.path} do not fit together: {problem}.",
            "Give files of one atlas.",
            code="geometry-mismatch",
        )


def _table_beside(segmentation: Path) -> Path | None:
    path = segmentation.with_name("labels.tsv")
    return path if path.is_file() else None


def _label_of(path: Path) -> str:
    match = _NAME.match(path.name)
    return match["what"] if match else path.name.partition(".")[0]


def _opened(path: Path) -> Any:
    import nibabel
    from nibabel.filebasedimages import ImageFileError
    from nibabel.spatialimages import HeaderDataError
    from nibabel.wrapstruct import WrapStructError

    try:
        image = nibabel.load(path, mmap=False)
    except (OSError, EOFError, ValueError, zlib.error, ImageFileError, HeaderDataError, WrapStructError) as error:
        raise _unreadable(path, str(error) or type(error).__name__) from error
    if not isinstance(image, nibabel.Nifti1Image):  # a Nifti2Image is one
        raise _unreadable(path, f"it is {type(image).__name__}")
    return image


def _unreadable(path: Path, reason: str) -> InputError:
    reason = " ".join(reason.split())[:200].rstrip(".")
    return InputError(
        f"{path} is not a readable NIfTI file: {reason}.", "Download or copy it again.", code="file-damaged"
    )


def _even_step(ages: Sequence[float]) -> float:
    steps = np.diff(ages)
    return float(steps[0]) if len(steps) and np.allclose(steps, steps[0], rtol=0, atol=1e-6) else 1.0


def _place(origin: np.ndarray) -> str:
    return f"({', '.join(f'{value:g}' for value in np.round(origin, 4) + 0.0)})"


def _few(ages: Sequence[float]) -> str:
    return ", ".join(f"{age:g}" for age in ages[:8]) + (", ..." if len(ages) > 8 else "")
