"""`neurogen cite`: the papers behind models and results."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from NeuroGenLib.commands.options import add_json_option, make_parser, print_json
from NeuroGenLib.core.errors import InputError
from NeuroGenLib.core.files import read_json
from NeuroGenLib.core.provenance import RECORD
from NeuroGenLib.models import bundled_models
from NeuroGenLib.models.catalogue import model_info
from NeuroGenLib.models.citation import SOFTWARE, bibtex, cited_in
from NeuroGenLib.models.folder import MANIFEST
from NeuroGenLib.models.reference import BUNDLED


@dataclass(frozen=True)
class Cited:
    """A model or a result, and what to cite for it."""

    name: str
    citation: list[str]


def cite(arguments: list[str]) -> None:
    """`neurogen cite`."""
    parser = make_parser(
        "cite",
        "Print what to cite: the software, and the papers and data sets behind models or results. Of a result it\n"
        "reads the record beside it (provenance.json).",
        (
            "neurogen cite                        # the bundled models",
            "neurogen cite brain                  # a folder with results",
            "neurogen cite brain_mask.nii.gz      # a single file with its record beside it",
            "neurogen cite bundled:registration registered --bibtex",
        ),
    )
    parser.add_argument(
        "items",
        nargs="*",
        metavar="MODEL|RESULT",
        help="models (see 'neurogen models list'), folders with results, their files or records (default: the"
        " bundled models)",
    )
    kinds = parser.add_mutually_exclusive_group()
    kinds.add_argument("--bibtex", action="store_true", help="print BibTeX")
    add_json_option(kinds)
    options = parser.parse(arguments)

    cited = [cited_of(item) for item in options.items or (f"{BUNDLED}{name}" for name in bundled_models())]
    if options.json:
        print_json({"software": SOFTWARE, "cited": [vars(item) for item in cited]})
    elif options.bibtex:
        print(bibtex(entry for item in cited for entry in item.citation))
    else:
        print(SOFTWARE)
        for item in cited:
            print(f"\n{item.name}")
            for entry in item.citation or ["It names no paper."]:
                print(f"- {entry}")


def cited_of(item: str) -> Cited:
    """Return what to cite for a model or a result.

    Raises
    ------
    InputError
        When it is neither, or a file or folder without a record.
    NeuroGenError
        When it is a model on the hub that is not in the cache.
    """
    path = Path(item)
    if not path.exists() or (path / MANIFEST).is_file():
        return Cited(item, _model_citation(item))
    records = _records(path)
    if not records:
        raise InputError(
            f"{path} has no record of how it was made ({RECORD}).",
            "Give a model, a folder that a NeuroGen command wrote, or a file in one.",
            code="file-missing",
        )
    return Cited(item, list(dict.fromkeys(entry for record in records for entry in cited_in(read_json(record)))))


def _model_citation(item: str) -> list[str]:
    try:
        return list(model_info(item)["citation"])
    except InputError as error:
        if error.code != "model-missing":
            raise
        raise InputError(f"'{item}' is neither a model nor a result.", error.remedy, code=error.code) from error


def _records(path: Path) -> list[Path]:
    """Return the records of a folder and of the folders in it, a file's own, or that of the folder it is in."""
    if path.is_dir():
        return sorted([*path.glob(f"*{RECORD}"), *path.glob(f"*/*{RECORD}")])
    if path.suffix == ".json":
        return [path]
    beside = (path.with_name(f"{path.name.partition('.')[0]}_{RECORD}"), path.with_name(RECORD))
    return [record for record in beside if record.is_file()][:1]
