"""Label maps and segmentations: names, colours, ids and terms; the same values at the same places."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import SimpleITK

from NeuroGenLib.core.resources import resource
from NeuroGenLib.spatial.labels import Label, LabelTable
from NeuroGenLib.spatial.volume import Volume
from Testing.geometry import dice, rotated_copy, rotation
from Testing.mrml.places import STORED, WITHOUT_SLICER, stored, to_lps, write_node

pytest.importorskip("slicer", reason=WITHOUT_SLICER)

from NeuroGenLib.mrml.core import slicer, vtk
from NeuroGenLib.mrml.segmentations import add_segmentation, label_map_of, segment_id, update_segmentation
from NeuroGenLib.mrml.transforms import add_linear_transform
from Testing.raising import raises

if TYPE_CHECKING:
    from pathlib import Path

    from Testing.geometry import Phantom


@pytest.fixture(scope="module")
def table() -> LabelTable:
    return LabelTable.from_tsv(resource("labels/fetal-tissues.tsv"))


def centroid(labels: Volume, value: int) -> np.ndarray:
    """Return the middle of a structure, RAS mm."""
    return labels.voxel_to_world(np.argwhere(labels.array == value)).mean(axis=0)


@pytest.mark.parametrize("how", STORED)
def test_labels_come_back_as_they_were(how: str, phantom: Phantom, table: LabelTable, scene: Any) -> None:
    labels = stored(phantom.labels, how)
    node = add_segmentation(scene, labels, table, "tissues")
    back = label_map_of(node, table, labels)
    np.testing.assert_array_equal(back.array, labels.array)
    np.testing.assert_array_equal(back.affine, labels.affine)


@pytest.mark.parametrize("how", STORED)
def test_surfaces_lie_around_their_voxels(how: str, phantom: Phantom, table: LabelTable, scene: Any) -> None:
    labels = stored(phantom.labels, how)
    node = add_segmentation(scene, labels, table, "tissues")
    assert node.CreateClosedSurfaceRepresentation()
    for value in (2, 3):
        surface = vtk.vtkPolyData()
        node.GetClosedSurfaceRepresentation(f"label_{value}", surface)
        middle = np.array(surface.GetBounds()).reshape(3, 2).mean(axis=1)
        voxels = labels.voxel_to_world(np.argwhere(labels.array == value))
        np.testing.assert_allclose(middle, (voxels.min(axis=0) + voxels.max(axis=0)) / 2, atol=1)


def test_segments_are_the_labels_of_the_table(phantom: Phantom, table: LabelTable, scene: Any) -> None:
    without = phantom.labels.with_array(np.where(phantom.labels.array == 7, 0, phantom.labels.array))
    segmentation = add_segmentation(scene, without, table, "tissues").GetSegmentation()
    assert list(segmentation.GetSegmentIDs()) == [f"label_{value}" for value in table.values if value]
    for label in table.entries[1:]:
        segment = segmentation.GetSegment(segment_id(label))
        assert segment.GetName() == label.name
        assert segment.GetLabelValue() == label.value
        np.testing.assert_allclose(np.array(segment.GetColor()) * 255, label.colour, atol=1e-6)
        tag = vtk.mutable("")
        assert segment.GetTag(slicer.vtkSegment.GetTerminologyEntryTagName(), tag)
        assert label.terminology in str(tag)


def test_slicer_understands_the_terms(phantom: Phantom, table: LabelTable, scene: Any) -> None:
    segmentation = add_segmentation(scene, phantom.labels, table, "tissues").GetSegmentation()
    tag = vtk.mutable("")
    segmentation.GetSegment("label_3").GetTag(slicer.vtkSegment.GetTerminologyEntryTagName(), tag)
    entry = slicer.vtkSlicerTerminologyEntry()
    logic = slicer.vtkSlicerTerminologiesModuleLogic()
    assert logic.DeserializeTerminologyEntry(str(tag), entry)
    category, kind = entry.GetCategoryObject(), entry.GetTypeObject()
    assert category.GetCodeMeaning() == "Anatomical Structure"
    assert (kind.GetCodingSchemeDesignator(), kind.GetCodeValue()) == ("SCT", "113305005")
    assert kind.GetCodeMeaning() == "Cerebellum"


def test_values_may_be_large_and_out_of_order(scene: Any) -> None:
    table = LabelTable(
        tuple(Label(value, name, (9, 9, 9)) for value, name in ((0, "none"), (70000, "a"), (17, "b"), (2**31 - 1, "c")))
    )
    array = np.array(table.values, np.int64)[np.arange(60).reshape(3, 4, 5) % 4]
    node = add_segmentation(scene, Volume(array, np.eye(4)), table, "odd")
    np.testing.assert_array_equal(label_map_of(node, table, Volume(array, np.eye(4))).array, array)


@pytest.mark.parametrize("how", STORED)
def test_slicers_file_lies_at_the_right_place(
    how: str, phantom: Phantom, table: LabelTable, scene: Any, tmp_path: Path
) -> None:
    labels = stored(phantom.labels, how)
    node = add_segmentation(scene, labels, table, "tissues")
    write_node(scene, node, tmp_path / "tissues.seg.nrrd")
    image = SimpleITK.ReadImage(str(tmp_path / "tissues.seg.nrrd"))
    values = {image.GetMetaData(f"Segment{n}_Name"): int(image.GetMetaData(f"Segment{n}_LabelValue")) for n in range(8)}
    assert values == {label.name: label.value for label in table if label.value}
    statistics = SimpleITK.LabelShapeStatisticsImageFilter()
    statistics.Execute(image)
    for value in (1, 2, 3, 8):
        found = to_lps(np.array(statistics.GetCentroid(value)))
        np.testing.assert_allclose(found, centroid(labels, value), atol=1e-3)
        assert statistics.GetNumberOfPixels(value) == (labels.array == value).sum()


def test_on_another_grid_the_nearest_voxel_counts(phantom: Phantom, table: LabelTable, scene: Any) -> None:
    node = add_segmentation(scene, phantom.labels, table, "tissues")
    grid = rotated_copy(phantom.labels, order=0)
    found = label_map_of(node, table, grid)
    np.testing.assert_array_equal(found.affine, grid.affine)
    assert dice(found, grid) > 0.999


def test_a_transform_above_moves_the_labels(phantom: Phantom, table: LabelTable, scene: Any) -> None:
    node = add_segmentation(scene, phantom.labels, table, "tissues")
    turn = rotation(25, (3, 4, 5))
    node.SetAndObserveTransformNodeID(add_linear_transform(scene, turn, "turn", maps="to_parent").GetID())
    grid = Volume(phantom.labels.array, turn @ phantom.labels.affine)
    np.testing.assert_array_equal(label_map_of(node, table, grid).array, phantom.labels.array)


def test_labels_that_slicer_imported_are_found_by_name(
    phantom: Phantom, table: LabelTable, scene: Any, headless: Any
) -> None:
    """As a person's own segmentation has them: other ids and other values."""
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "drawn")
    image = slicer.vtkOrientedImageData()
    whole = add_segmentation(scene, phantom.labels, table, "tissues")
    whole.GetBinaryLabelmapRepresentation("label_3", image)
    assert node.AddSegmentFromBinaryLabelmapRepresentation(image, "cerebellum", [1, 0, 0], "Segment_77")
    found = label_map_of(node, table, phantom.labels)
    np.testing.assert_array_equal(found.array, np.where(phantom.labels.array == 3, 3, 0))


def test_an_update_keeps_what_the_person_chose(phantom: Phantom, table: LabelTable, scene: Any) -> None:
    node = add_segmentation(scene, phantom.labels, table, "tissues")
    segment = node.GetSegmentation().GetSegment("label_2")
    segment.SetColor(0.1, 0.2, 0.3)
    node.GetDisplayNode().SetSegmentVisibility("label_1", False)
    node.CreateClosedSurfaceRepresentation()
    other = stored(phantom.labels, "LAS turned").crop([(0, 40), (0, 40), (0, 30)])
    update_segmentation(node, other, table)
    np.testing.assert_array_equal(label_map_of(node, table, other).array, other.array)
    assert node.GetSegmentation().GetSegment("label_2").GetColor() == (0.1, 0.2, 0.3)
    assert not node.GetDisplayNode().GetSegmentVisibility("label_1")
    surface = vtk.vtkPolyData()
    node.GetClosedSurfaceRepresentation("label_3", surface)
    middle = np.array(surface.GetBounds()).reshape(3, 2).mean(axis=1)
    voxels = other.voxel_to_world(np.argwhere(other.array == 3))
    np.testing.assert_allclose(middle, (voxels.min(axis=0) + voxels.max(axis=0)) / 2, atol=1)


def test_an_empty_segmentation_is_background(phantom: Phantom, table: LabelTable, scene: Any) -> None:
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "nothing")
    assert not label_map_of(node, table, phantom.labels).array.any()
    blank = phantom.labels.with_array(np.zeros(phantom.labels.shape, np.uint8))
    assert not label_map_of(add_segmentation(scene, blank, table, "blank"), table, blank).array.any()


def test_what_the_table_lacks_is_refused(phantom: Phantom, table: LabelTable, scene: Any) -> None:
    strange = phantom.labels.with_array(phantom.labels.array + 100)
    with raises("labels-invalid", "'tissues'", "9 value(s)", "100, 101"):
        add_segmentation(scene, strange, table, "tissues")
    assert scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0
    node = add_segmentation(scene, phantom.labels, table, "tissues")
    with raises("labels-invalid", "100, 101"):
        update_segmentation(node, strange, table)
    np.testing.assert_array_equal(label_map_of(node, table, phantom.labels).array, phantom.labels.array)
    node.GetSegmentation().AddEmptySegment("own", "cerebelum")
    with raises("name-unknown", "'cerebelum'", "'cerebellum'"):
        label_map_of(node, table, phantom.labels)
    node.GetSegmentation().GetSegment("own").SetName("cerebellum")
    with raises("value-duplicate", "'cerebellum'"):
        label_map_of(node, table, phantom.labels)
