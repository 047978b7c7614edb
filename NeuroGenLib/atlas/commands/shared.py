"""What the atlas commands share: the model they open, and how they say what was written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from NeuroGenLib.options import print_json

if TYPE_CHECKING:
    from NeuroGenLib.atlas.infer import AtlasModel
    from NeuroGenLib.atlas.output import Written
    from NeuroGenLib.progress import Progress

BUNDLED = "bundled:fetal-sba"
MOST_NOTES = 4


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


def report_written(model: AtlasModel, written: Written, progress: Progress, *, as_json: bool) -> None:
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
