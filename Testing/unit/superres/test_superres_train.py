"""Training of super-resolution: it learns, goes on where it was, stops early, and writes model and table."""

from __future__ import annotations

import csv
import dataclasses
import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from NeuroGenLib.core.config import from_mapping
from NeuroGenLib.core.errors import Cancelled
from NeuroGenLib.core.progress import Progress
from NeuroGenLib.models import ModelFolder, load_tensors
from NeuroGenLib.simulate.contrast import ContrastConfig
from NeuroGenLib.simulate.deformation import DeformationConfig
from NeuroGenLib.spatial.volume import Volume
from NeuroGenLib.superres.card import model_card
from NeuroGenLib.superres.config import (
    ImagesConfig,
    MapsConfig,
    NetworkConfig,
    OptimiserConfig,
    PublishedPatchesConfig,
    ScansConfig,
    SlicesConfig,
    SplitConfig,
    SuperresTrainConfig,
    ValidationConfig,
)
from NeuroGenLib.superres.data.windows import WindowBatch
from NeuroGenLib.superres.losses import superres_loss
from NeuroGenLib.superres.network import SuperresNetwork, network_from_tensors
from NeuroGenLib.superres.published.training_info import History, settings_of_row
from NeuroGenLib.superres.published.unet import network_from_tensors as published_from_tensors
from NeuroGenLib.superres.train import train
from NeuroGenLib.training.settings import TrainerConfig
from Testing.raising import raises

if TYPE_CHECKING:
    from pathlib import Path


STILL = {
    "jitter": 0, "stripped": 0, "thick": 0, "lesions": 0, "noise": (0, 0), "blur": (0, 0), "bias": (0, 0),
    "log_gamma": 0, "background": 0, "deviation": (0, 0), "texture": (0, 0),
}  # fmt: skip


@pytest.fixture
def maps(tmp_path: Path) -> Path:
    """Three heads of shells: skin, bone, fluid, cortex, white matter; 1 mm voxels."""
    away = np.linalg.norm(np.stack(np.meshgrid(*[np.arange(28) - 13.5] * 3, indexing="ij")), axis=0)
    for number, radius in enumerate((7, 8, 9)):
        labels = np.zeros((28, 28, 28), np.int16)
        for value, wider in ((511, 4), (515, 3), (24, 1), (3, 0), (2, -2)):
            labels[away < radius + wider] = value
        Volume(labels, np.eye(4)).save(tmp_path / "maps" / f"sub-{number}.nii.gz")
    return tmp_path / "maps"


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Four subjects as the published program wants them: T1w, T2w and a blurred T2w_LR on one small grid."""
    random = np.random.default_rng(5)
    rows = ["participant_id\tT1w\tT2w\tT2w_LR"]
    for number in range(7):
        image = random.random((12, 14, 10)).astype(np.float32) * 500
        low = (image + np.roll(image, 1, 2)) / 2
        for name, array in (("T1w", 600 - image), ("T2w", image), ("T2w_LR", low)):
            Volume(array, np.eye(4)).save(tmp_path / f"sub-{number}_{name}.nii.gz")
        rows.append("\t".join([f"sub-{number}", *(f"sub-{number}_{name}.nii.gz" for name in ("T1w", "T2w", "T2w_LR"))]))
    (tmp_path / "participants.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return tmp_path / "participants.tsv"


def job(maps: Path, steps: int, out: str = "run", every: int = 100, **changes: object) -> SuperresTrainConfig:
    return SuperresTrainConfig(
        train=TrainerConfig(out=maps.parent / out, steps=steps, device="cpu", threads=1, log_every=1, **changes),
        maps=MapsConfig(source=maps, include=("sub-*",)),
        slices=SlicesConfig((4, 4), several=0, noise=(0, 0)),
        images=ImagesConfig(turned=0, guide_shift=0, guide_turn=0, guide_dropped=0.2, gain=0, offset=0),
        target=ContrastConfig(kind="t2w", **STILL),
        guide=ContrastConfig(kind="t1w", **STILL),
        deformation=DeformationConfig(rotation=0, log_scale=0, shear=0, scales=(), amplitudes=()),
        window=16,
        network=NetworkConfig(features=(8, 8), convolutions=1),
        optimiser=OptimiserConfig(rate=1e-2, warmup=2, batch=2),
        validation=ValidationConfig(every=every, thicknesses=(4.0,)),
    )


def published_job(table: Path, steps: int, out: str = "run") -> SuperresTrainConfig:
    return SuperresTrainConfig(
        train=TrainerConfig(out=table.parent / out, steps=steps, device="cpu", threads=1, log_every=1),
        scans=ScansConfig(source=table, guide="T1w", low="T2w_LR"),
        split=SplitConfig(kind="order"),
        published=PublishedPatchesConfig((16, 16, 16), patch=8, stride=8),
        network=NetworkConfig(kind="published", features=(2, 3, 4), residual_units=2),
        optimiser=OptimiserConfig(kind="adam", loss="mse", rate=1e-3, schedule="constant", clip=None, batch=12),
        validation=ValidationConfig(keep="best"),
    )


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_training_learns_and_writes_model_and_table(maps: Path) -> None:
    config = job(maps, 60, every=30)
    path = train(config)
    run = maps.parent / "run"
    assert path == run / "model"
    folder = ModelFolder.read(path)
    assert folder.kind == "superres"
    assert folder.manifest["network"] == {"kind": "residual", "features": [8, 8], "convolutions": 1}
    preparation = folder.manifest["preparation"]
    assert (preparation["window"], preparation["guide"], preparation["thickness"]) == (16, "optional", [4.0, 4.0])
    network = network_from_tensors(folder.manifest["network"], load_tensors(folder))
    assert isinstance(network, SuperresNetwork)
    assert network.last.weight.abs().max() > 0
    text = (path / "neurogen.json").read_text(encoding="utf-8")
    assert str(maps.parent) not in text
    assert "sub-" not in text
    metrics = rows_of(run / "metrics.csv")
    last = metrics[-1]
    assert float(last["validation/psnr"]) > float(last["validation/input_psnr"])
    (row,) = rows_of(run / "training_info.csv")
    assert (row["train_size"], row["val_size"], row["test_size"], row["max num of epochs"]) == ("2", "1", "0", "2")
    validated = [float(one["Loss/Validation"]) for one in metrics if one["Loss/Validation"]]
    assert json.loads(row["val_loss_list"]) == validated
    means = [np.mean([float(one["loss"]) for one in metrics[start : start + 30]]) for start in (0, 30)]
    assert json.loads(row["loss_list"]) == pytest.approx(means, rel=1e-5)
    assert list((run / "tensorboard").glob("events*"))
    card = (path / "README.md").read_text(encoding="utf-8")
    assert "4 to 4 mm thick" in card
    assert "research use only" in card.lower()


def test_a_stopped_run_goes_on_as_if_it_had_not(maps: Path) -> None:
    whole = train(job(maps, 4, "whole", every=3))
    train(job(maps, 4, "parts", every=3, checkpoint_steps=2, max_minutes=1e-9))
    parts = train(job(maps, 4, "parts", every=3, checkpoint_steps=2))
    one, other = (load_tensors(ModelFolder.read(path)) for path in (whole, parts))
    assert all((one[name] == other[name]).all() for name in one)
    (first,), (second,) = (rows_of(maps.parent / out / "training_info.csv") for out in ("whole", "parts"))
    assert first["loss_list"] == second["loss_list"]
    assert first["val_loss_list"] == second["val_loss_list"]
    assert len(json.loads(second["val_loss_list"])) == 2


def test_a_run_that_gets_no_better_stops(maps: Path) -> None:
    config = dataclasses.replace(
        job(maps, 50), validation=ValidationConfig(every=1, patience=2, min_delta=10.0, keep="best")
    )
    train(config)
    (row,) = rows_of(maps.parent / "run" / "training_info.csv")
    assert row["best_epoch"] == "1"
    assert len(json.loads(row["val_loss_list"])) == 3
    assert ModelFolder.read(maps.parent / "run" / "model").manifest["training"]["steps"] == 1


def test_a_cancelled_validation_leaves_a_model(maps: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def impatient(self: object, done: float, total: float | None = None, message: str = "") -> None:
        if "validating" in message:
            raise Cancelled

    monkeypatch.setattr(Progress, "update", impatient)
    path = train(job(maps, 2, every=2))
    assert ModelFolder.read(path).kind == "superres"
    assert not (maps.parent / "run" / "training_info.csv").exists()


def test_training_can_start_from_a_model(maps: Path) -> None:
    first = train(job(maps, 1))
    with raises("weights-mismatch"):
        train(dataclasses.replace(job(maps, 1, "other", init_from=str(first)), network=NetworkConfig(features=(4, 4))))
    again = train(job(maps, 1, "again", init_from=str(first)))
    assert again is not None


def test_the_published_recipe_trains_and_its_model_is_folded(table: Path) -> None:
    """5 subjects of 7 would be 4: 4 x 8 patches in batches of 12 are 3 steps an epoch."""
    path = train(published_job(table, 6))
    (row,) = rows_of(table.parent / "run" / "training_info.csv")
    assert (row["train_size"], row["val_size"], row["test_size"]) == ("4", "1", "2")
    assert (row["patch_size"], row["max num of epochs"]) == ("(8, 8, 8)", "2")
    losses = json.loads(row["val_loss_list"])
    assert losses[1] < losses[0]
    folder = ModelFolder.read(path)
    record = folder.manifest["network"]
    assert (record["kind"], record["folded"], record["window"]) == ("published", True, 8)
    network = published_from_tensors(record, load_tensors(folder))
    assert network(torch.zeros(1, 2, 8, 8, 8)).shape == (1, 1, 8, 8, 8)
    assert "8 voxels a side, no other" in (path / "README.md").read_text(encoding="utf-8")
    with raises("model-kind"):
        train(
            dataclasses.replace(
                published_job(table, 1, "again"), train=TrainerConfig(table.parent / "x", 1, init_from=str(path))
            )
        )


def test_volumes_that_do_not_fit_are_named(table: Path) -> None:
    config = dataclasses.replace(published_job(table, 1), published=PublishedPatchesConfig((8, 8, 8), 8, 8))
    with raises("geometry-mismatch", "_T1w.nii.gz", (12, 14, 10)):
        train(config)


def test_shareable_settings_have_no_ids_and_no_folders(maps: Path) -> None:
    settings = job(maps, 1).shareable()
    assert settings["maps"]["source"] == "maps"
    assert settings["maps"]["include"] == []
    assert settings["train"]["out"] == "run"
    assert settings["window"] == 16


def test_a_card_tells_the_notice_and_the_numbers() -> None:
    text = model_card(
        {
            "name": "sharp", "description": "It sharpens.", "notice": "Trained on phantoms.", "license": "CC0-1.0",
            "citation": ["Doe J. 2026."],
            "network": {"kind": "residual", "features": [8, 16], "convolutions": 1},
            "preparation": {
                "thickness": [2.0, 8.0], "several_stacks": False, "guide": "none", "window": 64,
                "interpolation": "cubic B-spline",
            },
            "training": {"steps": 9, "metrics": {"psnr": {"text": "In dB.", "table": "| 4 mm |"}}},
        }
    )  # fmt: skip
    for line in (
        "license: cc0-1.0",
        "**Trained on phantoms.**",
        "T2w alone",
        "2 to 8 mm",
        "In dB.",
        "| 4 mm |",
        "- Doe J. 2026.",
    ):
        assert line in text


# --- loss and history -----------------------------------------------------------------------------------------------


def a_batch(target: torch.Tensor, head: torch.Tensor, low: torch.Tensor | None = None) -> WindowBatch:
    nothing = torch.zeros_like(target)
    return WindowBatch(
        target if low is None else low,
        nothing,
        target,
        head,
        torch.zeros(len(target), 2, 3),
        torch.zeros(len(target), 3, 4, 4),
    )


def test_a_constant_error_has_no_gradient_and_counts_by_the_head() -> None:
    target, head = torch.zeros(1, 1, 4, 4, 4), torch.zeros(1, 1, 4, 4, 4)
    head[..., :2] = 1
    found = torch.full_like(target, 0.5)
    found[..., 2:] = 0.1
    batch = a_batch(target, head)
    smooth = OptimiserConfig(loss="charbonnier", gradient_weight=1.0, outside_weight=0.25)
    parts = superres_loss(found, batch, smooth)
    # Nearly |error|: half of the voxels count fully with 0.5, half with a quarter and 0.1.
    assert float(parts["intensity"]) == pytest.approx((0.5 + 0.25 * 0.1) / 1.25, abs=2e-3)
    flat = superres_loss(torch.full_like(target, 0.5), batch, smooth)
    assert float(flat["gradient"]) == pytest.approx(0, abs=1e-6)
    assert float(parts["gradient"]) > 0.01
    assert float(superres_loss(target, batch, smooth)["loss"]) == pytest.approx(0, abs=1e-6)
    squared = superres_loss(found, batch, dataclasses.replace(smooth, loss="mse"))
    assert float(squared["loss"]) == pytest.approx((0.25 + 0.25 * 0.01) / 1.25)


def test_the_relative_loss_is_one_for_what_was_given_and_counts_windows_alike() -> None:
    target, head = torch.zeros(2, 1, 4, 4, 4), torch.ones(2, 1, 4, 4, 4)
    low = torch.stack([torch.full((1, 4, 4, 4), 0.1), torch.full((1, 4, 4, 4), 1.0)])
    batch, settings = a_batch(target, head, low), OptimiserConfig(loss="relative")
    assert float(superres_loss(low, batch, settings)["loss"]) == pytest.approx(1, abs=0.02)
    # Half the error of one window, or of the other: a quarter of its square.
    for number in (0, 1):
        found = low.clone()
        found[number] /= 2
        assert float(superres_loss(found, batch, settings)["loss"]) == pytest.approx((1 + 0.25) / 2, abs=0.02)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.floats(0, 0.3))
def test_the_best_epoch_is_better_than_all_before_by_the_least_difference(losses: list[float], least: float) -> None:
    history, best, where = History("now"), None, 0
    for number, loss in enumerate(losses, start=1):
        better = best is None or loss < best - least
        if better:
            best, where = loss, number
        assert history.add(0.0, loss, least) is better
    assert history.best_epoch == where
    assert history.since_best == len(losses) - where


def test_a_published_row_says_what_was_trained(table: Path) -> None:
    job = published_job(table, 3)
    train(job)
    (row,) = rows_of(table.parent / "run" / "training_info.csv")
    settings = settings_of_row(row)
    assert from_mapping(PublishedPatchesConfig, settings["published"]) == job.published
    network = from_mapping(NetworkConfig, settings["network"])
    assert (network.features, network.residual_units) == (job.network.features, job.network.residual_units)
    optimiser = from_mapping(OptimiserConfig, settings["optimiser"])
    assert (optimiser.loss, optimiser.rate, optimiser.batch) == ("mse", job.optimiser.rate, job.optimiser.batch)


@pytest.mark.parametrize("text", ["open('x')", "(32", "('a', 'b')", ""])
def test_a_row_of_something_else_is_refused(text: str) -> None:
    with raises("table-invalid"):
        settings_of_row({"patch_size": text})
