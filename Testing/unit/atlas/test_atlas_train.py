"""Training an atlas, from a table on disk to a model folder."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from NeuroGenLib.atlas.data.dataset import build_dataset
from NeuroGenLib.atlas.losses import LossWeights, atlas_loss, class_weights, transform_penalty
from NeuroGenLib.atlas.regression import default_bandwidth, subject_weights
from NeuroGenLib.atlas.smoothness import neighbour_weights
from NeuroGenLib.atlas.train import AtlasModule, parameter_groups, train
from NeuroGenLib.core.errors import Cancelled
from NeuroGenLib.core.progress import Progress
from NeuroGenLib.core.resources import resource
from NeuroGenLib.models import open_model
from NeuroGenLib.models.folder import ModelFolder, load_tensors, write_model
from NeuroGenLib.spatial.labels import LabelTable
from NeuroGenLib.training.metrics_log import read_metrics
from Testing.atlas_fixtures import PEOPLE, STEPS, AtlasCohort, write_cohort
from Testing.raising import raises

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("one_thread")

SHORT = {"steps": 4, "log_every": 1}
STILL = {"rate": 0.0, "latent_rate": 0.0, "transform_rate": 0.0}


class Stopper(Progress):
    """Asks to stop once the step counter shows a number; the next step is the last."""

    def __init__(self, step: int) -> None:
        super().__init__()
        self._words = f"step {step},"

    def show(self, step: float, total: float, message: str) -> None:  # noqa: ARG002
        if self._words in message:
            self.cancel()


def short(cohort: AtlasCohort, out: Path, **changes: Any) -> Any:
    """Return a job of a few steps; ``changes`` are by section."""
    config = cohort.config(out, **changes)
    return dataclasses.replace(config, train=dataclasses.replace(config.train, **SHORT))


def trained(config: Any) -> tuple[ModelFolder, dict[str, torch.Tensor]]:
    train(config)
    folder = ModelFolder.read(config.train.out / "model")
    return folder, load_tensors(folder)


def data(cohort: AtlasCohort, **changes: Any) -> dict[str, Any]:
    """Return the data section of a job, changed."""
    whole = cohort.config(cohort.table.parent).data
    section = {
        "table": str(cohort.table),
        "modalities": list(whole.modalities),
        "labels": str(whole.labels),
        "conditions": {
            "ventricles": {"minimum": 0.0, "maximum": 1.0, "unit": "ml"},
            "sex": {"kind": "categoric"},
        },
    }
    return section | changes


# --- a whole run ----------------------------------------------------------------------------------------------------


def test_a_run_learns_and_leaves_a_model(atlas_run, atlas):
    rows = read_metrics(atlas_run / "metrics.csv")
    assert rows[-1]["step"] == STEPS
    assert rows[-1]["loss"] < 0.5 * rows[0]["loss"]
    assert rows[-1]["segmentation"] < 0.5 * rows[0]["segmentation"]
    for row in rows:
        assert row["loss"] == pytest.approx(row["intensity"] + row["segmentation"], rel=1e-5)
    assert [subject["id"] for subject in atlas.subjects] == [person.id for person in PEOPLE]


def test_the_manifest_says_how_it_was_made(atlas_run, atlas_cohort, tmp_path):
    manifest = ModelFolder.read(atlas_run / "model").manifest
    dataset = build_dataset(atlas_cohort.config(tmp_path).data)
    assert manifest["age"] == {"name": "scan_age", "unit": "weeks", "range": [24.0, 32.0]}
    assert manifest["conditions"] == [
        {"name": "ventricles", "kind": "numeric", "unit": "ml", "scale": 0.5, "range": [0.0, 1.0]},
        {"name": "sex", "kind": "categoric", "unit": "", "scale": 0.5, "values": ["F", "M"]},
    ]
    assert manifest["labels"] == LabelTable.from_tsv(resource("labels/fetal-tissues.tsv")).to_mapping()
    assert manifest["modalities"] == ["T2w", "T1w"]
    assert manifest["preparation"]["box"] == dataset.box.tolist()
    assert manifest["preparation"]["background"] == ["background"]
    assert manifest["training"]["steps"] == STEPS
    for entry, points, volumes in zip(manifest["subjects"], dataset.subjects, dataset.volumes_ml, strict=True):
        assert entry["centre"] == pytest.approx(points.centre.tolist())
        assert entry["volumes_ml"] == pytest.approx(volumes, abs=1e-3)


def test_ids_and_folders_stay_at_home(atlas_cohort, tmp_path):
    folder, _ = trained(short(atlas_cohort, tmp_path / "run"))
    text = (folder.path / "neurogen.json").read_text() + folder.card
    assert "sub-0" not in text
    assert str(tmp_path) not in text
    assert str(atlas_cohort.table.parent) not in text


def test_a_run_that_was_stopped_repeats_the_uninterrupted_one(atlas_cohort, tmp_path):
    options = {"optimiser": {"points": 400, "subjects_per_step": 3}}
    settings = {"steps": 30, "out": str(tmp_path / "whole"), "log_every": 5}
    whole = atlas_cohort.config(tmp_path / "whole", train=settings, **options)
    parts = atlas_cohort.config(tmp_path / "parts", train={**settings, "out": str(tmp_path / "parts")}, **options)
    with raises("cancelled", 12, 30, kind=Cancelled):
        train(parts, Stopper(11))
    assert not (tmp_path / "parts" / "model").exists()
    (_, expected), (_, tensors) = trained(whole), trained(parts)
    assert tensors.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(tensors[name], value), name


def test_a_seed_decides_the_run(atlas_cohort, tmp_path):
    runs = [
        trained(
            short(atlas_cohort, tmp_path / str(row), train={"out": str(tmp_path / str(row)), "steps": 4, "seed": seed})
        )
        for row, seed in enumerate((5, 5, 6))
    ]
    (_, one), (_, same), (_, other) = runs
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["latents"], other["latents"])


@pytest.mark.parametrize("kind", ["none", "rigid", "rigid+scale", "affine"])
def test_every_kind_of_transform_is_learned(atlas_cohort, tmp_path, kind):
    folder, tensors = trained(short(atlas_cohort, tmp_path / "run", optimiser={"transform": kind, "points": 200}))
    columns = {"none": 0, "rigid": 6, "rigid+scale": 9, "affine": 12}[kind]
    assert folder.manifest["transform"] == {"kind": kind, "parametrisation": "rotation-vector"}
    assert ("transforms" in tensors) == (columns > 0)
    if columns:
        assert tensors["transforms"].shape == (4, columns)
        assert (tensors["transforms"] != 0).all()
    brain = open_model(str(folder.path), device="cpu").reconstruct(2, 8.0, masked=False)
    assert np.isfinite(brain.image.array).all()


def test_a_convolution_and_normalisations_are_learned(atlas_cohort, tmp_path):
    changes = {
        "network": {"latent_kernel": 3, "latent_grid": [2, 3, 4]},
        "data": data(atlas_cohort, normalisation="zscore"),
        "optimiser": {"points": 200, "outside": 0.0, "loss": "mse", "schedule": "constant", "latent_weight": 0.1},
    }
    folder, tensors = trained(short(atlas_cohort, tmp_path / "run", **changes))
    assert tensors["latents"].shape[2:] == (4, 3, 2)
    assert min(folder.manifest["preparation"]["fill"]) < 0  # zero, in z-scores
    brain = open_model(str(folder.path), device="cpu").generate(28, {"ventricles": 0.5, "sex": "M"}, 8.0)
    assert brain.image.array[0, 0, 0] == pytest.approx(folder.manifest["preparation"]["fill"][0])


# --- as the published program does ----------------------------------------------------------------------------------


def test_compatible_training_weighs_labels_twice_and_turns_by_euler_angles(atlas_cohort, tmp_path):
    losses = {}
    for compat in (False, True):
        config = short(atlas_cohort, tmp_path / f"run{compat}", top={"reference_compat": compat},
                       optimiser={"segmentation_weight": 0.5, "points": 200})  # fmt: skip
        folder, _ = trained(config)
        losses[compat] = read_metrics(config.train.out / "metrics.csv")[0]
        kind = "euler-zxz" if compat else "rotation-vector"
        assert folder.manifest["transform"]["parametrisation"] == kind
    for compat, weight in ((False, 0.5), (True, 0.25)):
        row = losses[compat]
        assert row["loss"] == pytest.approx(row["intensity"] + weight * row["segmentation"], rel=1e-5)


# --- starting from another atlas ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def three(atlas_cohort: AtlasCohort, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An atlas of the first three people."""
    out = tmp_path_factory.mktemp("three") / "run"
    trained(
        short(
            atlas_cohort, out, data=data(atlas_cohort, exclude=["sub-04"], box=[80, 100, 80]), top={"store_ids": True}
        )
    )
    return out / "model"


def starting_from(model: Path, cohort: AtlasCohort, out: Path, **changes: Any) -> Any:
    config = short(cohort, out, **{"optimiser": STILL, **changes})
    return dataclasses.replace(config, train=dataclasses.replace(config.train, init_from=str(model)))


def test_a_new_subject_starts_from_the_atlas_at_its_age(three, atlas_cohort, tmp_path):
    """With rates of zero the model is its start."""
    before = load_tensors(ModelFolder.read(three))
    _, after = trained(starting_from(three, atlas_cohort, tmp_path / "run"))
    for name, value in before.items():
        if name.startswith("decoder."):
            assert torch.equal(after[name], value)
    assert torch.equal(after["latents"][:3], before["latents"])
    assert torch.equal(after["transforms"][:3], before["transforms"])
    bandwidth = ModelFolder.read(three).manifest["regression"]["bandwidth"]
    weights = subject_weights(np.array([24.0, 26.5, 29.0]), 32.0, bandwidth).weights
    expected = np.tensordot(weights, before["latents"].numpy(), axes=1)
    np.testing.assert_allclose(after["latents"][3], expected, atol=1e-6)
    assert not after["transforms"][3].any()


def test_transforms_of_another_parametrisation_are_not_taken(three, atlas_cohort, tmp_path):
    _, after = trained(starting_from(three, atlas_cohort, tmp_path / "run", top={"reference_compat": True}))
    assert not after["transforms"].any()


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"data": {"conditions": {"sex": {"kind": "categoric"}}}}, ("value-conflict", "conditions")),
        ({"data": {"labels": None}}, ("value-conflict", "labels")),
        ({"network": {"hidden": 33}}, ("weights-mismatch", "'layers.0.linear.bias'", "(32,)", "(33,)")),
    ],
)
def test_an_atlas_of_another_kind_is_not_a_start(three, atlas_cohort, tmp_path, changes, error):
    changes = {
        name: (data(atlas_cohort, **section) if name == "data" else section) for name, section in changes.items()
    }
    with raises(*error):
        train(starting_from(three, atlas_cohort, tmp_path / "run", **changes))


def test_a_model_of_another_capability_is_not_a_start(atlas_cohort, tmp_path):
    write_model(tmp_path / "other", "registration", {"weight": torch.zeros(1)}, {}, "A card")
    with raises("model-kind", tmp_path / "other", "registration"):
        train(starting_from(tmp_path / "other", atlas_cohort, tmp_path / "run"))


# --- one step -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def module(atlas_cohort: AtlasCohort, tmp_path_factory: pytest.TempPathFactory) -> AtlasModule:
    config = atlas_cohort.config(tmp_path_factory.mktemp("module"))
    return AtlasModule(config, build_dataset(config.data))


def test_a_step_depends_on_its_number_alone(module):
    torch.manual_seed(1)
    first = module.step_loss(5)["loss"]
    torch.manual_seed(2)
    assert torch.equal(module.step_loss(5)["loss"], first)
    assert not torch.equal(module.step_loss(6)["loss"], first)


def test_a_step_reaches_every_parameter(module):
    module.zero_grad()
    module.step_loss(0)["loss"].backward()
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all()
        assert parameter.grad.any(), name


def test_each_group_has_its_rate(module, atlas_cohort, tmp_path):
    settings = atlas_cohort.config(
        tmp_path, optimiser={"latent_decay": 0.1, "weight_decay": 0.2, "transform_decay": 0.3}
    )
    groups = parameter_groups(module.decoder, module.latents, module.transforms, settings.optimiser)
    assert [(group["lr"], group["weight_decay"]) for group in groups] == [(1e-2, 0.1), (5e-3, 0.2), (2e-3, 0.3)]
    assert groups[0]["params"] == [module.latents]
    assert groups[2]["params"] == [module.transforms]
    still = parameter_groups(module.decoder, module.latents, torch.zeros(4, 0), settings.optimiser)
    assert len(still) == 2


# --- the loss -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["l1", "mse"])
def test_the_loss_by_hand(kind):
    generator = np.random.default_rng(0)
    output, target = generator.normal(size=(50, 5)), generator.normal(size=(50, 2))
    classes, weights = generator.integers(0, 3, 50), np.array([0.0, 1.0, 2.5])
    transforms, latents = generator.normal(size=(4, 9)), generator.normal(size=(4, 3))
    logs = output[:, 2:] - np.log(np.exp(output[:, 2:]).sum(1, keepdims=True))
    labels = -(weights[classes] * logs[np.arange(50), classes]).sum() / weights[classes].sum()
    difference = output[:, :2] - target
    images = np.abs(difference).mean() if kind == "l1" else (difference**2).mean()
    penalty = sum((transforms[:, start : start + 3] ** 2).mean() for start in (0, 3, 6))
    parts = atlas_loss(
        torch.tensor(output),
        torch.tensor(target),
        torch.tensor(classes),
        LossWeights(kind, 0.7, 0.1, 0.01, torch.tensor(weights)),
        transforms=torch.tensor(transforms),
        latents=torch.tensor(latents),
    )
    expected = {"intensity": images, "segmentation": labels, "transform": penalty, "latent": (latents**2).mean()}
    expected["loss"] = images + 0.7 * labels + 0.1 * penalty + 0.01 * expected["latent"]
    assert {name: float(value) for name, value in parts.items()} == pytest.approx(expected)


def test_a_part_of_weight_zero_has_no_gradient():
    output = torch.zeros(6, 4, requires_grad=True)
    parts = atlas_loss(output, torch.ones(6, 2), torch.zeros(6, dtype=torch.int64), LossWeights(segmentation=0.0),
                       transforms=torch.zeros(1, 0), latents=torch.zeros(1))  # fmt: skip
    parts["loss"].backward()
    assert output.grad[:, :2].any()
    assert not output.grad[:, 2:].any()
    assert parts["segmentation"] == pytest.approx(np.log(2))


def test_no_transforms_have_no_penalty():
    assert transform_penalty(torch.zeros(5, 0)) == 0


def test_class_weights_go_by_name(atlas_cohort, tmp_path):
    settings = atlas_cohort.config(
        tmp_path, optimiser={"class_weights": {"ventricles": 3.0, "background": 0.5}}
    ).optimiser
    weights = class_weights(settings, ("background", "white_matter", "ventricles"))
    assert weights.tolist() == [0.5, 1.0, 3.0]


# --- what cannot be -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("section", "changes", "error"),
    [
        ("network", {"modulated": [1, 3]}, ("value-invalid", "network.modulated", 3, 2)),
        (
            "optimiser",
            {"class_weights": {"ventricle": 2.0}},
            ("name-unknown", "optimiser.class_weights", "'ventricle'", "'ventricles'"),
        ),
        ("data", {"segmentation": "Segm"}, ("name-unknown", "'Segm'", "'Seg'")),
        ("data", {"age": "age"}, ("name-unknown", "'age'", "'scan_age'")),
        ("data", {"include": ["sub-9*"]}, ("name-unknown", "'sub-9*'")),
        ("data", {"background": "outside"}, ("name-unknown", "'outside'")),
    ],
)
def test_settings_that_do_not_fit_the_data_are_refused(atlas_cohort, tmp_path, section, changes, error):
    changes = data(atlas_cohort, **changes) if section == "data" else changes
    with raises(*error):
        train(atlas_cohort.config(tmp_path / "run", **{section: changes}))
    assert not (tmp_path / "run").exists()


def test_class_weights_of_zero_alone_are_refused(atlas_cohort, tmp_path):
    names = LabelTable.from_tsv(resource("labels/fetal-tissues.tsv")).names
    with raises("value-invalid"):
        train(atlas_cohort.config(tmp_path / "run", optimiser={"class_weights": dict.fromkeys(names, 0.0)}))


def test_one_person_is_a_cohort(tmp_path):
    """An atlas of one is of little use, but it trains and draws."""
    cohort = write_cohort(tmp_path, PEOPLE[:1])
    folder, tensors = trained(short(cohort, tmp_path / "run", data=data(cohort, conditions={})))
    assert tensors["latents"].shape[0] == 1
    brain = open_model(str(folder.path), device="cpu").generate(24, spacing=8.0, masked=False)
    assert np.isfinite(brain.image.array).all()


def test_the_run_records_its_settings(atlas_run):
    run = json.loads((atlas_run / "run.json").read_text())
    assert run["parameters"]["optimiser"]["points"] == 1600
    assert run["parameters"]["train"]["steps"] == STEPS


def test_smooth_latents_are_those_that_the_others_lead_to_expect(atlas_cohort, tmp_path):
    """The penalty by hand: squares of latents minus the others' weighted mean; the ends count for themselves."""
    config = atlas_cohort.config(tmp_path, optimiser={"smoothness_weight": 2.0})
    dataset = build_dataset(config.data)
    module = AtlasModule(config, dataset)
    weights = neighbour_weights(dataset, default_bandwidth(dataset.ages))
    np.testing.assert_allclose(weights.sum(1), 1, atol=1e-5)
    inner = dataset.ages.argsort()[1:-1]
    assert all(weights[row, row] == 0 for row in inner)
    np.testing.assert_allclose(
        (weights @ torch.from_numpy(dataset.ages).float())[inner], dataset.ages[inner], atol=1e-3
    )
    parts = module.step_loss(0)
    residual = module.latents - torch.einsum("st,tczyx->sczyx", weights, module.latents)
    assert float(parts["smoothness"]) == pytest.approx(float(residual.square().mean()), rel=1e-5)
    without = AtlasModule(atlas_cohort.config(tmp_path), dataset).step_loss(0)
    assert float(parts["loss"] - without["loss"]) == pytest.approx(2 * float(parts["smoothness"]), rel=1e-3)
