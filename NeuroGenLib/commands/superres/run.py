"""`neurogen superres run`: an isotropic scan from thick slices."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from NeuroGenLib.commands.options import make_parser, make_progress
from NeuroGenLib.commands.shared import (
    add_model_option,
    add_run_options,
    out_folder,
    print_result,
    print_written,
    use_reading_options,
)
from NeuroGenLib.commands.superres.shared import read_scan
from NeuroGenLib.core.config import to_mapping
from NeuroGenLib.core.config_command_line import add_options, options_of
from NeuroGenLib.core.errors import InputError
from NeuroGenLib.core.reports import PictureConfig
from NeuroGenLib.models import open_model
from NeuroGenLib.superres.infer import SuperresModel
from NeuroGenLib.superres.output import FILES, superres_result, write_reference, write_superres
from NeuroGenLib.superres.run_config import BUNDLED, SLICE_OPTIONS, SuperresConfig
from NeuroGenLib.superres.stacks.slice_thickness import recorded_thickness

if TYPE_CHECKING:
    from NeuroGenLib.spatial.result import Result


def run(arguments: list[str]) -> None:
    """`neurogen superres run`: an isotropic scan from thick slices."""
    parser = make_parser(
        "superres run",
        "Turn a T2w scan in thick slices into an isotropic one, in its own place and units: a network corrects the\n"
        "interpolation, and what the result does not reproduce of the slices is measured. Further scans of the head\n"
        "along other directions are registered and fused with it; a T1w of the same head, anywhere, is a guide.\n"
        "What lies between slices was not measured: it is plausible, not known. Heads are taken to be at rest.",
        (
            "neurogen superres run sub-01_T2w.nii.gz --out result",
            "neurogen superres run sub-01_T2w.nii.gz --guide sub-01_T1w.nii.gz --thickness 4 --out result",
            "neurogen superres run axial_T2w.nii.gz coronal_T2w.nii.gz sagittal_T2w.nii.gz --out result",
        ),
    )
    parser.add_argument(
        "scan", nargs="+", metavar="T2W", help="scans of one head: files, or folders with a DICOM series"
    )
    parser.add_argument("--guide", metavar="T1W", help="an isotropic scan of the same head, of another contrast")
    add_model_option(parser, BUNDLED)
    add_options(parser, SuperresConfig, only=(*SLICE_OPTIONS, "reference"))
    add_run_options(parser)
    options = parser.parse(arguments)

    out = out_folder(options.out, FILES, overwrite=options.overwrite)
    started = time.monotonic()
    progress = make_progress(options.progress)
    use_reading_options(options, progress)
    settings = options_of(options, SuperresConfig, recorded=tuple(map(recorded_thickness, options.scan)))

    scans = [read_scan(Path(path)) for path in options.scan]
    guide = None if options.guide is None else read_scan(Path(options.guide))
    model = open_model(options.model, SuperresModel, device=options.device, progress=progress.part(0, 0.02))
    parameters = {"scan": options.scan, "guide": options.guide, **to_mapping(settings)}
    result: Result | None = None
    if settings.reference:
        if len(scans) > 1:
            raise InputError(
                "The published pipeline takes one T2w scan.", "Omit the others, or --reference.", code="value-conflict"
            )
        image = model.reference(scans[0], guide, progress.part(0.02, 0.98))
        files = write_reference(model, image, out, parameters)
    else:
        super_resolution = model.super_resolve(
            scans, guide=guide, settings=settings, progress=progress.part(0.02, 0.96)
        )
        result = superres_result(model, super_resolution, parameters)
        files = write_superres(result, scans[0], out, options_of(options, PictureConfig))
    progress.update(1, 1, "written")
    progress.close()
    seconds = time.monotonic() - started
    if options.json:
        print_written(out, files, started, notice=model.notice, **({} if result is None else result.facts["quality"]))
        return
    if result is not None:
        _report(result)
    print_result(out, files, seconds, [] if result is None else result.warnings, model.notice)


def _report(result: Result) -> None:
    """Print how the scans were understood, and how well their slices are reproduced."""
    quality = result.facts["quality"]
    for stack in quality["stacks"]:
        gap = f", {stack['gap_mm']:+.3g} mm between them" if abs(stack["gap_mm"]) > 0.005 else ""
        print(
            f"{stack['direction'].capitalize()} slices of {stack['thickness_mm']:.3g} mm{gap}: reproduced to"
            f" {stack['percent']:.2f} % of the intensity range ({stack['rms']:.4g}; by interpolation"
            f" {stack['rms_interpolated']:.4g})"
        )
    shape = result.volumes["superres"].shape
    print(f"Result: {'x'.join(map(str, shape))} voxels of {quality['spacing_mm']:.3g} mm")
