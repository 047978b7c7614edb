"""`neurogen superres batch`: isotropic scans of a whole cohort."""

from __future__ import annotations

import time
from pathlib import Path

from NeuroGenLib.commands.options import make_parser, make_progress
from NeuroGenLib.commands.shared import (
    add_model_option,
    add_run_options,
    out_folder,
    print_written,
    require_all,
    use_reading_options,
)
from NeuroGenLib.core.config_command_line import add_options, options_of
from NeuroGenLib.core.errors import InputError
from NeuroGenLib.core.provenance import RESEARCH_USE
from NeuroGenLib.core.reports import PictureConfig
from NeuroGenLib.models import open_model
from NeuroGenLib.superres.batch import SUMMARY, read_cases, run_batch
from NeuroGenLib.superres.infer import SuperresModel
from NeuroGenLib.superres.run_config import BUNDLED, SLICE_OPTIONS, SuperresConfig


def batch(arguments: list[str]) -> None:
    """`neurogen superres batch`: isotropic scans of a whole cohort."""
    parser = make_parser(
        "superres batch",
        "Super-resolve every scan of a table or of a BIDS folder, as `neurogen superres run` does one: a folder each,\n"
        "and summary.tsv. What is finished is not done again while its files, the model and the options are the same;\n"
        "what fails does not stop the others, and is tried again by the next call.",
        (
            "neurogen superres batch participants.tsv --out results",
            "neurogen superres batch bids --scans acq-ax_T2w,acq-cor_T2w,acq-sag_T2w --guide T1w --out results",
        ),
    )
    parser.add_argument("source", metavar="SOURCE", help="table (tsv or csv) with a row a scan, or a BIDS folder")
    parser.add_argument(
        "--scans",
        default="T2w",
        metavar="NAMES",
        help="columns, or endings of files, of scans in thick slices; those after the first may be missing (default:"
        " T2w)",
    )
    parser.add_argument(
        "--guide", metavar="NAME", help="column, or ending, of the guide (default: T1w if there is one)"
    )
    add_model_option(parser, BUNDLED)
    add_options(parser, SuperresConfig, only=SLICE_OPTIONS)
    add_run_options(parser, continues=True)
    options = parser.parse(arguments)

    out, settings = out_folder(options.out, [SUMMARY], continues=True), options_of(options, SuperresConfig)
    names = [name.strip() for name in options.scans.split(",")]
    if not all(names):
        raise InputError(
            f"'{options.scans}' does not name columns.", "Write T2w, or T2w_ax,T2w_cor.", code="value-invalid"
        )

    started = time.monotonic()
    progress = make_progress(options.progress)
    use_reading_options(options, progress)
    cases = read_cases(Path(options.source), names, options.guide)
    model = open_model(options.model, SuperresModel, device=options.device, progress=progress.part(0, 0.02))
    result = run_batch(model, cases, out, settings, progress.part(0.02, 1), options_of(options, PictureConfig))
    progress.close()
    seconds = time.monotonic() - started
    if options.json:
        print_written(out, result.written, started, notice=model.notice, rows=result.rows)
    else:
        for row in result.rows:
            if row["status"] != "failed":
                note = f": {row['remarks']}" if row["status"] == "isotropic" else ""
                print(f"  {row['case']}  {row['status']}{note}")
        print(f"Written in {seconds:.1f} s to {out}: {SUMMARY}, and a folder for each scan that is done.")
        print(f"{model.notice} {RESEARCH_USE}".strip())
    require_all(
        {row["case"]: row["remarks"] for row in result.failed},
        len(cases),
        "scans could not be super-resolved",
        f"The column remarks of {out / SUMMARY} says why; the same command tries them again.",
        as_json=options.json,
    )
