"""The published atlas program's numbers, to float32 accuracy.

Every size and setting is read from the case. What NeuroGen corrects on purpose is compared as corrected: the header's
origin is the corner of the box instead of 0.
"""

from __future__ import annotations

import functools
import itertools
import re
from dataclasses import replace
from typing import TYPE_CHECKING

import nibabel
import numpy as np
import pytest
import torch
from cases import each_cinema_case
from cinema_case import (
    arrays,
    assert_close,
    atlases_of,
    background_of,
    config_of,
    decoder_of,
    half_box,
    moves,
    tensor,
)

from NeuroGenLib.atlas import transform
from NeuroGenLib.atlas.network import AtlasDecoder, interpolation_weights
from NeuroGenLib.atlas.published.checkpoint import (
    decoder_tensors,
    import_checkpoint,
)
from NeuroGenLib.atlas.published.rendering import grid_as_published, mask_as_published
from NeuroGenLib.atlas.regression import gaussian_weights
from NeuroGenLib.models import open_model
from NeuroGenLib.models.folder import load_tensors
from NeuroGenLib.spatial.metrics import bounding_box, mean_dice, psnr, ssim
from NeuroGenLib.spatial.volume import Volume

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from NeuroGenLib.atlas.brain import AtlasBrain
    from NeuroGenLib.atlas.infer import AtlasModel

pytestmark = pytest.mark.usefixtures("one_thread")

WEIGHTS = 1e-4
NEAR_TIE = 1e-4


@pytest.fixture(scope="module")
def model_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], AtlasModel]:
    """Imports the checkpoint of a case, once."""

    @functools.cache
    def model(case: Path) -> AtlasModel:
        folder = tmp_path_factory.mktemp(case.name) / "model"
        (checkpoint,) = case.glob("checkpoint_epoch_*.pth")
        import_checkpoint(
            checkpoint,
            folder,
            config_atlas=case / "configs" / "config_atlas.yaml",
            config_data=case / "configs" / "config_data.yaml",
            store_ids=True,
        )
        return open_model(str(folder), device="cpu")

    return model


@pytest.fixture(scope="module")
def brain_of(model_of: Callable[[Path], AtlasModel]) -> Callable[..., AtlasBrain]:
    """Generates the brain of an age and a combination of conditions of a case, once."""

    @functools.cache
    def brain(case: Path, age: float, combination: int, masked: bool) -> AtlasBrain:
        model, asked = model_of(case), atlases_of(case)
        values = {one.name: asked.combinations[combination][one.name] for one in model.conditions}
        return model.generate(age, values, asked.spacing, masked=masked, reference_compat=True)

    return brain


# --- the network ----------------------------------------------------------------------------------------------------


@each_cinema_case("decoder.npz")
def test_transforms_of_points(case):
    recorded = arrays(case, "decoder")
    linear, translation = (part[recorded["subject_index"]] for part in moves(case, tensor(recorded["tfs"])))
    points = tensor(recorded["coords"])[:, None]
    assert_close(transform.apply(points, linear, translation)[:, 0], recorded["coords_transformed"])
    assert_close(
        torch.linalg.solve(linear, (points - translation[:, None]).transpose(1, 2))[..., 0], recorded["coords_inverse"]
    )


@each_cinema_case("decoder.npz", "checkpoint_arrays.npz")
def test_interpolated_latents(case):
    recorded, decoder = arrays(case, "decoder"), decoder_of(case)
    grid = decoder.latent_grid(tensor(recorded["latents"]))
    assert_close(grid, recorded["modulated_latents"])
    nodes = grid.flatten(2).transpose(1, 2)[recorded["subject_index"]]
    for which, coordinates in (("transformed", "coords_transformed"), ("plain", "coords")):
        weights = interpolation_weights(tensor(recorded[coordinates]), decoder.shape.latent_grid)
        joined = torch.cat([torch.bmm(weights[:, None], nodes)[:, 0], tensor(recorded["conditions"])], dim=1)
        assert_close(joined, recorded[f"interp_{which}"])


@each_cinema_case("decoder.npz", "checkpoint_arrays.npz")
def test_outputs_of_the_decoder(case):
    recorded, decoder = arrays(case, "decoder"), decoder_of(case)
    for which, coordinates in (("transformed", "coords_transformed"), ("plain", "coords")):
        assert_close(decoded(decoder, recorded, coordinates), recorded[f"output_{which}"])


@each_cinema_case("decoder.npz", "checkpoint_arrays.npz")
def test_activations_of_every_sine_layer(case):
    recorded, decoder = arrays(case, "decoder"), decoder_of(case)
    for layer in range(decoder.shape.layers + 1):
        assert_close(decoded(up_to(decoder, layer), recorded, "coords_transformed"), recorded[f"activation_{layer}"])


def decoded(decoder: AtlasDecoder, recorded: dict[str, np.ndarray], coordinates: str) -> torch.Tensor:
    """Decode each point with the latents of its own subject."""
    grid = decoder.latent_grid(tensor(recorded["latents"]))[recorded["subject_index"]]
    return decoder(tensor(recorded[coordinates])[:, None], decoder.fold(grid, tensor(recorded["conditions"])))[:, 0]


def up_to(decoder: AtlasDecoder, layer: int) -> AtlasDecoder:
    """Return the decoder that ends with a sine layer and gives out its activations."""
    shape = decoder.shape
    modulated = tuple(index for index in shape.modulated if index <= layer)
    part = AtlasDecoder(replace(shape, layers=layer, modulated=modulated, intensities=shape.hidden, classes=0))
    own = part.state_dict()
    state = {name: value for name, value in decoder.state_dict().items() if name in own}
    with torch.no_grad():
        state["output.weight"] = torch.eye(shape.hidden, own["output.weight"].shape[1])
        state["output.bias"] = torch.zeros(shape.hidden)
    part.load_state_dict(state)
    return part


@each_cinema_case("affine.npz")
def test_matrices_of_transform_parameters(case):
    recorded = arrays(case, "affine")
    sizes = [key.removeprefix("embed") for key in recorded if key.startswith("embed")]
    assert sizes
    for size in sizes:
        parameters = tensor(recorded[f"embed{size}"])
        linear, translation = moves(case, parameters)
        assert_close(linear, recorded[f"matrix{size}"])
        assert_close(translation, recorded[f"translation{size}"])
        assert_close(moves(case, parameters.double())[0], recorded[f"matrix{size}_float64"], 1e-7)


@each_cinema_case("checkpoint_arrays.npz", "checkpoint_epoch_*.pth")
def test_the_imported_checkpoint(case, model_of):
    recorded, folder = arrays(case, "checkpoint_arrays"), model_of(case).folder
    tensors = load_tensors(folder)
    expected = decoder_tensors(
        {key[12:]: tensor(value) for key, value in recorded.items() if key.startswith("inr_decoder/")}
    )
    assert {name for name in tensors if name.startswith("decoder.")} == {f"decoder.{name}" for name in expected}
    for name, value in expected.items():
        assert torch.equal(tensors[f"decoder.{name}"], value)
    assert np.array_equal(tensors["latents"], recorded["latents"])
    assert np.array_equal(tensors["transforms"], recorded["transformations"])
    assert [subject["id"] for subject in folder.manifest["subjects"]] == recorded["subject_ids"].tolist()
    assert folder.manifest["training"]["epochs"] == recorded["epoch"]


# --- the atlas ------------------------------------------------------------------------------------------------------


@each_cinema_case("normalisation.npz", "checkpoint_epoch_*.pth")
def test_combinations_of_conditions(case, model_of):
    expected, conditions = arrays(case, "normalisation")["combinations"], model_of(case).conditions
    combinations = atlases_of(case).combinations
    encoded = [[one.encode(values[one.name])[0] for one in conditions] for values in combinations]
    assert_close(np.reshape(encoded, (len(combinations), len(conditions))), expected)


@each_cinema_case("normalisation.npz")
def test_the_grid_of_the_atlas(case):
    recorded = arrays(case, "normalisation")
    grid = grid_as_published(2 * half_box(case), atlases_of(case).spacing)
    assert list(grid.shape) == recorded["grid_shape"].tolist()
    assert_close(grid.points(half_box(case)), recorded["grid_coords"])
    assert np.array_equal(grid.affine[:3, :3], recorded["grid_affine"][:3, :3])
    assert np.array_equal(grid.affine[:3, 3], -half_box(case))


@each_cinema_case("regression.npz")
def test_weights_of_the_subjects(case):
    recorded = arrays(case, "regression")
    spans, most, ages = recorded["gaussian_spans"], recorded["n_max"], recorded["target_ages"]
    weights = [
        [[gaussian_weights(recorded["train_ages"], age, span / 2, int(n)) for age in ages] for n in most]
        for span in spans
    ]
    known = np.isfinite(recorded["weights"])  # the program divides 0 by 0 far from all subjects
    assert known.any()
    assert_close(np.where(known, weights, 0), np.where(known, recorded["weights"], 0), WEIGHTS)


@each_cinema_case("regression.npz")
def test_mean_latents_of_the_atlas(case):
    recorded = arrays(case, "regression")
    bandwidth = float(recorded["atlas_gaussian_span"]) / 2
    weights = [gaussian_weights(recorded["train_ages"], age, bandwidth) for age in recorded["atlas_ages"]]
    assert_close(np.tensordot(weights, recorded["latents"], axes=1), recorded["mean_latents"], WEIGHTS)


@each_cinema_case("atlas.npz", "checkpoint_epoch_*.pth")
@pytest.mark.parametrize("masked", [True, False], ids=["masked", "unmasked"])
def test_the_atlas(case, masked, brain_of):
    recorded = arrays(case, "atlas")
    expected = recorded["atlas_masked" if masked else "atlas_unmasked"]
    for combination, (row, age) in itertools.product(range(expected.shape[4]), enumerate(recorded["ages"])):
        compare_brain(brain_of(case, float(age), combination, masked), expected[..., combination, row])


@each_cinema_case("atlas.npz", "checkpoint_epoch_*.pth")
@pytest.mark.parametrize("masked", [True, False], ids=["masked", "unmasked"])
def test_a_reconstructed_subject(case, masked, model_of):
    recorded, spacing = arrays(case, "atlas"), atlases_of(case).spacing
    row = int(recorded["train_subject_row"])
    brain = model_of(case).reconstruct(row, spacing, masked=masked, reference_compat=True)
    compare_brain(brain, recorded["subject_masked" if masked else "subject_unmasked"])


@each_cinema_case("atlas.npz", "checkpoint_epoch_*.pth")
def test_raw_outputs_of_the_last_atlas(case, model_of):
    recorded, model = arrays(case, "atlas"), model_of(case)
    recipe = model.recipe(float(recorded["ages"][-1]), atlases_of(case).combinations[-1], regression="gaussian")
    grid = grid_as_published(2 * half_box(case), atlases_of(case).spacing)
    assert_close(model.decode(recipe, grid), recorded["raw_logits_last"])


@each_cinema_case("mask.npz")
def test_the_mask_of_the_brain(case):
    recorded = arrays(case, "mask")
    mask = mask_as_published(recorded["seg"][..., 0].astype(int), background_of(case))
    assert np.array_equal(mask, recorded["mask"][..., 0] != 0)


@each_cinema_case("reference_output/*.nii.gz", "checkpoint_epoch_*.pth")
def test_the_files_that_the_program_wrote(case, model_of, brain_of):
    model = model_of(case)
    epoch = model.folder.manifest["training"]["epochs"]
    written = list((case / "reference_output").rglob(f"*_cond=*_ep={epoch}.nii.gz"))
    assert written
    for path in written:
        image = nibabel.load(path)
        name, combination = re.fullmatch(r"(.+)_ga=.*_cond=(\d+)_ep=\d+\.nii\.gz", path.name).groups()
        frames = np.moveaxis(image.get_fdata(), -1, 0)
        for age, frame in zip(atlases_of(case).ages, frames, strict=True):
            brain = brain_of(case, age, int(combination), config_of(case).data.mask)
            volume = volume_named(model, brain, name, certainty=path.parent.name == "CertaintyMaps")
            if volume is brain.labels:
                assert_same_labels(brain, frame)
            else:
                assert_close(volume.array, frame)
            assert_close(volume.affine[:3, :3], image.affine[:3, :3])
            assert np.array_equal(volume.affine[:3, 3], -half_box(case))


def volume_named(model: AtlasModel, brain: AtlasBrain, name: str, *, certainty: bool) -> Volume:
    if certainty:
        soft = brain.probabilities
        return Volume(soft.array[model.labels.names.index(name)], soft.affine)
    return brain.images.get(name, brain.labels)


def compare_brain(brain: AtlasBrain, expected: np.ndarray) -> None:
    """Compare with (x, y, z, channels): intensities, hard label, soft maps."""
    channels = len(brain.images)
    for channel, volume in enumerate(brain.images.values()):
        assert_close(volume.array, expected[..., channel])
    assert_same_labels(brain, expected[..., channels])
    assert_close(np.moveaxis(brain.probabilities.array, 0, -1), expected[..., channels + 1 :])


def assert_same_labels(brain: AtlasBrain, expected: np.ndarray) -> None:
    """Compare labels but where the two best logits are so near that rounding decides between them."""
    second, best = np.sort(brain.probabilities.array, axis=0)[-2:]
    undecided = best - second < NEAR_TIE * best
    assert brain.labels.array.shape == expected.shape
    assert not ((brain.labels.array != expected) & ~undecided).any()


# --- metrics --------------------------------------------------------------------------------------------------------


@each_cinema_case("metrics.npz")
def test_metrics(case):
    recorded = arrays(case, "metrics")
    background = (0, int(recorded["bg_label"]))
    assert_close(mean_dice(recorded["seg_pred"], recorded["seg_ref"], background), recorded["dice"])
    for metric in (psnr, ssim):
        assert_close(metric(recorded["img_pred"], recorded["img_ref"]), recorded[metric.__name__])
    assert np.array_equal(bounding_box(recorded["box_img"]), recorded["box"])
