"""What the scripts that bundle a model share: their options, and how the model comes into Resources/models."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from NeuroGenLib.commands.options import make_parser
from NeuroGenLib.models import ModelFolder, load_tensors, write_model

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable, Mapping

    from NeuroGenLib.core.arguments import ArgumentParser

MODELS = Path(__file__).resolve().parents[1] / "Resources" / "models"


def bundle_parser(description: str) -> ArgumentParser:
    """Return a parser with what every such script asks for."""
    parser = make_parser("bundle", description)
    parser.add_argument("--model", required=True, metavar="DIR", help="trained model folder")
    parser.add_argument("--name", required=True, help="name of the bundled model")
    parser.add_argument("--command", required=True, help="command that trained it")
    parser.add_argument("--config-file", required=True, help="its config in the repository")
    parser.add_argument("--data", default="", help="what it was trained on, and where that is")
    return parser


def bundle(
    folder: ModelFolder,
    options: Namespace,
    metrics: Mapping[str, Any],
    model_card: Callable[[dict[str, Any]], str],
) -> None:
    """Write a trained model and what was measured of it into Resources/models, and say how large it is.

    Parameters
    ----------
    folder:
        The model as it was trained.
    options:
        Of :func:`bundle_parser`.
    metrics:
        For each evaluation what the card shows: ``text`` and ``table`` (Markdown), and whatever else is kept.
    model_card:
        Makes the card's text of a manifest.
    """
    manifest = dict(folder.manifest)
    manifest["training"] = {
        **manifest["training"],
        "command": options.command,
        "config_file": options.config_file,
        "metrics": dict(metrics),
    }
    if options.data:
        manifest["training"]["data"] = options.data
    place = MODELS / options.name
    write_model(place, folder.kind, load_tensors(folder), manifest, model_card(manifest))
    for evaluation in metrics.values():
        print(evaluation["table"])
    print(f"{place.name}: {sum(file.stat().st_size for file in place.iterdir()) / 1e6:.2f} MB")
