"""`neurogen atlas generate`: render brains and write them."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from NeuroGenLib.atlas.config import BUNDLED, SeriesConfig
from NeuroGenLib.atlas.infer import AtlasModel
from NeuroGenLib.atlas.output import LABELS, generate_to_folder, parse_ages
from NeuroGenLib.commands.atlas.shared import report_written
from NeuroGenLib.commands.options import (
    add_device_option,
    add_report_options,
    make_parser,
    make_progress,
    number,
)
from NeuroGenLib.commands.shared import add_model_option, add_out_option, add_scene_option, out_folder, scene_path
from NeuroGenLib.core.config import parameters
from NeuroGenLib.core.config_command_line import add_options, options_of
from NeuroGenLib.core.files import staged_outputs
from NeuroGenLib.core.reports import PictureConfig
from NeuroGenLib.models import open_model

if TYPE_CHECKING:
    from pathlib import Path

    from NeuroGenLib.atlas.output import Written
    from NeuroGenLib.core.progress import Progress


def generate(arguments: list[str]) -> None:
    """`neurogen atlas generate`: render brains and write them."""
    parser = make_parser(
        "atlas generate",
        "Render the brain of an age and condition: images, labels, tissue probabilities, volumes and provenance.\n"
        "Values are in the units of the table the atlas was trained on; `neurogen atlas info` lists them.",
        (
            "neurogen atlas generate --age 30.2 --set lv_volume_normed=0.12 --out brain",
            "neurogen atlas generate --ages 21:34:1 --spacing 1.5 --out growth --scene growth/atlas.mrb",
            "neurogen atlas generate --ages 26:30:0.25 --spacing 2 --growth --out rates",
            "neurogen atlas generate --age 28 --set lv_volume_normed=0.11,0.15,0.2 --out ventricles",
        ),
    )
    add_model_option(parser, BUNDLED)
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--age", metavar="A", help="one age, in the model's unit")
    which.add_argument("--ages", dest="range", metavar="A:B:STEP", help="ages from A to B, both included")
    add_options(
        parser, SeriesConfig, [parameter.name for parameter in parameters(SeriesConfig) if parameter.name != "ages"]
    )
    add_out_option(parser)
    add_scene_option(parser)
    add_options(parser, PictureConfig)
    add_device_option(parser)
    add_report_options(parser)
    options = parser.parse(arguments)

    out, scene = out_folder(options.out, overwrite=options.overwrite), scene_path(options.scene)

    progress = make_progress(options.progress)
    ages = parse_ages(options.range) if options.age is None else (number(options.age, "an age"),)
    config = options_of(options, SeriesConfig, ages=ages)

    model = open_model(options.model, AtlasModel, device=options.device, progress=progress.part(0, 0.02))
    written = _write(model, config, out, scene, progress, options_of(options, PictureConfig))
    report_written(model, written, progress, as_json=options.json)


def _write(
    model: AtlasModel,
    config: SeriesConfig,
    out: Path,
    scene: Path | None,
    progress: Progress,
    picture: PictureConfig,
) -> Written:
    """Write the brains, and the scene where one is asked for, all or nothing."""
    if scene is None:
        return generate_to_folder(model, config, out, progress, picture)
    from NeuroGenLib.scenes.atlas import write_generated_scene

    started = time.monotonic()
    with staged_outputs(scene.parent) as beside, staged_outputs(out) as folder:
        written = generate_to_folder(model, config, folder, progress.part(0, 0.9), picture)
        brains = [file.parent for file in written.files if file.name == LABELS]
        write_generated_scene(brains, beside / scene.name, model, progress.part(0.9, 1))
    files = [*(out / file.relative_to(folder) for file in written.files), scene]
    return replace(written, folder=out, files=files, seconds=time.monotonic() - started)
