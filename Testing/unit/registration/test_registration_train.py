"""Training a registration network, from a table on disk to a model folder."""

from __future__ import annotations

import dataclasses
import json
import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from NeuroGenLib.core.errors import Cancelled
from NeuroGenLib.core.progress import Progress
from NeuroGenLib.models.folder import ModelFolder, load_tensors
from NeuroGenLib.registration.config import (
    LossConfig,
    OptimiserConfig,
    RegularityConfig,
    SegmentationConfig,
    SimilarityConfig,
)
from NeuroGenLib.registration.data.pairs import Item, PairBatch, Truth
from NeuroGenLib.registration.data.sources import pair_source
from NeuroGenLib.registration.losses import landmark_loss
from NeuroGenLib.registration.network.configured import freeze_unused
from NeuroGenLib.registration.network.grids import Grids
from NeuroGenLib.registration.network.sitreg import Halves, Mappings, SITReg
from NeuroGenLib.registration.network.sizes import SITRegConfig
from NeuroGenLib.registration.objective import Objective, coarser_truth, pairs_of
from NeuroGenLib.registration.train import RegistrationModule, train
from NeuroGenLib.spatial.transforms.displacement import sample
from NeuroGenLib.training.metrics_log import read_metrics
from Testing.raising import raises
from Testing.registration_fixtures import TINY_NETWORK, table_job, write_scans

if TYPE_CHECKING:
    from pathlib import Path

    from NeuroGenLib.registration.config import RegistrationTrainConfig

pytestmark = pytest.mark.usefixtures("one_thread")

EVERYTHING = {"segmentation": "Seg", "mask": "mask", "landmarks": "points"}


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three heads with labels, masks and landmarks."""
    return write_scans(tmp_path_factory.mktemp("scans"))


@pytest.fixture(scope="module")
def run(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run of four steps."""
    out = tmp_path_factory.mktemp("runs") / "run"
    train(table_job(table, out))
    return out


class Stopper(Progress):
    """Asks to stop once the step counter shows a number."""

    def __init__(self, step: int) -> None:
        super().__init__()
        self._words = f"step {step},"

    def show(self, step: float, total: float, message: str) -> None:  # noqa: ARG002
        if self._words in message:
            self.cancel()


def table_of(table: Path, **changes: Any) -> dict[str, Any]:
    return {"table": {"table": str(table), "placement": "world", **changes}}


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    return load_tensors(ModelFolder.read(folder / "model"))


def generated_job(table: Path, out: Path, **changes: Any) -> RegistrationTrainConfig:
    data = {
        "source": "generated",
        "labels_per_step": 2,
        "generated": {
            "shape": [16, 16, 16],
            "groups": {"heads": {"source": str(table), "segmentation": "Seg"}},
            "deformation": {"translation": 1.0, "scales": [16.0], "amplitudes": [1.0]},
        },
    }
    losses = {"similarity": {}, "segmentation": {"dice": {}}, "truth_weight": 0.2, "grid": "transform"}
    return table_job(table, out, data=data, losses=losses, **changes)


# --- a whole run ----------------------------------------------------------------------------------------------------


def test_a_run_leaves_a_model(run, table):
    folder = ModelFolder.read(run / "model")
    assert folder.kind == "registration"
    manifest = folder.manifest
    network = SITReg(SITRegConfig(**manifest["network"]))
    network.load_state_dict(load_tensors(folder))
    assert manifest["preparation"] == {
        "grid": [16, 18, 14],
        "spacing": [2.0, 2.0, 2.0],
        "fill": None,
        "placement": "world",
        "normalisation": "percentile",
        "orientation": "RAS",
    }
    card = (run / "model" / "README.md").read_text(encoding="utf-8")
    assert "research use only" in card
    assert "16 x 18 x 14 voxels of 2 x 2 x 2 mm" in card
    assert "4 steps on scans" in card
    text = (run / "model" / "neurogen.json").read_text(encoding="utf-8")
    assert str(table.parent) not in text
    assert "sub-01" not in text
    json.loads(text)


@pytest.mark.slow
def test_a_run_learns(table, tmp_path):
    """Dice of the heads' labels rises above that of a run that sees the same pairs and hardly moves its weights.

    The pairs start at Dice losses of about -0.59, -0.74 and -0.83: the mean over a few steps says more about which
    of them were drawn than about learning; the difference between two runs of the same draws does not depend on that
    (0.05 to 0.08 with three seeds).
    """
    dice = {}
    for rate in (1e-2, 1e-9):
        job = table_job(
            table,
            tmp_path / f"{rate}",
            data=table_of(table, segmentation="Seg"),
            losses={"similarity": {}, "segmentation": {"dice": {"weight": 1.0}}, "regularity": {"g": {"weight": 0.01}}},
            optimiser={"rate": rate},
            train={"steps": 60},
        )
        train(job)
        dice[rate] = np.array([row["dice"] for row in read_metrics(tmp_path / f"{rate}" / "metrics.csv")])
    assert dice[1e-2][0] == pytest.approx(dice[1e-9][0], abs=1e-5)
    assert (dice[1e-9] - dice[1e-2])[-15:].mean() > 0.02


@pytest.mark.parametrize("kind", ["table", "generated", "three"])
def test_an_interrupted_run_repeats_the_uninterrupted_one(table, tmp_path, kind):
    def job(out: Path) -> RegistrationTrainConfig:
        if kind == "generated":
            return generated_job(table, out)
        if kind == "three":
            data = table_of(table, mask="mask") | {"items_per_step": 3}
            return table_job(table, out, data=data, losses={"consistency": [[1, 0.0], [3, 2.0]]})
        augmentation = {"probability": 0.5, "rotation_stds": [5.0, 5.0, 5.0]}
        return table_job(table, out, data=table_of(table, **EVERYTHING) | {"batch": 2}, augmentation=augmentation)

    train(job(tmp_path / "whole"))
    with pytest.raises(Cancelled):
        train(job(tmp_path / "parts"), Stopper(2))
    train(job(tmp_path / "parts"))
    whole, parts = weights_of(tmp_path / "whole"), weights_of(tmp_path / "parts")
    assert whole.keys() == parts.keys()
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    read = [(tmp_path / name / "metrics.csv").read_text() for name in ("whole", "parts")]
    assert read[0] == read[1]


def test_the_seed_decides(table, tmp_path):
    first, again, other = (
        weights_of(train(table_job(table, tmp_path / name, train={"steps": 1, "seed": seed})).parent)
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_generated_images_train(table, tmp_path):
    train(generated_job(table, tmp_path / "run", train={"steps": 12}))
    rows = read_metrics(tmp_path / "run" / "metrics.csv")
    assert {"dice", "gradient", "truth", "loss", "lr"} <= rows[0].keys()
    known = [row for row in rows if row["truth"] == row["truth"]]
    assert 0 < len(known) < 12  # NaN where the true map is not known
    for row in known:
        assert row["loss"] == pytest.approx(row["dice"] + row["gradient"] + 0.2 * row["truth"], rel=1e-5)
    record = ModelFolder.read(tmp_path / "run" / "model").manifest["preparation"]
    assert record == {"grid": [16, 16, 16], "fill": 0.84, "normalisation": "percentile", "orientation": "RAS"}


def test_a_warm_start(run, table, tmp_path):
    still = {"optimiser": {"rate": 0.0}, "train": {"steps": 1, "init_from": str(run / "model")}}
    train(table_job(table, tmp_path / "next", **still))
    before, after = weights_of(run), weights_of(tmp_path / "next")
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_warm_start_from_another_network_is_refused(run, table, tmp_path):
    network = TINY_NETWORK | {"stage_features": [None, 6, 8]}
    with raises("weights-mismatch", "stages.2"):
        train(table_job(table, tmp_path / "next", network=network, train={"init_from": str(run / "model")}))


# --- going on from another run --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rule", "rate"), [("config", 1e-4), ("checkpoint", 1e-3)])
def test_which_rate_counts_is_said(run, table, tmp_path, rule, rate, caplog):
    caplog.set_level(logging.INFO, logger="NeuroGenLib.registration")
    optimiser = {"rate": 1e-4, "continue_from": str(run), "rate_on_resume": rule}
    train(table_job(table, tmp_path / "next", optimiser=optimiser, train={"steps": 2}))
    rows = read_metrics(tmp_path / "next" / "metrics.csv")
    assert [row["lr"] for row in rows] == [rate, rate]
    assert f"learning rate {rate:g}" in caplog.text
    assert "that run had 0.001, the settings say 0.0001" in caplog.text


def test_adam_goes_on_where_the_other_run_stood(run, table, tmp_path):
    """With a rate of zero the moments alone change; a fresh Adam would have those of one step."""
    optimiser = {"rate": 0.0, "continue_from": str(run)}
    train(table_job(table, tmp_path / "next", optimiser=optimiser, train={"steps": 1}))
    before, after = weights_of(run), weights_of(tmp_path / "next")
    assert all(torch.equal(before[name], after[name]) for name in before)
    (path,) = (tmp_path / "next" / "checkpoints").glob("*.ckpt")
    state = torch.load(path, weights_only=True)["optimizer_states"][0]["state"]
    assert {float(entry["step"]) for entry in state.values()} == {5.0}


def test_unusable_folders_to_continue_from_are_refused(run, table, tmp_path):
    with raises("file-missing"):
        train(table_job(table, tmp_path / "a", optimiser={"continue_from": str(tmp_path)}))
    with raises("value-conflict"):
        table_job(table, tmp_path / "a", optimiser={"continue_from": str(run)}, train={"init_from": str(run)})


# --- what is minimised ----------------------------------------------------------------------------------------------


def mappings(shape: tuple[int, int, int], seed: int, batch: int = 1, factor: float = 1.0) -> Mappings:
    grids = Grids(shape, factor=(factor,) * 3)
    generator = torch.Generator().manual_seed(seed)
    forward, inverse = torch.randn((2, batch, 3, *grids.transform_shape), generator=generator) / 2
    return Mappings(forward, inverse, grids, forward / 2, inverse / 2, Halves(grids, forward))


def random_item(shape: tuple[int, int, int], seed: int, batch: int = 1, points: int = 4) -> Item:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.rand((batch, 2, *shape), generator=generator).round()
    return Item(
        torch.rand((batch, 1, *shape), generator=generator),
        labels,
        torch.ones(batch, 1, *shape),
        1 + 5 * torch.rand((batch, points, 3), generator=generator),
    )


def test_the_loss_is_the_weighted_sum_of_its_terms():
    config = LossConfig(
        similarity={"ncc": SimilarityConfig(weight=2.0, window=3), "mse": SimilarityConfig(kind="mse", weight=0.5)},
        regularity={"g": RegularityConfig(weight=3.0), "ndv": RegularityConfig(kind="ndv", weight=1e-3)},
        segmentation={"dice": SegmentationConfig(weight=0.7)},
        landmark_weight=0.1,
    )
    shape = (8, 9, 10)
    batch = PairBatch((random_item(shape, 1), random_item(shape, 2)), (1.0, 1.0, 1.0))
    found = {name: float(value) for name, value in Objective(config)({0: mappings(shape, 3)}, batch, 0).items()}
    total = 2 * found["ncc"] + 0.5 * found["mse"] + 3 * found["g"] + 1e-3 * found["ndv"] + 0.7 * found["dice"]
    assert found["loss"] == pytest.approx(total + 0.1 * found["landmarks"], rel=1e-5)


def test_exchanging_images_and_maps_changes_no_loss():
    config = LossConfig(
        similarity={
            "mi": SimilarityConfig(kind="mutual_information"),
            "m": SimilarityConfig(kind="multiresolution_ncc"),
        },
        segmentation={"dice": SegmentationConfig()},
        landmark_weight=1.0,
    )
    shape = (8, 8, 8)
    one, other, maps = random_item(shape, 1), random_item(shape, 2), mappings(shape, 3)
    swapped = dataclasses.replace(maps, forward=maps.inverse, inverse=maps.forward)
    first = Objective(config)({0: maps}, PairBatch((one, other), (1.0, 1.0, 2.0)), 0)
    second = Objective(config)({0: swapped}, PairBatch((other, one), (1.0, 1.0, 2.0)), 0)
    assert float(first["loss"]) == pytest.approx(float(second["loss"]), rel=1e-5)


def test_the_dense_part_alone_is_rough_when_asked():
    shape = (8, 8, 8)
    batch = PairBatch((random_item(shape, 1), random_item(shape, 2)), (1.0, 1.0, 1.0))
    with_affine, dense = (
        float(Objective(LossConfig(regularize_with_affine=flag))({0: mappings(shape, 3)}, batch, 0)["gradient"])
        for flag in (True, False)
    )
    assert dense == pytest.approx(with_affine / 4, rel=1e-5)  # the dense field is half of the whole one here


def test_losses_on_the_transforms_grid():
    """A head twice as wide as the voxels: averaging loses nothing."""
    shape, generator = (8, 12, 8), torch.Generator().manual_seed(0)
    coarse = torch.rand((1, 1, 4, 6, 4), generator=generator)
    fine = torch.nn.functional.interpolate(coarse, scale_factor=2)
    maps = mappings(shape, 3, factor=2.0)
    config = LossConfig(similarity={"mse": SimilarityConfig(kind="mse")}, grid="transform", ignore_mask=True)
    found = Objective(config)({0: maps}, PairBatch((Item(fine), Item(fine)), (1.0, 1.0, 1.0)), 0)["mse"]
    grid = torch.stack(torch.meshgrid(torch.arange(4.0), torch.arange(6.0), torch.arange(4.0), indexing="ij"))[None]
    most = torch.tensor([3.0, 5.0, 3.0]).view(1, 3, 1, 1, 1)

    def one_way(field: torch.Tensor) -> float:
        place = grid + field
        in_view = ((place >= 0) & (place <= most)).all(dim=1, keepdim=True)
        return float(((sample(coarse, place) - coarse).square() * in_view).mean())

    expected = (one_way(maps.forward) + one_way(maps.inverse)) / 2
    assert float(found) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("ignore_mask", "expected"), [(False, 2 / 6), (True, 4 / 6)])
def test_without_masks_the_field_of_view_still_counts(ignore_mask, expected):
    """Images that differ by 1 everywhere, two of six voxels apart, and masks that leave out a plane each.

    Of the six planes, the warp takes two from beyond the moving image whatever the masks are; with them, one more is
    masked where it comes from and another where it goes to, in either direction.
    """
    shape = (6, 4, 4)
    field = torch.zeros(1, 3, *shape)
    field[:, 0] = 2.0
    grids = Grids(shape)
    maps = Mappings(field, -field, grids, field, -field, Halves(grids, field))
    moving_mask, fixed_mask = torch.ones(1, 1, *shape), torch.ones(1, 1, *shape)
    moving_mask[:, :, 3], fixed_mask[:, :, 0] = 0, 0
    moving, fixed = (Item(torch.zeros(1, 1, *shape), mask=moving_mask), Item(torch.ones(1, 1, *shape), mask=fixed_mask))
    config = LossConfig(similarity={"mse": SimilarityConfig(kind="mse")}, ignore_mask=ignore_mask)
    found = Objective(config)({0: maps}, PairBatch((moving, fixed), (1.0, 1.0, 1.0)), 0)["mse"]
    assert float(found) == pytest.approx(expected, rel=1e-6)


def test_the_true_map_has_no_loss():
    maps = mappings((8, 12, 8), 3, factor=2.0)
    forward, inverse = (
        2 * torch.nn.functional.interpolate(field, scale_factor=2) for field in (maps.forward, maps.inverse)
    )
    inside = torch.ones(1, 1, 8, 12, 8)
    truth = Truth(forward, inverse, inside, inside)
    torch.testing.assert_close(coarser_truth(truth, maps.grids).forward, maps.forward)
    batch = PairBatch((random_item((8, 12, 8), 1), random_item((8, 12, 8), 2)), (1.0, 1.0, 1.0), truth)
    objective = Objective(LossConfig(truth_weight=1.0, grid="transform"))
    assert float(objective({0: maps}, batch, 0)["truth"]) < 1e-10
    shifted = dataclasses.replace(truth, forward=forward + 2.0)  # one voxel of the transform along each axis
    batch = dataclasses.replace(batch, truth=shifted)
    assert float(objective({0: maps}, batch, 0)["truth"]) == pytest.approx(0.5, rel=1e-5)


def test_landmarks_are_in_voxels_of_the_images():
    shape = (8, 8, 8)
    maps = mappings(shape, 3, factor=2.0)
    one, other = random_item(shape, 1), random_item(shape, 2)
    found = [
        Objective(LossConfig(landmark_weight=1.0, grid=grid))({0: maps}, PairBatch((one, other), (1.0, 1.0, 1.0)), 0)
        for grid in ("image", "transform")
    ]
    expected = landmark_loss(maps.forward_on_images(), maps.inverse_on_images(), one.landmarks, other.landmarks)
    assert [float(losses["landmarks"]) for losses in found] == pytest.approx([float(expected)] * 2)


def test_a_round_of_three_is_three_pairs():
    items = tuple(random_item((8, 8, 8), seed) for seed in range(3))
    moving, fixed = pairs_of(PairBatch(items, (1.0, 1.0, 1.0)))
    for row, (one, other) in enumerate(((0, 1), (1, 2), (2, 0))):
        assert torch.equal(moving.image[row], items[one].image[0])
        assert torch.equal(fixed.labels[row], items[other].labels[0])


def test_a_round_of_shifts_that_close_is_consistent():
    """1 -> 2 -> 3 -> 1 by shifts: none left over costs nothing, a remainder its square in units of half the side."""
    shape = (12, 12, 12)
    shifts = torch.tensor([[1.0, 0.0, 0.5], [-2.0, 1.0, 0.0], [1.0, -1.0, -0.5]])
    batch = PairBatch(tuple(random_item(shape, seed) for seed in range(3)), (1.0, 1.0, 1.0))
    objective = Objective(LossConfig(consistency=((10.0, 0.0), (20.0, 4.0)), ignore_mask=True))

    def consistency(shift: torch.Tensor, step: int) -> float:
        field = shift.view(3, 3, 1, 1, 1).expand(3, 3, *shape)
        maps = Mappings(field, -field, Grids(shape), field, -field, Halves(Grids(shape), field))
        losses = objective({0: maps}, batch, step)
        rest = float(losses["ncc"] + losses["gradient"])
        assert float(losses["loss"]) == pytest.approx(
            rest + objective.consistency_weight(step) * float(losses["consistency"]), abs=1e-5
        )
        return float(losses["consistency"])

    assert consistency(shifts, 15) < 1e-10
    assert 0 < consistency(shifts + torch.tensor([[0.6, 0, 0], [0, 0, 0], [0, 0, 0]]), 15) <= (0.6 / 6) ** 2 + 1e-6
    weights = [objective.consistency_weight(step) for step in (0, 10, 15, 20, 99)]
    assert weights == pytest.approx([0, 0, 2, 4, 4])


def test_a_group_counts_its_folds_once():
    """The folded volume is a sum over the batch; three pairs of one round are one sample."""
    shape = (8, 8, 8)
    single = mappings(shape, 3)
    field = single.forward * 4
    maps = [
        dataclasses.replace(
            single, forward=field.expand(count, -1, -1, -1, -1), inverse=field.expand(count, -1, -1, -1, -1)
        )
        for count in (1, 3)
    ]
    objective = Objective(LossConfig(regularity={"ndv": RegularityConfig(kind="ndv")}))
    items = tuple(random_item(shape, seed) for seed in range(3))
    one, three = (
        float(objective({0: found}, PairBatch(some, (1.0, 1.0, 1.0)), 0)["ndv"])
        for found, some in zip(maps, (items[:2], items), strict=True)
    )
    assert one > 0
    assert three == pytest.approx(one, rel=1e-5)


# --- the module -----------------------------------------------------------------------------------------------------


def test_every_trained_parameter_gets_a_gradient(table, tmp_path):
    """Also with levels that no loss uses: processes that train together would wait for them."""
    network = {
        "features": [4, 4, 8, 8],
        "feature_convolutions": [1, 1, 1, 1],
        "stage_features": [None, 6, 6, None],
        "stage_convolutions": [None, 1, 1, None],
    }
    for changes in ({}, {"skipped_stages": 1}, {"affine": True}, {"affine": True, "chained_affine": False}):
        job = table_job(table, tmp_path / "run", network=network | changes)
        module = RegistrationModule(job, pair_source(job))
        module.step_loss(0)["loss"].backward()
        for name, parameter in module.network.named_parameters():
            got = parameter.grad is not None
            assert got == parameter.requires_grad, f"{name} with {changes}"
        assert any(not parameter.requires_grad for parameter in module.network.parameters()) == (
            changes != {"affine": True}
        )


def test_levels_that_no_loss_sees_are_not_trained():
    shape = SITRegConfig((4, 4, 4), (0, 1, 1), (None, 4, 4), (None, 1, 1), factor=(2.0, 2.0, 2.0))
    network = SITReg(shape)
    freeze_unused(network, frozenset({1}))
    assert [name for name, stage in network.stages.items() if not next(stage.parameters()).requires_grad] == ["1"]


def test_the_gradient_is_clipped(table, tmp_path):
    job = table_job(table, tmp_path / "run", optimiser={"clip": 1e-3})
    module = RegistrationModule(job, pair_source(job))
    (1e6 * module.step_loss(0)["loss"]).backward()
    module.on_before_optimizer_step(torch.optim.SGD(module.parameters()))
    norm = torch.stack([p.grad.norm() for p in module.parameters() if p.grad is not None]).norm()
    assert float(norm) == pytest.approx(1e-3, rel=1e-3)


def test_the_cosine_goes_down_to_its_floor(table, tmp_path):
    job = table_job(table, tmp_path / "run", optimiser={"schedule": "cosine", "floor": 0.1, "rate": 1e-3})
    train(job)
    rates = [row["lr"] for row in read_metrics(tmp_path / "run" / "metrics.csv")]
    assert rates[0] == 1e-3
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] < 3e-4


def test_a_grid_that_cannot_be_averaged_is_refused(table, tmp_path):
    data = table_of(table, shape=[15, 18, 14])
    with raises("value-conflict"):
        train(table_job(table, tmp_path / "run", data=data, losses={"grid": "transform"}))


def test_ids_and_folders_stay_out_of_the_model_unless_wanted(table, tmp_path):
    data = table_of(table, include=["sub-0*"])
    job = table_job(table, tmp_path / "run", data=data)
    settings = job.shareable()
    assert settings["data"]["table"]["table"] == "scans.tsv"
    assert "include" not in settings["data"]["table"]
    assert "generated" not in settings["data"]
    kept = dataclasses.replace(job, store_ids=True).shareable()
    assert kept["data"]["table"]["include"] == ["sub-0*"]


def test_a_rate_rule_that_is_unknown():
    with raises("value-invalid", "rate_on_resume"):
        OptimiserConfig(rate_on_resume="theirs")
