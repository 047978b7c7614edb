"""Put a trained atlas and its measured numbers into Resources/models.

python training/bundle_atlas.py --model runs/fetal-sba/model --name fetal-sba \
    --command "python training/train_atlas.py --config ... " --config-file training/configs/atlas/fetal_sba.yaml \
    --evaluation "Left-out volumes, this recipe=reports/heldout/evaluation.tsv" \
    --evaluation "The same volumes, published recipe=reports/published/evaluation.tsv"

Each --evaluation is a text and the table that `neurogen atlas evaluate` wrote, with '=' between them.
"""

from __future__ import annotations

import sys
from pathlib import Path

from NeuroGenLib.atlas.card import model_card
from NeuroGenLib.atlas.evaluate import markdown_table
from NeuroGenLib.cli import run_safely
from NeuroGenLib.cohort import read_table
from NeuroGenLib.errors import InputError
from NeuroGenLib.models import ModelFolder, load_tensors, write_model
from NeuroGenLib.options import make_parser, parse


def main() -> None:
    """Read the model and the tables, write the bundled model."""
    parser = make_parser("bundle", __doc__ or "")
    parser.add_argument("--model", required=True, metavar="DIR", help="trained model folder")
    parser.add_argument("--name", required=True, help="name of the bundled model")
    parser.add_argument("--command", required=True, help="command that trained it")
    parser.add_argument("--config-file", required=True, help="its config in the repository")
    parser.add_argument("--data", default="", help="what it was trained on, and where that is")
    parser.add_argument("--evaluation", action="append", default=[], metavar="TEXT=TABLE", help="measured numbers")
    options = parse(parser, sys.argv[1:])
    folder = ModelFolder.read(options.model)
    metrics = {}
    for item in options.evaluation:
        text, equals, table = item.rpartition("=")
        if not equals:
            raise InputError(f"'{item}' is not TEXT=TABLE.", "Put '=' between the text and the table.")
        _, rows = read_table(table)
        metrics[str(len(metrics))] = {"text": text, "rows": rows, "table": markdown_table(rows)}
    manifest = dict(folder.manifest)
    manifest["training"] = {
        **manifest["training"],
        "command": options.command,
        "config_file": options.config_file,
        "data": options.data,
        "metrics": metrics,
    }
    out = Path(__file__).resolve().parents[1] / "Resources" / "models" / options.name
    write_model(out, folder.kind, load_tensors(folder), manifest, model_card(manifest))
    print(f"{out.name}: {sum(file.stat().st_size for file in out.iterdir()) / 1e6:.2f} MB")


if __name__ == "__main__":
    sys.exit(run_safely(main))
