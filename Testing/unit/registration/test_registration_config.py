"""The settings of a registration training: what is refused, and that the shipped files load."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from NeuroGenLib.core.config import from_mapping
from NeuroGenLib.core.config_command_line import load_config
from NeuroGenLib.models import resolve
from NeuroGenLib.registration.config import LossConfig, NetworkConfig, RegistrationTrainConfig, TableConfig
from NeuroGenLib.registration.network.configured import network_shape
from NeuroGenLib.registration.network.sizes import SITRegConfig
from Testing.raising import raises

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
    ("changes", "error"),
    [
        ({"features": (8, 16)}, ("value-conflict", "2, 6, 6, 6")),
        ({"stage_convolutions": (2, 2, 2, 2, 2, 2)}, ("value-conflict", 0, "stage_features", "stage_convolutions")),
        (
            {"stage_features": (8, 24, 32, 48, 48, 48), "stage_convolutions": (2,) * 6},
            ("value-conflict", 0, "factor 2"),
        ),
        ({"groups": 5}, ("value-conflict", 16, "5 groups")),
        ({"skipped_stages": 5}, ("value-invalid", "stage_features")),
        ({"factor": (2.0, 2.0, 0.5)}, ("value-invalid", "'factor[2]'", 0.5)),
    ],
)
def test_impossible_networks_are_refused(changes, error):
    with raises(*error):
        NetworkConfig(**changes)


@pytest.mark.parametrize(
    ("sections", "error"),
    [
        ({"data": {"source": "generated"}}, ("value-missing", "data.generated.groups")),
        (
            {"data": {"source": "layout", "items_per_step": 2}, "losses": {"consistency": [[0, 1]]}},
            ("value-conflict", "losses.consistency", "data.items_per_step", 3),
        ),
        ({"losses": {"truth_weight": 1.0}}, ("value-conflict", "losses.truth_weight")),
        ({"losses": {"landmark_weight": 1.0}}, ("value-missing", "losses.landmark_weight", "data.table.landmarks")),
        (
            {"losses": {"segmentation": {"dice": {}}}},
            ("value-missing", "losses.segmentation", "data.table.segmentation"),
        ),
        ({"network": {"channels": 2}}, ("value-conflict", "1 channel(s)", "network.channels is 2")),
        ({"losses": {"similarity": {"ncc": {"level": 9}}}}, ("value-invalid", "'ncc'", 9, "0 to 5")),
        ({"losses": {"similarity": {"ncc": {"kind": "ngf"}}}}, ("value-invalid", "'losses.similarity.ncc.kind'")),
        ({"losses": {"similarity": {"ncc": {"window": 4}}}}, ("value-invalid", "losses.similarity.ncc")),
        ({"losses": {"similarity": {"a": {}}, "regularity": {"a": {}}}}, ("value-duplicate", "'a'")),
        ({"losses": {"similarity": {"truth": {}}}}, ("value-duplicate", "'truth'")),
        ({"losses": {"similarity": {}}}, ("value-missing", "losses")),
        (
            {"network": {"factor": [1.5, 1.5, 1.5]}, "losses": {"grid": "transform"}},
            ("value-conflict", "losses.grid", "network.factor"),
        ),
        ({"train": {"out": "a", "steps": 2, "precision": "16-mixed"}}, ("value-conflict", "16-mixed")),
        ({"optimizer": {}}, ("name-unknown", "'optimizer'", "'optimiser'")),
    ],
)
def test_impossible_jobs_are_refused(sections, error):
    with raises(*error):
        job(**sections)


@pytest.mark.parametrize("steps", [((5.0, 1.0), (5.0, 2.0)), ((0.0, -1.0),)])
def test_impossible_weights_over_steps_are_refused(steps):
    with raises("value-invalid", "consistency"):
        LossConfig(consistency=steps)


def test_two_rules_for_pairs_are_refused():
    with raises("value-conflict", "pair_column"):
        TableConfig(pairs=Path("pairs.tsv"), pair_column="age")
    with raises("value-missing", "pair_range"):
        TableConfig(pair_range=3.0)
