"""`neurogen registration run`: one scan registered to another."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import TYPE_CHECKING

from NeuroGenLib.alignment.prepared_image import first_channel
from NeuroGenLib.commands.options import (
    add_device_option,
    add_report_options,
    make_parser,
    make_progress,
    print_json,
    whole_number,
)
from NeuroGenLib.commands.shared import (
    add_model_option,
    add_scene_option,
    close_bar,
    out_folder,
    print_result,
    scene_path,
)
from NeuroGenLib.core.errors import InputError
from NeuroGenLib.core.files import read_json, staged_outputs
from NeuroGenLib.mask.config import BUNDLED as MASK_MODEL
from NeuroGenLib.mask.infer import MaskModel
from NeuroGenLib.models import open_model
from NeuroGenLib.registration.config import BUNDLED, RegisterConfig
from NeuroGenLib.registration.evaluation.quality import STAGES
from NeuroGenLib.registration.infer import RegistrationModel
from NeuroGenLib.registration.output import RegistrationInputs, quality_rows, summary, write_result
from NeuroGenLib.spatial.landmark_files import read_point_file
from NeuroGenLib.spatial.volume import Volume

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from typing import Any

    from NeuroGenLib.core.progress import Progress
    from NeuroGenLib.registration.infer import Registration


def run(arguments: list[str]) -> None:
    """`neurogen registration run`: one scan registered to another."""
    parser = make_parser(
        "registration run",
        "Register the moving scan to the fixed one without folding: the moving image, its labels and its points in\n"
        "the space of the fixed image, transforms there and back, and how good all of it is. Scans may lie anywhere\n"
        "and be stored in any way. Brains alone register best: of whole heads give masks, or --mask auto (adults).\n"
        "A fetus inside its mother needs masks made by hand. Labels never guide the registration; they measure it.",
        (
            "neurogen registration run fixed.nii.gz moving.nii.gz --out result",
            "neurogen registration run fixed.nii.gz moving.nii.gz --moving-labels aseg.nii.gz --out result",
            "neurogen registration run head_T1w.nii.gz head_T2w.nii.gz --mask auto --out result",
            "neurogen registration run fixed.nii.gz moving.nii.gz --points landmarks.mrk.json --refine 0 --out result",
        ),
    )
    parser.add_argument("fixed", metavar="FIXED", help="the scan that stays: a file, or a folder with a DICOM series")
    parser.add_argument("moving", metavar="MOVING", help="the scan that is brought to it")
    parser.add_argument("--fixed-labels", metavar="FILE", help="label map of the fixed scan, to measure overlap")
    parser.add_argument("--moving-labels", metavar="FILE", help="label map of the moving scan; it is carried along")
    parser.add_argument("--fixed-mask", metavar="FILE", help="nonzero where the fixed scan counts, on its grid")
    parser.add_argument("--moving-mask", metavar="FILE", help="nonzero where the moving scan counts, on its grid")
    parser.add_argument(
        "--mask",
        choices=("auto",),
        help="find the masks that are not given: adult heads; they are written, look at them",
    )
    parser.add_argument(
        "--points",
        metavar="FILE",
        help="points of the moving scan, carried to the fixed one: .tsv or .csv (x, y, z in RAS mm), .fcsv, .mrk.json",
    )
    add_model_option(parser, BUNDLED)
    parser.add_argument(
        "--start",
        choices=("affine", "rigid", "none"),
        default="affine",
        help="what is found before the network; none trusts the headers (default: affine)",
    )
    parser.add_argument(
        "--refine",
        default="120",
        metavar="STEPS",
        help="optimisation on this very pair; 0 is quick, the network alone (default: 120)",
    )
    parser.add_argument(
        "--format",
        choices=("h5", "tfm", "nrrd", "nii.gz"),
        default="h5",
        help="of forward and inverse: ITK transforms (h5, tfm), or displacement fields (default: h5)",
    )
    parser.add_argument("--out", required=True, metavar="DIR", help="folder to write into")
    add_scene_option(parser)
    add_device_option(parser)
    add_report_options(parser)
    options = parser.parse(arguments)

    out, scene = out_folder(options.out), scene_path(options.scene)

    started = time.monotonic()
    progress = make_progress(options.progress)
    settings = RegisterConfig(start=options.start, refine=whole_number(options.refine, "a number of steps"))

    model = open_model(options.model, RegistrationModel, device=options.device, progress=progress.part(0, 0.02))
    scans, remarks = _scans(options, progress.part(0.02, 0.1))
    registration = model.register(
        scans.fixed,
        scans.moving,
        settings=settings,
        fixed_labels=scans.fixed_labels,
        moving_labels=scans.moving_labels,
        fixed_mask=scans.fixed_mask,
        moving_mask=scans.moving_mask,
        progress=progress.part(0.1, 0.96),
    )
    registration.warnings[:0] = remarks
    named = (
        "fixed",
        "moving",
        "fixed_labels",
        "moving_labels",
        "fixed_mask",
        "moving_mask",
        "mask",
        "points",
        "format",
    )
    parameters = {**{name: getattr(options, name) for name in named}, **asdict(settings)}
    files = _write(model, registration, scans, parameters, out, scene)
    progress.update(1, 1, "written")
    close_bar(progress)
    seconds = time.monotonic() - started
    if options.json:
        facts = {"out": str(out), "written": [str(file) for file in files], "seconds": round(seconds, 1)}
        print_json({**facts, "notice": model.notice, **summary(registration)})
        return
    _report(registration)
    print_result(out, files, seconds, registration.warnings, model.notice)


def _scans(options: Any, progress: Progress) -> tuple[RegistrationInputs, list[str]]:
    """Read everything that was given and find the masks that are asked for; return what is to be known of these."""

    def loaded(path: str | None) -> Volume | None:
        return None if path is None else Volume.load(path)

    points = None if options.points is None else read_point_file(options.points)
    images = {"fixed": Volume.load(options.fixed), "moving": Volume.load(options.moving)}
    masks = {"fixed": loaded(options.fixed_mask), "moving": loaded(options.moving_mask)}
    labels = loaded(options.fixed_labels), loaded(options.moving_labels)
    wanted = [role for role, mask in masks.items() if mask is None and options.mask == "auto"]
    remarks = _find_masks(images, masks, wanted, options.device, progress) if wanted else []
    scans = RegistrationInputs(
        images["fixed"], images["moving"], *labels, masks["fixed"], masks["moving"], points, found_masks=tuple(wanted)
    )
    return scans, remarks


def _find_masks(
    images: Mapping[str, Volume], masks: dict[str, Volume | None], wanted: list[str], device: str, progress: Progress
) -> list[str]:
    """Put the brain masks that are wanted into ``masks``, and return what is to be known of them."""
    model = open_model(MASK_MODEL, MaskModel, device=device)
    remarks = []
    for number, role in enumerate(wanted):
        part = progress.part(number / len(wanted), (number + 1) / len(wanted), f"{role} mask")
        try:
            found = model.find(first_channel(images[role]), part)
        except InputError as error:
            raise error.within(f"The {role} image cannot be masked") from error
        masks[role] = found.mask
        remarks += [f"Mask of the {role} image: {text}" for text in found.warnings]
    return remarks


def _write(
    model: RegistrationModel,
    registration: Registration,
    scans: RegistrationInputs,
    parameters: dict[str, Any],
    out: Path,
    scene: Path | None,
) -> list[Path]:
    """Write the registration, and the scene where one is asked for, all or nothing."""
    form = parameters["format"]
    if scene is None:
        return write_result(model, registration, scans, out, parameters, form)
    from NeuroGenLib.scenes.registration import write_registration_scene

    with staged_outputs(scene.parent) as beside, staged_outputs(out) as folder:
        files = write_result(model, registration, scans, folder, parameters, form)
        record = read_json(folder / "provenance.json")
        write_registration_scene(registration, scans.fixed, scans.moving, record, beside / scene.name)
    return [*(out / file.relative_to(folder) for file in files), scene]


def _report(registration: Registration) -> None:
    """Say how similar and how equal the images are at each stage, and whether there and back agree."""
    quality = registration.quality
    stages = [row for row in quality_rows(quality) if row["label"] in ("all", "mean") and row["start"] != "n/a"]
    width = max(len(str(row["measure"])) for row in stages)
    print(" " * width + "".join(f"{stage:>12}" for stage in STAGES))
    for row in stages:
        print(str(row["measure"]).ljust(width) + "".join(f"{row[stage]!s:>12}" for stage in STAGES))
    print(f"Folded voxels: {quality.folded_voxels} ({quality.folded_percent:.3g} %)")
    mean, largest = quality.inverse_consistency_mm, quality.inverse_consistency_max_mm
    print(f"There and back: {mean:.3f} mm in the mean, {largest:.3f} mm at most")
