"""Augmentation of training points: each kind changes what it should and nothing else."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates

from NeuroGenLib.atlas.config import AugmentationConfig, MotionConfig
from NeuroGenLib.atlas.data.augment import Augmentation, deformed, spline
from NeuroGenLib.atlas.data.dataset import build_dataset
from NeuroGenLib.atlas.data.points import PointBatch, PointTable, SubjectPoints, prepare
from NeuroGenLib.atlas.train import train
from NeuroGenLib.core.config import from_mapping
from NeuroGenLib.core.errors import Cancelled
from NeuroGenLib.core.progress import Progress
from NeuroGenLib.models.folder import ModelFolder, load_tensors
from NeuroGenLib.training.metrics_log import read_metrics
from Testing.geometry import a_brain_phantom
from Testing.raising import raises

if TYPE_CHECKING:
    from pathlib import Path

    from Testing.atlas_fixtures import AtlasCohort

BOX = np.array([80.0, 100.0, 90.0])
KINDS = ("deformation", "motion", "noise", "bias", "gamma")
INTENSITY_KINDS = KINDS[1:]
EVERYTHING = {kind: {"probability": 0.7} for kind in KINDS}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def settings(**kinds: dict[str, Any]) -> AugmentationConfig:
    return from_mapping(AugmentationConfig, kinds)


def always(kind: str, **sizes: Any) -> AugmentationConfig:
    return settings(**{kind: {"probability": 1.0, **sizes}})


@pytest.fixture(scope="module")
def heads() -> list[SubjectPoints]:
    """Three subjects of two modalities, normalised in three ways, with two corrupted copies of random intensities."""
    rng = np.random.default_rng(0)
    subjects = []
    for size, normalisation in ((3.0, "percentile"), (3.5, "minmax"), (3.2, "zscore")):
        drawn = a_brain_phantom((26, 32, 24), size)
        images = np.stack([drawn.image.array, np.where(drawn.labels.array > 0, 1200 - drawn.image.array, 0)])
        points = prepare(images, drawn.labels.array, drawn.image.affine, halo_mm=6.0, normalisation=normalisation)
        copies = rng.uniform(0, 1, (2, *points.intensities.shape)).astype(np.float32)
        subjects.append(
            SubjectPoints(
                points.index, points.intensities, points.classes, points.outside, points.affine, points.centre,
                points.scaling, copies,
            )
        )  # fmt: skip
    return subjects


@pytest.fixture(scope="module")
def batch(heads: list[SubjectPoints]) -> PointBatch:
    """Points of the three, a tenth of them far outside."""
    return PointTable(heads, 0).sample(3000, None, 0.1, generator(5))


@pytest.fixture(scope="module")
def signal(batch: PointBatch) -> torch.Tensor:
    """(B, N) which of the points have a signal: those inside the label map."""
    return batch.classes > 0


def changed(batch: PointBatch, heads: list[SubjectPoints], config: AugmentationConfig, seed: int = 0) -> PointBatch:
    return Augmentation(config, heads, BOX)(batch, generator(seed))


def above_zero(batch: PointBatch, heads: list[SubjectPoints], values: torch.Tensor) -> np.ndarray:
    """Return intensities (B, N, M) above raw zero, by the subjects' own scaling."""
    fill = np.stack([-head.scaling[:, 0] / head.scaling[:, 1] for head in heads])
    return values.double().numpy() - fill[batch.subjects.numpy()][:, None]


# --- off ------------------------------------------------------------------------------------------------------------


def test_off_is_the_same_bit_for_bit_and_draws_nothing(batch, heads):
    source = generator(3)
    before = source.get_state()
    result = Augmentation(AugmentationConfig(), heads, BOX)(batch, source)
    assert torch.equal(result.points, batch.points)
    assert torch.equal(result.intensities, batch.intensities)
    assert torch.equal(source.get_state(), before)


@pytest.mark.parametrize("kind", KINDS)
def test_a_subject_that_is_not_drawn_stays_bit_for_bit(batch, heads, kind):
    """With half a chance each of three subjects is either changed or exactly as it was; the share is the chance."""
    config = settings(**{kind: {"probability": 0.5}})
    hits = []
    for seed in range(60):
        result = changed(batch, heads, config, seed)
        for row in range(3):
            same = torch.equal(result.points[row], batch.points[row]) and torch.equal(
                result.intensities[row], batch.intensities[row]
            )
            hits.append(not same)
    assert 0.38 < np.mean(hits) < 0.62


# --- each kind alone ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_changes_what_it_should_and_nothing_else(batch, heads, signal, kind):
    result = changed(batch, heads, always(kind))
    assert torch.equal(result.classes, batch.classes)
    assert torch.equal(result.subjects, batch.subjects)
    if kind == "deformation":
        assert torch.equal(result.intensities, batch.intensities)
        assert ((result.points != batch.points).any(-1).float().mean(1) > 0.99).all()
        return
    assert torch.equal(result.points, batch.points)
    differs = (result.intensities != batch.intensities).any(-1)
    assert not differs[~signal].any()
    assert (differs & signal).sum() > 0.95 * signal.sum()


@pytest.mark.parametrize("kind", KINDS)
def test_a_change_is_a_function_of_the_generator(batch, heads, kind):
    one, same, other = (changed(batch, heads, always(kind), seed) for seed in (1, 1, 2))
    assert torch.equal(one.points, same.points)
    assert torch.equal(one.intensities, same.intensities)
    assert not (torch.equal(one.points, other.points) and torch.equal(one.intensities, other.intensities))


def test_the_batch_itself_stays(batch, heads):
    points, intensities = batch.points.clone(), batch.intensities.clone()
    changed(batch, heads, settings(**EVERYTHING))
    assert torch.equal(batch.points, points)
    assert torch.equal(batch.intensities, intensities)


@given(seed=st.integers(0, 1000))
def test_gamma_is_a_power_of_the_scaled_intensities(batch, heads, signal, seed):
    result = changed(batch, heads, always("gamma", log_gamma=0.4), seed)
    before = above_zero(batch, heads, batch.intensities)
    after = above_zero(batch, heads, result.intensities)
    gammas = []
    for row, head in enumerate(heads):
        top = np.percentile(head.intensities, 99.9, axis=0) + head.scaling[:, 0] / head.scaling[:, 1]
        for channel in range(2):
            share = before[row, signal[row], channel] / top[channel]
            now = after[row, signal[row], channel] / top[channel]
            inner = (share > 0.05) & (share < 0.95)
            powers = np.log(now[inner]) / np.log(share[inner])
            assert np.ptp(powers) < 0.02
            gammas.append(powers.mean())
            assert now.max() <= 1 + 1e-5
    assert all(math.exp(-0.41) < gamma < math.exp(0.41) for gamma in gammas)
    assert len({round(gamma, 4) for gamma in gammas}) == 6, "one for each subject and modality"


@given(seed=st.integers(0, 1000), limit=st.floats(0.1, 1.5))
def test_bias_is_the_exponential_of_a_cubic_polynomial(batch, heads, signal, seed, limit):
    result = changed(batch, heads, always("bias", coefficient=limit), seed)
    before = above_zero(batch, heads, batch.intensities)
    after = above_zero(batch, heads, result.intensities)
    for row in range(3):
        x, y, z = (batch.points[row].double().numpy() / (BOX / 2)).T
        terms = np.stack(
            [x**a * y**b * z**c for a in range(4) for b in range(4 - a) for c in range(4 - a - b)], 1
        )  # the constant is the first
        for channel in range(2):
            inside = signal[row].numpy() & (before[row, :, channel] > 0.1)
            logs = np.log(after[row, inside, channel] / before[row, inside, channel])
            found, *_ = np.linalg.lstsq(terms[inside], logs, rcond=None)
            assert np.abs(terms[inside] @ found - logs).max() < 1e-3
            assert abs(found[0]) < 1e-2
            assert np.abs(found).max() < limit + 0.05


def test_noise_is_gaussian_of_at_most_the_size(heads):
    """Five thousand points: the deviation is known to two percent."""
    many = PointTable(heads, 0).sample(15_000, None, 0.0, generator(1))
    deviations = []
    for seed in range(20):
        difference = changed(many, heads, always("noise", size=0.1), seed).intensities - many.intensities
        for row, head in enumerate(heads):
            span = np.percentile(head.intensities, 99.9, axis=0) + head.scaling[:, 0] / head.scaling[:, 1]
            inside = (difference[row] != 0).any(-1)
            noise = difference[row][inside].numpy() / span
            assert (np.abs(noise.mean(0)) < 5 * noise.std(0) / np.sqrt(len(noise))).all()
            deviations += list(noise.std(0))
    assert max(deviations) < 0.105
    assert 0.03 < np.mean(deviations) < 0.07


def test_motion_takes_one_of_the_corrupted_copies(batch, heads, signal):
    seen = set()
    for seed in range(12):
        result = changed(batch, heads, always("motion"), seed)
        for row in range(3):
            copies = [torch.equal(result.intensities[row][signal[row]], copy[row][signal[row]])
                      for copy in batch.corrupted]  # fmt: skip
            assert sum(copies) == 1
            seen.add((row, copies.index(True)))
    assert seen == {(row, copy) for row in range(3) for copy in range(2)}


# --- deformation ----------------------------------------------------------------------------------------------------


@given(seed=st.integers(0, 1000), size=st.floats(0, 20), control_points=st.integers(4, 12))
def test_a_deformation_never_exceeds_its_displacement(seed, size, control_points):
    """Also beyond the box."""
    points = torch.from_numpy(np.random.default_rng(seed).uniform(-80, 80, (2, 200, 3)).astype(np.float32))
    moved = deformed(points, torch.tensor(BOX / 2).float(), control_points, size, generator(seed))
    assert (moved - points).abs().max() <= size + 1e-4


@given(seed=st.integers(0, 1000))
def test_a_deformation_is_smooth(seed):
    """Between points a hair apart it differs by less than twice the displacement over the control spacing allows."""
    half, side, size = torch.tensor(BOX / 2).float(), 7, 7.5
    start = torch.from_numpy(np.random.default_rng(seed).uniform(-40, 40, (1, 300, 3)).astype(np.float32))
    step = torch.tensor([0.0, 1.0, 0.0])
    shift = [deformed(points, half, side, size, generator(seed)) - points for points in (start, start + step)]
    spacing = BOX[1] / (side - 3)
    assert (shift[1] - shift[0]).abs().max() <= 2 * size / spacing * 1.01
    assert shift[0].std(1).min() > 0.1, "and it is not just one shift"


def test_a_deformation_is_the_cubic_spline_of_its_control_points():
    """By scipy's spline, from the same draw; a point at x goes to x + u(x)."""
    side, size, half = 6, 9.0, BOX / 2
    points = np.random.default_rng(1).uniform(-1, 1, (1, 500, 3)) * half
    moved = deformed(torch.from_numpy(points).float(), torch.tensor(half).float(), side, size, generator(4))
    shifts = size * (2 * torch.rand(1, 3, side, side, side, generator=generator(4)) - 1).double().numpy()[0]
    place = (points[0] / half + 1) / 2 * (side - 3) + 1
    expected = [map_coordinates(shift, place.T, order=3, prefilter=False, mode="nearest") for shift in shifts]
    np.testing.assert_allclose(moved[0].numpy() - points[0], np.stack(expected, 1), atol=1e-4)


def test_spline_weights_sum_to_one():
    position = torch.linspace(0, 1, 50)[:, None]
    weights = spline((position + 1 - torch.arange(4)).abs())
    np.testing.assert_allclose(weights.sum(1), 1, atol=1e-6)


@given(seed=st.integers(0, 300))
def test_the_largest_deformation_without_a_warning_does_not_fold(seed):
    side, half = 7, torch.tensor(BOX / 2).float()
    size = 0.4 * float(BOX.min()) / (side - 3)
    points = torch.from_numpy(np.random.default_rng(seed).uniform(-38, 38, (1, 100, 3))).float().requires_grad_()
    moved = deformed(points, half, side, size, generator(seed))
    rows = [torch.autograd.grad(moved[..., axis].sum(), points, retain_graph=True)[0][0] for axis in range(3)]
    assert (torch.linalg.det(torch.stack(rows, 1)) > 0).all()


def test_a_deformation_that_may_fold_is_said(heads, caplog):
    Augmentation(always("deformation", displacement=7.5), heads, BOX)
    assert caplog.text == ""
    Augmentation(always("deformation", displacement=8.5), heads, BOX)
    assert "Deformations of up to 8.5 mm with control points 20.0 mm apart may fold" in caplog.text


# --- corrupted copies -----------------------------------------------------------------------------------------------


def test_corrupted_copies_are_drawn_with_their_points(heads):
    marked = [
        SubjectPoints(head.index, head.intensities, head.classes, head.outside, head.affine, head.centre, head.scaling,
                      np.stack([head.intensities + 10, head.intensities + 20]))
        for head in heads
    ]  # fmt: skip
    drawn = PointTable(marked, 0).sample(600, 2, 0.25, generator(2))
    assert drawn.corrupted.shape == (2, 2, 300, 2)
    for copy, mark in zip(drawn.corrupted, (10, 20), strict=True):
        torch.testing.assert_close(copy[:, :225], drawn.intensities[:, :225] + mark)
        assert torch.equal(copy[:, 225:], drawn.intensities[:, 225:]), "nothing is outside"


def test_a_dataset_holds_corrupted_copies_of_each_subject(atlas_cohort, tmp_path):
    data = atlas_cohort.config(tmp_path).data
    motion = MotionConfig(probability=0.5, variants=3)
    clean = build_dataset(data, motion=MotionConfig())
    spoilt, same, other = (build_dataset(data, motion=motion, seed=seed) for seed in (1, 1, 2))
    for row, subject in enumerate(spoilt.subjects):
        assert clean.subjects[row].corrupted is None
        assert np.array_equal(subject.intensities, clean.subjects[row].intensities)
        assert subject.corrupted.shape == (3, *subject.intensities.shape)
        rim = subject.classes == 0
        assert np.array_equal(subject.corrupted[:, rim], np.broadcast_to(subject.fill, (3, rim.sum(), 2)).astype("f4"))
        for copy in subject.corrupted:
            difference = np.abs(copy - subject.intensities)[~rim]
            assert 0.005 < difference.mean() < 0.2
        assert np.array_equal(subject.corrupted, same.subjects[row].corrupted)
        assert not np.array_equal(subject.corrupted, other.subjects[row].corrupted)


def test_a_box_cuts_the_copies_with_the_points(atlas_cohort, tmp_path):
    config = atlas_cohort.config(tmp_path)
    data = from_mapping(type(config.data), {"table": str(atlas_cohort.table), "box": [40, 50, 60]})
    for subject in build_dataset(data, motion=MotionConfig(probability=1.0)).subjects:
        assert subject.corrupted.shape == (2, *subject.intensities.shape)


# --- whole runs -----------------------------------------------------------------------------------------------------


class Stopper(Progress):
    """Asks to stop after a step."""

    def show(self, step: float, total: float, message: str) -> None:  # noqa: ARG002
        if "step 7," in message:
            self.cancel()


def job(cohort: AtlasCohort, out: Path, steps: int = 16, **augmentation: Any) -> Any:
    return cohort.config(
        out,
        train={"steps": steps, "log_every": 1},
        optimiser={"points": 300, "subjects_per_step": 3},
        top={"augmentation": augmentation},
    )


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_a_run_with_everything_on_trains_and_goes_on_alike(atlas_cohort, tmp_path):
    whole, parts, plain = (tmp_path / name for name in ("whole", "parts", "plain"))
    train(job(atlas_cohort, whole, **EVERYTHING))
    with raises("cancelled", 8, 16, kind=Cancelled):
        train(job(atlas_cohort, parts, **EVERYTHING), Stopper())
    train(job(atlas_cohort, parts, **EVERYTHING))
    train(job(atlas_cohort, plain))
    rows = read_metrics(whole / "metrics.csv")
    assert all(np.isfinite(row["loss"]) for row in rows)
    assert read_metrics(parts / "metrics.csv") == rows
    expected, tensors = (load_tensors(ModelFolder.read(run / "model")) for run in (whole, parts))
    assert all(torch.equal(tensors[name], value) for name, value in expected.items())
    assert read_metrics(plain / "metrics.csv")[0]["loss"] != rows[0]["loss"]
    recorded = ModelFolder.read(whole / "model").manifest["training"]["config"]["augmentation"]
    assert recorded["gamma"] == {"probability": 0.7, "log_gamma": 0.4}


def test_a_run_older_than_a_setting_goes_on_with_its_default(atlas_cohort, tmp_path):
    """As if the run had been started before there was any augmentation."""
    train(job(atlas_cohort, tmp_path / "run", steps=2))
    path = tmp_path / "run" / "run.json"
    run = json.loads(path.read_text(encoding="utf-8"))
    del run["parameters"]["augmentation"]
    path.write_text(json.dumps(run), encoding="utf-8")
    with raises("run-conflict", "augmentation.noise.probability", 0.0, 0.3):
        train(job(atlas_cohort, tmp_path / "run", steps=3, noise={"probability": 0.3}))
    train(job(atlas_cohort, tmp_path / "run", steps=3))
    assert read_metrics(tmp_path / "run" / "metrics.csv")[-1]["step"] == 3


def test_a_run_whose_conditions_stand_in_another_order_is_another_run(atlas_cohort, tmp_path):
    """The first condition is the first input of the network."""
    config = job(atlas_cohort, tmp_path / "run", steps=2)
    train(config)
    turned = dict(reversed(config.data.conditions.items()))
    turned_data = dataclasses.replace(config.data, conditions=turned)
    longer = dataclasses.replace(config.train, steps=3)
    with raises("run-conflict", "data.conditions.ventricles"):
        train(dataclasses.replace(config, data=turned_data, train=longer))
    train(dataclasses.replace(config, train=longer))


@pytest.mark.parametrize(
    ("kind", "values", "error"),
    [
        ("noise", {"probability": 1.2}, ("value-invalid", "'noise.probability'", 1.2)),
        ("deformation", {"control_points": 3}, ("value-invalid", "'deformation.control_points'", 3)),
        ("motion", {"variants": 0}, ("value-invalid", "'motion.variants'", 0)),
        ("gamma", {"size": 0.3}, ("name-unknown", "'gamma.size'")),
    ],
)
def test_settings_out_of_range_are_refused(kind, values, error):
    with raises(*error):
        settings(**{kind: values})
