"""The settings of a registration training: what is refused, and that the shipped files load."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from NeuroGenLib.core.config import from_mapping
from NeuroGenLib.core.config_command_line import load_config
from NeuroGenLib.core.errors import InputError
from NeuroGenLib.models import resolve
from NeuroGenLib.registration.config import LossConfig, NetworkConfig, RegistrationTrainConfig, TableConfig
from NeuroGenLib.registration.network.configured import network_shape
from NeuroGenLib.registration.network.sitreg import SITRegConfig

BUNDLED = Path(__file__).parents[3] / "training" / "configs" / "registration" / "bundled.yaml"


def job(**sections: Any) -> RegistrationTrainConfig:
    return from_mapping(RegistrationTrainConfig, {"train": {"out": "run", "steps": 5}, **sections})


def test_the_bundled_settings_are_those_of_the_bundled_weights():
    config = load_config(RegistrationTrainConfig, BUNDLED)
    manifest = resolve("bundled:registration").manifest
    assert list(config.data.generated.shape) == manifest["preparation"]["grid"]
    assert config.optimiser.rate == manifest["training"]["config"]["optimiser"]["rate"]
    assert config.train.steps == manifest["training"]["steps"]
    assert config.data.generated.groups["fetal"].exclude == ("sub-sba24", "sub-sba30op", "sub-sba32op")
    assert config.data.generated.groups["adult"].include == ("label_0*", "label_10", "label_11", "label_12")
    assert config.losses.grid == "transform"
    assert config.losses.similarity == {}
    assert network_shape(config.network, config.data.generated.shape).used_stages == (5, 4, 3, 2, 1)


def test_the_network_has_every_size_of_a_shape():
    """A size that is added to one of them must come to the other."""
    names = {field.name for field in dataclasses.fields(NetworkConfig)} - {"affine"}
    assert names == {field.name for field in dataclasses.fields(SITRegConfig)} - {"affine_inputs"}


def test_an_affine_stage_gets_the_voxels_of_the_coarsest_level():
    config = NetworkConfig(affine=True)
    assert network_shape(config, (80, 97, 64)).affine_inputs == 3 * 4 * 2
    assert network_shape(NetworkConfig(), (80, 97, 64)).affine_inputs is None


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"features": (8, 16)}, "2, 6, 6, 6 levels"),
        ({"stage_convolutions": (2, 2, 2, 2, 2, 2)}, "Level 0"),
        ({"stage_features": (8, 24, 32, 48, 48, 48), "stage_convolutions": (2,) * 6}, "level 0 is finer"),
        ({"groups": 5}, "16 channels cannot be divided into 5 groups"),
        ({"skipped_stages": 5}, "no stage"),
        ({"factor": (2.0, 2.0, 0.5)}, "factor"),
    ],
)
def test_networks_that_cannot_be(changes, says):
    with pytest.raises(InputError, match=says):
        NetworkConfig(**changes)


@pytest.mark.parametrize(
    ("sections", "says"),
    [
        ({"data": {"source": "generated"}}, "names no label maps"),
        ({"data": {"source": "layout", "items_per_step": 2}, "losses": {"consistency": [[0, 1]]}}, "three images"),
        ({"losses": {"truth_weight": 1.0}}, "true map"),
        ({"losses": {"landmark_weight": 1.0}}, "needs landmarks"),
        ({"losses": {"segmentation": {"dice": {}}}}, "needs label maps"),
        ({"network": {"channels": 2}}, r"1 channel\(s\), and network.channels is 2"),
        ({"losses": {"similarity": {"ncc": {"level": 9}}}}, "'ncc' is for level 9"),
        ({"losses": {"similarity": {"ncc": {"kind": "ngf"}}}}, "losses.similarity.ncc.kind"),
        ({"losses": {"similarity": {"ncc": {"window": 4}}}}, "even side"),
        ({"losses": {"similarity": {"a": {}}, "regularity": {"a": {}}}}, "named 'a'"),
        ({"losses": {"similarity": {"truth": {}}}}, "'truth' is taken"),
        ({"losses": {"similarity": {}}}, "Nothing makes the images alike"),
        ({"network": {"factor": [1.5, 1.5, 1.5]}, "losses": {"grid": "transform"}}, "not whole"),
        ({"train": {"out": "a", "steps": 2, "precision": "16-mixed"}}, "16-mixed"),
        ({"optimizer": {}}, "Did you mean 'optimiser'"),
    ],
)
def test_jobs_that_cannot_be(sections, says):
    with pytest.raises(InputError, match=says):
        job(**sections)


@pytest.mark.parametrize(("steps", "says"), [(((5.0, 1.0), (5.0, 2.0)), "do not rise"), (((0.0, -1.0),), "below 0")])
def test_weights_over_steps_that_cannot_be(steps, says):
    with pytest.raises(InputError, match=says):
        LossConfig(consistency=steps)


def test_two_rules_for_pairs_are_refused():
    with pytest.raises(InputError, match="pair_column"):
        TableConfig(pairs=Path("pairs.tsv"), pair_column="age")
    with pytest.raises(InputError, match="pair_range"):
        TableConfig(pair_range=3.0)
