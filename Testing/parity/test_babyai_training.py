"""A whole run of the published training program: order of subjects, losses, best epoch, weights, and its table."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from cases import parity_root

from NeuroGenLib.spatial.volume import Volume
from NeuroGenLib.superres import train as training
from NeuroGenLib.superres.config import (
    NetworkConfig,
    OptimiserConfig,
    PublishedPatchesConfig,
    ScansConfig,
    SplitConfig,
    SuperresTrainConfig,
    ValidationConfig,
)
from NeuroGenLib.superres.published import unet as published_network
from NeuroGenLib.superres.published.patches import PublishedPatches
from NeuroGenLib.superres.published.training_info import COLUMNS
from NeuroGenLib.training.checkpoint import newest_checkpoint
from NeuroGenLib.training.run_folder import checkpoints_folder
from NeuroGenLib.training.settings import TrainerConfig

if TYPE_CHECKING:
    from pathlib import Path

CASE = parity_root() / "babyai"
NEEDED = ("training_run.json", "training_info.csv", "training_volumes.npz", "mini_weights.pth")
RELATIVE = 1e-4

if not all((CASE / name).is_file() for name in NEEDED):
    pytest.skip("no recorded BABY-AI run here (set NEUROGEN_PARITY)", allow_module_level=True)

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def recorded() -> dict:
    return json.loads((CASE / "training_run.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def published_row() -> dict[str, str]:
    with (CASE / "training_info.csv").open(newline="", encoding="utf-8") as file:
        return next(csv.DictReader(file))


@pytest.fixture
def job(tmp_path: Path, recorded: dict, published_row: dict[str, str]) -> SuperresTrainConfig:
    """The recorded run's settings, on its volumes."""
    columns: dict[str, dict[str, str]] = {}
    with np.load(CASE / "training_volumes.npz") as volumes:
        for key in volumes.files:
            if key == "affine":
                continue
            subject, _, column = key.partition("_")
            name = f"{key}.nii.gz"
            Volume(volumes[key], volumes["affine"]).save(tmp_path / name)
            columns.setdefault(subject, {})[column] = name
    assert len(columns) == recorded["n_subjects"]
    names = ("T1w", "T2w", "T2w_LR")
    rows = [
        [f"sub-{subject.removeprefix('sub').removeprefix('-')}", *(columns[subject][name] for name in names)]
        for subject in sorted(columns)
    ]
    text = "\n".join("\t".join(row) for row in [["participant_id", *names], *rows])
    (tmp_path / "participants.tsv").write_text(text + "\n", encoding="utf-8")
    patch, *_ = listed(published_row["patch_size"])
    stride, *_ = listed(published_row["stride"])
    patches = PublishedPatchesConfig(listed(published_row["target_shape"]), patch, stride)
    batch = int(published_row["batch_size"])
    per_epoch = -(-len(recorded["train_order"]) // batch)  # a patch a subject
    return SuperresTrainConfig(
        train=TrainerConfig(
            out=tmp_path / "run", steps=per_epoch * recorded["epochs"], seed=recorded["seed"], device="cpu", threads=1
        ),
        scans=ScansConfig(source=tmp_path / "participants.tsv", images="T2w", guide="T1w", low="T2w_LR"),
        split=SplitConfig(kind="order"),
        published=patches,
        network=NetworkConfig(
            kind="published",
            features=listed(published_row["net channels"]),
            residual_units=int(published_row["net num_res_units"]),
        ),
        optimiser=OptimiserConfig(
            kind="adam", loss="mse", rate=float(published_row["learning_rate"]), schedule="constant", clip=None,
            batch=batch,
        ),
        validation=ValidationConfig(keep="best"),
        note=published_row["note"],
    )  # fmt: skip


def listed(text: str) -> tuple[float, ...]:
    """Read the numbers of a list or tuple as Python prints it."""
    return tuple(json.loads(text.replace("(", "[").replace(")", "]")))


def test_subjects_come_in_the_recorded_order(job: SuperresTrainConfig, recorded: dict) -> None:
    parts = {name: [one.id for one in part] for name, part in PublishedPatches(job).parts.items()}
    assert parts == {"train": recorded["train_order"], "validation": recorded["val"], "test": recorded["test"]}


def test_a_run_gives_the_recorded_losses_and_weights(
    job: SuperresTrainConfig, recorded: dict, published_row: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def started(shape: published_network.Shape) -> published_network.PublishedUNet:
        network = published_network.PublishedUNet(shape)
        network.load_state_dict(torch.load(CASE / "mini_weights.pth", weights_only=True))
        return network

    monkeypatch.setattr(training.published_network, "published_network", started)
    training.train(job)
    with (job.train.out / "training_info.csv").open(newline="", encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    assert tuple(row) == tuple(published_row) == COLUMNS
    assert listed(row["loss_list"]) == pytest.approx(recorded["loss_list"], rel=RELATIVE)
    assert listed(row["val_loss_list"]) == pytest.approx(recorded["val_loss_list"], rel=RELATIVE)
    assert int(row["best_epoch"]) == recorded["best_epoch"]
    own = {"weights", "start time", "end time", "loss_list", "val_loss_list"}
    assert {name: text for name, text in row.items() if name not in own} == {
        name: text for name, text in published_row.items() if name not in own
    }
    found = newest_checkpoint(checkpoints_folder(job.train.out))
    assert found is not None
    weights = found[2]["state_dict"]
    for name, sums in recorded["final_tensor_sums"].items():
        tensor = weights[f"network.{name}"].double()
        assert float(tensor.sum()) == pytest.approx(sums["sum"], rel=RELATIVE, abs=1e-5), name
        assert float(tensor.abs().sum()) == pytest.approx(sums["abs_sum"], rel=RELATIVE), name
