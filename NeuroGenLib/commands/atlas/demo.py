"""`neurogen demo`: the bundled atlas over age and ventricle size."""

from __future__ import annotations

from dataclasses import dataclass

from NeuroGenLib.atlas.config import BUNDLED, Spacing
from NeuroGenLib.atlas.infer import AtlasModel
from NeuroGenLib.commands.atlas.demo_run import run_demo
from NeuroGenLib.commands.atlas.shared import report_written
from NeuroGenLib.commands.options import (
    add_device_option,
    add_report_options,
    make_parser,
    make_progress,
)
from NeuroGenLib.commands.shared import add_out_option, out_folder
from NeuroGenLib.core.config import Config
from NeuroGenLib.core.config_command_line import add_options, options_of
from NeuroGenLib.core.reports import PictureConfig
from NeuroGenLib.models import open_model

DEMO_CONDITION = "lv_volume_normed"
DEMO_VALUES = (0.11, 0.14, 0.17)


@dataclass(frozen=True, kw_only=True)
class DemoConfig(Config):
    """How the demo's brains are rendered."""

    spacing: Spacing = 1.5


def demo(arguments: list[str]) -> None:
    """`neurogen demo`: the bundled atlas over age and ventricle size."""
    parser = make_parser(
        "demo",
        "Render the bundled atlas of fetal brains with spina bifida over age and ventricle size: volumes, label maps,\n"
        "probabilities, a growth table and pictures; where the package slicer-core is installed, also a scene for\n"
        "3D Slicer (atlas.mrb). Needs no network and no GPU.",
        ("neurogen demo --out demo-output",),
    )
    add_out_option(parser, "demo-output")
    add_options(parser, DemoConfig)
    add_options(parser, PictureConfig)
    add_device_option(parser)
    add_report_options(parser)
    options = parser.parse(arguments)

    out = out_folder(options.out, overwrite=options.overwrite)
    progress = make_progress(options.progress)

    model = open_model(BUNDLED, AtlasModel, device=options.device)
    spacing = options_of(options, DemoConfig).spacing
    picture = options_of(options, PictureConfig)
    written = run_demo(model, spacing, DEMO_CONDITION, DEMO_VALUES, out, progress, picture)
    report_written(model, written, progress, as_json=options.json)
