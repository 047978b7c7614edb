"""`neurogen mask`: brain masks of scans of the whole head."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from NeuroGenLib.cohort.subjects import IMAGE_SUFFIXES
from NeuroGenLib.commands.options import add_device_option, add_report_options, make_parser, make_progress
from NeuroGenLib.commands.shared import (
    add_model_option,
    add_reading_options,
    print_written,
    require_all,
    use_reading_options,
)
from NeuroGenLib.core.batch import work_on_each
from NeuroGenLib.core.config import to_mapping
from NeuroGenLib.core.config_command_line import add_options, options_of
from NeuroGenLib.core.errors import InputError
from NeuroGenLib.core.files import files_in, require_folder_place, staged_outputs, write_json
from NeuroGenLib.core.job import require_apart
from NeuroGenLib.core.provenance import RESEARCH_USE
from NeuroGenLib.mask.config import BUNDLED
from NeuroGenLib.mask.infer import MaskModel
from NeuroGenLib.mask.output import mask_result
from NeuroGenLib.mask.run_config import MaskConfig
from NeuroGenLib.models import open_model
from NeuroGenLib.spatial.files.formats import WRITTEN_SUFFIXES
from NeuroGenLib.spatial.files.volumes import require_writable
from NeuroGenLib.spatial.result import inspected, with_warnings
from NeuroGenLib.spatial.volume import Volume

if TYPE_CHECKING:
    from collections.abc import Sequence

    from NeuroGenLib.core.batch import Outcome
    from NeuroGenLib.core.progress import Progress
    from NeuroGenLib.spatial.result import Result


_FILE_SUFFIX = re.compile(r"\.[A-Za-z]{2,5}")
"""Endings of files (.txt, .mha, .json); folders may have others, as in masks.v2."""


@dataclass(frozen=True)
class Job:
    """One scan and where its mask goes."""

    image: Path
    mask: Path

    @property
    def record(self) -> Path:
        """Where it is written how the mask was made."""
        return self.mask.with_name(f"{_stem(self.mask)}_provenance.json")


def run(arguments: list[str]) -> None:
    """`neurogen mask`: the brain masks of scans of the whole head."""
    parser = make_parser(
        "mask",
        "Find the brain in scans of the whole head of an adult, of any contrast. The mask is on the scan's own\n"
        "voxels, 1 in the brain and the fluid in and around it. Of a skull-stripped scan it is all but the\n"
        "background. A fetus inside its mother is not found: segment it by hand. Look at the masks before you use\n"
        "them. `neurogen mask train` trains a model of your own.",
        (
            "neurogen mask head_T1w.nii.gz --out brain_mask.nii.gz",
            "neurogen mask sub-*_T1w.nii.gz --out masks",
            "neurogen mask scans --out masks --device cpu",
        ),
    )
    parser.add_argument(
        "image", nargs="+", metavar="IMAGE", help="a file, a folder of files, or a folder with a DICOM series"
    )
    parser.add_argument("--out", required=True, metavar="PLACE", help="mask.nii.gz (or .nii, .nrrd), or a folder")
    add_model_option(parser, BUNDLED)
    add_options(parser, MaskConfig)
    add_device_option(parser)
    add_reading_options(parser)
    add_report_options(parser)
    options = parser.parse(arguments)

    jobs, config = planned(options.image, options.out), options_of(options, MaskConfig)

    require_folder_place(jobs[0].mask.parent)
    started = time.monotonic()
    progress = make_progress(options.progress)
    use_reading_options(options, progress)
    model = open_model(options.model, MaskModel, device=options.device, progress=progress.part(0, 0.02))
    outcomes = work_on_each(
        jobs,
        lambda job, part: _masked(model, job, config, part),
        lambda job: str(job.image),
        "masked",
        progress.part(0.02, 1),
    )
    progress.close()
    _report(model, outcomes, options.out, started, as_json=options.json)


def planned(images: Sequence[str], out: str) -> list[Job]:
    """Return the scans and where their masks go.

    Raises
    ------
    InputError
        When an image does not exist, two masks would have one name or replace a scan, or ``out`` is a file for several.
    """
    scans = [scan for text in images for scan in _scans(Path(text))]
    place = Path(out)
    if place.name.lower().endswith(WRITTEN_SUFFIXES):
        if len(scans) > 1:
            raise InputError(
                f"{place} is one file, and there are {len(scans)} images.",
                "Give a folder as --out.",
                code="value-conflict",
            )
        jobs = [Job(scans[0], place)]
    else:
        if _FILE_SUFFIX.fullmatch(place.suffix) and not place.is_dir():
            raise InputError(
                f"{place} is the name of a file of a type that masks are not written in.",
                f"End it in {', '.join(WRITTEN_SUFFIXES)}, or give a folder, which must exist where its name has such"
                " an ending.",
                code="file-type",
            )
        jobs = [Job(scan, place / f"{_stem(scan)}_mask.nii.gz") for scan in scans]
    taken: dict[Path, Path] = {}
    for job in jobs:
        if job.mask in taken:
            raise InputError(
                f"The masks of {taken[job.mask]} and {job.image} would both be {job.mask}.",
                "Mask them one by one, into different folders.",
                code="value-duplicate",
            )
        taken[job.mask] = job.image
        if job.mask.is_dir():
            raise InputError(
                f"The mask {job.mask} would replace a folder.", "Choose another name as --out.", code="file-occupied"
            )
    require_apart((file for job in jobs for file in (job.mask, job.record)), scans)
    return jobs


def _scans(path: Path) -> list[Path]:
    """Return a file, the images of a folder, or a folder that holds none (it may hold a DICOM series)."""
    try:
        there, is_folder = path.exists(), path.is_dir()
    except (OSError, ValueError):  # too long, or with characters that no file name has
        there = is_folder = False
    if not there:
        raise InputError(
            f"The image {path} does not exist.", "Check the name and the folder you started from.", code="file-missing"
        )
    if not is_folder:
        return [path]
    inside = [file for file in files_in(path, IMAGE_SUFFIXES) if not _stem(file).endswith("_mask")]
    return inside or [path]


def _stem(path: Path) -> str:
    suffix = next((suffix for suffix in IMAGE_SUFFIXES if path.name.lower().endswith(suffix)), "")
    return path.name[: len(path.name) - len(suffix)] or path.resolve().name


def _masked(model: MaskModel, job: Job, config: MaskConfig, progress: Progress) -> Result:
    """Find the brain in one scan and write its mask and the record."""
    scan = Volume.load(job.image)
    require_writable(job.mask, scan.affine)
    brain = model.find(scan, progress.part(0, 0.95), spacing=config.spacing)
    result = mask_result(
        model, brain, {"image": str(job.image), **to_mapping(config), "spacing": config.spacing or model.spacing}
    )
    remarks = inspected({job.mask.name: result.labels["mask"]})
    result = replace(result, warnings=[*result.warnings, *remarks], record=with_warnings(result.record, remarks))
    with staged_outputs(job.mask.parent) as staging:
        result.labels["mask"].save(staging / job.mask.name)
        write_json(staging / job.record.name, dict(result.record))
    progress.update(1, 1, "written")
    return result


def _report(
    model: MaskModel, outcomes: Sequence[Outcome[Job, Result]], out: str, started: float, *, as_json: bool
) -> None:
    pairs = [(outcome.item, outcome.output) for outcome in outcomes if outcome.output is not None]
    failed = {outcome.name: outcome.reason for outcome in outcomes if outcome.reason}
    if as_json:
        masks = [
            {
                "image": str(job.image),
                "mask": str(job.mask),
                **result.facts["brain"],
                "warnings": list(result.warnings),
            }
            for job, result in pairs
        ]
        written = [file for job, _ in pairs for file in (job.mask, job.record)]
        warnings = [f"{job.mask}: {text}" for job, result in pairs for text in result.warnings]
        print_written(out, written, started, warnings=warnings, notice=model.notice, masks=masks, failed=failed)
    else:
        for job, result in pairs:
            print(f"{job.mask}: {result.facts['brain']['volume_ml']:.0f} ml")
            for text in result.warnings:
                print(f"Note: {text}")
        print(f"Written in {time.monotonic() - started:.1f} s.")
        print(f"{model.notice} {RESEARCH_USE}".strip())
    require_all(
        failed,
        len(outcomes),
        "images could not be masked",
        "Correct or leave out those, and run the command again.",
        as_json=as_json,
    )
