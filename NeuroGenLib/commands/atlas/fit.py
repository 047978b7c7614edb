"""`neurogen atlas fit`: an atlas fitted to a new scan."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from NeuroGenLib.atlas.config import BUNDLED, FitConfig, SubjectConfig
from NeuroGenLib.atlas.infer import AtlasModel
from NeuroGenLib.commands.options import make_parser, make_progress
from NeuroGenLib.commands.shared import (
    add_model_option,
    add_run_options,
    add_scene_option,
    out_folder,
    print_files,
    print_written,
    scene_path,
    use_reading_options,
)
from NeuroGenLib.core.config import to_mapping
from NeuroGenLib.core.config_command_line import add_options, options_of
from NeuroGenLib.core.errors import InputError, nearest
from NeuroGenLib.core.files import read_json, staged_outputs
from NeuroGenLib.core.provenance import RECORD, RESEARCH_USE
from NeuroGenLib.core.reports import PictureConfig
from NeuroGenLib.models import open_model
from NeuroGenLib.spatial.volume import Volume

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from NeuroGenLib.atlas.fit.fit import FittedBrain


FIT_OPTIONS = ("steps", "seed")
"""The settings of a fit that are options; the others are for Python."""


def fit(arguments: list[str]) -> None:
    """`neurogen atlas fit`: labels, age and deviation of a scan."""
    parser = make_parser(
        "atlas fit",
        "Fit the atlas to a scan of a brain: labels, a reconstruction, the age, and how the brain deviates from the\n"
        "atlas at its age, all in the scan's own space. Brains only: give --mask, or an image that is exactly zero\n"
        "outside the brain. Conditions that are not given with --set are estimated from the image.",
        (
            "neurogen atlas fit brain_T2w.nii.gz --mask brain_mask.nii.gz --out fit",
            "neurogen atlas fit brain_T2w.nii.gz --age 27.4 --set lv_volume_normed=0.13 --out fit --scene fit/fit.mrb",
            "neurogen atlas fit T2w=t2.nii.gz T1w=t1.nii.gz --model runs/mine/model --mask mask.nii.gz --out fit",
        ),
    )
    parser.add_argument(
        "volume",
        nargs="+",
        metavar="VOLUME",
        help="the scan: a file (or a folder with a DICOM series) of the model's first image, or NAME=FILE for each",
    )
    add_model_option(parser, BUNDLED)
    parser.add_argument("--mask", metavar="FILE", help="brain mask on the scan's grid")
    parser.add_argument("--labels", metavar="FILE", help="label map after the model's table; the fit then uses it too")
    add_options(parser, SubjectConfig)
    add_options(parser, FitConfig, FIT_OPTIONS)
    add_scene_option(parser)
    add_run_options(parser)
    options = parser.parse(arguments)

    from NeuroGenLib.atlas.fit.fit import fit_scan
    from NeuroGenLib.atlas.fit.output import FILES, summary

    out, scene = out_folder(options.out, FILES, overwrite=options.overwrite), scene_path(options.scene)

    started = time.monotonic()
    progress = make_progress(options.progress)
    use_reading_options(options, progress)
    subject, settings = options_of(options, SubjectConfig), options_of(options, FitConfig)

    model = open_model(options.model, AtlasModel, device=options.device, progress=progress.part(0, 0.02))
    files = scan_files(options.volume, model)
    images = {name: Volume.load(path) for name, path in files.items()}
    fitted = fit_scan(
        model,
        images,
        mask=None if options.mask is None else Volume.load(options.mask),
        labels=None if options.labels is None else Volume.load(options.labels),
        age=subject.age,
        conditions=subject.conditions,
        settings=settings,
        progress=progress.part(0.02, 0.98),
    )
    parameters = {
        "volume": files,
        "mask": options.mask,
        "labels": options.labels,
        "age": subject.age,
        "conditions": {name: fitted.conditions[name] for name in subject.conditions},
        **to_mapping(settings),
    }
    written = _write(model, fitted, images, parameters, options_of(options, PictureConfig), out, scene)
    progress.update(1, 1)
    progress.close()
    seconds = time.monotonic() - started
    if options.json:
        facts = summary(model, fitted)
        del facts["shows"], facts["research_use"]  # they are the notice
        print_written(out, written, started, notice=model.notice, **facts)
        return
    _report(model, fitted)
    print(f"Written in {seconds:.0f} s to {out}:")
    print_files(written, out)


def _write(
    model: AtlasModel,
    fitted: FittedBrain,
    images: Mapping[str, Volume],
    parameters: dict[str, Any],
    picture: PictureConfig,
    out: Path,
    scene: Path | None,
) -> list[Path]:
    """Write the fit, and the scene where one is asked for, all or nothing."""
    from NeuroGenLib.atlas.fit.output import fit_result, write_fit

    if scene is None:
        return write_fit(model, fitted, images, out, parameters, picture)
    from NeuroGenLib.scenes.atlas_fit import write_fit_scene

    with staged_outputs(scene.parent) as beside, staged_outputs(out) as folder:
        files = write_fit(model, fitted, images, folder, parameters, picture)
        result = fit_result(model, fitted, read_json(folder / RECORD))
        write_fit_scene(result, model.labels, images, beside / scene.name, model.subjects)
    return [*(out / file.relative_to(folder) for file in files), scene]


def scan_files(volumes: Sequence[str], model: AtlasModel) -> dict[str, str]:
    """Return the files of a scan by the model's image names.

    Raises
    ------
    InputError
        When an image is given twice or without a file, several are given without their names, or a name is not one of
        the model's images.
    """
    files: dict[str, str] = {}
    for text in volumes:
        name, equals, path = text.partition("=")
        if not equals or _exists(text):
            name, path = model.modalities[0], text
        if name not in model.modalities:
            raise InputError(f"The model has no image '{name}'.", nearest(name, model.modalities), code="name-unknown")
        if not path:
            raise InputError(f"'{text}' names no file.", f"Write {name}=FILE.", code="value-missing")
        if name in files:
            raise InputError(
                f"The {name} is given twice.",
                f"Write NAME=FILE for each image: {', '.join(model.modalities)}.",
                code="value-duplicate",
            )
        files[name] = path
    return files


def _exists(path: str) -> bool:
    try:
        return Path(path).exists()
    except (OSError, ValueError):  # too long, or with signs that no file's name has
        return False


def _report(model: AtlasModel, fitted: FittedBrain) -> None:
    """Say age, conditions and tissues, with what limits them."""
    estimate = fitted.estimate
    interval = "" if estimate.low is None else f", 95 % interval {estimate.low:.1f} to {estimate.high:.1f}"
    interval += f" (n = {estimate.n})"
    if fitted.known_age is None:
        print(f"{model.age_name}: {estimate.value:.2f} {model.age_unit}{interval}")
    else:
        print(f"{model.age_name}: {fitted.age:g} {model.age_unit} (given)")
        print(f"{model.age_name} of the image: {estimate.value:.2f} {model.age_unit}{interval}")
    for name, value in fitted.conditions.items():
        shown = f"{value:.4g}" if isinstance(value, float) else value
        print(f"{name}: {shown} ({'given' if name in fitted.given else 'fitted'})")
    width = max(len(tissue.name) for tissue in fitted.tissues)
    print(f"{'tissue'.ljust(width)}  volume (ml)  expected      z")
    for tissue in fitted.tissues:
        expected = "n/a" if tissue.expected_ml is None else f"{tissue.expected_ml:.1f}"
        z = "n/a" if tissue.z is None else f"{tissue.z:+.2f}"
        print(f"{tissue.name.ljust(width)}  {tissue.volume_ml:11.1f}  {expected:>8}  {z:>5}")
    for text in fitted.warnings:
        print(f"Note: {text}")
    print(f"{model.notice} {RESEARCH_USE}".strip())
