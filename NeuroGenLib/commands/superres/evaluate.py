"""`neurogen superres evaluate`: a model beside interpolation, on simulated thick slices of isotropic scans."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path

from NeuroGenLib.commands.options import (
    add_device_option,
    add_report_options,
    make_parser,
    make_progress,
    number,
    print_json,
    whole_number,
)
from NeuroGenLib.commands.shared import add_model_option, close_bar, out_folder, print_result
from NeuroGenLib.models import open_model
from NeuroGenLib.simulate.thick_slices import DIRECTIONS
from NeuroGenLib.superres.batch import read_cases
from NeuroGenLib.superres.evaluation.table import Slices, evaluate_cases, markdown, write_evaluation
from NeuroGenLib.superres.infer import SuperresModel
from NeuroGenLib.superres.run_config import BUNDLED


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
    parser.add_argument(
        "--thickness", nargs="+", default=["2", "3", "4", "5"], metavar="MM", help="of the slices (default: 2 3 4 5)"
    )
    parser.add_argument(
        "--direction", nargs="+", choices=DIRECTIONS, default=list(DIRECTIONS), help="of the slices (default: all)"
    )
    parser.add_argument(
        "--noise", default="0", metavar="LEVEL", help="Rician, as a part of the 99th percentile (default: 0)"
    )
    parser.add_argument(
        "--back-projection", default="1", metavar="N", help="as of `neurogen superres run` (default: 1)"
    )
    parser.add_argument("--most", metavar="N", help="scans at most, the first ones")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder to write into")
    add_device_option(parser)
    add_report_options(parser)
    options = parser.parse(arguments)

    out = out_folder(options.out)

    started = time.monotonic()
    slices = Slices(
        tuple(number(text, "a slice thickness in mm", positive=True) for text in options.thickness),
        tuple(dict.fromkeys(options.direction)),
        number(options.noise, "a noise level"),
    )
    steps = whole_number(options.back_projection, "a number of corrections")
    most = None if options.most is None else whole_number(options.most, "a number of scans", least=1)
    progress = make_progress(options.progress)
    cases = read_cases(Path(options.source), [options.scan], options.guide)[:most]
    model = open_model(options.model, SuperresModel, device=options.device, progress=progress.part(0, 0.02))
    found = evaluate_cases(model, cases, slices, steps, progress.part(0.02, 0.98))
    parameters = {"source": options.source, "scans": len(cases), "back_projection": steps, **asdict(slices)}
    files = write_evaluation(found, model, out, parameters)
    progress.update(1, 1, "written")
    close_bar(progress)
    seconds = time.monotonic() - started
    if options.json:
        written = [str(file) for file in files]
        facts = {"out": str(out), "written": written, "seconds": round(seconds, 1)}
        print_json({**facts, "means": found.means, "notice": model.notice})
        return
    print(f"PSNR (dB) / SSIM in the head, means of {len(cases)} scans:")
    print(markdown(found.means))
    print_result(out, files, seconds, [], model.notice)
