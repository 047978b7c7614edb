"""`neurogen atlas import-config`: the published program's settings as NeuroGen's."""

from __future__ import annotations

import time
from pathlib import Path

from NeuroGenLib.atlas.published import training_config as published_config
from NeuroGenLib.commands.options import add_report_options, make_parser, make_progress, number
from NeuroGenLib.commands.translation import report_translation


def import_config(arguments: list[str]) -> None:
    """`neurogen atlas import-config`: the published program's settings as NeuroGen's."""
    parser = make_parser(
        "atlas import-config",
        "Turn config_data.yaml and config_atlas.yaml of the published atlas program (CINeMA) into settings for\n"
        "'neurogen atlas train' that train the same, or, with --recommended, NeuroGen's own way on the same data.\n"
        "The label table is written beside; what has no counterpart is listed in the file, with the reason.",
        (
            "neurogen atlas import-config --config-data configs/config_data.yaml \\\n"
            "      --config-atlas configs/config_atlas.yaml --dataset dhcp_neo_mm --out dhcp.yaml",
        ),
    )
    parser.add_argument("--config-data", required=True, metavar="FILE", help="config_data.yaml")
    parser.add_argument("--config-atlas", required=True, metavar="FILE", help="config_atlas.yaml")
    parser.add_argument(
        "--dataset", metavar="NAME", help="block of config_data.yaml (default: the one config_atlas.yaml names)"
    )
    parser.add_argument("--recommended", action="store_true", help="NeuroGen's own defaults on the same data")
    parser.add_argument(
        "--root", metavar="DIR", help="folder the published program ran in, where its relative paths start"
    )
    parser.add_argument(
        "--points-per-subject",
        metavar="N",
        help="voxels of brain and margin, which set the length of the run (default: measured, else an estimate)",
    )
    parser.add_argument("--out", required=True, metavar="FILE", help="settings file to write, .yaml")
    add_report_options(parser)
    options = parser.parse(arguments)

    points = options.points_per_subject
    progress = make_progress(options.progress)
    started = time.monotonic()
    translation, files = published_config.import_config(
        Path(options.config_data),
        Path(options.config_atlas),
        Path(options.out),
        dataset=options.dataset,
        recommended=options.recommended,
        root=None if options.root is None else Path(options.root),
        points_per_subject=None
        if points is None
        else max(1, round(number(points, "a number of points", positive=True))),
        progress=progress,
    )
    progress.close()
    report_translation(translation, options.out, files, "atlas", started, as_json=options.json)
