"""Affine maps and displacements with named spaces: what they compute, and which combinations they refuse."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from NeuroGenLib.spatial.transforms.affine import Affine
from NeuroGenLib.spatial.transforms.displacement import Displacement
from Testing.geometry import rotation
from Testing.raising import raises

POINTS = np.random.default_rng(1).uniform(-20, 20, (40, 3))
TO_FIXED = Affine(rotation(20, (3, -2, 1)), "halfway", "fixed")
TO_MOVING = Affine(rotation(-35, (0, 4, 6)) @ np.diag([1.1, 0.9, 1, 1]), "halfway", "moving")


def test_composed_maps_apply_the_inner_one_first() -> None:
    whole = TO_MOVING @ TO_FIXED.inverse()
    assert (whole.source, whole.target) == ("fixed", "moving")
    np.testing.assert_allclose(whole.points(TO_FIXED.points(POINTS)), TO_MOVING.points(POINTS), atol=1e-9)


def test_spaces_that_do_not_meet_are_refused() -> None:
    with pytest.raises(ValueError, match=r"'fixed'.*'halfway'"):
        TO_MOVING @ TO_FIXED
    shift = Displacement(torch.zeros(1, 3, 4, 4, 4), np.eye(4))
    with pytest.raises(ValueError, match=r"'halfway'.*'fixed'"):
        shift.spatial_map(TO_FIXED.inverse(), TO_FIXED.inverse())


def test_a_matrix_that_is_flat_names_its_spaces() -> None:
    with raises("geometry-invalid", "halfway", "moving"):
        Affine(np.diag([1.0, 1.0, 0.0, 1.0]), "halfway", "moving")


def test_a_displacement_between_affine_maps_is_their_composition() -> None:
    """By hand: to the grid's voxels, displaced there, back to mm."""
    grid = rotation(10, (1, 2, 3)) @ np.diag([3.0, 2.5, 2.0, 1.0])
    grid[:3, 3] = -grid[:3, :3] @ [14, 14, 14]
    noise = gaussian_filter(np.random.default_rng(2).normal(size=(3, 29, 29, 29)), (0, 4, 4, 4))
    voxels = (noise / np.abs(noise).max()).astype(np.float32)
    mapped = Displacement(torch.from_numpy(voxels)[None], grid).spatial_map(TO_FIXED.inverse(), TO_MOVING)
    index = np.random.default_rng(3).integers(6, 23, (40, 3))
    halfway = index @ grid[:3, :3].T + grid[:3, 3]
    displaced = (index + voxels[:, *index.T].T) @ grid[:3, :3].T + grid[:3, 3]
    np.testing.assert_allclose(mapped.points(TO_FIXED.points(halfway)), TO_MOVING.points(displaced), atol=1e-4)
