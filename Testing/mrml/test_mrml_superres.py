"""A super-resolution as a scene: in its place, in nodes that are filled again, with profile, difference and quality."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from NeuroGenLib.core import provenance
from NeuroGenLib.spatial.result import Result
from NeuroGenLib.spatial.volume import Volume
from Testing.geometry import a_brain_phantom
from Testing.mrml.places import STORED, WITHOUT_SLICER, stored
from Testing.raising import raises

pytest.importorskip("slicer", reason=WITHOUT_SLICER)

from NeuroGenLib.mrml.layouts import AFTER, BEFORE, PLOT
from NeuroGenLib.mrml.provenance import provenance_of
from NeuroGenLib.mrml.scene import HeadlessScene, save_scene
from NeuroGenLib.mrml.tables import rows_of
from NeuroGenLib.mrml.volumes import add_volume, volume_of
from NeuroGenLib.scenes.superres import (
    add_superres,
    arrange_superres,
    crosshair_of,
    difference_colours,
    profile_through,
    quality_of,
    result_of,
    show_superres,
)
from NeuroGenLib.superres.evaluation.profile import profile_rows
from Testing.mrml.nodes import folder_of, load_scene

if TYPE_CHECKING:
    from pathlib import Path

    from NeuroGenLib.mrml.core import Node, Scene

RECORD = provenance.record("superres run", parameters={"spacing": None}, warnings=["Look at it."])
QUALITY = [
    {"measure": "voxel size", "label": "all", "interpolated": None, "result": "3", "unit": "mm"},
    {"measure": "slices not reproduced", "label": "axial", "interpolated": "3.1", "result": "0.5", "unit": "%"},
]


def a_result(volume: Volume, gain: float = 1.2, record: dict[str, Any] = RECORD) -> Result:
    """A result that is brighter than its interpolation."""
    return Result(
        volumes={
            "superres": volume.with_array(gain * volume.array),
            "interpolated": volume,
            "residual": volume.with_array(0.1 * volume.array),
        },
        labels={"head": volume.with_array(volume.array > 100)},
        tables={"quality": QUALITY},
        facts={"quality": {"stacks": [{"direction": "axial"}], "dark": 0.0, "bright": 400.0}},
        record=record,
    )


def thick_of(volume: Volume) -> Volume:
    """Every third axial slice, as a scan in thick slices."""
    upright = volume.reorient("RAS")
    affine = upright.affine.copy()
    affine[:3, 3] += affine[:3, 2]
    affine[:3, 2] *= 3
    return Volume(upright.array[:, :, 1::3], affine)


@pytest.fixture
def head() -> Volume:
    return a_brain_phantom((30, 36, 27), 3.0).image


@pytest.fixture
def scan(scene: Scene, head: Volume) -> Node:
    return add_volume(scene, stored(thick_of(head), "LAS turned"), "T2w")


@pytest.fixture
def turned_head(head: Volume) -> Volume:
    """The fine head where the scan lies, left-handed."""
    thick, fine = stored(thick_of(head), "LAS turned"), stored(head, "LAS turned")
    assert np.linalg.det(thick.affine[:3, :3]) < 0
    return fine


@pytest.mark.parametrize("how", STORED)
def test_every_node_lies_where_the_result_lies(scene: Scene, head: Volume, how: str) -> None:
    scan = add_volume(scene, stored(thick_of(head), how), "T2w")
    fine = stored(head, how)
    shown = a_result(fine)
    nodes = add_superres(scene, shown, scan)
    places = np.array([[4, 5, 6], [15, 18, 13], [20, 9, 11]])
    for node, gain in ((nodes.image, 1.2), (nodes.interpolated, 1.0), (nodes.difference, 0.2), (nodes.residual, 0.1)):
        found = volume_of(node)
        world = fine.voxel_to_world(places)
        index = np.rint(found.world_to_voxel(world)).astype(int)
        np.testing.assert_allclose(found.voxel_to_world(index), world, atol=1e-4)
        np.testing.assert_allclose(found.array[tuple(index.T)], gain * fine.array[tuple(places.T)], atol=1e-2)
    for node in (nodes.image, nodes.difference, nodes.quality, nodes.profile, nodes.chart):
        assert provenance_of(node) == RECORD
        assert folder_of(scene, node) == "T2w super-resolved"
    assert result_of(scene, scan) is nodes.image
    assert [row["result"] for row in quality_of(nodes.image)] == ["3", "0.5"]
    assert nodes.image.GetDisplayNode().GetWindowLevelMax() == 400


def test_another_result_takes_the_nodes_and_other_scans_keep_theirs(
    scene: Scene, scan: Node, turned_head: Volume, head: Volume
) -> None:
    other = add_volume(scene, thick_of(head), "other")
    first = add_superres(scene, a_result(turned_head), scan)
    elsewhere = add_superres(scene, a_result(head), other)
    assert elsewhere.image is not first.image
    count = scene.GetNumberOfNodes()
    second = add_superres(scene, a_result(turned_head, 1.5, {**RECORD, "seed": 2}), scan)
    assert scene.GetNumberOfNodes() == count
    for name in ("image", "interpolated", "difference", "residual", "quality", "profile", "chart"):
        assert getattr(second, name) is getattr(first, name)
        assert provenance_of(getattr(second, name))["seed"] == 2
    np.testing.assert_allclose(volume_of(second.difference).array.max(), 0.5 * turned_head.array.max(), rtol=1e-4)
    without = add_superres(scene, a_result(turned_head), scan, residual=False)
    assert without.residual is None
    assert scene.GetNumberOfNodes() < count


def test_a_scan_that_was_removed_is_passed_over(scene: Scene, scan: Node, turned_head: Volume) -> None:
    scene.RemoveNode(scan)
    nodes = add_superres(scene, a_result(turned_head), scan)
    assert np.isnan([row["slices"] for row in rows_of(nodes.profile)]).all()
    show_superres(scene, nodes.image, "result", before="scan")
    assert background(scene, BEFORE) == nodes.interpolated.GetID()


def test_the_profile_shows_slices_as_steps_in_one_unit(scene: Scene, scan: Node, turned_head: Volume) -> None:
    nodes = add_superres(scene, a_result(turned_head), scan)
    rows = rows_of(nodes.profile)
    assert [nodes.chart.GetNthPlotSeriesNode(index).GetYColumnName() for index in range(3)] == [
        "slices", "interpolated", "result",
    ]  # fmt: skip
    np.testing.assert_allclose([row["result"] for row in rows], [1.2 * row["interpolated"] for row in rows], rtol=1e-3)
    measured = np.array([row["slices"] for row in rows])
    measured = measured[np.isfinite(measured)]
    assert np.diff(np.flatnonzero(np.diff(measured))).min() >= 3
    assert rows[1]["distance_mm"] - rows[0]["distance_mm"] == pytest.approx(3)
    place = turned_head.voxel_to_world((12, 20, 13))
    profile_through(scene, nodes.image, place)
    again = {round(row["distance_mm"]): row["result"] for row in rows_of(nodes.profile)}
    assert again[0] == pytest.approx(1.2 * turned_head.array[12, 20, 13], rel=1e-3)
    with raises("value-invalid"):
        profile_through(scene, nodes.image, place + 500)


def test_the_crosshair_is_where_the_person_put_it(scene: Scene) -> None:
    with raises("value-missing"):
        crosshair_of(scene)
    scene.AddNewNodeByClass("vtkMRMLCrosshairNode").SetCrosshairRAS(4, -5, 6)
    np.testing.assert_array_equal(crosshair_of(scene), (4, -5, 6))


@given(
    spacing=st.floats(0.5, 3),
    slope=st.tuples(*[st.floats(-2, 2)] * 3),
    along=st.tuples(*[st.floats(-1, 1)] * 3).filter(lambda one: np.linalg.norm(one) > 0.1),
    how=st.sampled_from(STORED),
)
def test_a_profile_of_a_ramp_is_a_straight_line(spacing: float, slope: Any, along: Any, how: str) -> None:
    """Whatever way the ramp is stored, its values along any line are those of its formula."""
    grid = stored(Volume(np.zeros((9, 8, 11), np.float64), np.diag([spacing, spacing, spacing, 1.0])), how)
    place = grid.voxel_to_world(np.moveaxis(np.indices(grid.shape), 0, -1))
    ramp = grid.with_array(place @ np.array(slope))
    point = grid.centre + 0.3 * spacing
    rows = profile_rows({"result": ramp}, ramp, point, np.array(along))
    direction = np.array(along) / np.linalg.norm(along)
    for row in rows:
        expected = (point + row["distance_mm"] * direction) @ np.array(slope)
        assert row["result"] == pytest.approx(expected, abs=1e-4)
    assert 0.0 in [row["distance_mm"] for row in rows]
    assert min(len(rows) - 1, 1) * (rows[-1]["distance_mm"] - rows[0]["distance_mm"]) <= 20 * spacing


# Looking at it


def background(scene: Scene, view: str) -> str | None:
    return scene.GetSingletonNode(view, "vtkMRMLSliceCompositeNode").GetBackgroundVolumeID()


def foreground(scene: Scene, view: str) -> str | None:
    return scene.GetSingletonNode(view, "vtkMRMLSliceCompositeNode").GetForegroundVolumeID()


def test_ways_to_look_at_it(scene: Scene, scan: Node, turned_head: Volume) -> None:
    nodes = add_superres(scene, a_result(turned_head), scan)
    show_superres(scene, nodes.image, "result", opacity=0.7)
    for view in ("Red", "Green", "Yellow", AFTER):
        assert (background(scene, view), foreground(scene, view)) == (
            nodes.interpolated.GetID(), nodes.image.GetID(),
        )  # fmt: skip
    show_superres(scene, nodes.image, "difference", before="scan")
    assert (background(scene, AFTER), foreground(scene, AFTER)) == (nodes.image.GetID(), nodes.difference.GetID())
    assert (background(scene, BEFORE), foreground(scene, BEFORE)) == (scan.GetID(), None)
    show_superres(scene, nodes.image, "residual")
    assert nodes.residual is not None
    assert foreground(scene, "Green") == nodes.residual.GetID()
    scene.RemoveNode(nodes.residual)
    show_superres(scene, nodes.image, "residual")
    assert foreground(scene, "Green") is None


def test_small_differences_are_see_through(scene: Scene, scan: Node, turned_head: Volume) -> None:
    nodes = add_superres(scene, a_result(turned_head), scan)
    colours = nodes.difference.GetDisplayNode().GetColorNode()
    assert difference_colours(scene, 0.1) is colours
    display = nodes.difference.GetDisplayNode()
    assert (display.GetWindowLevelMin(), display.GetWindowLevelMax()) == (-100, 100)
    table = colours.GetLookupTable()
    shares = np.linspace(-0.25, 0.25, colours.GetNumberOfColors())
    for share, step in zip(shares, range(len(shares)), strict=True):
        red, _green, blue, alpha = table.GetTableValue(step)
        assert (alpha > 0) == (abs(share) >= 0.1)
        assert red == blue == 0 or (red > blue) == (share > 0)


def test_views_are_arranged_side_by_side_above_the_profile(scene: Scene, scan: Node, turned_head: Volume) -> None:
    nodes = add_superres(scene, a_result(turned_head), scan)
    arrange_superres(scene, nodes.image)
    assert scene.GetFirstNodeByClass("vtkMRMLLayoutNode") is None, "outside Slicer nothing is arranged"
    layout = scene.AddNewNodeByClass("vtkMRMLLayoutNode")
    made = {}
    for name, kind in ((BEFORE, "vtkMRMLSliceNode"), (AFTER, "vtkMRMLSliceNode"), (PLOT, "vtkMRMLPlotViewNode")):
        node = scene.CreateNodeByClass(kind)
        node.UnRegister(None)
        node.SetSingletonTag(name)
        node.SetName(name)
        node.SetLayoutName(name)
        made[name] = scene.AddNode(node)
    arrange_superres(scene, nodes.image)
    root = layout.GetLayoutRootElement()
    assert root.GetAttribute("type") == "vertical"
    assert {made[name].GetOrientation() for name in (BEFORE, AFTER)} == {"Coronal"}
    assert made[PLOT].GetPlotChartNodeID() == nodes.chart.GetID()


def test_a_saved_scene_finds_its_result_again(tmp_path: Path, head: Volume) -> None:
    with HeadlessScene() as opened:
        scan = add_volume(opened.scene, thick_of(head), "T2w")
        add_superres(opened.scene, a_result(head), scan)
        save_scene(opened.scene, tmp_path / "scene.mrb")
    with HeadlessScene() as opened:
        load_scene(opened.scene, tmp_path / "scene.mrb")
        scan = opened.scene.GetFirstNodeByName("T2w")
        image = result_of(opened.scene, scan)
        assert image is not None
        assert quality_of(image)[1]["interpolated"] == "3.1"
        count = opened.scene.GetNumberOfNodes()
        assert add_superres(opened.scene, a_result(head), scan).image is image
        assert opened.scene.GetNumberOfNodes() == count
