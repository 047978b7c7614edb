"""Rigid alignment finds the motion between two images of one head, however they are stored."""

from __future__ import annotations

import numpy as np
import pytest

from NeuroGenLib.alignment.halfway import aligned
from NeuroGenLib.alignment.prepared_image import PreparedImage
from NeuroGenLib.alignment.rotation_search import rigid_alignment, scan_levels
from NeuroGenLib.spatial.volume import Volume
from Testing.geometry import a_brain_phantom, dice, rotation


@pytest.fixture(scope="module")
def head():
    return a_brain_phantom((48, 56, 44), 2.0)


def masked(head):
    return head.image.with_array(head.image.array * (head.labels.array > 0))


@pytest.fixture(scope="module")
def motion():
    """Eight degrees about an oblique axis and a shift of some voxels, RAS mm to RAS mm."""
    matrix = np.eye(4)
    matrix[:3, :3] = rotation(8, (0, 0, 0), (1, 2, -1))[:3, :3]
    matrix[:3, 3] = (6, -9, 4)
    return matrix


def moved(volume: Volume, motion: np.ndarray) -> Volume:
    return Volume(volume.array, motion @ volume.affine)


def found_between(fixed: Volume, moving: Volume, start: np.ndarray) -> np.ndarray:
    return rigid_alignment(*scan_levels(PreparedImage.of(fixed), PreparedImage.of(moving)), start)


@pytest.mark.slow
@pytest.mark.parametrize("axcodes", ["RAS", "LPS", "LAS", "PIR"])
def test_a_known_motion_is_found(head, motion, axcodes):
    fixed, moving = masked(head), moved(masked(head), motion).reorient(axcodes)
    found = found_between(fixed, moving, np.eye(4))
    corners = np.array([[-40, -40, -40], [40, 40, 40], [-40, 40, 0]])
    apart = (corners @ found[:3, :3].T + found[:3, 3]) - (corners @ motion[:3, :3].T + motion[:3, 3])
    assert np.linalg.norm(apart, axis=1).max() < 1.0  # half a voxel
    assert np.allclose(found[:3, :3] @ found[:3, :3].T, np.eye(3), atol=1e-6)
    pulled = aligned(moved(head.labels, motion).reorient(axcodes), found, head.labels, order=0)
    assert pulled.same_space(head.labels)
    assert dice(pulled, head.labels) > 0.95


@pytest.mark.slow
def test_a_start_is_where_the_search_begins(head, motion):
    """Half a turn away a good start helps."""
    far = np.diag([-1.0, -1.0, 1.0, 1.0])  # half a turn about the long axis
    fixed, moving = masked(head), moved(masked(head), far @ motion)
    found = found_between(fixed, moving, far)
    assert np.abs(found - far @ motion).max() < 1.0
