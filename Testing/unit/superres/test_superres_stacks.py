"""Stacks: what a header tells, where they lie to each other, and what motion is left between slices."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np
import pytest

from NeuroGenLib.simulate.thick_slices import DIRECTIONS, SliceProfile, slice_axis, thick_slices
from NeuroGenLib.spatial.volume import Volume
from NeuroGenLib.superres.stacks.alignment import align_stacks, motion_between_slices
from NeuroGenLib.superres.stacks.stack import Stack, as_stack
from Testing.geometry import a_brain_phantom, rotation
from Testing.raising import raises

if TYPE_CHECKING:
    from NeuroGenLib.core.errors import Code

THICKNESS = 6.0


def a_stack(head: Volume, direction: str, pose: np.ndarray) -> Stack:
    moved = Volume(head.array, np.linalg.inv(pose) @ head.affine).resample(like=head, order=3)
    axis = slice_axis(moved, direction)
    return Stack(thick_slices(moved, axis, SliceProfile("gaussian", THICKNESS), THICKNESS), axis, THICKNESS, pose=pose)


@pytest.fixture(scope="module")
def head() -> Volume:
    """A head of 2 mm voxels with room around it, and folds."""
    image = a_brain_phantom((46, 50, 42), 2.0).image
    place = image.voxel_to_world(np.moveaxis(np.indices(image.shape), 0, -1))
    waves = np.sin(place @ (0.4, 0.1, 0)) * np.cos(place @ (0, 0.35, 0.2)) * np.sin(place @ (0.1, 0.2, 0.3))
    return image.with_array((image.array * (1 + 0.4 * waves)).astype(np.float32))


def thick(shape: tuple[int, int, int] = (20, 22, 8), spacing: tuple[float, ...] = (1.0, 1.0, 4.0)) -> Volume:
    return Volume(np.random.default_rng(0).random(shape), np.diag([*spacing, 1.0]))


# What a header tells


def test_the_header_gives_thickness_and_axis() -> None:
    stack = as_stack(thick((8, 20, 20), (4.0, 1.0, 1.0)))
    assert (stack.axis, stack.thickness, stack.gap, stack.direction) == (0, 4.0, 0.0, "sagittal")
    np.testing.assert_array_equal(stack.pose, np.eye(4))


def test_what_is_given_goes_before_the_header(caplog: pytest.LogCaptureFixture) -> None:
    assert as_stack(thick(), thickness=3.0).gap == pytest.approx(1.0)
    assert as_stack(thick(), gap=0.5).thickness == pytest.approx(3.5)
    assert as_stack(thick(), thickness=5.0).gap == pytest.approx(-1.0)
    assert as_stack(thick(), axis=1).direction == "coronal"
    assert not caplog.records
    with caplog.at_level(logging.WARNING):
        stack = as_stack(thick(), thickness=4.0, gap=1.0, name="scan.nii")
    assert "scan.nii" in caplog.text
    assert stack.distance == pytest.approx(5.0)
    np.testing.assert_allclose(stack.volume.centre, thick().centre)


@pytest.mark.parametrize(
    ("change", "code", "named"),
    [
        ({"thickness": 0.0}, "value-invalid", "0.0"),
        ({"thickness": np.nan}, "value-invalid", "nan"),
        ({"gap": 5.0}, "value-conflict", "5 mm"),
        ({"gap": np.inf}, "value-invalid", "inf"),
        ({"thickness": 2.0, "gap": -3.0}, "value-conflict", "3 mm"),
        ({"profile": "sinc"}, "name-unknown", "sinc"),
    ],
)
def test_invalid_slices_are_refused(change: dict, code: Code, named: str) -> None:
    with raises(code, named) as caught:
        as_stack(thick(), **change)
    assert caught.value.remedy


def test_scans_that_are_not_stacks_are_refused() -> None:
    array = thick().array
    with raises("image-dimensions", "b.nii", "2 channels"):
        as_stack(Volume(np.stack([array, array]), np.eye(4)), name="b.nii")
    with raises("image-empty", "b.nii"):
        as_stack(Volume(np.ones_like(array), np.eye(4)), name="b.nii")
    array = array.copy()
    array[0, 0, 0] = np.nan
    with raises("image-not-finite", "b.nii"):
        as_stack(Volume(array, np.eye(4)), name="b.nii")


# Where they lie


@pytest.mark.slow
def test_stacks_find_their_places(head: Volume) -> None:
    moved = np.eye(4)
    moved[:3, 3] = 6, -5, 6
    poses = [np.eye(4), moved @ rotation(15, (0, 0, 0))]
    stacks = [a_stack(head, direction, pose) for direction, pose in zip(DIRECTIONS[:2], poses, strict=True)]
    found = align_stacks([stack.posed(np.eye(4)) for stack in stacks], rounds=1)
    points = head.voxel_to_world(np.argwhere(head.array > 300)[::200])
    np.testing.assert_allclose(found[0].pose, np.eye(4), atol=1e-9)
    for one, pose in zip(found, poses, strict=True):
        error = one.pose @ np.linalg.inv(pose)
        assert np.linalg.norm(points @ error[:3, :3].T + error[:3, 3] - points, axis=1).mean() < 0.6
        assert np.degrees(np.arccos(min(1.0, (np.trace(error[:3, :3]) - 1) / 2))) < 0.6


# What moved in between


def test_a_head_at_rest_has_no_motion_left(head: Volume) -> None:
    stack = a_stack(head, "axial", rotation(10, (0, 0, 0)))
    motion = motion_between_slices(stack, head)
    assert np.nanmax(motion.millimetres) < 0.4
    assert motion.moved == 0
    assert motion.warning == ""


def test_slices_that_moved_are_measured_and_too_many_are_warned_of(head: Volume) -> None:
    still = a_stack(head, "axial", np.eye(4))
    slices = still.volume.shape[2]
    array = still.volume.array.copy()
    moved = range(slices // 2 - 2, slices // 2 + 2)
    for index in moved:
        array[..., index] = np.roll(array[..., index], 2, axis=1)  # 4 mm
    motion = motion_between_slices(Stack(still.volume.with_array(array), 2, THICKNESS), head)
    np.testing.assert_allclose(motion.millimetres[moved], 4.0, atol=0.5)
    others = np.delete(motion.millimetres, moved)
    assert np.nanmax(others) < 0.5
    assert motion.moved == pytest.approx(4 / np.isfinite(motion.millimetres).sum())
    assert motion.moved > 0.2
    for word in ("axial", "1.5 mm", "NeSVoR", "SVRTK"):
        assert word in motion.warning


def test_a_few_moved_slices_give_no_warning(head: Volume) -> None:
    still = a_stack(head, "axial", np.eye(4))
    array = still.volume.array.copy()
    middle = array.shape[2] // 2
    array[..., middle] = np.roll(array[..., middle], 2, axis=0)
    motion = motion_between_slices(Stack(still.volume.with_array(array), 2, THICKNESS), head)
    assert motion.millimetres[middle] > 3
    assert motion.warning == ""
