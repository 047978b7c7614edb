"""`neurogen atlas evaluate`: an atlas on held-out subjects."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from NeuroGenLib.atlas.config import BUNDLED, EvaluateConfig, FitConfig
from NeuroGenLib.atlas.infer import AtlasModel
from NeuroGenLib.cohort.subjects import Cohort, read_splits
from NeuroGenLib.commands.options import make_parser, make_progress
from NeuroGenLib.commands.shared import (
    add_model_option,
    add_run_options,
    files_below,
    out_folder,
    print_written,
    use_reading_options,
)
from NeuroGenLib.core.config_command_line import add_options, options_of
from NeuroGenLib.core.errors import InputError, nearest
from NeuroGenLib.core.provenance import RESEARCH_USE
from NeuroGenLib.core.reports import PictureConfig
from NeuroGenLib.models import open_model

if TYPE_CHECKING:
    from collections.abc import Sequence


def evaluate(arguments: list[str]) -> None:
    """`neurogen atlas evaluate`: an atlas on held-out subjects."""
    parser = make_parser(
        "atlas evaluate",
        "Compare an atlas with subjects held out of its training, in a table and a figure. The atlas at\n"
        "each subject's age and condition is aligned rigidly with its image: PSNR, SSIM and Dice per tissue. Then the\n"
        "atlas is fitted to the image alone, age and conditions unknown: the same, and the error of the fitted age.",
        (
            "neurogen atlas evaluate --model runs/mine/model --table people.tsv --subjects sub-07,sub-12 --out r",
            "neurogen atlas evaluate --model runs/mine/model --table people.tsv --splits ids.yaml --out r",
        ),
    )
    add_model_option(parser, BUNDLED)
    parser.add_argument("--table", required=True, metavar="FILE", help="cohort table")
    parser.add_argument("--subjects", metavar="ID,ID...", help="ids of the subjects to compare with")
    parser.add_argument(
        "--splits", metavar="FILE", help="YAML file with the ids of train, val and test, instead of --subjects"
    )
    parser.add_argument("--split", default="val", metavar="NAME", help="which split of --splits (default: val)")
    add_options(parser, EvaluateConfig, ["segmentation", "fitted", "regression", "bandwidth", "volumes"])
    add_options(parser, FitConfig, ["steps"])
    add_run_options(parser)
    options = parser.parse(arguments)

    from NeuroGenLib.atlas.evaluation.table import FILES, evaluate_to_folder

    out = out_folder(options.out, FILES, overwrite=options.overwrite)
    if (options.subjects is None) == (options.splits is None):
        raise InputError(
            "The subjects to compare with are not clear.", "Give either --subjects or --splits.", code="value-conflict"
        )
    settings = options_of(
        options,
        EvaluateConfig,
        fit=options_of(options, FitConfig),
        picture=options_of(options, PictureConfig),
    )
    started = time.monotonic()
    progress = make_progress(options.progress)
    use_reading_options(options, progress)

    model = open_model(options.model, AtlasModel, device=options.device)
    cohort = Cohort.from_table(Path(options.table), (*model.modalities, settings.segmentation))
    cohort = cohort.select(_ids(options.subjects, options.splits, options.split))
    table = evaluate_to_folder(model, cohort, out, settings, progress)
    progress.close()
    if options.json:
        print_written(out, files_below(out), started, notice=model.notice, rows=table)
        return
    print((out / "evaluation.tsv").read_text(encoding="utf-8"), end="")
    print(f"{model.notice} {RESEARCH_USE}".strip())


def _ids(subjects: str | None, splits: str | None, split: str) -> Sequence[str]:
    if subjects is not None:
        return subjects.split(",")
    known = read_splits(Path(str(splits)))
    if split not in known:
        raise InputError(f"{splits} has no split '{split}'.", nearest(split, known), code="name-unknown")
    if not known[split]:
        raise InputError(
            f"{splits} lists no subjects under '{split}'.",
            "List the ids of the subjects to compare with.",
            code="value-missing",
        )
    return known[split]
