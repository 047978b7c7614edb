"""NeuroGen/neurogen_batch.py: the command line inside Slicer, here in plain Python with slicer-core."""

from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from Testing.slicer_desktop import missing_parts

SCRIPT = Path(__file__).parents[2] / "NeuroGen" / "neurogen_batch.py"


def run(*words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, encoding="utf-8", check=False)


@pytest.mark.slow
@pytest.mark.skipif(bool(missing_parts()), reason=missing_parts())
def test_a_scene_comes_out(atlas_run: Path, tmp_path: Path) -> None:
    from NeuroGenLib.mrml.scene import HeadlessScene
    from Testing.mrml.nodes import load_scene

    words = ("atlas", "generate", "--model", str(atlas_run / "model"), "--ages", "26:30:2", "--spacing", "5")
    done = run("--", *words, "--out", "out", "--scene", "out.mrb", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "labels.nii.gz").is_file()
    with HeadlessScene() as opened:
        load_scene(opened.scene, tmp_path / "out.mrb")
        assert opened.scene.GetFirstNodeByClass("vtkMRMLSequenceBrowserNode").GetNumberOfItems() == 3


def test_bad_input_ends_with_the_exit_code_of_the_command_line(tmp_path: Path) -> None:
    done = run("--", "atlas", "generate", "--age", "400", "--out", "out", folder=tmp_path)
    assert done.returncode == 2
    assert "400" in done.stderr
    assert not list(tmp_path.iterdir())


def test_the_two_dashes_may_be_left_out(tmp_path: Path) -> None:
    assert run("--version", folder=tmp_path).stdout.startswith("neurogen ")


def test_slicer_is_ended_with_the_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    codes: list[int] = []
    fake = SimpleNamespace(app=object(), util=SimpleNamespace(exit=codes.append))
    monkeypatch.setitem(sys.modules, "slicer", fake)
    monkeypatch.setattr(sys, "argv", ["Slicer", "--", "nonsense"])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    assert codes == [2]
    assert "nonsense" in capsys.readouterr().err
