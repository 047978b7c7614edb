"""A whole run of the published training program: order of subjects, losses, best epoch, weights, and its table."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from babyai_case import named, published_row, seeded_weights
from cases import folders

from NeuroGenLib.core.config import from_mapping
from NeuroGenLib.spatial.volume import Volume
from NeuroGenLib.superres import train as training
from NeuroGenLib.superres.config import SuperresTrainConfig
from NeuroGenLib.superres.published import unet as published_network
from NeuroGenLib.superres.published.patches import PublishedPatches
from NeuroGenLib.superres.published.training_info import COLUMNS, settings_of_row
from NeuroGenLib.training.checkpoint import newest_checkpoint
from NeuroGenLib.training.run_folder import checkpoints_folder

if TYPE_CHECKING:
    from pathlib import Path

NEEDED = ("training_run.json", "training_info.csv", "training_volumes.npz", "meta.json")
RELATIVE = 1e-4
CASES = [folder for folder in folders("babyai") if all((folder / name).is_file() for name in NEEDED)]

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(params=CASES, ids=named)
def case(request: pytest.FixtureRequest) -> Path:
    """The folder of a recorded run."""
    return request.param


@pytest.fixture
def recorded(case: Path) -> dict:
    return json.loads((case / "training_run.json").read_text(encoding="utf-8"))


@pytest.fixture
def job(tmp_path: Path, case: Path, recorded: dict) -> SuperresTrainConfig:
    """The recorded run's settings, on its volumes."""
    columns: dict[str, dict[str, str]] = {}
    with np.load(case / "training_volumes.npz") as volumes:
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
    settings = settings_of_row(published_row(case))
    per_epoch = -(-len(recorded["train_order"]) // settings["optimiser"]["batch"])  # a patch a subject
    given = {
        "train": {
            "out": (tmp_path / "run").as_posix(),
            "steps": per_epoch * recorded["epochs"],
            "seed": recorded["seed"],
            "device": "cpu",
            "threads": 1,
        },
        "scans": {
            "source": (tmp_path / "participants.tsv").as_posix(), "images": "T2w", "guide": "T1w", "low": "T2w_LR"
        },
        "split": {"kind": "order"},
        "validation": {"keep": "best"},
    }  # fmt: skip
    return from_mapping(SuperresTrainConfig, settings | given)


def test_subjects_come_in_the_recorded_order(job: SuperresTrainConfig, recorded: dict) -> None:
    parts = {name: [one.id for one in part] for name, part in PublishedPatches(job).parts.items()}
    assert parts == {"train": recorded["train_order"], "validation": recorded["val"], "test": recorded["test"]}


def test_a_run_gives_the_recorded_losses_and_weights(
    job: SuperresTrainConfig, case: Path, recorded: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = published_row(case)
    weights_file = seeded_weights(case, tmp_path)

    def started(shape: published_network.PublishedUNetConfig) -> published_network.PublishedUNet:
        network = published_network.PublishedUNet(shape)
        network.load_state_dict(torch.load(weights_file, weights_only=True))
        return network

    monkeypatch.setattr(training.published_network, "published_network", started)
    training.train(job)
    with (job.train.out / "training_info.csv").open(newline="", encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    assert tuple(row) == tuple(expected) == COLUMNS
    assert json.loads(row["loss_list"]) == pytest.approx(recorded["loss_list"], rel=RELATIVE)
    assert json.loads(row["val_loss_list"]) == pytest.approx(recorded["val_loss_list"], rel=RELATIVE)
    assert int(row["best_epoch"]) == recorded["best_epoch"]
    own = {"weights", "start time", "end time", "loss_list", "val_loss_list"}
    assert {name: text for name, text in row.items() if name not in own} == {
        name: text for name, text in expected.items() if name not in own
    }
    found = newest_checkpoint(checkpoints_folder(job.train.out))
    assert found is not None
    weights = found[2]["state_dict"]
    for name, sums in recorded["final_tensor_sums"].items():
        tensor = weights[f"network.{name}"].double()
        assert float(tensor.sum()) == pytest.approx(sums["sum"], rel=RELATIVE, abs=1e-5), name
        assert float(tensor.abs().sum()) == pytest.approx(sums["abs_sum"], rel=RELATIVE), name
