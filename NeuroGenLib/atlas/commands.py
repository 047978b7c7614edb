"""The commands of the atlas: `neurogen atlas ...` and `neurogen demo`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from NeuroGenLib.options import (
    add_device_option,
    add_report_options,
    make_parser,
    make_progress,
    name_values,
    number,
    numbers,
    parse,
    print_json,
)

if TYPE_CHECKING:
    from NeuroGenLib.atlas.infer import AtlasModel
    from NeuroGenLib.atlas.output import Written
    from NeuroGenLib.progress import Progress

BUNDLED = "bundled:fetal-sba"
MOST_NOTES = 4
DEMO_CONDITION = "lv_volume_normed"
DEMO_VALUES = (0.11, 0.14, 0.17)


def generate(arguments: list[str]) -> None:
    """`neurogen atlas generate`: draw brains and write them."""
    parser = make_parser(
        "atlas generate",
        "Draw the brain of an age and condition: images, labels, tissue probabilities, volumes and provenance.\n"
        "Values are in the units of the table the atlas was trained on; `neurogen atlas info` lists them.",
        (
            "neurogen atlas generate --age 30.2 --set lv_volume_normed=0.12 --out brain",
            "neurogen atlas generate --ages 21:34:1 --spacing 1.5 --out growth",
            "neurogen atlas generate --age 28 --set lv_volume_normed=0.11,0.15,0.2 --out ventricles",
        ),
    )
    add_model_option(parser)
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--age", metavar="A", help="one age")
    which.add_argument("--ages", metavar="A:B:STEP", help="ages from A to B, both included")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE[,VALUE...]",
        help="a condition; several values make several atlases",
    )
    parser.add_argument("--spacing", default="1", metavar="MM", help="voxel size, one number or x,y,z (default: 1)")
    parser.add_argument(
        "--box", metavar="X0,X1,Y0,Y1,Z0,Z1", help="bounds in mm around the atlas centre (default: the model's)"
    )
    parser.add_argument("--no-mask", action="store_true", help="keep what the atlas draws outside the brain")
    parser.add_argument("--bandwidth", metavar="B", help="kernel width of the age regression, in the unit of age")
    parser.add_argument(
        "--regression", choices=("local-linear", "gaussian"), help="how the subjects' latents are averaged"
    )
    parser.add_argument("--reference-compat", action="store_true", help="as the published code draws, defects included")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder to write into")
    add_device_option(parser)
    add_report_options(parser)
    options = parse(parser, arguments)

    from NeuroGenLib.atlas.output import Request, generate_to_folder, parse_ages

    progress = make_progress(options.progress)
    bandwidth = None if options.bandwidth is None else number(options.bandwidth, "a bandwidth", positive=True)
    request = Request(
        ages=parse_ages(options.ages) if options.age is None else (number(options.age, "an age"),),
        conditions=name_values(options.set),
        spacing=numbers(options.spacing, "a spacing in mm"),
        options={
            "box": None if options.box is None else numbers(options.box, "a box in mm"),
            "masked": not options.no_mask,
            "bandwidth": bandwidth,
            "regression": options.regression,
            "reference_compat": options.reference_compat,
        },
    )
    model = open_atlas(options.model, options.device, progress)
    written = generate_to_folder(model, request, Path(options.out), progress)
    _report(model, written, progress, as_json=options.json)


def info(arguments: list[str]) -> None:
    """`neurogen atlas info`: what an atlas knows."""
    parser = make_parser(
        "atlas info",
        "Say what an atlas knows: ages, conditions with their ranges, images, labels, box, licence.",
        ("neurogen atlas info", "neurogen atlas info --model runs/mine/model --json"),
    )
    add_model_option(parser)
    parser.add_argument("--json", action="store_true", help="print it as one line of JSON")
    options = parse(parser, arguments)
    model = open_atlas(options.model, "cpu")
    facts = _facts(model)
    if options.json:
        print_json(facts)
        return
    width = max(len(name) for name in facts)
    for name, value in facts.items():
        print(f"{name.ljust(width)}  {_shown(value)}")


def train(arguments: list[str]) -> None:
    """`neurogen atlas train`: the same program as training/train_atlas.py."""
    from NeuroGenLib.atlas.config import AtlasTrainConfig
    from NeuroGenLib.config import parse_config

    description = (
        "Train a conditional atlas on a cohort: a table with one image column per modality, one label-map column, the\n"
        "age and any conditions. Stop it whenever you like: the same command goes on where it was. Example: neurogen\n"
        "atlas train --config training/configs/atlas/fetal_sba.yaml --data.table participants.tsv --train.out runs/mine"
    )
    config = parse_config(AtlasTrainConfig, arguments, "neurogen atlas train", description)
    from NeuroGenLib.atlas.train import train as run

    path = run(config, make_progress("bar"))
    if path is not None:
        print(f"The model is in {path}")


def evaluate(arguments: list[str]) -> None:
    """`neurogen atlas evaluate`: an atlas against subjects it has not seen."""
    parser = make_parser(
        "atlas evaluate",
        "Draw the atlas at each subject's age and condition, align it rigidly with the subject's image, and compare:\n"
        "PSNR, SSIM and Dice per tissue, before and after alignment. Give subjects that were left out of training.",
        ("neurogen atlas evaluate --model runs/mine/model --table people.tsv --subjects sub-07,sub-12 --out r",),
    )
    add_model_option(parser)
    parser.add_argument("--table", required=True, metavar="FILE", help="cohort table")
    parser.add_argument("--subjects", required=True, metavar="ID,ID...", help="ids of the subjects to compare with")
    parser.add_argument(
        "--segmentation", default="Seg", metavar="NAME", help="column with the label maps (default: Seg)"
    )
    parser.add_argument("--out", required=True, metavar="DIR", help="folder to write into")
    add_device_option(parser)
    add_report_options(parser)
    options = parse(parser, arguments)

    from NeuroGenLib.atlas.evaluate import evaluate_to_folder

    progress = make_progress(options.progress)
    model = open_atlas(options.model, options.device)
    table = evaluate_to_folder(
        model, Path(options.table), options.subjects.split(","), options.segmentation, Path(options.out), progress
    )
    if options.json:
        print_json({"out": options.out, "rows": table})
        return
    print(Path(options.out, "evaluation.tsv").read_text(encoding="utf-8"), end="")


def demo(arguments: list[str]) -> None:
    """`neurogen demo`: the bundled atlas over age and ventricle size."""
    parser = make_parser(
        "demo",
        "Draw the bundled atlas of fetal brains with spina bifida over age and ventricle size: volumes, label maps,\n"
        "probabilities, a growth table and pictures. Needs no network and no GPU.",
        ("neurogen demo --out demo-output",),
    )
    parser.add_argument(
        "--out", default="demo-output", metavar="DIR", help="folder to write into (default: demo-output)"
    )
    parser.add_argument("--spacing", default="1.5", metavar="MM", help="voxel size (default: 1.5)")
    add_device_option(parser)
    add_report_options(parser)
    options = parse(parser, arguments)

    from NeuroGenLib.atlas.demo import run_demo

    progress = make_progress(options.progress)
    model = open_atlas(BUNDLED, options.device)
    spacing = numbers(options.spacing, "a spacing in mm")
    written = run_demo(model, spacing, DEMO_CONDITION, DEMO_VALUES, Path(options.out), progress)
    _report(model, written, progress, as_json=options.json)


def add_model_option(parser: Any) -> None:
    """Add ``--model``."""
    parser.add_argument(
        "--model", default=BUNDLED, metavar="M", help=f"a folder, bundled:NAME or hf:org/repo@rev (default: {BUNDLED})"
    )


def open_atlas(reference: str, device: str, progress: Progress | None = None) -> AtlasModel:
    """Open a model and make sure that it is an atlas.

    Raises
    ------
    InputError
        When it is of another kind.
    """
    from NeuroGenLib.atlas.infer import AtlasModel
    from NeuroGenLib.errors import InputError
    from NeuroGenLib.models import open_model
    from NeuroGenLib.progress import SILENT

    model = open_model(reference, device=device, progress=(progress or SILENT).part(0, 0.02))
    if not isinstance(model, AtlasModel):
        raise InputError(f"The model {reference} is no atlas.", "See 'neurogen models list'.")
    return model


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


def _report(model: AtlasModel, written: Written, progress: Progress, *, as_json: bool) -> None:
    """Say what was written, where, how long it took, and what to know about it."""
    from NeuroGenLib.progress import TerminalProgress
    from NeuroGenLib.provenance import RESEARCH_USE

    if isinstance(progress, TerminalProgress):
        progress.close()
    if as_json:
        print_json(
            {
                "out": str(written.folder),
                "written": [str(file) for file in written.files],
                "warnings": written.warnings,
                "notice": model.notice,
                "seconds": round(written.seconds, 2),
            }
        )
        return
    for text in written.warnings[:MOST_NOTES]:
        print(f"Note: {text}")
    if len(written.warnings) > MOST_NOTES:
        print(f"... and {len(written.warnings) - MOST_NOTES} more such notes, all in provenance.json.")
    print(f"Written in {written.seconds:.1f} s to {written.folder}:")
    for file in written.files:
        print(f"  {file.relative_to(written.folder)}")
    print(f"{model.notice} {RESEARCH_USE}".strip())
