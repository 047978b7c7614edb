"""Which checkpoint of a training is best: every one registers the same pairs, by the network alone unless asked."""

from __future__ import annotations

import re
import tempfile
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from NeuroGenLib.core import provenance
from NeuroGenLib.core.config import from_mapping, to_mapping
from NeuroGenLib.core.device import choose_device
from NeuroGenLib.core.errors import InputError
from NeuroGenLib.core.files import read_json, require_folder_place, staged_outputs, write_json
from NeuroGenLib.core.progress import SILENT, Progress
from NeuroGenLib.core.reports import PICTURE, PictureConfig, save_figure, write_table
from NeuroGenLib.models.folder import ModelFolder
from NeuroGenLib.registration.config import RegistrationTrainConfig
from NeuroGenLib.registration.data.sources import pair_source
from NeuroGenLib.registration.evaluation.figure import checkpoints_figure
from NeuroGenLib.registration.evaluation.results import METRICS
from NeuroGenLib.registration.evaluation.table import MISSING, evaluate_to_folder
from NeuroGenLib.registration.infer import RegistrationModel
from NeuroGenLib.registration.published.model import import_checkpoint
from NeuroGenLib.training.checkpoint import list_checkpoints, read_checkpoint
from NeuroGenLib.training.run_folder import checkpoints_folder

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from NeuroGenLib.registration.config import RegisterConfig
    from NeuroGenLib.registration.evaluation.pairs import PairFiles
    from NeuroGenLib.registration.evaluation.results import Evaluation

Select = Literal["dice", "tre", "similarity"]

SELECT: dict[Select, tuple[str, int]] = {
    "dice": ("dice", 1),
    "tre": ("tre_mm", -1),
    "similarity": ("mutual_information", 1),
}
"""What a checkpoint may be chosen by: its column, and whether more (1) or less (-1) is better."""
BEST = "best.json"
_PUBLISHED = re.compile(r"model_epoch_(\d+)\.pt")
_PIECE = re.compile(r"(\d+)(?:-(\d+))?")


@dataclass(frozen=True)
class Checkpoint:
    """One checkpoint of a run.

    Attributes
    ----------
    unit:
        ``step`` of NeuroGen's own run, ``epoch`` of a published program's.
    number:
        How many of them it has been trained for.
    path:
        Its file.
    """

    unit: Literal["epoch", "step"]
    number: int
    path: Path

    @property
    def name(self) -> str:
        """Its name as a folder's."""
        return f"{self.unit}_{self.number:0{3 if self.unit == 'epoch' else 6}d}"


@dataclass(frozen=True)
class RunEvaluation:
    """What the checkpoints of a run reach.

    Attributes
    ----------
    rows:
        One a checkpoint: its epoch or step, pairs that failed, and the mean of every metric.
    best:
        The best one, or the only one that was asked for.
    by:
        What it was chosen by; None when it was chosen before.
    """

    rows: list[dict[str, Any]]
    best: Checkpoint
    by: Select | None


def run_checkpoints(run: Path) -> list[Checkpoint]:
    """Return the checkpoints of a run folder, NeuroGen's own or the published program's, first to last.

    Raises
    ------
    InputError
        When there is no folder, or it holds none.
    """
    if not run.is_dir():
        raise InputError(
            f"There is no run folder {run}.", "Check the name and the folder you started from.", code="file-missing"
        )
    own = [Checkpoint("step", step, path) for step, path in list_checkpoints(checkpoints_folder(run))]
    matches = [(_PUBLISHED.fullmatch(path.name), path) for path in run.iterdir()]
    published = sorted((int(match[1]), path) for match, path in matches if match)
    checkpoints = own or [Checkpoint("epoch", epoch, path) for epoch, path in published]
    if not checkpoints:
        raise InputError(
            f"There is no checkpoint in {run}.",
            "Give train.out of a run, or the folder with model_epoch_NNN.pt of the published program.",
            code="file-missing",
        )
    return checkpoints


def chosen_checkpoints(checkpoints: Sequence[Checkpoint], text: str) -> list[Checkpoint]:
    """Return those that a text such as ``3,5,10-24`` names; of a range, those that are there.

    Raises
    ------
    InputError
        When the text is not such a list, or names what is not there.
    """
    unit = checkpoints[0].unit
    known = {checkpoint.number: checkpoint for checkpoint in checkpoints}
    there = f"There are: {', '.join(map(str, known))}."
    selected: set[int] = set()
    for piece in text.split(","):
        match = _PIECE.fullmatch(piece.strip())
        if not match:
            raise InputError(
                f"'{text}' does not name {unit}s.", "Write best, 12, 3,5,7 or 10-24.", code="value-invalid"
            )
        first, last = int(match[1]), int(match[2] or match[1])
        matches = [number for number in known if first <= number <= last]
        if not matches:
            raise InputError(f"The run has no checkpoint of {unit} {piece.strip()}.", there, code="name-unknown")
        selected |= {*matches}
    return [checkpoint for checkpoint in checkpoints if checkpoint.number in selected]


def best_checkpoint(checkpoints: Sequence[Checkpoint], out: Path) -> Checkpoint:
    """Return the checkpoint that an earlier evaluation into ``out`` found best.

    Raises
    ------
    InputError
        When there was none, or its checkpoint is not among these.
    """
    path = out / BEST
    if not path.is_file():
        raise InputError(
            f"There is no {path} that says which checkpoint is best.",
            "Evaluate several checkpoints into --out first.",
            code="file-missing",
        )
    content = read_json(path)
    for checkpoint in checkpoints:
        if isinstance(content, dict) and content.get(checkpoint.unit) == checkpoint.number:
            return checkpoint
    raise InputError(
        f"The checkpoint that {path} names is not in the run.",
        "Evaluate the run's checkpoints again.",
        code="name-unknown",
    )


def selection(select: Select | None, pairs: Sequence[PairFiles]) -> Select:
    """Return what checkpoints are chosen by; when not given, what the pairs allow: labels, landmarks or images.

    Raises
    ------
    InputError
        When no pair has what is needed.
    """
    has = {
        "dice": any(pair.fixed_labels is not None for pair in pairs),
        "tre": any(pair.fixed_landmarks is not None for pair in pairs),
        "similarity": True,
    }
    if select is None:
        return next(name for name in SELECT if has[name])
    if not has[select]:
        column = {"dice": "fixed_labels and moving_labels", "tre": "fixed_landmarks and moving_landmarks"}[select]
        raise InputError(
            f"Nothing can be selected by {select}: the pairs have no {column}.",
            "Add these columns.",
            code="value-missing",
        )
    return select


def evaluate_run(
    run: Path,
    selected: str | None,
    pairs: Sequence[PairFiles],
    name: str,
    out: Path,
    settings: RegisterConfig,
    select: Select | None = None,
    *,
    device: str = "auto",
    orientation: str | None = None,
    picture: PictureConfig = PICTURE,
    progress: Progress = SILENT,
) -> RunEvaluation:
    """Evaluate checkpoints of a run, and say which is best.

    Into ``out/name`` go a folder for each checkpoint as :func:`evaluate_to_folder` writes it, ``checkpoints.tsv`` and
    ``checkpoints.png``; into ``out`` goes ``best.json``, and the best one as a model in ``best_model``. With ``best``
    the checkpoint that ``out/best.json`` names is evaluated alone, on these pairs, and nothing is chosen again.

    Parameters
    ----------
    run:
        Folder of NeuroGen's own training, or one with ``model_epoch_NNN.pt`` and ``training_config.json``.
    wanted:
        ``best``, or a list of epochs or steps such as ``3,5,10-24``; all when None.
    pairs, name:
        The pairs, and what their results are called.
    out, settings, progress:
        See :func:`evaluate_to_folder`.
    select:
        What the best one has most (or least) of, by the mean over the pairs; see :func:`selection`. A checkpoint with
        which pairs fail comes after those with which fewer do.
    device:
        As of :func:`NeuroGenLib.models.open_model`.
    orientation:
        Of a published run's images; see :func:`~NeuroGenLib.registration.published.model.import_checkpoint`.
    picture:
        Format and resolution of the figures.

    Raises
    ------
    InputError
        When the run, a checkpoint or what it is selected by is missing.
    NeuroGenError
        When a checkpoint is damaged or the folder cannot be written.
    Cancelled
        When ``progress`` was cancelled.
    """
    place = choose_device(device)
    require_folder_place(out)
    known = run_checkpoints(run)
    again = selected == "best"
    checkpoints = [best_checkpoint(known, out)] if again else known
    if selected is not None and not again:
        checkpoints = chosen_checkpoints(known, selected)
    by = selection(select, pairs)
    rows: list[dict[str, Any]] = []
    with _place_beside(out) as temporary:
        for number, checkpoint in enumerate(checkpoints):
            part = progress.part(number / len(checkpoints), (number + 1) / len(checkpoints), checkpoint.name)
            folder = temporary / checkpoint.name
            write_checkpoint_model(run, checkpoint, folder, orientation)
            model = RegistrationModel.from_folder(_read(folder), place)
            evaluation = evaluate_to_folder(model, pairs, out / name / checkpoint.name, settings, part, picture=picture)
            rows.append(_row(checkpoint, evaluation))
        best = checkpoints[_best_index(rows, by)]
        if not again:
            _write_choice(rows, best, by, out / name, temporary / best.name, picture)
    record = provenance.record(
        "registration evaluate",
        parameters={"run": str(run), "checkpoints": selected, "pairs": name, "select": by, **to_mapping(settings)},
        evaluated=[checkpoint.name for checkpoint in checkpoints],
        best=best.name,
    )
    with staged_outputs(out) as staging:
        write_json(staging / provenance.RECORD, record)
    return RunEvaluation(rows, best, None if again else by)


@contextmanager
def _place_beside(out: Path) -> Iterator[Path]:
    """Give a folder inside ``out``, where there is room; both are gone at the end, unless ``out`` has results."""
    missing = [folder for folder in (out, *out.parents) if not folder.exists()]
    out.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(prefix="models-", dir=out) as temporary:
            yield Path(temporary)
    finally:
        with suppress(OSError):  # not empty: results
            for folder in missing:
                folder.rmdir()


def write_checkpoint_model(run: Path, checkpoint: Checkpoint, folder: Path, orientation: str | None = None) -> None:
    """Write a checkpoint of a run as a model folder.

    Raises
    ------
    InputError
        When the run's settings are missing or do not describe the checkpoint, or its data are needed and not there.
    NeuroGenError
        When the checkpoint is damaged.
    """
    if checkpoint.unit == "epoch":
        import_checkpoint(checkpoint.path, folder, orientation=orientation)
        return
    from NeuroGenLib.registration.network.configured import network_shape
    from NeuroGenLib.registration.network.sitreg import SITReg
    from NeuroGenLib.registration.train import write_registration

    content = read_json(run / "run.json")
    if not isinstance(content, dict) or not isinstance(content.get("parameters"), dict):
        raise InputError(
            f"{run / 'run.json'} is not the record of a training run.", "Give train.out of a run.", code="file-damaged"
        )
    config = from_mapping(RegistrationTrainConfig, content["parameters"])
    preparation = _preparation(run, config)
    network = SITReg(network_shape(config.network, preparation["grid"]))
    state = read_checkpoint(checkpoint.path).get("state_dict", {})
    weights = {key.removeprefix("network."): value for key, value in state.items() if key.startswith("network.")}
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise InputError(
            f"{checkpoint.path} holds no registration network of the settings in run.json.",
            "Give train.out of a run.",
            code="weights-mismatch",
        ) from error
    config = replace(config, train=replace(config.train, steps=checkpoint.number))
    write_registration(network, config, preparation, folder)


def _preparation(run: Path, config: Any) -> dict[str, Any]:
    """Return how images get ready: from the run's model, or before there is one from its data."""
    if (run / "model").is_dir():
        return dict(_read(run / "model").manifest["preparation"])

    # Without a cache nothing but the first scan is read.
    return dict(pair_source(replace(config, data=replace(config.data, cache_gib=0.0))).record)


def _read(folder: Path) -> Any:
    return ModelFolder.read(folder)


def _row(checkpoint: Checkpoint, evaluation: Evaluation) -> dict[str, Any]:
    row = {checkpoint.unit: checkpoint.number, "pairs": len(evaluation.rows), "failed": len(evaluation.failed)}
    return row | {name: evaluation.mean(name) for name in METRICS}


def _best_index(rows: Sequence[dict[str, Any]], by: Select) -> int:
    """Return the checkpoint with which fewest pairs fail, among these the best, among these the first."""
    column, sign = SELECT[by]

    def rank(index: int) -> tuple[int, float, int]:
        value = rows[index][column]
        return rows[index]["failed"], float("inf") if value is None else -sign * value, index

    return min(range(len(rows)), key=rank)


def _write_choice(
    rows: Sequence[dict[str, Any]], best: Checkpoint, by: Select, results: Path, model: Path, picture: PictureConfig
) -> None:
    column, name = SELECT[by][0], results.name
    with staged_outputs(results.parent) as staging:
        table = [{key: MISSING if value is None else value for key, value in row.items()} for row in rows]
        write_table(staging / name / "checkpoints.tsv", table)
        if any(row[column] is not None for row in rows):
            figure = checkpoints_figure(rows, best.unit, column, best.number)
            save_figure(staging / name / "checkpoints", figure, picture)
        content = {
            best.unit: best.number,
            "checkpoint": best.path.name,
            "select": by,
            column: next(row[column] for row in rows if row[best.unit] == best.number),
            "pairs": name,
            f"{best.unit}s": [row[best.unit] for row in rows],
        }
        write_json(staging / BEST, content)
        (staging / "best_model").mkdir()
        for file in model.iterdir():
            (staging / "best_model" / file.name).write_bytes(file.read_bytes())
