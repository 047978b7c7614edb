"""The scans that the bundled super-resolution was not trained on, each with a T1w-like guide from its label map.

python Testing/bench/superres_left_out.py --config training/configs/superres/bundled.yaml \
    --scans data/fetal/participants.tsv --out runs/superres_left_out
neurogen superres evaluate runs/superres_left_out/scans.tsv --model runs/superres/model --out report

No T1w of these fetuses is public. A guide that is drawn from labels on the scan's own grid has perfect edges in perfect
place: it helps more than a real one would.
"""

from __future__ import annotations

import fnmatch
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from NeuroGenLib.cli import run_safely
from NeuroGenLib.commands.options import make_parser
from NeuroGenLib.core.config_command_line import parse_config
from NeuroGenLib.core.reports import write_table
from NeuroGenLib.simulate.contrast import random_image
from NeuroGenLib.spatial.labels import as_label_map
from NeuroGenLib.spatial.volume import Volume
from NeuroGenLib.superres.config import SuperresTrainConfig
from NeuroGenLib.superres.data.subjects import TISSUES, scan_cohort


def main() -> None:
    """Draw the guides, write the table."""
    parser = make_parser("superres_left_out", __doc__ or "")
    parser.add_argument("--config", required=True, metavar="FILE", help="of the training")
    parser.add_argument("--scans", required=True, metavar="FILE", help="its table of scans")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder to write into")
    options = parser.parse(sys.argv[1:])
    out = Path(options.out)
    given = ["--config", options.config, "--scans.source", options.scans, "--train.out", str(out)]
    config = parse_config(SuperresTrainConfig, given, "superres_left_out", "")
    out.mkdir(parents=True, exist_ok=True)
    still = replace(config.guide, thick=0.0, noise=(0.02, 0.02), lesions=0.0, background=0.0)
    rows = []
    for number, subject in enumerate(scan_cohort(config.scans)):
        if not any(fnmatch.fnmatch(subject.id, pattern) for pattern in config.split.validation):
            continue
        path = subject.paths[config.scans.segmentation or ""]
        labels = as_label_map(Volume.load(path), str(path))
        generator = torch.Generator().manual_seed(number)
        tissues = TISSUES[config.scans.tissues]()
        image = random_image(torch.from_numpy(labels.array.astype(np.int16)), generator, still, tissues)[0]
        guide = out / f"{subject.id}_T1w.nii.gz"
        labels.with_array((1000 * image.numpy()).astype(np.int16)).save(guide)
        rows.append({"participant_id": subject.id, "T2w": str(subject.paths["T2w"].resolve()), "T1w": guide.name})
    write_table(out / "scans.tsv", rows)
    print(f"{len(rows)} scans in {out / 'scans.tsv'}")


if __name__ == "__main__":
    sys.exit(run_safely(main))
