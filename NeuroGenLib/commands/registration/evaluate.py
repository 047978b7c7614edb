"""`neurogen registration evaluate`: a model, or the checkpoints of a training, on pairs of scans."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from NeuroGenLib.commands.options import make_parser, make_progress
from NeuroGenLib.commands.shared import add_run_options, files_below, out_folder, print_written, use_reading_options
from NeuroGenLib.core.config_command_line import add_options, options_of
from NeuroGenLib.core.errors import InputError, NeuroGenError
from NeuroGenLib.core.provenance import RESEARCH_USE
from NeuroGenLib.core.reports import PictureConfig
from NeuroGenLib.models import open_model
from NeuroGenLib.registration.config import BUNDLED, RegisterConfig
from NeuroGenLib.registration.evaluation.checkpoints import SELECT, evaluate_run, run_checkpoints
from NeuroGenLib.registration.evaluation.pairs import read_pairs
from NeuroGenLib.registration.evaluation.table import FILES, evaluate_to_folder
from NeuroGenLib.registration.infer import RegistrationModel

if TYPE_CHECKING:
    from NeuroGenLib.core.arguments import ArgumentParser
    from NeuroGenLib.core.progress import Progress
    from NeuroGenLib.registration.evaluation.pairs import PairFiles
    from NeuroGenLib.registration.evaluation.results import Evaluation


def evaluate(arguments: list[str]) -> None:
    """`neurogen registration evaluate`: a model, or the checkpoints of a training, on pairs of scans."""
    options = _parser().parse(arguments)

    _require_consistent(options)

    out = out_folder(options.out, FILES, continues=True)
    settings = options_of(options, RegisterConfig)
    if options.run is not None and "refine" not in options:
        settings = replace(settings, refine=0)
    pairs = read_pairs(Path(options.pairs))
    started = time.monotonic()
    progress = make_progress(options.progress)
    use_reading_options(options, progress)
    work = _evaluate_model if options.run is None else _evaluate_run
    work(options, pairs, out, settings, started, progress)


def _parser() -> ArgumentParser:
    parser = make_parser(
        "registration evaluate",
        "Register every pair of a table and measure: Dice and 95 % Hausdorff distance of labels, distance of\n"
        "landmarks, folds, agreement of both directions, seconds and memory. The table (tsv or csv) has the columns\n"
        "fixed and moving, and may have fixed_labels, moving_labels, fixed_mask, moving_mask, fixed_landmarks,\n"
        "moving_landmarks (tables with x, y, z in RAS mm) and kind; names start from its folder. Stop it whenever you\n"
        "like: the same command goes on where it was. With --run, the checkpoints of a training are compared and the\n"
        "best one is named and kept: of NeuroGen's own training, or of the published program SITReg.",
        (
            "neurogen registration evaluate --pairs pairs.tsv --out report",
            "neurogen registration evaluate --pairs validation.tsv --run runs/oasis --steps 60000-120000 --out report",
            "neurogen registration evaluate --pairs validation.tsv --run sitreg/oasis --epochs 10-24 --out report",
            "neurogen registration evaluate --pairs test.tsv --run sitreg/oasis --epochs best --out report",
        ),
    )
    parser.add_argument("--pairs", required=True, metavar="FILE", help="table of the pairs")
    parser.add_argument("--model", metavar="M", help=f"a folder, bundled:NAME or hf:org/repo@rev (default: {BUNDLED})")
    parser.add_argument(
        "--run", metavar="DIR", help="folder of a training, instead of --model: its checkpoints are compared"
    )
    parser.add_argument(
        "--epochs", metavar="LIST", help="epochs of a published run: 3,5,7 or 10-24, or best (of --out) (default: all)"
    )
    parser.add_argument(
        "--steps", metavar="LIST", help="steps of NeuroGen's own run, written in the same way (default: all)"
    )
    parser.add_argument(
        "--select",
        choices=("dice", "tre", "similarity"),
        help="measure of the best checkpoint (default: dice with labels, else tre with landmarks, else similarity)",
    )
    parser.add_argument("--orientation", metavar="CODES", help="how a published run's images were stored, such as LIA")
    pair_options = parser.add_argument_group("registration of each pair (with --run, refine is 0 unless given)")
    add_options(pair_options, RegisterConfig)
    add_run_options(parser, continues=True)
    return parser


def _require_consistent(options: Any) -> None:
    if options.run is not None and options.model is not None:
        raise InputError("Both --model and --run say what to evaluate.", "Give one of them.", code="value-conflict")
    if options.epochs is not None and options.steps is not None:
        raise InputError(
            "Both --epochs and --steps say which checkpoints.",
            "Give the one that the run counts in.",
            code="value-conflict",
        )
    for name in ("epochs", "steps", "select", "orientation"):
        if options.run is None and getattr(options, name) is not None:
            raise InputError(
                f"--{name} is about the checkpoints of a training.", "Give --run as well.", code="value-conflict"
            )


def _evaluate_model(
    options: Any, pairs: list[PairFiles], out: Path, settings: RegisterConfig, started: float, progress: Progress
) -> None:

    model = open_model(
        options.model or BUNDLED, RegistrationModel, device=options.device, progress=progress.part(0, 0.02)
    )
    picture = options_of(options, PictureConfig)
    evaluation = evaluate_to_folder(model, pairs, out, settings, progress.part(0.02, 1), picture=picture)
    progress.close()
    if options.json:
        summary = evaluation.summary
        print_written(out, files_below(out), started, notice=model.notice, **summary, rows=evaluation.rows)
    else:
        _print_summary(evaluation, out, picture, model.notice)
    if evaluation.failed:
        raise NeuroGenError(
            f"{len(evaluation.failed)} of {len(pairs)} pairs could not be registered; the others are in {out}.",
            f"The column remarks of {out / 'pairs.tsv'} says why; the same command tries them again.",
            code="items-failed",
        )


def _print_summary(evaluation: Evaluation, out: Path, picture: PictureConfig, notice: str) -> None:
    width = max(len(name) for name in evaluation.summary["metrics"])
    pairs = evaluation.summary["pairs"]
    print(f"{pairs - evaluation.summary['failed']} of {pairs} pairs, mean and SD:")
    for name, numbers in evaluation.summary["metrics"].items():
        print(f"  {name.ljust(width)}  {numbers['mean']:.4g}  {numbers['sd']:.2g}")
    names = ["pairs.tsv", *(["labels.tsv"] if evaluation.labels else []), "summary.json"]
    print(f"Written to {out}: {', '.join(names)}, evaluation.{picture.picture_format}")
    print(f"{notice} {RESEARCH_USE}".strip())


def _evaluate_run(
    options: Any, pairs: list[PairFiles], out: Path, settings: RegisterConfig, started: float, progress: Progress
) -> None:
    run = Path(options.run)
    unit = run_checkpoints(run)[0].unit
    option_unit = "epoch" if options.epochs is not None else "step"
    selection = options.epochs if options.epochs is not None else options.steps
    if selection is not None and option_unit != unit:
        raise InputError(
            f"The run in {run} counts {unit}s, not {option_unit}s.", f"Give --{unit}s.", code="value-conflict"
        )
    evaluation = evaluate_run(
        run,
        selection,
        pairs,
        Path(options.pairs).stem,
        out,
        settings,
        options.select,
        device=options.device,
        orientation=options.orientation,
        picture=options_of(options, PictureConfig),
        progress=progress,
    )
    progress.close()
    if options.json:
        best = {unit: evaluation.best.number, "by": evaluation.by}
        print_written(out, files_below(out), started, best=best, rows=evaluation.rows)
        return
    column = "dice" if evaluation.by is None else SELECT[evaluation.by][0]
    for row in evaluation.rows:
        value = "" if row[column] is None else f", {column} {row[column]:.4f}"
        print(f"  {unit} {row[unit]}: {row['pairs'] - row['failed']} of {row['pairs']} pairs{value}")
    if evaluation.by is not None:
        print(f"Best by {evaluation.by}: {unit} {evaluation.best.number}; it is in {out / 'best_model'}.")
    print(f"Written to {out}. {RESEARCH_USE}")
