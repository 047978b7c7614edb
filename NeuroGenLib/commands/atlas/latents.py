"""`neurogen atlas latents`: information in the subjects' latents."""

from __future__ import annotations

from pathlib import Path

from NeuroGenLib.atlas.config import BUNDLED
from NeuroGenLib.atlas.evaluation.latents import FILES, analyse_to_folder
from NeuroGenLib.atlas.infer import AtlasModel
from NeuroGenLib.commands.atlas.shared import report_written
from NeuroGenLib.commands.options import add_report_options, make_parser, make_progress
from NeuroGenLib.commands.shared import add_model_option, add_out_option, out_folder
from NeuroGenLib.core.config_command_line import add_options, options_of
from NeuroGenLib.core.reports import PictureConfig
from NeuroGenLib.models import open_model


def latents(arguments: list[str]) -> None:
    """`neurogen atlas latents`: information in the subjects' latents."""
    parser = make_parser(
        "atlas latents",
        "Say how much of age, conditions and columns of a table can be read from the training subjects' latents:\n"
        "each subject's value is predicted from the others, and compared with guessing. It describes the training\n"
        "subjects; it is not an estimate of the error for a new scan.",
        (
            "neurogen atlas latents --out what-latents-hold",
            "neurogen atlas latents --model runs/mine/model --table people.tsv --columns site,birth_age --out r",
        ),
    )
    add_model_option(parser, BUNDLED)
    parser.add_argument("--table", metavar="FILE", help="cohort table; its ids are those that the model stores")
    parser.add_argument("--columns", metavar="NAME,NAME...", help="its columns to predict (default: all that can be)")
    add_out_option(parser)
    add_options(parser, PictureConfig)
    add_report_options(parser)
    options = parser.parse(arguments)

    out = out_folder(options.out, FILES, overwrite=options.overwrite)

    progress = make_progress(options.progress)

    model = open_model(options.model, AtlasModel, device="cpu")
    table = None if options.table is None else Path(options.table)
    columns = [] if options.columns is None else [name.strip() for name in options.columns.split(",")]
    findings, written = analyse_to_folder(model, out, table, columns, progress, options_of(options, PictureConfig))
    rows = [finding.row() for finding in findings]
    report_written(model, written, progress, as_json=options.json, rows=rows)
    for finding in () if options.json else findings:
        print(finding.sentence())
