"""`--scene` and the demo as real processes: a scene beside the files, or nothing and a plain sentence."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from NeuroGenLib.commands.atlas.demo_run import SCENE, run_demo
from NeuroGenLib.commands.atlas.fit import fit
from NeuroGenLib.commands.atlas.generate import generate
from NeuroGenLib.core.errors import NeuroGenError
from Testing.atlas_fixtures import PEOPLE
from Testing.mrml.places import WITHOUT_SLICER
from Testing.raising import raises

if TYPE_CHECKING:
    from NeuroGenLib.atlas.infer import AtlasModel
    from NeuroGenLib.core.errors import Code

ROOT = Path(__file__).resolve().parents[2]
HIDDEN = "import sys; sys.modules['slicer'] = None; from NeuroGenLib import cli; sys.exit(cli.main(sys.argv[1:]))"
SHOWN = "import sys; from NeuroGenLib import cli; sys.exit(cli.main(sys.argv[1:]))"
COMMANDS = ("generate", "fit")


def neurogen(*arguments: object, folder: Path, slicer: bool = True) -> subprocess.CompletedProcess[str]:
    """Run the command line in ``folder``, as where slicer-core is installed or as where it is not."""
    settings = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", SHOWN if slicer else HIDDEN, *map(str, arguments)]
    return subprocess.run(
        command, cwd=folder, env=settings, capture_output=True, text=True, encoding="utf-8", timeout=240, check=False
    )


def line(command: str, model: Path) -> list[object]:
    """Return a quick call of a command, which writes into ``out``."""
    if command == "generate":
        values = ("--ages", "25,30", "--set", "ventricles=0.4,0.6", "--set", "sex=F", "--spacing", "8")
        return ["atlas", "generate", "--model", model, *values, "--out", "out"]
    files = ("T2w=T2w.nii", "T1w=T1w.nii", "--mask", "mask.nii", "--steps", "2")
    return ["atlas", "fit", *files, "--model", model, "--out", "out"]


def one_brain(run: Path) -> list[str]:
    """Return the arguments of a quick `atlas generate` in this process."""
    where = ("--model", str(run / "model"), "--out", "out")
    return [*where, "--age", "28", "--set", "ventricles=0.5", "--spacing", "9", "--progress", "none"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a scan and its mask."""
    images, labels = PEOPLE[1].head()
    for name, volume in {**images, "mask": labels.with_array((labels.array > 0).astype(np.uint8))}.items():
        volume.save(tmp_path / f"{name}.nii")
    return tmp_path


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "where", "segmentations"), [("generate", "scenes/ä b.mrb", 2), ("fit", "out/all.mrb", 1)]
)
def test_a_scene_is_written_with_the_files(
    command: str, where: str, segmentations: int, folder: Path, atlas_run: Path
) -> None:
    pytest.importorskip("slicer", reason=WITHOUT_SLICER)
    from NeuroGenLib.mrml.scene import HeadlessScene
    from Testing.mrml.nodes import load_scene

    done = neurogen(*line(command, atlas_run / "model"), "--scene", where, "--json", folder=folder)
    assert done.returncode == 0, done.stderr
    written = [Path(path) for path in json.loads(done.stdout)["written"]]
    assert Path(where) in written
    assert Path("out/provenance.json") in written or Path("out/ventricles-0.4_sex-F/provenance.json") in written
    assert all((folder / path).is_file() for path in written)
    assert not [path for path in folder.rglob("*") if ".writing-" in path.name]
    with HeadlessScene() as opened:
        load_scene(opened.scene, folder / where)
        assert opened.scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == segmentations


def test_the_place_of_the_scene_is_printed(
    atlas_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("slicer", reason=WITHOUT_SLICER)
    monkeypatch.chdir(tmp_path)
    generate([*one_brain(atlas_run), "--scene", "one.mrb"])
    said = capsys.readouterr().out
    assert "  one.mrb\n" in said
    assert "  labels.nii.gz\n" in said
    assert names(tmp_path) == ["one.mrb", "out"]


@pytest.mark.parametrize("command", COMMANDS)
def test_without_slicer_a_scene_is_refused_before_the_work(command: str, folder: Path) -> None:
    """Before the model is opened, even: this one does not exist."""
    before = names(folder)
    done = neurogen(*line(command, Path("no-model")), "--scene", "all.mrb", folder=folder, slicer=False)
    assert done.returncode == 1
    assert "needs Slicer's libraries, which are not installed" in done.stderr
    assert "pip install 'neurogen[slicer]'" in done.stderr
    assert "no-model" not in done.stderr
    assert "Traceback" not in done.stderr
    assert names(folder) == before


@pytest.mark.parametrize(
    ("name", "code", "named"),
    [
        ("all.nii.gz", "file-type", "'all.nii.gz'"),
        ("", "value-missing", "--scene"),
        (".mrb", "file-type", "'.mrb'"),
        ("taken.mrb", "file-unwritable", "taken.mrb"),
        ("a-file/all.mrb", "file-unwritable", "a-file"),
    ],
)
def test_an_impossible_scene_is_refused(
    name: str, code: Code, named: str, atlas_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("slicer", reason=WITHOUT_SLICER)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken.mrb").mkdir()
    (tmp_path / "a-file").touch()
    with raises(code, named):
        generate([*one_brain(atlas_run), "--scene", name])
    with raises(code, named):
        fit(["T2w.nii", "--out", "out", "--scene", name])
    assert names(tmp_path) == ["a-file", "taken.mrb"]


def test_a_scene_that_fails_at_the_end_leaves_no_files(
    atlas_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("slicer", reason=WITHOUT_SLICER)
    from NeuroGenLib.scenes import atlas as generated_scene

    def refuse(*_: object) -> None:
        raise NeuroGenError("The disk is full.", "Free some space.", code="unexpected")

    monkeypatch.setattr(generated_scene, "save_scene", refuse)
    monkeypatch.chdir(tmp_path)
    with raises("unexpected", kind=NeuroGenError):
        generate([*one_brain(atlas_run), "--scene", "scenes/all.mrb"])
    assert list(tmp_path.iterdir()) == []


def test_without_slicer_the_demo_says_that_its_scene_is_missing(
    atlas: AtlasModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in [name for name in sys.modules if name.startswith(("NeuroGenLib.mrml.", "NeuroGenLib.scenes."))]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "slicer", None)
    written = run_demo(atlas, 9.0, "ventricles", (0.5,), tmp_path / "demo")
    assert written.warnings[0].startswith(f"{SCENE} was not written. A Slicer scene needs")
    assert not (tmp_path / "demo" / SCENE).exists()
    assert (tmp_path / "demo" / "labels.nii.gz") in written.files
    assert all(path.is_file() for path in written.files)
