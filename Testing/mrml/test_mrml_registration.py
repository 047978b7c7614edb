"""A registration as a scene: the moving volume under the transform lies on the fixed one, however it is stored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import SimpleITK
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from NeuroGenLib.core import provenance
from NeuroGenLib.registration.config import RegisterConfig
from NeuroGenLib.registration.output import registration_result
from NeuroGenLib.spatial.labels import Label, LabelTable
from NeuroGenLib.spatial.result import Result
from NeuroGenLib.spatial.transforms.spatial_map import SpatialMap, from_voxel_displacement
from NeuroGenLib.spatial.volume import Volume
from Testing.geometry import a_brain_phantom, oblique, reoriented, rotation, same_in_world
from Testing.mrml.places import WITHOUT_SLICER, to_lps, write_node
from Testing.registration_pairs import a_bent_pair, a_tiny_model

pytest.importorskip("slicer", reason=WITHOUT_SLICER)

from NeuroGenLib.mrml.labelled import labels_on, mask_on, match_labels, table_of, table_of_values
from NeuroGenLib.mrml.provenance import provenance_of
from NeuroGenLib.mrml.scene import HeadlessScene, save_scene
from NeuroGenLib.mrml.segmentations import add_segmentation, label_map_of
from NeuroGenLib.mrml.spatial_maps import add_spatial_map, update_spatial_map
from NeuroGenLib.mrml.transforms import add_linear_transform
from NeuroGenLib.mrml.volumes import add_volume, update_volume, volume_of
from NeuroGenLib.scenes.comparison import change_colours, checkerboard
from NeuroGenLib.scenes.registration import (
    NodePair,
    add_registration,
    forward_of,
    quality_of,
    show_registration,
    unregistered,
    write_registration_scene,
)
from Testing.mrml.nodes import folder_of, load_scene
from Testing.raising import raises

if TYPE_CHECKING:
    from pathlib import Path

    from NeuroGenLib.mrml.core import Node, Scene

RECORD = provenance.record("registration run", parameters={"refine": 0}, warnings=["Look at it."])
POINTS = np.random.default_rng(5).uniform(-45, 45, (300, 3))
TABLE = LabelTable((Label(2, "cortex", (200, 10, 10)), Label(5, "ventricles", (10, 10, 200))))
CLOSE_MM = 0.05


def a_map(seed: int = 0, millimetres: float = 4.0, before: Any = None, after: Any = None) -> SpatialMap:
    """A smooth map between turned affines on a 3 mm grid that is neither axis-aligned nor at the origin."""
    noise = np.random.default_rng(seed).normal(size=(3, 26, 30, 24))
    smooth = np.stack([gaussian_filter(layer, 6) for layer in noise])
    voxels = (smooth / np.abs(smooth).max() * millimetres / 3).astype(np.float32)
    grid = rotation(11, (0, 0, 0)) @ np.diag([3.0, 3.0, 3.0, 1.0])
    grid[:3, 3] = -grid[:3, :3] @ ((np.array(voxels.shape[1:]) - 1) / 2)
    return from_voxel_displacement(
        voxels,
        grid,
        rotation(17, (3, 2, 1)) if before is None else before,
        rotation(-25, (9, 5, 2)) @ np.diag([1.1, 0.9, 1.05, 1]) if after is None else after,
    )


def moved_by(transform: Any, points: np.ndarray) -> np.ndarray:
    return np.array([transform.TransformPoint(point) for point in points])


def a_result(
    fixed: Volume,
    moving: Volume,
    forward: SpatialMap,
    inverse: SpatialMap | None = None,
    labels: Volume | None = None,
    record: dict[str, Any] = RECORD,
) -> Result:
    """A result of a registration by these maps."""
    rows = [
        {"measure": "Dice", "label": "2", "headers": "0.5", "start": "0.6", "registered": "0.9", "unit": "n/a"},
        {"measure": "folded voxels", "label": "all", "headers": "n/a", "start": "n/a", "registered": "0", "unit": "%"},
    ]
    affine_inverse = SpatialMap(np.linalg.inv(forward.after), None, np.linalg.inv(forward.before))
    return Result(
        volumes={"warped": forward.pull(moving, fixed), "jacobian": forward.jacobian(fixed)},
        labels={} if labels is None else {"warped_labels": labels},
        maps={"forward": forward, "inverse": inverse or affine_inverse},
        tables={"quality": rows},
        record=record,
    )


@pytest.fixture
def fixed_volume() -> Volume:
    return a_brain_phantom((30, 36, 27), 2.7).image


@pytest.fixture
def moving_volume() -> Volume:
    """Left-handed, oblique and away from the origin."""
    head = reoriented(a_brain_phantom((30, 36, 27), 2.7).image, "LAS")
    shifted = rotation(30, (0, 0, 0)) @ head.affine
    shifted[:3, 3] += (14, -9, 21)
    return oblique(Volume(head.array, shifted))


@pytest.fixture
def fixed(scene: Scene, fixed_volume: Volume) -> Node:
    return add_volume(scene, fixed_volume, "older")


@pytest.fixture
def moving(scene: Scene, moving_volume: Volume) -> Node:
    return add_volume(scene, moving_volume, "younger")


@pytest.fixture
def resampled(headless: HeadlessScene) -> Any:
    """Slicer's own resampling of a volume, with the transforms above it, onto the grid of another."""

    def resample(volume: Any, reference: Any) -> Volume:
        result = headless.logic("Volumes").ResampleVolumeToReferenceVolume(volume, reference)
        result.SetAndObserveTransformNodeID(None)
        return volume_of(result)

    return resample


# Transform nodes


@given(seed=st.integers(0, 1000), millimetres=st.floats(0, 6))
def test_a_node_maps_points_as_the_library_does(seed: int, millimetres: float) -> None:
    one = a_map(seed, millimetres)
    with HeadlessScene() as opened:
        node = add_spatial_map(opened.scene, one, "map")
        expected = one.points(POINTS)
        assert np.abs(moved_by(node.GetTransformFromParent(), POINTS) - expected).max() < CLOSE_MM / 100
        assert np.linalg.norm(moved_by(node.GetTransformToParent(), expected) - POINTS, axis=1).max() < CLOSE_MM


def test_a_map_without_a_field_is_a_matrix(scene: Scene) -> None:
    one = SpatialMap(rotation(30, (1, 2, 3)), None, np.diag([1.2, 1, 0.8, 1]))
    node = add_spatial_map(scene, one, "affine")
    assert node.IsLinear()
    np.testing.assert_allclose(moved_by(node.GetTransformFromParent(), POINTS), one.points(POINTS), atol=1e-9)


def test_what_lies_under_a_node_follows_another_map(scene: Scene) -> None:
    node = add_spatial_map(scene, a_map(0), "map")
    other = a_map(1, after=np.eye(4))
    update_spatial_map(node, other)
    np.testing.assert_allclose(moved_by(node.GetTransformFromParent(), POINTS), other.points(POINTS), atol=1e-3)


def test_the_file_of_a_node_is_the_librarys_composite(scene: Scene, tmp_path: Path) -> None:
    one = a_map(2)
    write_node(scene, add_spatial_map(scene, one, "map"), tmp_path / "forward.h5")
    itk = SimpleITK.ReadTransform(str(tmp_path / "forward.h5"))
    found = to_lps(np.array([itk.TransformPoint(point) for point in to_lps(POINTS).tolist()]))
    np.testing.assert_allclose(found, one.points(POINTS), atol=1e-6)


def test_a_saved_scene_keeps_the_map(tmp_path: Path) -> None:
    """Slicer interpolates a field that it read from a file with a cubic: it overshoots where the field is tapered."""
    one = a_map(3)
    with HeadlessScene() as opened:
        add_spatial_map(opened.scene, one, "map")
        save_scene(opened.scene, tmp_path / "scene.mrb")
    with HeadlessScene() as opened:
        load_scene(opened.scene, tmp_path / "scene.mrb")
        node = opened.scene.GetFirstNodeByName("map")
        assert node.GetClassName() == "vtkMRMLTransformNode"
        for points, most in ((POINTS / 2, CLOSE_MM), (POINTS, 5 * CLOSE_MM)):
            away = moved_by(node.GetTransformFromParent(), points) - one.points(points)
            assert np.linalg.norm(away, axis=1).max() < most


# The registration of a pair


def test_the_moving_volume_lies_on_the_fixed_one(
    scene: Scene, fixed: Node, moving: Node, fixed_volume: Volume, moving_volume: Volume, resampled: Any
) -> None:
    shown = a_result(fixed_volume, moving_volume, a_map(after=rotation(35, (4, 1, 2))))
    nodes = add_registration(scene, shown, NodePair.of(fixed, moving))
    assert moving.GetTransformNodeID() == nodes.forward.GetID()
    by_slicer = resampled(moving, fixed)
    np.testing.assert_allclose(
        by_slicer.array[4:-4, 4:-4, 4:-4], shown.volumes["warped"].array[4:-4, 4:-4, 4:-4], atol=3
    )
    assert shown.volumes["warped"].array.max() > 300
    assert same_in_world(shown.volumes["warped"], volume_of(nodes.warped), 1e-4)
    assert same_in_world(shown.volumes["jacobian"], volume_of(nodes.jacobian), 1e-5)
    assert nodes.labels is None
    for node in (nodes.forward, nodes.inverse, nodes.warped, nodes.jacobian, nodes.quality):
        assert provenance_of(node) == RECORD
        assert folder_of(scene, node) == "younger to older"


def test_the_fixed_volume_lies_on_the_moving_one_under_the_inverse(
    scene: Scene, fixed: Node, moving: Node, fixed_volume: Volume, moving_volume: Volume
) -> None:
    inverse = a_map(7)
    shown = a_result(fixed_volume, moving_volume, a_map(), inverse=inverse)
    nodes = add_registration(scene, shown, NodePair.of(fixed, moving))
    from_world = moved_by(nodes.inverse.GetTransformFromParent(), POINTS)
    np.testing.assert_allclose(from_world, inverse.points(POINTS), atol=1e-3)


def test_linear_transforms_above_the_volumes_are_kept(
    scene: Scene, fixed: Node, moving: Node, fixed_volume: Volume, moving_volume: Volume
) -> None:
    """Volumes that were placed by hand: results lie in the world, where the fixed one is seen."""
    by_hand = {"fixed": rotation(15, (0, 9, 0)), "moving": rotation(-40, (5, 5, 5))}
    above = {name: add_linear_transform(scene, matrix, name, maps="to_parent") for name, matrix in by_hand.items()}
    fixed.SetAndObserveTransformNodeID(above["fixed"].GetID())
    moving.SetAndObserveTransformNodeID(above["moving"].GetID())
    forward = a_map(8)
    in_world = [volume_of(fixed), volume_of(moving)]
    shown = a_result(*in_world, forward)
    nodes = add_registration(scene, shown, NodePair.of(fixed, moving))
    world_to_own = moved_by(moving.GetParentTransformNode().GetTransformFromParent(), POINTS)
    expected = forward.points(POINTS) @ by_hand["moving"][:3, :3] + (
        -by_hand["moving"][:3, :3].T @ by_hand["moving"][:3, 3]
    )
    np.testing.assert_allclose(world_to_own, expected, atol=1e-3)
    assert same_in_world(shown.volumes["warped"], volume_of(nodes.warped), 1e-4)
    with unregistered(moving, fixed, None):
        assert same_in_world(in_world[1], volume_of(moving), 0)
        assert moving.GetTransformNodeID() == above["moving"].GetID()
    assert moving.GetTransformNodeID() == nodes.forward.GetID()
    assert fixed.GetTransformNodeID() == above["fixed"].GetID()


def test_another_registration_of_the_pair_takes_its_nodes(
    scene: Scene, fixed: Node, moving: Node, fixed_volume: Volume, moving_volume: Volume
) -> None:
    labels = fixed_volume.with_array((5 * (fixed_volume.array > 300)).astype(np.uint8))
    first = a_result(fixed_volume, moving_volume, a_map(0), labels=labels)
    before = add_registration(scene, first, NodePair.of(fixed, moving), TABLE)
    assert before.labels is not None
    show_registration(scene, before.forward, "checkerboard")
    marked = add_volume(scene, moving_volume, "marked")
    marked.SetAndObserveTransformNodeID(before.forward.GetID())
    count = scene.GetNumberOfNodes()
    second = a_result(fixed_volume, moving_volume, a_map(1), record={**RECORD, "seed": 2})
    pair = NodePair.of(fixed, moving)
    np.testing.assert_array_equal(pair.moving_placement, np.eye(4))
    after = add_registration(scene, second, pair)
    for name in ("forward", "inverse", "warped", "jacobian"):
        assert getattr(after, name) is getattr(before, name)
    assert after.labels is None
    assert scene.GetFirstNodeByName("younger labels registered") is None
    assert scene.GetNumberOfNodes() < count
    assert marked.GetParentTransformNode() is after.forward
    from_world = moved_by(after.forward.GetTransformFromParent(), POINTS)
    np.testing.assert_allclose(from_world, second.maps["forward"].points(POINTS), atol=1e-3)
    assert same_in_world(second.volumes["warped"], volume_of(after.warped), 1e-4)
    assert provenance_of(after.warped)["seed"] == 2
    third = add_registration(scene, first, NodePair.of(fixed, moving), TABLE)
    assert third.labels is not None
    np.testing.assert_array_equal(label_map_of(third.labels, TABLE, fixed_volume).array, labels.array)


def test_other_pairs_keep_theirs(
    scene: Scene, fixed: Node, moving: Node, fixed_volume: Volume, moving_volume: Volume
) -> None:
    third_volume = oblique(fixed_volume)
    third = add_volume(scene, third_volume, "third")
    one = add_registration(scene, a_result(fixed_volume, moving_volume, a_map(0)), NodePair.of(fixed, moving))
    two = add_registration(scene, a_result(third_volume, moving_volume, a_map(1)), NodePair.of(third, moving))
    assert one.forward is not two.forward
    assert moving.GetParentTransformNode() is two.forward
    with unregistered(moving):
        assert moving.GetTransformNodeID() is None, "not under the first registration"
    assert forward_of(scene, fixed, moving) is one.forward
    assert forward_of(scene, third, moving) is two.forward
    assert forward_of(scene, moving, fixed) is None


def test_volumes_that_were_deleted_meanwhile_are_passed_over(
    scene: Scene, fixed: Node, moving: Node, fixed_volume: Volume, moving_volume: Volume
) -> None:
    pair = NodePair.of(fixed, moving)
    scene.RemoveNode(moving)
    scene.RemoveNode(fixed)
    nodes = add_registration(scene, a_result(fixed_volume, moving_volume, a_map()), pair)
    show_registration(scene, nodes.forward, "checkerboard")
    assert views(scene) == (nodes.warped.GetID(), None)


def test_a_pair_must_be_two_volumes_without_a_warp(scene: Scene, fixed: Node, moving: Node) -> None:
    with raises("value-conflict", "older"):
        NodePair.of(fixed, fixed)
    moving.SetAndObserveTransformNodeID(add_spatial_map(scene, a_map(), "another warp").GetID())
    with raises("transform-invalid", "'younger'", "'another warp'"):
        NodePair.of(fixed, moving)


def test_hardening_moves_the_volume(
    scene: Scene, fixed: Node, moving: Node, fixed_volume: Volume, moving_volume: Volume
) -> None:
    shown = a_result(fixed_volume, moving_volume, a_map(4, after=rotation(12, (1, 0, 0))))
    add_registration(scene, shown, NodePair.of(fixed, moving))
    assert moving.HardenTransform()
    assert moving.GetTransformNodeID() is None
    on_fixed = volume_of(moving).resample(like=fixed_volume)
    inside = np.s_[5:-5, 5:-5, 5:-5]
    difference = np.abs(on_fixed.array[inside] - shown.volumes["warped"].array[inside])
    assert difference.mean() < 0.03 * shown.volumes["warped"].array.max()


def test_the_quality_names_the_labels(
    scene: Scene, fixed: Node, moving: Node, fixed_volume: Volume, moving_volume: Volume
) -> None:
    labels = fixed_volume.with_array((2 * (fixed_volume.array > 300)).astype(np.uint8))
    shown = a_result(fixed_volume, moving_volume, a_map(), labels=labels)
    nodes = add_registration(scene, shown, NodePair.of(fixed, moving), TABLE)
    assert [row["label"] for row in quality_of(nodes.forward)] == ["cortex", "all"]
    assert quality_of(nodes.forward)[0]["registered"] == "0.9"
    scene.RemoveNode(nodes.quality)
    assert quality_of(nodes.forward) == []


# Looking at it


def views(scene: Scene) -> tuple[str | None, str | None]:
    """Return background and foreground of the red view."""
    composite = scene.GetSingletonNode("Red", "vtkMRMLSliceCompositeNode")
    return composite.GetBackgroundVolumeID(), composite.GetForegroundVolumeID()


def test_ways_to_look_at_it(
    scene: Scene, fixed: Node, moving: Node, fixed_volume: Volume, moving_volume: Volume
) -> None:
    shown = a_result(fixed_volume, moving_volume, a_map())
    nodes = add_registration(scene, shown, NodePair.of(fixed, moving))
    show_registration(scene, nodes.forward, "fade", opacity=0.3)
    assert views(scene) == (fixed.GetID(), nodes.warped.GetID())
    assert scene.GetSingletonNode("Red", "vtkMRMLSliceCompositeNode").GetForegroundOpacity() == pytest.approx(0.3)
    show_registration(scene, nodes.forward, "change")
    assert views(scene) == (fixed.GetID(), nodes.jacobian.GetID())
    show_registration(scene, nodes.forward, "checkerboard", tile_mm=10)
    board = scene.GetFirstNodeByName("younger registered checkerboard")
    assert views(scene) == (board.GetID(), None)
    assert provenance_of(board) == RECORD
    expected = checkerboard(fixed_volume, shown.volumes["warped"], 10).array
    np.testing.assert_allclose(volume_of(board).array, expected, atol=1e-5)
    show_registration(scene, nodes.forward, "checkerboard", tile_mm=22)
    assert scene.GetFirstNodeByName("younger registered checkerboard") is board
    assert not np.allclose(volume_of(board).array, expected)


@given(
    shape=st.tuples(*[st.integers(1, 9)] * 3),
    tile=st.floats(0.5, 30),
    spacing=st.tuples(*[st.floats(0.5, 4)] * 3),
)
def test_a_checkerboard_has_cubes_in_turn(shape: Any, tile: float, spacing: Any) -> None:
    affine = np.diag([*spacing, 1.0])
    dark, bright = np.zeros(shape, np.float32), np.ones(shape, np.float32)
    dark.flat[0] = bright.flat[0] = 1.0
    one, other = Volume(dark, affine), Volume(bright, affine)
    board = checkerboard(one, other, tile).array
    sides = [max(1, round(tile / step)) for step in spacing]
    for index in np.ndindex(shape):
        is_other = sum(place // side for place, side in zip(index, sides, strict=True)) % 2
        assert board[index] == (bright if is_other else dark)[index]


def test_a_checkerboard_needs_one_grid(fixed_volume: Volume, moving_volume: Volume) -> None:
    with raises("geometry-mismatch"):
        checkerboard(fixed_volume, moving_volume, 10)


def test_small_changes_of_volume_are_see_through(scene: Scene) -> None:
    """What the display pipeline makes of determinants: see-through near 1, blue below, red above."""
    factors = np.array([-0.5, 0.4, 0.85, 1.0, 1.15, 1.7, 3.0], np.float32)
    volume = Volume(np.broadcast_to(factors[:, None, None], (7, 3, 2)).copy(), np.eye(4))
    for least, seen in ((0.1, [1, 1, 1, 0, 1, 1, 1]), (0.3, [1, 1, 0, 0, 0, 1, 1])):
        colours = change_colours(scene, least)
        node = add_volume(scene, volume, "change", window=(0, 2), colours=colours.GetID())
        display = node.GetDisplayNode()
        display.SetInputImageDataConnection(node.GetImageDataConnection())
        producer = display.GetOutputImageDataConnection().GetProducer()
        producer.Update()
        pixels = producer.GetOutput()
        rgba = np.array([[pixels.GetScalarComponentAsFloat(i, 0, 0, c) for c in range(4)] for i in range(7)])
        np.testing.assert_array_equal(rgba[:, 3] > 0, np.array(seen, bool))
        assert (rgba[:2, 2] > rgba[:2, 0]).all()
        assert (rgba[5:, 0] > rgba[5:, 2]).all()
    assert change_colours(scene, 0.2) is colours, "one for all"


# Labels and masks that a person chose


def test_segments_become_labels_by_name(scene: Scene, fixed_volume: Volume) -> None:
    array = np.zeros(fixed_volume.shape, np.uint8)
    array[5:10], array[12:20] = 2, 5
    node = add_segmentation(scene, fixed_volume.with_array(array), TABLE, "tissues")
    node.GetSegmentation().AddEmptySegment("Segment_1", "tumour")
    table = table_of(node)
    assert table.names == ("cortex", "ventricles", "tumour")
    assert table.values[:2] == (2, 5)
    assert table.values[2] not in (0, 2, 5)
    assert table.lookup("cortex").colour == (200, 10, 10)
    np.testing.assert_array_equal(labels_on(node, table, fixed_volume).array, array)
    np.testing.assert_array_equal(mask_on(node, fixed_volume).array, array > 0)


def test_two_segments_of_one_name_are_refused(scene: Scene) -> None:
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "mine")
    with raises("image-empty", "'mine'"):
        table_of(node)
    for identifier in ("a", "b"):
        node.GetSegmentation().AddEmptySegment(identifier, "tumour")
    with raises("value-duplicate", "'mine'", "'tumour'"):
        table_of(node)


def a_label_node(scene: Scene, volume: Volume, name: str, colours: str | None = None) -> Node:
    node = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", name)
    update_volume(node, volume)
    node.CreateDefaultDisplayNodes()
    if colours is not None:
        node.GetDisplayNode().SetAndObserveColorNodeID(colours)
    return node


def test_values_of_a_label_map_volume_are_its_labels(scene: Scene, moving_volume: Volume) -> None:
    array = np.zeros(moving_volume.shape, np.int16)
    array[3:6], array[8:11], array[13:15] = 1, 3, 9
    colours = scene.AddNewNodeByClass("vtkMRMLColorTableNode", "terms")
    colours.SetTypeToUser()
    colours.SetNumberOfColors(4)
    colours.SetColor(1, "left hippocampus", 1.0, 0.5, 0.0, 1.0)
    colours.SetColor(3, "left hippocampus", 0.0, 0.5, 0.0, 1.0)
    node = a_label_node(scene, moving_volume.with_array(array), "found", colours.GetID())
    table = table_of(node)
    assert table.values == (1, 3, 9)
    assert table.names == ("left hippocampus", "left hippocampus 3", "label 9")
    assert table.lookup(1).colour == (255, 128, 0)
    found = labels_on(node, table, moving_volume)
    np.testing.assert_array_equal(found.array, array)
    np.testing.assert_array_equal(mask_on(node, moving_volume).array, array > 0)
    empty = a_label_node(scene, moving_volume.with_array(0 * array), "empty")
    with raises("image-empty", "'empty'"):
        table_of(empty)


def test_labels_are_matched_by_name() -> None:
    moving = LabelTable((Label(4, "Cortex", (1, 1, 1)), Label(7, "brainstem", (2, 2, 2))))
    fixed = LabelTable((Label(1, "cortex", (3, 3, 3)), Label(2, "ventricles", (4, 4, 4)), Label(900, "x", (5, 5, 5))))
    volume = Volume(np.array([0, 1, 2, 900, 1], np.int32).reshape(5, 1, 1), np.eye(4))
    mapped, table, both = match_labels(volume, fixed, moving)
    assert both == {"Cortex"}
    assert mapped.array.ravel().tolist() == [0, 4, 8, 9, 4]
    assert [(label.value, label.name) for label in table] == [
        (4, "Cortex"), (7, "brainstem"), (8, "ventricles"), (9, "x"),
    ]  # fmt: skip


def test_labels_without_names_get_numbers() -> None:
    table = table_of_values(Volume(np.array([0, 17, 53], np.int16).reshape(3, 1, 1), np.eye(4)))
    assert (table.values, table.names) == ((17, 53), ("label 17", "label 53"))


# Files


def test_a_file_holds_a_registration_of_the_library(tmp_path: Path) -> None:
    pair = a_bent_pair(2.0)
    moving = oblique(reoriented(pair.moving, "LAS"), 8)
    moving_labels = oblique(reoriented(pair.moving_labels, "LAS"), 8)
    model = a_tiny_model(tmp_path / "model")
    result = model.register(
        pair.fixed,
        moving,
        settings=RegisterConfig(start="none", refine=0),
        fixed_labels=pair.fixed_labels,
        moving_labels=moving_labels,
    )
    path = tmp_path / "registration.mrb"
    named = registration_result(model, result, {"refine": 0})
    write_registration_scene(named, pair.fixed, moving, path)
    with HeadlessScene() as opened:
        load_scene(opened.scene, path)
        find = opened.scene.GetFirstNodeByName
        above = find("moving").GetParentTransformNode()
        assert above is forward_of(opened.scene, find("fixed"), find("moving"))
        away = moved_by(above.GetTransformFromParent(), POINTS) - result.forward.points(POINTS)
        assert np.linalg.norm(away, axis=1).max() < CLOSE_MM
        back = moved_by(find("fixed to moving").GetTransformFromParent(), POINTS) - result.inverse.points(POINTS)
        assert np.linalg.norm(back, axis=1).max() < CLOSE_MM
        assert same_in_world(result.warped, volume_of(find("moving registered")), 1e-3)
        labels = find("moving labels registered")
        assert result.warped_labels is not None
        table = table_of_values(moving_labels)
        np.testing.assert_array_equal(label_map_of(labels, table, pair.fixed).array, result.warped_labels.array)
        names = {row["label"] for row in quality_of(above) if row["measure"] == "Dice"}
        assert "label 1" in names
        assert provenance_of(labels)["parameters"] == {"refine": 0}
        assert views(opened.scene)[0] == find("fixed").GetID()
