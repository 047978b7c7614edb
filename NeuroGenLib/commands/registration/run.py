"""`neurogen registration run`: one scan registered to another."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from NeuroGenLib.alignment.prepared_image import first_channel
from NeuroGenLib.commands.options import make_parser, make_progress
from NeuroGenLib.commands.shared import (
    add_model_option,
    add_run_options,
    add_scene_option,
    out_folder,
    print_result,
    print_written,
    scene_path,
    use_reading_options,
)
from NeuroGenLib.core.config import to_mapping
from NeuroGenLib.core.config_command_line import add_options, options_of
from NeuroGenLib.core.errors import InputError
from NeuroGenLib.core.files import staged_outputs
from NeuroGenLib.core.reports import PictureConfig
from NeuroGenLib.mask.config import BUNDLED as MASK_MODEL
from NeuroGenLib.mask.infer import MaskModel
from NeuroGenLib.mask.regions import require_maskable, require_plausible
from NeuroGenLib.models import open_model
from NeuroGenLib.registration.config import BUNDLED, RegisterRunConfig
from NeuroGenLib.registration.evaluation.quality import STAGES
from NeuroGenLib.registration.infer import RegistrationModel
from NeuroGenLib.registration.output import (
    FILES,
    RegistrationInputs,
    quality_rows,
    registration_result,
    write_registration,
)
from NeuroGenLib.spatial.files.landmarks import read_point_file
from NeuroGenLib.spatial.files.spatial_maps import TRANSFORM_SUFFIXES, require_right_angles
from NeuroGenLib.spatial.volume import Volume

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from NeuroGenLib.core.arguments import ArgumentParser
    from NeuroGenLib.core.progress import Progress
    from NeuroGenLib.registration.infer import Registration
    from NeuroGenLib.spatial.result import Result

OPTIONAL_FILES = ("fixed_labels", "moving_labels", "fixed_mask", "moving_mask", "points")


def run(arguments: list[str]) -> None:
    """`neurogen registration run`: one scan registered to another."""
    options = _parser().parse(arguments)
    settings = options_of(options, RegisterRunConfig)

    out, scene = out_folder(options.out, FILES, overwrite=options.overwrite), scene_path(options.scene)

    started = time.monotonic()
    progress = make_progress(options.progress)
    use_reading_options(options, progress)

    model = open_model(options.model, RegistrationModel, device=options.device, progress=progress.part(0, 0.02))
    inputs, remarks = _read_inputs(options, settings, progress.part(0.02, 0.1))
    registration = model.register(
        inputs.fixed,
        inputs.moving,
        settings=settings,
        fixed_labels=inputs.fixed_labels,
        moving_labels=inputs.moving_labels,
        fixed_mask=inputs.fixed_mask,
        moving_mask=inputs.moving_mask,
        progress=progress.part(0.1, 0.96),
    )
    registration.warnings[:0] = remarks
    paths = {name: getattr(options, name) for name in ("fixed", "moving", *OPTIONAL_FILES)}
    result = registration_result(model, registration, {**paths, **to_mapping(settings)})
    files = _write(result, registration, inputs, options, out, scene)
    progress.update(1, 1, "written")
    progress.close()
    seconds = time.monotonic() - started
    if options.json:
        print_written(out, files, started, notice=model.notice, **result.facts["quality"])
        return
    _report(registration)
    print_result(out, files, seconds, registration.warnings, model.notice)


def _parser() -> ArgumentParser:
    parser = make_parser(
        "registration run",
        "Register the moving scan to the fixed one without folding: the moving image, its labels and its points in\n"
        "the space of the fixed image, transforms in both directions, and the quality of all of it. Scans may lie\n"
        "anywhere and be stored in any way. Brains alone register best: of whole heads give masks, or --mask auto\n"
        "(adults). A fetus inside its mother needs masks made by hand. Labels never guide the registration; they\n"
        "measure it.",
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
    parser.add_argument("--moving-labels", metavar="FILE", help="label map of the moving scan; it is warped as well")
    parser.add_argument("--fixed-mask", metavar="FILE", help="nonzero where the fixed scan counts, on its grid")
    parser.add_argument("--moving-mask", metavar="FILE", help="nonzero where the moving scan counts, on its grid")
    parser.add_argument(
        "--points",
        metavar="FILE",
        help="points of the moving scan, mapped to the fixed one: .tsv or .csv (x, y, z in RAS mm), .fcsv, .mrk.json",
    )
    add_model_option(parser, BUNDLED)
    add_options(parser, RegisterRunConfig)
    add_scene_option(parser)
    add_run_options(parser)
    return parser


def _read_inputs(
    options: Namespace, settings: RegisterRunConfig, progress: Progress
) -> tuple[RegistrationInputs, list[str]]:
    """Read all files and compute the masks that are asked for; return the warnings about these."""

    def loaded(path: str | None) -> Volume | None:
        return None if path is None else Volume.load(path)

    points = None if options.points is None else read_point_file(options.points)
    images = {"fixed": Volume.load(options.fixed), "moving": Volume.load(options.moving)}
    if f".{settings.format}" not in TRANSFORM_SUFFIXES:
        for role, image in images.items():
            require_right_angles(image, f"The {role} image {getattr(options, role)}")
    masks = {"fixed": loaded(options.fixed_mask), "moving": loaded(options.moving_mask)}
    labels = loaded(options.fixed_labels), loaded(options.moving_labels)
    missing = [role for role, mask in masks.items() if mask is None and settings.mask == "auto"]
    remarks = _find_masks(images, masks, missing, options.device, progress) if missing else []
    inputs = RegistrationInputs(
        images["fixed"], images["moving"], *labels, masks["fixed"], masks["moving"], points, found_masks=tuple(missing)
    )
    return inputs, remarks


def _find_masks(
    images: Mapping[str, Volume], masks: dict[str, Volume | None], roles: list[str], device: str, progress: Progress
) -> list[str]:
    """Put the brain masks of these roles into ``masks``, and return the warnings about them."""
    for role in roles:
        with _masking(role):
            require_maskable(first_channel(images[role]))
    model = open_model(MASK_MODEL, MaskModel, device=device)
    remarks = []
    for number, role in enumerate(roles):
        part = progress.part(number / len(roles), (number + 1) / len(roles), f"{role} mask")
        with _masking(role):
            brain = model.find(first_channel(images[role]), part)
            if brain.confidence is not None:  # a skull-stripped image may be of any size
                require_plausible(brain.volume_ml, brain.confidence)
        masks[role] = brain.mask
        remarks += [f"Mask of the {role} image: {text}" for text in brain.warnings]
    return remarks


@contextmanager
def _masking(role: str) -> Iterator[None]:
    """Name the image in an error."""
    try:
        yield
    except InputError as error:
        raise error.within(f"The {role} image cannot be masked") from error


def _write(
    result: Result,
    registration: Registration,
    inputs: RegistrationInputs,
    options: Namespace,
    out: Path,
    scene: Path | None,
) -> list[Path]:
    """Write the registration, and the scene where one is asked for, all or nothing."""
    form = options_of(options, RegisterRunConfig).format, options_of(options, PictureConfig)
    if scene is None:
        return write_registration(result, registration, inputs, out, *form)
    from NeuroGenLib.scenes.registration import write_registration_scene

    with staged_outputs(scene.parent) as beside, staged_outputs(out) as folder:
        files = write_registration(result, registration, inputs, folder, *form)
        write_registration_scene(result, inputs.fixed, inputs.moving, beside / scene.name)
    return [*(out / file.relative_to(folder) for file in files), scene]


def _report(registration: Registration) -> None:
    """Print similarity and overlap at each stage, folds and inverse consistency."""
    quality = registration.quality
    stages = [row for row in quality_rows(quality) if row["label"] in ("all", "mean") and row["start"] != "n/a"]
    width = max(len(str(row["measure"])) for row in stages)
    print(" " * width + "".join(f"{stage:>12}" for stage in STAGES))
    for row in stages:
        print(str(row["measure"]).ljust(width) + "".join(f"{row[stage]!s:>12}" for stage in STAGES))
    print(f"Folded voxels: {quality.folded_voxels} ({quality.folded_percent:.3g} %)")
    mean, largest = quality.inverse_consistency_mm, quality.inverse_consistency_max_mm
    print(f"Inverse consistency: {mean:.3f} mm in the mean, {largest:.3f} mm at most")
