"""The brain that follows a slider: refilled in place, overlays that come and go, and what a scene file keeps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from NeuroGenLib.core.resources import resource
from NeuroGenLib.spatial.labels import Label, LabelTable
from NeuroGenLib.spatial.volume import Volume
from Testing.geometry import same_in_world
from Testing.mrml.places import STORED, WITHOUT_SLICER, stored

pytest.importorskip("slicer", reason=WITHOUT_SLICER)

from NeuroGenLib.mrml.provenance import provenance_of
from NeuroGenLib.mrml.scene import HeadlessScene, save_scene
from NeuroGenLib.mrml.segmentations import add_segmentation, label_map_of, mask_of
from NeuroGenLib.mrml.transforms import add_linear_transform
from NeuroGenLib.mrml.views import VIEWS
from NeuroGenLib.mrml.volumes import add_volume, volume_of
from NeuroGenLib.scenes.atlas_live import FOLDER, LiveBrain
from Testing.mrml.nodes import folder_of, load_scene

if TYPE_CHECKING:
    from pathlib import Path

    from Testing.geometry import Phantom


@pytest.fixture(scope="module")
def table() -> LabelTable:
    return LabelTable.from_tsv(resource("labels/fetal-tissues.tsv"))


@pytest.fixture
def live(scene: Any, phantom: Phantom, table: LabelTable) -> LiveBrain:
    """The phantom, shown."""
    brain = LiveBrain(scene)
    brain.show(phantom.image, phantom.labels, table)
    return brain


def in_views(scene: Any, which: str) -> set[str | None]:
    """The ids of what is the Background or Foreground of the slice views."""
    nodes = [scene.GetSingletonNode(view, "vtkMRMLSliceCompositeNode") for view in VIEWS]
    return {getattr(node, f"Get{which}VolumeID")() for node in nodes}


@pytest.mark.parametrize("how", STORED)
def test_any_brain_lies_where_it_is(how: str, phantom: Phantom, table: LabelTable, scene: Any) -> None:
    image, labels = stored(phantom.image, how), stored(phantom.labels, how)
    brain = LiveBrain(scene)
    brain.show(image, labels, table)
    assert same_in_world(image, volume_of(brain.node("image")), 0)
    np.testing.assert_array_equal(label_map_of(brain.node("labels"), table, image).array, labels.array)


def test_another_brain_takes_the_place_in_the_same_nodes(
    live: LiveBrain, phantom: Phantom, table: LabelTable, scene: Any
) -> None:
    before = {role: live.node(role).GetID() for role in ("image", "labels")}
    count = scene.GetNumberOfNodes()
    coarse = Volume(phantom.image.array[::2, ::2, ::2], phantom.image.affine @ np.diag([2, 2, 2, 1]))
    labels = Volume(phantom.labels.array[::2, ::2, ::2], coarse.affine)
    live.show(coarse, labels, table)
    assert {role: live.node(role).GetID() for role in before} == before
    assert scene.GetNumberOfNodes() == count
    assert same_in_world(coarse, volume_of(live.node("image")), 0)
    np.testing.assert_array_equal(label_map_of(live.node("labels"), table, coarse).array, labels.array)


def test_labels_of_another_model_get_a_segmentation_of_their_own(live: LiveBrain, phantom: Phantom, scene: Any) -> None:
    other = LabelTable((Label(0, "outside", (0, 0, 0)), Label(1, "all of it", (9, 9, 9))))
    everything = phantom.labels.with_array((phantom.labels.array > 0).astype(np.uint8))
    live.show(phantom.image, everything, other)
    assert scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 1
    segmentation = live.node("labels").GetSegmentation()
    assert [segmentation.GetSegment(name).GetName() for name in segmentation.GetSegmentIDs()] == ["all of it"]
    np.testing.assert_array_equal(label_map_of(live.node("labels"), other, everything).array, everything.array)


def test_overlays_belong_to_the_brain_that_is_seen(
    live: LiveBrain, phantom: Phantom, table: LabelTable, scene: Any
) -> None:
    half = phantom.image.with_array(np.full(phantom.image.shape, 0.5, np.float32))
    live.show(phantom.image, phantom.labels, table, certainty=half, opacity=0.3)
    assert in_views(scene, "Foreground") == {live.node("certainty").GetID()}
    live.set_overlay_opacity(0.8)
    assert scene.GetSingletonNode("Red", "vtkMRMLSliceCompositeNode").GetForegroundOpacity() == pytest.approx(0.8)
    live.show(phantom.image, phantom.labels, table, growth=half.with_array(half.array - 1))
    assert in_views(scene, "Foreground") == {live.node("growth").GetID()}
    low, high = (live.node("growth").GetDisplayNode().GetWindowLevelMin(), 0.5)
    assert (low, live.node("growth").GetDisplayNode().GetWindowLevelMax()) == (-high, high), "zero is in the middle"
    live.show(phantom.image, phantom.labels, table)
    assert in_views(scene, "Foreground") == {None}


def test_what_a_person_laid_over_the_views_stays(
    live: LiveBrain, phantom: Phantom, table: LabelTable, scene: Any
) -> None:
    own = add_volume(scene, phantom.image, "mine")
    scene.GetSingletonNode("Red", "vtkMRMLSliceCompositeNode").SetForegroundVolumeID(own.GetID())
    live.show(phantom.image, phantom.labels, table)
    assert own.GetID() in in_views(scene, "Foreground")


def test_put_aside_and_back(live: LiveBrain, phantom: Phantom, scene: Any) -> None:
    other = add_volume(scene, phantom.image, "scan")
    for view in VIEWS:
        scene.GetSingletonNode(view, "vtkMRMLSliceCompositeNode").SetBackgroundVolumeID(other.GetID())
    live.put_aside()
    assert not live.node("labels").GetDisplayNode().GetVisibility()
    live.bring_to_front()
    assert live.node("labels").GetDisplayNode().GetVisibility()
    assert in_views(scene, "Background") == {live.node("image").GetID()}


def test_nothing_happens_before_the_first_brain(scene: Any) -> None:
    brain = LiveBrain(scene)
    brain.set_label_opacity(0.5)
    brain.set_overlay_opacity(0.5)
    brain.set_surfaces(shown=True)
    brain.put_aside()
    brain.bring_to_front()
    assert brain.node("image") is None


def test_a_scene_file_keeps_the_roles(
    live: LiveBrain, phantom: Phantom, table: LabelTable, scene: Any, tmp_path: Path
) -> None:
    record = {"action": "atlas generate", "parameters": {"age": 28.0}}
    live.show(phantom.image, phantom.labels, table, record=record)
    assert folder_of(scene, live.node("image")) == FOLDER
    assert record.items() <= provenance_of(live.node("labels")).items()
    save_scene(scene, tmp_path / "live.mrb")
    with HeadlessScene() as opened:
        load_scene(opened.scene, tmp_path / "live.mrb")
        again = LiveBrain(opened.scene)
        assert same_in_world(phantom.image, volume_of(again.node("image")), 1e-6)
        count = opened.scene.GetNumberOfNodes()
        again.show(phantom.image.with_array(phantom.image.array / 2), phantom.labels, table)
        assert opened.scene.GetNumberOfNodes() == count
        np.testing.assert_allclose(volume_of(again.node("image")).array, phantom.image.array / 2)


@pytest.mark.parametrize("how", STORED)
def test_a_mask_is_where_any_segment_is(how: str, phantom: Phantom, table: LabelTable, scene: Any) -> None:
    labels = stored(phantom.labels, how)
    node = add_segmentation(scene, labels, table, "brain")
    node.GetSegmentation().GetNthSegment(0).SetName("drawn by hand")
    mask = mask_of(node, labels)
    np.testing.assert_array_equal(mask.array, labels.array > 0)
    moved = np.eye(4)
    moved[:3, 3] = labels.affine[:3, 0]  # one voxel along the first axis
    transform = add_linear_transform(scene, moved, "move", maps="to_parent")
    node.SetAndObserveTransformNodeID(transform.GetID())
    np.testing.assert_array_equal(mask_of(node, labels).array[1:], (labels.array > 0)[:-1])
    empty = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "empty")
    assert not mask_of(empty, labels).array.any()
