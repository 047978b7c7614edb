"""The registration network against recorded runs of the published program, to a ten-thousandth of a voxel.

The published program inverts both directions one after the other (solver ``reference``); ``joint``, the default, may
stop an iteration later, which changes displacements by less than the threshold of the inversion (0.01 voxel).
"""

from __future__ import annotations

import dataclasses
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from cases import each_sitreg_case
from sitreg_case import (
    arrays,
    each_case,
    each_set,
    images_of,
    network_of,
    shape_of,
    spacing_of,
    tensors,
    values,
)

from NeuroGenLib.registration.network.affine import affine_matrix
from NeuroGenLib.registration.network.grids import Grids
from NeuroGenLib.registration.network.inversion import FixedPoint, invert
from NeuroGenLib.spatial.transforms.b_splines import evaluate, evaluation_matrix, invertible_bound

if TYPE_CHECKING:
    from pathlib import Path

    from NeuroGenLib.registration.network.sitreg import Mappings, SITReg

pytestmark = pytest.mark.usefixtures("one_thread")

VOXEL = 1e-4
JOINT = 1e-2


@pytest.fixture(autouse=True)
def without_gradient():
    with torch.no_grad():
        yield


def near(actual: Any, expected: Any, tolerance: float = VOXEL) -> None:
    np.testing.assert_allclose(np.asarray(actual), np.asarray(expected), rtol=0, atol=tolerance)


def run(case: Path, network: SITReg | None = None, **options: Any) -> Mappings:
    return (network or network_of(case))(*images_of(case), spacing_of(case), **options)


@each_case
def test_displacements(case):
    recorded = arrays(case, "outputs")
    found = run(case, solver="reference")
    assert np.abs(recorded["forward_displacement"]).max() > 0.5
    near(found.forward[0], recorded["forward_displacement"])
    near(found.inverse[0], recorded["inverse_displacement"])


@each_case
def test_both_directions_inverted_together(case):
    recorded = arrays(case, "outputs")
    found = run(case)
    near(found.forward[0], recorded["forward_displacement"], JOINT)
    near(found.inverse[0], recorded["inverse_displacement"], JOINT)


@each_case
def test_swapped_images_swap_the_displacements_exactly(case):
    one, other = images_of(case)
    network, spacing = network_of(case), spacing_of(case)
    there, back = network(one, other, spacing), network(other, one, spacing)
    assert torch.equal(there.forward, back.inverse)
    assert torch.equal(there.inverse, back.forward)


@each_case
def test_a_tight_inversion(case):
    recorded = arrays(case, "outputs")
    shape = dataclasses.replace(shape_of(case), threshold=1e-5, most_iterations=200)
    found = run(case, network_of(case, shape))
    near(found.forward[0], recorded["forward_displacement_tight"])
    if "inverse_displacement_tight" in recorded:
        near(found.inverse[0], recorded["inverse_displacement_tight"])


@each_case
def test_chains_that_are_not_resampled(case):
    found = run(case, solver="reference", resample=False)
    near(found.forward[0], arrays(case, "outputs")["forward_displacement_no_resampling"])


@each_case
def test_displacements_on_the_images_grid(case):
    recorded = arrays(case, "outputs")
    found = run(case, solver="reference")
    for direction, field in (("forward", found.forward_on_images()), ("inverse", found.inverse_on_images())):
        name = f"{direction}_displacement_image_grid"
        near(field[0], recorded.get(name, recorded[f"{direction}_displacement"]))


@each_sitreg_case("levels.npz")
def test_every_level(case):
    """The program's index of a level does not count coarse levels without a stage; -n brings their share back."""
    recorded = arrays(case, "levels")
    network = network_of(case, shape_of(case, legacy_levels=False))
    stages = network.config.stages
    coarse = len(network.config.features) - 1 - max(stages)
    found = list(network.levels(*images_of(case), spacing_of(case), "reference"))
    assert len(found) == len(stages) + 1
    for name, field in recorded.items():
        match = re.fullmatch(r"(forward|inverse)_level_(-?\d+)_with(out)?_affine", name)
        assert match, name
        done = int(np.clip(len(stages) - coarse - int(match[2]), 0, len(stages)))
        near(getattr(found[done], f"dense_{match[1]}" if match[3] else match[1])[0], field)


@each_sitreg_case("stages.npz")
def test_features(case):
    recorded = tensors(case, "stages")
    features = network_of(case).pyramid(torch.cat(images_of(case)))
    known = [name for name in recorded if name.startswith("features_level_")]
    assert known
    for name in known:
        expected = recorded[name]
        near(features[int(name.rpartition("_")[2])], expected, 1e-4 * float(expected.abs().max()))


@each_sitreg_case("stages.npz")
def test_control_points_and_their_bounds(case):
    recorded = tensors(case, "stages")
    network = network_of(case, shape_of(case, legacy_levels=False))
    seen: dict[int, torch.Tensor] = {}
    for number, level in enumerate(network.config.stages):
        network.stages[str(level)].register_forward_hook(lambda _m, _i, out, n=number: seen.update({n: out}))
    run(case, network, solver="reference")
    one, _ = images_of(case)
    grids = Grids(tuple(one.shape[2:]), spacing_of(case), network.config.factor)
    assert len(seen) == len(network.config.stages)
    for number, control in seen.items():
        level = network.config.stages[number]
        bound = network.config.bound * grids.control_point_bound(level)
        assert bound == pytest.approx(float(recorded[f"dense_{number}_max_control_point_value"]), rel=1e-6)
        forward, reverse = control.chunk(2)
        near(forward[0], recorded[f"dense_{number}_control_points_forward"])
        near(reverse[0], recorded[f"dense_{number}_control_points_reverse"])


@each_sitreg_case("stages.npz")
def test_displacement_of_a_stage_and_its_inverse(case):
    recorded = tensors(case, "stages")
    shape = shape_of(case)
    one, _ = images_of(case)
    grids = Grids(tuple(one.shape[2:]), spacing_of(case), shape.factor)
    numbers = [int(name.split("_")[1]) for name in recorded if re.fullmatch(r"dense_\d+_atomic_forward", name)]
    assert numbers
    for number in numbers:
        level = shape.stages[number]
        control = recorded[f"dense_{number}_control_points_forward"][None]
        dense = evaluate(control, grids.spline_matrices(level, control)) * grids.level_voxel(level, control)
        near(dense[0], recorded[f"dense_{number}_atomic_forward"])
        near(invert(dense, shape.fixed_point)[0], recorded[f"dense_{number}_atomic_forward_inverted"])


@each_sitreg_case("stages.npz")
def test_affine_stage(case):
    recorded = tensors(case, "stages")
    network = network_of(case)
    if network.affine is None:
        assert "affine_full_forward" not in recorded
        return
    one, other = network.pyramid(torch.cat(images_of(case)))[-1].chunk(2)
    half, half_inverse = network.affine(one, other)
    near(half, recorded["affine_half_forward"], 1e-5)
    near(half_inverse, recorded["affine_half_inverse"], 1e-5)
    for direction in ("forward", "reverse"):
        matrix = affine_matrix(recorded[f"affine_parameters_{direction}"])
        near(matrix, recorded[f"affine_matrix_{direction}_atomic"], 1e-5)
    whole = run(case, network)
    assert whole.affine is not None
    near(whole.affine, recorded["affine_full_forward"], 1e-5)


@each_set
def test_splines(primitives):
    given = tensors(primitives, "primitives")
    levels = [int(name.split("_")[2]) for name in given if re.fullmatch(r"bspline_level_\d_control_points", name)]
    assert levels
    for level in levels:
        control = given[f"bspline_level_{level}_control_points"]
        dense = given[f"bspline_level_{level}_dense_displacement"]
        matrices = [
            torch.from_numpy(evaluation_matrix(count, (np.arange(size) + 0.5) / 2**level - 0.5)).float()
            for count, size in zip(control.shape[2:], dense.shape[2:], strict=True)
        ]
        near(evaluate(control, matrices) * 2**level, dense)


@each_set
def test_invertible_bounds(primitives):
    expected = values(primitives, "primitives")
    bounds = {name: value for name, value in expected.items() if re.fullmatch(r"\w+_bound_\d+x\d+x\d+", name)}
    assert bounds
    for name, value in bounds.items():
        i, j, k = (int(part) for part in name.rpartition("_")[2].split("x"))
        assert invertible_bound((i, j, k)) == pytest.approx(value, rel=1e-6)


@each_set
def test_inversion(primitives):
    given = tensors(primitives, "primitives")
    near(invert(given["inversion_input"]), given["inversion_default"])
    near(invert(given["inversion_input"], FixedPoint(threshold=1e-6)), given["inversion_tight"], 1e-5)


@each_set
def test_affine_matrices(primitives):
    given = tensors(primitives, "primitives")
    near(affine_matrix(given["affine_parameters"]), given["affine_matrix_full"], 1e-5)
    rigid = given["rigid_parameters"]
    without = torch.cat([torch.zeros(len(rigid), 6), rigid], dim=1)
    near(affine_matrix(without), given["rigid_matrix"], 1e-5)
