"""What the published atlas program reads and computes while it trains, to float32 accuracy."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from cases import each_cinema_case
from cinema_case import (
    arrays,
    assert_close,
    background_of,
    conditions_of,
    config_of,
    decoder_of,
    half_box,
    moves,
    tensor,
    translation_of,
)

from NeuroGenLib.atlas import transform
from NeuroGenLib.atlas.conditions import Condition
from NeuroGenLib.atlas.data.points import intensity_scaling, prepare
from NeuroGenLib.atlas.losses import LossWeights, atlas_loss, class_weights, transform_penalty
from NeuroGenLib.atlas.published.checkpoint import decoder_tensors, halo_as_published
from NeuroGenLib.atlas.train import parameter_groups
from NeuroGenLib.cohort.subjects import Cohort
from NeuroGenLib.spatial.volume import Volume

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("one_thread")

NEAR_ZERO = 1e-6


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
        low, high = (float(bound) for bound in recorded[f"cond_{name}_bounds"])
        condition = Condition(name, "numeric", low, high, scale=float(recorded["cond_scale"]))
        encoded = [condition.encode(value) for value in recorded[f"cond_{name}_values"]]
        again = [condition.encode(value) for value in recorded[f"cond_{name}_restored"]]
        assert_close(np.ravel(encoded), recorded[f"cond_{name}_normalised"])
        assert_close(np.ravel(again), recorded[f"cond_{name}_normalised"])


@each_cinema_case("dataset.npz", "inputs/*")
def test_prepared_subjects(case):
    recorded, data = arrays(case, "dataset"), config_of(case).data
    table = Cohort.from_table(data.table, (*data.modalities, data.segmentation), root=data.root)
    rows = [key.removesuffix("_subject_id") for key in recorded if key.endswith("_subject_id")]
    assert rows
    for row in rows:
        (subject,) = table.select([str(recorded[f"{row}_subject_id"])])
        labels = Volume.load(subject.paths[data.segmentation])
        images = np.stack([Volume.load(subject.paths[name]).array for name in data.modalities])
        points = prepare(
            images,
            labels.array,
            labels.affine,
            background=background_of(case),
            normalisation=data.normalisation,
            mask=data.mask,
            halo=halo_as_published,
        )
        halo = np.zeros(labels.shape, np.uint8)
        halo[tuple(points.index.T)] = points.classes
        assert np.array_equal(halo, recorded[f"{row}_seg_with_halo"])
        assert_close(points.centre, recorded[f"{row}_centre_world_mm"], 1e-6)
        assert_close(points.world(points.index) / half_box(case), recorded[f"{row}_coords"])
        assert_close(np.column_stack([points.intensities, points.classes]), recorded[f"{row}_values"])
        conditions = [condition.encode(subject.values[condition.name]) for condition in conditions_of(case, table)]
        assert_close(np.concatenate([np.zeros(0), *conditions]), recorded[f"{row}_conditions"])


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


def loss_weights(case: Path, segmentation: float) -> LossWeights:
    """Return the weighting of a case; the program applies ``segmentation`` twice."""
    optimiser = config_of(case).optimiser
    classes = class_weights(optimiser, translation_of(case).labels.names)
    return LossWeights(optimiser.loss, segmentation**2, optimiser.transform_weight, classes=classes)


class Steps:
    """Optimiser steps on the fixed batch of ``train_steps.npz`` or ``val_steps.npz``."""

    def __init__(self, case: Path, recorded: dict[str, np.ndarray], *, fitting: bool) -> None:
        self.case, self.recorded = case, recorded
        self.rows = tensor(recorded["subject_index"]).long()
        self.decoder = decoder_of(case).requires_grad_(not fitting)
        self.latents = torch.nn.Parameter(tensor(recorded["latents_before"]))
        moving = config_of(case).optimiser.transform != "none"
        self.transforms = torch.nn.Parameter(tensor(recorded["tfs_before"]), requires_grad=moving)
        self.conditions = tensor(recorded["conditions_before"] if fitting else recorded["conditions"])
        settings = config_of(case).optimiser
        groups = parameter_groups(self.decoder, self.latents, self.transforms, settings)
        if fitting:
            self.conditions.requires_grad_()
            groups.append({**groups[0], "params": [self.conditions]})
        self.optimiser = torch.optim.AdamW(groups)
        self.weights = loss_weights(case, 0.0 if fitting else settings.segmentation_weight)
        self.label_weight = self.weights.segmentation**0.5

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
