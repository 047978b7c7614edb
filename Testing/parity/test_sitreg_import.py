"""Recorded runs of the published registration program, imported as a user does, give the recorded maps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from sitreg_case import checkpoint_of, each_case, losses_of, settings

from NeuroGenLib.core.config import from_mapping
from NeuroGenLib.models.catalogue import import_model
from NeuroGenLib.models.folder import load_tensors
from NeuroGenLib.registration.config import NetworkConfig
from NeuroGenLib.registration.network.configured import network_shape
from NeuroGenLib.registration.network.sitreg import Mappings, SITReg
from NeuroGenLib.registration.network.sizes import SITRegConfig
from NeuroGenLib.registration.published.training_config import network_settings

if TYPE_CHECKING:
    from pathlib import Path

    from NeuroGenLib.models.folder import ModelFolder

pytestmark = pytest.mark.usefixtures("one_thread")


def shape_in(folder: ModelFolder) -> SITRegConfig:
    sizes = folder.manifest["network"]
    return SITRegConfig(**{name: tuple(value) if isinstance(value, list) else value for name, value in sizes.items()})


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
    network = from_mapping(NetworkConfig, network_settings(settings(case)))
    folder = import_model("sitreg", checkpoint_of(case), tmp_path / "model")
    assert network_shape(network, folder.manifest["preparation"]["grid"]) == shape_in(folder)


@each_case
def test_the_settings_of_a_run_name_its_losses(case):
    losses = losses_of(case)
    published = settings(case).levels("application.config.training.loss.similarity")
    weights = [term.get("weight", 1.0) for level in published for term in level]
    assert [term.weight for term in losses.similarity.values()] == weights
