"""One training step of the registration network against the recorded one of the published program.

Losses agree to float32 accuracy; the roughness sums tiny squared slopes and sees where the inversion happens to stop.
Gradients cannot agree as well: the published program solves the adjoint of every inversion by an iteration that it
ends at a relative change of 0.01 (or at a norm near 1e-5, which gradients often have), NeuroGen solves it exactly
(``Testing/unit/registration/test_registration_network.py`` compares it with differences). With that early stop put in,
the difference shrinks to a small part, which shows where it comes from.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import pytest
import torch
from cases import each_sitreg_case
from sitreg_case import (
    checkpoint,
    each_case,
    losses_of,
    network_of,
    shape_of,
    spacing_of,
    tensors,
    values,
)

from NeuroGenLib.registration.data.pairs import Item, PairBatch
from NeuroGenLib.registration.network import sitreg as network_module
from NeuroGenLib.registration.network.configured import freeze_unused
from NeuroGenLib.registration.network.inversion import FixedPoint, _mix, solve
from NeuroGenLib.registration.objective import Objective, pairs_of
from NeuroGenLib.registration.published.checkpoint import own_name
from NeuroGenLib.spatial.transforms.displacement import sample, voxel_grid

if TYPE_CHECKING:
    from pathlib import Path

    from NeuroGenLib.registration.network.sitreg import Mappings, SITReg

pytestmark = pytest.mark.usefixtures("one_thread")

LOSS, ROUGHNESS = 1e-5, 1e-4
EXACT, EARLY = 0.02, 0.005
"""Relative L2 distance of the whole gradient, with the exact adjoint and with the published early stop."""
STEP = 0.06
"""The same of Adam's step, which makes small gradients, and what is rounding in them, as large as others."""
EACH = 0.2
"""The distance of one parameter's gradient, when it is not nothing."""
NOTHING = 1e-5
"""Share of the whole gradient below which one is rounding: a bias before a normalisation of a single channel."""


def batch_of(case: Path) -> PairBatch:
    given = tensors(case, "inputs")
    one, other = (Item(given[f"image_{number}"], mask=given[f"mask_{number}"]) for number in (1, 2))
    return PairBatch((one, other), spacing_of(case))


class Step:
    """A network as it was loaded, with its losses and gradients."""

    def __init__(self, case: Path) -> None:
        self.network: SITReg = network_of(case)
        self.objective = Objective(losses_of(case))
        freeze_unused(self.network, self.objective.levels)
        self.batch = batch_of(case)
        moving, fixed = self.batch.items
        found = list(self.network.levels(moving.image, fixed.image, self.batch.spacing, "reference"))
        self.levels: dict[int, Mappings] = {level: found[-1 - level] for level in self.objective.levels}
        self.losses = self.objective(self.levels, self.batch, step=0)
        self.losses["loss"].backward()

    def gradients(self) -> dict[str, torch.Tensor]:
        return {name: value.grad for name, value in self.network.named_parameters() if value.grad is not None}


def recorded_gradients(case: Path) -> dict[str, torch.Tensor]:
    given = tensors(case, "train_step_gradients")
    named = {own_name(name, shape_of(case)): value for name, value in given.items()}
    return {name: value for name, value in named.items() if name is not None}


def distance(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> float:
    one, other = (torch.cat([part[name].flatten() for name in expected]) for part in (found, expected))
    return float((one - other).norm() / other.norm())


class EarlyStop(torch.autograd.Function):
    """The inverse displacement, with an adjoint that ends where the published program ends it."""

    @staticmethod
    def forward(ctx: Any, displacement: torch.Tensor, fixed_point: FixedPoint) -> torch.Tensor:
        grid = voxel_grid(displacement.shape[2:], displacement)
        inverse = solve(lambda value: -sample(displacement, grid + value), -displacement, fixed_point)
        ctx.save_for_backward(displacement, inverse)
        ctx.fixed_point = fixed_point
        return inverse

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        displacement, inverse = (value.detach().requires_grad_() for value in ctx.saved_tensors)
        with torch.enable_grad():
            after = -sample(displacement, voxel_grid(displacement.shape[2:], displacement) + inverse)
        memory, value, count = ctx.fixed_point.memory, gradient, 0
        given = gradient.new_zeros((len(gradient), memory, gradient[0].numel()))
        found = torch.zeros_like(given)
        while True:
            answer = torch.autograd.grad(after, inverse, value, retain_graph=True)[0] + gradient
            given[:, count % memory], found[:, count % memory] = value.flatten(1), answer.flatten(1)
            count += 1
            change = float((answer - value).norm() / (1e-5 + answer.norm()))
            if count == ctx.fixed_point.most or (count >= ctx.fixed_point.least and change < 1e-2):
                return torch.autograd.grad(after, displacement, answer)[0], None
            mixed = _mix(given, found, min(count, memory), ctx.fixed_point.ridge)
            value = answer if count == 1 else mixed.view_as(gradient)


def recorded_mappings(case: Path, levels: dict[int, Mappings]) -> dict[int, Mappings]:
    """Return the mappings with the recorded fields in place of ours, where a level was recorded.

    Small losses change in their fifth digit with a hundred-thousandth of a voxel, and that with the order in which a
    computer adds.
    """
    recorded = tensors(case, "levels") if (case / "levels.npz").exists() else {}
    outputs = tensors(case, "outputs")
    recorded |= {f"{way}_level_0_with_affine": outputs[f"{way}_displacement"] for way in ("forward", "inverse")}
    replaced = {}
    for level, mappings in levels.items():
        fields = {
            f"{part}{way}": recorded[name][None]
            for part, end in (("", "with_affine"), ("dense_", "without_affine"))
            for way in ("forward", "inverse")
            if (name := f"{way}_level_{level}_{end}") in recorded
        }
        for name, field in fields.items():
            assert (getattr(mappings, name) - field).abs().max() < 1e-4, f"{name} of level {level}"
        replaced[level] = dataclasses.replace(mappings, **fields)
    return replaced


@each_case
def test_every_loss(case):
    expected = values(case)["training_step_after_loading"]
    step = Step(case)
    moving, fixed = pairs_of(step.batch)
    spacing = step.batch.spacing
    with torch.no_grad():
        levels = recorded_mappings(case, step.levels)
        found = {
            "forward": step.objective.one_way(levels, moving, fixed, spacing, inverse=False),
            "inverse": step.objective.one_way(levels, fixed, moving, spacing, inverse=True),
        }
    names, regularity = {name for name in expected if name != "loss"}, losses_of(case).regularity
    assert names == {f"{direction}_{name}" for direction, terms in found.items() for name in terms}
    for name in names:
        direction, _, term = name.partition("_")
        rough = term in regularity and regularity[term].kind == "gradient"
        assert float(found[direction][term]) == pytest.approx(
            expected[name], rel=ROUGHNESS if rough else LOSS, abs=1e-12
        ), name
    assert step.losses["loss"].item() == pytest.approx(expected["loss"], rel=LOSS)


@each_sitreg_case("train_step_gradients.npz")
def test_the_parameters_that_no_loss_sees(case):
    expected = {own_name(name, shape_of(case)) for name in values(case)["parameters_without_gradient"]}
    step = Step(case)
    assert {name for name, value in step.network.named_parameters() if not value.requires_grad} == expected
    assert step.gradients().keys() == recorded_gradients(case).keys()


@each_sitreg_case("train_step_gradients.npz")
def test_gradients(case):
    expected, found = recorded_gradients(case), Step(case).gradients()
    assert distance(found, expected) < EXACT
    whole = torch.stack([value.norm() for value in expected.values()]).norm()
    for name, value in expected.items():
        if value.norm() > NOTHING * whole:
            assert distance(found, {name: value}) < EACH, name


@each_sitreg_case("train_step_gradients.npz")
def test_gradients_with_the_published_early_stop(case, monkeypatch):
    expected, exact = recorded_gradients(case), Step(case).gradients()
    monkeypatch.setattr(network_module, "invert", EarlyStop.apply)
    early = Step(case).gradients()
    assert distance(early, expected) < EARLY
    assert distance(early, expected) < distance(exact, expected)


@each_sitreg_case("optimizer_epoch_*.pt", "train_step_biases_after.npz")
def test_biases_after_a_step_of_adam(case):
    """Adam goes on from the recorded state; its steps hardly depend on the size of the gradient."""
    state = torch.load(next(case.glob("optimizer_epoch_*.pt")), weights_only=True)["optimizer"]
    step, shape = Step(case), shape_of(case)
    own = [name for name in (own_name(name, shape) for name in checkpoint(case)) if name is not None]
    parameters = dict(step.network.named_parameters())
    optimiser = torch.optim.Adam([parameters[name] for name in own])
    optimiser.load_state_dict(state)
    before = {name: value.detach().clone() for name, value in parameters.items()}
    optimiser.step()
    expected = {own_name(name, shape): value for name, value in tensors(case, "train_step_biases_after").items()}
    assert expected
    moved = {name: value - before[name] for name, value in expected.items()}
    found = {name: parameters[name].detach() - before[name] for name in expected}
    assert distance(found, moved) < STEP
