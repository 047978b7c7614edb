"""Put a trained atlas and its measured numbers into Resources/models.

python training/bundle_atlas.py --model runs/fetal-sba/model --name fetal-sba \
    --command "python training/train_atlas.py --config ... " --config-file training/configs/atlas/fetal_sba.yaml \
    --evaluation "Left-out volumes, this recipe=reports/heldout/evaluation.tsv" \
    --evaluation "The same volumes, published recipe=reports/published/evaluation.tsv"

Each --evaluation is a text and the table that `neurogen atlas evaluate` wrote, with '=' between them.
"""

from __future__ import annotations

import sys

from bundling import bundle, bundle_parser

from NeuroGenLib.atlas.card import model_card
from NeuroGenLib.cli import run_safely
from NeuroGenLib.cohort.subjects import read_table
from NeuroGenLib.core.errors import InputError
from NeuroGenLib.core.reports import markdown_table
from NeuroGenLib.models import ModelFolder


def main() -> None:
    """Read the model and the tables, write the bundled model."""
    parser = bundle_parser(__doc__ or "")
    parser.add_argument("--evaluation", action="append", default=[], metavar="TEXT=TABLE", help="measured numbers")
    options = parser.parse(sys.argv[1:])
    folder = ModelFolder.read(options.model)
    metrics = {}
    for item in options.evaluation:
        text, equals, table = item.rpartition("=")
        if not equals:
            raise InputError(
                f"'{item}' is not TEXT=TABLE.", "Put '=' between the text and the table.", code="value-invalid"
            )
        _, rows = read_table(table)
        metrics[str(len(metrics))] = {"text": text, "rows": rows, "table": markdown_table(rows)}
    bundle(folder, options, metrics, model_card)


if __name__ == "__main__":
    sys.exit(run_safely(main))
