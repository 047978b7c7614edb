"""Matrices and displacement fields: which way they map, and where Slicer's files put them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import SimpleITK
from scipy.ndimage import map_coordinates

from NeuroGenLib.spatial.volume import Volume
from Testing.geometry import a_brain_phantom, rotation
from Testing.mrml.places import (
    STORED,
    WITHOUT_SLICER,
    by_simpleitk,
    moved,
    sheared,
    stored,
    to_lps,
    write_node,
)

pytest.importorskip("slicer", reason=WITHOUT_SLICER)

from NeuroGenLib.mrml.transforms import add_linear_transform
from NeuroGenLib.mrml.volumes import add_volume, volume_of
from Testing.mrml.nodes import add_displacement_field, displacement_field_of, matrix_of
from Testing.raising import raises

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from NeuroGenLib.mrml.scene import HeadlessScene
    from NeuroGenLib.mrml.transforms import Direction

POINTS = np.random.default_rng(2).uniform(-20, 20, (12, 3))
AFFINE = rotation(40, (3, -7, 11)) @ np.diag([1.1, 0.9, 1.2, 1])
PUSH_MM = 3.0


def push(points: np.ndarray) -> np.ndarray:
    """Return a smooth displacement of points (..., 3), at most :data:`PUSH_MM` along an axis; different along each."""
    r, a, s = np.moveaxis(points, -1, 0) / 12
    return PUSH_MM * np.stack([np.sin(a), 0.6 * np.cos(r), 0.4 * np.sin(s + r)], axis=-1)


def field_on(grid: Volume) -> Volume:
    """Return :func:`push` at the voxels of a grid, (3, i, j, k)."""
    world = grid.voxel_to_world(np.moveaxis(np.indices(grid.shape), 0, -1))
    return grid.with_array(np.moveaxis(push(world), -1, 0))


def mapped(transform: Any, points: np.ndarray) -> np.ndarray:
    """Move points (n, 3) by a ``vtkAbstractTransform``."""
    return np.array([transform.TransformPoint(point) for point in points])


@pytest.fixture
def resampled(headless: HeadlessScene) -> Callable[[Any, Any], Volume]:
    """Slicer's own resampling of a volume, with the transforms above it, onto the grid of another."""

    def resample(volume: Any, reference: Any) -> Volume:
        result = headless.logic("Volumes").ResampleVolumeToReferenceVolume(volume, reference)
        result.SetAndObserveTransformNodeID(None)  # a copy of the volume's own, although it has been applied
        return volume_of(result)

    return resample


def test_a_matrix_maps_in_the_direction_that_was_said(scene: Any) -> None:
    forward = add_linear_transform(scene, AFFINE, "forward", maps="to_parent")
    backward = add_linear_transform(scene, AFFINE, "backward", maps="from_parent")
    expected = moved(AFFINE, POINTS)
    np.testing.assert_allclose(mapped(forward.GetTransformToParent(), POINTS), expected, atol=1e-9)
    np.testing.assert_allclose(mapped(backward.GetTransformFromParent(), POINTS), expected, atol=1e-9)
    np.testing.assert_allclose(mapped(backward.GetTransformToParent(), expected), POINTS, atol=1e-9)
    np.testing.assert_allclose(matrix_of(forward, maps="to_parent"), AFFINE, atol=1e-12)
    np.testing.assert_allclose(matrix_of(forward, maps="from_parent"), np.linalg.inv(AFFINE), atol=1e-12)


@pytest.mark.parametrize("suffix", [".tfm", ".h5"])
def test_the_file_of_a_matrix_holds_the_resampling_direction(scene: Any, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"fixed_to_moving{suffix}"
    write_node(scene, add_linear_transform(scene, AFFINE, "registration", maps="from_parent"), path)
    transform = SimpleITK.ReadTransform(str(path))
    found = to_lps(np.array([transform.TransformPoint(point) for point in to_lps(POINTS)]))
    np.testing.assert_allclose(found, moved(AFFINE, POINTS), atol=1e-6)


@pytest.mark.parametrize(
    "matrix",
    [
        np.eye(3),
        np.diag([1.0, 1, 0, 1]),
        np.diag([1.0, 1, 1, 2]),
        np.full((4, 4), np.nan),
    ],
)
def test_a_matrix_without_an_inverse_is_refused(matrix: np.ndarray, scene: Any) -> None:
    with raises("transform-invalid", "'bad'"):
        add_linear_transform(scene, matrix, "bad", maps="to_parent")
    assert scene.GetNumberOfNodesByClass("vtkMRMLTransformNode") == 0


@pytest.mark.parametrize("how", STORED)
@pytest.mark.parametrize("maps", ["to_parent", "from_parent"])
def test_a_field_maps_points_as_numpy_does(how: str, maps: Direction, phantom: Any, scene: Any) -> None:
    field = field_on(stored(phantom.image, how))
    node = add_displacement_field(scene, field, "warp", maps=maps)
    forward, backward = node.GetTransformToParent(), node.GetTransformFromParent()
    if maps == "from_parent":
        forward, backward = backward, forward
    inside = np.array([(4, 5, 6), (20, 20, 17), (30, 11, 25)])
    voxels = np.array([index for index in inside if (index < np.array(field.shape) - 3).all()])
    centres = field.voxel_to_world(voxels)
    assert len(voxels) >= 2
    np.testing.assert_allclose(mapped(forward, centres), centres + push(centres), atol=1e-6)
    np.testing.assert_allclose(mapped(backward, centres + push(centres)), centres, atol=0.02)
    np.testing.assert_allclose(mapped(forward, POINTS / 2), POINTS / 2 + push(POINTS / 2), atol=0.05)


@pytest.mark.parametrize("how", STORED)
def test_a_field_warps_the_moving_image_onto_the_fixed_one(
    how: str, scene: Any, resampled: Callable[[Any, Any], Volume]
) -> None:
    """The moving image at x + push(x) is the fixed one at x; the two images are stored differently."""
    fixed = stored(a_brain_phantom((24, 28, 22), 3.0).image, how)
    moving = stored(a_brain_phantom((26, 30, 26), 2.8).image, "LAS turned")
    field = field_on(fixed)
    world = fixed.voxel_to_world(np.moveaxis(np.indices(fixed.shape), 0, -1))
    looked_up = np.moveaxis(moving.world_to_voxel(world + push(world)), -1, 0)
    expected = map_coordinates(moving.array, looked_up, order=1)
    inner = np.zeros(fixed.shape, bool)
    inner[4:-4, 4:-4, 4:-4] = True
    node = add_volume(scene, moving, "moving")
    warp = add_displacement_field(scene, field, "warp", maps="from_parent")
    node.SetAndObserveTransformNodeID(warp.GetID())
    found = resampled(node, add_volume(scene, fixed, "fixed")).reorient("RAS").array
    wanted = fixed.with_array(expected).reorient("RAS").array
    kept = fixed.with_array(inner.astype(np.uint8)).reorient("RAS").array > 0
    np.testing.assert_allclose(found[kept], wanted[kept], atol=2)
    assert np.abs(fixed.reorient("RAS").array[kept] - wanted[kept]).max() > 100, "without the warp it is another"


def test_a_matrix_puts_the_moving_image_onto_the_fixed_one(
    scene: Any, phantom: Any, resampled: Callable[[Any, Any], Volume]
) -> None:
    fixed = phantom.image
    moving = Volume(fixed.array, AFFINE @ fixed.affine)
    node = add_volume(scene, moving, "moving")
    node.SetAndObserveTransformNodeID(add_linear_transform(scene, AFFINE, "found", maps="from_parent").GetID())
    np.testing.assert_allclose(volume_of(node).affine, fixed.affine, atol=1e-9)
    found = resampled(node, add_volume(scene, fixed, "fixed"))
    np.testing.assert_allclose(found.array[1:-1, 1:-1, 1:-1], fixed.array[1:-1, 1:-1, 1:-1], atol=0.5)


@pytest.mark.parametrize("how", STORED)
def test_a_field_comes_back(how: str, phantom: Any, scene: Any) -> None:
    field = field_on(stored(phantom.image, how))
    node = add_displacement_field(scene, field, "warp", maps="from_parent")
    back = displacement_field_of(node, maps="from_parent")
    assert np.linalg.det(back.affine[:3, :3]) > 0, "as every node"
    at = field.voxel_to_world([(3, 4, 5), (20, 13, 7)])
    for volume in (field, back):
        values = [volume.array[:, i, j, k] for i, j, k in np.rint(volume.world_to_voxel(at)).astype(int)]
        np.testing.assert_allclose(values, push(at), atol=1e-9)


@pytest.mark.parametrize("how", STORED)
def test_the_file_of_a_field_is_in_itks_coordinates(how: str, phantom: Any, scene: Any, tmp_path: Path) -> None:
    """Vectors in the file are LPS; SimpleITK, which knows nothing of Slicer, moves points the same way."""
    node = add_displacement_field(scene, field_on(stored(phantom.image, how)), "warp", maps="from_parent")
    write_node(scene, node, tmp_path / "warp.nii.gz")
    vectors = SimpleITK.ReadImage(str(tmp_path / "warp.nii.gz"), SimpleITK.sitkVectorFloat64)
    transform = SimpleITK.DisplacementFieldTransform(vectors)
    inside = POINTS / 2
    found = to_lps(np.array([transform.TransformPoint(point) for point in to_lps(inside)]))
    np.testing.assert_allclose(found, inside + push(inside), atol=0.05)
    assert by_simpleitk(tmp_path / "warp.nii.gz").channels == 3


def test_invalid_displacement_fields_are_refused(phantom: Any, scene: Any) -> None:
    field = field_on(phantom.image)
    two = field.with_array(field.array[:2])
    with raises("image-dimensions", "'warp'", "2 channel(s)"):
        add_displacement_field(scene, two, "warp", maps="to_parent")
    holes = field.array.copy()
    holes[0, 1, 2, 3] = np.nan
    with raises("image-not-finite", "'warp'"):
        add_displacement_field(scene, field.with_array(holes), "warp", maps="to_parent")
    with raises("geometry-invalid", "'warp'"):
        add_displacement_field(scene, sheared(field), "warp", maps="to_parent")
    assert scene.GetNumberOfNodesByClass("vtkMRMLTransformNode") == 0
