"""`neurogen atlas info`: ages, conditions, images and labels of an atlas."""

from __future__ import annotations

from typing import Any

from NeuroGenLib.atlas.config import BUNDLED
from NeuroGenLib.atlas.infer import AtlasModel
from NeuroGenLib.atlas.output import atlas_facts
from NeuroGenLib.commands.options import add_json_option, make_parser, print_json
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
    add_json_option(parser)
    options = parser.parse(arguments)

    model = open_model(options.model, AtlasModel, device="cpu")
    if options.json:
        print_json(_described(model) | atlas_facts(model))
        return
    lines = _lines(model)
    width = max(len(name) for name in lines)
    for name, text in lines.items():
        print(f"{name.ljust(width)}  {text}")


def _described(model: AtlasModel) -> dict[str, Any]:
    about = model.folder.about
    return {
        "model": model.folder.reference,
        "name": about.name,
        "description": about.description,
        "licence": about.license,
        "citation": model.citation,
        "notice": model.notice,
    }


def _lines(model: AtlasModel) -> dict[str, str]:
    """Return what a person reads, by title."""
    about = model.folder.about
    low, high = model.age_range
    return {
        "model": model.folder.reference,
        "name": about.name,
        "description": about.description,
        "age": f"{model.age_name}, {low:g} to {high:g} {model.age_unit}",
        "conditions": "; ".join(f"{condition.name}: {condition.describe()}" for condition in model.conditions)
        or "none",
        "images": ", ".join(model.modalities),
        "labels": ", ".join(model.labels.names),
        "box (mm)": ", ".join(f"{length:g}" for length in model.box),
        "subjects": str(len(model.subjects)),
        "bandwidth": f"{model.bandwidth:g} {model.age_unit}",
        "licence": about.license,
        "notice": model.notice,
    }
