"""What an atlas generated, as a scene: it shows what the files hold, and says how it was made."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nibabel
import numpy as np
import pytest

from NeuroGenLib.atlas.config import SeriesConfig
from NeuroGenLib.atlas.output import generate_to_folder
from NeuroGenLib.commands.atlas.demo_run import SCENE, run_demo
from NeuroGenLib.commands.atlas.open import open_
from NeuroGenLib.core.errors import Cancelled
from NeuroGenLib.core.progress import Progress
from NeuroGenLib.models import open_model
from Testing.atlas_fixtures import MODALITIES, PEOPLE
from Testing.mrml.places import WITHOUT_SLICER
from Testing.raising import raises

pytest.importorskip("slicer", reason=WITHOUT_SLICER)

from NeuroGenLib.mrml.colours import DIVERGING
from NeuroGenLib.mrml.provenance import provenance_of
from NeuroGenLib.mrml.scene import HeadlessScene
from NeuroGenLib.mrml.segmentations import label_map_of
from NeuroGenLib.mrml.sequences import select
from NeuroGenLib.mrml.tables import rows_of
from NeuroGenLib.mrml.volumes import volume_of
from NeuroGenLib.scenes.atlas import Generated, add_generated, write_generated_scene
from Testing.mrml.nodes import folder_of, load_scene

if TYPE_CHECKING:
    from NeuroGenLib.atlas.infer import AtlasModel
    from NeuroGenLib.mrml.core import Scene

ASKED = (30.0, 25.0, 27.5, 25.0)
SHOWN = (25.0, 27.5, 30.0)
KNOWN = {"ventricles": (0.5,), "sex": ("F",)}


def series(ages: tuple[float, ...], **more: Any) -> SeriesConfig:
    return SeriesConfig(ages=ages, conditions=KNOWN, spacing=8.0, **more)


@pytest.fixture(scope="module")
def model(atlas_run: Path) -> AtlasModel:
    return open_model(str(atlas_run / "model"), device="cpu")


@pytest.fixture(scope="module")
def grown(model: AtlasModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with brains of several ages, neither in order nor each once, and their growth."""
    folder = tmp_path_factory.mktemp("generated") / "grown"
    generate_to_folder(model, series(ASKED, growth=True), folder)
    return folder


@pytest.fixture(scope="module")
def single(model: AtlasModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one brain."""
    folder = tmp_path_factory.mktemp("generated") / "single"
    generate_to_folder(model, series((27.0,)), folder)
    return folder


def frame(folder: Path, file: str, age: float) -> np.ndarray:
    """Read the voxels of an age by nibabel."""
    return np.asarray(nibabel.load(folder / file).dataobj)[..., ASKED.index(age)]


@pytest.mark.slow
def test_each_age_shows_what_the_files_hold(grown: Path, model: AtlasModel, scene: Scene) -> None:
    nodes = add_generated(scene, Generated.read(grown), model)
    assert list(nodes.images) == sorted(MODALITIES)
    for age in reversed(SHOWN):
        assert select(nodes.browser, age) == age
        for name, node in nodes.images.items():
            np.testing.assert_array_equal(volume_of(node).array, frame(grown, f"{name}.nii.gz", age))
            np.testing.assert_allclose(volume_of(node).affine, nibabel.load(grown / f"{name}.nii.gz").affine)
        for name, node in nodes.growth_maps.items():
            np.testing.assert_array_equal(volume_of(node).array, frame(grown, f"growth_{name}.nii.gz", age))
        labels = label_map_of(nodes.segmentation, model.labels, volume_of(nodes.images["T2w"]))
        np.testing.assert_array_equal(labels.array, frame(grown, "labels.nii.gz", age))
    sequence = nodes.browser.GetMasterSequenceNode()
    assert (sequence.GetIndexName(), sequence.GetIndexUnit()) == (model.age_name, "weeks")
    assert sequence.GetNumberOfDataNodes() == len(SHOWN)


@pytest.mark.slow
def test_growth_is_shown_about_zero(grown: Path, model: AtlasModel, scene: Scene) -> None:
    nodes = add_generated(scene, Generated.read(grown), model)
    node = nodes.growth_maps["T2w"]
    assert node.GetName() == "T2w growth per week"
    display = node.GetDisplayNode()
    assert display.GetColorNode().GetName() == DIVERGING
    assert display.GetWindowLevelMin() == -display.GetWindowLevelMax() < 0


@pytest.mark.slow
def test_the_table_and_its_plot_are_those_of_the_files(grown: Path, model: AtlasModel, scene: Scene) -> None:
    growth = add_generated(scene, Generated.read(grown), model).growth
    with (grown / "growth.tsv").open(encoding="utf-8", newline="") as file:
        written = list(csv.DictReader(file, delimiter="\t"))
    for shown, age in zip(rows_of(growth.table), SHOWN, strict=True):
        expected = written[ASKED.index(age)]
        assert {name: str(value) for name, value in shown.items() if name == "sex"} == {"sex": "F"}
        for name, value in expected.items():
            if name != "sex":
                assert shown[name] == pytest.approx(float(value))
    assert growth.table.GetColumnUnitLabel("scan_age") == "weeks"
    assert growth.table.GetColumnUnitLabel("total_ml") == "ml"
    assert [row["scan_age"] for row in rows_of(growth.subjects)] == [person.age for person in PEOPLE]
    curves = {one.GetName(): one for one in growth.series}
    assert len(curves) == growth.plot.GetNumberOfPlotSeriesNodes() == 2 * 9, "eight tissues and all, each with dots"
    curve, dots = curves["cerebellum"], curves["cerebellum, training subjects"]
    assert (curve.GetXColumnName(), curve.GetYColumnName()) == ("scan_age", "cerebellum_ml")
    assert curve.GetTableNode() is growth.table
    assert dots.GetTableNode() is growth.subjects
    np.testing.assert_allclose(np.array(curve.GetColor()) * 255, model.labels.lookup("cerebellum").colour)
    assert growth.plot.GetXAxisTitle() == "scan age (weeks)"


def test_one_age_needs_no_sequence(single: Path, model: AtlasModel, scene: Scene) -> None:
    nodes = add_generated(scene, Generated.read(single), model)
    assert nodes.browser is None
    assert scene.GetNumberOfNodesByClass("vtkMRMLSequenceNode") == 0
    image = volume_of(nodes.images["T1w"])
    np.testing.assert_array_equal(image.array, np.asarray(nibabel.load(single / "T1w.nii.gz").dataobj))
    labels = label_map_of(nodes.segmentation, model.labels, image)
    np.testing.assert_array_equal(labels.array, np.asarray(nibabel.load(single / "labels.nii.gz").dataobj))
    assert len(rows_of(nodes.growth.table)) == 1


@pytest.mark.slow
def test_every_node_is_in_the_folder_and_says_how_it_was_made(grown: Path, model: AtlasModel, scene: Scene) -> None:
    nodes = add_generated(scene, Generated.read(grown), model)
    record = json.loads((grown / "provenance.json").read_text(encoding="utf-8"))
    made = [*nodes.images.values(), *nodes.growth_maps.values(), nodes.segmentation, nodes.browser, *nodes.growth.nodes]
    made.append(nodes.browser.GetMasterSequenceNode())
    for node in made:
        assert provenance_of(node) == record
        assert folder_of(scene, node).startswith("atlas, ventricles 0.5, sex F")
    assert "research use only" in provenance_of(nodes.segmentation)["notice"]


@pytest.mark.slow
def test_folders_of_several_conditions_share_a_file(grown: Path, single: Path, tmp_path: Path) -> None:
    write_generated_scene([grown, single], tmp_path / "both.mrb")
    with HeadlessScene() as opened:
        load_scene(opened.scene, tmp_path / "both.mrb")
        assert opened.scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 2
        assert opened.scene.GetNumberOfNodesByClass("vtkMRMLSequenceBrowserNode") == 1
        red = opened.scene.GetSingletonNode("Red", "vtkMRMLSliceCompositeNode")
        shown = opened.scene.GetNodeByID(red.GetBackgroundVolumeID())
        np.testing.assert_array_equal(volume_of(shown).array, frame(grown, "T1w.nii.gz", SHOWN[0]))


@pytest.mark.parametrize(
    ("spoiled", "error"),
    [
        ({"ages": [1, 2]}, ("file-damaged", 4, "provenance.json", 2)),
        ({"ages": []}, ("file-type",)),
        ({"age": "weeks"}, ("file-type",)),
    ],
)
def test_a_folder_that_is_something_else_is_refused(
    spoiled: dict[str, Any], error: tuple[Any, ...], grown: Path, tmp_path: Path
) -> None:
    record = json.loads((grown / "provenance.json").read_text(encoding="utf-8"))
    record["parameters"] |= spoiled
    for path in grown.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "provenance.json").write_text(json.dumps(record), encoding="utf-8")
    with raises(*error):
        Generated.read(tmp_path)


def test_an_empty_folder_is_refused(grown: Path, tmp_path: Path) -> None:
    with raises("file-missing", "provenance.json"):
        Generated.read(tmp_path)
    (tmp_path / "provenance.json").write_bytes((grown / "provenance.json").read_bytes())
    with raises("file-missing", tmp_path):
        Generated.read(tmp_path)


def test_a_cancelled_scene_leaves_no_file(grown: Path, tmp_path: Path) -> None:
    class Stopper(Progress):
        def show(self, *_: object) -> None:
            self.cancel()

    with pytest.raises(Cancelled):
        write_generated_scene([grown], tmp_path / "atlas.mrb", progress=Stopper())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_demo_writes_a_scene(model: AtlasModel, tmp_path: Path) -> None:
    written = run_demo(model, 8.0, "ventricles", (0.3, 0.5, 0.7), tmp_path / "demo")
    assert tmp_path / "demo" / SCENE in written.files
    assert all(path.is_file() for path in written.files)
    with HeadlessScene() as opened:
        load_scene(opened.scene, tmp_path / "demo" / SCENE)
        browser = opened.scene.GetFirstNodeByClass("vtkMRMLSequenceBrowserNode")
        image, tissues = (opened.scene.GetFirstNodeByName(name) for name in ("T2w", "labels"))
        folder = tmp_path / "demo" / "ventricles-0.5"
        for position, age in enumerate(range(24, 33)):
            assert select(browser, age) == age
            stack = np.asarray(nibabel.load(folder / "T2w.nii.gz").dataobj)
            np.testing.assert_array_equal(volume_of(image).array, stack[..., position])
            names = [tissues.GetSegmentation().GetNthSegment(number).GetName() for number in range(8)]
            assert names == list(model.labels.names[1:])
        assert opened.scene.GetFirstNodeByName("growth plot").GetNumberOfPlotSeriesNodes() > 0
        assert provenance_of(image)["action"] == "atlas generate"


@pytest.mark.slow
def test_an_atlas_of_another_program_becomes_a_scene(
    tmp_path: Path, scene: Scene, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Frames of 30, 32 and 34 weeks and two labels: written by `atlas open`, read from its folder, and in its scene."""
    monkeypatch.chdir(tmp_path)
    frames = np.random.default_rng(4).random((6, 7, 5, 3), dtype=np.float32)
    maps = (frames > 0.3).astype(np.float32) + (frames > 0.8)
    end = "ga=30-34_cond=0_ep=1.nii.gz"
    for name, array in (("T2w", frames), ("Seg", maps)):
        nibabel.save(nibabel.Nifti1Image(array, np.diag([2.0, 2, 3, 1])), tmp_path / f"{name}_{end}")
    open_([f"T2w_{end}", f"--segmentation=Seg_{end}", "--out=out", "--scene=scenes/all.mrb", "--progress=none"])
    said = capsys.readouterr().out
    assert "  labels.nii.gz\n" in said
    assert f"  {Path('scenes/all.mrb')}\n" in said
    opened = Generated.read(tmp_path / "out")
    assert opened.index.values == (30.0, 32.0, 34.0)
    for number, (image, labels) in enumerate(zip(opened.images["image"], opened.labels, strict=True)):
        np.testing.assert_allclose(image.array, frames[..., number], atol=1e-6)
        np.testing.assert_array_equal(labels.array, maps[..., number])
    load_scene(scene, tmp_path / "scenes" / "all.mrb")
    assert scene.GetNumberOfNodesByClass("vtkMRMLSequenceBrowserNode") == 1
    assert scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") >= 1
    assert not [path for path in tmp_path.rglob("*") if ".writing-" in path.name]
