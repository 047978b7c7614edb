"""Put a trained super-resolution and what was measured of it into Resources/models.

python Testing/bench/superres_left_out.py --config training/configs/superres/bundled.yaml \
    --scans data/fetal/participants.tsv --out runs/left_out
neurogen superres evaluate runs/left_out/scans.tsv --model runs/superres/model --out runs/report
python training/bundle_superresolution.py --model runs/superres/model --reports runs/report --name superres \
    --command "python training/train_superresolution.py --config ..." \
    --config-file training/configs/superres/bundled.yaml --data "Zenodo record 5524312; label maps of SynthSeg"

Several reports of one model, each on other scans, are put together.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from bundling import bundle, bundle_parser

from NeuroGenLib.cli import run_safely
from NeuroGenLib.core.errors import InputError
from NeuroGenLib.models import ModelFolder
from NeuroGenLib.superres.card import model_card
from NeuroGenLib.superres.evaluation.table import markdown, means_of

if TYPE_CHECKING:
    from NeuroGenLib.superres.evaluation.table import Row

TEXT = (
    "PSNR (dB) / SSIM inside the head of {scans} scans that it was not trained on: population averages of fetal brains"
    " at 0.8 mm, seen in thick slices with a Gaussian profile, without noise, and brought back. Their guides are drawn"
    " from label maps, without any error of place: a real T1w helps less."
)


def main() -> None:
    """Read the model and the reports, write the bundled model."""
    parser = bundle_parser(__doc__ or "")
    parser.add_argument(
        "--reports", required=True, nargs="+", metavar="DIR", help="folders of 'neurogen superres evaluate'"
    )
    options = parser.parse(sys.argv[1:])
    folder = ModelFolder.read(options.model)
    rows = [row for report in options.reports for row in rows_of(Path(report), folder)]
    table = markdown(means_of(rows))
    scans = len({row["case"] for row in rows})
    bundle(folder, options, {"left_out": {"text": TEXT.format(scans=scans), "table": table}}, model_card)


def rows_of(report: Path, model: ModelFolder) -> list[Row]:
    """Read the rows of a report; refuse one of other weights."""
    record: dict[str, Any] = json.loads((report / "provenance.json").read_text(encoding="utf-8"))
    if record["model"]["weights"] != model.manifest["files"]:
        raise InputError(f"{report} was measured with other weights.", "Evaluate this model.", code="run-conflict")
    rows: list[Row] = pd.read_csv(report / "scans.tsv", sep="\t").to_dict("records")
    return rows


if __name__ == "__main__":
    sys.exit(run_safely(main))
