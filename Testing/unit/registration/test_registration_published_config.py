"""Settings of the published registration program become NeuroGen's, and the shipped settings say what it published."""

from __future__ import annotations

import json
import math
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from NeuroGenLib.cli import main
from NeuroGenLib.core.config import from_mapping
from NeuroGenLib.core.config_command_line import load_config
from NeuroGenLib.registration.config import RegistrationTrainConfig
from NeuroGenLib.registration.network.configured import network_shape
from NeuroGenLib.registration.network.sitreg import SITReg
from NeuroGenLib.registration.published.loss_config import consistency_schedule, loss_config
from NeuroGenLib.registration.published.network_config import shape_of
from NeuroGenLib.registration.published.settings_file import Settings
from NeuroGenLib.registration.published.training_config import _NO_COUNTERPART, import_config, network_settings
from NeuroGenLib.registration.published.training_config import translated as published_settings
from Testing.raising import raises
from Testing.sitreg_run import sitreg_settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from NeuroGenLib.training.published_settings import Translation

pytestmark = pytest.mark.usefixtures("one_thread")

CONFIGS = sorted((Path(__file__).parents[3] / "training" / "configs" / "registration").glob("*.yaml"))


@pytest.fixture
def translating(tmp_path: Path) -> Callable[..., Translation]:
    """Translates settings that a function has changed, and checks the written file."""

    def run(change: Callable[[dict[str, Any]], None] | None = None, **options: Any) -> Translation:
        settings = sitreg_settings()
        if change is not None:
            change(settings)
        path = tmp_path / "training_config.json"
        path.write_text(json.dumps(settings), encoding="utf-8")
        out = tmp_path / "mine.yaml"
        out.unlink(missing_ok=True)
        translation, files = import_config(path, out, **options)
        assert files == [out, tmp_path / "mine_provenance.json"]
        written = load_config(RegistrationTrainConfig, out)
        assert written == from_mapping(RegistrationTrainConfig, translation.settings)
        return translation

    return run


def translated(translation: Translation) -> RegistrationTrainConfig:
    return from_mapping(RegistrationTrainConfig, translation.settings)


def training(settings: dict[str, Any]) -> dict[str, Any]:
    return settings["application"]["config"]["training"]


def test_every_setting_is_translated_or_named(translating):
    translation = translating(data_root=Path("there"))
    config = translated(translation)
    assert config.name == "sitreg-oasis"
    assert config.data.source == "layout"
    assert (config.data.batch, config.data.items_per_step) == (2, 2)
    assert config.data.layout.root == Path("there/oasis")
    assert config.data.layout.image == "aligned_norm"
    assert config.data.layout.preparation.crop == ((0, 0), (24, 24), (16, 16))
    assert config.network.features == (2, 4, 4)
    assert config.network.stage_features == (None, 6, 6)
    assert config.network.factor == (2, 2, 1)
    assert config.network.affine
    assert not config.network.chained_affine
    assert config.network.normalise_stages
    assert (config.network.negative_slope, config.network.bound) == (0.1, 0.9)
    assert (config.network.threshold, config.network.most_iterations, config.network.memory) == (0.02, 40, 3)
    assert config.losses.similarity["ncc"].window == 5
    assert config.losses.regularity["gradient"].weight == 1.5
    assert (config.optimiser.rate, config.optimiser.betas) == (0.0003, (0.8, 0.99))
    assert config.train.seed == 7
    assert config.train.steps == 6 * 3, "six epochs of five pairs, two a step"
    assert config.train.out == Path("runs/mine")
    unknown = [key for key, _, reason in translation.left_out if "knows" in reason]
    assert unknown == []


def test_what_the_program_does_not_know_is_named(translating, tmp_path):
    def change(settings: dict[str, Any]) -> None:
        settings["application"]["config"]["model"]["dropout"] = 0.5

    left_out = {key: reason for key, _, reason in translating(change).left_out}
    assert "knows" in left_out["application.config.model.dropout"]
    assert "application.config.model.dropout: 0.5" in (tmp_path / "mine.yaml").read_text(encoding="utf-8")
    record = json.loads((tmp_path / "mine_provenance.json").read_text(encoding="utf-8"))
    assert "application.config.model.dropout" in record["without_counterpart"]
    assert record["notice"].startswith("For research use only")


def test_losses_of_all_kinds_and_levels(translating):
    def change(settings: dict[str, Any]) -> None:
        ncc = {"name": "ncc", "type": "LocalNormalizedCrossCorrelationLoss", "args": {"window_size": 9}}
        loss = training(settings)["loss"]
        loss["similarity"] = [
            [ncc, {"name": "mse", "type": "MeanSquaredError", "weight": 0.25}],
            None,
            [ncc | {"weight": 0.5}, {"name": "mi", "type": "MutualInformationLoss", "args": {"num_bins": 11}}],
        ]
        loss["regularity"] = [[], [{"name": "ndv", "type": "NDVLoss", "weight": 2, "args": {"ndv_threshold": 0.5}}]]
        loss["regularize_with_affine"] = False
        training(settings)["ignore_mask"] = True

    losses = translated(translating(change)).losses
    found = {name: (one.kind, one.level, one.weight) for name, one in losses.similarity.items()}
    assert found == {
        "ncc": ("ncc", 0, 1.0),
        "mse": ("mse", 0, 0.25),
        "ncc_2": ("ncc", 2, 0.5),
        "mi": ("mutual_information", 2, 1.0),
    }
    assert losses.similarity["mi"].bins == 11
    assert (losses.regularity["ndv"].level, losses.regularity["ndv"].threshold) == (1, 0.5)
    assert (losses.regularize_with_affine, losses.ignore_mask) == (False, True)


def test_losses_and_network_of_images_that_no_data_set_has():
    """Two channels, which a data set of single images refuses; two terms of one type keep their names."""
    settings = sitreg_settings()
    settings["application"]["config"]["model"]["n_input_channels"] = 2
    kind = "LocalNormalizedCrossCorrelationLoss"
    training(settings)["loss"]["similarity"] = [
        [{"name": "fine", "type": kind, "args": {"window_size": 5}}, {"name": "wide", "type": kind, "weight": 0.25}]
    ]
    keys = Settings("training_config.json", settings)
    assert network_settings(keys)["channels"] == 2
    terms = loss_config(keys, shape_of(keys)).similarity
    assert {name: (term.kind, term.window, term.weight) for name, term in terms.items()} == {
        "fine": ("ncc", 5, 1.0),
        "wide": ("ncc", 7, 0.25),
    }
    with raises("value-conflict", "1 channel(s)", "network.channels is 2"):
        published_settings(keys, data_root=Path("data"), run_folder=Path("runs"))


def test_a_multi_resolution_loss_keeps_its_lists(translating):
    def change(settings: dict[str, Any]) -> None:
        arguments = {
            "n_dims": 3,
            "window_sizes_per_resolution": [3, 7],
            "weights_per_resolution": [0.4, 0.6],
            "downsampling_factors_per_resolution": [1, 2],
            "downsampling_kernel_sizes_per_resolution": [1, 2],
            "separable_per_resolution": [True, False],
        }
        kind = "MultiResolutionLocalNormalizedCrossCorrelationLoss"
        training(settings)["loss"]["similarity"] = [[{"name": "many", "type": kind, "args": arguments}]]

    term = translated(translating(change)).losses.similarity["many"]
    assert (term.windows, term.weights, term.pools) == ((3, 7), (0.4, 0.6), (1, 2))


def test_labels_and_landmarks_where_the_program_trains_on_them(translating):
    def with_labels(settings: dict[str, Any]) -> None:
        name = "application.sitreg.interface.create_segmentation_training_definition"
        settings["application"]["training_factory"] = name
        settings["data"]["config"] |= {
            "include_segmentations_for_training": True,
            "training_segmentation_class_index_groups": [[1, 2], [0]],
        }
        training(settings)["loss"]["segmentation"] = [[{"name": "dice", "type": "DiceLoss", "weight": 3}]]

    config = translated(translating(with_labels))
    assert config.losses.segmentation["dice"].weight == 3
    assert config.data.layout.use_labels
    assert config.data.layout.labels == (0, 1, 2)
    assert config.data.layout.label_groups == ((1, 2), (0,))

    def with_landmarks(settings: dict[str, Any]) -> None:
        settings["data"]["module"] = "nlst"
        settings["application"]["training_factory"] = "x.create_landmark_training_definition"
        settings["data"]["config"] |= {"include_landmarks_in_training": True, "clip": [0, None]}
        training(settings)["loss"]["landmark_weight"] = 0.25

    config = translated(translating(with_landmarks))
    assert config.losses.landmark_weight == 0.25
    assert config.data.layout.use_landmarks
    assert config.data.layout.preparation.clip == (0, None)


def test_augmentation_only_where_it_is_on(translating):
    def change(settings: dict[str, Any], probability: float | None = 0.9) -> None:
        names = ("translation_stds", "rotation_stds", "logscale_stds", "logshear_stds")
        settings["data"]["config"] |= {
            "affine_augmentation_prob": probability,
            "affine_augmentation_arguments": {name: [0.1 * k, 0.2, 0.3] for k, name in enumerate(names, 1)},
        }

    found = translated(translating(change)).augmentation
    assert found.probability == 0.9
    assert math.isclose(found.logshear_stds[0], 0.4)
    off = translating(lambda settings: change(settings, None))
    assert translated(off).augmentation.probability == 0
    assert any("affine augmentation is off" in reason for _, _, reason in off.left_out)


def groups_of_three(settings: dict[str, Any]) -> None:
    settings["data"]["config"] |= {
        "n_training_items_per_step": 3,
        "n_training_items_per_epoch": 20,
        "batch_size": 1,
        "training_process_chunk_size": 3,
    }
    training(settings)["loss"]["consistency_loss_weight_per_epoch"] = [0.0, 0.0, 0.0, 40.0]


def test_a_second_training_goes_on_after_the_first(translating):
    translation = translating(groups_of_three, start_epoch=2)
    config = translated(translation)
    assert config.data.items_per_step == 3
    assert config.train.steps == 4 * 20
    assert config.losses.consistency == ((0, 2.0), (19, 40.0))
    assert any("keeps the learning rate" in remark for remark in translation.remarks)
    assert "data.config.training_pairs_per_epoch" in {key for key, _, _ in translation.left_out}


@given(
    weights=st.lists(st.sampled_from([0.0, 0.0, 5.0, 40.0]), min_size=1, max_size=8),
    start=st.integers(0, 9),
    epoch=st.integers(1, 30),
)
def test_the_weight_of_every_step_is_the_published_one(weights, start, epoch):
    schedule = consistency_schedule(weights, start, epoch)
    steps, values = zip(*schedule, strict=True)
    assert steps[0] == 0
    assert all(later > earlier for earlier, later in pairwise(steps))
    for step in range((len(weights) + 2) * epoch):
        published = np.interp(start + (step + 1) / epoch, range(len(weights)), weights)
        assert math.isclose(np.interp(step, steps, values), published, abs_tol=1e-2)


def test_stages_that_the_program_leaves_out(translating):
    def change(settings: dict[str, Any]) -> None:
        model = settings["application"]["config"]["model"]
        model["n_transformation_features_per_resolution"] = [None, 6, None]
        model["n_transformation_convolutions_per_resolution"] = [None, 1, None]

    with raises("value-invalid", "stage_features"):  # the only stage is left out
        translating(change)
    assert translated(translating(change, legacy_levels=False)).network.skipped_stages == 0


@pytest.mark.parametrize(
    ("keys", "value", "says"),
    [
        (("data", "module"), "moon", ("name-unknown", "data.module", "training_config.json", "moon")),
        (("data", "config", "batch_size"), 0, ("value-invalid", "batch_size", 0)),
        (("data", "config", "n_training_items_per_step"), 4, ("value-invalid", 2, 3)),
        (("data", "config", "downsampling_factor"), [1, 1], ("value-invalid", "downsampling_factor")),
        (("data", "config", "clip"), [1, 2, 3], ("value-invalid", "clip")),
        (("data", "config", "file_type"), 3, ("value-invalid", "file_type")),
        (("application", "config", "training", "n_epochs"), "many", ("value-invalid", "n_epochs")),
        (("application", "config", "training", "optimizer", "learning_rate"), None, ("value-invalid", "learning_rate")),
        (("application", "config", "training", "optimizer", "learning_rate"), 7, ("value-invalid", "optimiser.rate")),
        (("application", "config", "training", "loss", "similarity"), {"a": 1}, ("value-invalid", "similarity")),
        (("application", "config", "training", "loss", "similarity"), [[{"type": "Magic"}]], ("name-unknown", "Magic")),
        (
            ("application", "config", "training", "loss", "similarity"),
            [[{"name": "ncc", "type": "LocalNormalizedCrossCorrelationLoss", "args": {"epsilon": 1}}]],
            ("value-invalid", "epsilon", 1),
        ),
        (
            ("application", "config", "training", "loss", "similarity"),
            [[{"name": "gradient", "type": "MeanSquaredError"}]],
            ("value-duplicate", "gradient"),
        ),
        (
            ("application", "config", "training", "loss", "regularity"),
            [[{"type": "GradientFlowLoss"}]],
            ("name-unknown", "GradientFlow"),
        ),
    ],
)
def test_values_that_cannot_be_used_are_named(translating, tmp_path, keys, value, says):
    def change(settings: dict[str, Any]) -> None:
        for key in keys[:-1]:
            settings = settings[key]
        settings[keys[-1]] = value

    with raises(*says):
        translating(change)
    assert not (tmp_path / "mine.yaml").exists()


def test_a_start_after_the_end_is_refused(translating):
    with raises("value-invalid", 6):
        translating(start_epoch=6)


def test_a_file_that_is_there_stays(tmp_path):
    (tmp_path / "training_config.json").write_text(json.dumps(sitreg_settings()), encoding="utf-8")
    (tmp_path / "mine.yaml").write_text("mine", encoding="utf-8")
    with raises("file-occupied", "mine.yaml"):
        import_config(tmp_path / "training_config.json", tmp_path / "mine.yaml")
    assert (tmp_path / "mine.yaml").read_text(encoding="utf-8") == "mine"
    with raises("file-type", "mine.json"):
        import_config(tmp_path / "training_config.json", tmp_path / "mine.json")


def test_a_command_translates(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("training_config.json").write_text(json.dumps(sitreg_settings()), encoding="utf-8")
    line = "registration import-config training_config.json --start-epoch 4 --run-folder there --out mine.yaml"
    assert main(line.split()) == 0
    said = capsys.readouterr().out
    assert "Without a counterpart" in said
    assert "For research use only" in said
    config = load_config(RegistrationTrainConfig, Path("mine.yaml"))
    assert (config.train.out, config.train.steps) == (Path("there"), 2 * 3)


def test_the_page_names_every_setting_without_a_counterpart():
    page = Path(__file__).parents[3] / "docs" / "published" / "sitreg.md"
    text = page.read_text(encoding="utf-8")
    for name in _NO_COUNTERPART:
        assert f"`{name.rpartition('.')[2]}`" in text, name


# --- the settings that ship -----------------------------------------------------------------------------------------

# Weights, levels, window, steps, rate: from the published settings and the sizes of its networks.
PUBLISHED = {
    "oasis": (1_196_820, (160, 144, 192), 7, 24 * 5000, 1e-4),
    "oasis_deep": (1_234_615, (160, 144, 192), 7, 24 * 5000, 1e-4),
    "oasis_raw": (2_464_872, (256, 256, 256), 7, 15 * 5000, 1e-4),
    "lpba40": (1_847_745, (160, 192, 160), 7, 4 * 5000, 1e-4),
    "lung250m": (1_541_180, (160, 112, 160), 7, 1 * 5000, 1e-4),
    "lumir": (15_076_110, (160, 224, 192), 11, 30 * 2000 // 4, 4e-4),
    "lumir_finetune": (15_076_110, (160, 224, 192), 11, 15 * 2000, 1e-4),
    "nlst": (15_076_110, (224, 192, 224), 11, 10 * 5000, 1e-4),
}


def test_all_published_trainings_have_settings():
    assert set(PUBLISHED) | {"cohort", "groups"} <= {path.stem for path in CONFIGS}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_shipped_settings_build_a_network(path):
    import torch

    config = load_config(RegistrationTrainConfig, path)
    with torch.device("meta"):
        SITReg(network_shape(config.network, (24, 16, 20)))


@pytest.mark.parametrize("name", PUBLISHED)
def test_shipped_settings_are_the_published_ones(name):
    import torch

    weights, grid, window, steps, rate = PUBLISHED[name]
    config = load_config(RegistrationTrainConfig, next(path for path in CONFIGS if path.stem == name))
    with torch.device("meta"):
        network = SITReg(network_shape(config.network, grid))
    assert sum(parameter.numel() for parameter in network.parameters()) == weights
    assert config.losses.similarity["ncc"].window == window
    assert config.losses.regularity["gradient"].weight == 1.0
    assert (config.train.steps, config.optimiser.rate) == (steps, rate)
    assert config.optimiser.schedule == "constant"
    assert config.optimiser.betas == (0.9, 0.999)


def test_the_second_training_of_lumir_states_its_rate():
    config = load_config(RegistrationTrainConfig, next(path for path in CONFIGS if path.stem == "lumir_finetune"))
    assert config.optimiser.rate_on_resume == "config"
    assert config.optimiser.continue_from is not None
    assert config.losses.regularity["ndv"].weight == 1e-5
    assert config.losses.consistency[-1] == (1999, 40)
    assert config.data.items_per_step == 3


def test_the_raw_brains_say_which_stages_are_left_out():
    config = load_config(RegistrationTrainConfig, next(path for path in CONFIGS if path.stem == "oasis_raw"))
    assert (config.network.skipped_stages, config.network.chained_affine) == (3, False)
    assert not config.losses.regularize_with_affine
