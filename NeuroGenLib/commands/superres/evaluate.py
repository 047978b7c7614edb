"""`neurogen superres evaluate`: a model beside interpolation, on simulated thick slices of isotropic scans."""

from __future__ import annotations

import time
from pathlib import Path

from NeuroGenLib.commands.options import make_parser, make_progress
from NeuroGenLib.commands.shared import (
    add_model_option,
    add_run_options,
    out_folder,
    print_result,
    print_written,
    use_reading_options,
)
from NeuroGenLib.core.config import to_mapping
from NeuroGenLib.core.config_command_line import add_options, options_of
from NeuroGenLib.core.reports import PictureConfig
from NeuroGenLib.models import open_model
from NeuroGenLib.superres.batch import read_cases
from NeuroGenLib.superres.evaluation.table import FILES, evaluate_cases, markdown, write_evaluation
from NeuroGenLib.superres.infer import SuperresModel
from NeuroGenLib.superres.run_config import BUNDLED, EvaluateConfig


def evaluate(arguments: list[str]) -> None:
    """`neurogen superres evaluate`: a model beside interpolation, on simulated slices."""
    parser = make_parser(
        "superres evaluate",
        "Simulate thick slices of isotropic scans, bring them back by interpolation and by the model, with and\n"
        "without a guide where there is one, and compare with the scans inside their heads: PSNR, SSIM, NRMSE.\n"
        "Scans that the model was trained on flatter it.",
        (
            "neurogen superres evaluate participants.tsv --thickness 4 --direction axial --out report",
            "neurogen superres evaluate bids --scan T2w --guide T1w --thickness 2 3 4 5 --out report",
        ),
    )
    parser.add_argument("source", metavar="SOURCE", help="table (tsv or csv) with a row a scan, or a BIDS folder")
    parser.add_argument("--scan", default="T2w", metavar="NAME", help="column, or ending, of the scans (default: T2w)")
    parser.add_argument(
        "--guide", metavar="NAME", help="column, or ending, of the guides (default: T1w if there is one)"
    )
    add_model_option(parser, BUNDLED)
    add_options(parser, EvaluateConfig, only=("thicknesses", "directions", "noise", "back_projection", "most"))
    add_run_options(parser)
    options = parser.parse(arguments)

    out, config = out_folder(options.out, FILES, overwrite=options.overwrite), options_of(options, EvaluateConfig)

    started = time.monotonic()
    progress = make_progress(options.progress)
    use_reading_options(options, progress)
    cases = read_cases(Path(options.source), [options.scan], options.guide)[: config.most]
    model = open_model(options.model, SuperresModel, device=options.device, progress=progress.part(0, 0.02))
    evaluation = evaluate_cases(model, cases, config, progress.part(0.02, 0.98))
    parameters = {"source": options.source, "scans": len(cases), **to_mapping(config)}
    files = write_evaluation(evaluation, model, out, parameters, options_of(options, PictureConfig))
    progress.update(1, 1, "written")
    progress.close()
    seconds = time.monotonic() - started
    if options.json:
        print_written(out, files, started, notice=model.notice, means=evaluation.means)
        return
    print(f"PSNR (dB) / SSIM in the head, means of {len(cases)} scans:")
    print(markdown(evaluation.means))
    print_result(out, files, seconds, [], model.notice)
