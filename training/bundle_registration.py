"""Measure a trained registration network on pairs that it was not trained on, and put it into Resources/models.

python Testing/bench/registration_adult.py --out runs/adult
python training/bundle_registration.py --model runs/registration/model --pairs runs/adult/pairs.tsv \
    --out runs/registration/card --name registration \
    --command "python training/train_registration.py --config ..." \
    --config-file training/configs/registration/bundled.yaml --data "Zenodo record 5524312; label maps of SynthSeg"

The pairs are registered twice: by the network alone, and with the usual optimisation on each pair. Results go to
--out; stop it whenever you like, the same command goes on where it was. --peers takes what `make peers` wrote of the
same pairs, for a table beside other programs.
"""

from __future__ import annotations

import sys
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

import torch
from bundling import bundle, bundle_parser

from NeuroGenLib.cli import run_safely
from NeuroGenLib.core.errors import InputError, NeuroGenError
from NeuroGenLib.core.files import read_json
from NeuroGenLib.core.progress import TerminalProgress
from NeuroGenLib.core.reports import markdown_table
from NeuroGenLib.models import ModelFolder
from NeuroGenLib.registration.card import model_card
from NeuroGenLib.registration.config import RegisterConfig
from NeuroGenLib.registration.evaluation.pairs import read_pairs
from NeuroGenLib.registration.evaluation.table import evaluate_to_folder
from NeuroGenLib.registration.infer import RegistrationModel

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from NeuroGenLib.registration.evaluation.results import Evaluation


PEERS_TEXT = (
    "Beside other programs with their default settings on the same pairs: mean Dice / CPU seconds, and folded voxels"
    " where there are any. Our numbers are those of the optimisation, start and measuring included."
    " `Testing/bench/bench_peers.py` runs the others; docs/benchmarks.md says which settings they have."
)


def main() -> None:
    """Read the model and the pairs, measure, write the bundled model."""
    parser = bundle_parser(__doc__ or "")
    parser.add_argument("--pairs", required=True, metavar="FILE", help="table for 'neurogen registration evaluate'")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder of the evaluations")
    parser.add_argument("--peers", nargs="+", default=[], metavar="FILE", help="results.json of bench_peers.py")
    options = parser.parse(sys.argv[1:])
    folder = ModelFolder.read(options.model)
    model = RegistrationModel.from_folder(folder, torch.device("cpu"))
    refined = RegisterConfig()
    progress = TerminalProgress()
    pairs = read_pairs(Path(options.pairs))
    if not all(pair.kind for pair in pairs):
        raise InputError(
            f"A pair of {options.pairs} is of no kind.",
            "Fill the column kind: the card has a row for each.",
            code="table-invalid",
        )
    out = Path(options.out)
    alone = evaluate_to_folder(model, pairs, out / "network", RegisterConfig(refine=0), progress.part(0, 0.3))
    whole = evaluate_to_folder(model, pairs, out / "refined", refined, progress.part(0.3, 1))
    progress.close()
    for evaluation in (alone, whole):
        if evaluation.failed:
            row = evaluation.failed[0]
            raise NeuroGenError(
                f"{row['moving']} to {row['fixed']} was not registered: {row['remarks']}",
                "Run the command again.",
                code="unexpected",
            )
    table = markdown_table(card_rows(alone, whole))
    metrics = {"left_out": {"text": card_text(whole, refined.refine), "table": table}}
    if options.peers:
        runs = [run for file in options.peers for run in read_json(file)["rows"]]
        metrics["peers"] = {"text": PEERS_TEXT, "table": markdown_table(peers_rows(whole, runs))}
    bundle(folder, options, metrics, model_card)


def card_rows(alone: Evaluation, refined: Evaluation) -> list[dict[str, Any]]:
    """Return a row of means for each kind of pairs, by the network alone and refined."""
    return [
        {
            "pairs": f"{kind} ({part['pairs']})",
            "Dice, headers": _mean(alone, kind, "dice_headers", ".3f"),
            "affine start": _mean(alone, kind, "dice_start", ".3f"),
            "network alone": _mean(alone, kind, "dice", ".3f"),
            "refined": _mean(refined, kind, "dice", ".3f"),
            "HD95 (mm), refined": _mean(refined, kind, "hd95_mm", ".2f"),
            "folded voxels, alone / refined": _both(alone, refined, kind, "folded_voxels", ".0f"),
            "inverse consistency (mm), alone / refined": _both(alone, refined, kind, "inverse_consistency_mm", ".3f"),
            "CPU s, alone / refined": _both(alone, refined, kind, "cpu_s", ".0f"),
        }
        for kind, part in refined.summary["kinds"].items()
    ]


def peers_rows(refined: Evaluation, runs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return a row of means for each kind of pairs, refined and by every other program that has registered them all."""
    rows = []
    for kind, part in refined.summary["kinds"].items():
        own = [refined.mean(metric, kind) or 0.0 for metric in ("dice", "cpu_s", "folded_voxels")]
        row = {
            "pairs": f"{kind} ({part['pairs']})",
            "affine start": _mean(refined, kind, "dice_start", ".3f"),
            "NeuroGen": _cell(*own),
        }
        for program in dict.fromkeys(run["program"] for run in runs):
            done = [run for run in runs if (run["kind"], run["program"]) == (kind, program)]
            if len({(run["fixed"], run["moving"]) for run in done if "error" not in run}) < part["pairs"]:
                continue
            row[program] = _cell(*(fmean(run[name] for run in done) for name in ("dice", "cpu_s", "folded_voxels")))
        rows.append(row)
    return rows


def card_text(refined: Evaluation, steps: int) -> str:
    """Return what the card says above the table."""
    memory = refined.mean("peak_memory_mib")
    peak = "" if memory is None else f", about {memory / 1024:.1f} GiB of memory"
    return (
        "Pairs of scans that it was not trained on, means by kind. fetal: population averages of fetal brains of"
        " different ages, fetal-hard: a healthy one with one with spina bifida aperta; T2w. adult: images generated"
        " from label maps of heads that were left out, both T1w or both T2w, turned, shifted, scaled and sheared;"
        f" adult-cross: T1w with T2w. Dice over all structures. Refined: {steps} steps of optimisation on each pair."
        f" CPU seconds, start and measuring included, on {torch.get_num_threads()} thread(s) of a CPU{peak}."
    )


def _cell(dice: float, seconds: float, folded: float) -> str:
    return f"{dice:.3f} / {seconds:.0f}" + (f", {folded:.0f} folded" if folded else "")


def _mean(evaluation: Evaluation, kind: str, metric: str, style: str) -> str:
    value = evaluation.mean(metric, kind)
    return "" if value is None else format(value, style)


def _both(alone: Evaluation, refined: Evaluation, kind: str, metric: str, style: str) -> str:
    return f"{_mean(alone, kind, metric, style)} / {_mean(refined, kind, metric, style)}"


if __name__ == "__main__":
    sys.exit(run_safely(main))
