"""Bad files of the published registration program: its settings and its checkpoints."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import torch

from Testing.hostile.inputs import hostile, values
from Testing.sitreg_run import sitreg_settings, sitreg_state

if TYPE_CHECKING:
    from pathlib import Path

    from Testing.hostile.workspace import Workspace

SETTINGS, CHECKPOINT = "training_config.json", "model_epoch_004.pt"


def written(made: Workspace, text: str) -> Path:
    path = made.folder / "bad.json"
    path.write_text(text, encoding="utf-8")
    return path


def changed(made: Workspace, **model: Any) -> Path:
    """Return settings with another network."""
    settings = sitreg_settings()
    settings["application"]["config"]["model"] |= model
    return written(made, json.dumps(settings))


@hostile("sitreg_settings", says="no-such.json")
def sitreg_settings_that_are_not_there(made: Workspace) -> Path:
    return made.folder / "no-such.json"


@hostile("sitreg_settings", says="cohort")
def sitreg_settings_that_are_a_folder(made: Workspace) -> Path:
    return made.table.parent


@hostile("sitreg_settings", says="bad.json")
def sitreg_settings_that_are_not_json(made: Workspace) -> Path:
    return written(made, "data: {")


@hostile("sitreg_settings", says="bad.json")
def sitreg_settings_that_are_a_list(made: Workspace) -> Path:
    return written(made, "[1, 2]")


@hostile("sitreg_settings", says=("bad.json", "nested too deeply"))
def sitreg_settings_that_are_nested_too_deeply(made: Workspace) -> Path:
    return written(made, "[" * 200_000)


@hostile("sitreg_settings", says=("bad.json", "too large"))
def sitreg_settings_that_are_huge(made: Workspace) -> Path:
    return written(made, " " * 5_000_000)


@hostile("sitreg_settings", says=("bad.json", "n_features_per_resolution"))
def a_sitreg_network_without_levels(made: Workspace) -> Path:
    return changed(made, n_features_per_resolution=[])


@hostile("sitreg_settings", says=("bad.json", "voxel_size", "null"))
def a_sitreg_network_without_voxel_size(made: Workspace) -> Path:
    return changed(made, voxel_size=None)


@hostile("sitreg_settings", says=("bad.json", "data.module", "moon"))
def a_sitreg_run_on_an_unknown_data_set(made: Workspace) -> Path:
    settings = sitreg_settings()
    settings["data"]["module"] = "moon"
    return written(made, json.dumps(settings))


@hostile("sitreg_checkpoint", says="no-such.pt")
def a_sitreg_checkpoint_that_is_not_there(made: Workspace) -> Path:
    return made.folder / "no-such.pt"


@hostile("sitreg_checkpoint", says=CHECKPOINT)
def a_sitreg_checkpoint_that_is_truncated(made: Workspace) -> None:
    path = made.sitreg / CHECKPOINT
    path.write_bytes(path.read_bytes()[:4000])


@hostile("sitreg_checkpoint", says=("optimizer_epoch_004.pt", "optimiser"))
def a_sitreg_optimiser_for_a_network(made: Workspace) -> Path:
    return made.sitreg / "optimizer_epoch_004.pt"


@hostile("sitreg_checkpoint", says=("checkpoint_epoch_5.pth", "registration_network"))
def a_checkpoint_of_another_program(made: Workspace) -> Path:
    return made.checkpoint


@hostile("sitreg_checkpoint", says=(CHECKPOINT, "is missing"))
def a_sitreg_checkpoint_without_its_stages(made: Workspace) -> None:
    state = {name: value for name, value in sitreg_state().items() if not name.startswith("_not_none")}
    torch.save({"registration_network": state}, made.sitreg / CHECKPOINT)


@hostile("sitreg_checkpoint", says=(CHECKPOINT, "not finite"))
def a_sitreg_checkpoint_that_diverged(made: Workspace) -> None:
    state = sitreg_state()
    state["_feature_extractor.initial_projection.bias"][0] = torch.inf
    torch.save({"registration_network": state}, made.sitreg / CHECKPOINT)


values("sitreg_orientation", ("RRS", "RRS"), ("up", "up"), ("RASL", "RASL"))
values("start_epoch", ("6", "6"), ("-1", "-1"), ("1.5", "1.5"), ("late", "late"), ("nan", "nan"))
