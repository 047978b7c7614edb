"""Checkpoints of the published registration program become models, or are refused with the reason."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
import torch

from NeuroGenLib.cli import main
from NeuroGenLib.core.checksums import sha256_of
from NeuroGenLib.core.files import read_json
from NeuroGenLib.models.catalogue import import_model
from NeuroGenLib.models.folder import ModelFolder, load_tensors
from NeuroGenLib.registration.network.sitreg import SITReg
from NeuroGenLib.registration.network.sizes import SITRegConfig
from NeuroGenLib.registration.published.model import import_checkpoint
from Testing.raising import raises
from Testing.sitreg_run import sitreg_settings, sitreg_state, write_sitreg_run

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("one_thread")

MODEL = ("application", "config", "model")
Change = Callable[[dict[str, Any]], None]


def shape_in(manifest: dict[str, Any]) -> SITRegConfig:
    lists = {name: tuple(value) for name, value in manifest["network"].items() if isinstance(value, list)}
    return SITRegConfig(**{**manifest["network"], **lists})


def setting(*keys: str, value: Any) -> Change:
    def change(settings: dict[str, Any]) -> None:
        for key in keys[:-1]:
            settings = settings[key]
        settings[keys[-1]] = value

    return change


def without(*keys: str) -> Change:
    def change(settings: dict[str, Any]) -> None:
        for key in keys[:-1]:
            settings = settings[key]
        del settings[keys[-1]]

    return change


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A run's checkpoint with its settings beside it."""
    return write_sitreg_run(tmp_path / "run")


@pytest.fixture
def importing(checkpoint: Path, tmp_path: Path) -> Callable[..., ModelFolder]:
    """Imports the run after a change of its settings."""

    def run(change: Change | None = None, **options: Any) -> ModelFolder:
        settings = sitreg_settings()
        if change is not None:
            change(settings)
        checkpoint.with_name("training_config.json").write_text(json.dumps(settings), encoding="utf-8")
        import_checkpoint(checkpoint, tmp_path / "model", **options)
        return ModelFolder.read(tmp_path / "model")

    return run


def test_an_imported_network_has_every_weight(importing):
    folder = importing()
    assert folder.kind == "registration"
    shape = shape_in(folder.manifest)
    assert shape == SITRegConfig(
        features=(2, 4, 4),
        feature_convolutions=(1, 2, 1),
        stage_features=(None, 6, 6),
        stage_convolutions=(None, 2, 1),
        factor=(2.0, 2.0, 1.0),
        groups=2,
        normalise_stages=True,
        negative_slope=0.1,
        bound=0.9,
        affine_inputs=4 * 3 * 3,
        chained_affine=False,
        skipped_stages=0,
        threshold=0.02,
        most_iterations=40,
        memory=3,
    )
    network = SITReg(shape)
    network.load_state_dict(load_tensors(folder), strict=True)
    state = sitreg_state()
    extractor = "_feature_extractor.downsampling_blocks.1"
    assert torch.equal(network.pyramid.reductions[1].weight, state[f"{extractor}.downsampling.conv.weight"])
    assert torch.equal(network.pyramid.blocks[2].norms[0].bias, state[f"{extractor}.conv.normalizers.0.bias"])
    # The published program counts stages from the finest one that is there, which is level 1.
    stage = "_not_none_dense_extration_networks.0"
    assert torch.equal(network.stages["1"].final.weight, state[f"{stage}.final_convolution.conv.weight"])
    assert torch.equal(network.affine.final.bias, state["_affine_extraction_network.final_linear.bias"])
    numbers = sum(value.numel() for value in state.values())
    assert sum(value.numel() for value in network.state_dict().values()) == numbers


def test_a_model_says_where_it_comes_from(importing):
    manifest = importing().manifest
    assert manifest["training"]["epochs"] == 4
    assert manifest["training"]["steps"] == 4 * 3, "five pairs, two a step"
    assert manifest["training"]["published_config"]["commit"] == "0" * 40
    assert manifest["license"] == "unknown"
    assert "10.59275/j.melba.2024-276b" in manifest["citation"][0]
    prepared = manifest["preparation"]
    assert prepared["grid"] == [16, 12, 10]
    assert prepared["spacing"] == [1, 1, 2]
    assert prepared["orientation"] == "LIA", "FreeSurfer's, as OASIS is stored"
    assert prepared["steps"]["crop"] == [[0, 0], [24, 24], [16, 16]]


def test_the_card_is_for_people(importing):
    card = importing().card
    for words in ("12 steps on a published data set", "16 x 12 x 10 voxels of 1 x 1 x 2 mm", "For research use only"):
        assert words in card


def test_an_orientation_can_be_given(importing):
    assert importing(orientation="ras").manifest["preparation"]["orientation"] == "RAS"
    with raises("value-invalid", "RAR"):
        importing(orientation="RAR")


def test_lungs_are_prepared_in_hounsfield_units(importing):
    def lungs(settings: dict[str, Any]) -> None:
        settings["data"]["module"] = "lung250m_4b"
        settings["data"]["config"] |= {"crop": None, "clip": [0.0, 1024.0], "shift_and_normalize": [0.0, 512.0]}

    prepared = importing(lungs).manifest["preparation"]
    assert prepared["normalisation"] == "fixed"
    # -512 HU are 512 above air.
    assert (max(prepared["clip"][0], -512) - prepared["shift"]) / prepared["scale"] == 1.0
    assert prepared["orientation"] == "RAS"


def test_coarse_levels_without_a_stage_cost_fine_ones(checkpoint, tmp_path):
    settings, state = sitreg_settings(), sitreg_state()
    model = settings["application"]["config"]["model"]
    model |= {
        "predict_affine": False,
        "n_transformation_features_per_resolution": [None, 6, None],
        "n_transformation_convolutions_per_resolution": [None, 2, None],
    }
    kept = {name: value for name, value in state.items() if not name.startswith(("_affine", "_not_none"))}
    stage = "_not_none_dense_extration_networks.0."
    kept |= {name: value for name, value in state.items() if name.startswith(stage)}
    torch.save({"registration_network": kept}, checkpoint)
    checkpoint.with_name("training_config.json").write_text(json.dumps(settings), encoding="utf-8")
    import_checkpoint(checkpoint, tmp_path / "legacy")
    import_checkpoint(checkpoint, tmp_path / "all", legacy_levels=False)
    legacy, everything = (ModelFolder.read(tmp_path / name).manifest for name in ("legacy", "all"))
    assert (legacy["network"]["skipped_stages"], everything["network"]["skipped_stages"]) == (1, 0)
    assert "finest stages (1) are skipped" in legacy["description"]
    assert "left out" not in everything["description"]


def test_the_program_is_known_by_name(checkpoint, tmp_path):
    folder = import_model("sitreg", checkpoint, tmp_path / "model")
    assert folder.manifest["name"] == "sitreg-oasis"


# --- what does not fit ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            setting(*MODEL, "n_features_per_resolution", value=[2, 4, 6]),
            ("weights-mismatch", "pyramid.reductions.1.weight"),
        ),
        (setting(*MODEL, "predict_affine", value=False), ("weights-mismatch",)),
        (setting(*MODEL, "input_shape", value=[32, 12, 10]), ("weights-mismatch", "affine.hidden.0")),
        (setting(*MODEL, "use_normalization_in_deformation_extraction", value=False), ("weights-mismatch",)),
        (setting(*MODEL, "n_feature_convolutions_per_resolution", value=[2, 2, 1]), ("weights-mismatch",)),
        (setting(*MODEL, "input_shape", value=[10**6, 10**6, 10**6]), ("value-invalid",)),
    ],
)
def test_a_config_of_other_weights_is_refused(importing, tmp_path, change, says):
    with raises(*says) as caught:
        importing(change)
    assert "model_epoch_004.pt" in caught.value.problem
    assert "training_config.json" in caught.value.remedy
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (without(*MODEL, "input_shape"), ("value-missing", "input_shape")),
        (without("application"), ("file-type", "data", "application")),
        (setting(*MODEL, "input_shape", value=[16, 12]), ("value-invalid", 3, 1)),
        (setting(*MODEL, "input_shape", value=[0, 12, 10]), ("value-invalid", 3, 1)),
        (setting(*MODEL, "input_shape", value="large"), ("value-invalid", '"large"')),
        (setting(*MODEL, "voxel_size", value=[1, 1, -2]), ("value-invalid", 0)),
        (setting(*MODEL, "n_features_per_resolution", value=[]), ("value-invalid", "n_features_per_resolution")),
        (setting(*MODEL, "n_features_per_resolution", value=[2] * 40), ("value-invalid", 24)),
        (setting(*MODEL, "n_transformation_features_per_resolution", value=[None] * 3), ("value-invalid",)),
        (setting(*MODEL, "n_transformation_convolutions_per_resolution", value=[1, 2, 1]), ("value-invalid",)),
        (setting(*MODEL, "normalizer", "args", "n_groups", value=3), ("value-invalid",)),
        (setting(*MODEL, "normalizer", "type", value="BatchNorm"), ("value-invalid", "GroupNormalizerFactory")),
        (setting(*MODEL, "activation", "type", value="Sine"), ("value-invalid", "ReLUFactory")),
        (setting("data", "module", value="abdomen"), ("name-unknown", "abdomen")),
        (setting("data", "config", "crop", value=[[1, 2]]), ("value-invalid",)),
    ],
)
def test_broken_settings_are_named(importing, change, says):
    with raises(*says) as caught:
        importing(change)
    assert "training_config.json" in caught.value.problem


def test_settings_that_are_missing_are_named(checkpoint, tmp_path):
    checkpoint.with_name("training_config.json").unlink()
    with raises("file-missing", "training_config.json"):
        import_checkpoint(checkpoint, tmp_path / "model")


def save(content: object) -> Callable[[Path], None]:
    return lambda path: torch.save(content, path)


@pytest.mark.parametrize(
    ("spoil", "error"),
    [
        (lambda path: path.unlink(), ("file-missing", "model_epoch_004.pt")),
        (lambda path: path.write_bytes(path.read_bytes()[:3000]), ("file-damaged", "model_epoch_004.pt")),
        (lambda path: path.write_bytes(b""), ("file-type", "model_epoch_004.pt")),
        (save({"optimizer": {}}), ("file-type", "model_epoch_004.pt", "model_epoch_NNN.pt")),
        (save({"model": {}}), ("file-type", "'registration_network'")),
        (save({"registration_network": {"weight": 3}}), ("file-type", "'registration_network'")),
        (save({"registration_network": {}}), ("weights-mismatch", "pyramid.projection.weight")),
        (
            save({"registration_network": sitreg_state() | {"surprise.weight": torch.zeros(1)}}),
            ("weights-mismatch", "'surprise.weight'"),
        ),
        (save({"registration_network": torch.nn.Linear(2, 2)}), ("checkpoint-unsafe", "Linear")),
        (save([1, 2]), ("file-type", "model_epoch_004.pt", "list")),
    ],
)
def test_files_that_are_not_a_checkpoint_are_refused(checkpoint, tmp_path, spoil, error):
    spoil(checkpoint)
    with raises(*error):
        import_checkpoint(checkpoint, tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_weights_that_are_not_finite_are_refused(checkpoint, tmp_path):
    state = sitreg_state()
    state["_feature_extractor.initial_projection.bias"][1] = torch.nan
    torch.save({"registration_network": state}, checkpoint)
    with raises("file-damaged", "initial_projection.bias"):
        import_checkpoint(checkpoint, tmp_path / "model")


def test_a_command_imports_it(checkpoint, tmp_path, capsys):
    out = tmp_path / "model"
    assert main(["models", "import", "sitreg", str(checkpoint), "--out", str(out), "--orientation", "LAS"]) == 0
    assert "neurogen registration run" in capsys.readouterr().out
    assert ModelFolder.read(out).manifest["preparation"]["orientation"] == "LAS"
    record = read_json(out / "provenance.json")
    assert record["command"][:4] == ["neurogen", "models", "import", "sitreg"]
    assert record["parameters"]["orientation"] == "LAS"
    assert {entry["path"]: entry["sha256"] for entry in record["inputs"]}[str(checkpoint)] == sha256_of(checkpoint)
    assert set(record["outputs"]) == {path.name for path in out.iterdir()}


def test_options_of_another_program_are_refused(checkpoint, tmp_path, capsys):
    arguments = ["models", "import", "sitreg", str(checkpoint), "--out", str(tmp_path / "model")]
    assert main([*arguments, "--store-ids"]) == 2
    assert "--store-ids is for checkpoints of 'cinema'" in capsys.readouterr().err
    assert main(["models", "import", "cinema", str(checkpoint), "--all-stages"]) == 2
    assert "--all-stages is for checkpoints of 'sitreg'" in capsys.readouterr().err
