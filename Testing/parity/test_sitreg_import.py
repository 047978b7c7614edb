"""Recorded runs of the published registration program, imported as a user does, give the recorded maps."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from cases import parity_root

from NeuroGenLib.core.config import from_mapping
from NeuroGenLib.models.catalogue import import_model
from NeuroGenLib.models.folder import load_tensors
from NeuroGenLib.registration.config import RegistrationTrainConfig
from NeuroGenLib.registration.network.sitreg import Mappings, Shape, SITReg
from NeuroGenLib.registration.published.training_config import import_config
from NeuroGenLib.registration.train import network_shape

if TYPE_CHECKING:
    from pathlib import Path

    from NeuroGenLib.models.folder import ModelFolder

CASES = sorted((parity_root() / "sitreg").glob("case_*"))
if not CASES:
    pytest.skip("no recorded registration runs here (set NEUROGEN_PARITY)", allow_module_level=True)

pytestmark = pytest.mark.usefixtures("one_thread")

each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def checkpoint_of(case: Path) -> Path:
    return sorted(case.glob("model_epoch_*.pt"))[-1]


def shape_in(folder: ModelFolder) -> Shape:
    sizes = folder.manifest["network"]
    return Shape(**{name: tuple(value) if isinstance(value, list) else value for name, value in sizes.items()})


def registered(case: Path, folder: ModelFolder, every: bool = False) -> list[Mappings]:
    network = SITReg(shape_in(folder)).eval()
    network.load_state_dict(load_tensors(folder), strict=True)
    with np.load(case / "inputs.npz") as inputs, torch.no_grad():
        moving, fixed = (torch.from_numpy(inputs[name].astype(np.float32)) for name in ("image_1", "image_2"))
        spacing = tuple(folder.manifest["preparation"]["spacing"])
        return list(network.levels(moving, fixed, spacing, solver="reference", every=every))


@each_case
def test_an_imported_model_gives_the_recorded_maps(case, tmp_path):
    (found,) = registered(case, import_model("sitreg", checkpoint_of(case), tmp_path / "model"))
    with np.load(case / "outputs.npz") as expected:
        for name, displacement in (("forward", found.forward), ("inverse", found.inverse)):
            recorded = expected[f"{name}_displacement"]
            assert np.abs(recorded).max() > 0.1, "a map that moves nothing would compare anything"
            assert np.abs(displacement[0].numpy() - recorded.reshape(displacement.shape[1:])).max() < 1e-4


@each_case
def test_all_stages_go_further_where_the_program_stops_early(case, tmp_path):
    legacy = import_model("sitreg", checkpoint_of(case), tmp_path / "legacy")
    whole = import_model("sitreg", checkpoint_of(case), tmp_path / "all", legacy_levels=False)
    skipped = legacy.manifest["network"]["skipped_stages"]
    assert whole.manifest["network"]["skipped_stages"] == 0
    maps = registered(case, whole, every=True)
    assert len(maps) == 1 + len(shape_in(whole).stages)
    with np.load(case / "outputs.npz") as expected:
        recorded = torch.from_numpy(expected["forward_displacement"]).reshape(maps[-1].forward.shape)
    assert (maps[-1 - skipped].forward - recorded).abs().max() < 1e-4
    if skipped:
        assert (maps[-1].forward - recorded).abs().max() > 1e-2


@each_case
def test_the_settings_of_a_run_describe_its_network(case, tmp_path):
    translation, _ = import_config(case / "training_config.json", tmp_path / "settings.yaml")
    config = from_mapping(RegistrationTrainConfig, translation.settings)
    folder = import_model("sitreg", checkpoint_of(case), tmp_path / "model")
    assert network_shape(config.network, folder.manifest["preparation"]["grid"]) == shape_in(folder)
    published = json.loads((case / "training_config.json").read_text())["application"]["config"]["training"]
    similarity = [term for level in published["loss"]["similarity"] for term in level or []]
    assert len(config.losses.similarity) == len(similarity)
    assert sorted(term.weight for term in config.losses.similarity.values()) == sorted(
        term.get("weight", 1.0) for term in similarity
    )
