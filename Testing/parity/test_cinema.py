"""The published atlas program's numbers, to float32 accuracy.

Every size and setting is read from the case. What NeuroGen corrects on purpose is compared as corrected: the header's
origin is the corner of the box instead of 0.
"""

from __future__ import annotations

import functools
import itertools
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import nibabel
import numpy as np
import pytest
import torch
import yaml
from cases import cinema_cases, each_cinema_case

from NeuroGenLib.atlas import transform
from NeuroGenLib.atlas.conditions import Condition
from NeuroGenLib.atlas.config import OptimiserConfig
from NeuroGenLib.atlas.data import intensity_scaling, prepare
from NeuroGenLib.atlas.loss import LossWeights, atlas_loss, transform_penalty
from NeuroGenLib.atlas.network import AtlasDecoder, Shape, interpolation_weights
from NeuroGenLib.atlas.published import (
    decoder_tensors,
    grid_as_published,
    import_checkpoint,
    mask_as_published,
    shape_from_config,
)
from NeuroGenLib.atlas.regression import gaussian_weights
from NeuroGenLib.atlas.train import class_weights, parameter_groups
from NeuroGenLib.cohort import Cohort
from NeuroGenLib.metrics import bounding_box, mean_dice, ncc, psnr, ssim
from NeuroGenLib.models import open_model
from NeuroGenLib.models.folder import load_tensors
from NeuroGenLib.volume import Volume

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from NeuroGenLib.atlas.infer import AtlasBrain, AtlasModel

if not cinema_cases(requires=("configs",)):
    pytest.skip("no recorded CINeMA runs here (set NEUROGEN_PARITY)", allow_module_level=True)

FLOAT32 = 5e-5
WEIGHTS = 1e-4
NEAR_TIE = 1e-4
NEAR_ZERO = 1e-6


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


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
        model, spacing = model_of(case), tuple(atlas_config(case)["atlas_gen"]["spacing"])
        values = {one.name: raw_combinations(case)[combination][one.name] for one in model.conditions}
        return model.generate(age, values, spacing, masked=masked, reference_compat=True)

    return brain


# --- what a case says of itself -------------------------------------------------------------------------------------


def atlas_config(case: Path) -> dict[str, Any]:
    return yaml.safe_load((case / "configs" / "config_atlas.yaml").read_text())


def data_config(case: Path) -> dict[str, Any]:
    content = yaml.safe_load((case / "configs" / "config_data.yaml").read_text())
    return content.get(atlas_config(case)["config_data"]) or next(iter(content.values()))


def arrays(case: Path, name: str) -> dict[str, np.ndarray]:
    with np.load(case / f"{name}.npz") as content:
        return {key: content[key] for key in content.files}


def tensor(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array))


def shape_of(case: Path) -> Shape:
    return shape_from_config(atlas_config(case), data_config(case))


def decoder_of(case: Path) -> AtlasDecoder:
    state = {
        key.removeprefix("inr_decoder/"): tensor(value)
        for key, value in arrays(case, "checkpoint_arrays").items()
        if key.startswith("inr_decoder/")
    }
    decoder = AtlasDecoder(shape_of(case))
    decoder.load_state_dict(decoder_tensors(state))
    return decoder


def half_box(case: Path) -> np.ndarray:
    return np.array(data_config(case)["world_bbox"], float) / 2


def used_conditions(case: Path) -> list[str]:
    return [name for name, used in data_config(case)["conditions"].items() if used]


def condition_of(case: Path, name: str, bounds: np.ndarray, scale: float) -> Condition:
    return Condition(name, "numeric", float(bounds[0]), float(bounds[1]), scale=float(scale))


def raw_combinations(case: Path) -> list[dict[str, float]]:
    """Return the table values of every combination of conditions of the atlas, the first condition slowest."""
    asked = atlas_config(case)["atlas_gen"]["conditions"] or {}
    choices = []
    for name in used_conditions(case):
        low, high = (float(data_config(case)["constraints"][name][end]) for end in ("min", "max"))
        values = [float(value) for value in asked[name]["values"]]
        if asked[name].get("normed_values"):
            values = [low + (value + 1) / 2 * (high - low) for value in values]
        choices.append(values)
    return [dict(zip(used_conditions(case), values, strict=True)) for values in itertools.product(*choices)]


def moves(case: Path, transforms: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return transform.matrices(transforms, tensor(half_box(case)), "euler-zxz")


def loss_weights(case: Path, segmentation: float) -> LossWeights:
    """Return the weighting of a case; the program applies ``segmentation`` twice."""
    optimiser, data = atlas_config(case)["optimizer"], data_config(case)
    names = tuple(data["label_names"])
    given = data.get("class_weights")
    named = {} if given is None else dict(zip(names, map(float, given), strict=True))
    return LossWeights(
        "mse" if optimiser["loss_metric"] == "mse" else "l1",
        segmentation**2,
        float(optimiser["tf_weight"]),
        classes=class_weights(OptimiserConfig(class_weights=named), names),
    )


def assert_close(actual: Any, expected: Any, tolerance: float = FLOAT32) -> None:
    actual = actual.detach().numpy() if isinstance(actual, torch.Tensor) else np.asarray(actual)
    expected = np.asarray(expected)
    assert actual.shape == expected.shape
    np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance)


# --- the network ----------------------------------------------------------------------------------------------------


@each_cinema_case("decoder.npz")
def test_transforms_of_points(case):
    recorded = arrays(case, "decoder")
    linear, translation = (part[recorded["subject_index"]] for part in moves(case, tensor(recorded["tfs"])))
    points = tensor(recorded["coords"])[:, None]
    assert_close(transform.apply(points, linear, translation)[:, 0], recorded["coords_transformed"])
    assert_close(transform.apply_inverse(points, linear, translation)[:, 0], recorded["coords_inverse"])


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


# --- what training reads --------------------------------------------------------------------------------------------


@each_cinema_case("normalisation.npz")
def test_normalised_intensities(case):
    recorded = arrays(case, "normalisation")
    raw = recorded["raw"][:, :-1].clip(min=0)
    for kind in ("minmax", "zscore"):
        scaling = intensity_scaling(raw, kind)
        assert_close((raw - scaling[:, 0]) / scaling[:, 1], recorded[kind][:, :-1])


@each_cinema_case("normalisation.npz")
def test_normalised_conditions(case):
    recorded = arrays(case, "normalisation")
    for name in (key[5:-7] for key in recorded if re.fullmatch("cond_.*_bounds", key)):
        condition = condition_of(case, name, recorded[f"cond_{name}_bounds"], recorded["cond_scale"])
        encoded = [condition.encode(value) for value in recorded[f"cond_{name}_values"]]
        again = [condition.encode(value) for value in recorded[f"cond_{name}_restored"]]
        assert_close(np.ravel(encoded), recorded[f"cond_{name}_normalised"])
        assert_close(np.ravel(again), recorded[f"cond_{name}_normalised"])


@each_cinema_case("normalisation.npz", "checkpoint_epoch_*.pth")
def test_combinations_of_conditions(case, model_of):
    expected, conditions = arrays(case, "normalisation")["combinations"], model_of(case).conditions
    combinations = raw_combinations(case)
    encoded = [[one.encode(values[one.name])[0] for one in conditions] for values in combinations]
    assert_close(np.reshape(encoded, (len(combinations), len(conditions))), expected)


@each_cinema_case("normalisation.npz")
def test_the_grid_of_the_atlas(case):
    recorded = arrays(case, "normalisation")
    grid = grid_as_published(2 * half_box(case), tuple(atlas_config(case)["atlas_gen"]["spacing"]))
    assert list(grid.shape) == recorded["grid_shape"].tolist()
    assert_close(grid.points(half_box(case)), recorded["grid_coords"])
    assert np.array_equal(grid.affine[:3, :3], recorded["grid_affine"][:3, :3])
    assert np.array_equal(grid.affine[:3, 3], -half_box(case))


@each_cinema_case("dataset.npz", "inputs/*")
def test_prepared_subjects(case):
    recorded, data = arrays(case, "dataset"), data_config(case)
    *modalities, segmentation = data["modalities"]
    table = Cohort.from_table(case / "configs" / "participants.tsv", data["modalities"], root=case)
    rows = [key.removesuffix("_subject_id") for key in recorded if key.endswith("_subject_id")]
    assert rows
    for row in rows:
        (subject,) = table.select([str(recorded[f"{row}_subject_id"])])
        labels = Volume.load(subject.paths[segmentation])
        images = np.stack([Volume.load(subject.paths[name]).array for name in modalities])
        masked = atlas_config(case)["mask_reconstruction"]
        points = prepare(
            images,
            labels.array,
            labels.affine,
            background=data["label_names"].index("BG"),
            normalisation=data["normalize_values"],
            mask=masked,
            reference_compat=True,
        )
        halo = np.zeros(labels.shape, np.uint8)
        halo[tuple(points.index.T)] = points.classes
        assert np.array_equal(halo, recorded[f"{row}_seg_with_halo"])
        assert_close(points.centre, recorded[f"{row}_centre_world_mm"], 1e-6)
        assert_close(points.world(points.index) / half_box(case), recorded[f"{row}_coords"])
        assert_close(np.column_stack([points.intensities, points.classes]), recorded[f"{row}_values"])
        conditions = [
            condition_of(case, name, [data["constraints"][name][end] for end in ("min", "max")],
                         atlas_config(case)["atlas_gen"]["cond_scale"]).encode(subject.values[name])
            for name in used_conditions(case)
        ]  # fmt: skip
        assert_close(np.ravel(conditions), recorded[f"{row}_conditions"])


# --- what training computes -----------------------------------------------------------------------------------------


@each_cinema_case("loss.npz")
def test_parts_of_the_loss(case):
    recorded = arrays(case, "loss")
    output, transforms = tensor(recorded["output"]), tensor(recorded["tfs"])
    intensities, classes = targets(recorded["target"])
    settings = {key[:-6] for key in recorded if re.fullmatch(r"sw[\d.]+_total", key)}
    assert settings
    for prefix in settings:
        weight = float(prefix[2:])
        parts = atlas_loss(
            output,
            intensities,
            classes,
            loss_weights(case, weight),
            transforms=transforms,
            latents=torch.zeros(1),
        )
        assert_close(parts["loss"], recorded[f"{prefix}_total"])
        assert_close(parts["intensity"], recorded[f"{prefix}_sr"])
        assert_close(weight * parts["segmentation"], recorded[f"{prefix}_seg"])
        assert_close(parts["transform"], recorded[f"{prefix}_tf"])
        for start, name in enumerate(("rot", "trans", "scale")):
            if f"{prefix}_tf_{name}" in recorded:
                only = torch.zeros_like(transforms)
                only[:, 3 * start : 3 * start + 3] = transforms[:, 3 * start : 3 * start + 3]
                assert_close(transform_penalty(only), recorded[f"{prefix}_tf_{name}"])


def targets(values: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    return tensor(values[:, :-1]), tensor(values[:, -1]).long()


class Steps:
    """Optimiser steps on the fixed batch of ``train_steps.npz`` or ``val_steps.npz``."""

    def __init__(self, case: Path, recorded: dict[str, np.ndarray], *, fitting: bool) -> None:
        self.case, self.recorded = case, recorded
        self.rows = tensor(recorded["subject_index"]).long()
        self.decoder = decoder_of(case).requires_grad_(not fitting)
        self.latents = torch.nn.Parameter(tensor(recorded["latents_before"]))
        moving = atlas_config(case)["inr_decoder"]["tf_dim"] > 0
        self.transforms = torch.nn.Parameter(tensor(recorded["tfs_before"]), requires_grad=moving)
        self.conditions = tensor(recorded["conditions_before"] if fitting else recorded["conditions"])
        settings = self.settings()
        groups = parameter_groups(self.decoder, self.latents, self.transforms, settings)
        if fitting:
            self.conditions.requires_grad_()
            groups.append({**groups[0], "params": [self.conditions]})
        self.optimiser = torch.optim.AdamW(groups)
        self.weights = loss_weights(case, 0.0 if fitting else float(atlas_config(case)["optimizer"]["seg_weight"]))
        self.label_weight = self.weights.segmentation**0.5

    def settings(self) -> OptimiserConfig:
        given = atlas_config(self.case)["optimizer"]
        return OptimiserConfig(
            rate=float(given["lr_inr"]),
            weight_decay=float(given["inr_weight_decay"]),
            latent_rate=float(given["lr_latent"]),
            latent_decay=float(given["latent_weight_decay"]),
            transform_rate=float(given["lr_tf"]),
            transform_decay=float(given["tf_weight_decay"]),
        )

    def output(self) -> torch.Tensor:
        points = tensor(self.recorded["coords"])[:, None]
        if self.transforms.requires_grad:
            linear, translation = moves(self.case, self.transforms)
            points = transform.apply(points, linear[self.rows], translation[self.rows])
        each_point = len(self.conditions) == len(self.rows)
        conditions = self.conditions if each_point else self.conditions[self.rows]
        grid = self.decoder.latent_grid(self.latents)[self.rows]
        return self.decoder(points, self.decoder.fold(grid, conditions))[:, 0]

    def backward(self) -> list[float]:
        """Compute the gradients; return total, intensity, label and transform loss as the program lists them."""
        self.optimiser.zero_grad()
        intensities, classes = targets(self.recorded["values"])
        parts = atlas_loss(
            self.output(), intensities, classes, self.weights, transforms=self.transforms[self.rows],
            latents=self.latents,
        )  # fmt: skip
        parts["loss"].backward()
        listed = (parts["loss"], parts["intensity"], self.label_weight * parts["segmentation"], parts["transform"])
        return [float(part.detach()) for part in listed]

    def tables(self) -> dict[str, torch.Tensor]:
        return {"latents": self.latents, "tfs": self.transforms, "conditions": self.conditions}

    def parameters(self) -> dict[str, torch.Tensor]:
        """Return the decoder's parameters under their published names."""
        own = dict(self.decoder.named_parameters())
        names = [key[5:] for key in self.recorded if key.startswith("grad_") and key[5:] not in self.tables()]
        return {name: own[ours] for name in names for ours in decoder_tensors({name: torch.zeros(())})}

    def compare_gradients(self) -> None:
        for name, parameter in (self.tables() | self.parameters()).items():
            if self.recorded.get(f"grad_{name}", np.zeros(0)).size and parameter.requires_grad:
                assert_close(parameter.grad, self.recorded[f"grad_{name}"])

    def compare_values(self, step: int) -> None:
        for prefix, parameters in (("", self.tables()), ("param_", self.parameters())):
            for name, parameter in parameters.items():
                key = f"after{step}_{prefix}{name}"
                if key in self.recorded:
                    decided = self.decided(name, parameter.shape)
                    assert_close(parameter.detach()[decided], self.recorded[key][decided])

    def decided(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        """Return which numbers of a parameter move by more than rounding.

        AdamW's first step is hardly more than the gradient's sign, whatever its size.
        """
        size = np.abs(self.recorded.get(f"grad_{name}", np.zeros(shape)))
        return (size == 0) | (size > NEAR_ZERO)


@each_cinema_case("train_steps.npz", "checkpoint_arrays.npz")
def test_training_steps(case):
    run(Steps(case, arrays(case, "train_steps"), fitting=False))


@each_cinema_case("val_steps.npz", "checkpoint_arrays.npz")
def test_fitting_steps_with_a_frozen_decoder(case):
    steps = Steps(case, arrays(case, "val_steps"), fitting=True)
    assert_close(steps.output(), steps.recorded["output_first"])
    run(steps)
    assert all(parameter.grad is None for parameter in steps.decoder.parameters())


def run(steps: Steps) -> None:
    for step, expected in enumerate(steps.recorded["loss_total_sr_seg_tf"], start=1):
        assert_close(steps.backward(), expected)
        if step == 1:
            steps.compare_gradients()
        steps.optimiser.step()
        steps.compare_values(step)


# --- the atlas ------------------------------------------------------------------------------------------------------


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
    recorded, spacing = arrays(case, "atlas"), tuple(atlas_config(case)["atlas_gen"]["spacing"])
    row = int(recorded["train_subject_row"])
    brain = model_of(case).reconstruct(row, spacing, masked=masked, reference_compat=True)
    compare_brain(brain, recorded["subject_masked" if masked else "subject_unmasked"])


@each_cinema_case("atlas.npz", "checkpoint_epoch_*.pth")
def test_raw_outputs_of_the_last_atlas(case, model_of):
    recorded, model = arrays(case, "atlas"), model_of(case)
    recipe = model.recipe(float(recorded["ages"][-1]), raw_combinations(case)[-1], regression="gaussian")
    grid = grid_as_published(2 * half_box(case), tuple(atlas_config(case)["atlas_gen"]["spacing"]))
    assert_close(model.decode(recipe, grid), recorded["raw_logits_last"])


@each_cinema_case("mask.npz")
def test_the_mask_of_the_brain(case):
    recorded = arrays(case, "mask")
    background = data_config(case)["label_names"].index("BG")
    mask = mask_as_published(recorded["seg"][..., 0].astype(int), background)
    assert np.array_equal(mask, recorded["mask"][..., 0] != 0)


@each_cinema_case("reference_output/*.nii.gz", "checkpoint_epoch_*.pth")
def test_the_files_that_the_program_wrote(case, model_of, brain_of):
    model, generation = model_of(case), atlas_config(case)["atlas_gen"]
    epoch = model.folder.manifest["training"]["epochs"]
    written = list((case / "reference_output").rglob(f"*_cond=*_ep={epoch}.nii.gz"))
    assert written
    for path in written:
        image = nibabel.load(path)
        name, combination = re.fullmatch(r"(.+)_ga=.*_cond=(\d+)_ep=\d+\.nii\.gz", path.name).groups()
        frames = np.moveaxis(image.get_fdata(), -1, 0)
        for age, frame in zip(generation["temporal_values"], frames, strict=True):
            brain = brain_of(case, float(age), int(combination), atlas_config(case)["mask_reconstruction"])
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
    for metric in (psnr, ssim, ncc):
        assert_close(metric(recorded["img_pred"], recorded["img_ref"]), recorded[metric.__name__])
    assert np.array_equal(bounding_box(recorded["box_img"]), recorded["box"])
