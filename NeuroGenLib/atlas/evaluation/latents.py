"""Information in the latents of an atlas's subjects: how well age, conditions and other values can be read from them.

Every value is predicted for each subject in turn by a ridge regression on the others' latents; nothing of the subject
that is predicted, its latents included, takes part in scaling, penalty or fit. Ages stay continuous. It describes the
subjects of the training, whose latents were learned together; it is not an estimate for a new scan. A condition is
given to the decoder, so that the latents need not hold it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from NeuroGenLib.atlas.conditions import as_word
from NeuroGenLib.atlas.output import Written
from NeuroGenLib.cohort.subjects import ID_COLUMNS, row_values
from NeuroGenLib.cohort.tables import MISSING, read_table
from NeuroGenLib.core.errors import InputError, nearest
from NeuroGenLib.core.files import staged_outputs, write_json
from NeuroGenLib.core.progress import SILENT, Progress
from NeuroGenLib.core.reports import PICTURE, PictureConfig, save_figure, write_table

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.figure import Figure

    from NeuroGenLib.atlas.trained import TrainedAtlas

FILES = ("predictions.tsv", "latents.tsv", "latents.png")
"""What an analysis writes beside its record."""

FEWEST = 4
"""Subjects with a known value that are needed: a fit for the held-out one, and a choice of its penalty."""

FEW = 20
"""Fewer subjects than this give rough numbers, which is said."""

PENALTIES = np.geomspace(1e-4, 1e4, 33)
"""Ridge penalties to choose from, in units of the mean squared length of the standardised latents."""

RESAMPLES = 2000
SEED = 0
"""Bootstrap samples behind an interval, and the seed that samples them."""

NUMERIC_SCORES = ("mae", "mae_low", "mae_high", "baseline_mae", "r2", "correlation")
CATEGORIC_SCORES = (
    *("accuracy", "accuracy_low", "accuracy_high", "baseline_accuracy"),
    *("balanced_accuracy", "balanced_accuracy_low", "balanced_accuracy_high", "baseline_balanced_accuracy"),
)


@dataclass(frozen=True)
class Target:
    """A value to predict: one entry a subject of the model, None where it is not known; words where categoric."""

    name: str
    kind: Literal["numeric", "categoric"]
    values: tuple[float | str | None, ...]
    unit: str = ""

    @property
    def rows(self) -> np.ndarray:
        """(n,) rows of the subjects whose value is known."""
        return np.array([row for row, value in enumerate(self.values) if value is not None], int)

    def refusal(self) -> str:
        """Return why nothing can be said about it, or nothing."""
        known = [value for value in self.values if value is not None]
        if len(known) < FEWEST:
            return f"'{self.name}' is known of {len(known)} subjects, fewer than {FEWEST}"
        if len(set(known)) == 1:
            return f"'{self.name}' is the same for all subjects"
        if self.kind == "categoric" and len(set(known)) == len(known):
            return f"'{self.name}' has another word for every subject"
        return ""


@dataclass(frozen=True)
class Finding:
    """How well one value is predicted.

    Attributes
    ----------
    target:
        The value.
    predicted:
        One entry for each of ``target.rows``: the prediction of the fit to all other subjects.
    score:
        Numeric: mean absolute error ``mae`` with its 95 % bootstrap interval, ``baseline_mae`` (guessing the mean of
        the others), ``r2`` and ``correlation``. Categoric: ``accuracy`` and ``balanced_accuracy`` (mean over the words
        of the share found) with intervals, and what always guessing the most frequent word would get.
    """

    target: Target
    predicted: tuple[float | str, ...]
    score: dict[str, float]

    @property
    def truth(self) -> tuple[float | str, ...]:
        """The known values, in the order of ``target.rows``."""
        return tuple(value for value in self.target.values if value is not None)

    def row(self) -> dict[str, float | str]:
        """Return the line of ``latents.tsv``."""
        shared: dict[str, float | str] = {"target": self.target.name, "kind": self.target.kind}
        shared |= {"unit": self.target.unit or "n/a", "n": str(len(self.predicted))}
        scores = {name: self.score.get(name, np.nan) for name in (*NUMERIC_SCORES, *CATEGORIC_SCORES)}
        return shared | {name: value if np.isfinite(value) else "n/a" for name, value in scores.items()}

    def sentence(self) -> str:
        """Return the result in words."""
        score, unit = self.score, f" {self.target.unit}".rstrip()
        subjects = f"{self.target.name} ({len(self.predicted)} subjects)"
        if self.target.kind == "numeric":
            return (
                f"{subjects}: mean error {score['mae']:.3g}{unit} ({score['mae_low']:.3g} to {score['mae_high']:.3g}), "
                f"guessing the mean {score['baseline_mae']:.3g}{unit}; "
                f"R2 {score['r2']:.2f}, r {score['correlation']:.2f}"
            )
        return (
            f"{subjects}: {score['accuracy']:.0%} right ({score['accuracy_low']:.0%} to {score['accuracy_high']:.0%}), "
            f"guessing the most frequent {score['baseline_accuracy']:.0%}; balanced {score['balanced_accuracy']:.0%} "
            f"({score['balanced_accuracy_low']:.0%} to {score['balanced_accuracy_high']:.0%}), "
            f"guessing {score['baseline_balanced_accuracy']:.0%}"
        )


def analyse_to_folder(
    model: TrainedAtlas,
    out: Path,
    table: Path | None = None,
    columns: Sequence[str] = (),
    progress: Progress = SILENT,
    picture: PictureConfig = PICTURE,
) -> tuple[list[Finding], Written]:
    """Predict age, conditions and columns of a table from the latents, and write what came of it, all or nothing.

    Written are ``predictions.tsv`` (subject or row, target, true, predicted), ``latents.tsv`` (a line of scores for
    each target), ``latents.png`` and ``provenance.json``.

    Parameters
    ----------
    model, out:
        The atlas, and the folder to write into.
    table, columns:
        A cohort table whose ids are the model's, and which of its columns to predict; without ``columns`` all that
        can be.
    progress:
        Progress callback.
    picture:
        Format and resolution of the figure.

    Raises
    ------
    InputError
        When there are fewer than :data:`FEWEST` subjects, the table cannot be matched, or a column that was named
        cannot be predicted.
    """
    started = time.monotonic()
    count = len(model.subjects)
    if count < FEWEST:
        raise InputError(
            f"{model.folder.reference} has {count} subjects; this needs {FEWEST}.",
            "Choose another model.",
            code="model-kind",
        )
    if columns and table is None:
        raise InputError(
            f"The columns {', '.join(columns)} are asked for without a table.", "Give --table.", code="value-missing"
        )
    targets = model_targets(model) + ([] if table is None else table_targets(model, table, columns))
    for target in targets:
        if target.name in columns and target.refusal():
            raise InputError(
                f"{target.refusal()}.", "Leave that column out, or complete the table.", code="table-invalid"
            )
    usable = [target for target in targets if not target.refusal()]
    if not usable:
        raise InputError(
            f"Nothing can be predicted: {'; '.join(target.refusal() for target in targets)}.",
            "Give --table.",
            code="value-missing",
        )
    features = subject_features(model)
    findings = []
    for number, target in enumerate(usable):
        part = progress.part(number / len(usable), (number + 1) / len(usable), target.name)
        findings.append(analyse(features, target, part))
    few = [f"{target.name} ({len(target.rows)})" for target in usable if len(target.rows) < FEW]
    warnings = [f"Known of fewer than {FEW} subjects, so that the numbers are rough: {', '.join(few)}."] if few else []
    warnings += [f"{target.refusal()}: excluded." for target in targets if target.refusal()]
    with staged_outputs(out) as staging:
        write_table(staging / "predictions.tsv", _prediction_rows(model, findings))
        write_table(staging / "latents.tsv", [finding.row() for finding in findings])
        save_figure(staging / "latents", latents_figure(model, features, findings[0]), picture)
        write_json(staging / "provenance.json", _record(model, table, columns, findings, warnings))
        files = sorted(out / path.name for path in staging.iterdir())
    return findings, Written(out, files, warnings, time.monotonic() - started)


def subject_features(model: TrainedAtlas) -> np.ndarray:
    """Return the subjects' latents, (S, C * nz * ny * nx) float64."""
    return model.latents.detach().cpu().double().flatten(1).numpy()


def model_targets(model: TrainedAtlas) -> list[Target]:
    """Return the values that the model itself stores of its subjects: age, then every condition."""
    targets = [Target(model.age_name, "numeric", tuple(model.ages.tolist()), model.age_unit)]
    for condition in model.conditions:
        values = [condition.parse(subject["conditions"][condition.name]) for subject in model.subjects]
        targets.append(Target(condition.name, condition.kind, tuple(values), condition.unit))
    return targets


def table_targets(model: TrainedAtlas, table: Path, columns: Sequence[str] = ()) -> list[Target]:
    """Return columns of a cohort table for the subjects of the model; those that the model knows itself are excluded.

    A column of numbers is numeric, but one of two numbers, such as 0 and 1, is categoric.

    Raises
    ------
    InputError
        When the model does not store ids, none of them or one of them twice is in the table, a column is not there, or
        it mixes numbers and words.
    """
    ids = [str(subject.get("id", "")) for subject in model.subjects]
    if not all(ids):
        raise InputError(
            f"{model.folder.reference} does not tell who its subjects are, so that {table} cannot be matched.",
            "Train it with store_ids: true, or leave out --table.",
            code="model-kind",
        )
    names, lines = read_table(table)
    id_column = next((column for column in ID_COLUMNS if column in names), None)
    if id_column is None:
        raise InputError(
            f"{table} has no column participant_id or subject_id.",
            "Add one with the subjects' ids.",
            code="table-invalid",
        )
    rows: dict[str, dict[str, float | str]] = {}
    value_columns = [name for name in names if name not in (id_column, "session_id")]
    for line in lines:
        session = line.get("session_id", "")
        key = line[id_column] if session in MISSING else f"{line[id_column]}_{session}"
        if key in rows and key in ids:
            raise InputError(
                f"{table} lists {key} more than once.", "Keep one row, or add session_id.", code="value-duplicate"
            )
        rows[key] = row_values(line, value_columns)
    if not set(ids) & set(rows):
        raise InputError(
            f"{table} has no row of a subject of {model.folder.reference}.",
            f"The model knows '{ids[0]}', the table '{next(iter(rows))}'.",
            code="table-invalid",
        )
    for column in columns:
        if column not in value_columns:
            raise InputError(
                f"There is no column '{column}' in {table}.", nearest(column, value_columns), code="name-unknown"
            )
    known = {model.age_name, *(condition.name for condition in model.conditions)}
    chosen = [column for column in dict.fromkeys(columns or value_columns) if column not in known]
    return [_column_target(column, [rows.get(name, {}).get(column) for name in ids], table) for column in chosen]


def _column_target(column: str, values: Sequence[float | str | None], table: Path) -> Target:
    known = [value for value in values if value is not None]
    numbers = [value for value in known if isinstance(value, float)]
    if not np.isfinite(numbers).all():
        raise InputError(
            f"The column '{column}' of {table} holds a number without end.", "Correct the table.", code="table-invalid"
        )
    if len(numbers) == len(known) and len(set(known)) != 2:
        return Target(column, "numeric", tuple(values))
    if numbers and len(numbers) < len(known):
        word = next(value for value in known if isinstance(value, str))
        raise InputError(
            f"The column '{column}' of {table} mixes numbers with '{word}'.",
            "Write n/a where a number is missing.",
            code="table-invalid",
        )
    return Target(column, "categoric", tuple(None if value is None else as_word(value) for value in values))


def analyse(features: np.ndarray, target: Target, progress: Progress = SILENT) -> Finding:
    """Predict a value of every subject from the latents of the others, and score it.

    Parameters
    ----------
    features:
        (S, p) latents of all subjects of the model.
    target:
        A value without a :meth:`Target.refusal`.
    """
    rows = target.rows
    known = [target.values[row] for row in rows]
    if target.kind == "numeric":
        truth = np.array(known, float)
        predicted = leave_one_out(features[rows], truth[:, None], progress=progress)[:, 0]
        return Finding(target, tuple(predicted.tolist()), numeric_score(truth, predicted))
    words = sorted({str(word) for word in known})
    codes = np.array([words.index(str(word)) for word in known])
    sides = np.where(codes[:, None] == np.arange(len(words)), 1.0, -1.0)
    chosen = leave_one_out(features[rows], sides, codes, progress).argmax(1)
    return Finding(target, tuple(words[code] for code in chosen), categoric_score(codes, chosen))


def leave_one_out(
    features: np.ndarray, targets: np.ndarray, words: np.ndarray | None = None, progress: Progress = SILENT
) -> np.ndarray:
    """Return the prediction for each row of a ridge regression on all others.

    Parameters
    ----------
    features:
        (n, p), standardised by the others in every fit.
    targets:
        (n, q), fitted with one penalty together, which is chosen from :data:`PENALTIES` by leaving out each of the
        others in turn.
    words:
        (n,) codes; those with the same code count together as much as those of any other. Else each row counts alike.

    Returns
    -------
    (n, q)
    """
    count = len(features)
    predicted = np.empty(targets.shape)
    for row in progress.track(range(count)):
        training = np.arange(count) != row
        train, own = _standardised(features[training], features[row])
        weights = np.ones(count - 1) if words is None else _balancing(words[training])
        predicted[row] = _ridge(train, targets[training], weights, own)
    return predicted


def _standardised(train: np.ndarray, own: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scale columns by the mean and deviation of ``train``, and so that its rows have a mean squared length of one."""
    deviation = train.std(axis=0)
    varying = deviation > 1e-8 * deviation.max(initial=0)
    mean, scale = train[:, varying].mean(axis=0), deviation[varying] * np.sqrt(max(varying.sum(), 1))
    return (train[:, varying] - mean) / scale, (own[varying] - mean) / scale


def _balancing(words: np.ndarray) -> np.ndarray:
    """Return weights with a mean of one that sum to the same for every word.

    Without them the held-out subject's own word is the rarer one among the others wherever words are equally frequent,
    and latents that hold nothing would be wrong every time.
    """
    _, place, times = np.unique(words, return_inverse=True, return_counts=True)
    return len(words) / (len(times) * times[place])


def _ridge(train: np.ndarray, targets: np.ndarray, weights: np.ndarray, own: np.ndarray) -> np.ndarray:
    """Return the prediction (q,) for ``own`` (p,) of the fit to ``train`` (m, p) and ``targets`` (m, q).

    The intercept is not shrunk. The kernel form costs m by m whatever p is, and gives the leave-one-out residuals of
    every penalty in closed form.
    """
    root = np.sqrt(weights)[:, None]
    middle, mean = np.average(train, 0, weights), np.average(targets, 0, weights)
    inputs, outputs = root * (train - middle), root * (targets - mean)
    lengths, basis = np.linalg.eigh(inputs @ inputs.T)
    lengths = lengths.clip(0)[:, None]
    projected = basis.T @ outputs

    def residuals(penalty: float) -> np.ndarray:
        kept = lengths / (lengths + penalty)
        leverage = weights[:, None] / weights.sum() + np.square(basis) @ kept
        held_out: np.ndarray = (outputs - basis @ (kept * projected)) / (1 - leverage)
        return held_out

    best = min(PENALTIES, key=lambda penalty: np.square(residuals(penalty)).sum())
    prediction: np.ndarray = mean + (own - middle) @ inputs.T @ (basis @ (projected / (lengths + best)))
    return prediction


def numeric_score(truth: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """Return the scores of a numeric value; see :class:`Finding`."""
    errors = np.abs(predicted - truth)
    low, high = _interval(errors[_resampled(len(truth))].mean(axis=1))
    baseline = (truth.sum() - truth) / (len(truth) - 1)
    spread = np.square(truth - truth.mean()).sum()
    varies = np.ptp(predicted) > 1e-12 * np.abs(predicted).max()
    return {
        "mae": float(errors.mean()),
        "mae_low": low,
        "mae_high": high,
        "baseline_mae": float(np.abs(baseline - truth).mean()),
        "r2": float(1 - np.square(errors).sum() / spread),
        "correlation": float(np.corrcoef(truth, predicted)[0, 1]) if varies else float("nan"),
    }


def categoric_score(truth: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """Return the scores of a categoric value given as codes (n,); see :class:`Finding`."""
    samples = np.concatenate([np.arange(len(truth))[None], _resampled(len(truth))])
    right = truth == predicted
    accuracy = right[samples].mean(axis=1)
    members = [truth == code for code in np.unique(truth)]
    recalled = np.stack([(right & member)[samples].sum(axis=1) for member in members])
    present = np.stack([member[samples].sum(axis=1) for member in members])
    # A resample may lack a word: the mean is then over the others.
    balanced = (recalled / present.clip(1)).sum(axis=0) / (present > 0).sum(axis=0)
    score: dict[str, float] = {}
    for name, values in (("accuracy", accuracy), ("balanced_accuracy", balanced)):
        low, high = _interval(values[1:])
        score |= {name: float(values[0]), f"{name}_low": low, f"{name}_high": high}
    score["baseline_accuracy"] = float(max(member.mean() for member in members))
    score["baseline_balanced_accuracy"] = 1 / len(members)
    return score


def _resampled(count: int) -> np.ndarray:
    return np.random.default_rng(SEED).integers(0, count, (RESAMPLES, count))


def _interval(values: np.ndarray) -> tuple[float, float]:
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


def latents_figure(model: TrainedAtlas, features: np.ndarray, finding: Finding) -> Figure:
    """Draw the first two principal components of the latents, coloured by age, and a numeric value as predicted."""
    from matplotlib.figure import Figure

    standard, _ = _standardised(features, features[0])
    places, strengths, _ = np.linalg.svd(standard, full_matrices=False)
    shares = np.square(strengths) / np.square(strengths).sum().clip(1e-30)
    age = f"{model.age_name.replace('_', ' ')} ({model.age_unit})"
    numeric = finding.target.kind == "numeric"
    figure = Figure(figsize=(5.2 * (1 + numeric), 4.4), layout="constrained")
    axes = figure.subplots(1, 1 + numeric, squeeze=False)
    left = axes[0, 0]
    dots = left.scatter(*(places[:, :2] * strengths[:2]).T, c=model.ages, cmap="viridis", s=36)
    left.set(title="latents of the training subjects")
    left.set(xlabel=f"component 1 ({shares[0]:.0%} of variance)", ylabel=f"component 2 ({shares[1]:.0%})")
    figure.colorbar(dots, ax=left, label=age)
    if numeric:
        right, target = axes[0, 1], finding.target
        truth = np.array(finding.truth, float)
        ends = [min(truth.min(), *finding.predicted), max(truth.max(), *finding.predicted)]
        right.plot(ends, ends, color="0.7", linewidth=1, zorder=0)
        right.scatter(truth, finding.predicted, c=model.ages[target.rows], cmap="viridis", s=36, clip_on=False)
        title = f"{target.name.replace('_', ' ')} ({target.unit})".replace(" ()", "")
        right.set(xlabel=f"true {title}", ylabel="predicted from the others")
        score = finding.score
        unit = f" {target.unit}".rstrip()
        right.set_title(f"mean error {score['mae']:.3g}{unit} ({score['mae_low']:.3g} to {score['mae_high']:.3g})")
    for axis in axes.flat:
        axis.spines[["top", "right"]].set_visible(False)
    return figure


def _prediction_rows(model: TrainedAtlas, findings: Sequence[Finding]) -> list[dict[str, object]]:
    names = [str(subject.get("id", row)) for row, subject in enumerate(model.subjects)]
    return [
        {"subject": names[row], "target": finding.target.name, "true": true, "predicted": predicted}
        for finding in findings
        for row, true, predicted in zip(finding.target.rows, finding.truth, finding.predicted, strict=True)
    ]


def _record(
    model: TrainedAtlas, table: Path | None, columns: Sequence[str], findings: Sequence[Finding], warnings: list[str]
) -> dict[str, Any]:
    return model.provenance(
        "atlas latents",
        {"table": None if table is None else str(table), "columns": list(columns)},
        warnings,
        method={
            "regression": "ridge on standardised latents, each subject predicted from the others",
            "penalties": [float(PENALTIES[0]), float(PENALTIES[-1]), len(PENALTIES)],
            "interval": "95 % by bootstrap over the subjects",
            "resamples": RESAMPLES,
        },
        seed=SEED,
        results=[finding.row() for finding in findings],
        about="It describes the subjects of the training; it is not an estimate of the error for a new scan.",
    )
