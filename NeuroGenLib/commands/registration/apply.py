"""`neurogen registration apply`: images, labels and points through an existing transform."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from NeuroGenLib.cohort.subjects import IMAGE_SUFFIXES
from NeuroGenLib.commands.options import add_report_options, make_parser, make_progress
from NeuroGenLib.commands.shared import (
    add_overwrite_option,
    add_reading_options,
    out_folder,
    print_result,
    print_written,
    use_reading_options,
)
from NeuroGenLib.core import provenance
from NeuroGenLib.core.errors import InputError
from NeuroGenLib.core.files import require_folder_place, staged_outputs, write_json
from NeuroGenLib.core.job import require_apart
from NeuroGenLib.core.provenance import RECORD
from NeuroGenLib.spatial.files.formats import ITK_SUFFIXES, WRITTEN_SUFFIXES
from NeuroGenLib.spatial.files.landmarks import POINT_SUFFIXES, point_suffix, read_point_file
from NeuroGenLib.spatial.files.nifti import frame_step
from NeuroGenLib.spatial.files.spatial_maps import FileTransform, read_transform
from NeuroGenLib.spatial.files.volumes import require_writable
from NeuroGenLib.spatial.labels import as_label_map
from NeuroGenLib.spatial.result import inspected, overlap_remarks
from NeuroGenLib.spatial.volume import Volume, require_finite

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from NeuroGenLib.core.arguments import ArgumentParser
    from NeuroGenLib.core.progress import Progress

DIRECTIONS = ("forward", "inverse")
"""How the two transforms of one registration are named."""


@dataclass(frozen=True)
class Plan:
    """Inputs and outputs: ``images`` and ``points`` hold (read, written), ``record`` how it was made."""

    images: list[tuple[Path, Path]]
    points: tuple[Path, Path] | None
    record: Path

    @property
    def written(self) -> list[Path]:
        """All files, the record last."""
        points = [] if self.points is None else [self.points[1]]
        return [*(place for _, place in self.images), *points, self.record]


def apply(arguments: list[str]) -> None:
    """`neurogen registration apply`: images, labels and points through a transform."""
    options = _parser().parse(arguments)

    plan = planned(options.volume, options.points, options.out)

    if plan.record.name == RECORD:
        out_folder(options.out, overwrite=options.overwrite)
    else:
        require_folder_place(plan.record.parent)
    if plan.images and options.like is None:
        raise InputError(
            "It is not said onto which grid the volumes go.",
            "Give --like IMAGE, such as the fixed image.",
            code="value-missing",
        )
    if options.labels and options.order is not None:
        raise InputError("Label maps are not interpolated.", "Leave out --order, or --labels.", code="value-conflict")
    started = time.monotonic()
    progress = make_progress(options.progress)
    use_reading_options(options, progress)
    used, remarks = _transform(options, plan, progress)
    progress.close()
    seconds = time.monotonic() - started
    if options.json:
        print_written(options.out, plan.written, started, transforms=used, warnings=remarks)
        return
    source, target = ("fixed", "moving") if options.inverse else ("moving", "fixed")
    print(f"Carried from the {source} scan into the space of the {target} one:")
    for what, name in used.items():
        print(f"  {what} by {name}")
    print_result(plan.record.parent, plan.written, seconds, remarks, "")


def planned(volumes: Sequence[str], points: str | None, out: str) -> Plan:
    """Return what is read and where it is written.

    Raises
    ------
    InputError
        When nothing is given, ``out`` is a file of another kind or one for several, two results would have one
        name, or one would replace what is read.
    """
    read = [Path(text) for text in volumes]
    marks = None if points is None else Path(points)
    if not read and marks is None:
        raise InputError("There is nothing to transform.", "Give volumes, or --points FILE.", code="value-missing")
    if marks is not None and point_suffix(marks) is None:
        raise InputError(
            f"{marks} is not a point file NeuroGen reads.", f"Give {', '.join(POINT_SUFFIXES)}.", code="file-type"
        )
    place = Path(out)
    name = place.name.lower()
    if name.endswith((*WRITTEN_SUFFIXES, *POINT_SUFFIXES)):
        plan = _into_file(read, marks, place)
    elif place.suffix.lower() in (*ITK_SUFFIXES, *IMAGE_SUFFIXES, ".json", ".h5", ".tfm"):
        raise InputError(
            f"{place} has a suffix that is not written.",
            f"Use {', '.join(WRITTEN_SUFFIXES)}, or a folder.",
            code="file-type",
        )
    else:
        images = [(path, place / f"{stem(path)}_carried.nii.gz") for path in read]
        both = None if marks is None else (marks, place / f"{stem(marks)}_carried{point_suffix(marks)}")
        plan = Plan(images, both, place / RECORD)
    _require_apart(plan, [*read, *([] if marks is None else [marks])])
    return plan


def stem(path: Path) -> str:
    """Return a file's name without its ending, of both parts where it has two."""
    suffixes = (*IMAGE_SUFFIXES, *POINT_SUFFIXES)
    suffix = next((suffix for suffix in suffixes if path.name.lower().endswith(suffix)), "")
    return path.name[: len(path.name) - len(suffix)] or path.resolve().name


def _parser() -> ArgumentParser:
    parser = make_parser(
        "registration apply",
        "Map images, labels and points of the moving scan into the space of the fixed one, with the transform that\n"
        "'neurogen registration run' wrote, or any transform or displacement field of ITK, ANTs or Slicer. With\n"
        "--inverse everything goes the other way, from fixed to moving.\n\n"
        "Images are resampled onto the grid of --like. A transform tells where the points of the fixed scan lie in\n"
        "the moving one: this is what images need, and points need the other direction. It is taken from the file\n"
        "beside it (inverse.h5 beside forward.h5, and the reverse), or computed where the transform is affine.",
        (
            "neurogen registration apply result/forward.h5 moving_FLAIR.nii.gz --like fixed.nii.gz --out flair.nii.gz",
            "neurogen registration apply result/forward.h5 aseg.nii.gz --labels --like fixed.nii.gz --out labels",
            "neurogen registration apply result/forward.h5 --points electrodes.fcsv --out electrodes_fixed.fcsv",
            "neurogen registration apply result/forward.h5 fixed_atlas.nii.gz --labels --inverse --like moving.nii.gz"
            " --out atlas",
        ),
    )
    parser.add_argument(
        "transform",
        metavar="TRANSFORM",
        help="forward.h5; also .tfm, .txt, .mat, .xfm, or a displacement field (.nrrd, .nii.gz, .mha)",
    )
    parser.add_argument("volume", nargs="*", metavar="VOLUME", help="images of the moving scan, or its label maps")
    parser.add_argument("--like", metavar="FILE", help="image whose grid the volumes come to: the fixed one")
    parser.add_argument("--labels", action="store_true", help="the volumes are label maps: take the nearest voxel")
    parser.add_argument(
        "--order", choices=("1", "3"), help="interpolation of images: 1 linear, 3 cubic spline (default: 1)"
    )
    parser.add_argument(
        "--points",
        metavar="FILE",
        help="points of the moving scan: .tsv or .csv with x, y, z in RAS mm, or Slicer's .fcsv and .mrk.json",
    )
    parser.add_argument("--inverse", action="store_true", help="map from the fixed to the moving scan instead")
    parser.add_argument(
        "--out", required=True, metavar="PLACE", help="a file (.nii.gz, .nii, .nrrd; as --points), or a folder"
    )
    add_overwrite_option(parser)
    add_reading_options(parser)
    add_report_options(parser)
    return parser


def _into_file(read: Sequence[Path], marks: Path | None, place: Path) -> Plan:
    several = len(read) + (marks is not None)
    if several > 1:
        raise InputError(
            f"{place} is one file, and there are {several} to write.", "Give a folder as --out.", code="value-conflict"
        )
    record = place.with_name(f"{stem(place)}_provenance.json")
    if marks is None:
        if not place.name.lower().endswith(WRITTEN_SUFFIXES):
            raise InputError(
                f"{place} cannot hold an image.", f"End the name in {', '.join(WRITTEN_SUFFIXES)}.", code="file-type"
            )
        return Plan([(read[0], place)], None, record)
    suffix = point_suffix(marks)
    if point_suffix(place) != suffix:
        raise InputError(
            f"{place} is not of the kind of {marks}.",
            f"Points stay in their format: end it in {suffix}.",
            code="file-type",
        )
    return Plan([], (marks, place), record)


def _require_apart(plan: Plan, read: Sequence[Path]) -> None:
    taken: set[Path] = set()
    for place in plan.written:
        if place in taken:
            raise InputError(
                f"Two results would both be {place}.",
                "Transform them one by one, into different folders.",
                code="value-duplicate",
            )
        taken.add(place)
        if place.is_dir():
            raise InputError(
                f"The result {place} would replace a folder.", "Choose another name as --out.", code="file-occupied"
            )
    require_apart(plan.written, read)


def _transform(options: Any, plan: Plan, progress: Progress) -> tuple[dict[str, str], list[str]]:
    """Transform everything, all or nothing; return which transform was used for what, and what to know about it."""
    transform = read_transform(options.transform)
    order = 0 if options.labels else int(options.order or 1)
    used: dict[str, str] = {}
    remarks: list[str] = []
    with staged_outputs(plan.record.parent) as staging:
        if plan.images:
            by_images = opposite(transform, inverse=True) if options.inverse else transform
            like = Volume.load(options.like)
            for _, place in plan.images:
                require_writable(place, like.affine)
            for path, place in progress.track(plan.images, "transforming"):
                volume = Volume.load(path)
                if options.labels:
                    volume = as_label_map(volume, str(path))
                require_finite(volume, str(path))
                remarks += overlap_remarks(by_images.coverage(volume, like), volume, str(path))
                result = by_images.pull(volume, like, order)
                remarks += inspected({place.name: result})
                spacing, unit = _frames_of(volume, path)
                result.save(staging / place.name, frame_spacing=spacing, frame_unit=unit)
            used["label maps" if options.labels else "images"] = by_images.name
        if plan.points is not None:
            by_points = transform if options.inverse else opposite(transform, inverse=False)
            read = read_point_file(plan.points[0])
            read.with_points(by_points.points(read.points)).write(staging / plan.points[1].name)
            used["points"] = by_points.name
        parameters = {
            name: getattr(options, name) for name in ("transform", "volume", "like", "labels", "points", "inverse")
        }
        parameters["order"] = order
        record = provenance.record("registration apply", parameters=parameters, transforms=used, warnings=remarks)
        write_json(staging / plan.record.name, record)
    return used, remarks


def _frames_of(volume: Volume, path: Path) -> tuple[float, str]:
    """Return the step between the channels of a volume, the repetition time of a series, and its unit."""
    is_series = volume.channels is not None and path.name.lower().endswith((".nii", ".nii.gz"))
    return frame_step(path) if is_series else (1.0, "unknown")


def opposite(transform: FileTransform, *, inverse: bool) -> FileTransform:
    """Return the transform of the other direction.

    It is the file beside it, named ``inverse`` where it is named ``forward`` and the reverse; else the inverse of an
    affine transform. ``inverse`` says whether ``--inverse`` was given, which the remedy speaks of.

    Raises
    ------
    InputError
        When there is no such file, and the transform deforms.
    """
    path = Path(transform.name)
    for name, opposed in (DIRECTIONS, DIRECTIONS[::-1]):
        beside = path.with_name(path.name.replace(name, opposed))
        if name in path.name and beside.is_file():
            return read_transform(beside)
    try:
        return FileTransform(transform.itk.GetInverse(), f"the inverse of {transform.name}")
    except RuntimeError:
        raise InputError(
            f"{path} deforms, and there is no transform of the other direction beside it.",
            f"Give the file of the other direction, {'without' if inverse else 'with'} --inverse.",
            code="file-missing",
        ) from None
