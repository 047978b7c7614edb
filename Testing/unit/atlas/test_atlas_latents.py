"""What can be read from latents: the regression against brute force, honest scores, and tables that fit or do not."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from NeuroGenLib import cli
from NeuroGenLib.atlas.evaluation.latents import (
    PENALTIES,
    Finding,
    Target,
    analyse,
    analyse_to_folder,
    categoric_score,
    leave_one_out,
    numeric_score,
    subject_features,
    table_targets,
)
from NeuroGenLib.core.errors import Cancelled
from NeuroGenLib.core.progress import Progress
from NeuroGenLib.models import open_model
from NeuroGenLib.models.folder import ModelFolder, load_tensors, write_model
from Testing.raising import raises

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from NeuroGenLib.atlas.infer import AtlasModel

SEEDS = st.integers(0, 2**31)


# --- the regression -------------------------------------------------------------------------------------------------


def ridge(
    features: np.ndarray, targets: np.ndarray, weights: np.ndarray, penalty: float, own: np.ndarray
) -> np.ndarray:
    """A weighted ridge fit with an intercept that is not shrunk, by the normal equations."""
    design = np.column_stack([np.ones(len(features)), features])
    shrunk = penalty * np.eye(design.shape[1])
    shrunk[0, 0] = 0
    weighted = design.T * weights
    return np.array([1, *own]) @ np.linalg.solve(weighted @ design + shrunk, weighted @ targets)


def refitted(features: np.ndarray, targets: np.ndarray, words: np.ndarray) -> np.ndarray:
    """Leave one out by brute force: scale, try every penalty on every other left-out row, fit again."""
    predicted = np.empty_like(targets)
    for row in range(len(features)):
        train, known = np.delete(features, row, 0), np.delete(targets, row, 0)
        scale = train.std(0) * np.sqrt(features.shape[1])
        train, own = (train - train.mean(0)) / scale, (features[row] - train.mean(0)) / scale
        seen = np.delete(words, row)
        weights = np.array([len(seen) / len(set(seen)) / np.sum(seen == word) for word in seen])
        wrong = np.zeros(len(PENALTIES))
        for number, penalty in enumerate(PENALTIES):
            for k in range(len(train)):
                rest = [np.delete(one, k, 0) for one in (train, known, weights)]
                wrong[number] += weights[k] * np.square(ridge(*rest, penalty, train[k]) - known[k]).sum()
        predicted[row] = ridge(train, known, weights, PENALTIES[int(np.argmin(wrong))], own)
    return predicted


@pytest.mark.slow
@given(SEEDS, st.integers(4, 7), st.integers(1, 9), st.integers(1, 2), st.floats(0.1, 10))
@settings(max_examples=15, deadline=None)
def test_predictions_are_those_of_brute_force(seed, count, width, outputs, noise):
    draws = np.random.default_rng(seed)
    features = draws.normal(3, draws.uniform(0.5, 20, width), (count, width))
    targets = features @ draws.normal(size=(width, outputs)) + noise * draws.normal(size=(count, outputs))
    expected = refitted(features, targets, np.zeros(count))
    np.testing.assert_allclose(leave_one_out(features, targets), expected, rtol=1e-6, atol=1e-6)
    words = draws.integers(0, 3, count)
    expected = refitted(features, targets, words)
    np.testing.assert_allclose(leave_one_out(features, targets, words), expected, rtol=1e-6, atol=1e-6)


@given(SEEDS, st.floats(-1e6, 1e6))
def test_the_left_out_value_has_no_say_in_its_prediction(seed, other):
    draws = np.random.default_rng(seed)
    features, targets = draws.normal(size=(8, 20)), draws.normal(size=(8, 1))
    before = leave_one_out(features, targets)
    targets[3] = other
    assert leave_one_out(features, targets)[3] == pytest.approx(before[3], rel=1e-9)


@given(SEEDS, st.floats(0.01, 100), st.floats(-50, 50))
def test_units_do_not_matter(seed, factor, shift):
    draws = np.random.default_rng(seed)
    features, targets = draws.normal(size=(9, 6)), draws.normal(size=(9, 1))
    scaled = features * draws.uniform(0.1, 10, 6) + draws.normal(0, 5, 6)
    expected = leave_one_out(features, targets)
    np.testing.assert_allclose(leave_one_out(scaled, targets), expected, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(leave_one_out(features, factor * targets + shift), factor * expected + shift, rtol=1e-5)


def test_latents_that_do_not_vary_predict_the_mean_of_the_others():
    targets = np.array([[1.0], [2.0], [4.0], [9.0]])
    expected = [[5.0], [14 / 3], [4.0], [7 / 3]]
    np.testing.assert_allclose(leave_one_out(np.full((4, 5), 2.5), targets), expected)


@pytest.fixture
def features() -> np.ndarray:
    """Latents of forty subjects: a direction that goes with age, and others that do not."""
    draws = np.random.default_rng(5)
    directions = draws.normal(size=(6, 300))
    traits = draws.normal(size=(40, 6))
    traits[:, 0] = (ages() - 27.5) / 4
    return traits @ directions + 0.3 * draws.normal(size=(40, 300))


def ages() -> np.ndarray:
    """Forty ages, not in order."""
    return np.random.default_rng(8).permutation(np.linspace(21.0, 34.0, 40))


def test_a_linear_signal_is_recovered(features):
    finding = analyse(features, Target("age", "numeric", tuple(ages()), "weeks"))
    assert finding.score["mae"] < 0.15 * finding.score["baseline_mae"]
    assert finding.score["r2"] > 0.95
    assert finding.score["correlation"] > 0.97
    assert any(value != round(value, 2) for value in finding.predicted), "ages are not rounded"


def test_permuted_targets_are_not_predicted(features):
    shares = []
    for seed in range(6):
        target = Target("age", "numeric", tuple(np.random.default_rng(seed).permutation(ages())))
        score = analyse(features, target).score
        shares.append(score["mae"] / score["baseline_mae"])
        assert score["r2"] < 0.2
    assert np.mean(shares) > 0.97


def test_words_are_recovered(features):
    words = ("early", "middle", "late")
    truth = tuple(words[int(np.searchsorted([25, 30], age))] for age in ages())
    finding = analyse(features, Target("stage", "categoric", truth))
    assert finding.score["accuracy"] > 0.7
    assert finding.score["baseline_accuracy"] < 0.4
    assert set(finding.predicted) <= set(words)
    right = np.mean([one == other for one, other in zip(finding.predicted, truth, strict=True)])
    assert finding.score["accuracy"] == pytest.approx(right)


def test_permuted_words_are_not_predicted(features):
    draws = np.random.default_rng(2)
    found = [
        analyse(features, Target("side", "categoric", tuple(draws.permutation(["L", "R"] * 20)))).score
        for _ in range(6)
    ]
    assert 0.3 < np.mean([score["balanced_accuracy"] for score in found]) < 0.6


def test_a_word_of_one_subject_cannot_be_found(features):
    truth = ("rare", *("usual" if age < 28 else "late" for age in ages()[1:]))
    assert analyse(features, Target("word", "categoric", truth)).predicted[0] != "rare"


def test_missing_values_are_left_out(features):
    values = [None if row in (0, 7, 39) else age for row, age in enumerate(ages())]
    finding = analyse(features, Target("age", "numeric", tuple(values)))
    kept = np.delete(np.arange(40), [0, 7, 39])
    assert finding.target.rows.tolist() == kept.tolist()
    np.testing.assert_allclose(finding.predicted, leave_one_out(features[kept], ages()[kept][:, None])[:, 0])


# --- the scores -----------------------------------------------------------------------------------------------------


def test_numeric_scores_by_hand():
    truth, predicted = np.array([20.0, 22, 24, 30]), np.array([21.0, 22, 22, 31])
    score = numeric_score(truth, predicted)
    assert score["mae"] == 1.0
    assert score["baseline_mae"] == pytest.approx(np.mean([16 / 3, 8 / 3, 0, 8]))
    assert score["r2"] == pytest.approx(1 - 6 / 56)
    assert score["correlation"] == pytest.approx(np.corrcoef(truth, predicted)[1, 0])
    assert 0 <= score["mae_low"] < 1 < score["mae_high"] <= 2


def test_categoric_scores_by_hand():
    score = categoric_score(np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1]))
    assert score["accuracy"] == 0.75
    assert score["balanced_accuracy"] == pytest.approx((2 / 3 + 1) / 2)
    assert score["baseline_accuracy"] == 0.75
    assert score["baseline_balanced_accuracy"] == 0.5
    for name in ("accuracy", "balanced_accuracy"):
        assert 0 <= score[f"{name}_low"] <= score[name] <= score[f"{name}_high"] <= 1


def test_intervals_hold_what_normal_theory_says():
    draws = np.random.default_rng(3)
    errors = draws.normal(size=400)
    score = numeric_score(np.linspace(0, 10, 400), np.linspace(0, 10, 400) + errors)
    half = 1.96 * np.abs(errors).std() / 20
    assert score["mae_high"] - score["mae"] == pytest.approx(half, rel=0.15)
    assert score["mae"] - score["mae_low"] == pytest.approx(half, rel=0.15)
    right = draws.random(400) < 0.7
    accuracy = categoric_score(np.arange(400) % 2, np.where(right, np.arange(400) % 2, 7))
    half = 1.96 * right.std() / 20
    assert accuracy["accuracy_high"] - accuracy["accuracy"] == pytest.approx(half, rel=0.15)
    assert accuracy["balanced_accuracy_high"] - accuracy["balanced_accuracy"] == pytest.approx(half, rel=0.15)


def test_scores_are_the_same_every_time():
    truth, predicted = np.array([1.0, 2, 3, 5]), np.array([1.5, 2, 2, 4])
    assert numeric_score(truth, predicted) == numeric_score(truth, predicted)


def test_a_constant_prediction_has_no_correlation():
    score = numeric_score(np.array([1.0, 2, 3, 4]), np.full(4, 2.5))
    assert np.isnan(score["correlation"])
    target = Target("age", "numeric", (1.0, 2.0, 3.0, 4.0))
    assert Finding(target, (2.5,) * 4, score).row()["correlation"] == "n/a"


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ((1.0, None, 2.0, None, 3.0), "known of 3 subjects, fewer than 4"),
        ((2.0, 2.0, 2.0, 2.0), "the same for all"),
        (("a", "b", "c", "d"), "another word for every subject"),
    ],
)
def test_a_column_that_cannot_be_predicted_gives_its_reason(values, reason):
    kind = "categoric" if isinstance(values[0], str) else "numeric"
    assert reason in Target("x", kind, values).refusal()


# --- models and tables ----------------------------------------------------------------------------------------------

TWELVE = tuple(f"sub-{number:02d}" for number in range(12))


@pytest.fixture(scope="module")
def crowded(atlas_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., AtlasModel]:
    """Makes the tiny atlas one of many subjects, whose latents hold their age."""

    def model(count: int = 12, *, named: bool = True) -> AtlasModel:
        folder = ModelFolder.read(atlas_run / "model")
        tensors, manifest = load_tensors(folder), folder.manifest
        draws = torch.Generator().manual_seed(1)
        rows = torch.arange(count) % 4
        weeks = torch.linspace(24, 32, count)
        shape = tensors["latents"].shape[1:]
        direction = torch.randn(shape, generator=draws)
        noise = torch.randn((count, *shape), generator=draws)
        tensors["latents"] = (weeks - 28).view(-1, *[1] * len(shape)) * direction + 0.2 * noise
        tensors["transforms"] = tensors["transforms"][rows]
        subjects = [manifest["subjects"][row] | {"age": float(week)} for row, week in zip(rows, weeks, strict=True)]
        for name, subject in zip(TWELVE, subjects, strict=False):
            subject.pop("id", None)
            if named:
                subject["id"] = name
        place = tmp_path_factory.mktemp("crowded") / "model"
        write_model(place, "atlas", tensors, manifest | {"subjects": subjects}, "A card")
        return open_model(str(place), device="cpu")

    return model


@pytest.fixture
def table(tmp_path: Path) -> Callable[..., Path]:
    """Writes a table with the twelve subjects and the columns given, and one more."""

    def write(id_column: str = "participant_id", **columns: list[object]) -> Path:
        lines = ["\t".join([id_column, *columns])]
        for row, name in enumerate((*TWELVE, "sub-99")):
            lines.append("\t".join([name, *(str(values[row % len(values)]) for values in columns.values())]))
        path = tmp_path / "people.tsv"
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path

    return write


def rows_of(path: Path) -> list[dict[str, str]]:
    header, *lines = path.read_text(encoding="utf-8").splitlines()
    return [dict(zip(header.split("\t"), line.split("\t"), strict=True)) for line in lines]


def test_features_are_the_flattened_latents(crowded):
    model = crowded()
    features = subject_features(model)
    assert features.shape == (12, model.latents[0].numel())
    assert features.dtype == np.float64
    np.testing.assert_allclose(features[5], model.latents[5].numpy().ravel(), rtol=1e-7)


def test_everything_is_written(crowded, table, tmp_path):
    model, out = crowded(), tmp_path / "out"
    half = [24.5, "n/a", 26.0, 27.5, 28.0, "", 29.0, 30.0, 30.5, 31.0, 31.5, 33.0]
    path = table(birth_age=half, site=["A", "B"], operated=[0, 0, 1], scan_age=[3], file=list(range(4)))
    findings, written = analyse_to_folder(model, out, path, ["birth_age", "site", "operated", "scan_age"])
    assert [finding.target.name for finding in findings] == [
        *("scan_age", "ventricles", "sex", "birth_age", "site", "operated")
    ]
    assert {file.name for file in written.files} == {
        *("predictions.tsv", "latents.tsv", "latents.png", "provenance.json")
    }
    scores = {row["target"]: row for row in rows_of(out / "latents.tsv")}
    assert scores["scan_age"]["unit"] == "weeks"
    assert float(scores["scan_age"]["mae"]) < 0.3 * float(scores["scan_age"]["baseline_mae"])
    assert scores["scan_age"]["accuracy"] == "n/a"
    assert scores["birth_age"]["n"] == "10"
    assert scores["site"]["mae"] == "n/a"
    assert scores["operated"]["kind"] == "categoric"
    assert float(scores["operated"]["baseline_accuracy"]) == pytest.approx(8 / 12, abs=1e-5)
    predictions = rows_of(out / "predictions.tsv")
    assert [row["subject"] for row in predictions if row["target"] == "scan_age"] == list(TWELVE)
    assert [row["true"] for row in predictions if row["target"] == "operated"] == ["0", "0", "1"] * 4
    missing = {row["subject"] for row in predictions if row["target"] == "birth_age"} ^ set(TWELVE)
    assert missing == {"sub-01", "sub-05"}
    ages = [float(row["true"]) for row in predictions if row["target"] == "scan_age"]
    np.testing.assert_allclose(ages, np.linspace(24, 32, 12), atol=1e-4)
    assert (out / "latents.png").read_bytes().startswith(b"\x89PNG")
    record = json.loads((out / "provenance.json").read_text(encoding="utf-8"))
    assert record["parameters"]["columns"] == ["birth_age", "site", "operated", "scan_age"]
    assert record["seed"] == 0
    assert "research use" in record["notice"]
    assert any("rough: scan_age (12)" in text for text in written.warnings)


def test_all_columns_that_can_be_predicted_are_taken(crowded, table, tmp_path):
    path = table(
        "subject_id", weight=[1.5, 2, 3.5, 3, 4], constant=[7], code=[f"x{row}" for row in range(13)], sex=["F"]
    )
    findings, written = analyse_to_folder(crowded(), tmp_path / "out", path)
    assert [finding.target.name for finding in findings][3:] == ["weight"]
    assert any("'constant' is the same" in text for text in written.warnings)
    assert any("'code' has another word" in text for text in written.warnings)


def test_a_model_without_ids_names_rows(crowded, tmp_path):
    analyse_to_folder(crowded(named=False), tmp_path / "out")
    names = [row["subject"] for row in rows_of(tmp_path / "out" / "predictions.tsv") if row["target"] == "scan_age"]
    assert names == [str(row) for row in range(12)]


def test_four_subjects_are_enough(atlas, tmp_path):
    findings, _ = analyse_to_folder(atlas, tmp_path / "out")
    assert [len(finding.predicted) for finding in findings] == [4, 4, 4]


def test_sessions_belong_to_the_id(crowded, tmp_path):
    model = crowded()
    model.subjects[2]["id"] = "sub-02_ses-b"
    path = tmp_path / "visits.csv"
    lines = [
        f"{name},{visit},{row + ord(visit[-1])}" for row, name in enumerate(TWELVE) for visit in ("ses-a", "ses-b")
    ]
    path.write_text("\n".join(["participant_id,session_id,weight", *lines]), encoding="utf-8")
    (target,) = table_targets(model, path)
    assert target.values == (None, None, 2.0 + ord("b"), *[None] * 9)


# --- what cannot be used --------------------------------------------------------------------------------------------


def test_three_subjects_are_too_few(crowded, tmp_path):
    with raises("model-kind", "3", "4"):
        analyse_to_folder(crowded(3), tmp_path / "out")


def test_a_table_needs_a_model_that_stores_ids(crowded, table):
    with raises("model-kind", "store_ids"):
        table_targets(crowded(named=False), table(weight=[1, 2, 3]))


def test_columns_need_a_table(crowded, tmp_path):
    with raises("value-missing", "--table"):
        analyse_to_folder(crowded(), tmp_path / "out", columns=["weight"])


def test_a_table_of_others_is_refused(crowded, tmp_path):
    path = tmp_path / "others.tsv"
    path.write_text("participant_id\tweight\ncase-1\t2\n", encoding="utf-8")
    with raises("table-invalid", "sub-00", "case-1"):
        table_targets(crowded(), path)


def test_a_table_without_ids_is_refused(crowded, table):
    with raises("table-invalid", "participant_id"):
        table_targets(crowded(), table("who", weight=[1, 2, 3]))


def test_a_subject_twice_is_refused(crowded, table):
    path = table(weight=[1, 2, 3])
    path.write_text(path.read_text(encoding="utf-8") + "sub-03\t9\n", encoding="utf-8")
    with raises("value-duplicate", "sub-03"):
        table_targets(crowded(), path)


def test_an_unknown_column_is_refused(crowded, table):
    with raises("name-unknown", "wieght", "weight"):
        table_targets(crowded(), table(weight=[1, 2, 3]), ["wieght"])


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ([1, 2, "27 weeks"], ["'27 weeks'", "n/a"]),
        ([1, 2, "1e400"], ["people.tsv"]),
        ([5], []),
        ([1, "n/a", "n/a", "n/a", 2.5, "n/a"], [2, 4]),
        ([1, *["n/a"] * 5, 2, *["n/a"] * 4, 3.5], [3, 4]),
    ],
)
def test_a_column_that_cannot_be_predicted_is_refused_when_named(crowded, table, tmp_path, values, named):
    if values.count("n/a") == 4:
        values = [*values, *["n/a"] * 6]
    with raises("table-invalid", "'odd'", *named):
        analyse_to_folder(crowded(), tmp_path / "out", table(odd=values), ["odd"])
    assert not (tmp_path / "out").exists()


def test_stopping_leaves_nothing(crowded, tmp_path):
    progress = Progress()
    progress.cancel()
    with pytest.raises(Cancelled):
        analyse_to_folder(crowded(), tmp_path / "out", progress=progress)
    assert not (tmp_path / "out").exists()


def test_the_command_says_what_it_found(crowded, table, tmp_path, capsys):
    model = crowded()
    line = ["atlas", "latents", "--model", str(model.folder.path), "--table", str(table(site=["A", "B"]))]
    assert cli.main([*line, "--columns", "site", "--out", str(tmp_path / "out"), "--progress", "none"]) == 0
    said = capsys.readouterr().out
    assert "scan_age (12 subjects): mean error" in said
    assert "site (12 subjects)" in said
    assert "research use only" in said
    assert cli.main([*line, "--out", str(tmp_path / "all"), "--progress", "none", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert [row["target"] for row in answer["rows"]] == ["scan_age", "ventricles", "sex", "site"]
