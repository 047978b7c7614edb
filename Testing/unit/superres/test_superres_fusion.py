"""Fusion: the model of a stack against its formulas, and fused images against the head they were made of."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from NeuroGenLib.core.errors import Cancelled
from NeuroGenLib.core.progress import Progress
from NeuroGenLib.simulate.thick_slices import DIRECTIONS, SliceProfile, slice_axis, thick_slices
from NeuroGenLib.spatial.volume import Volume
from NeuroGenLib.superres.stacks.acquisition_model import AcquisitionModel
from NeuroGenLib.superres.stacks.fusion import Fusion, fuse, fused_grid
from NeuroGenLib.superres.stacks.stack import Stack
from Testing.geometry import a_brain_phantom, reoriented, rotation, same_in_world
from Testing.raising import raises

if TYPE_CHECKING:
    from NeuroGenLib.core.errors import Code

THICKNESS = 6.0


def a_head() -> Volume:
    """Return a head of 2 mm voxels with waves in all directions, about the origin."""
    image = a_brain_phantom((34, 42, 32), 2.0).image
    place = image.voxel_to_world(np.moveaxis(np.indices(image.shape), 0, -1))
    waves = np.prod(np.cos(place @ (np.eye(3) * 0.45)), axis=-1)
    return image.with_array((image.array * (1 + 0.3 * waves)).astype(np.float32))


def a_stack(head: Volume, direction: str, pose: np.ndarray | None = None, scale: float = 1.0) -> Stack:
    """Return a stack of the head, which lay elsewhere by the inverse of ``pose`` while it was scanned."""
    pose = np.eye(4) if pose is None else pose
    moved = Volume(head.array, np.linalg.inv(pose) @ head.affine).resample(like=head, order=3)
    axis = slice_axis(moved, direction)
    thick = thick_slices(moved, axis, SliceProfile("gaussian", THICKNESS), THICKNESS)
    return Stack(thick.with_array(scale * thick.array), axis, THICKNESS, pose=pose)


def inner_error(image: Volume, head: Volume) -> float:
    """Return the root mean square difference inside the head, in parts of its brightest."""
    truth = head.resample(like=image, order=3).array
    inside = truth > 0.2 * truth.max()
    return float(np.sqrt(np.mean((image.array - truth)[inside] ** 2)) / truth.max())


@pytest.fixture(scope="module")
def head() -> Volume:
    return a_head()


@pytest.fixture(scope="module")
def stacks(head: Volume) -> list[Stack]:
    """Three orthogonal stacks; the head turned between them, and the third has other units."""
    poses = [np.eye(4), rotation(7, (3, 1, -2)), rotation(-9, (0, 4, 0), (3, -1, 2))]
    return [
        a_stack(head, direction, pose, scale)
        for direction, pose, scale in zip(DIRECTIONS, poses, (1.0, 1.0, 2.5), strict=True)
    ]


@pytest.fixture(scope="module")
def fused(stacks: list[Stack]) -> Fusion:
    return fuse(stacks)


def mean_of_interpolations(stacks: list[Stack], like: Volume, scales: tuple[float, ...]) -> Volume:
    arrays = [s.placed.resample(like=like, order=3).array * scale for s, scale in zip(stacks, scales, strict=True)]
    return like.with_array(np.mean(arrays, axis=0))


def test_the_model_has_its_true_adjoint(stacks: list[Stack]) -> None:
    grid = fused_grid(stacks).pad(3)
    generator = torch.Generator().manual_seed(0)
    for stack in stacks:
        model = AcquisitionModel(stack, grid)
        x = torch.rand(grid.shape, generator=generator, dtype=torch.float64)
        y = torch.rand(stack.volume.shape, generator=generator, dtype=torch.float64)
        forward = float((model(x) * y).sum())
        back = float((x * model.pulled_back(torch.zeros_like(x), lambda _, y=y: y)).sum())
        assert abs(forward - back) < 1e-6 * abs(forward)


def test_the_model_measures_a_ramp_where_the_stack_lies(stacks: list[Stack]) -> None:
    grid = fused_grid(stacks).pad(8)

    def ramp(volume: Volume) -> np.ndarray:
        return volume.voxel_to_world(np.moveaxis(np.indices(volume.shape), 0, -1)) @ (1.0, -2.0, 0.5)

    for stack in stacks:
        seen = AcquisitionModel(stack, grid)(torch.from_numpy(ramp(grid))).numpy()
        inside = np.s_[2:-2, 2:-2, 2:-2]
        np.testing.assert_allclose(seen[inside], ramp(stack.placed)[inside], atol=0.05)


def test_the_model_of_an_unmoved_stack_is_what_the_simulation_does(head: Volume) -> None:
    stack = a_stack(head, "axial")
    seen = AcquisitionModel(stack, head)(torch.from_numpy(head.array)).numpy()
    # Away from the ends, where the simulation cuts its profiles.
    middle = np.s_[:, :, 2:-2]
    assert np.abs(seen - stack.volume.array)[middle].max() < 0.02 * head.array.max()


def test_three_stacks_show_more_than_their_mean(head: Volume, stacks: list[Stack], fused: Fusion) -> None:
    assert fused.image.spacing == pytest.approx((2.0, 2.0, 2.0))
    assert fused.scales == pytest.approx((1.0, 1.0, 0.4), rel=0.03)
    mean = mean_of_interpolations(stacks, fused.image, (1.0, 1.0, 0.4))
    assert inner_error(fused.image, head) < 0.6 * inner_error(mean, head)
    assert fused.residual < 0.02
    assert min(weights.min() for weights in fused.slice_weights) > 0.3
    covered = fused.coverage.array
    assert covered.max() == 3
    assert (fused.image.array[covered == 0] == 0).all()
    for stack in stacks:
        at = fused.coverage.world_to_voxel(stack.placed.centre).round().astype(int)
        assert covered[tuple(at)] == 3


def test_every_stored_order_gives_the_same_image(stacks: list[Stack], fused: Fusion) -> None:
    expected = fused.image
    others = []
    for stack, codes in zip(stacks, ("LPS", "PIR", "ILA"), strict=True):
        stored = reoriented(stack.volume, codes)
        others.append(Stack(stored, slice_axis(stored, stack.direction), stack.thickness, pose=stack.pose))
    result = fuse(others)
    assert "".join(result.image.axcodes) == "LPS"
    assert same_in_world(expected, result.image, 1e-5 * float(expected.array.max()))


def test_a_turned_world_turns_the_image_with_it(stacks: list[Stack], fused: Fusion) -> None:
    turn = rotation(20, (5, -4, 3))
    turned = [
        Stack(Volume(stack.volume.array, turn @ stack.volume.affine), stack.axis, stack.thickness, pose=pose)
        for stack, pose in ((stack, turn @ stack.pose @ np.linalg.inv(turn)) for stack in stacks)
    ]
    expected, result = fused.image, fuse(turned).image
    np.testing.assert_allclose(result.affine, turn @ expected.affine, atol=1e-6)
    assert np.abs(result.array - expected.array).max() < 1e-3 * expected.array.max()


def test_slices_that_the_rest_contradicts_lose_their_weight(head: Volume, stacks: list[Stack], fused: Fusion) -> None:
    stored = reoriented(stacks[0].volume, "RAI")  # slices from top to bottom
    array = stored.array.copy()
    lost = array.shape[2] // 2
    array[..., lost] *= 0.2
    spoilt = Stack(stored.with_array(array), 2, THICKNESS)
    found = fuse([spoilt, *stacks[1:]])
    assert found.slice_weights[0].argmin() == lost
    assert found.slice_weights[0][lost] < 0.3
    assert inner_error(found.image, head) < 1.6 * inner_error(fused.image, head)


def test_one_stack_alone_is_sharper_than_its_interpolation(head: Volume) -> None:
    stack = a_stack(head, "coronal")
    fused = fuse([stack])
    assert inner_error(fused.image, head) < inner_error(stack.volume.resample(like=fused.image, order=3), head)


def test_the_grid_holds_all_stacks_and_keeps_the_voxels_within_slices(stacks: list[Stack]) -> None:
    grid = fused_grid(stacks)
    first = stacks[0].volume
    index = grid.world_to_voxel(first.voxel_to_world([3, 4, 0]))
    np.testing.assert_allclose(index[:2], np.round(index[:2]), atol=1e-6)
    for stack in stacks:
        for corner in np.ndindex(2, 2, 2):
            place = stack.placed.voxel_to_world(np.array(corner) * np.array(stack.volume.shape) - 0.5)
            inside = grid.world_to_voxel(place)
            assert ((inside > -1) & (inside < np.array(grid.shape))).all(), "no place for another voxel"


@pytest.mark.parametrize(
    ("change", "code", "named"),
    [
        ({"spacing": -1.0}, "value-invalid", -1.0),
        ({"spacing": np.nan}, "value-invalid", "nan"),
        ({"spacing": 0.05}, "image-too-large", 0.05),
        ({"roughness": -0.1}, "value-invalid", -0.1),
    ],
)
def test_invalid_numbers_are_refused(stacks: list[Stack], change: dict, code: Code, named: object) -> None:
    with raises(code, named) as caught:
        fuse(stacks, **change)
    assert caught.value.remedy


def test_stacks_that_cannot_be_fused_are_refused(stacks: list[Stack]) -> None:
    with raises("value-missing"):
        fuse([])
    away = np.eye(4)
    away[0, 3] = 90
    with raises("geometry-mismatch", "Stack 2"):
        fuse([stacks[0], stacks[1].posed(away @ stacks[1].pose)])
    away[0, 3] = 1e5
    with raises("image-too-large"):
        fuse([stacks[0], stacks[1].posed(away)])
    dark = Stack(stacks[0].volume.with_array(-stacks[0].volume.array), 2, THICKNESS)
    with raises("image-empty", "Stack 1"):
        fuse([dark])


def test_a_fusion_can_be_stopped(stacks: list[Stack]) -> None:
    class Impatient(Progress):
        def show(self, step: float, total: float, _: str) -> None:
            if step > 0.3 * total:
                self.cancel()

    with pytest.raises(Cancelled):
        fuse(stacks, progress=Impatient())
