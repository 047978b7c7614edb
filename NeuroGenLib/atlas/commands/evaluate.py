"""`neurogen atlas evaluate`: an atlas against subjects it has not seen."""

from __future__ import annotations

from pathlib import Path

from NeuroGenLib.atlas.commands.shared import add_model_option, open_atlas
from NeuroGenLib.options import add_device_option, add_report_options, make_parser, make_progress, parse, print_json


def evaluate(arguments: list[str]) -> None:
    """`neurogen atlas evaluate`: an atlas against subjects it has not seen."""
    parser = make_parser(
        "atlas evaluate",
        "Draw the atlas at each subject's age and condition, align it rigidly with the subject's image, and compare:\n"
        "PSNR, SSIM and Dice per tissue, before and after alignment. Give subjects that were left out of training.",
        ("neurogen atlas evaluate --model runs/mine/model --table people.tsv --subjects sub-07,sub-12 --out r",),
    )
    add_model_option(parser)
    parser.add_argument("--table", required=True, metavar="FILE", help="cohort table")
    parser.add_argument("--subjects", required=True, metavar="ID,ID...", help="ids of the subjects to compare with")
    parser.add_argument(
        "--segmentation", default="Seg", metavar="NAME", help="column with the label maps (default: Seg)"
    )
    parser.add_argument("--out", required=True, metavar="DIR", help="folder to write into")
    add_device_option(parser)
    add_report_options(parser)
    options = parse(parser, arguments)

    from NeuroGenLib.atlas.evaluate import evaluate_to_folder

    progress = make_progress(options.progress)
    model = open_atlas(options.model, options.device)
    table = evaluate_to_folder(
        model, Path(options.table), options.subjects.split(","), options.segmentation, Path(options.out), progress
    )
    if options.json:
        print_json({"out": options.out, "rows": table})
        return
    print(Path(options.out, "evaluation.tsv").read_text(encoding="utf-8"), end="")
