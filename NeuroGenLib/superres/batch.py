"""Super-resolution of a cohort: a folder per case, finished cases are kept, failed ones do not stop the others."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from NeuroGenLib.cohort.subjects import Cohort, read_table
from NeuroGenLib.core.batch import work_on_each
from NeuroGenLib.core.config import to_mapping
from NeuroGenLib.core.errors import InputError, nearest
from NeuroGenLib.core.files import read_json, staged_outputs, write_json
from NeuroGenLib.core.job import note_input
from NeuroGenLib.core.progress import SILENT, Progress
from NeuroGenLib.core.provenance import RECORD
from NeuroGenLib.core.reports import PICTURE, PictureConfig, one_line, write_table
from NeuroGenLib.spatial.files.reading import reading
from NeuroGenLib.spatial.volume import Volume
from NeuroGenLib.superres.output import IMAGE, superres_result, write_superres
from NeuroGenLib.superres.stacks.preprocessing import AlreadyIsotropic
from NeuroGenLib.superres.stacks.slice_thickness import recorded_thickness
from NeuroGenLib.version import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from NeuroGenLib.superres.infer import SuperresModel
    from NeuroGenLib.superres.run_config import SuperresConfig

SUMMARY = "summary.tsv"
MISSING = "n/a"
_SCHEMA = 1

SummaryRow = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """The scans of one visit of one person.

    Attributes
    ----------
    name:
        Of its folder.
    scans:
        In thick slices, the first one's world is that of the result.
    guide:
        Of the same head, or None.
    """

    name: str
    scans: tuple[Path, ...]
    guide: Path | None = None

    def fingerprint(self, what: Mapping[str, Any]) -> str:
        """Return 24 hexadecimal digits that change with a file, with which are given, or ``what`` (JSON)."""
        files = [None if path is None else _facts(path) for path in (*self.scans, self.guide)]
        content = json.dumps({"files": files, **what}, sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:24]


@dataclass(frozen=True)
class CohortResult:
    """Result of a cohort.

    Attributes
    ----------
    rows:
        One a case: ``case``, ``status`` (done, kept, isotropic or failed), numbers and remarks.
    written:
        Files of this call.
    """

    rows: list[SummaryRow]
    written: list[Path] = field(default_factory=list)

    @property
    def failed(self) -> list[SummaryRow]:
        """The rows of cases that could not be done."""
        return [row for row in self.rows if row["status"] == "failed"]


def read_cases(source: Path, scans: Sequence[str], guide: str | None = None) -> list[Case]:
    """Read the cases of a table or of a BIDS folder.

    Parameters
    ----------
    source:
        A table (tsv or csv) with the columns ``participant_id``, if need be ``session_id``, and those named here; or a
        folder whose files end in these names, as ``sub-01_T2w.nii.gz``.
    scans:
        Columns, or endings, of the scans: the first one every case has, further ones those that have them.
    guide:
        Of the guide, which a case may lack; ``T1w`` when not given, if there is one.

    Raises
    ------
    InputError
        When the source or a named column is missing, no case has the first, or two cases have one name.
    """
    first = _by_case(source, scans[0])
    further = [_by_case(source, name) for name in scans[1:]]
    guides = _by_case(source, guide) if guide is not None else _guides_there_are(source)
    return [
        Case(name, (path, *(scan_paths[name] for scan_paths in further if name in scan_paths)), guides.get(name))
        for name, path in first.items()
    ]


def run_batch(
    model: SuperresModel,
    cases: Sequence[Case],
    out: Path,
    settings: SuperresConfig,
    progress: Progress = SILENT,
    picture: PictureConfig = PICTURE,
) -> CohortResult:
    """Super-resolve every case into a folder of its name, and write ``summary.tsv``.

    A case whose folder holds the result of the same files, model and settings is kept as it is. One that fails becomes
    a row with its reason, and is tried again by the next call.

    Parameters
    ----------
    model, settings:
        What does it, and how.
    cases:
        See :func:`read_cases`.
    out:
        Folder of the results.
    progress:
        Progress callback; when cancelled, finished cases stay.
    picture:
        Format and resolution of the figures; those of cases that are kept stay as they are.

    Raises
    ------
    InputError, NeuroGenError
        When nothing could be done: the first case's reason. When the folder cannot be written.
    Cancelled
        When ``progress`` was cancelled.
    """
    what = {
        "schema": _SCHEMA,
        "version": __version__,
        "model": model.folder.manifest["files"],
        "reading": to_mapping(reading()),
    }
    for path in (path for case in cases for path in (*case.scans, case.guide) if path is not None):
        note_input(path, recorded=False)  # no result of an earlier case may replace it

    def work(case: Case, part: Progress) -> tuple[SummaryRow, list[Path]]:
        try:
            return _done(model, case, out / case.name, settings, what, part, picture)
        except AlreadyIsotropic as nothing:
            return _row(case, "isotropic", remarks=nothing.problem), []

    outcomes = work_on_each(cases, work, lambda case: case.name, "super-resolved", progress)
    results = [outcome.output or (_row(outcome.item, "failed", remarks=outcome.reason), []) for outcome in outcomes]
    rows = [row for row, _ in results]
    with staged_outputs(out) as staging:
        write_table(staging / SUMMARY, rows)
        write_json(staging / RECORD, model.provenance("superres batch", to_mapping(settings), cases=len(cases)))
    return CohortResult(rows, [*(file for _, files in results for file in files), out / SUMMARY, out / RECORD])


def _done(
    model: SuperresModel,
    case: Case,
    folder: Path,
    settings: SuperresConfig,
    what: Mapping[str, Any],
    progress: Progress,
    picture: PictureConfig,
) -> tuple[SummaryRow, list[Path]]:
    settings = replace(settings, recorded=tuple(recorded_thickness(path) for path in case.scans))
    mark = case.fingerprint({**what, "settings": to_mapping(settings)})
    if _mark_of(folder) == mark:
        return _row(case, "kept", read_json(folder / "quality.json")), []
    scans = [Volume.load(path) for path in case.scans]
    guide = None if case.guide is None or model.guide == "none" else Volume.load(case.guide)
    super_resolution = model.super_resolve(scans, guide=guide, settings=settings, progress=progress)
    inputs = {"scan": [str(path) for path in case.scans], "guide": None if case.guide is None else str(case.guide)}
    result = superres_result(model, super_resolution, {**inputs, **to_mapping(settings)}, case=mark)
    files = write_superres(result, scans[0], folder, picture)
    return _row(case, "done", super_resolution.quality.to_mapping(), " ".join(super_resolution.warnings)), files


def _mark_of(folder: Path) -> str | None:
    """Return the fingerprint of the finished result in a folder, None where there is none."""
    if not all((folder / name).is_file() for name in (IMAGE, RECORD, "quality.json")):
        return None
    try:
        record = read_json(folder / RECORD)
    except InputError:
        return None
    return record.get("case") if isinstance(record, dict) else None


def _row(case: Case, status: str, quality: Mapping[str, Any] | None = None, remarks: str = "") -> SummaryRow:
    stack = quality["stacks"][0] if quality else {}
    guide = (quality or {}).get("guide") or {}
    if quality and not remarks:
        remarks = " ".join(quality.get("warnings", ()))
    return {
        "case": case.name,
        "status": status,
        "scans": len(case.scans),
        "direction": stack.get("direction", MISSING),
        "thickness_mm": stack.get("thickness_mm", MISSING),
        "spacing_mm": quality["spacing_mm"] if quality else MISSING,
        "residual_percent": stack.get("percent", MISSING),
        "guide_likeness": guide.get("likeness") or MISSING,
        "remarks": one_line(remarks) or MISSING,
    }


def _guides_there_are(source: Path) -> dict[str, Path]:
    if not source.is_dir() and "T1w" not in read_table(source)[0]:
        return {}
    try:
        return _by_case(source, "T1w")
    except InputError:  # no case has one
        return {}


def _by_case(source: Path, name: str) -> dict[str, Path]:
    """Return the files of one column or ending, by case."""
    if source.is_dir():
        cohort = Cohort.from_folder(source, [name])
    else:
        columns, _ = read_table(source)
        if name not in columns:
            raise InputError(f"There is no column '{name}' in {source}.", nearest(name, columns), code="name-unknown")
        cohort = Cohort.from_table(source, [name])
    return {_folder_name(subject.key): subject.paths[name] for subject in cohort}


def _folder_name(key: str) -> str:
    """Return a case's name as every system takes it for a folder."""
    if not key.strip(" .") or any(sign in '\\/:*?"<>|' or ord(sign) < 32 for sign in key):
        raise InputError(f"'{key}' is not a valid folder name.", "Correct the id in the table.", code="path-unsafe")
    return key


def _facts(path: Path) -> list[object]:
    try:
        facts = path.stat()
    except OSError as error:
        missing = isinstance(error, FileNotFoundError)
        raise InputError(
            f"The file {path} {'does not exist' if missing else f'cannot be read: {error.strerror}'}.",
            "Correct the table.",
            code="file-missing",
        ) from error
    return [path.name, facts.st_size, facts.st_mtime_ns]
