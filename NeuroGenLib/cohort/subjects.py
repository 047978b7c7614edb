"""A cohort: subjects with their image files and table values, and how subjects are chosen from it."""

from __future__ import annotations

import fnmatch
import itertools
import logging
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np

from NeuroGenLib.cohort.tables import MISSING, AnyPath, age_unit, few, read_splits, read_table, repeated
from NeuroGenLib.core.config import Config, Help, Range
from NeuroGenLib.core.errors import InputError, nearest
from NeuroGenLib.core.files import files_in

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "BinaryConstraint",
    "CategoricConstraint",
    "Cohort",
    "Constraint",
    "Distribution",
    "NumericConstraint",
    "Subject",
    "age_unit",
    "draw",
    "read_splits",
    "read_table",
    "uniform_fillup",
]

log = logging.getLogger(__name__)

IMAGE_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd")
ID_COLUMNS = ("participant_id", "subject_id")
_NUMBER = re.compile(r"[-+]?(?:(?:0|[1-9]\d*)(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?")
_TRUTH = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}

Names = Sequence[str] | None
OnMissing = Literal["drop", "error"]


@dataclass(frozen=True)
class Distribution(Config):
    """How the chosen subjects spread over a numeric column: evenly over equal-width bins, as far as there are any."""

    priority: Annotated[int, Help("The column with the highest priority is spread first")] = 0
    bins: Annotated[int | None, Range(1), Help("Number of bins; without it one per unit of the column")] = None
    type: Literal["uniform_fillup"] = "uniform_fillup"


@dataclass(frozen=True)
class NumericConstraint(Config):
    """Keeps subjects with ``min <= value <= max`` (an end that is ``None`` is open); a missing value does not pass."""

    min: float | None = None
    max: float | None = None
    distribution: Distribution | None = None
    type: Literal["numeric"] = "numeric"

    def check(self) -> None:
        """Refuse ends in the wrong order, and a distribution over an open range."""
        if self.min is not None and self.max is not None and self.min > self.max:
            raise InputError(f"min {self.min:g} is above max {self.max:g}.", "Swap them.", code="value-invalid")
        if self.distribution is not None and (self.min is None or self.max is None):
            raise InputError("A distribution needs a closed range.", "Give min and max.", code="value-missing")

    def refusal(self, value: float | str, named: str) -> str:
        """Return why ``value`` does not pass, or nothing."""
        number = _as_number(value, named)
        low, high = -math.inf if self.min is None else self.min, math.inf if self.max is None else self.max
        return "" if low <= number <= high else f"{number:g} lies outside {low:g} to {high:g}"


@dataclass(frozen=True)
class CategoricConstraint(Config):
    """Keeps subjects whose value is one of ``values``; a missing value does not pass."""

    values: tuple[float | str, ...]
    type: Literal["categoric"] = "categoric"

    def refusal(self, value: float | str, named: str) -> str:  # noqa: ARG002 (one signature for all constraints)
        """Return why ``value`` does not pass, or nothing."""
        allowed = [_as_value(known) if isinstance(known, str) else known for known in self.values]
        return "" if value in allowed else f"{value} is none of {', '.join(map(str, self.values))}"


@dataclass(frozen=True)
class BinaryConstraint(Config):
    """Keeps subjects whose 0/1, true/false or yes/no equals ``value``; a missing value does not pass."""

    value: bool
    type: Literal["binary"] = "binary"

    def refusal(self, value: float | str, named: str) -> str:
        """Return why ``value`` does not pass, or nothing."""
        text = f"{value:g}" if isinstance(value, float) else value.lower()
        if text not in _TRUTH:
            raise InputError(
                f"{named} is '{value}', which is neither yes nor no.",
                "Write 0/1, true/false or yes/no.",
                code="table-invalid",
            )
        return "" if _TRUTH[text] == self.value else f"is {value}"


Constraint = NumericConstraint | CategoricConstraint | BinaryConstraint


@dataclass(frozen=True)
class Subject:
    """One scan of one person.

    ``id`` is the person (text, leading zeros kept), ``paths`` the image file of each modality, ``session`` the visit,
    ``values`` the table's other columns: numbers as ``float``, else text; missing cells are absent.
    """

    id: str
    paths: dict[str, Path]
    session: str | None = None
    values: dict[str, float | str] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """The id, with the session when there is one and the id does not end in it: ``sub-01_ses-2``."""
        named = self.session is None or self.id.endswith(f"_ses-{_bare(self.session)}")
        return self.id if named else f"{self.id}_{self.session}"


@dataclass(frozen=True)
class Cohort:
    """Subjects in a fixed order, all with the same modalities.

    ``columns`` names the table's other columns, ``left_out`` holds the excluded subjects, with the reason.
    A step that leaves no subject is an ``InputError`` that names the step.
    """

    subjects: tuple[Subject, ...]
    modalities: tuple[str, ...]
    name: str = "cohort"
    columns: tuple[str, ...] = ()
    left_out: tuple[tuple[Subject, str], ...] = ()

    def __len__(self) -> int:
        return len(self.subjects)

    def __iter__(self) -> Iterator[Subject]:
        return iter(self.subjects)

    @property
    def ids(self) -> tuple[str, ...]:
        """The subjects' ids, in order; an id with several sessions stands there several times."""
        return tuple(subject.id for subject in self.subjects)

    @classmethod
    def from_table(
        cls, path: AnyPath, modalities: Names = None, *, root: AnyPath | None = None, on_missing: OnMissing = "drop"
    ) -> Cohort:
        """Read a table with one row per scan, as :func:`read_table` does.

        Ids stand in ``participant_id`` or ``subject_id``, sessions in ``session_id``, image files in one column per
        modality; or the files of a single modality stand in ``path`` (the id may then be the file's stem).

        Parameters
        ----------
        modalities:
            The columns with image files (for ``path``: what to call it); without it, all that hold nothing else.
        root:
            The folder that relative file names start from; without it, the table's folder.
        on_missing:
            ``drop`` leaves rows without a file name in a modality out and logs them, ``error`` refuses the table.

        Raises
        ------
        InputError
            When a column is not there, an id stands there twice in one session, or no row is complete.
        """
        columns, rows = read_table(path)
        single = ""
        if "path" in columns and (not modalities or (len(modalities) == 1 and modalities[0] not in columns)):
            single = modalities[0] if modalities else "image"
            columns = [single if column == "path" else column for column in columns]
            rows = [{**row, single: row["path"]} for row in rows]
        names = tuple(modalities or [c for c in columns if _holds_images(row[c] for row in rows)])
        for column in names:
            _require(column, columns, str(path))
        if not names:
            raise InputError(
                f"No column of {path} holds image files.",
                "Name the columns that do as modalities.",
                code="table-invalid",
            )
        id_column = next((column for column in ID_COLUMNS if column in columns), None)
        if not id_column and not single:
            raise InputError(
                f"{path} has no column participant_id or subject_id.",
                "Add one with the subjects' ids.",
                code="table-invalid",
            )
        folder = Path(path).parent if root is None else Path(root)
        value_columns = tuple(c for c in columns if c not in (*names, id_column, "session_id"))
        subjects = []
        for number, row in enumerate(rows, start=1):
            paths = {column: folder / row[column] for column in names if row[column] not in MISSING}
            identity = row[id_column] if id_column else "".join(_stem(file) for file in paths.values())
            if identity in MISSING:
                raise InputError(
                    f"Row {number} of {path} has no subject id.", "Fill it in or delete the row.", code="table-invalid"
                )
            session = row.get("session_id", "")
            subjects.append(
                Subject(identity, paths, None if session in MISSING else session, row_values(row, value_columns))
            )
        return _complete(subjects, names, value_columns, on_missing, Path(path).stem)

    @classmethod
    def from_folder(
        cls, folder: AnyPath, modalities: Names = None, *, pattern: str = "*", on_missing: OnMissing = "drop"
    ) -> Cohort:
        """Collect the images of a BIDS-like tree, or of a flat folder.

        In a tree (``sub-*/[ses-*/]anat/*_T2w.nii.gz``) the modality is how the file's stem ends, after an underscore:
        ``T2w``, ``dseg``, ``rec-mial_T2w``. In a flat folder the id is the stem, less ``_<modality>`` when
        modalities are given. ``participants.tsv`` and ``sub-*_sessions.tsv`` are joined when they are there.

        Parameters
        ----------
        modalities:
            What to take; without it, all that every scan of the tree has, or ``image`` in a flat folder.
        pattern:
            Only files whose name matches are taken, such as ``*rec-mial*``.
        on_missing:
            ``drop`` leaves scans without one of the modalities out and logs them, ``error`` refuses them.

        Raises
        ------
        InputError
            When the folder is not there, holds no such image, or has two files for one modality of a scan.
        """
        folder = Path(folder)
        if not folder.is_dir():
            raise InputError(f"The folder {folder} does not exist.", "Check the name.", code="file-missing")
        people = sorted(person for person in folder.glob("sub-*") if person.is_dir())
        images_by_scan = _images_by_scan(folder, people, modalities, pattern)
        if not images_by_scan:
            raise InputError(
                f"{folder} holds no images of subjects" + (f" that match '{pattern}'." if pattern != "*" else "."),
                "Give a BIDS folder (sub-01/anat/sub-01_T2w.nii.gz), a folder of images, or a table.",
                code="file-missing",
            )
        names = tuple(modalities or _common(images_by_scan, folder))
        tables = [folder / "participants.tsv", *(person / f"{person.name}_sessions.tsv" for person in people)]
        columns, values = _joined_values([table for table in tables if table.is_file()])
        subjects = []
        for (identity, session), images in images_by_scan.items():
            paths = {modality: images[modality] for modality in names if modality in images}
            row = values.get((_bare(identity), ""), {}) | values.get((_bare(identity), _bare(session or "")), {})
            subjects.append(Subject(identity, paths, session, row))
        return _complete(subjects, names, columns, on_missing, folder.name)

    def select(self, ids: Iterable[str]) -> Cohort:
        """Keep the subjects with these ids (or ``id_session``), in the cohort's order.

        An unknown id is an ``InputError``; ids that an earlier step excluded are only logged.
        """
        selected = set(ids)
        known = {name for subject in self.subjects for name in (subject.id, subject.key)}
        reasons = {name: reason for subject, reason in self.left_out for name in (subject.id, subject.key)}
        for name in sorted(selected - known):
            if name not in reasons:
                raise InputError(
                    f"There is no subject '{name}' in {self.name}.", nearest(name, known), code="name-unknown"
                )
            log.warning("%s was excluded before: %s", name, reasons[name])
        return self._keep([s for s in self.subjects if {s.id, s.key} & selected], "the selection by id")

    def constrain(self, constraints: Mapping[str, Constraint]) -> Cohort:
        """Keep the subjects that pass every constraint, given by column.

        A missing column, or a value that the constraint cannot judge, is an ``InputError``.
        """
        cohort = self
        for column, constraint in constraints.items():
            _require(column, self.columns, self.name)
            judged = [(subject, _refusal(subject, column, constraint)) for subject in cohort]
            out = [(subject, f"{column} {reason}") for subject, reason in judged if reason]
            kept = [subject for subject, reason in judged if not reason]
            cohort = cohort._keep(kept, f"the constraint on {column}", out)
        return cohort

    def column(self, name: str) -> NDArray[np.float64]:
        """Return a numeric column, one float per subject, in order.

        A missing column, or a value that is missing or no number, is an ``InputError``.
        """
        _require(name, self.columns, self.name)
        return np.array([_as_number(s.values.get(name), f"The {name} of {s.key}") for s in self.subjects], dtype=float)

    def require_files(self) -> None:
        """Raise ``InputError`` with the number of missing image files and the first five, if there are any."""
        files = [path for subject in self.subjects for path in subject.paths.values()]
        absent = [str(path) for path in files if not path.is_file()]
        if absent:
            problem = f"{len(absent)} of {len(files)} image files of {self.name} are missing: {few(absent)}."
            raise InputError(
                problem, "Correct the table, or give the root folder of its file names.", code="file-missing"
            )

    def split(
        self, fractions: Mapping[str, float], seed: int, *, stratify: str | None = None, strata: int = 4
    ) -> dict[str, Cohort]:
        """Deal the subjects out at random; all sessions of a person stay together.

        ``fractions`` are the shares of the people, such as ``{"train": 0.8, "val": 0.2}``. ``stratify`` names a numeric
        column whose quantile groups (``strata`` of them, by a person's mean) are spread evenly over the splits.
        Fractions that do not sum to 1, and a split without anybody, are an ``InputError``.
        """
        if not fractions or min(fractions.values()) <= 0 or abs(sum(fractions.values()) - 1) > 1e-6:
            raise InputError(
                f"The fractions {dict(fractions)} do not sum to 1.",
                "Give positive fractions that do.",
                code="value-invalid",
            )
        people = list(dict.fromkeys(self.ids))
        order = np.random.default_rng(seed).permutation(len(people))
        if stratify is not None:
            values, owners = self.column(stratify), np.array(self.ids)
            means = np.array([values[owners == person].mean() for person in people])
            groups = np.argsort(np.argsort(means, kind="stable")) * strata // len(people)
            order = order[np.argsort(groups[order], kind="stable")]
        dealt: dict[str, set[str]] = {name: set() for name in fractions}
        for turn, index in enumerate(order, start=1):
            behind = max(fractions, key=lambda name: fractions[name] * turn - len(dealt[name]))
            dealt[behind].add(people[index])
        return {name: self._keep([s for s in self if s.id in who], f"split '{name}'") for name, who in dealt.items()}

    def describe(self) -> str:
        """Return a summary: how many subjects, which modalities, the range of each numeric column."""
        people = len(set(self.ids))
        scans = f" in {len(self)} sessions" if people != len(self) else ""
        lines = [f"{self.name}: {people} subjects{scans}", f"modalities: {', '.join(self.modalities)}"]
        for column in self.columns:
            values = [subject.values[column] for subject in self.subjects if column in subject.values]
            numbers = [value for value in values if isinstance(value, float)]
            numeric = values and len(numbers) == len(values)
            what = f"{min(numbers):g} to {max(numbers):g}" if numeric else f"{len(set(values))} different values"
            absent = f", {len(self) - len(values)} missing" if len(values) < len(self) else ""
            lines.append(f"{column}: {what}{absent}")
        return "\n".join(lines)

    def _keep(self, subjects: Sequence[Subject], step: str, left_out: Sequence[tuple[Subject, str]] = ()) -> Cohort:
        shown = few([f"{subject.key} ({reason})" for subject, reason in left_out])
        if not subjects:
            why = f": {shown}" if left_out else ""
            raise InputError(
                f"No subject of {self.name} is left after {step}{why}.",
                "Loosen it, or check the table.",
                code="table-empty",
            )
        if left_out:
            log.warning("%s: %d of %d excluded by %s: %s", self.name, len(left_out), len(self), step, shown)
        return replace(self, subjects=tuple(subjects), left_out=(*self.left_out, *left_out))


def uniform_fillup(
    cohort: Cohort, column: str, n: int, *, low: float, high: float, bins: float | None = None, seed: int = 42
) -> Cohort:
    """Choose ``n`` subjects spread as evenly as possible over a numeric column.

    Equal-width bins from ``low`` to ``high`` are filled to the lowest common level that reaches ``n`` (a bin with
    fewer gives all it has), by pandas' ``sample`` in each; what overshoots ``n`` is sampled away. The order of the
    result is that of the published CINeMA program, whose ``seed`` is always 42.

    Both ends of ``low`` to ``high``, in the column's unit, belong to the range; who lies outside is not chosen. The
    number of ``bins`` is rounded up; without it, there is one per unit of the column.

    Raises
    ------
    InputError
        When ``n`` is not positive, a value is missing, or no subject lies in the range.
    """
    constraint = NumericConstraint(low, high, Distribution(bins=None if bins is None else math.ceil(bins)))
    return draw(cohort, {column: constraint}, n, seed=seed)


def draw(
    cohort: Cohort, constraints: Mapping[str, Constraint], n: int, *, seed: int = 42, reference_compat: bool = False
) -> Cohort:
    """Choose ``n`` subjects by the distributions that the constraints ask for.

    The distribution with the highest priority decides first (see :func:`uniform_fillup`); inside each of its bins,
    the next one does, unless ``reference_compat`` stops after the first, as the published CINeMA program does.
    Without any distribution the choice is plainly random. No constraint's range is applied but those that are
    spread: see :meth:`Cohort.constrain`. When there are fewer than ``n``, all are chosen. Errors are those of
    :func:`uniform_fillup`.
    """
    if n < 1:
        raise InputError(f"{n} subjects of {cohort.name} were asked for.", "Ask for at least 1.", code="value-invalid")
    asked = [
        (column, constraint, constraint.distribution)
        for column, constraint in constraints.items()
        if isinstance(constraint, NumericConstraint) and constraint.distribution is not None
    ]
    asked.sort(key=lambda item: -item[2].priority)
    keys: list[tuple[NDArray[np.float64], NDArray[np.float64]]] = []
    inside = np.ones(len(cohort), dtype=bool)
    for column, constraint, distribution in asked[:1] if reference_compat else asked:
        values, low, high = cohort.column(column), float(constraint.min or 0), float(constraint.max or 0)
        edges = np.linspace(low, high, (distribution.bins or max(1, math.ceil(high - low))) + 1)
        edges[-1] = max(high + 1e-6, np.nextafter(high, math.inf))  # the last bin holds its upper end
        inside &= (values >= edges[0]) & (values < edges[-1])
        keys.append((values, edges))
    positions = np.flatnonzero(inside)
    if len(positions) < n:
        log.warning("%s has %d subjects to choose from, not %d.", cohort.name, len(positions), n)
    chosen = _fill(positions, keys, min(n, len(positions)), seed) if len(positions) else positions
    return cohort._keep([cohort.subjects[index] for index in chosen], f"the choice of {n}")


def row_values(row: Mapping[str, str], columns: Iterable[str]) -> dict[str, float | str]:
    """Return the values of a table's row by column: numbers as numbers, other words as they stand, empty cells not."""
    return {column: _as_value(row[column]) for column in columns if row[column] not in MISSING}


def _require(column: str, columns: Sequence[str], where: str) -> None:
    if column not in columns:
        raise InputError(f"There is no column '{column}' in {where}.", nearest(column, columns), code="name-unknown")


def _refusal(subject: Subject, column: str, constraint: Constraint) -> str:
    value = subject.values.get(column)
    return "missing" if value is None else constraint.refusal(value, f"The {column} of {subject.key}")


def _as_value(cell: str) -> float | str:
    return float(cell) if _NUMBER.fullmatch(cell) else cell


def _as_number(value: float | str | None, named: str) -> float:
    if value is None:
        raise InputError(
            f"{named} is missing.", "Fill it in, or leave those without it out by a constraint.", code="value-missing"
        )
    try:
        return float(value)
    except ValueError:
        raise InputError(
            f"{named} is '{value}', which is not a number.", "Correct the table.", code="table-invalid"
        ) from None


def _holds_images(cells: Iterable[str]) -> bool:
    files = [cell for cell in cells if cell not in MISSING]
    return bool(files) and all(file.lower().endswith(IMAGE_SUFFIXES) for file in files)


def _stem(file: Path) -> str:
    suffix = next((suffix for suffix in IMAGE_SUFFIXES if file.name.lower().endswith(suffix)), file.suffix)
    return file.name[: len(file.name) - len(suffix)]


def _images(folder: Path, pattern: str) -> list[Path]:
    images = files_in(folder, IMAGE_SUFFIXES) if folder.is_dir() else []
    return [file for file in images if fnmatch.fnmatch(file.name, pattern)]


def _images_by_scan(
    folder: Path, people: Sequence[Path], modalities: Names, pattern: str
) -> dict[tuple[str, str | None], dict[str, Path]]:
    visits = [(person, visit) for person in people for visit in (person, *sorted(person.glob("ses-*")))]
    files = [(person, visit, file) for person, visit in visits for file in _images(visit / "anat", pattern)]
    files += [] if people else [(folder, folder, file) for file in _images(folder, pattern)]
    images_by_scan: dict[tuple[str, str | None], dict[str, Path]] = {}
    for person, visit, file in files:
        stem = _stem(file)
        if people:
            images_by_scan.setdefault((person.name, None if visit == person else visit.name), {})
        for modality in modalities or ([stem.rpartition("_")[2]] if people else ["image"]):
            if (people or modalities) and not stem.endswith(f"_{modality}"):
                continue
            identity = person.name if people else stem.removesuffix(f"_{modality}")
            images = images_by_scan.setdefault((identity, None if visit == person else visit.name), {})
            if modality in images:
                problem = f"{identity} has two files for {modality}: {images[modality].name} and {file.name}."
                raise InputError(
                    problem, "Say which by a pattern, or by a longer ending such as 'run-1_T2w'.", code="value-conflict"
                )
            images[modality] = file
    return images_by_scan


def _common(images_by_scan: Mapping[Any, Mapping[str, Path]], folder: Path) -> list[str]:
    counts = Counter(modality for images in images_by_scan.values() for modality in images)
    shown = ", ".join(f"{modality} ({times})" for modality, times in counts.items())
    if len(images_by_scan) not in counts.values():
        raise InputError(
            f"The {len(images_by_scan)} scans in {folder} have no modality in common: {shown}.",
            "Name some.",
            code="value-missing",
        )
    return [modality for modality, times in counts.items() if times == len(images_by_scan)]


def _bare(label: str) -> str:
    return label.removeprefix("sub-").removeprefix("ses-")


def _joined_values(tables: Iterable[Path]) -> tuple[tuple[str, ...], dict[tuple[str, str], dict[str, float | str]]]:
    """Return the columns of BIDS tables, and the values by bare person and session label."""
    names: dict[str, None] = {}
    values: dict[tuple[str, str], dict[str, float | str]] = {}
    for table in tables:
        columns, rows = read_table(table)
        id_column = next((column for column in ID_COLUMNS if column in columns), None)
        if id_column is None and "session_id" not in columns:
            raise InputError(
                f"{table} has no column participant_id.", "Add one with the subjects' ids.", code="table-invalid"
            )
        value_columns = [column for column in columns if column not in (id_column, "session_id")]
        names |= dict.fromkeys(value_columns)
        for row in rows:
            visit = row.get("session_id", "")
            person = row[id_column] if id_column else table.parent.name
            key = (_bare(person), "" if visit in MISSING else _bare(visit))
            values[key] = values.get(key, {}) | row_values(row, value_columns)
    return tuple(names), values


def _complete(
    subjects: Sequence[Subject], modalities: tuple[str, ...], columns: tuple[str, ...], on_missing: OnMissing, name: str
) -> Cohort:
    """Make a cohort of the subjects that have every modality; refuse duplicates."""
    twice = repeated([subject.key for subject in subjects])
    if twice:
        raise InputError(
            f"{name} lists {few(twice)} more than once.",
            "Keep one row each, or add session_id.",
            code="value-duplicate",
        )
    gaps = {subject.key: [end for end in modalities if end not in subject.paths] for subject in subjects}
    out = [(subject, f"no {', '.join(gaps[subject.key])}") for subject in subjects if gaps[subject.key]]
    if out and on_missing == "error":
        shown = few([f"{subject.key} has {reason}" for subject, reason in out])
        raise InputError(
            f"{len(out)} of {len(subjects)} in {name} lack an image: {shown}.",
            "Complete the table.",
            code="file-missing",
        )
    kept = [subject for subject in subjects if not gaps[subject.key]]
    return Cohort(tuple(subjects), modalities, name, columns)._keep(kept, "the need for every modality", out)


def _fill(positions: Any, keys: Sequence[tuple[Any, Any]], n: int, seed: int) -> Any:
    """Choose ``n`` of the positions (indices into the cohort), evenly over the bins of the first key."""
    import pandas as pd

    if keys:
        values, edges = keys[0]
        numbers = np.searchsorted(edges, values[positions], side="right")
        bins = [positions[numbers == number] for number in np.unique(numbers)]
        sizes = np.array([len(members) for members in bins])
        level = next(level for level in itertools.count(1) if np.minimum(sizes, level).sum() >= n)
        parts = [_fill(members, keys[1:], min(level, len(members)), seed) for members in bins]
        positions = np.concatenate(parts)
    if keys and len(positions) == n:
        return positions
    return pd.Series(positions).sample(n, random_state=seed).to_numpy()
