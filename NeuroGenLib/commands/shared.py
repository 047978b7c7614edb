"""Parts that commands of all capabilities share: training, output places, notes and closing lines."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from NeuroGenLib.commands.options import add_device_option, add_report_options, print_json
from NeuroGenLib.core.config_command_line import add_options, options_of, parse_config
from NeuroGenLib.core.errors import InputError, NeuroGenError
from NeuroGenLib.core.files import require_folder_place
from NeuroGenLib.core.folder_lock import LOCK, locked_folder
from NeuroGenLib.core.job import OutputFolder, current_job
from NeuroGenLib.core.progress import TerminalProgress
from NeuroGenLib.core.provenance import RECORD, RESEARCH_USE, recorded_outputs
from NeuroGenLib.core.reports import PictureConfig
from NeuroGenLib.spatial.files.reading import ReadingConfig, use_reading

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from NeuroGenLib.core.arguments import ArgumentParser
    from NeuroGenLib.core.config import Config
    from NeuroGenLib.core.progress import Progress

MOST_NOTES = 4
"""Warnings that are printed; all of them are in provenance.json."""


def add_model_option(parser: ArgumentParser, default: str) -> None:
    """Add ``--model``."""
    parser.add_argument(
        "--model", default=default, metavar="M", help=f"a folder, bundled:NAME or hf:org/repo@rev (default: {default})"
    )


def add_scene_option(parser: ArgumentParser) -> None:
    """Add ``--scene``."""
    parser.add_argument(
        "--scene", metavar="FILE", help="also everything as a scene for 3D Slicer, NAME.mrb (needs slicer-core)"
    )


def add_reading_options(parser: ArgumentParser) -> None:
    """Add ``--geometry``, ``--series`` and ``--any-size``; :func:`use_reading_options` puts them into effect."""
    add_options(parser.add_argument_group("how image files are read"), ReadingConfig)


def use_reading_options(options: Namespace, progress: Progress) -> None:
    """Read files as the options say until the command ends, and print warnings of readers on stderr."""

    def show(text: str) -> None:
        progress.close()
        print(f"Note: {text}", file=sys.stderr, flush=True)

    use_reading(options_of(options, ReadingConfig), show)


def add_run_options(parser: ArgumentParser, *, continues: bool = False) -> None:
    """Add the options that every job on images has: ``--out``, ``--device``, of pictures, files and the report.

    ``continues`` says that the job adds to what is in its folder, so that there is no ``--overwrite``.
    """
    if continues:
        parser.add_argument("--out", required=True, metavar="DIR", help="folder to write into, or to go on in")
    else:
        add_out_option(parser)
    add_options(parser, PictureConfig)
    add_device_option(parser)
    add_reading_options(parser)
    add_report_options(parser)


def run_training(config: type[Config], arguments: Sequence[str], program: str, description: str) -> None:
    """Read the settings, train, say where the model is.

    Parameters
    ----------
    config:
        The settings; the module ``train`` beside theirs has a function of that name.
    arguments, program, description:
        As for :func:`NeuroGenLib.core.config_command_line.parse_config`.
    """
    settings = parse_config(config, arguments, program, description)
    package = config.__module__.rpartition(".")[0]
    train = import_module(f"{package}.train").train  # slow to import: --help does without
    progress = TerminalProgress()
    with notes_on_stderr(progress, package):
        path = train(settings, progress)
    progress.close()
    if path is not None:
        print(f"The model is in {path}")


def add_out_option(parser: ArgumentParser, default: str | None = None) -> None:
    """Add ``--out`` and ``--overwrite`` for a folder, which is required unless it has a default."""
    shown = "" if default is None else f" (default: {default})"
    parser.add_argument(
        "--out", default=default, required=default is None, metavar="DIR", help=f"folder to write into{shown}"
    )
    add_overwrite_option(parser)


def add_overwrite_option(parser: ArgumentParser) -> None:
    """Add ``--overwrite``."""
    parser.add_argument(
        "--overwrite", action="store_true", help="replace an earlier result in the folder, with all its files"
    )


def out_folder(text: str, names: Sequence[str] = (), *, overwrite: bool = False, continues: bool = False) -> Path:
    """Return the folder to write into, which no other command can write into until the job ends.

    Ask this before the inputs are read.

    Parameters
    ----------
    text:
        Of ``--out``.
    names:
        Files that the command writes there, with ``*`` for any letters, besides its record: an input of such a name
        is then refused when it is read, before the work.
    overwrite:
        Whether an earlier result there is replaced: the files that its record lists are removed when the new result is
        complete.
    continues:
        Whether the command adds to an earlier result there, such as a cohort that is done in part.

    Raises
    ------
    InputError
        When it is a file, inside one, holds an earlier result that is to be kept, or another command writes there.
    NeuroGenError
        When it may not be written into.
    """
    folder = Path(text)
    require_folder_place(folder)
    job = current_job()
    if job is not None:
        job.until_end.enter_context(locked_folder(folder))
    there = (folder / RECORD).exists() and not continues
    if there and not overwrite:
        raise InputError(
            f"{folder} holds an earlier result, described by its {RECORD}.",
            "Choose another folder, or give --overwrite to replace that result.",
            code="file-occupied",
        )
    if job is not None:
        earlier = tuple(recorded_outputs(folder)) if there else ()
        job.write_into(OutputFolder(folder, earlier, continues), (*names, RECORD))
    return folder


def scene_path(text: str | None) -> Path | None:
    """Return where the scene shall lie, None where none is asked for; ask this before the work.

    Raises
    ------
    InputError
        When this is not a name for a scene, or lies inside a file.
    NeuroGenError
        When its folder may not be written into.
    SlicerMissing
        When Slicer's libraries are not installed.
    """
    if text is None:
        return None
    path = Path(text)
    if path.suffix.lower() != ".mrb":
        raise InputError(f"'{text}' is not the name of a scene.", "Let it end in .mrb.", code="file-type")
    if path.is_dir():
        raise InputError(
            f"{path} is a folder, not a scene.", "Choose another name for the scene.", code="file-unwritable"
        )
    require_folder_place(path.parent)
    import NeuroGenLib.mrml.core  # noqa: F401 (says what is missing)

    return path


@contextmanager
def notes_on_stderr(progress: Progress, package: str) -> Iterator[None]:
    """Print what the code of a package notes, warnings and plain facts alike, as lines on stderr.

    Parameters
    ----------
    progress:
        Its bar ends before them.
    package:
        Such as ``NeuroGenLib.atlas``.
    """
    import logging

    class Lines(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            progress.close()
            print(record.getMessage(), file=sys.stderr, flush=True)

    logger = logging.getLogger(package)
    handler, level = Lines(logging.INFO), logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


def require_all(failed: Mapping[str, str], total: int, done: str, remedy: str, *, as_json: bool) -> None:
    """End a command that worked on many items: print why some failed, and exit with 1 for those.

    Parameters
    ----------
    failed:
        Reasons by the names of the items.
    total:
        How many items there were.
    done:
        What was to be done, for messages: ``"scans could not be masked"``.
    remedy:
        What the person can do.
    as_json:
        The reasons were printed as JSON.

    Raises
    ------
    NeuroGenError
        When an item failed.
    """
    if not failed:
        return
    if not as_json:
        width = max(map(len, failed))
        for name, reason in failed.items():
            print(f"  {name.ljust(width)}  failed: {reason}")
    raise NeuroGenError(f"{len(failed)} of {total} {done}; the others are done.", remedy, code="items-failed")


def print_written(
    out: str | Path | None,
    files: Iterable[str | Path],
    started: float,
    *,
    warnings: Iterable[str] = (),
    notice: str = "",
    **facts: Any,
) -> None:
    """Print the line of JSON of a command that writes files, the same for all of them.

    Parameters
    ----------
    out:
        What was asked for as ``--out``; None where nothing is written.
    files:
        All files that were written.
    started:
        ``time.monotonic()`` when the work began.
    warnings:
        What a person should know about the result; those about the inputs are added.
    notice:
        What every result of the model must say; that it is for research use only is added.
    facts:
        What this command alone tells.

    Examples
    --------
    >>> print_written("brain", ["brain/image.nii.gz"], time.monotonic(), dice=0.9)
    {"out": "brain", "written": ["brain/image.nii.gz"], "warnings": [], ... "seconds": 0.0, "dice": 0.9}
    """
    job = current_job()
    print_json(
        {
            "out": None if out is None else str(out),
            "written": [str(file) for file in files],
            "warnings": list(dict.fromkeys([*([] if job is None else job.warnings), *warnings])),
            "notice": f"{notice} {RESEARCH_USE}".strip(),
            "seconds": round(time.monotonic() - started, 2),
            **facts,
        }
    )


def files_below(folder: Path) -> list[Path]:
    """Return all files of a folder and of the folders in it, but for the lock of a running command."""
    return sorted(file for file in folder.rglob("*") if file.is_file() and file.name != LOCK)


def print_files(files: Sequence[Path], folder: Path) -> None:
    """Print files, those of ``folder`` by their place in it."""
    for file in files:
        print(f"  {file.relative_to(folder) if file.is_relative_to(folder) else file}")


def print_result(folder: Path, files: Sequence[Path], seconds: float, warnings: Sequence[str], notice: str) -> None:
    """Print what a person should know about a result, where it is, and what it is for."""
    for text in warnings[:MOST_NOTES]:
        print(f"Note: {text}")
    if len(warnings) > MOST_NOTES:
        print(f"... and {len(warnings) - MOST_NOTES} more such notes, all in provenance.json.")
    print(f"Written in {seconds:.1f} s to {folder}:")
    print_files(files, folder)
    print(f"{notice} {RESEARCH_USE}".strip())
