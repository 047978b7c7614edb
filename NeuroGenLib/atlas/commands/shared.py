"""What the atlas commands share: the model they open, the scene they add, and how they say what was written."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from NeuroGenLib.options import print_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

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


def out_folder(text: str) -> Path:
    """Return the folder to write into; ask this before the work.

    Raises
    ------
    InputError
        When it is a file, or inside one.
    NeuroGenError
        When it may not be written into.
    """
    from NeuroGenLib.files import require_folder_place

    folder = Path(text)
    require_folder_place(folder)
    return folder


def add_scene_option(parser: Any) -> None:
    """Add ``--scene``."""
    parser.add_argument(
        "--scene", metavar="FILE", help="also everything as a scene for 3D Slicer, NAME.mrb (needs slicer-core)"
    )


def scene_path(text: str | None) -> Path | None:
    """Return where the scene shall lie, None where none is asked for; ask this before the work.

    Raises
    ------
    InputError
        When this is no name for a scene, or lies inside a file.
    NeuroGenError
        When its folder may not be written into.
    SlicerMissing
        When Slicer's libraries are not installed.
    """
    from NeuroGenLib.errors import InputError

    if text is None:
        return None
    path = Path(text)
    if path.suffix.lower() != ".mrb":
        raise InputError(f"'{text}' is not the name of a scene.", "Let it end in .mrb.")
    if path.is_dir():
        raise InputError(f"{path} is a folder, not a scene.", "Choose another name for the scene.")
    out_folder(str(path.parent))
    import NeuroGenLib.mrml.core  # noqa: F401 (says what is missing)

    return path


def print_files(files: Sequence[Path], folder: Path) -> None:
    """Print files, those of ``folder`` by their place in it."""
    for file in files:
        print(f"  {file.relative_to(folder) if file.is_relative_to(folder) else file}")


@contextmanager
def notes_on_stderr(progress: Progress) -> Iterator[None]:
    """Print what the atlas's code notes, warnings and plain facts alike, as lines on stderr; a bar ends before them."""
    import logging

    from NeuroGenLib.progress import TerminalProgress

    class Lines(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if isinstance(progress, TerminalProgress):
                progress.close()
            print(record.getMessage(), file=sys.stderr, flush=True)

    logger = logging.getLogger("NeuroGenLib.atlas")
    handler, level = Lines(logging.INFO), logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


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
    print_files(written.files, written.folder)
    print(f"{model.notice} {RESEARCH_USE}".strip())
