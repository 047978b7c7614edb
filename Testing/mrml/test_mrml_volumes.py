"""Volumes and scalar volume nodes: the same brain at the same place, however it is stored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import nibabel
import numpy as np
import pytest

from NeuroGenLib.spatial.volume import Volume
from Testing.geometry import SWEEP, oblique, reoriented, rotation, same_in_world
from Testing.mrml.places import (
    STORED,
    WITHOUT_SLICER,
    by_simpleitk,
    read_node,
    sheared,
    stored,
    write_node,
)

pytest.importorskip("slicer", reason=WITHOUT_SLICER)

from NeuroGenLib.mrml.arrays import right_handed
from NeuroGenLib.mrml.core import slicer, vtk
from NeuroGenLib.mrml.transforms import add_linear_transform
from NeuroGenLib.mrml.volumes import add_volume, update_volume, volume_of
from Testing.mrml.nodes import add_displacement_field
from Testing.raising import raises

if TYPE_CHECKING:
    from pathlib import Path

    from Testing.geometry import Phantom

VOLUME, ARCHETYPE = "vtkMRMLScalarVolumeNode", "vtkMRMLVolumeArchetypeStorageNode"


def value_at(node: Any, world: np.ndarray) -> float:
    """Ask VTK for the value of a node at a place in RAS mm."""
    to_ijk = vtk.vtkMatrix4x4()
    node.GetRASToIJKMatrix(to_ijk)
    i, j, k, _ = to_ijk.MultiplyPoint((*world, 1))
    return float(node.GetImageData().GetScalarComponentAsDouble(round(i), round(j), round(k), 0))


@pytest.mark.parametrize("codes", SWEEP)
def test_a_right_handed_volume_lies_where_it_lay(codes: str, phantom: Phantom) -> None:
    volume = oblique(reoriented(phantom.image, codes))
    result = right_handed(volume)
    assert np.linalg.det(result.affine[:3, :3]) > 0
    assert same_in_world(volume, result)
    if np.linalg.det(volume.affine) > 0:
        np.testing.assert_array_equal(result.affine, volume.affine)


@pytest.mark.parametrize("how", STORED)
def test_a_node_has_every_voxel_at_its_place(how: str, phantom: Phantom, scene: Any) -> None:
    volume = stored(phantom.image, how)
    node = add_volume(scene, volume, "head")
    for ijk in np.random.default_rng(0).integers(0, volume.shape, (20, 3)):
        world = volume.affine @ (*ijk, 1)
        assert value_at(node, world[:3]) == volume.array[tuple(ijk)]
    assert same_in_world(volume, volume_of(node), 0)


def test_a_sheared_affine_is_kept_exactly(phantom: Phantom, scene: Any) -> None:
    volume = sheared(oblique(phantom.image))
    np.testing.assert_array_equal(volume_of(add_volume(scene, volume, "sheared")).affine, volume.affine)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (bool, 1),
        (np.int8, -100),
        (np.uint8, 255),
        (np.int16, -30000),
        (np.uint16, 60000),
        (np.int32, -(2**31)),
        (np.uint32, 2**32 - 1),
        (np.int64, -(2**31)),
        (np.int64, 2**40),
        (np.uint64, 2**31),
        (np.float32, 1.25),
        (np.float64, 0.1),
    ],
)
def test_values_of_every_type_stay(kind: type, value: float, scene: Any, tmp_path: Path) -> None:
    array = np.zeros((3, 4, 5), kind)
    array[1, 2, 3] = value
    node = add_volume(scene, Volume(array, np.eye(4)), "values")
    np.testing.assert_array_equal(volume_of(node).array, array)
    write_node(scene, node, tmp_path / "values.nrrd")
    np.testing.assert_array_equal(by_simpleitk(tmp_path / "values.nrrd").array, array)


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd"])
@pytest.mark.parametrize("how", STORED)
def test_slicers_files_are_read_at_the_right_place(
    how: str, suffix: str, phantom: Phantom, scene: Any, tmp_path: Path
) -> None:
    volume = stored(phantom.image, how)
    path = tmp_path / f"head{suffix}"
    write_node(scene, add_volume(scene, volume, "head"), path)
    assert same_in_world(volume, by_simpleitk(path))
    assert same_in_world(volume, Volume.load(path))
    if suffix == ".nii.gz":
        image = nibabel.load(path)
        assert same_in_world(volume, Volume(np.asarray(image.dataobj), image.affine))


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd"])
@pytest.mark.parametrize("how", STORED)
def test_slicer_reads_our_files_as_the_node_we_make(
    how: str, suffix: str, phantom: Phantom, scene: Any, tmp_path: Path
) -> None:
    volume = stored(phantom.image, how)
    volume.save(tmp_path / f"head{suffix}")
    read = volume_of(read_node(scene, VOLUME, ARCHETYPE, tmp_path / f"head{suffix}"))
    made = volume_of(add_volume(scene, volume, "head"))
    np.testing.assert_array_equal(read.array, made.array)
    np.testing.assert_allclose(read.affine, made.affine, atol=1e-4)


def test_an_update_keeps_node_and_display(phantom: Phantom, scene: Any) -> None:
    node = add_volume(scene, phantom.image, "head", window=(0, 800))
    display, seen = node.GetDisplayNode(), []
    node.AddObserver(slicer.vtkMRMLVolumeNode.ImageDataModifiedEvent, lambda *_: seen.append(volume_of(node)))
    other = stored(phantom.image, "LAS turned").crop([(2, 30), (3, 40), (1, 20)])
    other = other.with_array((other.array * 2).astype(np.float64))
    update_volume(node, other)
    assert seen, "views are updated"
    assert all(same_in_world(other, volume, 0) for volume in seen), "array and matrix belong together at every moment"
    assert node.GetDisplayNode() is display
    assert (display.GetWindowLevelMin(), display.GetWindowLevelMax()) == (0, 800)
    assert scene.GetNumberOfNodesByClass(VOLUME) == 1


def test_views_upload_new_values_on_the_same_grid(phantom: Phantom, scene: Any) -> None:
    node = add_volume(scene, phantom.image, "head")
    image, seen = node.GetImageData(), []
    before = image.GetPointData().GetScalars().GetMTime()
    node.AddObserver(slicer.vtkMRMLVolumeNode.ImageDataModifiedEvent, lambda *_: seen.append(volume_of(node).array))
    update_volume(node, phantom.image.with_array(phantom.image.array + 1))
    assert image.GetPointData().GetScalars().GetMTime() > before
    assert len(seen) == 1, "one redraw"
    np.testing.assert_array_equal(seen[0], phantom.image.array + 1)


def test_linear_transforms_above_a_node_are_in_its_affine(phantom: Phantom, scene: Any) -> None:
    node = add_volume(scene, phantom.image, "head")
    outer, inner = rotation(30, (5, 0, 0)), rotation(-10, (0, 9, 2), (0, 0, 1))
    above = add_linear_transform(scene, outer, "outer", maps="to_parent")
    below = add_linear_transform(scene, inner, "inner", maps="to_parent")
    below.SetAndObserveTransformNodeID(above.GetID())
    node.SetAndObserveTransformNodeID(below.GetID())
    np.testing.assert_allclose(volume_of(node).affine, outer @ inner @ phantom.image.affine, atol=1e-9)


def test_a_volume_under_a_warp_is_refused(phantom: Phantom, scene: Any) -> None:
    field = Volume(np.zeros((3, *phantom.image.shape)), phantom.image.affine)
    node = add_volume(scene, phantom.image, "head")
    warp = add_displacement_field(scene, field, "warp", maps="from_parent")
    node.SetAndObserveTransformNodeID(warp.GetID())
    with raises("transform-invalid", "'head'", "'warp'"):
        volume_of(node)


def test_a_volume_with_colours_has_channels(scene: Any, tmp_path: Path) -> None:
    channels = np.arange(3 * 4 * 5 * 6, dtype=np.uint8).reshape(3, 4, 5, 6)
    Volume(channels, np.eye(4)).save(tmp_path / "colours.nrrd")
    node = read_node(scene, "vtkMRMLVectorVolumeNode", ARCHETYPE, tmp_path / "colours.nrrd")
    np.testing.assert_array_equal(volume_of(node).array, channels)


def test_volumes_with_channels_and_empty_nodes_are_refused(phantom: Phantom, scene: Any) -> None:
    channels = Volume(np.zeros((2, 3, 4, 5)), np.eye(4))
    with raises("image-dimensions", "'field'"):
        add_volume(scene, channels, "field")
    node = add_volume(scene, phantom.image, "head")
    with raises("image-dimensions", "'head'"):
        update_volume(node, channels)
    assert same_in_world(phantom.image, volume_of(node), 0)
    empty = scene.AddNewNodeByClass(VOLUME, "nothing")
    with raises("image-empty", "'nothing'"):
        volume_of(empty)
