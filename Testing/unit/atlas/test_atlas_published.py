"""The published system: its checkpoints, and what it does differently."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
import yaml

from NeuroGenLib.atlas.network import AtlasDecoder, DecoderConfig
from NeuroGenLib.atlas.published.checkpoint import (
    import_checkpoint,
    shape_from_config,
)
from NeuroGenLib.atlas.published.rendering import (
    grid_as_published,
    halo_as_published,
    mask_as_published,
    scale_as_published,
)
from NeuroGenLib.core.errors import InputError
from NeuroGenLib.models import open_model
from NeuroGenLib.models.folder import ModelFolder, load_tensors
from Testing.raising import raises

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("one_thread")

ATLAS = {
    "config_data": "tiny",
    "mask_reconstruction": True,
    "inr_decoder": {
        "tf_dim": 6,
        "cnn_kernel_size": 3,
        "latent_dim": [4, 2, 3, 4],
        "out_dim": [1, 1, 4],
        "hidden_size": 8,
        "num_hidden_layers": 2,
        "modulated_layers": [0, 2, 5],
        "omega": [30, 20],
    },
    "atlas_gen": {"gaussian_span": 3.0, "cond_scale": 0.1},
}
DATA = {
    "dataset_name": "tiny cohort",
    "modalities": ["T2w", "T1w", "Seg"],
    "conditions": {"scan_age": False, "birth_age": True},
    "constraints": {
        "scan_age": {"type": "numeric", "min": 20, "max": 40},
        "birth_age": {"type": "numeric", "min": 25, "max": 42},
    },
    "label_names": ["Clear", "CSF", "BG", "WM"],
    "world_bbox": [120, 132, 108],
    "normalize_values": "minmax",
}
SHAPE = DecoderConfig(2, 4, 1, 4, (4, 3, 2), 3, 8, 2, (0, 2), (30.0, 20.0))


@pytest.fixture
def content() -> dict[str, Any]:
    """What the program saves, with two subjects."""
    import pandas as pd

    generator = torch.Generator().manual_seed(0)
    decoder = AtlasDecoder(SHAPE, generator)
    names = (("latent_conv.", "modulator.conv."), ("modulation.", "linear_lats."), ("layers.", "sr_net.net."),
             ("output.", "sr_net.final_linear."))  # fmt: skip
    state = {}
    for name, value in decoder.state_dict().items():
        for ours, theirs in names:
            name = name.replace(ours, theirs)  # noqa: PLW2901
        state[name] = value
    rows = pd.DataFrame({"subject_id": ["sub-b", "sub-a"], "scan_age": [31.0, 29.0], "birth_age": [30.0, 35.5]})
    return {
        "epoch": 7,
        "latents": torch.nn.Parameter(torch.randn(2, *SHAPE.latent_shape, generator=generator)),
        "transformations": torch.nn.Parameter(torch.randn(2, 6, generator=generator)),
        "inr_decoder": state,
        "tsv_file": rows,
        "dataset_df": rows,
        "args": {**copy.deepcopy(ATLAS), "dataset": copy.deepcopy(DATA)},
    }


@pytest.fixture
def importing(tmp_path: Path) -> Callable[..., ModelFolder]:
    """Saves a checkpoint and imports it."""

    def run(content: dict[str, Any], **options: Any) -> ModelFolder:
        torch.save(content, tmp_path / "checkpoint_epoch_7.pth")
        import_checkpoint(tmp_path / "checkpoint_epoch_7.pth", tmp_path / "model", **options)
        return ModelFolder.read(tmp_path / "model")

    return run


@pytest.fixture
def configs(tmp_path: Path) -> dict[str, Path]:
    """The two YAML files of the run."""
    paths = {"config_atlas": tmp_path / "config_atlas.yaml", "config_data": tmp_path / "config_data.yaml"}
    paths["config_atlas"].write_text(yaml.safe_dump(ATLAS))
    paths["config_data"].write_text(yaml.safe_dump({"tiny": DATA, "other": {}}))
    return paths


# --- checkpoints ----------------------------------------------------------------------------------------------------


def test_sizes_come_from_the_configs():
    assert shape_from_config(ATLAS, DATA) == SHAPE


def test_an_imported_checkpoint_keeps_everything(content, importing):
    folder = importing(content)
    manifest, tensors = folder.manifest, load_tensors(folder)
    assert torch.equal(tensors["latents"], content["latents"])
    assert torch.equal(tensors["transforms"], content["transformations"])
    assert torch.equal(tensors["decoder.layers.2.modulation.weight"],
                       content["inr_decoder"]["sr_net.net.2.linear_lats.weight"])  # fmt: skip
    assert manifest["name"] == "tiny cohort"
    assert manifest["modalities"] == ["T2w", "T1w"]
    assert [entry["name"] for entry in manifest["labels"].values()] == DATA["label_names"]
    assert manifest["preparation"]["background"] == ["BG", "Clear"]
    assert manifest["age"] == {"name": "scan_age", "unit": "weeks", "range": [29.0, 31.0]}
    assert manifest["regression"] == {"bandwidth": 1.5}
    assert manifest["transform"] == {"kind": "rigid", "parametrisation": "euler-zxz"}
    assert manifest["training"]["epochs"] == 7
    assert [entry["age"] for entry in manifest["subjects"]] == [31.0, 29.0]
    assert [entry["conditions"] for entry in manifest["subjects"]] == [{"birth_age": 30.0}, {"birth_age": 35.5}]


def test_ids_are_left_out_unless_asked_for(content, importing):
    assert "sub-a" not in (importing(content).path / "neurogen.json").read_text()
    stored = importing(content, store_ids=True).manifest["subjects"]
    assert [entry["id"] for entry in stored] == ["sub-b", "sub-a"]


def test_configs_may_be_given(content, importing, configs):
    del content["args"]
    folder = importing(content, **configs)
    assert folder.manifest["preparation"]["box"] == [120, 132, 108]


def test_an_imported_model_draws(content, importing):
    model = open_model(str(importing(content).path), device="cpu")
    brain = model.generate(30, {"birth_age": 32}, 6.0)
    assert np.isin(brain.labels.array, (0, 1, 3)).all()  # BG becomes 0
    compat = model.generate(30, {"birth_age": 32}, (6.0, 6.0, 5.0), masked=False, reference_compat=True)
    assert compat.labels.shape == (20, 22, 22)
    np.testing.assert_allclose(compat.labels.affine[:3, 3], (-60, -66, -54))
    for image in compat.images.values():
        assert image.array.min() == 0
        assert image.array.max() in (0, 1)  # stretched, or nowhere above zero
    condition = 0.1 * (2 * (32 - 25) / (42 - 25) - 1)
    assert model.recipe(30, {"birth_age": 32}).conditions.tolist() == pytest.approx([condition])


def test_gaussian_weights_are_usual_for_the_published_way(content, importing):
    model = open_model(str(importing(content).path), device="cpu")
    options = {"spacing": 6.0, "masked": False, "reference_compat": True}
    usual, asked = (
        model.generate(30.4, {"birth_age": 32}, **options, **more) for more in ({}, {"regression": "gaussian"})
    )
    assert np.array_equal(usual.image.array, asked.image.array)
    kernel = np.exp(-0.5 * ((np.array([31.0, 29.0]) - 30.4) / 1.5) ** 2)
    np.testing.assert_allclose(usual.weights.weights, kernel / kernel.sum())


@pytest.mark.parametrize("kind", ["none", "rigid", "rigid+scale", "affine"])
def test_every_kind_of_transform_is_known(content, importing, kind):
    columns = {"none": 6, "rigid": 6, "rigid+scale": 9, "affine": 12}[kind]
    content["transformations"] = torch.zeros(2, columns)
    content["args"]["inr_decoder"]["tf_dim"] = 0 if kind == "none" else columns
    folder = importing(content)
    assert folder.manifest["transform"]["kind"] == kind
    model = open_model(str(folder.path), device="cpu")
    plain, moved = model.recipe(31, {"birth_age": 30}), model.reconstruct(0, 8.0, masked=False)
    assert np.isfinite(moved.image.array).all()
    assert plain.motion is None


def test_without_a_rim_label_the_first_is_the_background(content, importing):
    content["args"]["dataset"]["label_names"] = ["Clear", "CSF", "GM", "WM"]
    assert importing(content).manifest["preparation"]["background"] == ["Clear"]


def spoil(content: dict[str, Any], *path: str, value: Any = None) -> None:
    for key in path[:-1]:
        content = content[key]
    if value is None:
        del content[path[-1]]
    else:
        content[path[-1]] = value


@pytest.mark.parametrize(
    ("path", "value", "error"),
    [
        (["latents"], None, ("file-type", "latents")),
        (["args", "inr_decoder"], None, ("file-damaged", "inr_decoder")),
        (["args", "inr_decoder", "hidden_size"], 9, ("file-damaged", "[8, 3]", "[9, 3]")),
        (["args", "inr_decoder", "latent_dim"], [4, 3, 3, 4], ("file-damaged", "(4, 2, 3, 4)", "(4, 3, 3, 4)")),
        (["args", "dataset", "label_names"], None, ("file-damaged", "label_names")),
        (["args", "dataset", "constraints"], {}, ("file-damaged", "birth_age")),
        (["latents"], torch.zeros(3, 4, 2, 3, 4), ("file-damaged", "2 subjects", "3 latents")),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused(content, importing, path, value, error):
    spoil(content, *path, value=value)
    with raises(*error, "checkpoint_epoch_7.pth"):
        importing(content)


def test_a_refused_import_leaves_nothing(content, importing, tmp_path):
    spoil(content, "args", "inr_decoder", "hidden_size", value=9)
    with pytest.raises(InputError):
        importing(content)
    assert not (tmp_path / "model").exists()


def test_a_data_set_that_is_not_there_is_refused(content, importing, configs):
    configs["config_data"].write_text(yaml.safe_dump({"tinny": DATA, "other": {}}))
    with raises("name-unknown", "'tiny'", "'tinny'"):
        importing(content, **configs)


def test_a_config_that_is_not_a_mapping_is_refused(content, importing, configs):
    configs["config_atlas"].write_text("- 1\n- 2\n")
    with raises("file-type", "config_atlas.yaml"):
        importing(content, **configs)


# --- behaviour ------------------------------------------------------------------------------------------------------


def test_the_published_grid_leaves_the_upper_side_out():
    grid = grid_as_published(np.array([12.0, 10.0, 9.0]), (3.0, 4.0, 2.0))
    assert grid.shape == (4, 3, 5)
    assert grid.origin == (-6, -5, -4.5)


def test_stretching():
    assert scale_as_published(np.array([-2.0, 0.25, 0.5, 0.75])).tolist() == pytest.approx([0, 1 / 3, 2 / 3, 1])
    assert scale_as_published(np.array([0.2, 0.7, 5.0])).tolist() == pytest.approx([0, 0.625, 1])
    assert scale_as_published(np.full(3, 0.4)).tolist() == [0.4] * 3


def test_the_mask_is_the_piece_in_the_middle():
    classes = np.zeros((24, 24, 24), int)
    classes[10:14, 10:14, 10:14] = 1
    classes[2:8, 2:8, 2:8] = 1  # larger, but not in the middle
    classes[14:20, 10:14, 10:14] = 2  # touches, but is background
    mask = mask_as_published(classes, 2)
    assert mask[10:14, 10:14, 10:14].all()
    assert mask[8:16, 11:13, 11:13].all()  # dilated
    assert not mask[2:5].any()
    assert not mask[18:].any()


def test_nothing_in_the_middle_masks_all():
    assert not mask_as_published(np.pad(np.ones((2, 2, 2), int), ((0, 22),) * 3), 3).any()


def test_a_mask_of_few_voxels_is_refused():
    with raises("value-conflict", 20, "--no-mask"):
        mask_as_published(np.ones((24, 19, 24), int), 3)


def test_the_published_rim_is_five_voxels_wide():
    """Of a Gaussian of 1.5 voxels 0.0013 lie beyond 4.5, 0.0001 beyond 5.5."""
    brain = np.zeros((21, 5, 5), bool)
    brain[:9] = True
    assert np.flatnonzero(halo_as_published(brain)[:, 2, 2]).tolist() == list(range(9 + 5))
