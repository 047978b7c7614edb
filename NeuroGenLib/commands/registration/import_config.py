"""`neurogen registration import-config`: the published program's settings as NeuroGen's."""

from __future__ import annotations

import time
from pathlib import Path

from NeuroGenLib.commands.options import add_json_option, make_parser, whole_number
from NeuroGenLib.commands.translation import report_translation
from NeuroGenLib.registration.published import training_config as published_config


def import_config(arguments: list[str]) -> None:
    """`neurogen registration import-config`: the published program's settings as NeuroGen's."""
    parser = make_parser(
        "registration import-config",
        "Turn training_config.json of the published registration program (SITReg) into settings for\n"
        "'neurogen registration train' that train the same. What has no counterpart is listed in the file.",
        (
            "neurogen registration import-config training_config.json --data-root data --out oasis.yaml",
            "neurogen registration import-config lumir_stage_2.json --start-epoch 30 --out lumir_finetune.yaml",
        ),
    )
    parser.add_argument(
        "config", metavar="FILE", help="training_config.json of a run, or a settings file of the published program"
    )
    parser.add_argument(
        "--data-root", metavar="DIR", help="folder that the published program has its data sets in (default: data)"
    )
    parser.add_argument(
        "--run-folder", metavar="DIR", help="where the training will write (default: runs/ and the name of --out)"
    )
    parser.add_argument(
        "--start-epoch", metavar="N", default="0", help="epochs that an earlier run has trained already (default: 0)"
    )
    parser.add_argument(
        "--all-stages",
        action="store_true",
        help="also train the finest stages that the published program leaves out when coarse levels have none",
    )
    parser.add_argument("--out", required=True, metavar="FILE", help="settings file to write, .yaml")
    add_json_option(parser)
    options = parser.parse(arguments)

    started = time.monotonic()
    translation, files = published_config.import_config(
        Path(options.config),
        Path(options.out),
        data_root=None if options.data_root is None else Path(options.data_root),
        run_folder=None if options.run_folder is None else Path(options.run_folder),
        start_epoch=whole_number(options.start_epoch, "a number of epochs"),
        legacy_levels=not options.all_stages,
    )
    report_translation(translation, options.out, files, "registration", started, as_json=options.json)
