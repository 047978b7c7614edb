"""`neurogen atlas info`: ages, conditions, images and labels of an atlas."""

from __future__ import annotations

from typing import Any

from NeuroGenLib.atlas.config import BUNDLED
from NeuroGenLib.atlas.infer import AtlasModel
from NeuroGenLib.commands.options import make_parser, print_json
from NeuroGenLib.commands.shared import add_model_option
from NeuroGenLib.models import open_model


def info(arguments: list[str]) -> None:
    """`neurogen atlas info`: ages, conditions, images and labels of an atlas."""
    parser = make_parser(
        "atlas info",
        "Print the ages, conditions with their ranges, images, labels, box and licence of an atlas.",
        ("neurogen atlas info", "neurogen atlas info --model runs/mine/model --json"),
    )
    add_model_option(parser, BUNDLED)
    parser.add_argument("--json", action="store_true", help="print it as one line of JSON")
    options = parser.parse(arguments)

    model = open_model(options.model, AtlasModel, device="cpu")
    facts = _facts(model)
    if options.json:
        print_json(facts)
        return
    width = max(len(name) for name in facts)
    for name, value in facts.items():
        print(f"{name.ljust(width)}  {_shown(value)}")


def _facts(model: AtlasModel) -> dict[str, Any]:
    manifest = model.folder.manifest
    low, high = model.age_range
    return {
        "model": model.folder.reference,
        "name": manifest.get("name"),
        "description": manifest.get("description"),
        "age": f"{model.age_name}, {low:g} to {high:g} {model.age_unit}",
        "conditions": {one.name: one.describe() for one in model.conditions},
        "images": list(model.modalities),
        "labels": list(model.labels.names),
        "box (mm)": model.box.tolist(),
        "subjects": len(model.subjects),
        "bandwidth": f"{model.bandwidth:g} {model.age_unit}",
        "licence": manifest.get("license"),
        "notice": model.notice,
    }


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return "; ".join(f"{name}: {text}" for name, text in value.items()) or "none"
    if isinstance(value, list):
        return ", ".join(f"{item:g}" if isinstance(item, float) else str(item) for item in value)
    return str(value)
