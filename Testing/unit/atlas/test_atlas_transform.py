"""Subject transforms: rigid means rigid in millimetres."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from NeuroGenLib.atlas.transform import PARAMETERS, apply, matrices, rotation_matrix

ANGLES = st.tuples(*[st.floats(-3, 3)] * 3)
SHIFTS = st.tuples(*[st.floats(-0.5, 0.5)] * 3)
BOXES = st.tuples(*[st.floats(20, 150)] * 3)
SIZES = [count for count in PARAMETERS.values() if count]


def double(*parts: tuple[float, ...]) -> torch.Tensor:
    return torch.tensor([sum(parts, ())], dtype=torch.float64)


def in_mm(linear: torch.Tensor, translation: torch.Tensor, half_box: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    half = half_box.numpy()
    return np.diag(half) @ linear[0].numpy() @ np.diag(1 / half), half * translation[0].numpy()


@given(ANGLES)
def test_rotation_matrix_is_the_rotation_about_its_vector(vector):
    expected = Rotation.from_rotvec(vector).as_matrix()
    np.testing.assert_allclose(rotation_matrix(double(vector))[0], expected, atol=1e-9)


@pytest.mark.parametrize("length", [0.0, 1e-12, 9.9e-5, 1.01e-4, np.pi, 20.0])
def test_rotation_matrix_is_orthonormal_at_every_length(length):
    vector = length * torch.tensor([[0.48, -0.6, 0.64]], dtype=torch.float64)
    matrix = rotation_matrix(vector)[0]
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-14)
    assert torch.linalg.det(matrix).item() == pytest.approx(1)
    np.testing.assert_allclose(matrix, Rotation.from_rotvec(vector[0]).as_matrix(), atol=1e-9)


def test_every_rotation_can_be_learned_from_zero():
    jacobian = torch.autograd.functional.jacobian(lambda v: rotation_matrix(v[None]).flatten(), torch.zeros(3))
    assert torch.isfinite(jacobian).all()
    assert torch.linalg.matrix_rank(jacobian) == 3


def test_published_angles_lose_one_rotation_at_zero():
    def linear(angles: torch.Tensor) -> torch.Tensor:
        return matrices(torch.cat([angles, torch.zeros(3)])[None], torch.ones(3), "euler-zxz")[0].flatten()

    assert torch.linalg.matrix_rank(torch.autograd.functional.jacobian(linear, torch.zeros(3))) == 2


@given(ANGLES, SHIFTS, BOXES)
def test_rigid_is_rigid_in_mm_whatever_the_box(angles, shift, sides):
    half_box = torch.tensor(sides, dtype=torch.float64) / 2
    linear, translation = in_mm(*matrices(double(angles, shift), half_box), half_box)
    np.testing.assert_allclose(linear, Rotation.from_rotvec(angles).as_matrix(), atol=1e-9)
    np.testing.assert_allclose(translation, np.array(shift) * max(sides) / 2, atol=1e-9)


@given(ANGLES, st.tuples(*[st.floats(-0.4, 0.4)] * 3), BOXES)
def test_scales_stretch_along_the_subjects_axes(angles, scale, sides):
    half_box = torch.tensor(sides, dtype=torch.float64) / 2
    linear, _ = in_mm(*matrices(double(angles, (0.0,) * 3, scale), half_box), half_box)
    np.testing.assert_allclose(linear.T @ linear, np.diag(np.exp(2 * np.array(scale))), atol=1e-9)


@given(st.tuples(*[st.floats(-0.4, 0.4)] * 3), st.tuples(*[st.floats(-0.4, 0.4)] * 3), BOXES)
def test_shears_keep_volumes(scale, shear, sides):
    half_box = torch.tensor(sides, dtype=torch.float64) / 2
    linear, _ = matrices(double((0.3, -0.2, 0.5), (0.0,) * 3, scale, shear), half_box)
    assert torch.linalg.det(linear[0]).item() == pytest.approx(np.exp(sum(scale)))
    _, triangle = np.linalg.qr(in_mm(linear, torch.zeros(1, 3), half_box)[0])
    triangle = triangle / np.diag(triangle)[:, None]
    np.testing.assert_allclose(triangle[[0, 0, 1], [1, 2, 2]], shear, atol=1e-9)


@given(ANGLES, SHIFTS)
def test_published_angles_are_euler_zxz(angles, shift):
    linear, translation = matrices(double(angles, shift), torch.tensor([3.0, 1.0, 2.0]), "euler-zxz")
    np.testing.assert_allclose(linear[0], Rotation.from_euler("ZXZ", angles).as_matrix(), atol=1e-9)
    np.testing.assert_allclose(translation[0], shift)


def test_published_scales_and_shears_by_hand():
    parameters = double((0.0,) * 6, (0.1, 0.2, -0.3), (0.5, 0.25, 0.125))
    linear, _ = matrices(parameters, torch.ones(3), "euler-zxz")
    along_x = np.array([[1, 0.25, 0.125], [0, 1, 0], [0, 0, 1]])
    along_y = np.array([[1, 0, 0], [0.5, 1, 0.125], [0, 0, 1]])
    along_z = np.array([[1, 0, 0], [0, 1, 0], [0.5, 0.25, 1]])
    np.testing.assert_allclose(linear[0], np.diag([1.1, 1.2, 0.7]) @ along_x @ along_y @ along_z)


@pytest.mark.parametrize("count", SIZES)
@pytest.mark.parametrize("parametrisation", ["rotation-vector", "euler-zxz"])
def test_zero_is_the_identity_and_can_be_learned_from(count, parametrisation):
    parameters = torch.zeros(2, count, requires_grad=True)
    linear, translation = matrices(parameters, torch.tensor([30.0, 40.0, 50.0]), parametrisation)
    assert torch.allclose(linear, torch.eye(3).expand(2, 3, 3))
    assert not translation.any()
    (linear.sum() + translation.sum()).backward()
    assert torch.isfinite(parameters.grad).all()


@given(ANGLES, SHIFTS)
def test_points_are_multiplied_and_shifted(angles, shift):
    parameters = double(angles, shift, (0.1, -0.2, 0.05), (0.1, 0.2, -0.1))
    moved = matrices(parameters, torch.tensor([30.0, 45.0, 40.0], dtype=torch.float64))
    points = torch.rand(1, 10, 3, dtype=torch.float64)
    by_hand = points[0].numpy() @ moved[0][0].numpy().T + moved[1][0].numpy()
    np.testing.assert_allclose(apply(points, *moved)[0], by_hand)
