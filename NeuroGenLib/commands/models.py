"""The commands about models: `neurogen models ...`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from NeuroGenLib.commands.options import add_json_option, add_report_options, make_parser, make_progress, print_json
from NeuroGenLib.commands.shared import files_below, print_written
from NeuroGenLib.core.errors import InputError
from NeuroGenLib.core.files import write_json
from NeuroGenLib.core.provenance import RECORD, record
from NeuroGenLib.models.catalogue import download as fetch
from NeuroGenLib.models.catalogue import import_model, list_models, model_info

if TYPE_CHECKING:
    from collections.abc import Mapping

    from NeuroGenLib.models.folder import ModelFolder


def list_(arguments: list[str]) -> None:
    """`neurogen models list`."""
    parser = make_parser(
        "models list",
        "List the models that are bundled, downloaded, imported, or known to be published.",
        ("neurogen models list", "neurogen models list --json"),
    )
    add_json_option(parser)
    options = parser.parse(arguments)

    rows = list_models()
    if options.json:
        print_json({"models": rows})
        return
    columns = ("reference", "where", "kind", "license", "name")
    texts = [[str(row.get(column) or "-") for column in columns] for row in rows]
    widths = [max(len(line[index]) for line in [list(columns), *texts]) for index in range(len(columns))]
    for line in [list(columns), *texts]:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def info(arguments: list[str]) -> None:
    """`neurogen models info`."""
    parser = make_parser(
        "models info",
        "Show what a model is: licence, files, card.",
        ("neurogen models info bundled:fetal-sba", "neurogen models info cinema --json"),
    )
    parser.add_argument(
        "model", metavar="MODEL", help="a folder, bundled:NAME, hf:org/repo@rev, or as in 'neurogen models list'"
    )
    add_json_option(parser)
    options = parser.parse(arguments)

    facts = model_info(options.model)
    if options.json:
        print_json(facts)
        return
    for name in ("reference", "where", "kind", "name", "revision", "path", "size", "license", "problem"):
        if facts.get(name) is not None:
            print(f"{name:10}  {_shown(name, facts[name])}")
    if facts["path"] is None and not facts["problem"]:
        print(f"It is not on this computer yet: neurogen models download {facts['reference']}")
    if facts["card"]:
        print(f"\n{facts['card']}")
    elif facts["citation"]:
        print("\n".join(f"- {entry}" for entry in facts["citation"]))
    if facts["verified"] is False:
        print("Its results were not compared with those of its authors' program.")


def download(arguments: list[str]) -> None:
    """`neurogen models download`."""
    parser = make_parser(
        "models download",
        "Bring a model from the hub into the cache. A download that was interrupted goes on where it was.\n"
        "Without network: download elsewhere, copy the folder, and give its path (or set NEUROGEN_MODELS).",
        ("neurogen models download hf:org/repo", "neurogen models download hf:org/repo@v1.0"),
    )
    parser.add_argument(
        "model", metavar="MODEL", help="hf:org/repo, or hf:org/repo@revision for a branch, tag or commit"
    )
    add_report_options(parser)
    options = parser.parse(arguments)

    started = time.monotonic()
    folder = fetch(options.model, make_progress(options.progress))
    if options.json:
        print_written_model(folder, started)
        return
    print(f"\n{folder.reference} ({_shown('size', folder.size)}) is in {folder.path}")


def import_(arguments: list[str]) -> None:
    """`neurogen models import`."""
    parser = make_parser(
        "models import",
        "Turn another program's checkpoint into a NeuroGen model folder. Nothing in the checkpoint is executed.\n"
        "Its provenance.json records how it was made, with the places of the files: no part of the model to share.",
        (
            "neurogen models import cinema checkpoint_epoch_5.pth --config-atlas a.yaml --config-data d.yaml",
            "neurogen models import sitreg model_epoch_024.pt --config training_config.json",
            "neurogen models import baby-ai pretrained_weights.pth --half",
        ),
    )
    parser.add_argument("system", metavar="PROGRAM", help="the program that wrote it: cinema, sitreg or baby-ai")
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="the file that it wrote")
    parser.add_argument(
        "--config-atlas",
        metavar="FILE",
        help="cinema: config_atlas.yaml of the run (default: what the checkpoint holds)",
    )
    parser.add_argument(
        "--config-data", metavar="FILE", help="cinema: config_data.yaml of the run (default: what the checkpoint holds)"
    )
    parser.add_argument(
        "--store-ids", action="store_true", help="cinema: keep the subject ids, which may identify people"
    )
    parser.add_argument(
        "--config", metavar="FILE", help="sitreg: training_config.json of the run (default: the one beside it)"
    )
    parser.add_argument(
        "--orientation",
        metavar="CODE",
        help="sitreg: where the axes of the training images grow to, such as LIA (default: by its data set)",
    )
    parser.add_argument(
        "--all-stages",
        action="store_true",
        help="sitreg: also run the finest stages that the program leaves out and never trains",
    )
    parser.add_argument(
        "--half",
        action="store_true",
        help="baby-ai: store the weights in half precision, half the size; results differ by some 1e-4",
    )
    parser.add_argument(
        "--out", metavar="DIR", help="model folder to make (default: beside the checkpoint, named after it)"
    )
    add_json_option(parser)
    options = parser.parse(arguments)

    started = time.monotonic()
    checkpoint = Path(options.checkpoint)
    out = Path(options.out) if options.out else checkpoint.with_suffix("").with_name(f"{checkpoint.stem}-neurogen")
    importer_options = _importer_options(options)
    folder = import_model(options.system, checkpoint, out, **importer_options)
    write_json(out / RECORD, _import_record(folder, options.system, checkpoint, importer_options))
    if options.json:
        print_written_model(folder, started)
        return
    use = {
        "atlas": "Draw from it: neurogen atlas info",
        "registration": "Use it: neurogen registration run F M",
        "superres": "Use it: neurogen superres run T2W --guide T1W --out DIR",
    }
    print(
        f"The model is in {folder.path}\n{use.get(folder.kind, 'See it: neurogen models info')} --model {folder.path}"
    )


def _import_record(
    folder: ModelFolder, system: str, checkpoint: Path, importer_options: Mapping[str, Any]
) -> dict[str, Any]:
    values = {name: str(value) if isinstance(value, Path) else value for name, value in importer_options.items()}
    return record(
        "models import",
        model={"reference": folder.reference, "name": folder.about.name, "license": folder.about.license},
        parameters={"system": system, "checkpoint": str(checkpoint), "out": str(folder.path), **values},
        citation=list(folder.about.citation),
        outputs=[*(file.relative_to(folder.path).as_posix() for file in files_below(folder.path)), RECORD],
    )


def print_written_model(folder: ModelFolder, started: float) -> None:
    """Print the line of JSON of a command that made the model ``folder``."""
    facts: dict[str, Any] = {
        "reference": folder.reference,
        "revision": folder.revision,
        "kind": folder.kind,
        "size": folder.size,
    }
    print_written(folder.path, files_below(folder.path), started, notice=folder.about.notice, **facts)


def _importer_options(options: Any) -> dict[str, Any]:
    """Return the options of the importer, by its names.

    Raises
    ------
    InputError
        When an option of another program's importer was given.
    """
    options_by_system: dict[str, dict[str, Any]] = {
        "cinema": {
            "config_atlas": _path(options.config_atlas),
            "config_data": _path(options.config_data),
            "store_ids": options.store_ids or None,
        },
        "sitreg": {
            "config": _path(options.config),
            "orientation": options.orientation,
            "legacy_levels": False if options.all_stages else None,
        },
        "baby-ai": {"half": options.half or None},
    }
    flags = {"legacy_levels": "all-stages"}
    for system, values in options_by_system.items():
        for name, value in values.items():
            if value is not None and system != options.system and options.system in options_by_system:
                flag = flags.get(name, name.replace("_", "-"))
                raise InputError(f"--{flag} is for checkpoints of '{system}'.", "Leave it out.", code="value-conflict")
    return {name: value for name, value in options_by_system.get(options.system, {}).items() if value is not None}


def _path(text: str | None) -> Path | None:
    return None if text is None else Path(text)


def _shown(name: str, value: object) -> str:
    return f"{value / 2**20:.2f} MiB" if name == "size" and isinstance(value, int) else str(value)
