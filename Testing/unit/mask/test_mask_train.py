"""Training of the brain mask: it learns, goes on where it was, and writes a model without secrets."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

import numpy as np
import pytest

from NeuroGenLib.core.errors import InputError
from NeuroGenLib.mask.config import MapsConfig, MaskTrainConfig, NetworkConfig, OptimiserConfig, ViewConfig
from NeuroGenLib.mask.train import train
from NeuroGenLib.models import ModelFolder, load_tensors
from NeuroGenLib.simulate.contrast import ContrastConfig
from NeuroGenLib.spatial.volume import Volume
from NeuroGenLib.training.settings import TrainerConfig

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def maps(tmp_path: Path) -> Path:
    """Two heads of shells: skin, bone, fluid, brain; 3 mm voxels."""
    away = np.linalg.norm(np.stack(np.meshgrid(*[np.arange(32) - 15.5] * 3, indexing="ij")), axis=0)
    for number, radius in enumerate((8, 9)):
        labels = np.zeros((32, 32, 32), np.int16)
        for value, wider in ((511, 5), (515, 3), (24, 1), (3, 0), (2, -2)):
            labels[away < radius + wider] = value
        Volume(labels, np.diag([3.0, 3, 3, 1])).save(tmp_path / "maps" / f"sub-{number}.nii.gz")
    return tmp_path / "maps"


def job(maps: Path, steps: int, out: str = "run", **changes: object) -> MaskTrainConfig:
    return MaskTrainConfig(
        train=TrainerConfig(out=maps.parent / out, steps=steps, device="cpu", threads=1, log_every=1, **changes),
        maps=MapsConfig(source=maps, include=("sub-*",)),
        view=ViewConfig(sides=(32,), offset=6),
        contrast=ContrastConfig(kind="t1w", stripped=0),
        network=NetworkConfig(features=(4, 8, 8)),
        optimiser=OptimiserConfig(rate=1e-2, warmup=2),
        spacing=3.0,
    )


def dice_by_step(run: Path) -> list[float]:
    with (run / "metrics.csv").open(encoding="utf-8") as file:
        return [float(row["dice"]) for row in csv.DictReader(file)]


@pytest.mark.slow
def test_training_learns_and_writes_a_model(maps: Path) -> None:
    path = train(job(maps, 60))
    assert path == maps.parent / "run" / "model"
    found = dice_by_step(maps.parent / "run")
    assert np.mean(found[-5:]) > np.mean(found[:5]) + 0.1
    folder = ModelFolder.read(path)
    assert folder.kind == "mask"
    assert folder.manifest["preparation"]["spacing"] == 3.0
    text = (path / "neurogen.json").read_text(encoding="utf-8")
    assert str(maps.parent) not in text
    assert "sub-" not in text


def test_a_stopped_run_goes_on_as_if_it_had_not(maps: Path) -> None:
    whole = train(job(maps, 6, "whole"))
    train(job(maps, 6, "parts", checkpoint_steps=3, max_minutes=1e-9))
    parts = train(job(maps, 6, "parts", checkpoint_steps=3))
    while parts is None or not (parts / "neurogen.json").is_file():
        parts = train(job(maps, 6, "parts", checkpoint_steps=3))
    one, other = (load_tensors(ModelFolder.read(path)) for path in (whole, parts))
    assert all((one[name] == other[name]).all() for name in one)


def test_training_can_start_from_a_model(maps: Path) -> None:
    first = train(job(maps, 2))
    with pytest.raises(InputError, match="do not fit this network"):
        train(
            MaskTrainConfig(
                train=TrainerConfig(out=maps.parent / "other", steps=1, device="cpu", init_from=str(first)),
                maps=MapsConfig(source=maps),
                network=NetworkConfig(features=(4, 8)),
            )
        )
    again = train(job(maps, 1, "again", init_from=str(first)))
    assert again is not None


def test_shareable_settings_have_no_ids_and_no_folders(maps: Path) -> None:
    settings = job(maps, 1).shareable()
    assert settings["maps"]["source"] == "maps"
    assert settings["maps"]["include"] == []
    assert settings["train"]["out"] == "run"
    assert settings["spacing"] == 3.0


def test_a_folder_without_maps_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty"):
        train(job(tmp_path / "empty", 1))
