"""Scenes outside Slicer, and scene files: everything survives, and damaged files are refused."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from NeuroGenLib.core import provenance
from NeuroGenLib.core.errors import NeuroGenError
from NeuroGenLib.spatial.labels import LabelTable
from Testing.geometry import same_in_world
from Testing.mrml.places import WITHOUT_SLICER, moved, sheared, stored

pytest.importorskip("slicer", reason=WITHOUT_SLICER)

from NeuroGenLib.mrml.colours import DIVERGING, diverging_colours
from NeuroGenLib.mrml.core import slicer, vtk
from NeuroGenLib.mrml.folders import add_folder, put_into_folder
from NeuroGenLib.mrml.provenance import PREFIX, provenance_of, set_provenance
from NeuroGenLib.mrml.scene import HeadlessScene, save_scene
from NeuroGenLib.mrml.segmentations import add_segmentation, label_map_of
from NeuroGenLib.mrml.tables import add_plot, add_plot_series, add_table, rows_of
from NeuroGenLib.mrml.transforms import add_linear_transform
from NeuroGenLib.mrml.views import VIEWS, show_in_slices
from NeuroGenLib.mrml.volumes import add_volume, volume_of
from Testing.mrml.nodes import add_displacement_field, displacement_field_of, folder_of, load_scene, matrix_of
from Testing.raising import raises

if TYPE_CHECKING:
    from NeuroGenLib.mrml.core import Scene
    from Testing.geometry import Phantom

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("atlas.mrb", "atlas.mrml", "s[1].mrb", "s[1].mrml", "Gehirn ä 100%20 (1).mrb", "two.parts.MRB")
TABLE = LabelTable.from_names(["background", *(f"part {value}" for value in range(1, 9))])
MATRIX = np.array([[0.0, -1, 0, 5], [1, 0, 0, -3], [0, 0, 1, 2], [0, 0, 0, 1]])
RECORD = provenance.record(
    "atlas generate",
    parameters={"ages": [24.0, 28.5], "name": 'tab\tquote"é<&>;|', "none": None},
    model={"reference": "bundled:x", "weights": {"a": "b:c;d"}},
)


@pytest.fixture
def full(headless: HeadlessScene, phantom: Phantom) -> Scene:
    """A scene with one node of each kind, in a folder, every one with its record."""
    scene = headless.scene
    image, labels = stored(phantom.image, "LAS turned"), stored(phantom.labels, "LAS turned")
    field = image.with_array(np.stack([image.array, -image.array, image.array * 0]) / 500)
    table = add_table(scene, [{"age": 24.5, "name": "a"}, {"age": 30.0, "name": "b"}], "rows", units={"age": "weeks"})
    series = add_plot_series(scene, table, "age", "age", "line", (0, 51, 255), "line")
    nodes = [
        add_volume(scene, image, "head", window=(0, 800), colours=diverging_colours(scene).GetID()),
        add_segmentation(scene, labels, TABLE, "tissues"),
        add_linear_transform(scene, MATRIX, "matrix", maps="to_parent"),
        add_displacement_field(scene, field, "warp", maps="from_parent"),
        table,
        series,
        add_plot(scene, [series], "plot", x_title="age (weeks)", y_title="volume"),
    ]
    for node in nodes:
        set_provenance(node, RECORD)
    outer = add_folder(scene, "study")
    put_into_folder(scene, add_folder(scene, "subject", outer), nodes)
    show_in_slices(scene, nodes[0])
    return scene


@pytest.mark.parametrize("name", NAMES)
def test_everything_survives_a_file(name: str, full: Scene, phantom: Phantom, tmp_path: Path) -> None:
    image, labels = stored(phantom.image, "LAS turned"), stored(phantom.labels, "LAS turned")
    field = displacement_field_of(full.GetFirstNodeByName("warp"), maps="from_parent")
    save_scene(full, tmp_path / name)
    with HeadlessScene() as other:
        load_scene(other.scene, tmp_path / name)
        find = other.scene.GetFirstNodeByName
        assert same_in_world(image, volume_of(find("head")), 0)
        display = find("head").GetDisplayNode()
        assert (display.GetWindowLevelMin(), display.GetWindowLevelMax()) == (0, 800)
        assert display.GetColorNode().GetName() == DIVERGING
        np.testing.assert_array_equal(label_map_of(find("tissues"), TABLE, labels).array, labels.array)
        np.testing.assert_allclose(matrix_of(find("matrix"), maps="to_parent"), MATRIX, atol=1e-9)
        back = displacement_field_of(find("warp"), maps="from_parent")
        np.testing.assert_allclose(back.array, field.array, atol=1e-6)
        np.testing.assert_allclose(back.affine, field.affine, atol=1e-6)
        assert [tuple(row.values()) for row in rows_of(find("rows"))] == [(24.5, "a"), (30.0, "b")]
        assert find("rows").GetColumnUnitLabel("age") == "weeks"
        assert find("plot").GetNthPlotSeriesNode(0).GetTableNode() is find("rows")
        for one in ("head", "tissues", "matrix", "warp", "rows", "line", "plot"):
            assert provenance_of(find(one)) == RECORD
            assert folder_of(other.scene, find(one)) == "subject"
        for view in VIEWS:
            composite = other.scene.GetSingletonNode(view, "vtkMRMLSliceCompositeNode")
            assert composite.GetBackgroundVolumeID() == find("head").GetID()


def test_the_scene_that_was_saved_stays_as_it_was(full: Scene, phantom: Phantom, tmp_path: Path) -> None:
    names = [full.GetNthNode(number).GetName() for number in range(full.GetNumberOfNodes())]
    save_scene(full, tmp_path / "one.mrb")
    save_scene(full, tmp_path / "two.mrb")
    head = full.GetFirstNodeByName("head")
    assert same_in_world(stored(phantom.image, "LAS turned"), volume_of(head), 0)
    kept = [full.GetNthNode(number).GetName() for number in range(full.GetNumberOfNodes())]
    assert [name for name in kept if "Storage" not in name] == names
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.mrb", "two.mrb"]


def test_two_scenes_do_not_know_each_other(phantom: Phantom) -> None:
    with HeadlessScene() as one, HeadlessScene() as two:
        add_volume(one.scene, phantom.image, "head")
        add_segmentation(two.scene, phantom.labels, TABLE, "tissues")
        assert one.scene.GetFirstNodeByName("tissues") is None
        assert two.scene.GetFirstNodeByName("head") is None
        one.close()
        np.testing.assert_array_equal(
            label_map_of(two.scene.GetFirstNodeByName("tissues"), TABLE, phantom.labels).array, phantom.labels.array
        )


def test_a_closed_scene_is_gone(full: Scene, headless: HeadlessScene) -> None:
    watched = {name: vtk.vtkWeakReference() for name in ("head", "logic", "application")}
    watched["head"].Set(full.GetFirstNodeByName("head"))
    watched["logic"].Set(headless.logic("Segmentations"))
    watched["application"].Set(headless.application_logic)
    cache = Path(headless._cache.name)
    assert cache.is_dir()
    headless.close()
    headless.close()
    assert watched["head"].Get() is None
    assert watched["logic"].Get() is None
    assert watched["application"].Get() is None
    assert not cache.exists()


@pytest.mark.parametrize("name", ["atlas.nii.gz", "atlas", "mrb"])
def test_other_file_types_are_refused(name: str, scene: Scene, tmp_path: Path) -> None:
    with raises("file-type", tmp_path / name, ".mrb"):
        save_scene(scene, tmp_path / name)


def test_the_data_of_two_mrml_files_do_not_mix(full: Scene, tmp_path: Path) -> None:
    save_scene(full, tmp_path / "one.mrml")
    save_scene(full, tmp_path / "one.mrml")
    with raises("file-occupied", "'Data'", "two.mrml"):
        save_scene(full, tmp_path / "two.mrml")
    assert not (tmp_path / "two.mrml").exists()


def test_a_failed_save_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "atlas.mrb"
    path.write_bytes(b"before")

    class Refusing:
        def WriteToMRB(self, path: str, *_: object) -> bool:  # noqa: N802
            Path(path).write_bytes(b"half")
            return False

    with raises("file-unwritable", "atlas.mrb", kind=NeuroGenError):
        save_scene(Refusing(), path)
    assert path.read_bytes() == b"before"
    assert [item.name for item in tmp_path.iterdir()] == ["atlas.mrb"]


@pytest.mark.parametrize(
    ("entries", "missing"),
    [
        (None, "the file"),
        ({}, "the list of its nodes"),
        ({"scene/scene.mrml": ""}, "the list of its nodes"),
        ({"scene/scene.mrml": '<MRML><Volume fileName="Data/a%20b.nrrd"/></MRML>'}, "Data/a b.nrrd"),
        ({"scene/scene.mrml": '<MRML><Volume fileName="Data/a.nrrd"/></MRML>', "scene/Data/a.nrrd": ""}, "Data/a.nrrd"),
    ],
)
def test_a_bundle_that_lacks_a_part_is_not_a_success(
    entries: dict[str, str] | None, missing: str, tmp_path: Path
) -> None:
    class Optimist:
        def WriteToMRB(self, path: str, *_: object) -> bool:  # noqa: N802
            if entries is not None:
                with zipfile.ZipFile(path, "w") as archive:
                    for name, content in entries.items():
                        archive.writestr(name, content)
            return True

    with raises("file-unwritable", "atlas.mrb", missing, kind=NeuroGenError):
        save_scene(Optimist(), tmp_path / "atlas.mrb")
    assert not list(tmp_path.iterdir())


def test_folders_hold_nodes_and_folders(scene: Scene, phantom: Phantom) -> None:
    node = add_volume(scene, phantom.image, "head")
    outer = add_folder(scene, "outer")
    inner = add_folder(scene, "inner", outer)
    assert folder_of(scene, node) == ""
    put_into_folder(scene, outer, [node])
    assert folder_of(scene, node) == "outer"
    put_into_folder(scene, inner, [node])
    assert folder_of(scene, node) == "inner"
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    assert hierarchy.GetItemParent(inner) == outer
    assert hierarchy.GetItemParent(outer) == hierarchy.GetSceneItemID()


def test_a_record_replaces_the_one_before(scene: Scene) -> None:
    node = scene.AddNewNodeByClass("vtkMRMLTextNode", "text")
    node.SetAttribute("another.key", "stays")
    assert provenance_of(node) == {}
    set_provenance(node, {"seed": 1, "old": [1.5, None, "ü"]})
    assert provenance_of(node) == {"seed": 1, "old": [1.5, None, "ü"], "notice": provenance.RESEARCH_USE}
    set_provenance(node, {"seed": 2})
    assert provenance_of(node) == {"seed": 2, "notice": provenance.RESEARCH_USE}
    assert node.GetAttribute("another.key") == "stays"
    node.SetAttribute(f"{PREFIX}seed", "two")
    with raises("value-invalid", "NeuroGen.seed", "'text'"):
        provenance_of(node)


def test_colours_of_differences_are_made_once(scene: Scene) -> None:
    node = diverging_colours(scene)
    assert diverging_colours(scene) is node
    colour = [0.0] * 4
    opacity = {}
    for step in (0, 127, 254):
        assert node.GetColor(step, colour)
        opacity[step] = (colour[0] > colour[2], round(colour[3], 6))
    assert opacity == {0: (False, 1), 127: (False, 0), 254: (True, 1)}


def test_sheared_volumes_survive_a_file(scene: Scene, phantom: Phantom, tmp_path: Path) -> None:
    """The scene keeps the matrix where the volume's own file cannot."""
    volume = sheared(phantom.image)
    add_volume(scene, volume, "head")
    save_scene(scene, tmp_path / "sheared.mrb")
    with HeadlessScene() as other:
        load_scene(other.scene, tmp_path / "sheared.mrb")
        back = volume_of(other.scene.GetFirstNodeByName("head"))
    corners = np.array([(0, 0, 0), (39, 47, 35), (39, 0, 35)])
    np.testing.assert_allclose(moved(back.affine, corners), moved(volume.affine, corners), atol=1e-3)


def test_the_package_is_there_without_slicer(tmp_path: Path) -> None:
    """Importing it loads nothing; using it where slicer-core is missing says what to install."""
    code = (
        "import sys, NeuroGenLib.mrml\n"
        "print(sorted({'slicer', 'vtk', 'numpy'} & set(sys.modules)))\n"
        "sys.modules['slicer'] = None\n"
        "try:\n    import NeuroGenLib.mrml.scene\n"
        "except NeuroGenLib.mrml.SlicerMissing as error:\n    print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    first, second = done.stdout.splitlines()
    assert first == "[]"
    assert "pip install 'neurogen[slicer]'" in second
